"""Part of the attention benchmark: our implementation timed, its masks, and a matrix product for the device's real
rate. On a Hopper GPU each kernel is timed alone, too.

    python benchmarks/attention_ours.py ROWS FINDINGS [--lengths 8192 ...] [--name NAME] [--once]

--name: what this implementation is called in the findings, where several are compared. --once runs each kernel once on
the first case, for a profiler.
"""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from attention_cases import (
    CALLS,
    HEAD_DIM,
    ROWS,
    Case,
    both_masks,
    cases,
    first_rows,
    rows_and_heads,
    sample,
    seconds,
)
from attention_kernels import PRODUCTS, Kernels, delta_of
from stages import attempt, tell

from jax_impl.attention import BlockMask, attention, visible_pairs
from jax_impl.attention.block_mask import PAIR, TILE
from jax_impl.batch import Batch
from jax_impl.device import device

BOTH = "forward and backward"
BLOCK = PAIR * TILE  # pairs of query and key


def blocks(mask: BlockMask) -> tuple[float, float]:
    """Blocks of 128 queries and 64 keys that are visited, and of these full; by the tiles, which every variant of the
    kernels has, however it lists them.
    """
    some, full = (mask.tiles != 0).any((3, 4)), (~mask.tiles == 0).all((3, 4))
    return float((some[:, 0::2] | some[:, 1::2]).sum()), float((full[:, 0::2] & full[:, 1::2]).sum())


def block_shares(mask: BlockMask, length: int) -> dict[str, float]:
    """How sparse an update mask is, as shares of the causal triangle of the tokens (as block counts of that size)."""
    triangle = mask.tiles.shape[0] * length**2 / 2
    tile = float((mask.tiles != 0).any((3, 4)).sum()) * TILE**2
    visited, full = blocks(mask)
    shares = {"elements": float(visible_pairs(mask)), "tiles of 64 x 64": tile, "visited (128 x 64)": visited * BLOCK}
    return {name: round(value / triangle, 3) for name, value in shares.items()} | {
        "full of visited": round(full / max(visited, 1), 3)
    }


def visited_flops(mask: BlockMask, heads: int) -> float:
    """Of one product over every visited block."""
    return blocks(mask)[0] * heads * 2 * BLOCK * HEAD_DIM


def time_call(compiled: Callable, *arguments: object) -> float:
    return seconds(lambda: compiled(*arguments), jax.block_until_ready)


def matrix_rate(gpu: bool) -> float:
    """TFLOP/s of a large bf16 product (fp32 without a GPU) of random numbers: what the card really gives."""
    size = 8192 if gpu else 512
    a, b = (jax.random.normal(jax.random.key(i), (size, size), jnp.bfloat16 if gpu else jnp.float32) for i in (0, 1))
    return float(f"{2 * size**3 / time_call(jax.jit(jnp.matmul), a, b) / 1e12:.4g}")


@functools.partial(jax.jit, static_argnames="impl")
def forward(q, k, v, mask, *, impl: str):
    return attention(q, k, v, mask, impl=impl)


@functools.partial(jax.jit, static_argnames="impl")
def gradients(q, k, v, d_out, mask, *, impl: str):
    return jax.vjp(lambda *qkv: attention(*qkv, mask, impl=impl), q, k, v)[1](d_out)


def forward_call(kernels: Kernels | None, q, k, v, mask: BlockMask) -> Callable:
    """A function of nothing that gives (out, ...)."""
    if kernels is None:
        return lambda: (forward(q, k, v, mask, impl="xla"),)
    return dict(kernels.calls(q, k, v, mask, None, None, None))["forward"]


def time_call_of(
    findings: Path, at: tuple[str, ...], kernels: Kernels | None, arrays, mask: BlockMask, rate: float
) -> None:
    """One call's forward pass, with kernels each backward kernel alone, and both passes; then what share of the matrix
    rate was reached on visited blocks.
    """
    q, k, v, d_out = arrays
    product = visited_flops(mask, q.shape[1])
    run_forward = forward_call(kernels, q, k, v, mask)

    def time_kernel(kernel: str, run: Callable) -> float:
        spent = seconds(run, jax.block_until_ready)
        if kernels is None:
            return spent
        reached = product * PRODUCTS[kernel] / spent / 1e12
        shares = {"TFLOP/s": round(reached, 1), "share of the matrix rate": round(reached / rate, 3)}
        tell(findings, *at, "on visited blocks", kernel, value=shares)
        return spent

    def time_backward() -> None:
        out, lse = run_forward()
        for kernel, run in kernels.calls(q, k, v, mask, d_out, lse, delta_of(out, d_out)):
            if kernel != "forward":
                attempt(findings, *at, kernel, measure=functools.partial(time_kernel, kernel, run))

    attempt(findings, *at, "forward", measure=lambda: time_kernel("forward", run_forward))
    attempt(findings, *at, "sample", measure=lambda: sample(np.asarray(run_forward()[0], np.float32)))
    if kernels is not None:
        attempt(findings, *at, "backward", measure=time_backward)
    impl = "xla" if kernels is None else "pallas"
    attempt(findings, *at, BOTH, measure=lambda: time_call(functools.partial(gradients, impl=impl), *arrays, mask))


def time_case(findings: Path, case: Case, batch: Batch, kernels: Kernels | None, name: str, rate: float) -> None:
    """kernels: None without a GPU."""
    rows, heads = rows_and_heads(gpu=kernels is not None)
    dtype = jnp.float32 if kernels is None else jnp.bfloat16
    batch = jax.device_put(batch)
    masks = both_masks(batch, case.rule, case.slots)
    tell(findings, *case.place, "visited TFLOP", value=round(2 * visited_flops(masks["update"], heads) / 1e12, 6))
    for call in CALLS:
        print(case, call, flush=True)
        arrays = [jnp.asarray(x, dtype) for x in case.arrays(call, rows, heads)]
        time_call_of(findings, (*case.place, call, name), kernels, arrays, masks[call], rate)
    building = functools.partial(time_call, both_masks, batch, case.rule, case.slots)
    attempt(findings, *case.place, "mask building", name, measure=building)


def run_once(case: Case, batch: Batch, kernels: Kernels) -> None:
    rows, heads = rows_and_heads(gpu=True)
    mask = both_masks(batch, case.rule, case.slots)["update"]
    q, k, v, d_out = (jnp.asarray(x, jnp.bfloat16) for x in case.arrays("update", rows, heads))
    out, lse = forward_call(kernels, q, k, v, mask)()
    for _, run in kernels.calls(q, k, v, mask, d_out, lse, delta_of(out, d_out)):
        jax.block_until_ready(run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("findings", type=Path)
    parser.add_argument("--lengths", type=int, nargs="*", default=())
    parser.add_argument("--name")
    parser.add_argument("--once", action="store_true")
    args = parser.parse_args()
    gpu = device.on_hopper()
    rows, heads = rows_and_heads(gpu)
    kernels = Kernels(None) if gpu else None
    name = args.name or ("ours" if gpu else "ours (xla)")
    to_time = cases(gpu, args.lengths)
    if args.once:
        return run_once(to_time[0], first_rows(args.rows, to_time[0].length, rows), Kernels(None))
    if gpu:
        tell(args.findings, "gpu", value=device.describe(device.sampling_compute()))
    tell(args.findings, "rows x heads", value=f"{rows} x {heads}")
    rate = matrix_rate(gpu)
    tell(args.findings, "matrix product, TFLOP/s", value=rate)
    for case in to_time:
        batch = first_rows(args.rows, case.length, rows)
        attempt(args.findings, measure=functools.partial(time_case, args.findings, case, batch, kernels, name, rate))
    for case in cases(gpu=True, lengths=args.lengths):  # sparsity needs no GPU
        masks = both_masks(first_rows(args.rows, case.length, ROWS), case.rule, case.slots)
        shares = block_shares(masks["update"], case.length)
        tell(args.findings, "shares of the causal triangle", case.rule, str(case.length), value=shares)


if __name__ == "__main__":
    main()
