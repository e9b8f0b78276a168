"""What the three Hopper kernels share (Pallas, Mosaic GPU):
shape of a program, tiles in shared memory, the mask applied to scores.

A program is one thread block of three warpgroups, all its work on one head of one row of the batch:

    warpgroup 0   64 rows ─┐ products (wgmma) and softmax, in registers; both walk the same list of blocks,
    warpgroup 1   64 rows ─┘ so every block is loaded once for 128 rows
    warpgroup 2   reads the list and starts the copies (TMA) into a ring of `stages` slots of shared memory

`ready` barriers say that a slot is loaded, `consumed` barriers that both compute warpgroups are done with it. Blocks
that are full for all 128 rows come first in the lists; the loop over them knows no mask, and only the second loop loads
tiles. Why 128 rows share one list though the mask is known by 64: each block of 64 keys brings 16 KB for 1 MFLOP per 64
rows. With a list for every 64 rows the tensor cores, at half their rate, would ask the L2 cache for 7.4 to 7.7 TB/s,
which is more than it can give; with one for 128 rows it is half of that.

The longest lists are begun first, so that no processor is left with a long one when the others are done; and two heads
at a time, whose keys and values stay in the L2 cache.

fp32 inputs are split in two bf16 halves, x = high + low; a product is high·high + high·low + low·high: 16 bits of
mantissa from bf16 units.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from jax_impl.attention.block_mask import FULL, HEADER, LISTED, NUMBER, TILE, WORD

HEAD_DIM = 64
SCALE_LOG2 = HEAD_DIM**-0.5 * math.log2(math.e)  # softmax in base 2: the hardware has exp2
COMPUTE_WARPGROUPS = 2
COMPUTE_REGISTERS, COPY_REGISTERS = 232, 40  # 2 x 232 + 40 = 504 of the 512 that three warpgroups may hold per lane
HEADS_AT_A_TIME = 2  # of all rows of a batch of 4 x 8192 tokens their keys and values take 19 MB of 50 in the L2 cache
LARGEST_COPY = 256  # elements along an axis that one TMA copy can take
WGMMA = plgpu.Layout.WGMMA
# Pairs of halves that are multiplied; low·low is below fp32's rounding
PRODUCTS = {1: [(0, 0)], 2: [(0, 0), (0, 1), (1, 0)]}


def halves(x: jax.Array) -> jax.Array:
    """bf16[1, ...] of bf16 x, bf16[2, ...] of fp32 x: parts that sum to x."""
    if x.dtype == jnp.bfloat16:
        return x[None]
    high = lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)  # a cast there and back would be optimized away
    return jnp.stack([high, x - high]).astype(jnp.bfloat16)


def matrix(*shape: int, dtype: Any = jnp.bfloat16) -> plgpu.SMEM:
    """Shared memory [..., rows, 64] in the layout that TMA writes and wgmma reads without bank conflicts: 128-byte
    swizzle.
    """
    width = 128 // jnp.dtype(dtype).itemsize
    return plgpu.SMEM(shape, dtype, transforms=(plgpu.TilingTransform((8, width)), plgpu.SwizzleTransform(128)))


Beside = Callable[[], Sequence[jax.Array]]  # work for the ordinary units while the tensor cores have theirs


class Compiled:
    """Operations of the compute warpgroups, on registers in wgmma's layout."""

    @staticmethod
    def zeros(*shape: int) -> jax.Array:
        return plgpu.layout_cast(jnp.zeros(shape, jnp.float32), WGMMA)

    @staticmethod
    def full_rows(value: float) -> jax.Array:
        """A value for each of the 64 rows."""
        return plgpu.layout_cast(jnp.full((TILE,), value, jnp.float32), WGMMA.reduce(1))

    @staticmethod
    def load_per_row(ref: Any) -> jax.Array:
        return plgpu.load(ref, (), layout=WGMMA.reduce(1))

    @staticmethod
    def load_per_column(ref: Any) -> jax.Array:
        return plgpu.load(ref, (), layout=WGMMA.reduce(0))

    @staticmethod
    def iota(shape: tuple[int, int], axis: int) -> jax.Array:
        return plgpu.broadcasted_iota(jnp.int32, shape, axis, layout=WGMMA)

    @staticmethod
    def operand(shared: Any) -> list[Any]:
        """The halves of shared [halves, 64, H] that every step multiplies: read once, into registers. Two of them would
        spill: they stay where they are, and each product reads them.
        """
        if shared.shape[0] == 1:
            return [plgpu.load(shared.at[0], (), layout=WGMMA)]
        return [shared.at[half] for half in range(shared.shape[0])]

    @staticmethod
    def product_transposed(a: list[Any], b: Any, beside: Beside = lambda: ()) -> tuple[jax.Array, ...]:
        """fp32[64, N] a @ b^T of an operand a and shared b [halves, N, H], and what beside() returns: it runs while the
        tensor cores work. It must not wait for a barrier: behind one the compiler waits for the product first.
        """

        def multiply(accumulator):
            for i, j in PRODUCTS[len(a)]:
                plgpu.wgmma(accumulator, a[i], b.at[j].transpose((1, 0)))
            results = beside()
            if results:  # what makes them ends here, before the product is waited for
                results = lax.optimization_barrier(tuple(results))
            return accumulator[...], *results

        return pl.run_scoped(multiply, plgpu.ACC((TILE, b.shape[1]), jnp.float32))

    @staticmethod
    def add_product(total: jax.Array, a: list[jax.Array], b: Any) -> jax.Array:
        """total + a @ b of registers a (halves, [64, N]) and shared b [halves, N, H]."""

        def multiply(accumulator):
            for i, j in PRODUCTS[len(a)]:
                plgpu.wgmma(accumulator, a[i], b.at[j])

        return pl.run_state(multiply)(plgpu.ACC.init(total))

    @staticmethod
    def add_product_beside(
        total: jax.Array, a: list[jax.Array], b: Any, beside: Callable[[], jax.Array], like: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """The same, and what beside() returns, of like's shape and type: it runs while the tensor cores work, unless
        two halves of a leave no registers for it.
        """
        if len(a) > 1:
            return Compiled.add_product(total, a, b), beside()

        def multiply(state):
            accumulator, result = state
            for i, j in PRODUCTS[len(a)]:
                plgpu.wgmma(accumulator, a[i], b.at[j])
            result[...] = beside()

        return pl.run_state(multiply)((plgpu.ACC.init(total), like))


class Interpreted:
    """The same on JAX's GPU interpreter, which knows no register layouts, transposed operands or run_state. Its race
    detector tells loads from what tensor cores read (from JAX 0.11 on), hence the fences behind loads that stand for
    the latter.
    """

    zeros = staticmethod(lambda *shape: jnp.zeros(shape, jnp.float32))
    full_rows = staticmethod(lambda value: jnp.full((TILE,), value, jnp.float32))
    load_per_row = load_per_column = staticmethod(lambda ref: ref[...])
    iota = staticmethod(lambda shape, axis: lax.broadcasted_iota(jnp.int32, shape, axis))

    @staticmethod
    def operand(shared: Any) -> list[jax.Array]:
        return list(shared[...])

    @staticmethod
    def product_transposed(a: list[jax.Array], b: Any, beside: Beside = lambda: ()) -> tuple[jax.Array, ...]:
        left, right = [x.astype(jnp.float32) for x in a], b[...].astype(jnp.float32)
        total = sum(left[i] @ right[j].T for i, j in PRODUCTS[len(left)])
        plgpu.commit_smem()
        return total, *beside()

    @staticmethod
    def add_product(total: jax.Array, a: list[jax.Array], b: Any) -> jax.Array:
        right = b[...].astype(jnp.float32)
        plgpu.commit_smem()
        return total + sum(a[i].astype(jnp.float32) @ right[j] for i, j in PRODUCTS[len(a)])

    @staticmethod
    def add_product_beside(
        total: jax.Array, a: list[jax.Array], b: Any, beside: Callable[[], jax.Array], like: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        return Interpreted.add_product(total, a, b), beside()


def operations(interpret: Any) -> type[Compiled] | type[Interpreted]:
    return Compiled if interpret is None else Interpreted


def registers_in_halves(x: jax.Array, count: int) -> list[jax.Array]:
    high = x.astype(jnp.bfloat16)
    return [high] if count == 1 else [high, (x - high.astype(jnp.float32)).astype(jnp.bfloat16)]


def per_row(x: jax.Array, shape: tuple[int, int]) -> jax.Array:
    return lax.broadcast_in_dim(x, shape, [0])


def per_column(x: jax.Array, shape: tuple[int, int]) -> jax.Array:
    return lax.broadcast_in_dim(x, shape, [1])


def hide(ops: Any, scores: jax.Array, tiles: Any) -> jax.Array:
    """Scores fp32[64 queries, 64 n keys], -inf where the n tiles uint32[n, 2, 64] (shared) say so. Shifts and words
    become constants.
    """
    column = ops.iota(scores.shape, 1)
    words = [ops.load_per_row(tiles.at[tile, word]) for tile in range(tiles.shape[0]) for word in range(TILE // WORD)]
    chosen = per_row(words[0], scores.shape)
    for index, word in enumerate(words[1:], start=1):
        chosen = jnp.where(column >= WORD * index, per_row(word, scores.shape), chosen)
    return _where_bit(chosen, column, scores)


def hide_transposed(ops: Any, scores: jax.Array, tile: Any) -> jax.Array:
    """The same for scores fp32[64 keys, 64 queries], from the same tile uint32[2, 64]:
    its words lie along the columns.
    """
    row = ops.iota(scores.shape, 0)
    first, second = (per_column(ops.load_per_column(tile.at[word]), scores.shape) for word in range(TILE // WORD))
    return _where_bit(jnp.where(row >= WORD, second, first), row, scores)


def _where_bit(words: jax.Array, position: jax.Array, scores: jax.Array) -> jax.Array:
    bit = (words >> (position & (WORD - 1)).astype(jnp.uint32)) & jnp.uint32(1)
    return jnp.where(bit != 0, scores, -jnp.inf)


def give_back(consumed: Any, *, loaded: bool) -> None:
    """Lets the copy warpgroup fill a slot again. loaded: registers were loaded from it, not only tensor cores read it:
    what loads read and what copies write must be ordered by a fence, which the tensor cores, reading as copies write,
    do not need (PTX: proxies).
    """
    if loaded:
        plgpu.commit_smem()
    plgpu.barrier_arrive(consumed)


def in_group(groups: Sequence[Any], block: jax.Array, act: Callable[[Any, jax.Array], None]) -> None:
    """act(group, number of the block in it) for that one of the groups [..., keys, H] in which a block of 64 keys lies;
    they lie one after another, all but the last of whole blocks.
    """
    start = 0
    for number, group in enumerate(groups):
        end, is_last = start + group.shape[-2] // TILE, number == len(groups) - 1
        here = functools.partial(act, group, block - start)
        if len(groups) == 1:
            here()
        else:
            pl.when(((block >= start) | (number == 0)) & ((block < end) | is_last))(here)
        start = end


def slot_of(step: jax.Array, stages: int) -> jax.Array:
    return lax.rem(step, jnp.int32(stages))


def heads_together(heads: int) -> int:
    """How many heads' programs are begun in turn, list by list; a divisor of all."""
    return math.gcd(heads, HEADS_AT_A_TIME)


def copy_list(numbers: Any, shared: Any, ready: Any) -> None:
    """Begins to copy a list with its header into shared memory; the barrier counts list_copies(its width)."""
    for start in range(0, shared.shape[0], LARGEST_COPY):
        part = pl.ds(start, min(LARGEST_COPY, shared.shape[0] - start))
        plgpu.copy_gmem_to_smem(numbers.at[part], shared.at[part], ready)


def list_copies(width: int) -> int:
    return pl.cdiv(width, LARGEST_COPY)


def copy_ahead(
    steps: jax.Array, stages: int, copy: Callable[[jax.Array, jax.Array, bool], None], consumed: Sequence[Any]
) -> None:
    """The copy warpgroup's loop: copy(step, slot, reused) for all steps, the first `stages` of them into slots that
    were never used. At the end it waits until everything is consumed, so that every barrier is back where it was.
    """
    for step in range(stages):
        pl.when(step < steps)(lambda step=step: copy(jnp.int32(step), jnp.int32(step), False))

    @pl.loop(jnp.int32(stages), jnp.maximum(steps, stages))
    def _(step):
        copy(step, slot_of(step, stages), True)

    for slot in range(stages):

        @pl.when(slot < steps)
        def _(slot=slot):
            for barrier in consumed:
                plgpu.barrier_wait(barrier.at[slot])


class Program(NamedTuple):
    """Which one this is, and how many steps its list has, at least one: the first full_steps know no mask, the last
    does. Of an empty list its block is one that the mask hides.
    """

    row: jax.Array
    head: jax.Array
    block: jax.Array  # of 128 rows
    warpgroup: jax.Array
    full_steps: jax.Array
    steps: jax.Array
    list_shared: Any  # int32[HEADER + capacity] in shared memory

    def listed(self, index: jax.Array) -> jax.Array:
        return self.list_shared[HEADER + index]


def walk(step: Callable[[bool, jax.Array, Any], Any], program: Program, sums: Any, in_twos: bool = False) -> Any:
    """The loop over the list: step(masked, index, sums), without the mask as long as blocks are full.

    in_twos: two steps a turn, so that what one hands to the next in registers need not be copied to where it came from.
    """

    def loop(masked: bool, start: jax.Array, end: jax.Array, sums: Any) -> Any:
        one = functools.partial(step, masked)
        if not in_twos:
            return lax.fori_loop(start, end, one, sums)
        turns = lax.div(end - start, jnp.int32(2))
        two = lambda turn, sums: one(start + 2 * turn + 1, one(start + 2 * turn, sums))
        sums = lax.fori_loop(jnp.int32(0), turns, two, sums)
        return lax.fori_loop(start + 2 * turns, end, one, sums)

    sums = loop(False, jnp.int32(0), program.full_steps, sums)
    return loop(True, program.full_steps, program.steps, sums)


def launch(
    compute: Callable[..., None],
    copy_step: Callable[..., None],
    *,
    name: str,
    arrays: Any,
    lists: jax.Array,
    outputs: Any,
    scratch: Any,
    consumed: Callable[[Any], Sequence[Any]],
    stages: int,
    blocks_per_step: int = 1,
    interpret: Any,
) -> Any:
    """A program for every list of lists int32[B, P, header and blocks], of every head: arrays[0] is [..., B, N, T, H].
    arrays, outputs: sequences of arrays, or of tuples of them, and of jax.ShapeDtypeStruct.

    scratch: a NamedTuple of types, what the program has of shared memory and barriers; compute and copy_step get it
    with references for the types. consumed(scratch): the barriers that the last user of a slot arrives at.

    Two warpgroups run compute(program, scratch, *arrays, *outputs); the third runs copy_step(program, scratch, index,
    slot, reused, *arrays) for every step, which waits for the consumed barriers if the slot is reused. The last grid
    axis runs fastest: programs of two heads run side by side and find their keys and values in the L2 cache.
    """
    heads = arrays[0].shape[-3]
    inputs_flat, input_tree = jax.tree.flatten(arrays)
    outputs_flat, output_tree = jax.tree.flatten(outputs)
    together = heads_together(heads)
    rows, programs, width = lists.shape
    scratch_types = scratch._asdict() | {  # Pallas hands them to the body by name
        "list_shared": plgpu.SMEM((width,), jnp.int32),
        "list_ready": plgpu.Barrier(num_arrivals=list_copies(width)),
    }

    def body(*refs, list_shared, list_ready, **scratch_refs):
        inputs = input_tree.unflatten(refs[: len(inputs_flat)])
        lists_gmem = refs[len(inputs_flat)]
        results = output_tree.unflatten(refs[len(inputs_flat) + 1 :])
        own = type(scratch)(**scratch_refs)
        row, warpgroup = lax.axis_index("row"), lax.axis_index("warpgroup")

        @pl.when(warpgroup == COMPUTE_WARPGROUPS)
        def _():
            copy_list(lists_gmem.at[row, lax.axis_index("list")], list_shared, list_ready)

        plgpu.barrier_wait(list_ready)
        steps = lax.div(list_shared[LISTED] + (blocks_per_step - 1), jnp.int32(blocks_per_step))
        steps = jnp.maximum(steps, 1)
        full_steps = jnp.minimum(lax.div(list_shared[FULL], jnp.int32(blocks_per_step)), steps - 1)
        head = lax.axis_index("heads") * together + lax.axis_index("head")
        program = Program(row, head, list_shared[NUMBER], warpgroup, full_steps, steps, list_shared)

        @pl.when(warpgroup < COMPUTE_WARPGROUPS)
        def _():
            plgpu.set_max_registers(COMPUTE_REGISTERS, action="increase")
            compute(program, own, *inputs, *results)

        @pl.when(warpgroup == COMPUTE_WARPGROUPS)
        def _():
            plgpu.set_max_registers(COPY_REGISTERS, action="decrease")
            copy = lambda index, slot, reused: copy_step(program, own, index, slot, reused, *inputs)
            copy_ahead(steps, stages, copy, consumed(own))

    kernel = plgpu.kernel(
        body,
        out_type=outputs_flat,
        scratch_types=scratch_types,
        grid=(heads // together, programs, rows, together),
        grid_names=("heads", "list", "row", "head"),
        num_threads=COMPUTE_WARPGROUPS + 1,
        thread_name="warpgroup",
        kernel_name=name,
        compiler_params=plgpu.CompilerParams(approx_math=True, lowering_semantics=plgpu.LoweringSemantics.Warpgroup),
        interpret=interpret,
    )
    return output_tree.unflatten(kernel(*inputs_flat, lists))
