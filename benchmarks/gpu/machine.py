"""What this machine is, as findings: card, driver, clocks, versions. The exit status is 1 where JAX sees no Hopper GPU.

python benchmarks/gpu/machine.py FINDINGS
"""

import functools
import subprocess
import sys
from pathlib import Path

import report
from stages import attempt, tell

QUERY = "name,driver_version,memory.total,clocks.sm,clocks.max.sm,clocks.mem,power.limit,temperature.gpu"
TOOLS = ("nvcc", "ptxas", "compute-sanitizer", "ncu")


def last_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=20)
    return (done.stdout or done.stderr).strip().splitlines()[-1]


def card() -> dict[str, str]:
    values = last_line(["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"]).split(", ")
    return dict(zip(QUERY.split(","), values, strict=True))


def jax_sees() -> dict:
    import jax

    device = jax.devices()[0]
    capability = getattr(device, "compute_capability", None)
    return {"kind": device.device_kind, "platform": device.platform, "compute capability": capability}


def main() -> None:
    findings = Path(sys.argv[1])
    tell(findings, "machine", "versions", value=report.versions())
    tell(findings, "machine", "processor", value=report.processor())
    attempt(findings, "machine", "card", measure=card)
    for tool in TOOLS:
        attempt(findings, "machine", "tools", tool, measure=functools.partial(last_line, [tool, "--version"]))
    attempt(findings, "machine", "jax", measure=jax_sees)
    from jax_impl.device import device

    print(findings.read_text(encoding="utf-8"))
    sys.exit(not device.on_hopper())


if __name__ == "__main__":
    main()
