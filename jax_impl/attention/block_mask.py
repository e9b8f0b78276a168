"""The mask as bits in tiles: computed once per step (by model.masks), shared by every head of every layer, forward and
backward.

         keys   0..63   64..127  128..191
    queries   ┌────────┬────────┬────────┐     a tile is 64 x 64 bits: 64 rows of two 32-bit words, stored word by word,
      0..63   │ full   │ partial│ empty  │     so that word w of all 64 rows lies together:
              ├────────┼────────┼────────┤         tiles[b, i, j, w, r], bit c: query 64 i + r sees key 64 j + 32 w + c
     64..127  │ full   │ empty  │ empty  │
              └────────┴────────┴────────┘
    key_lists[b, 0] = [0, 1, 2,  0, 1, 2]: of queries 0..127 one block is full, two are not empty; then the blocks

The lists pair two rows of tiles, as the kernels do: two warpgroups of 64 queries each share every block of keys that is
loaded, so a block is listed if either needs it, and full if it is full for both. Each list is a permutation of all
blocks (full, then partial, then the rest), so it holds any mask, and what follows the listed ones is empty. The longest
lists stand first, since the kernels begin them in this order, and a long one begun last would keep all others waiting.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

WORD = 32
TILE = 64
PAIR = 2 * TILE  # both lengths are padded to a multiple of this
KEPT = "attention"  # name, for jax.checkpoint policies, of what spares the backward pass a second forward one
LIST_ALIGNMENT = 32  # lists are copied 128 bytes at a time
HEADER = 3  # numbers in front of a list:
NUMBER, FULL, LISTED = range(HEADER)  # of the pair of rows it is for, how many blocks are full, how many not empty


class BlockMask(NamedTuple):
    """Who sees whom, for P = ceil(Tq / 128) and R = ceil(Tk / 128) pairs of tiles; the bits past the last query or key
    are 0.

    tiles: uint32[B, 2 P, 2 R, 2, 64].
    key_lists: int32[B, P, >= HEADER + 2 R], for 128 queries each: the header, then blocks of 64 keys.
    query_lists: int32[B, R, >= HEADER + 2 P], the same for 128 keys: blocks of 64 queries.
    """

    tiles: jax.Array
    key_lists: jax.Array
    query_lists: jax.Array


def pack(queries: Any, groups: Sequence[tuple[Callable[[Any, Any], jax.Array], Any]]) -> BlockMask:
    """Evaluate predicates straight into bits: the compiler fuses them with the packing, no [B, Tq, Tk] boolean exists
    in memory.

    queries: a pytree of fields [B, Tq]. groups: (predicate, fields [B, K_g]) of keys laid one after another; every K_g
    but the last is a multiple of 64. predicate(queries, keys) broadcasts the two. Padding is all 0 on both sides: it
    must see nothing and be seen by nothing.
    """
    queries = jax.tree.map(_in_query_tiles, queries)
    tiles = []
    for predicate, keys in groups:
        length = jax.tree.leaves(keys)[0].shape[1]
        if length % TILE and keys is not groups[-1][1]:
            raise ValueError(f"a group of {length} keys is followed by another but is no multiple of {TILE}")
        tiles.append(_to_bits(predicate(queries, jax.tree.map(_in_key_tiles, keys))))
    return _with_lists(jnp.concatenate(tiles, axis=2))


def pack_dense(visible: jax.Array) -> BlockMask:
    """The mask of bool[B, Tq, Tk]."""
    padded = _pad(_pad(jnp.asarray(visible), 1, TILE), 2, TILE)
    batch, num_queries, num_keys = padded.shape
    tiled = padded.reshape(batch, num_queries // TILE, TILE, num_keys // TILE, TILE // WORD, WORD)
    return _with_lists(_to_bits(tiled.transpose(0, 1, 3, 4, 2, 5)))


def unpack(mask: BlockMask, num_queries: int, num_keys: int) -> jax.Array:
    """bool[B, num_queries, num_keys], dense: for tests, pictures and small masks."""
    return unpack_tiles(mask.tiles)[:, :num_queries, :num_keys]


def unpack_tiles(tiles: jax.Array) -> jax.Array:
    """bool[B, 64 i, 64 j] of tiles uint32[B, i, j, 2, 64]."""
    words = tiles.transpose(0, 1, 4, 2, 3)
    bits = (words[..., None] >> jnp.arange(WORD, dtype=jnp.uint32)) & 1
    return bits.reshape(tiles.shape[0], tiles.shape[1] * TILE, -1) == 1


def visible_pairs(mask: BlockMask) -> jax.Array:
    """float32[]: (query, key) pairs that the mask shows, over the batch."""
    return jnp.sum(jax.lax.population_count(mask.tiles), dtype=jnp.float32)


def _to_bits(visible: jax.Array) -> jax.Array:
    """uint32[..., 64] of bool[..., 64, 32]."""
    bit = jnp.arange(WORD, dtype=jnp.uint32)
    return jnp.sum(jnp.where(visible, jnp.uint32(1) << bit, jnp.uint32(0)), axis=-1, dtype=jnp.uint32)


def _with_lists(tiles: jax.Array) -> BlockMask:
    """Pads tiles to pairs, and lists what is in them."""
    tiles = _pad(_pad(tiles, 1, 2), 2, 2)
    some = jnp.any(tiles != 0, axis=(3, 4))
    full = jnp.all(~tiles == 0, axis=(3, 4))
    pairs = lambda x: (x[:, 0::2], x[:, 1::2])
    keys = _lists(jnp.logical_or(*pairs(some)), jnp.logical_and(*pairs(full)))
    some, full = some.swapaxes(1, 2), full.swapaxes(1, 2)
    queries = _lists(jnp.logical_or(*pairs(some)), jnp.logical_and(*pairs(full)))
    return BlockMask(tiles, keys, queries)


def _lists(some: jax.Array, full: jax.Array) -> jax.Array:
    """Of bool[B, rows, columns] the lists of columns int32[B, rows, header, columns, padding], the longest first."""
    order = jnp.where(full, 0, jnp.where(some, 1, 2)).astype(jnp.int32)
    blocks = jnp.argsort(order, axis=-1, stable=True).astype(jnp.int32)
    counts = jnp.stack([full.sum(-1, dtype=jnp.int32), some.sum(-1, dtype=jnp.int32)], axis=-1)
    number = jnp.broadcast_to(jnp.arange(some.shape[1], dtype=jnp.int32)[:, None], (*some.shape[:2], 1))
    lists = jnp.concatenate([number, counts, blocks], axis=-1)
    longest_first = jnp.argsort(-lists[..., LISTED], axis=1, stable=True)
    return _pad(jnp.take_along_axis(lists, longest_first[..., None], axis=1), 2, LIST_ALIGNMENT)


def _pad(x: jax.Array, axis: int, multiple: int) -> jax.Array:
    return jnp.pad(x, [(0, -size % multiple if i == axis else 0) for i, size in enumerate(x.shape)])


def _in_query_tiles(field: jax.Array) -> jax.Array:
    """[B, Tq] to [B, i, 1, 1, 64, 1], padded with zeros."""
    return _pad(field, 1, TILE).reshape(field.shape[0], -1, 1, 1, TILE, 1)


def _in_key_tiles(field: jax.Array) -> jax.Array:
    """[B, K] to [B, 1, j, 2, 1, 32], padded with zeros."""
    return _pad(field, 1, TILE).reshape(field.shape[0], 1, -1, TILE // WORD, 1, WORD)
