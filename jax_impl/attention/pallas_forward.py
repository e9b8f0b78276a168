"""Forward kernel: 128 queries against their list of key blocks, with a running softmax. Called by pallas.py."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from jax_impl.attention import hopper
from jax_impl.attention.block_mask import PAIR, TILE, BlockMask
from jax_impl.attention.hopper import COMPUTE_WARPGROUPS, HEAD_DIM, SCALE_LOG2, matrix, per_row, slot_of, walk

LOWEST = -1e30  # start of the running maximum: finite, so that rows that see nothing stay free of NaN
LOG2_E = math.log2(math.e)


@dataclass(frozen=True)
class ForwardParameters:
    """blocks_per_step: listed blocks of 64 keys that one step handles at once; they need not be neighbours.
    stages: steps whose keys and values are in shared memory at once. in_twos: two steps a turn of the loop.
    """

    blocks_per_step: int
    stages: int
    in_twos: bool


# 128 keys a step halve the softmax's bookkeeping (maximum, rescaling) per key, and 64 x 128 scores still fit the
# registers; four stages (188 of 227 KB in all) keep the copies further ahead than L2 takes to answer, about one step.
BF16 = ForwardParameters(blocks_per_step=2, stages=4, in_twos=True)
# Two halves of everything: twice the shared memory, and the halves of the weights take the registers of the second
# block and of a second step.
FP32 = ForwardParameters(blocks_per_step=1, stages=2, in_twos=False)


class Scratch(NamedTuple):
    """What a program has of shared memory, and the barriers that say what lies in it; W warpgroups, `halves` parts."""

    q_shared: Any  # [W, halves, 64, H]
    k_shared: Any  # [stages, halves, keys of a step, H]
    v_shared: Any
    tiles_shared: Any  # [stages, W, blocks of a step, 2, 64]
    out_shared: Any  # [W, parts of the result, 64, H]
    lse_shared: Any  # [W, 64]
    q_ready: Any  # [W]
    k_ready: Any  # [stages], as are those that follow
    v_ready: Any
    tiles_ready: Any
    k_consumed: Any
    v_consumed: Any


def forward(
    q: jax.Array, k: Sequence[jax.Array], v: Sequence[jax.Array], mask: BlockMask, *, interpret: Any
) -> tuple[jax.Array, ...]:
    """out [B, N, Tq, 64] in q's dtype; in bf16 also what rounding took from it, which the gradient needs (see
    xla._rounded); and fp32[B, N, Tq] log2 of the sum of exponentials, 0 where a query sees nothing.

    k, v: groups [B, N, Tk_g, 64], multiples of 64; Tq and all keys together are multiples of 128, as in the mask.
    interpret: None on a GPU, else parameters of JAX's GPU interpreter.
    """
    parameters = BF16 if q.dtype == jnp.bfloat16 else FP32
    per_step, stages = parameters.blocks_per_step, parameters.stages
    ops = hopper.operations(interpret)
    dtype = q.dtype
    q, k, v = jax.tree.map(hopper.halves, (q, tuple(k), tuple(v)))
    count = q.shape[0]

    def compute(program, scratch, q_gmem, k_gmem, v_gmem, tiles, out_gmem, lse_gmem):
        row, head, warpgroup = program.row, program.head, program.warpgroup
        queries = pl.ds(program.block * PAIR + warpgroup * TILE, TILE)
        q_shared, q_ready = scratch.q_shared.at[warpgroup], scratch.q_ready.at[warpgroup]
        for half in range(count):
            plgpu.copy_gmem_to_smem(q_gmem.at[half, row, head, queries], q_shared.at[half], q_ready)
        plgpu.barrier_wait(q_ready)
        q_halves = ops.operand(q_shared)

        def scores_of(index, beside=lambda: ()):
            slot = slot_of(index, stages)
            plgpu.barrier_wait(scratch.k_ready.at[slot])
            scores, *results = ops.product_transposed(q_halves, scratch.k_shared.at[slot], beside)
            hopper.give_back(scratch.k_consumed.at[slot], loaded=False)
            return scores, *results

        def softmax(masked, index, scores, out, maximum, total):
            if masked:
                scores = hopper.hide(ops, scores, scratch.tiles_shared.at[slot_of(index, stages), warpgroup])
            new_maximum = jnp.maximum(maximum, scores.max(axis=1) * SCALE_LOG2)
            decay = jnp.exp2(maximum - new_maximum)
            weights = jnp.exp2(scores * SCALE_LOG2 - per_row(new_maximum, scores.shape))
            total = total * decay + weights.sum(axis=1)
            return out * per_row(decay, out.shape), new_maximum, total, *hopper.registers_in_halves(weights, count)

        def add_values(masked, index, out, maximum, total, *weights):
            slot = slot_of(index, stages)
            plgpu.barrier_wait(scratch.v_ready.at[slot])
            out = ops.add_product(out, weights, scratch.v_shared.at[slot])
            hopper.give_back(scratch.v_consumed.at[slot], loaded=masked)
            return out, maximum, total

        def step(masked, index, carry):
            # The tensor cores have the next step's scores to do while this step's go through the softmax.
            if masked:
                plgpu.barrier_wait(scratch.tiles_ready.at[slot_of(index, stages)])
            next_scores, *sums = scores_of(index + 1, beside=lambda: softmax(masked, index, *carry))
            return next_scores, *add_values(masked, index, *sums)

        nothing = ops.zeros(TILE, HEAD_DIM), ops.full_rows(LOWEST), ops.full_rows(0.0)
        last = program.steps - 1
        carry = walk(step, program._replace(steps=last), (*scores_of(jnp.int32(0)), *nothing), parameters.in_twos)
        plgpu.barrier_wait(scratch.tiles_ready.at[slot_of(last, stages)])
        out, maximum, total = add_values(True, last, *softmax(True, last, *carry))

        sees = total > 0
        total = jnp.where(sees, total, 1.0)
        lse_shared = scratch.lse_shared.at[warpgroup]
        out = out / per_row(total, out.shape)
        parts = hopper.registers_in_halves(out, 2) if dtype == jnp.bfloat16 else [out]
        for number, part in enumerate(parts):
            scratch.out_shared.at[warpgroup, number][...] = part
        lse_shared[...] = jnp.where(sees, maximum + jnp.log(total) * LOG2_E, 0.0)
        plgpu.commit_smem()
        for number, target in enumerate(out_gmem):
            plgpu.copy_smem_to_gmem(scratch.out_shared.at[warpgroup, number], target.at[row, head, queries])
        plgpu.copy_smem_to_gmem(lse_shared, lse_gmem.at[row, head, queries])
        plgpu.wait_smem_to_gmem(0, wait_read_only=True)

    def copy_step(program, scratch, index, slot, reused, q_gmem, k_gmem, v_gmem, tiles):
        # What follows an odd count in a list is an empty block: its tiles are 0, so a step is always whole.
        listed = [program.listed(index * per_step + part) for part in range(per_step)]

        def copy_rows(groups, target, ready):
            for part, key_block in enumerate(listed):

                def copy_block(source, block, part=part):
                    for half in range(count):
                        rows = source.at[half, program.row, program.head, pl.ds(block * TILE, TILE)]
                        plgpu.copy_gmem_to_smem(rows, target.at[slot, half, pl.ds(part * TILE, TILE)], ready.at[slot])

                hopper.in_group(groups, key_block, copy_block)

        if reused:
            plgpu.barrier_wait(scratch.k_consumed.at[slot])
        copy_rows(k_gmem, scratch.k_shared, scratch.k_ready)
        if reused:
            plgpu.barrier_wait(scratch.v_consumed.at[slot])

        @pl.when(index >= program.full_steps)
        def _():
            for part, key_block in enumerate(listed):
                for group in range(COMPUTE_WARPGROUPS):
                    tile = tiles.at[program.row, program.block * COMPUTE_WARPGROUPS + group, key_block]
                    plgpu.copy_gmem_to_smem(
                        tile, scratch.tiles_shared.at[slot, group, part], scratch.tiles_ready.at[slot]
                    )

        copy_rows(v_gmem, scratch.v_shared, scratch.v_ready)

    copies = count * per_step
    out_parts = 2 if dtype == jnp.bfloat16 else 1
    outs, lse = hopper.launch(
        compute,
        copy_step,
        name="block_sparse_forward",
        arrays=(q, k, v, mask.tiles),
        lists=mask.key_lists,
        outputs=[
            (jax.ShapeDtypeStruct(q.shape[1:], dtype),) * out_parts,
            jax.ShapeDtypeStruct(q.shape[1:4], jnp.float32),
        ],
        scratch=Scratch(
            q_shared=matrix(COMPUTE_WARPGROUPS, count, TILE, HEAD_DIM),
            k_shared=matrix(stages, count, per_step * TILE, HEAD_DIM),
            v_shared=matrix(stages, count, per_step * TILE, HEAD_DIM),
            tiles_shared=plgpu.SMEM((stages, COMPUTE_WARPGROUPS, per_step, 2, TILE), jnp.uint32),
            out_shared=matrix(COMPUTE_WARPGROUPS, out_parts, TILE, HEAD_DIM, dtype=dtype),
            lse_shared=plgpu.SMEM((COMPUTE_WARPGROUPS, TILE), jnp.float32),
            q_ready=plgpu.Barrier(num_arrivals=count, num_barriers=COMPUTE_WARPGROUPS),
            k_ready=plgpu.Barrier(num_arrivals=copies, num_barriers=stages),
            v_ready=plgpu.Barrier(num_arrivals=copies, num_barriers=stages),
            tiles_ready=plgpu.Barrier(num_arrivals=per_step * COMPUTE_WARPGROUPS, num_barriers=stages),
            k_consumed=plgpu.Barrier(num_arrivals=COMPUTE_WARPGROUPS, num_barriers=stages),
            v_consumed=plgpu.Barrier(num_arrivals=COMPUTE_WARPGROUPS, num_barriers=stages),
        ),
        consumed=lambda scratch: (scratch.k_consumed, scratch.v_consumed),
        stages=stages,
        blocks_per_step=per_step,
        interpret=interpret,
    )
    return *outs, lse
