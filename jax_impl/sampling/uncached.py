"""Sampling without a cache, for models whose past changes: a full forward pass at every token.
Same interface as cache.py, of which sample.py takes the one that suits the model.

Under a rule of scope "bar" the summary of a bar pools tracks that are written long after earlier tokens read it, and
the positions of all tokens shift with the number of bars: nothing that was computed stays true.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from configs import ComputeConfig
from jax_impl.batch import Batch, pack_row, stack_rows
from jax_impl.model.museformer import MuseFormer
from tokenizer.tokens import fields
from tokenizer.tokens.fields import FieldState

# Of a batch what the state machine says
FIELDS = ("bar", "instrument", "kind", "onset", "span", "position", "place", "harmony")


class Songs(NamedTuple):
    """All tokens so far. B rows, T slots, aligned to the left."""

    batch: Batch  # [B, T], document 0 = empty
    fields: FieldState  # int32[B] each, after the last token
    length: jax.Array  # int32[B], tokens of each row
    slot: jax.Array  # int32[], tokens of the longest row


def empty(rows: int, slots: int) -> Songs:
    state = fields.begin(rows, jnp)
    batch = jax.tree.map(jnp.asarray, stack_rows([pack_row([], slots)] * rows))
    return Songs(batch, state, jnp.zeros(rows, jnp.int32), jnp.zeros((), jnp.int32))


def grow(songs: Songs, slots: int) -> Songs:
    more = empty(len(songs.length), slots - songs.batch.tokens.shape[1]).batch
    return songs._replace(batch=jax.tree.map(lambda x, y: jnp.concatenate([x, y], axis=1), songs.batch, more))


def append(model: MuseFormer, songs: Songs, token: jax.Array, alive: jax.Array, max_spans: int, compute: ComputeConfig):
    """(songs, logits float32[B, V]) after one more token int32[B] in each row where alive bool[B]. The slot must
    exist.
    """
    state = songs.fields.push(token, jnp)
    row, place = jnp.arange(len(token)), jnp.where(alive, songs.length, songs.batch.tokens.shape[1])
    put = lambda name, value: getattr(songs.batch, name).at[row, place].set(value, mode="drop")
    batch = songs.batch._replace(
        **{name: put(name, getattr(state, name)) for name in FIELDS},
        tokens=put("tokens", token),
        document=put("document", 1),
    )
    logits = model(batch, max_spans=max_spans, compute=compute, dropout_key=None)
    state = state.where(alive, songs.fields, jnp)
    # A row that ended at its last slot has none to come; its logits nobody reads.
    at = jnp.minimum(songs.length, logits.shape[1] - 1)
    return Songs(batch, state, songs.length + alive, songs.slot + 1), logits[row, at]
