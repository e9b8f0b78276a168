"""First contact of the kernels with a GPU: each kernel by itself against fp64, smallest first, a line after each step.

    python benchmarks/gpu/smoke.py [--interpret] [CASE ...]      CASE: "forward bfloat16", "dq float32", "dkv ..."

Run it under `timeout`: a kernel that never ends is seen by the line that does not come. --interpret runs the kernels in
JAX's GPU interpreter, on any machine and smaller. What is wrong is shown by blocks of 64 rows.
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from jax_impl.attention import BlockMask, pack_dense
from jax_impl.attention.pallas_backward import dkv_kernel, dq_kernel
from jax_impl.attention.pallas_forward import forward
from jax_impl.device import device

ALL = [f"{kernel} {dtype}" for dtype in ("bfloat16", "float32") for kernel in ("forward", "dq", "dkv")]
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


def in_fp64(q, k, v, d_out, visible: np.ndarray) -> dict[str, np.ndarray]:
    """What the kernels should give: out, lse (base 2), delta, dq, dk, dv. q, k, v, d_out: [B, N, length, 64]."""
    q, k, v, d_out = (np.asarray(x, np.float64) for x in (q, k, v, d_out))
    scores = np.where(visible[:, None], q @ k.swapaxes(2, 3) / 8, -np.inf)
    highest = np.maximum(scores.max(-1, keepdims=True), -1e30)
    shares = np.exp(scores - highest)
    total = shares.sum(-1, keepdims=True)
    lse = np.where(total > 0, (highest + np.log(np.maximum(total, 1e-300))) / np.log(2), 0)[..., 0]
    shares /= np.maximum(total, 1e-300)
    out = shares @ v
    delta = (out * d_out).sum(-1)
    d_scores = shares * (d_out @ v.swapaxes(2, 3) - delta[..., None]) / 8
    dk, dv = d_scores.swapaxes(2, 3) @ q, shares.swapaxes(2, 3) @ d_out
    return {"out": out, "lse": lse, "delta": delta, "dq": d_scores @ k, "dk": dk, "dv": dv}


def try_case(case: str, arrays: list[np.ndarray], visible: np.ndarray, mask: BlockMask, interpret) -> bool:
    """Compiles and runs one kernel twice, and says how far it is from fp64; whether it is right."""
    kernel, dtype = case.split()
    q, k, v, d_out = (jnp.asarray(x, dtype) for x in arrays)
    truth = in_fp64(q, k, v, d_out, visible)
    per_query = (jnp.asarray(truth[name], jnp.float32) for name in ("lse", "delta"))
    backward = (q, k, v, d_out, *per_query, mask)
    names, run = {
        "forward": (("out", "lse"), lambda: forward(q, k, v, mask, interpret=interpret)),
        "dq": (("dq",), lambda: (dq_kernel(*backward, interpret=interpret),)),
        "dkv": (("dk", "dv"), lambda: dkv_kernel(*backward, interpret=interpret)),
    }[kernel]
    say(case, "...")
    try:
        compiled = run if interpret else jax.jit(run).lower().compile()
        say(case, "compiled")
        first, again = ([np.asarray(x, np.float64) for x in jax.block_until_ready(compiled())] for _ in range(2))
    except Exception as error:  # of the compiler or the device: told as it came, and the other kernels still run
        say(case, "FAILED", type(error).__name__, str(error)[:500])
        return False
    right = True
    for name, got, same in zip(names, first, again, strict=True):
        off = got - truth[name]
        error = np.linalg.norm(off) / np.linalg.norm(truth[name])
        largest = np.abs(off).max() / np.abs(truth[name]).max()
        holes, repeats = int((~np.isfinite(got)).sum()), np.array_equal(got, same)
        say(f"{case} {name}: error {error:.2e} largest {largest:.2e} not finite {holes} same again {repeats}")
        if not error < WRONG[dtype] or not repeats:
            right = False
            blocks = (off**2).reshape(*off.shape[:2], -1, 64, *off.shape[3:])
            by_block = np.sqrt(blocks.sum(axis=tuple(range(3, blocks.ndim))))
            say("WRONG, by 64 rows:", np.array2string(by_block, precision=2, max_line_width=200))
    return right


def main() -> None:
    cases, interpret = [word for word in sys.argv[1:] if not word.startswith("--")] or ALL, None
    if "--interpret" in sys.argv:
        from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams

        interpret = InterpretGPUParams(detect_races=True)
    say(jax.__version__, jax.devices()[0].device_kind, "on_hopper", device.on_hopper())
    rows, heads, num_queries, num_keys = (1, 1, 256, 320) if interpret else (2, 3, 512, 640)
    random = np.random.default_rng(0)
    visible = make_mask(rows, num_queries, num_keys, random)
    mask = pack_dense(visible)
    padding = -num_keys % 128
    keys = num_keys + padding
    arrays = [random.standard_normal((rows, heads, n, 64), np.float32) for n in (num_queries, keys, keys, num_queries)]
    say("lists", mask.key_counts.tolist())
    visible = np.pad(visible, ((0, 0), (0, 0), (0, padding)))
    right = [try_case(case, arrays, visible, mask, interpret) for case in cases]
    say("done")
    sys.exit(not all(right))


if __name__ == "__main__":
    main()
