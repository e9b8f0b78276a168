"""How much GPU memory a training step takes: every size, every rematerialization,
and what a layer costs beside v1.2.1's.

    python benchmarks/memory.py [steps] [layers] [largest_batches]

Compiled for this machine's GPU, or without one for an H800, for which `./hid memory` installs the compiler; half an
hour on two cores. Writes benchmarks/results/memory.json after every case, so that what was measured stays if it is
stopped. Given some parts by name, it measures those anew and keeps the others.
"""

import functools
import json
import sys
import time
from collections.abc import Iterator

from report import RESULTS, write_report
from tqdm import tqdm

from configs import MODEL_SIZES, TrainConfig
from configs.model import REMAT_CHOICES
from jax_impl.device import gpu_target

gpu_target.add_plugin()  # before JAX is imported

from jax_impl.cli import memory_table  # noqa: E402
from jax_impl.device import device  # noqa: E402
from jax_impl.device.memory import GB, largest_batch  # noqa: E402

BATCHES = (("small", 4, 8192), ("base", 4, 8192), ("large", 4, 8192), ("large", 48, 8192), ("xlarge", 2, 8192))
GOALS_GB = {("large", 4): 10, ("large", 48): 40, ("xlarge", 2): 21}  # with the leanest


def steps(target: memory_table.Target) -> Iterator[dict]:
    """What a step of each size and rematerialization takes."""
    cases = [
        (remat, *batch)
        for remat in reversed(REMAT_CHOICES)
        for batch in BATCHES
        if remat in ("layer", "attention") or batch[1] < 48
    ]
    for remat, size, rows, length in tqdm(cases):
        start = time.perf_counter()
        taken = memory_table.measure(MODEL_SIZES[size], rows, length, remat, target)
        figures = {"state_gb": taken.arguments, "temporaries_gb": taken.temporaries, "total_gb": taken.total}
        case = {"model_size": size, "batch": f"{rows} x {length}", "remat": remat}
        case |= {name: round(needed / GB, 2) for name, needed in figures.items()}
        case |= {"repeated_share_of_forward": round(memory_table.repeated(MODEL_SIZES[size], length, remat), 3)}
        case |= {"compile_seconds": round(time.perf_counter() - start, 1)}
        if remat == REMAT_CHOICES[-1] and (size, rows) in GOALS_GB:
            case |= {"goal_gb": GOALS_GB[size, rows]}
        yield case


def largest_batches(target: memory_table.Target) -> Iterator[dict]:
    """Most rows of the large model that fit, by rematerialization."""
    length = TrainConfig.max_seq_len
    for remat in tqdm(REMAT_CHOICES[::-1]):
        measured = functools.cache(
            lambda rows, remat=remat: memory_table.measure(MODEL_SIZES["large"], rows, length, remat, target).total
        )
        rows = largest_batch(measured, 4, target.budget, device.rows_at_once(length))
        case = {"model_size": "large", "remat": remat, "batch": f"{rows} x {length}"}
        yield case | ({"total_gb": round(measured(rows) / GB, 2)} if rows else {})


PARTS = {"steps": steps, "layers": memory_table.layer_costs, "largest_batches": largest_batches}


def main() -> None:
    chosen, target, path = sys.argv[1:] or list(PARTS), memory_table.find_target(), RESULTS / "memory.json"
    if unknown := set(chosen) - set(PARTS):
        raise SystemExit(f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    before = json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else {}
    results: dict = {"budget_gb": round(target.budget / GB, 1)} | {part: before.get(part, []) for part in PARTS}
    for part in chosen:
        results[part] = []
        for case in PARTS[part](target):
            results[part].append(case)
            write_report("memory", results, device=target.describe(), show=False)


if __name__ == "__main__":
    main()
