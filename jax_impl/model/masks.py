"""The attention rule: which keys a query sees. Four phases over two streams, the summaries S and the regular tokens R.

    SS  a summary sees earlier summaries
    SR  a summary sees the tokens it pools
    RS  a token sees the summaries of the past
    RR  a token sees tokens: its own instrument, and near bars of the others

`summaries` computes the data on which the two scopes ("span", "bar": see configs.MaskRule) differ; the clauses below
know nothing of scopes. `summarize_mask` and `update_mask` evaluate them once per step into the bits that every head of
every layer uses.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from configs import MaskRule
from jax_impl.attention import BlockMask, pack
from jax_impl.batch import Batch
from tokenizer.tokens.fields import KIND_PITCH, KIND_POSITION, KIND_VELOCITY, NO_INSTRUMENT, OUTSIDE

SLOTS = 64  # the number of summary slots is a multiple of this: unused ones are document 0, which nothing sees
NO_TABLE_ROW = -1  # a summary without an instrument embedding


class Summaries(NamedTuple):
    """What pools what, what is visible when, and where everything stands. M slots, T tokens; one summary per bar span
    ("span").

    tokens      BOS BPM TS #D SEP | C T P | G T P | #P0 SEP | C T P | EOS
    pooled_by    -1  -1 -1 -1  -1 | 0 0 0 | 1 1 1 |  -1  -1 | 2 2 2 |  -1
    visible       0   0  0  0   0 | 0 0 0 | 1 1 1 |   2   2 | 2 2 2 |   3
    """

    pooled_by: jax.Array  # int32[B, T] the summary that pools the token, -1 none
    visible: jax.Array  # int32[B, T] the token sees the summaries j < visible of its document
    token_position: jax.Array  # int32[B, T] rotary position of the regular tokens
    document: jax.Array  # int32[B, M] 0 = unused slot
    bar: jax.Array  # int32[B, M] row of the bar table
    instrument: jax.Array  # int32[B, M] row of the instrument table, -1 none
    position: jax.Array  # int32[B, M] rotary position in SS and SR
    key_position: jax.Array  # int32[B, M] rotary position as a key of RS


def summaries(batch: Batch, rule: MaskRule, max_spans: int | None) -> Summaries:
    """Summaries of each row. max_spans: most summaries any row needs; M is the next multiple of 64. Outside of jit,
    where rows can be looked at, None takes what they need, and ValueError is raised where they need more than M; in a
    compiled program whoever packs the rows keeps to it.
    """
    if not isinstance(batch.span, jax.core.Tracer):
        needed = most_summaries(batch, rule)
        max_spans = needed if max_spans is None else max_spans
        if needed > _slots_for(max_spans):
            raise ValueError(f"a row needs {needed} summaries, more than max_spans {max_spans}")
    elif max_spans is None:
        raise ValueError("in a compiled program max_spans must be given: its rows are not known yet")
    slots = _slots_for(max_spans)
    per_row = _span_summaries if rule.scope == "span" else _bar_summaries
    return jax.vmap(lambda row: per_row(row, slots))(batch)


def most_summaries(batch: Batch, rule: MaskRule) -> int:
    """Of any row of a batch [B, T]: its spans, or the bar numbers of its documents."""
    document, bar = np.asarray(batch.document), np.asarray(batch.bar)
    if rule.scope == "span":
        return int(np.where(document > 0, np.asarray(batch.span), OUTSIDE).max(initial=OUTSIDE)) + 1
    rows = np.zeros(len(document), np.int64)
    for number in range(1, int(document.max(initial=0)) + 1):
        inside = document == number
        rows += np.where(inside.any(axis=-1), np.maximum(np.where(inside, bar, 0).max(axis=-1), 0) + 1, 0)
    return int(rows.max(initial=0))


def _slots_for(max_spans: int) -> int:
    """At least one block of them: arrays of no summaries are no arrays for a kernel."""
    return -(-max(max_spans, 1) // SLOTS) * SLOTS


def _span_summaries(row: Batch, slots: int) -> Summaries:
    """One row, scope "span": summary i pools span i and stands at its last token."""
    pooled_by = jnp.where(row.document > 0, row.span, OUTSIDE)
    opened = jax.lax.cummax(pooled_by) + 1

    def gather(field):  # constant within a span, but for position: its last
        return _maximum(field, pooled_by, slots)

    position = gather(row.position)
    return Summaries(
        pooled_by=pooled_by,
        visible=opened - (pooled_by >= 0),
        token_position=row.position,
        document=gather(row.document),
        bar=gather(row.bar),
        instrument=gather(row.instrument),
        position=position,
        key_position=position,
    )


def _bar_summaries(row: Batch, slots: int) -> Summaries:
    """One row, scope "bar": the summaries of a document are its bar numbers, tokens outside bars count to bar 0, as in
    v1.2.1.
    """
    bar = jnp.maximum(row.bar, 0)
    num_bars = _maximum(bar + 1, row.document - 1, slots)  # of each document
    first = jnp.cumsum(num_bars) - num_bars  # slot of each document's bar 0
    pooled_by = jnp.where(row.document > 0, first[row.document - 1] + bar, OUTSIDE)
    document = _maximum(row.document, pooled_by, slots)
    document = jax.lax.cummax(document)  # bar numbers without any token are summaries too
    document = jnp.where(jnp.arange(slots) < num_bars.sum(), document, 0)
    index = jnp.where(document > 0, jnp.arange(slots) - first[document - 1], 0)
    return Summaries(
        pooled_by=pooled_by,
        visible=pooled_by,
        token_position=jnp.where(row.document > 0, num_bars[row.document - 1] + row.position, 0),
        document=document,
        bar=index,
        instrument=jnp.full(slots, NO_TABLE_ROW, jnp.int32),
        position=index,
        key_position=jnp.zeros(slots, jnp.int32),
    )


def _maximum(field: jax.Array, index: jax.Array, slots: int) -> jax.Array:
    """int32[slots]: per slot the largest field of the tokens with that index, 0 where there is none; negative indices
    count nowhere.
    """
    return jnp.zeros(slots, jnp.int32).at[jnp.where(index < 0, slots, index)].max(field, mode="drop")


# ---------------------------------------------------------------- the clauses, each broadcast over queries and keys


class Tokens(NamedTuple):
    """Fields of regular tokens, as queries [B, Tq, 1] or keys [B, 1, Tk]."""

    document: jax.Array
    index: jax.Array  # in the row
    bar: jax.Array
    instrument: jax.Array
    kind: jax.Array
    onset: jax.Array
    pooled_by: jax.Array
    visible: jax.Array


class Slots(NamedTuple):
    """Summaries, as queries [B, M, 1] or keys [B, 1, M]."""

    document: jax.Array
    index: jax.Array


def ss(query: Slots, key: Slots) -> jax.Array:
    return _same_document(query, key) & (key.index <= query.index)


def sr(query: Slots, key: Tokens) -> jax.Array:
    return _same_document(query, key) & (key.pooled_by == query.index)


def rs(query: Tokens, key: Slots) -> jax.Array:
    return _same_document(query, key) & (key.index < query.visible)


def rr(query: Tokens, key: Tokens, rule: MaskRule) -> jax.Array:
    causal = key.index <= query.index
    visible = _same_document(query, key) & causal & reachable(query, key, rule)
    return visible & typed(query, key) if rule.typed else visible


def reachable(query: Tokens, key: Tokens, rule: MaskRule) -> jax.Array:
    """By place: structure tokens, the own instrument, and the other instruments' bars near by or at the far offsets."""
    both_play = (query.instrument < NO_INSTRUMENT) & (key.instrument < NO_INSTRUMENT)
    bars_back = query.bar - key.bar
    global_key = (key.bar == OUTSIDE) | (key.instrument == NO_INSTRUMENT)
    same_instrument = (query.instrument == key.instrument) & both_play
    other_instrument = (query.instrument != key.instrument) & both_play
    near = other_instrument & (bars_back >= 0) & (bars_back <= rule.near_bars)
    far = jnp.zeros_like(near)
    for offset in rule.far_offsets:
        far |= other_instrument & (bars_back == offset)
    return global_key | same_instrument | near | far


def typed(query: Tokens, key: Tokens) -> jax.Array:
    """By kind: position and pitch tokens see position and pitch, velocity sees velocity; all else only within one
    onset.
    """
    same_onset = (query.onset == key.onset) & (query.onset >= 0)
    is_note = lambda kind: (kind == KIND_POSITION) | (kind == KIND_PITCH)
    table = is_note(query.kind) & is_note(key.kind) | (query.kind == KIND_VELOCITY) & (key.kind == KIND_VELOCITY)
    untyped = (query.kind == OUTSIDE) | (key.kind == OUTSIDE) | (query.onset == OUTSIDE) | (key.onset == OUTSIDE)
    return same_onset | table | untyped


def _same_document(query: Tokens | Slots, key: Tokens | Slots) -> jax.Array:
    return (query.document == key.document) & (query.document > 0)


# ---------------------------------------------------------------- the two masks of a layer


def summarize_mask(batch: Batch, data: Summaries, rule: MaskRule) -> BlockMask:
    """Q = S over keys [S; R]: [B, M, M + T]."""
    del rule  # neither clause has parameters
    slots, tokens = _slots(data), all_tokens(batch, data)
    return pack(slots, [(ss, slots), (sr, tokens)])


def update_mask(batch: Batch, data: Summaries, rule: MaskRule) -> BlockMask:
    """Q = R over keys [S; R]: [B, T, M + T]."""
    slots, tokens = _slots(data), all_tokens(batch, data)
    return pack(tokens, [(rs, slots), (functools.partial(rr, rule=rule), tokens)])


def all_tokens(batch: Batch, data: Summaries) -> Tokens:
    fields = (
        batch.document,
        jnp.broadcast_to(jnp.arange(batch.position.shape[1]), batch.position.shape),
        batch.bar,
        batch.instrument,
        batch.kind,
        batch.onset,
        data.pooled_by,
        data.visible,
    )
    return Tokens(*map(jnp.asarray, fields))


def _slots(data: Summaries) -> Slots:
    return Slots(data.document, jnp.broadcast_to(jnp.arange(data.document.shape[1]), data.document.shape))
