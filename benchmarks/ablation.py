"""What each part of the architecture is worth: models that differ in one thing, trained on the same tokens.

    PYTHONPATH=.:benchmarks python benchmarks/ablation.py run --data DATASET --held-out GAMES SCORES --work FOLDER
    PYTHONPATH=.:benchmarks python benchmarks/ablation.py table --work FOLDER [--against NAME] [--name NAME]

`run` trains every variant (variants.py says which) with every seed, one run on each core side by side, or one after
another where there is a GPU, and scores the held out songs of each dataset; what is there already is not done again.
`--minutes` chooses the steps so that all of it takes about so long. `table` sums up, in nats a token as a sampler needs
it: a chord of a later track, which the first track has said and the sampler writes, costs what any chord would.
Writes benchmarks/results/NAME.json and NAME.png.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

PROBE_STEPS = 40  # of a run whose time says how many steps fit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run, one, table = (verbs.add_parser(verb) for verb in ("run", "one", "table"))
    for verb in (run, one, table):
        verb.add_argument("--work", type=Path, required=True, help="folder of what each run leaves")
    for verb in (run, one):
        verb.add_argument("--data", type=Path, required=True, help="dataset or mixture that is trained on")
        verb.add_argument("--held-out", type=Path, nargs="+", required=True, help="datasets whose validation is scored")
        verb.add_argument("--model-size", default="tiny")
        verb.add_argument("--max-seq-len", type=int, default=2048)
        verb.add_argument("--batch-size", type=int, default=1)
        verb.add_argument("--steps", type=int, default=500)
        verb.add_argument("--learning-rate", type=float, default=2e-3)
        verb.add_argument("--batches", type=int, default=16, help="of each dataset held out")
    run.add_argument("--variants", nargs="*", help="of these names alone")
    run.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    run.add_argument("--minutes", type=float, help="of all runs together; --steps follows")
    run.add_argument("--side-by-side", type=int, default=0, help="runs at once (0: one a core, or one on a GPU)")
    table.add_argument("--against", default="base", help="variant that the others are compared with")
    table.add_argument("--name", default="ablation", help="of the two files")
    one.add_argument("--variant", required=True)
    one.add_argument("--seed", type=int, required=True)
    arguments = parser.parse_args()
    {"run": run_all, "one": run_one, "table": write_table}[arguments.verb](arguments)


def run_all(arguments: argparse.Namespace) -> None:
    from variants import VARIANTS

    names = arguments.variants or list(VARIANTS)
    tasks = list(itertools.product(arguments.seeds, names))
    places = cores(arguments.side_by_side)
    if arguments.minutes:
        began = time.perf_counter()
        start(arguments, names[0], 0, places[0], PROBE_STEPS, arguments.work / "probe")
        seconds = time.perf_counter() - began
        arguments.steps = int(arguments.minutes * 60 * len(places) / len(tasks) / seconds * PROBE_STEPS)
    free: Queue = Queue()
    for place in places:
        free.put(place)

    def do(task: tuple[int, str]) -> None:
        (seed, name), place = task, free.get()
        try:
            if not result_file(arguments.work, name, seed).exists():
                start(arguments, name, seed, place, arguments.steps, arguments.work)
        finally:
            free.put(place)

    with ThreadPoolExecutor(len(places)) as pool:
        list(pool.map(do, tasks))


def cores(side_by_side: int) -> list[set[int] | None]:
    """Where runs go: to a core each, or, on a GPU, one anywhere."""
    there = sorted(os.sched_getaffinity(0))
    if Path("/proc/driver/nvidia").exists():
        return [None] * max(side_by_side, 1)
    return [{core} for core in there[: side_by_side or None]]


def start(arguments: argparse.Namespace, name: str, seed: int, place: set[int] | None, steps: int, work: Path) -> None:
    """A run in a process of its own, which a variant may patch as it likes."""
    given = dict(vars(arguments), variant=name, seed=seed, steps=steps, work=work)
    words = [sys.executable, __file__, "one"]
    for key in ("variant", "seed", "work", "data", "held_out", "model_size", "max_seq_len", "batch_size", "steps"):
        value = given[key] if isinstance(given[key], list) else [given[key]]
        words += [f"--{key.replace('_', '-')}", *map(str, value)]
    words += ["--learning-rate", str(given["learning_rate"]), "--batches", str(given["batches"])]
    work.mkdir(parents=True, exist_ok=True)
    with (work / f"{name}-{seed}.log").open("w", encoding="utf-8") as log:
        pin = (lambda: os.sched_setaffinity(0, place)) if place else None
        code = subprocess.run(words, stdout=log, stderr=subprocess.STDOUT, preexec_fn=pin).returncode
    print(f"{name} {seed}: {'done' if not code else f'failed, see {log.name}'}", flush=True)


def result_file(work: Path, name: str, seed: int) -> Path:
    return work / f"{name}-{seed}.json"


def run_one(arguments: argparse.Namespace) -> None:
    from variants import VARIANTS, trained_and_scored

    found = trained_and_scored(VARIANTS[arguments.variant], arguments)
    path = result_file(arguments.work, arguments.variant, arguments.seed)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(found, indent=1), encoding="utf-8")
    temporary.rename(path)


def write_table(arguments: argparse.Namespace) -> None:
    from ablation_table import table

    table(arguments.work, arguments.against, arguments.name)


if __name__ == "__main__":
    main()
