"""The mask as bits: computed once per step, shared by every head of every layer, forward and backward."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

WORD = 32


class BlockMask(NamedTuple):
    """Bit k % 32 of word k // 32 says whether the query sees key k.

    words: uint32[B, Tq, ceil(Tk / 32)]; the bits past the last key are 0.
    """

    words: jax.Array


def pack(predicates: Sequence[Callable[[Any], jax.Array]], keys: Sequence[Any]) -> BlockMask:
    """Evaluate predicates over groups of keys laid one after another, straight into words: no [B, Tq, Tk] boolean is kept.

    predicates[g](fields) gets fields of the keys shaped [B, 1, W, 32] and returns bool[B, Tq, W, 32] (its queries are [B, Tq, 1, 1]).
    keys[g]: a pytree of [B, K_g]; every K_g but the last is a multiple of 32. Padding keys are all 0: document 0 must be seen by nothing.
    """
    groups = []
    for predicate, fields in zip(predicates, keys, strict=True):
        length = jax.tree.leaves(fields)[0].shape[1]
        if length % WORD and fields is not keys[-1]:
            raise ValueError(f"a group of {length} keys is followed by another but is no multiple of {WORD}")
        visible = predicate(jax.tree.map(_in_words, fields))
        bit = jnp.arange(WORD, dtype=jnp.uint32)
        groups.append(jnp.sum(jnp.where(visible, jnp.uint32(1) << bit, jnp.uint32(0)), axis=-1, dtype=jnp.uint32))
    return BlockMask(jnp.concatenate(groups, axis=-1))


def unpack(words: jax.Array, num_keys: int) -> jax.Array:
    """bool[..., num_keys] of words uint32[..., W]."""
    bits = (words[..., None] >> jnp.arange(WORD, dtype=jnp.uint32)) & 1
    return bits.reshape(*words.shape[:-1], -1)[..., :num_keys] == 1


def _in_words(field: jax.Array) -> jax.Array:
    """[B, K] to [B, 1, W, 32], padded with zeros."""
    batch, length = field.shape
    padded = jnp.pad(field, ((0, 0), (0, -length % WORD)))
    return padded.reshape(batch, 1, -1, WORD)
