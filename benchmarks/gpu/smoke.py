"""First contact of the kernels with a GPU: each kernel by itself against fp64, smallest first, a line after each step.

    python benchmarks/gpu/smoke.py [--interpret] [CASE ...]      CASE: "forward bfloat16", "dq float32", "dkv ..."

Run it under `timeout`: a kernel that never ends is seen by the line that does not come. --interpret runs the kernels in
JAX's GPU interpreter, on any machine and smaller. What is wrong is shown by blocks of 64 rows.
"""

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import jax
import jax.numpy as jnp
import numpy as np
from attention_kernels import GIVES, Kernels, in_fp64
from stages import tell

from jax_impl.attention import BlockMask, pack_dense
from jax_impl.device import device

ALL = [f"{kernel} {dtype}" for dtype in ("bfloat16", "float32") for kernel in GIVES]
WRONG = {"bfloat16": 1e-2, "float32": 2e-4}  # relative error beyond which blocks are shown: dozens of roundings
START = time.perf_counter()


def say(*words: object) -> None:
    print(f"{time.perf_counter() - START:6.1f} s ", *words, flush=True)


def make_mask(rows: int, num_queries: int, num_keys: int, random: np.random.Generator) -> np.ndarray:
    """bool[rows, queries, keys]: full, partial and empty blocks, lists of odd length, a row that sees nothing, and
    where there is room for it a program without a list.
    """
    visible = random.random((rows, num_queries, num_keys)) < 0.3
    visible[:, :, :192] = True
    visible[:, :, 256:320] = False
    visible[:, num_queries - 5] = False
    if num_queries > 256:
        visible[:, 256:384] = False
    return visible


def try_case(case: str, arrays: list[np.ndarray], visible: np.ndarray, mask: BlockMask, kernels: Kernels) -> dict:
    """Runs one kernel twice, and says how far it is from fp64; by what it returns, the error and whether it is right,
    or how it failed.
    """
    kernel, dtype = case.split()
    q, k, v, d_out = (jnp.asarray(x, dtype) for x in arrays)
    truth = in_fp64(q, k, v, d_out, visible)
    lse, delta = (jnp.asarray(truth[name], jnp.float32) for name in ("lse", "delta"))
    run = dict(kernels.calls(q, k, v, mask, d_out, lse, delta))[kernel]
    say(case, "...")
    try:
        first = [np.asarray(x, np.float64) for x in jax.block_until_ready(run())]
        say(case, "compiled and run")
        again = [np.asarray(x, np.float64) for x in jax.block_until_ready(run())]
    except Exception as error:  # of the compiler or the device: told as it came, and the other kernels still run
        say(case, "FAILED", type(error).__name__, str(error)[:2000])
        return {"failed": f"{type(error).__name__}: {str(error)[:300]}", "right": False}
    found = {"right": True}
    for name, got, same in zip(GIVES[kernel], first, again, strict=True):
        off = got - truth[name]
        error = np.linalg.norm(off) / np.linalg.norm(truth[name])
        largest = np.abs(off).max() / np.abs(truth[name]).max()
        holes, repeats = int((~np.isfinite(got)).sum()), np.array_equal(got, same)
        say(f"{case} {name}: error {error:.2e} largest {largest:.2e} not finite {holes} same again {repeats}")
        found[name] = {"error": float(f"{error:.3g}"), "not finite": holes, "same again": repeats}
        if not error < WRONG[dtype] or not repeats:
            found["right"] = False
            say("WRONG, by 64 rows:", np.array2string(by_64_rows(off), precision=2, max_line_width=200))
            say("runs differ, by 64 rows:", np.array2string(by_64_rows(got - same), precision=2, max_line_width=200))
    return found


def by_64_rows(off: np.ndarray) -> np.ndarray:
    """Norms [B, N, blocks] of what is wrong."""
    blocks = (off**2).reshape(*off.shape[:2], -1, 64, *off.shape[3:])
    return np.sqrt(blocks.sum(axis=tuple(range(3, blocks.ndim))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"{', '.join(ALL)}; by default all")
    parser.add_argument("--interpret", action="store_true")
    parser.add_argument("--findings", type=Path, help="file to which results are added")
    parser.add_argument("--name", default="ours", help="what these kernels are called there")
    args = parser.parse_args()
    for case in args.cases:
        if case not in ALL:
            parser.error(f"there is no case {case!r}; there are {', '.join(ALL)}")
    interpret = None
    if args.interpret:
        from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams

        interpret = InterpretGPUParams(detect_races=True)
    say(jax.__version__, jax.devices()[0].device_kind, "on_hopper", device.on_hopper())
    kernels = Kernels(interpret)
    rows, heads, num_queries, num_keys = (1, 1, 256, 320) if interpret else (2, 3, 512, 640)
    random = np.random.default_rng(0)
    visible = make_mask(rows, num_queries, num_keys, random)
    mask = pack_dense(visible)
    padding = -num_keys % 128
    keys = num_keys + padding
    arrays = [random.standard_normal((rows, heads, n, 64), np.float32) for n in (num_queries, keys, keys, num_queries)]
    visible = np.pad(visible, ((0, 0), (0, 0), (0, padding)))
    right = True
    for case in args.cases or ALL:
        found = try_case(case, arrays, visible, mask, kernels)
        right &= found["right"]
        if args.findings:
            tell(args.findings, "each kernel alone", args.name, case, value=found)
    say("done")
    sys.stdout.flush()
    os._exit(not right)  # the interpreter's threads are long in ending


if __name__ == "__main__":
    main()
