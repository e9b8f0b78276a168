"""Attention of one query a row, q [B, N, 1, H], over groups of keys, one after another. Used by cache.py."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_impl.device import device


def flat(x: jax.Array) -> jax.Array:
    """[B, N, length, H] to [B * N, length, H]: with an axis of one row the compiler would compute each update twice and
    copy the cache.
    """
    return x.reshape(-1, *x.shape[2:])


class Seen(NamedTuple):
    """A softmax over the keys so far, of each row and head."""

    highest: jax.Array  # float32[B * N] score, -inf before any
    total: jax.Array  # float32[B * N], sum of exp(score - highest)
    values: jax.Array  # float32[B * N, H], sum of exp(score - highest) * value


def nothing(q: jax.Array) -> Seen:
    lines = q.shape[0] * q.shape[1]
    return Seen(jnp.full(lines, -jnp.inf), jnp.zeros(lines), jnp.zeros((lines, q.shape[-1])))


def see(q: jax.Array, seen: Seen, k: jax.Array, v: jax.Array, visible: jax.Array) -> Seen:
    """k, v [B * N, S, H], visible bool[B, S]."""
    scores = jnp.einsum("ZH,ZSH->ZS", flat(q)[:, 0] * q.shape[-1] ** -0.5, k, preferred_element_type=jnp.float32)
    scores = jnp.where(jnp.repeat(visible, q.shape[1], axis=0), scores, -jnp.inf)
    highest = jnp.maximum(seen.highest, scores.max(axis=-1))
    base = jnp.where(jnp.isfinite(highest), highest, 0)
    shrink, shares = jnp.exp(seen.highest - base), jnp.exp(scores - base[:, None])
    values = jnp.einsum("ZS,ZSH->ZH", shares.astype(v.dtype), v, preferred_element_type=jnp.float32)
    return Seen(highest, seen.total * shrink + shares.sum(axis=-1), seen.values * shrink[:, None] + values)


def see_where(reads: jax.Array, look: Callable[[Seen], Seen], seen: Seen, chunks: int) -> Seen:
    """What is seen with one of so many chunks, which is read only where it must be."""
    if chunks == 1 or device.on_gpu():
        return look(seen)
    return jax.lax.cond(reads, look, lambda seen: seen, seen)


def mean(q: jax.Array, seen: Seen) -> jax.Array:
    """Shaped as q; zeros where nothing was visible, as jax_impl.attention.attention."""
    return (seen.values / jnp.where(seen.total > 0, seen.total, 1)[:, None]).reshape(q.shape).astype(q.dtype)
