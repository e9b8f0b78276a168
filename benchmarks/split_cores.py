"""How much faster training on a CPU is with a batch's rows split over its cores (train --data-devices) than with every
product of all rows computed by all of them.

    PYTHONPATH=.:benchmarks python benchmarks/split_cores.py DATASET

Each run is a process of its own, and the two kinds alternate. Figures are medians over what was logged of all rounds
but the first time of each. Writes benchmarks/results/split_cores.json.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from report import write_report

from jax_impl.training import metrics
from tokenizer.dataset.workers import cores

CASES = (("tiny", 2, 2048, 40), ("small", 4, 1024, 8))  # size, rows, tokens of each, steps
LOGGED = 4  # times a run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    found = []
    for size, rows, length, steps in CASES:
        devices = min(cores(), rows)
        speeds: dict[int, list[float]] = {1: [], devices: []}
        for _ in range(arguments.rounds):
            for count, logged in speeds.items():
                logged += tokens_per_second(arguments.dataset, size, rows, length, steps, count)
        case = {"model_size": size, "batch": f"{rows} x {length}"}
        found.append(case | {f"on {count}": round(statistics.median(of)) for count, of in speeds.items()})
    write_report("split_cores", {"tokens_per_second": found})


def tokens_per_second(dataset: Path, size: str, rows: int, length: int, steps: int, devices: int) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        flags = {"data-dir": dataset, "output-dir": folder, "model-size": size, "batch-size": rows}
        flags |= {"max-seq-len": length, "steps": steps, "warmup-steps": 2, "log-every": steps // LOGGED}
        flags |= {"validation-batches": 1, "num-workers": 0, "data-devices": devices}
        words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        command = [sys.executable, "-m", "jax_impl.cli", "train", *words]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        lines = metrics.read(Path(folder) / metrics.FILE)
        return [line["tokens_per_second"] for line in lines if line["kind"] == "train"][1:]


if __name__ == "__main__":
    main()
