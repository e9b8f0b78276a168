"""One way to write a result: figures with the device, versions, date and command that made them,
as JSON beside the scripts.
"""

import datetime
import importlib.metadata
import json
import platform
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "pyarrow", "mido", "torch")


def processor() -> str:
    """Name of the CPU and its number of cores, as the system tells them."""
    import os

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    model = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
    return f"{model}, {os.cpu_count()} cores"


def versions() -> dict[str, str]:
    installed = {
        distribution.metadata["Name"].lower(): distribution.version
        for distribution in importlib.metadata.distributions()
    }
    return {"python": platform.python_version(), **{name: installed[name] for name in PACKAGES if name in installed}}


def write_report(name: str, results: dict, device: str | None = None, show: bool = True) -> Path:
    """benchmarks/results/NAME.json; also printed, unless show says no. device: what ran it, by default this machine's
    CPU.
    """
    report = {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.date.today().isoformat(),
        "device": device or processor(),
        "versions": versions(),
        "results": results,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    temporary.rename(path)
    if show:
        print(json.dumps(report, indent=1))
    return path
