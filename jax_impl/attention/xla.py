"""Attention in plain XLA, for any device: blocks of queries against those chunks of keys that the mask shows.

          keys    0..63    64..127   128..191     of queries 64..127 the chunks 0 and 1 are visited, in turn
queries  0..63     some      empty      empty
       64..127     some       some      empty

Sums grow by the online softmax (Milakov & Gimelshein 2018), so that no more than one block of scores exists. Backward
does the same, as in FlashAttention (Dao et al. 2022), from the output, with what rounding took from it, and the log of
the sums.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from jax_impl.attention.block_mask import KEPT, TILE, BlockMask, unpack_tiles

# Tiles of the mask, of queries and of keys, in a block and in a chunk, by JAX's name of the device. A CPU multiplies
# single tiles at full speed, and whatever is larger has more pairs in it that the mask hides; elsewhere a visit costs
# the start of a dozen kernels.
CPU_TILES, OTHER_TILES = (1, 1), (4, 8)
MASKED = -1e30  # finite, so that a row that sees nothing stays free of NaN
LOWEST = MASKED / 2  # no maximum is below: exp(MASKED - maximum) is 0 also where nothing is visible


def attention(q: jax.Array, k: jax.Array, v: jax.Array, mask: BlockMask) -> jax.Array:
    """See jax_impl.attention.attention."""
    return in_blocks_of(*(CPU_TILES if jax.default_backend() == "cpu" else OTHER_TILES), q, k, v, mask)


def in_blocks_of(
    block_tiles: int, chunk_tiles: int, q: jax.Array, k: jax.Array, v: jax.Array, mask: BlockMask
) -> jax.Array:
    """Attention by blocks of so many tiles of queries and chunks of so many tiles of keys, fewer where there are no
    more. Lengths are padded to whole ones; what is added sees nothing and is seen by nothing.
    """
    rows, columns = mask.tiles.shape[1:3]
    block, chunk = min(block_tiles, rows), min(chunk_tiles, columns)
    more_rows, more_columns = -rows % block, -columns % chunk
    tiles = jnp.pad(mask.tiles, ((0, 0), (0, more_rows), (0, more_columns), (0, 0), (0, 0)))
    num_queries, num_keys = (rows + more_rows) * TILE, (columns + more_columns) * TILE
    pad = lambda x, length: jnp.pad(x, ((0, 0), (0, 0), (0, length - x.shape[2]), (0, 0)))
    out = _attention(pad(q, num_queries), pad(k, num_keys), pad(v, num_keys), tiles, block * TILE, chunk * TILE)
    return out[:, :, : q.shape[2]]


def _visits(tiles: jax.Array, block: int, chunk: int) -> tuple[jax.Array, jax.Array]:
    """For each block of queries the chunks to visit first, in order, int32[blocks, chunks], and how many those are,
    int32[blocks].
    """
    batch, rows, columns = tiles.shape[:3]
    some = jnp.any(tiles != 0, axis=(3, 4)).reshape(
        batch, rows * TILE // block, block // TILE, columns * TILE // chunk, chunk // TILE
    )
    some = some.any(axis=(0, 2, 4))
    return jnp.argsort(~some, axis=1, stable=True).astype(jnp.int32), some.sum(axis=1, dtype=jnp.int32)


def _part(x: jax.Array, number: jax.Array, size: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(x, number * size, size, axis=2)


def _scores(q: jax.Array, k: jax.Array, tiles: jax.Array, block: jax.Array, chunk: jax.Array) -> jax.Array:
    """float32[B, N, T, S] of block number `block` of the queries, scaled before, and chunk number
    `chunk` of the keys.
    """
    scores = jnp.einsum("BNTH,BNSH->BNTS", q, k, preferred_element_type=jnp.float32)
    tiles = jax.lax.dynamic_slice_in_dim(tiles, block * (q.shape[2] // TILE), q.shape[2] // TILE, axis=1)
    tiles = jax.lax.dynamic_slice_in_dim(tiles, chunk * (k.shape[2] // TILE), k.shape[2] // TILE, axis=2)
    return jnp.where(unpack_tiles(tiles)[:, None], scores, MASKED)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _attention(q: jax.Array, k: jax.Array, v: jax.Array, tiles: jax.Array, block: int, chunk: int) -> jax.Array:
    """block, chunk: how many queries and keys; the lengths of q, k, v and of tiles are whole ones."""
    return _forward(q, k, v, tiles, block, chunk)[0].astype(q.dtype)


def _forward(q, k, v, tiles, block, chunk):
    """(output float32[B, N, T, H], log of the sums of exponentials float32[B, N, T], 0 where nothing is visible)."""

    def one_block(inputs):
        q, here, visits, count = inputs

        def visit(number, carry):
            maximum, total, out = carry
            at = visits[number]
            scores = _scores(q, _part(k, at, chunk), tiles, here, at)
            new_maximum = jnp.maximum(maximum, scores.max(axis=-1, keepdims=True))
            correction, exponentials = jnp.exp(maximum - new_maximum), jnp.exp(scores - new_maximum)
            product = functools.partial(jnp.einsum, "BNTS,BNSH->BNTH", preferred_element_type=jnp.float32)
            out = out * correction + product(exponentials.astype(v.dtype), _part(v, at, chunk))
            return new_maximum, total * correction + exponentials.sum(axis=-1, keepdims=True), out

        none = jnp.zeros((*q.shape[:3], 1), jnp.float32)
        maximum, total, out = jax.lax.fori_loop(0, count, visit, (none + LOWEST, none, jnp.zeros(q.shape, jnp.float32)))
        sees = total > 0
        total = jnp.where(sees, total, 1.0)
        return out / total, jnp.where(sees, maximum + jnp.log(total), 0.0)[..., 0]

    q_blocks = _in_blocks(q * q.shape[-1] ** -0.5, block)
    out, lse = jax.lax.map(one_block, (q_blocks, jnp.arange(len(q_blocks)), *_visits(tiles, block, chunk)))
    return _joined(out), _joined(lse)


def _forward_rule(q, k, v, tiles, block, chunk):
    exact, lse = _forward(q, k, v, tiles, block, chunk)
    out, rest, lse = (checkpoint_name(x, KEPT) for x in (*_rounded(exact, q.dtype), lse))
    return out, (q, k, v, tiles, out, rest, lse)


def _rounded(x: jax.Array, dtype: Any) -> tuple[jax.Array, jax.Array]:
    """fp32 x in dtype, and what that took away, in dtype too (of fp32 nothing: an empty array). Their sum is x to 16
    bits. The gradient's delta needs them: an error of a whole row's delta does not cancel over its keys, and makes the
    gradients of queries and keys up to half as wrong again as all other rounding does.
    """
    if dtype == jnp.float32:
        return x, jnp.zeros((0, *x.shape[1:]), x.dtype)
    high = jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)  # a cast there and back would be left out
    return high.astype(dtype), (x - high).astype(dtype)


class _Block(NamedTuple):
    """What the backward pass reads of a block of queries; of all blocks with one more leading axis. The gradients of
    keys and values need q and d_out transposed: a CPU takes thrice as long for A^T B as for A B.
    """

    q: jax.Array  # [B, N, block, H], scaled
    d_out: jax.Array
    q_columns: jax.Array  # [B, N, H, block]
    d_out_columns: jax.Array
    lse: jax.Array  # float32[B, N, block]
    delta: jax.Array  # float32[B, N, block], sum of out * d_out
    number: jax.Array  # int32[]
    visits: jax.Array  # int32[chunks], those to visit first, in order
    count: jax.Array  # int32[], how many those are


def _backward_rule(block, chunk, kept, d_out):
    """Block by block of queries, chunk by chunk of the keys that it sees, the weights are computed again from lse:

    weights  = exp(scores - lse)                            d_q = scale * d_scores k
    d_scores = weights * (d_out v^T - delta)                d_k = d_scores^T (scale * q)         d_v = weights^T d_out

    d_q is finished with its block. d_k and d_v, transposed, [B, N, H, S], grow with every block.
    """
    q, k, v, tiles, out, rest, lse = kept
    scale, product = q.shape[-1] ** -0.5, functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    delta = product("BNTH,BNTH->BNT", out, d_out)
    if len(rest):
        delta += product("BNTH,BNTH->BNT", rest, d_out)

    def one_block(sums: tuple[jax.Array, jax.Array], here: _Block) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        def visit(number, sums):
            d_q, d_k, d_v = sums
            at = here.visits[number]
            k_part, v_part = _part(k, at, chunk), _part(v, at, chunk)
            weights = jnp.exp(_scores(here.q, k_part, tiles, here.number, at) - here.lse[..., None])
            d_weights = product("BNTH,BNSH->BNTS", here.d_out, v_part)
            d_scores = weights * (d_weights - here.delta[..., None])
            weights, d_scores = weights.astype(q.dtype), d_scores.astype(q.dtype)
            d_k_part = product("BNHT,BNTS->BNHS", here.q_columns, d_scores)
            d_v_part = product("BNHT,BNTS->BNHS", here.d_out_columns, weights)
            d_q_part = product("BNTS,BNSH->BNTH", d_scores, k_part)
            return d_q + d_q_part, _add(d_k, d_k_part, at), _add(d_v, d_v_part, at)

        d_q = jnp.zeros(here.q.shape, jnp.float32)
        d_q, *sums = jax.lax.fori_loop(0, here.count, visit, (d_q, *sums))
        return tuple(sums), (d_q * scale).astype(q.dtype)

    q_blocks, d_out_blocks, lse, delta = (_in_blocks(x, block) for x in (q * scale, d_out, lse, delta))
    q_columns, d_out_columns = q_blocks.swapaxes(3, 4), d_out_blocks.swapaxes(3, 4)
    zeros = jnp.zeros((*k.shape[:2], k.shape[3], k.shape[2]), jnp.float32)
    numbers, (visits, counts) = jnp.arange(len(q_blocks)), _visits(tiles, block, chunk)
    blocks = _Block(q_blocks, d_out_blocks, q_columns, d_out_columns, lse, delta, numbers, visits, counts)
    (d_k, d_v), d_q = jax.lax.scan(one_block, (zeros, zeros), blocks)
    d_k, d_v = d_k.swapaxes(2, 3), d_v.swapaxes(2, 3)
    return _joined(d_q), d_k.astype(k.dtype), d_v.astype(v.dtype), None


def _add(x: jax.Array, part: jax.Array, number: jax.Array) -> jax.Array:
    """x [B, N, H, S] with a chunk added to its place."""
    start = number * part.shape[3]
    before = jax.lax.dynamic_slice_in_dim(x, start, part.shape[3], axis=3)
    return jax.lax.dynamic_update_slice_in_dim(x, before + part, start, axis=3)


_attention.defvjp(_forward_rule, _backward_rule)


def _in_blocks(x: jax.Array, block: int) -> jax.Array:
    """[B, N, T, ...] to [blocks, B, N, block, ...]."""
    return jnp.moveaxis(x.reshape(*x.shape[:2], -1, block, *x.shape[3:]), 2, 0)


def _joined(x: jax.Array) -> jax.Array:
    """Inverse of _in_blocks."""
    x = jnp.moveaxis(x, 0, 2)
    return x.reshape(*x.shape[:2], -1, *x.shape[4:])
