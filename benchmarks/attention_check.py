"""Part of the attention benchmark: are the kernels right? Against fp64, beside a dense reference that computes in bf16.

    python benchmarks/attention_check.py ROWS FINDINGS [--seeds 20]

Every kernel is a program of its own, and the errors of all tensors are told before any is called wrong.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from attention_cases import CALLS, CHECKED_LENGTH, HEAD_DIM, SMALL_CHECKED_LENGTH, Case, both_masks, first_rows
from attention_kernels import GIVES, Kernels, in_fp64
from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams  # public only from JAX 0.11 on
from stages import attempt, tell

from configs import MASK_RULES
from jax_impl.attention import BlockMask, attention, unpack
from jax_impl.attention.block_mask import TILE
from jax_impl.device import device

NAMES = ("out", "dq", "dk", "dv")
DTYPES = ("bfloat16", "float32")
# Of our error to that of the bf16 reference: TOGETHER over a tensor's elements in all checks of a dtype, and in each
# check alone, where the ratio of one small draw scatters: with delta from the rounded output, as training takes it, its
# median is 1.2 over 96 draws, and 2 is passed by chance in 1 of 100 (norm) and 6 of 100 (largest element). A scale that
# is wrong by 2 % gives 8.
TOGETHER, ALONE = 2.0, 4.0
FP32_SHARE = 1 / 32  # fp32 inputs: products have 16 bits of mantissa where bf16 has 8
SHARES = {"bfloat16": 1.0, "float32": FP32_SHARE}


@jax.jit
def reference(q, k, v, mask: BlockMask, d_out) -> dict[str, jax.Array]:
    """out, dq, dk, dv, computed densely in bf16."""
    q, k, v, d_out = (x.astype(jnp.bfloat16) for x in (q, k, v, d_out))
    out, derivative = jax.vjp(lambda *qkv: attention(*qkv, mask, impl="reference"), q, k, v)
    return dict(zip(NAMES, (out, *derivative(d_out)), strict=True))


def errors(got: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    """|got - exact| / |exact|, over all elements (Frobenius) and of the largest."""
    difference = np.asarray(got, np.float64) - exact
    largest = np.abs(difference).max() / np.abs(exact).max()
    norm = np.linalg.norm(difference) / np.linalg.norm(exact)
    return {"norm": float(f"{norm:.3g}"), "largest": float(f"{largest:.3g}")}


def wrong(name: str, norm: str, errors_of: dict[str, float], bound: float) -> list[str]:
    """What is to be said of it, if anything; NaN is wrong, and so is what nothing is known of."""
    if not errors_of:
        return [f"{name}: not computed"]
    if errors_of["ours"] <= bound * errors_of["bf16 reference"]:
        return []
    return [f"{name}: {norm} error {errors_of['ours']:.3g}, of the bf16 reference {errors_of['bf16 reference']:.3g}"]


def together(checks: list[dict[str, dict]]) -> dict[str, dict[str, float]]:
    """Root mean square over checks of the relative errors, by tensor."""
    result = {}
    for name in NAMES:
        found = [check[name]["norm"] for check in checks if name in check]
        mean = lambda who, found=found: (sum(one[who] ** 2 for one in found) / max(len(found), 1)) ** 0.5
        result[name] = {who: float(f"{mean(who):.3g}") for who in ("ours", "bf16 reference")} if found else {}
    return result


def poison(like: list[jax.Array]) -> None:
    """Leaves NaN in memory that was just freed, which the next outputs get."""
    jax.block_until_ready([jnp.full(x.shape, jnp.nan, x.dtype) for x in like for _ in range(3)])


def check(
    mask: BlockMask, rows: int, heads: int, dtype: str, seed: int, kernels: Kernels, repeats: int, findings: Path, place
) -> dict[str, dict]:
    """Tells, and returns, the errors of our kernels and of the bf16 dense reference, by tensor; then what is wrong with
    them. lse and delta that the backward kernels are given are exact.
    """
    random = np.random.default_rng(seed)
    num_queries, num_keys = mask.tiles.shape[1] * TILE, mask.tiles.shape[2] * TILE
    shapes = [(rows, heads, length, HEAD_DIM) for length in (num_queries, num_keys, num_keys, num_queries)]
    inputs = [jnp.asarray(random.standard_normal(shape, np.float32), dtype) for shape in shapes]
    q, k, v, d_out = inputs
    exact = in_fp64(*inputs, np.asarray(unpack(mask, num_queries, num_keys)))
    rounded = reference(q, k, v, mask, d_out)
    result, complaints = {}, []

    def check_kernel(kernel: str, run: Callable) -> None:
        poison(inputs)
        first = [np.asarray(x) for x in jax.block_until_ready(run())]
        for name, got in zip(GIVES[kernel], first, strict=True):
            if name in NAMES:
                ours, bf16 = errors(got, exact[name]), errors(rounded[name], exact[name])
                result[name] = {norm: {"ours": ours[norm], "bf16 reference": bf16[norm]} for norm in ours}
                tell(findings, *place, name, value=result[name])
                for norm, pair in result[name].items():
                    complaints.extend(wrong(name, norm, pair, ALONE * SHARES[dtype]))
        for _ in range(repeats):
            poison(inputs)
            if any(not np.array_equal(np.asarray(x), y) for x, y in zip(run(), first, strict=True)):
                complaints.append(f"two runs of {kernel} differ")

    lse, delta = (jnp.asarray(exact[name], jnp.float32) for name in ("lse", "delta"))
    for kernel, run in kernels.calls(q, k, v, mask, d_out, lse, delta):
        attempt(findings, *place, kernel, measure=lambda kernel=kernel, run=run: check_kernel(kernel, run))
    complain(findings, place, complaints)
    return result


def complain(findings: Path, place: tuple[str, ...], complaints: list[str]) -> None:
    if complaints:
        tell(findings, "failed", " / ".join(place), value=" / ".join(place) + ": " + "; ".join(complaints))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("findings", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rules", nargs="*", default=list(MASK_RULES))
    args = parser.parse_args()
    gpu = device.on_hopper()
    length, heads, repeats = (CHECKED_LENGTH, 2, 4) if gpu else (SMALL_CHECKED_LENGTH, 1, 1)
    kernels = Kernels(None if gpu else InterpretGPUParams())
    batch = first_rows(args.rows, length, 1)
    for dtype in DTYPES:
        found: list[dict] = []
        for seed in range(args.seeds):
            for rule in args.rules:
                masks = both_masks(batch, rule, Case(rule, length).slots)
                for call in CALLS:
                    place = "errors against fp64", dtype, rule, call, *([f"seed {seed}"] if args.seeds > 1 else [])
                    print(*place, flush=True)
                    parts = masks[call], 1, heads, dtype, seed, kernels, repeats, args.findings, place
                    attempt(args.findings, *place, measure=lambda parts=parts, found=found: found.append(check(*parts)))
        place, mean = ("errors against fp64", dtype, "together"), together(found)
        tell(args.findings, *place, value=mean)
        bound = TOGETHER * SHARES[dtype]
        complain(args.findings, place, [word for name in NAMES for word in wrong(name, "norm", mean[name], bound)])


if __name__ == "__main__":
    main()
