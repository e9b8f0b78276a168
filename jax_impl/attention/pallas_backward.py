"""Backward kernels: dq walks the key blocks of 128 queries, dk and dv walk the query blocks of 128 keys.
Called by pallas.py.

Nothing is added up in global memory, so a run is like the next one to the bit.

    p = exp2(scores - lse)    dp = do v^T    ds = p (dp - delta), delta = sum(o do)
    dq = ds k / 8             dk = ds^T q / 8             dv = p^T do

dk and dv compute the transposed scores k q^T, so that p^T and ds^T come out of the registers as they are needed, and
read the same tiles of the mask along the other axis.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

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


class QueriesScratch(NamedTuple):
    """What a program of dq has of shared memory, and its barriers: its own queries [W warpgroups, ...] and a ring of
    slots [stages, ...] for the keys that they meet; `halves` parts.
    """

    q_shared: Any  # [W, halves, 64, H]
    d_out_shared: Any
    lse_shared: Any  # [W, 64]
    delta_shared: Any
    own_ready: Any  # barriers [W]: all of these are loaded
    k_shared: Any  # [stages, halves, 64, H]
    v_shared: Any
    tiles_shared: Any  # [stages, W, 2, 64]
    ready: Any  # barriers [stages]: keys and values are loaded
    tiles_ready: Any
    consumed: Any
    dq_shared: Any  # [W, 64, H], the result on its way out


class KeysScratch(NamedTuple):
    """What a program of dk and dv has of shared memory, and its barriers: its own keys [W warpgroups, ...] and a ring
    of slots [stages, ...] for the queries that they meet; `halves` parts.
    """

    k_shared: Any  # [W, halves, 64, H]
    v_shared: Any
    own_ready: Any  # barriers [W]: both are loaded
    q_shared: Any  # [stages, halves, 64, H]
    d_out_shared: Any
    lse_shared: Any  # [stages, 64]
    delta_shared: Any
    tiles_shared: Any  # [stages, W, 2, 64]
    ready: Any  # barriers [stages]: all but the tiles is loaded
    tiles_ready: Any
    consumed: Any
    dk_shared: Any  # [W, 64, H], the results on their way out
    dv_shared: Any


def dq_kernel(q, k, v, d_out, lse, delta, mask: BlockMask, *, interpret: Any) -> jax.Array:
    """dq [B, N, Tq, 64] in q's dtype. lse, delta: fp32[B, N, Tq]; the other arguments as in the forward kernel."""
    dtype, stages = q.dtype, (BF16 if q.dtype == jnp.bfloat16 else FP32).stages
    q, k, v, d_out = jax.tree.map(hopper.halves, (q, tuple(k), tuple(v), d_out))
    count = len(q)
    ops = hopper.operations(interpret)

    def compute(program, scratch, q_gmem, k_gmem, v_gmem, d_out_gmem, lse_gmem, delta_gmem, tiles, dq_gmem):
        row, head, warpgroup = program.row, program.head, program.warpgroup
        queries = pl.ds(program.block * PAIR + warpgroup * TILE, TILE)
        q_shared, d_out_shared = scratch.q_shared.at[warpgroup], scratch.d_out_shared.at[warpgroup]
        lse_shared, delta_shared = scratch.lse_shared.at[warpgroup], scratch.delta_shared.at[warpgroup]
        own_ready = scratch.own_ready.at[warpgroup]
        for half in range(count):
            plgpu.copy_gmem_to_smem(q_gmem.at[half, row, head, queries], q_shared.at[half], own_ready)
            plgpu.copy_gmem_to_smem(d_out_gmem.at[half, row, head, queries], d_out_shared.at[half], own_ready)
        plgpu.copy_gmem_to_smem(lse_gmem.at[row, head, queries], lse_shared, own_ready)
        plgpu.copy_gmem_to_smem(delta_gmem.at[row, head, queries], delta_shared, own_ready)
        plgpu.barrier_wait(own_ready)
        lse_rows, delta_rows = ops.load_per_row(lse_shared), ops.load_per_row(delta_shared)
        q_halves, d_out_halves = ops.operand(q_shared), ops.operand(d_out_shared)

        def step(masked, index, dq):
            slot = slot_of(index, stages)
            plgpu.barrier_wait(scratch.ready.at[slot])
            if masked:
                plgpu.barrier_wait(scratch.tiles_ready.at[slot])
            (scores,) = ops.product_transposed(q_halves, scratch.k_shared.at[slot])

            def weights_of_scores():
                exponents = scores * SCALE_LOG2 - per_row(lse_rows, scores.shape)
                if masked:  # hiding the exponents, not the scores, leaves multiplication and difference one instruction
                    exponents = hopper.hide(ops, exponents, scratch.tiles_shared.at[slot, pl.ds(warpgroup, 1)])
                return (jnp.exp2(exponents),)

            d_weights, weights = ops.product_transposed(d_out_halves, scratch.v_shared.at[slot], weights_of_scores)
            d_scores = hopper.registers_in_halves(weights * (d_weights - per_row(delta_rows, scores.shape)), count)
            dq = ops.add_product(dq, d_scores, scratch.k_shared.at[slot])
            hopper.give_back(scratch.consumed.at[slot], loaded=masked)
            return dq

        dq = walk(step, program, ops.zeros(TILE, HEAD_DIM))
        scratch.dq_shared.at[warpgroup][...] = (dq * SCALE).astype(dtype)
        plgpu.commit_smem()
        plgpu.copy_smem_to_gmem(scratch.dq_shared.at[warpgroup], dq_gmem.at[row, head, queries])
        plgpu.wait_smem_to_gmem(0, wait_read_only=True)

    def copy_step(
        program, scratch, index, slot, reused, q_gmem, k_gmem, v_gmem, d_out_gmem, lse_gmem, delta_gmem, tiles
    ):
        row, head, key_block = program.row, program.head, program.listed(index)
        ready = scratch.ready.at[slot]
        if reused:
            plgpu.barrier_wait(scratch.consumed.at[slot])
        for groups, shared in ((k_gmem, scratch.k_shared), (v_gmem, scratch.v_shared)):

            def copy_block(source, block, shared=shared):
                for half in range(count):
                    rows = source.at[half, row, head, pl.ds(block * TILE, TILE)]
                    plgpu.copy_gmem_to_smem(rows, shared.at[slot, half], ready)

            hopper.in_group(groups, key_block, copy_block)

        @pl.when(index >= program.full_steps)
        def _():
            pair = tiles.at[row, pl.ds(program.block * COMPUTE_WARPGROUPS, COMPUTE_WARPGROUPS), key_block]
            plgpu.copy_gmem_to_smem(pair, scratch.tiles_shared.at[slot], scratch.tiles_ready.at[slot])

    (dq,) = hopper.launch(
        compute,
        copy_step,
        name="block_sparse_dq",
        arrays=(q, k, v, d_out, lse, delta, mask.tiles),
        lists=mask.key_lists,
        outputs=[jax.ShapeDtypeStruct(q.shape[1:], dtype)],
        scratch=QueriesScratch(
            q_shared=matrix(COMPUTE_WARPGROUPS, count, TILE, HEAD_DIM),
            d_out_shared=matrix(COMPUTE_WARPGROUPS, count, TILE, HEAD_DIM),
            lse_shared=plgpu.SMEM((COMPUTE_WARPGROUPS, TILE), jnp.float32),
            delta_shared=plgpu.SMEM((COMPUTE_WARPGROUPS, TILE), jnp.float32),
            own_ready=plgpu.Barrier(num_arrivals=2 * count + 2, num_barriers=COMPUTE_WARPGROUPS),
            k_shared=matrix(stages, count, TILE, HEAD_DIM),
            v_shared=matrix(stages, count, TILE, HEAD_DIM),
            tiles_shared=plgpu.SMEM((stages, COMPUTE_WARPGROUPS, 2, TILE), jnp.uint32),
            ready=plgpu.Barrier(num_arrivals=2 * count, num_barriers=stages),
            tiles_ready=plgpu.Barrier(num_barriers=stages),
            consumed=plgpu.Barrier(num_arrivals=COMPUTE_WARPGROUPS, num_barriers=stages),
            dq_shared=matrix(COMPUTE_WARPGROUPS, TILE, HEAD_DIM, dtype=dtype),
        ),
        consumed=lambda scratch: (scratch.consumed,),
        stages=stages,
        interpret=interpret,
    )
    return dq


def dkv_kernel(q, k, v, d_out, lse, delta, mask: BlockMask, *, interpret: Any) -> tuple[tuple, tuple]:
    """dk, dv in groups [B, N, Tk_g, 64] as k and v are, in q's dtype. lse, delta: fp32[B, N, Tq]; the other arguments
    as in the forward kernel.
    """
    dtype, stages = q.dtype, (BF16 if q.dtype == jnp.bfloat16 else FP32).stages
    outputs = [tuple(jax.ShapeDtypeStruct(group.shape, dtype) for group in k)] * 2
    q, k, v, d_out = jax.tree.map(hopper.halves, (q, tuple(k), tuple(v), d_out))
    count = len(q)
    ops = hopper.operations(interpret)

    def compute(program, scratch, q_gmem, k_gmem, v_gmem, d_out_gmem, lse_gmem, delta_gmem, tiles, dk_gmem, dv_gmem):
        row, head, warpgroup = program.row, program.head, program.warpgroup
        own_block = program.block * COMPUTE_WARPGROUPS + warpgroup
        own_ready = scratch.own_ready.at[warpgroup]
        k_shared, v_shared = scratch.k_shared.at[warpgroup], scratch.v_shared.at[warpgroup]
        for groups, shared in ((k_gmem, k_shared), (v_gmem, v_shared)):

            def load(source, block, shared=shared):
                for half in range(count):
                    rows = source.at[half, row, head, pl.ds(block * TILE, TILE)]
                    plgpu.copy_gmem_to_smem(rows, shared.at[half], own_ready)

            hopper.in_group(groups, own_block, load)
        plgpu.barrier_wait(own_ready)

        k_halves, v_halves = ops.operand(k_shared), ops.operand(v_shared)

        def step(masked, index, sums):
            dk, dv = sums
            slot = slot_of(index, stages)
            plgpu.barrier_wait(scratch.ready.at[slot])
            if masked:
                plgpu.barrier_wait(scratch.tiles_ready.at[slot])
            lse_columns = ops.load_per_column(scratch.lse_shared.at[slot])
            (scores,) = ops.product_transposed(k_halves, scratch.q_shared.at[slot])  # [keys, queries]

            def weights_of_scores():
                exponents = scores * SCALE_LOG2 - per_column(lse_columns, scores.shape)
                if masked:
                    exponents = hopper.hide_transposed(ops, exponents, scratch.tiles_shared.at[slot, warpgroup])
                return (jnp.exp2(exponents),)

            d_weights, weights = ops.product_transposed(v_halves, scratch.d_out_shared.at[slot], weights_of_scores)

            def d_scores_of_weights():
                delta_columns = ops.load_per_column(scratch.delta_shared.at[slot])
                return weights * (d_weights - per_column(delta_columns, scores.shape))

            weight_halves = hopper.registers_in_halves(weights, count)
            dv, d_scores = ops.add_product_beside(
                dv, weight_halves, scratch.d_out_shared.at[slot], d_scores_of_weights, like=weights
            )
            dk = ops.add_product(dk, hopper.registers_in_halves(d_scores, count), scratch.q_shared.at[slot])
            hopper.give_back(scratch.consumed.at[slot], loaded=True)
            return dk, dv

        dk, dv = walk(step, program, (ops.zeros(TILE, HEAD_DIM), ops.zeros(TILE, HEAD_DIM)))
        scratch.dk_shared.at[warpgroup][...] = (dk * SCALE).astype(dtype)
        scratch.dv_shared.at[warpgroup][...] = dv.astype(dtype)
        plgpu.commit_smem()
        for groups, shared in ((dk_gmem, scratch.dk_shared), (dv_gmem, scratch.dv_shared)):

            def store(target, block, shared=shared):
                plgpu.copy_smem_to_gmem(shared.at[warpgroup], target.at[row, head, pl.ds(block * TILE, TILE)])

            hopper.in_group(groups, own_block, store)
        plgpu.wait_smem_to_gmem(0, wait_read_only=True)

    def copy_step(
        program, scratch, index, slot, reused, q_gmem, k_gmem, v_gmem, d_out_gmem, lse_gmem, delta_gmem, tiles
    ):
        row, head, query_block = program.row, program.head, program.listed(index)
        queries, ready = pl.ds(query_block * TILE, TILE), scratch.ready.at[slot]
        if reused:
            plgpu.barrier_wait(scratch.consumed.at[slot])
        for half in range(count):
            plgpu.copy_gmem_to_smem(q_gmem.at[half, row, head, queries], scratch.q_shared.at[slot, half], ready)
            plgpu.copy_gmem_to_smem(d_out_gmem.at[half, row, head, queries], scratch.d_out_shared.at[slot, half], ready)
        plgpu.copy_gmem_to_smem(lse_gmem.at[row, head, queries], scratch.lse_shared.at[slot], ready)
        plgpu.copy_gmem_to_smem(delta_gmem.at[row, head, queries], scratch.delta_shared.at[slot], ready)

        @pl.when(index >= program.full_steps)
        def _():
            pair = tiles.at[row, query_block, pl.ds(program.block * COMPUTE_WARPGROUPS, COMPUTE_WARPGROUPS)]
            plgpu.copy_gmem_to_smem(pair, scratch.tiles_shared.at[slot], scratch.tiles_ready.at[slot])

    dk, dv = hopper.launch(
        compute,
        copy_step,
        name="block_sparse_dkv",
        arrays=(q, k, v, d_out, lse, delta, mask.tiles),
        lists=mask.query_lists,
        outputs=outputs,
        scratch=KeysScratch(
            k_shared=matrix(COMPUTE_WARPGROUPS, count, TILE, HEAD_DIM),
            v_shared=matrix(COMPUTE_WARPGROUPS, count, TILE, HEAD_DIM),
            own_ready=plgpu.Barrier(num_arrivals=2 * count, num_barriers=COMPUTE_WARPGROUPS),
            q_shared=matrix(stages, count, TILE, HEAD_DIM),
            d_out_shared=matrix(stages, count, TILE, HEAD_DIM),
            lse_shared=plgpu.SMEM((stages, TILE), jnp.float32),
            delta_shared=plgpu.SMEM((stages, TILE), jnp.float32),
            tiles_shared=plgpu.SMEM((stages, COMPUTE_WARPGROUPS, 2, TILE), jnp.uint32),
            ready=plgpu.Barrier(num_arrivals=2 * count + 2, num_barriers=stages),
            tiles_ready=plgpu.Barrier(num_barriers=stages),
            consumed=plgpu.Barrier(num_arrivals=COMPUTE_WARPGROUPS, num_barriers=stages),
            dk_shared=matrix(COMPUTE_WARPGROUPS, TILE, HEAD_DIM, dtype=dtype),
            dv_shared=matrix(COMPUTE_WARPGROUPS, TILE, HEAD_DIM, dtype=dtype),
        ),
        consumed=lambda scratch: (scratch.consumed,),
        stages=stages,
        interpret=interpret,
    )
    return dk, dv
