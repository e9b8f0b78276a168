"""Part of the attention benchmark: are the kernels right? Against fp64, beside a dense reference that computes in bf16.

python benchmarks/attention_check.py ROWS FINDINGS [--seeds 20]
"""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from attention_cases import CHECKED_LENGTH, HEAD_DIM, SMALL_CHECKED_LENGTH, Case, attempt, first_rows
from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams  # public only from JAX 0.11 on

from configs import MASK_RULES
from jax_impl.attention import BlockMask, attention, pallas, unpack
from jax_impl.attention.block_mask import TILE
from jax_impl.batch import Batch
from jax_impl.device import device
from jax_impl.model import masks

NAMES = ("out", "dq", "dk", "dv")
DTYPES = ("bfloat16", "float32")
# Of our error to that of the bf16 reference: TOGETHER over a tensor's elements in all checks of a dtype, and in each
# check alone. Like all flash kernels ours take delta from the rounded output, so where a query sees few keys the ratio
# of one small draw scatters: over 96 draws its median is 1.2, and 2 is passed by chance in 1 of 100 (norm) and 6 of 100
# (largest element). A scale that is wrong by 2 % gives 8.
TOGETHER, ALONE = 2.0, 4.0
FP32_SHARE = 1 / 32  # fp32 inputs: products have 16 bits of mantissa where bf16 has 8


def both_masks(batch: Batch, rule: str, slots: int) -> dict[str, BlockMask]:
    data = masks.summaries(batch, MASK_RULES[rule], slots)
    return {
        "summarize": masks.summarize_mask(batch, data, MASK_RULES[rule]),
        "update": masks.update_mask(batch, data, MASK_RULES[rule]),
    }


def in_fp64(q, k, v, d_out, visible) -> dict[str, np.ndarray]:
    q, k, v, d_out = (np.asarray(x, np.float64) for x in (q, k, v, d_out))
    scores = np.where(visible[:, None], q @ k.swapaxes(2, 3) / 8, -np.inf)
    weights = np.exp(scores - np.maximum(scores.max(-1, keepdims=True), -1e30))
    weights /= np.maximum(weights.sum(-1, keepdims=True), 1e-300)
    out = weights @ v
    d_scores = weights * (d_out @ v.swapaxes(2, 3) - (out * d_out).sum(-1, keepdims=True))
    return dict(
        zip(
            NAMES, (out, d_scores @ k / 8, d_scores.swapaxes(2, 3) @ q / 8, weights.swapaxes(2, 3) @ d_out), strict=True
        )
    )


def with_gradients(run: Callable) -> Callable:
    """(q, k, v, mask, d_out) to out, dq, dk, dv."""

    def both(q, k, v, mask, d_out):
        out, derivative = jax.vjp(lambda *qkv: run(*qkv, mask), q, k, v)
        return dict(zip(NAMES, (out, *derivative(d_out)), strict=True))

    return both


def errors(got: dict, exact: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """By tensor: |got - exact| / |exact|, over all elements (Frobenius) and of the largest."""
    found = {}
    for name, want in exact.items():
        difference = np.asarray(got[name], np.float64) - want
        largest = np.abs(difference).max() / np.abs(want).max()
        found[name] = {"norm": float(np.linalg.norm(difference) / np.linalg.norm(want)), "largest": float(largest)}
    return found


def require(name: str, norm: str, errors_of: dict[str, float], bound: float) -> None:
    if not errors_of["ours"] <= bound * errors_of["bf16 reference"]:  # NaN is not
        raise ValueError(
            f"{name} is wrong: {norm} error {errors_of['ours']:.3g}, of the bf16 reference "
            f"{errors_of['bf16 reference']:.3g}"
        )


def together(checks: list[dict[str, dict]], dtype: str) -> dict[str, dict[str, float]]:
    """Root mean square over checks of the relative errors, by tensor. Raises ValueError where ours is too large."""
    share, result = 1 if dtype == "bfloat16" else FP32_SHARE, {}
    for name in NAMES:
        mean = lambda who, name=name: sum(found[name]["norm"][who] ** 2 for found in checks) / len(checks)
        result[name] = {who: float(f"{mean(who) ** 0.5:.3g}") for who in ("ours", "bf16 reference")}
        require(name, "norm", result[name], TOGETHER * share)
    return result


def poison(like: list[jax.Array]) -> None:
    """Leaves NaN in memory that was just freed, which the next outputs get."""
    jax.block_until_ready([jnp.full(x.shape, jnp.nan, x.dtype) for x in like for _ in range(3)])


def check(
    mask: BlockMask, rows: int, heads: int, dtype: str, seed: int, ours: Callable, repeats: int
) -> dict[str, dict]:
    """Errors of our kernels and of the bf16 dense reference, by tensor. Raises ValueError where the kernels are not
    right.
    """
    random = np.random.default_rng(seed)
    num_queries, num_keys = mask.tiles.shape[1] * TILE, mask.tiles.shape[2] * TILE
    shapes = [(rows, heads, length, HEAD_DIM) for length in (num_queries, num_keys, num_keys, num_queries)]
    inputs = [jnp.asarray(random.standard_normal(shape, np.float32), dtype) for shape in shapes]
    q, k, v, d_out = inputs
    exact = in_fp64(*inputs, np.asarray(unpack(mask, num_queries, num_keys)))
    poison(inputs)
    first = jax.block_until_ready(ours(q, k, v, mask, d_out))
    *rounded, rounded_d_out = (x.astype(jnp.bfloat16) for x in inputs)
    reference = with_gradients(lambda *x: attention(*x, impl="reference"))(*rounded, mask, rounded_d_out)
    found, bf16 = errors(first, exact), errors(reference, exact)
    share = 1 if dtype == "bfloat16" else FP32_SHARE
    result = {}
    for name in NAMES:
        for norm in ("norm", "largest"):
            pair = {"ours": float(f"{found[name][norm]:.3g}"), "bf16 reference": float(f"{bf16[name][norm]:.3g}")}
            result.setdefault(name, {})[norm] = pair
            require(name, norm, pair, ALONE * share)
    for _ in range(repeats):
        poison(inputs)
        again = ours(q, k, v, mask, d_out)
        if any(not np.array_equal(np.asarray(again[name]), np.asarray(first[name])) for name in NAMES):
            raise ValueError("two runs differ")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("findings", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    gpu = device.on_hopper()
    length, heads, repeats = (CHECKED_LENGTH, 2, 4) if gpu else (SMALL_CHECKED_LENGTH, 1, 1)
    ours = with_gradients(lambda *x: pallas.attention(*x, interpret=None if gpu else InterpretGPUParams()))
    if gpu:  # inside of jit the interpreter's threads wait for each other where a machine has two cores
        ours = jax.jit(ours)
    batch = first_rows(args.rows, length, 1)
    found = {dtype: [] for dtype in DTYPES}

    def check_and_keep(dtype: str, *arguments: object) -> dict[str, dict]:
        result = check(*arguments, ours, repeats)
        found[dtype].append(result)
        return result

    for seed in range(args.seeds):
        for dtype in DTYPES:
            for rule in MASK_RULES:
                for call, mask in both_masks(batch, rule, Case(rule, length).slots).items():
                    place = "errors against fp64", dtype, rule, call, *([f"seed {seed}"] if args.seeds > 1 else [])
                    run = functools.partial(check_and_keep, dtype, mask, 1, heads, dtype, seed)
                    attempt(args.findings, *place, measure=run)
    for dtype in DTYPES:
        attempt(
            args.findings,
            "errors against fp64",
            dtype,
            "together",
            measure=functools.partial(together, found[dtype], dtype),
        )


if __name__ == "__main__":
    main()
