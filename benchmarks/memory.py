"""How much GPU memory a training step takes: every size, every rematerialization, and what a layer costs beside v1.2.1's.

    python benchmarks/memory.py

Compiled for this machine's GPU, or without one for an H800, for which `./hid memory` installs the compiler; half an hour on two cores.
Writes benchmarks/results/memory.json after every case, so that what was measured stays if it is stopped.
"""

import functools
import time

from report import write_report
from tqdm import tqdm

from configs import MODEL_SIZES, TrainConfig
from configs.model import REMAT_CHOICES
from jax_impl import gpu_target

BATCHES = (("small", 4, 8192), ("base", 4, 8192), ("large", 4, 8192), ("large", 48, 8192), ("xlarge", 2, 8192))
GOALS_GB = {("large", 4): 10, ("large", 48): 40, ("xlarge", 2): 21}  # with the leanest


def main() -> None:
    gpu_target.add_plugin()  # before JAX is imported
    from jax_impl import memory_table
    from jax_impl.memory import GB, largest_batch

    target = memory_table.find_target()
    budget = {"budget_gb": round(target.budget / GB, 1)}
    results: dict = budget | {"steps": [], "largest_batches": [], "layers": []}
    write = functools.partial(write_report, "memory", results, device=target.describe())
    cases = [(remat, *batch) for remat in reversed(REMAT_CHOICES) for batch in BATCHES if remat in ("layer", "attention") or batch[1] < 48]
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
        results["steps"].append(case)
        write(show=False)
    results["layers"] = list(memory_table.layer_costs(target))
    write(show=False)
    length = TrainConfig.max_seq_len
    for remat in reversed(REMAT_CHOICES):
        measured = functools.cache(lambda rows, remat=remat: memory_table.measure(MODEL_SIZES["large"], rows, length, remat, target).total)
        rows = largest_batch(measured, 4, target.budget, memory_table.rows_at_once(length))
        results["largest_batches"].append({"model_size": "large", "remat": remat, "batch": f"{rows} x {length}"})
        if rows:
            results["largest_batches"][-1]["total_gb"] = round(measured(rows) / GB, 2)
        write(show=False)
    write(show=True)


if __name__ == "__main__":
    main()
