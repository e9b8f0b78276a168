"""What the attention kernels take of a Hopper processor, compiled for an H800 that is not there: registers, spills,
shared memory; and how evenly the order of their programs loads the processors, simulated on masks of real songs.

    python benchmarks/kernel_resources.py [--disassembler FOLDER] [--songs ../shared/data/midi]

Needs the CUDA plugin of XLA, which `./hid test` installs, and no GPU. FOLDER/bin holds nvdisasm of NVIDIA (the package
triton has one in backends/nvidia): with it, the instructions of a step of each loop are counted too. Without --songs
rows of the built-in composer's songs are looked at. Writes benchmarks/results/kernel_resources.json and prints a table.

    balance = work of all programs / (processors x time until the last one ends)
"""

import argparse
import heapq
import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
import attention_rows
import numpy as np
from attention_cases import Case, both_masks
from report import write_report

from configs import MODEL_SIZES
from jax_impl.attention import hopper, pallas_forward
from jax_impl.attention.block_mask import LISTED, NUMBER
from tests.attention import hopper_target

NAMES = ("tiny", "small", "large")
SHARED_BYTES, REGISTERS, THREADS = 227 * 1024, 65536, 3 * 128
SHOWN = ("all", "HGMMA", "MUFU", "FFMA", "FMUL", "FADD", "FMNMX", "F2FP", "LOP3", "SEL", "FSEL", "LDS", "FENCE", "BAR")
# Model size, rows, tokens of a row
BALANCED = (("large", 4, 8192), ("small", 4, 8192), ("large", 1, 24576))
PROCESSORS = 132
BEGINNING = 6  # listed blocks of 64 that would take as long as a program's beginning and end: reckoned, 12 to 16 %


# ---------------------------------------------------------------- balance


def balance(costs: np.ndarray) -> float:
    """Of programs that begin in this order, each on the first processor that is free."""
    free = [0.0] * PROCESSORS
    for cost in costs:
        heapq.heappushpop(free, free[0] + cost)
    return float(costs.sum() / PROCESSORS / max(free))


def balances(lists: np.ndarray, blocks_per_step: int, heads: int) -> dict[str, float]:
    """In the order of a grid of row, head and list as they lie in the row, and in that of the kernels."""
    lists = np.asarray(lists)
    steps = np.maximum(-(-lists[..., LISTED] // blocks_per_step), 1)
    costs = steps * float(blocks_per_step) + BEGINNING  # [rows, lists], the longest first
    as_they_lie = np.take_along_axis(costs, lists[..., NUMBER].argsort(axis=1), axis=1)
    together = hopper.heads_together(heads)
    in_order = np.tile(np.repeat(costs.T.ravel(), together), heads // together)
    as_grid = np.repeat(as_they_lie[:, None], heads, axis=1).ravel()
    return {"row, head, list": round(balance(as_grid), 3), "longest first": round(balance(in_order), 3)}


def all_balances(songs: Path | None) -> dict[str, dict]:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        lengths = sorted({length for _, _, length in BALANCED})
        batches = attention_rows.load(Path(folder) / "rows.npz", songs, lengths, max(rows for _, rows, _ in BALANCED))
    for size, rows, length in BALANCED:
        batch = type(batches[length])(*(field[:rows] for field in batches[length]))
        mask = both_masks(batch, "span", Case("span", length).slots)["update"]
        heads = MODEL_SIZES[size].heads
        found[f"{size}, {rows} x {length}"] = {
            "forward": balances(mask.key_lists, pallas_forward.BF16.blocks_per_step, heads),
            "dq": balances(mask.key_lists, 1, heads),
            "dk and dv": balances(mask.query_lists, 1, heads),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--disassembler", type=Path, help="folder with bin/nvdisasm in it")
    parser.add_argument("--songs", type=Path, help="folder of MIDI files")
    args = parser.parse_args()
    if args.disassembler and not (args.disassembler / "bin" / "nvdisasm").exists():
        parser.error(f"there is no {args.disassembler / 'bin' / 'nvdisasm'}")
    cases = [f"{name} {dtype}" for dtype in ("bfloat16", "float32") for name in NAMES]
    environment = hopper_target.environment()
    if args.disassembler:
        root = str(args.disassembler.resolve())
        environment |= {"MOSAIC_GPU_DUMP_SASS": "1", "CUDA_ROOT": root, "MOSAIC_GPU_CUDA_ROOT": root}
    run = subprocess.run(
        [sys.executable, hopper_target.__file__, *cases],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    kernels, steps = {}, {}
    for result in map(json.loads, run.stdout.splitlines()):
        for report in result["kernels"]:
            (registers,), (shared,) = report["registers_at_entry"], report["shared_bytes"]
            of_registers, of_shared = REGISTERS // (registers * THREADS), SHARED_BYTES // shared
            kernels.setdefault(report["kernel"], {})[result["case"]] = {
                "registers a thread at entry": registers,
                "spilled bytes": report["spill_bytes"],
                "shared bytes": shared,
                "share of shared memory": round(shared / SHARED_BYTES, 2),
                "programs a processor": min(of_registers, of_shared),
                "named barriers": report["named_barriers"],
            }
            if report["steps"] and result["case"].startswith("large"):
                dtype = result["case"].split()[1]
                for loop, counts in zip(("full", "in part"), report["steps"], strict=True):
                    steps[f"{report['kernel']} {dtype}, blocks {loop}"] = {name: counts.get(name, 0) for name in SHOWN}
    results = {
        "note": "compiled for an H800, not run on a GPU",
        "kernels": kernels,
        "balance": all_balances(args.songs),
    }
    if steps:
        results["instructions of a step, a warp"] = steps
    write_report("kernel_resources", results, show=False)
    for kernel, by_case in kernels.items():
        for case, found in by_case.items():
            print(f"{kernel:22} {case:16}", ", ".join(f"{name} {value}" for name, value in found.items()))
    for loop, counts in steps.items():
        print(f"{loop:46}", " ".join(f"{name} {count}" for name, count in counts.items() if count))
    for case, by_kernel in results["balance"].items():
        print(f"balance of {case}:", json.dumps(by_kernel))


if __name__ == "__main__":
    main()
