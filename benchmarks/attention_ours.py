"""Part of the attention benchmark: our implementation timed, its masks,
and a matrix product for the device's real rate.

python benchmarks/attention_ours.py ROWS FINDINGS
"""

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from attention_cases import HEAD_DIM, ROWS, Case, attempt, cases, first_rows, rows_and_heads, sample, seconds, tell
from attention_check import both_masks

from jax_impl.attention import BlockMask, attention, visible_pairs
from jax_impl.attention.block_mask import PAIR, TILE
from jax_impl.batch import Batch
from jax_impl.device import device

build_masks = jax.jit(both_masks, static_argnums=(1, 2))


def block_shares(mask: BlockMask, length: int) -> dict[str, float]:
    """How sparse an update mask is, as shares of the causal triangle of the tokens (as block counts of that size)."""
    triangle = mask.tiles.shape[0] * length**2 / 2
    tile = (mask.tiles != 0).any((3, 4)).sum() * TILE**2
    visited, full = (float(mask.key_counts[..., which].sum()) * PAIR * TILE for which in (1, 0))
    shares = {"elements": float(visible_pairs(mask)), "tiles of 64 x 64": float(tile), "visited (128 x 64)": visited}
    return {name: round(value / triangle, 3) for name, value in shares.items()} | {
        "full of visited": round(full / max(visited, 1), 3)
    }


def visited_flops(mask: BlockMask, heads: int) -> float:
    """Of a forward pass: two products over every listed block of 128 queries and 64 keys."""
    return float(mask.key_counts[..., 1].sum()) * heads * 2 * 2 * PAIR * TILE * HEAD_DIM


def time_call(compiled: Callable, *arguments: object) -> float:
    return seconds(lambda: compiled(*arguments), jax.block_until_ready)


def matrix_rate(gpu: bool) -> float:
    """TFLOP/s of a large bf16 product (fp32 without a GPU) of random numbers: what the card really gives."""
    size = 8192 if gpu else 512
    a, b = (jax.random.normal(jax.random.key(i), (size, size), jnp.bfloat16 if gpu else jnp.float32) for i in (0, 1))
    return float(f"{2 * size**3 / time_call(jax.jit(jnp.matmul), a, b) / 1e12:.4g}")


def time_case(findings: Path, case: Case, batch: Batch, gpu: bool) -> None:
    rows, heads = rows_and_heads(gpu)
    impl, dtype, name = ("pallas", jnp.bfloat16, "ours") if gpu else ("xla", jnp.float32, "ours (xla)")
    forward = jax.jit(lambda q, k, v, mask: attention(q, k, v, mask, impl=impl))

    @jax.jit
    def gradients(q, k, v, mask, d_out):
        return jax.vjp(lambda *qkv: attention(*qkv, mask, impl=impl), q, k, v)[1](d_out)

    def time_one(call: str, mask: BlockMask) -> None:
        q, k, v, d_out = (jnp.asarray(x, dtype) for x in case.arrays(call, rows, heads))
        at = (*case.place, call, name)
        attempt(findings, *at, "forward", measure=lambda: time_call(forward, q, k, v, mask))
        attempt(findings, *at, "forward and backward", measure=lambda: time_call(gradients, q, k, v, mask, d_out))
        attempt(findings, *at, "sample", measure=lambda: sample(np.asarray(forward(q, k, v, mask), np.float32)))

    batch = jax.device_put(batch)
    masks = build_masks(batch, case.rule, case.slots)
    for call, mask in masks.items():
        time_one(call, mask)
    attempt(
        findings,
        *case.place,
        "mask building",
        "ours",
        measure=lambda: time_call(build_masks, batch, case.rule, case.slots),
    )
    tell(findings, *case.place, "visited TFLOP", value=round(visited_flops(masks["update"], heads) / 1e12, 6))


def main() -> None:
    rows_file, findings = map(Path, sys.argv[1:])
    gpu = device.on_hopper()
    rows, heads = rows_and_heads(gpu)
    if gpu:
        tell(findings, "gpu", value=device.describe(device.sampling_compute()))
    tell(findings, "rows x heads", value=f"{rows} x {heads}")
    attempt(findings, "matrix product, TFLOP/s", measure=lambda: matrix_rate(gpu))
    for case in cases(gpu):
        attempt(
            findings, measure=lambda case=case: time_case(findings, case, first_rows(rows_file, case.length, rows), gpu)
        )
    for case in cases(gpu=True):  # sparsity needs no GPU
        masks = build_masks(first_rows(rows_file, case.length, ROWS), case.rule, case.slots)
        tell(
            findings,
            "shares of the causal triangle",
            case.rule,
            str(case.length),
            value=block_shares(masks["update"], case.length),
        )


if __name__ == "__main__":
    main()
