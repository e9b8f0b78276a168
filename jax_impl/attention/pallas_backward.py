"""Backward kernels: dq walks the key blocks of 128 queries, dk and dv walk the query blocks of 128 keys.

Nothing is added up in global memory, so a run is like the next one to the bit.

    p = exp2(scores - lse)    dp = do v^T    ds = p (dp - delta), delta = sum(o do)
    dq = ds k / 8             dk = ds^T q / 8             dv = p^T do

dk and dv compute the transposed scores k q^T, so that p^T and ds^T come out of the registers as they are needed, and
read the same tiles of the mask along the other axis.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from jax_impl.attention import hopper
from jax_impl.attention.block_mask import PAIR, TILE, BlockMask
from jax_impl.attention.hopper import (
    COMPUTE_WARPGROUPS,
    HEAD_DIM,
    SCALE_LOG2,
    matrix,
    per_column,
    per_row,
    slot_of,
    walk,
)

SCALE = HEAD_DIM**-0.5


@dataclass(frozen=True)
class BackwardParameters:
    """A step is one listed block of 64: with 128 the scores, dp and the two sums of dk and dv no longer fit the
    registers (they spill).
    stages: steps whose two blocks are in shared memory at once.
    """

    stages: int


# 119 and 135 of 227 KB in all; a step takes half as long as the forward kernel's, copies must be further ahead
BF16 = BackwardParameters(stages=4)
FP32 = BackwardParameters(stages=2)  # everything is there twice (its halves), and the staged results are fp32


def dq_kernel(q, k, v, d_out, lse, delta, mask: BlockMask, *, interpret: Any) -> jax.Array:
    """dq [B, N, Tq, 64] in q's dtype. lse, delta: fp32[B, N, Tq]; the other arguments as in the forward kernel."""
    dtype, stages = q.dtype, (BF16 if q.dtype == jnp.bfloat16 else FP32).stages
    q, k, v, d_out = map(hopper.halves, (q, k, v, d_out))
    count = len(q)
    ops = hopper.operations(interpret)

    def compute(program, q_gmem, k_gmem, v_gmem, d_out_gmem, lse_gmem, delta_gmem, tiles, dq_gmem, **shared):
        row, head, warpgroup = program.row, program.head, program.warpgroup
        queries = pl.ds(program.block * PAIR + warpgroup * TILE, TILE)
        names = ("q_shared", "d_out_shared", "lse_shared", "delta_shared", "own_ready")
        q_shared, d_out_shared, lse_shared, delta_shared, own_ready = (shared[name].at[warpgroup] for name in names)
        for half in range(count):
            plgpu.copy_gmem_to_smem(q_gmem.at[half, row, head, queries], q_shared.at[half], own_ready)
            plgpu.copy_gmem_to_smem(d_out_gmem.at[half, row, head, queries], d_out_shared.at[half], own_ready)
        plgpu.copy_gmem_to_smem(lse_gmem.at[row, head, queries], lse_shared, own_ready)
        plgpu.copy_gmem_to_smem(delta_gmem.at[row, head, queries], delta_shared, own_ready)
        plgpu.barrier_wait(own_ready)
        lse_rows, delta_rows = ops.load_per_row(lse_shared), ops.load_per_row(delta_shared)

        def step(masked, index, dq):
            slot = slot_of(index, stages)
            plgpu.barrier_wait(shared["ready"].at[slot])
            scores = ops.product_transposed(q_shared, shared["k_shared"].at[slot])
            exponents = scores * SCALE_LOG2 - per_row(lse_rows, scores.shape)
            if masked:  # hiding the exponents, not the scores, leaves multiplication and difference one instruction
                plgpu.barrier_wait(shared["tiles_ready"].at[slot])
                exponents = hopper.hide(ops, exponents, shared["tiles_shared"].at[slot, pl.ds(warpgroup, 1)])
            weights = jnp.exp2(exponents)
            d_weights = ops.product_transposed(d_out_shared, shared["v_shared"].at[slot])
            d_scores = weights * (d_weights - per_row(delta_rows, scores.shape))
            dq = ops.add_product(dq, d_scores, shared["k_shared"].at[slot])
            hopper.give_back(shared["consumed"].at[slot], loaded=masked)
            return dq

        dq = walk(step, program, ops.zeros(TILE, HEAD_DIM))
        shared["dq_shared"].at[warpgroup][...] = (dq * SCALE).astype(dtype)
        plgpu.commit_smem()
        plgpu.copy_smem_to_gmem(shared["dq_shared"].at[warpgroup], dq_gmem.at[row, head, queries])
        plgpu.wait_smem_to_gmem(0)

    def copy_step(
        program, index, slot, reused, q_gmem, k_gmem, v_gmem, d_out_gmem, lse_gmem, delta_gmem, tiles, **shared
    ):
        row, head, key_block = program.row, program.head, shared["list_shared"][index]
        keys, ready = pl.ds(key_block * TILE, TILE), shared["ready"].at[slot]
        if reused:
            plgpu.barrier_wait(shared["consumed"].at[slot])
        for half in range(count):
            plgpu.copy_gmem_to_smem(k_gmem.at[half, row, head, keys], shared["k_shared"].at[slot, half], ready)
            plgpu.copy_gmem_to_smem(v_gmem.at[half, row, head, keys], shared["v_shared"].at[slot, half], ready)

        @pl.when(index >= program.full_steps)
        def _():
            pair = tiles.at[row, pl.ds(program.block * COMPUTE_WARPGROUPS, COMPUTE_WARPGROUPS), key_block]
            plgpu.copy_gmem_to_smem(pair, shared["tiles_shared"].at[slot], shared["tiles_ready"].at[slot])

    (dq,) = hopper.launch(
        compute,
        copy_step,
        name="block_sparse_dq",
        arrays=(q, k, v, d_out, lse, delta, mask.tiles),
        lists=mask.key_blocks,
        counts=mask.key_counts,
        outputs=[jax.ShapeDtypeStruct(q.shape[1:], dtype)],
        scratch=dict(
            q_shared=matrix(COMPUTE_WARPGROUPS, count, TILE, HEAD_DIM),
            d_out_shared=matrix(COMPUTE_WARPGROUPS, count, TILE, HEAD_DIM),
            lse_shared=plgpu.SMEM((COMPUTE_WARPGROUPS, TILE), jnp.float32),
            delta_shared=plgpu.SMEM((COMPUTE_WARPGROUPS, TILE), jnp.float32),
            own_ready=plgpu.Barrier(num_arrivals=2 * count + 2, num_barriers=COMPUTE_WARPGROUPS),
            k_shared=matrix(stages, count, TILE, HEAD_DIM),
            v_shared=matrix(stages, count, TILE, HEAD_DIM),
            **_ring(2 * count, stages),
            dq_shared=matrix(COMPUTE_WARPGROUPS, TILE, HEAD_DIM, dtype=dtype),
        ),
        consumed=["consumed"],
        stages=stages,
        interpret=interpret,
    )
    return dq


def dkv_kernel(q, k, v, d_out, lse, delta, mask: BlockMask, *, interpret: Any) -> tuple[jax.Array, jax.Array]:
    """dk, dv [B, N, Tk, 64] in k's dtype. lse, delta: fp32[B, N, Tq]; the other arguments as in the forward kernel."""
    dtype, stages = q.dtype, (BF16 if q.dtype == jnp.bfloat16 else FP32).stages
    q, k, v, d_out = map(hopper.halves, (q, k, v, d_out))
    count = len(k)
    ops = hopper.operations(interpret)

    def compute(program, q_gmem, k_gmem, v_gmem, d_out_gmem, lse_gmem, delta_gmem, tiles, dk_gmem, dv_gmem, **shared):
        row, head, warpgroup = program.row, program.head, program.warpgroup
        keys = pl.ds(program.block * PAIR + warpgroup * TILE, TILE)
        k_shared, v_shared, own_ready = (shared[name].at[warpgroup] for name in ("k_shared", "v_shared", "own_ready"))
        for half in range(count):
            plgpu.copy_gmem_to_smem(k_gmem.at[half, row, head, keys], k_shared.at[half], own_ready)
            plgpu.copy_gmem_to_smem(v_gmem.at[half, row, head, keys], v_shared.at[half], own_ready)
        plgpu.barrier_wait(own_ready)

        def step(masked, index, sums):
            dk, dv = sums
            slot = slot_of(index, stages)
            plgpu.barrier_wait(shared["ready"].at[slot])
            scores = ops.product_transposed(k_shared, shared["q_shared"].at[slot])  # [keys, queries]
            lse_columns = ops.load_per_column(shared["lse_shared"].at[slot])
            exponents = scores * SCALE_LOG2 - per_column(lse_columns, scores.shape)
            if masked:
                plgpu.barrier_wait(shared["tiles_ready"].at[slot])
                exponents = hopper.hide_transposed(ops, exponents, shared["tiles_shared"].at[slot, warpgroup])
            weights = jnp.exp2(exponents)
            d_weights = ops.product_transposed(v_shared, shared["d_out_shared"].at[slot])
            dv = ops.add_product(dv, weights, shared["d_out_shared"].at[slot])
            delta_columns = ops.load_per_column(shared["delta_shared"].at[slot])
            d_scores = weights * (d_weights - per_column(delta_columns, scores.shape))
            dk = ops.add_product(dk, d_scores, shared["q_shared"].at[slot])
            hopper.give_back(shared["consumed"].at[slot], loaded=True)
            return dk, dv

        dk, dv = walk(step, program, (ops.zeros(TILE, HEAD_DIM), ops.zeros(TILE, HEAD_DIM)))
        shared["dk_shared"].at[warpgroup][...] = (dk * SCALE).astype(dtype)
        shared["dv_shared"].at[warpgroup][...] = dv.astype(dtype)
        plgpu.commit_smem()
        plgpu.copy_smem_to_gmem(shared["dk_shared"].at[warpgroup], dk_gmem.at[row, head, keys])
        plgpu.copy_smem_to_gmem(shared["dv_shared"].at[warpgroup], dv_gmem.at[row, head, keys])
        plgpu.wait_smem_to_gmem(0)

    def copy_step(
        program, index, slot, reused, q_gmem, k_gmem, v_gmem, d_out_gmem, lse_gmem, delta_gmem, tiles, **shared
    ):
        row, head, query_block = program.row, program.head, shared["list_shared"][index]
        queries, ready = pl.ds(query_block * TILE, TILE), shared["ready"].at[slot]
        if reused:
            plgpu.barrier_wait(shared["consumed"].at[slot])
        for half in range(count):
            plgpu.copy_gmem_to_smem(q_gmem.at[half, row, head, queries], shared["q_shared"].at[slot, half], ready)
            plgpu.copy_gmem_to_smem(
                d_out_gmem.at[half, row, head, queries], shared["d_out_shared"].at[slot, half], ready
            )
        plgpu.copy_gmem_to_smem(lse_gmem.at[row, head, queries], shared["lse_shared"].at[slot], ready)
        plgpu.copy_gmem_to_smem(delta_gmem.at[row, head, queries], shared["delta_shared"].at[slot], ready)

        @pl.when(index >= program.full_steps)
        def _():
            pair = tiles.at[row, query_block, pl.ds(program.block * COMPUTE_WARPGROUPS, COMPUTE_WARPGROUPS)]
            plgpu.copy_gmem_to_smem(pair, shared["tiles_shared"].at[slot], shared["tiles_ready"].at[slot])

    dk, dv = hopper.launch(
        compute,
        copy_step,
        name="block_sparse_dkv",
        arrays=(q, k, v, d_out, lse, delta, mask.tiles),
        lists=mask.query_blocks,
        counts=mask.query_counts,
        outputs=[jax.ShapeDtypeStruct(k.shape[1:], dtype)] * 2,
        scratch=dict(
            k_shared=matrix(COMPUTE_WARPGROUPS, count, TILE, HEAD_DIM),
            v_shared=matrix(COMPUTE_WARPGROUPS, count, TILE, HEAD_DIM),
            own_ready=plgpu.Barrier(num_arrivals=2 * count, num_barriers=COMPUTE_WARPGROUPS),
            q_shared=matrix(stages, count, TILE, HEAD_DIM),
            d_out_shared=matrix(stages, count, TILE, HEAD_DIM),
            lse_shared=plgpu.SMEM((stages, TILE), jnp.float32),
            delta_shared=plgpu.SMEM((stages, TILE), jnp.float32),
            **_ring(2 * count + 2, stages),
            dk_shared=matrix(COMPUTE_WARPGROUPS, TILE, HEAD_DIM, dtype=dtype),
            dv_shared=matrix(COMPUTE_WARPGROUPS, TILE, HEAD_DIM, dtype=dtype),
        ),
        consumed=["consumed"],
        stages=stages,
        interpret=interpret,
    )
    return dk, dv


def _ring(copies: int, stages: int) -> dict[str, Any]:
    """Tiles and barriers of the slots, each of which gets so many copies besides its tiles."""
    return dict(
        tiles_shared=plgpu.SMEM((stages, COMPUTE_WARPGROUPS, 2, TILE), jnp.uint32),
        ready=plgpu.Barrier(num_arrivals=copies, num_barriers=stages),
        tiles_ready=plgpu.Barrier(num_barriers=stages),
        consumed=plgpu.Barrier(num_arrivals=COMPUTE_WARPGROUPS, num_barriers=stages),
    )
