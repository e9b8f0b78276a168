"""The cache of a sampler: what layers hold of the tokens so far, and one more token at the cost of its path alone.
Filled and read by loop.py.

Under a rule of scope "span" nothing depends on a later token and no position ever moves: keys and values are computed
once. Of each layer:

    k, v                    of every regular token                     one slot a step, the same slot in all rows
    summary_k, summary_v    of every closed span, for SS               slot i holds span i
    k2, v2                  of every closed span, for RS               slot i holds span i

They lie in chunks, each as large as all before it together, and a chunk in which nothing lies yet is not read: one
program writes short songs and long ones, and a token costs what the song so far does. (On a GPU, where each question
whether to read would wait for the host, all chunks are read, and one is added when the others are full.)

A span closes when the next chord, track or special token arrives. Before that token is computed, the span's summary
runs through all layers, over its own tokens and the summaries before it. Rows close at different times: the summaries
of the rows that close are computed together, a few rows at once, until none is left.

Rows that begin with prompts of different lengths are aligned to the right (see right_aligned), so that all of them
write the same slot; slots are not positions. A model of scope "bar" cannot be cached: a bar's summary changes with
tokens written long after it was read.

One file, because filling, writing a token and closing a span must agree on what lies in which slot: apart, each would
have to say it again.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from configs import ComputeConfig, ModelConfig
from configs.model import HEAD_DIM
from jax_impl.batch import Batch, pack_row, stack_rows
from jax_impl.model import masks
from jax_impl.model.museformer import DTYPES, Keys, MuseFormer
from jax_impl.model.operations import entering, merge_heads
from jax_impl.sampling import attend
from jax_impl.sampling.attend import Seen, flat, mean, nothing, see_where
from jax_impl.sampling.weights import shape_of
from tokenizer.tokens import fields
from tokenizer.tokens.fields import FieldState, TokenFields

CLOSING_SHARE = 8  # of B rows, B / 8 summaries are computed at once: a bar has about 14 tokens
NOWHERE = -1  # a slot that no chunk has
OWN_BLOCK = 64  # slots that a summary reads at once, from its span's first to the last; every chunk has whole ones


class Chunk(NamedTuple):
    """Slots of a part of a cache."""

    tokens: int
    summaries: int


class Cache(NamedTuple):
    """Everything the next token needs of those before it. B rows, T token slots, M summary slots, in chunks of them."""

    # Of each layer and chunk: k, v [B * N, T, H]; summary_k, summary_v, k2, v2 [B * N, M, H]; see `flat`
    keys: tuple[tuple[Keys, ...], ...]
    tokens: masks.Tokens  # int32[B, T] each, fields of the tokens in the slots; document 0 = empty
    fields: FieldState  # of B songs, after the last token
    length: jax.Array  # int32[B], tokens of each row
    slot: jax.Array  # int32[], where the next token goes


class SummaryKeys(NamedTuple):
    """Of a layer's Keys those that closing a span writes, [B * N, M, H] each; the tokens' are only read."""

    summary_k: jax.Array
    summary_v: jax.Array
    k2: jax.Array
    v2: jax.Array


# ---------------------------------------------------------------- beginning


def empty(config: ModelConfig, compute: ComputeConfig, rows: int, chunks: Sequence[Chunk]) -> Cache:
    """No token yet, in any row."""
    tokens = sum(chunk.tokens for chunk in chunks)
    keys = tuple(_empty_keys(rows * config.heads, chunk, DTYPES[compute.precision]) for chunk in chunks)
    fields_of_tokens = masks.Tokens(*(jnp.zeros((rows, tokens), jnp.int32) for _ in masks.Tokens._fields))
    zero = jnp.zeros((), jnp.int32)
    return Cache((keys,) * config.layers, fields_of_tokens, fields.begin(rows, jnp), jnp.zeros(rows, jnp.int32), zero)


def _empty_keys(lines: int, chunk: Chunk, dtype: Any) -> Keys:
    make = lambda slots: jnp.zeros((lines, slots, HEAD_DIM), dtype)
    return Keys(*(make(chunk.tokens) for _ in range(2)), *(make(chunk.summaries) for _ in range(4)))


def right_aligned(prompts: Sequence[TokenFields], length: int) -> tuple[Batch, FieldState]:
    """Rows [B, length] with padding first, and the state after each row's last token, int32[B]."""
    rows, states = [], []
    for prompt in prompts:
        row = pack_row([prompt], length)
        rows.append(Batch(*(np.roll(field, length - len(prompt)) for field in row)))
        state = fields.START
        for token in prompt.ids.tolist():
            state = state.push(token)
        states.append(state)
    return stack_rows(rows), FieldState(*(np.array(values, np.int32) for values in zip(*states, strict=True)))


def prefill(
    model: MuseFormer, batch: Batch, state: FieldState, compute: ComputeConfig, chunks: Sequence[Chunk]
) -> Cache:
    """The cache after right-aligned rows [B, P], for which the chunks have room, from one parallel pass."""
    parts = _parts(chunks)
    slots, summaries = parts[-1].tokens.stop, parts[-1].summaries.stop
    keys = model.keys(batch, max_spans=summaries, compute=compute)
    data = masks.summaries(batch, model.config.mask_rule, summaries)
    tokens = _longer(masks.all_tokens(batch, data), slots)

    def cut(layer: int, part: Part) -> Keys:
        of_layer = (flat(x[layer]) for x in keys)
        places = (*(part.tokens,) * 2, *(part.summaries,) * 4)
        return Keys(*(_slots_of(x, place) for x, place in zip(of_layer, places, strict=True)))

    layers = tuple(tuple(cut(layer, part) for part in parts) for layer in range(model.config.layers))
    length = jnp.sum(batch.document > 0, axis=1).astype(jnp.int32)
    return Cache(
        layers, tokens, jax.tree.map(jnp.asarray, state), length, jnp.asarray(batch.tokens.shape[1], jnp.int32)
    )


def _slots_of(x: jax.Array, place: slice) -> jax.Array:
    """x [.., S, H] at these slots, zeros beyond its end."""
    found = x[:, place]
    return jnp.pad(found, ((0, 0), (0, place.stop - place.start - found.shape[1]), (0, 0)))


def grow(cache: Cache, chunk: Chunk) -> Cache:
    """The same with a chunk more."""
    lines, _, _ = cache.keys[0][0].k.shape
    more = _empty_keys(lines, chunk, cache.keys[0][0].k.dtype)
    tokens = _longer(cache.tokens, cache.tokens.document.shape[1] + chunk.tokens)
    return cache._replace(keys=tuple((*chunks, more) for chunks in cache.keys), tokens=tokens)


def _longer(tokens: masks.Tokens, slots: int) -> masks.Tokens:
    return jax.tree.map(lambda x: jnp.pad(x, ((0, 0), (0, slots - x.shape[1]))), tokens)


class Part(NamedTuple):
    """Which slots of the whole cache are those of a chunk."""

    tokens: slice
    summaries: slice


def chunks_of(cache: Cache) -> list[Chunk]:
    return _chunks(cache.keys[0])


def _chunks(of_layer: Sequence[Keys]) -> list[Chunk]:
    return [Chunk(keys.k.shape[1], keys.k2.shape[1]) for keys in of_layer]


def _parts(chunks: Sequence[Chunk]) -> list[Part]:
    ends = np.cumsum([(0, 0), *chunks], axis=0).tolist()
    return [Part(*map(slice, first, end)) for first, end in itertools.pairwise(ends)]


def repeat(cache: Cache, rows: int) -> Cache:
    """Every row of a cache of one row, `rows` times."""
    return jax.tree.map(lambda x: jnp.tile(x, (rows, *[1] * (x.ndim - 1))) if x.ndim else x, cache)


# ---------------------------------------------------------------- one more token: close(closing(token)), then
# append(token)


def append(
    model: MuseFormer, layers: Sequence[Any], cache: Cache, token: jax.Array, alive: jax.Array
) -> tuple[Cache, jax.Array]:
    """One more token int32[B] in each row where alive bool[B]; logits float32[B, V] of the one after it. The slot
    must exist. layers: Weights.layers.

    Spans that the token closes must have their summaries: see `closing` and `close`.
    """
    before, state = cache.fields, cache.fields.push(token, jnp)
    query = masks.Tokens(
        document=alive.astype(jnp.int32),
        index=jnp.broadcast_to(cache.slot, token.shape),
        bar=state.bar,
        instrument=state.instrument,
        kind=state.kind,
        onset=state.onset,
        pooled_by=state.span,
        visible=state.spans - (state.span >= 0),
    )
    write = lambda slots, value: jax.lax.dynamic_update_slice(slots, value[:, None], (0, cache.slot))
    tokens = jax.tree.map(write, cache.tokens, query)
    query, parts = jax.tree.map(lambda x: x[:, None], query), _parts(chunks_of(cache))
    first, spans = cache.slot - jnp.max(cache.length), jnp.max(state.spans)  # of the longest row
    has_tokens = lambda part: (part.tokens.start <= cache.slot) & (first < part.tokens.stop)
    is_read = lambda part: has_tokens(part) | (part.summaries.start < spans)
    sees = _Sees(
        tokens=masks.rr(query, tokens, model.config.mask_rule),
        summaries=masks.rs(query, _slots(alive, parts)),
        reads=tuple(map(is_read, parts)),
        turn=model.rotation(state.position[:, None], fields.time(state.bar, state.place)[:, None]),
    )
    r = model.embed_tokens(token, state.instrument, state.place)[:, None]
    keys = []
    for parameters, held in zip(layers, cache.keys, strict=True):
        held, r = _append_to_layer(model.config, parameters, held, r, sees, cache.slot)
        keys.append(held)
    logits = model.logits(r, state.harmony[:, None], state.instrument[:, None])[:, 0]
    state = state.where(alive, before, jnp)
    return Cache(tuple(keys), tokens, state, cache.length + alive, cache.slot + 1), logits


class _Sees(NamedTuple):
    """What all layers know of a query in each row."""

    tokens: jax.Array  # bool[B, T]
    summaries: jax.Array  # bool[B, M]
    reads: tuple[jax.Array, ...]  # bool[] of each chunk
    turn: Any


@functools.partial(jax.jit, static_argnums=0)  # so that it is traced once for all layers
def _append_to_layer(
    config: ModelConfig, parameters: Any, held: tuple[Keys, ...], r: jax.Array, sees: _Sees, slot: jax.Array
) -> tuple[tuple[Keys, ...], jax.Array]:
    """A layer's chunks with the token of a slot, and its stream r [B, 1, D] after the layer."""
    layer, parts = nnx.merge(shape_of(config).layer, parameters), _parts(_chunks(held))
    entered = entering(r, held[0].k.dtype)
    q, k, v = layer.regular.project(entered, sees.turn)
    of_tokens = ([keys.k for keys in held], k), ([keys.v for keys in held], v)
    with_token = (_put(chunks, flat(value), 0, slot) for chunks, value in of_tokens)
    held = tuple(keys._replace(k=k, v=v) for keys, k, v in zip(held, *with_token, strict=True))
    seen = nothing(q)
    for keys, part, reads in zip(held, parts, sees.reads, strict=True):

        def see(seen: Seen, keys: Keys = keys, part: Part = part) -> Seen:
            seen = attend.see(q, seen, keys.k2, keys.v2, sees.summaries[:, part.summaries])
            return attend.see(q, seen, keys.k, keys.v, sees.tokens[:, part.tokens])

        seen = see_where(reads, see, seen, len(parts))
    return held, r + layer.regular.branches(entered, merge_heads(mean(q, seen)))


def _slots(alive: jax.Array, parts: Sequence[Part]) -> masks.Slots:
    """Summaries as keys, [B, M]: which of them are written is the query's to know (rs: visible, ss: its own index)."""
    return masks.Slots(alive.astype(jnp.int32)[:, None], jnp.arange(parts[-1].summaries.stop)[None])


def closing(cache: Cache, token: jax.Array, alive: jax.Array) -> jax.Array:
    """bool[B]: the rows whose span the next token int32[B] closes, where alive bool[B]."""
    return alive & (cache.fields.span >= 0) & (cache.fields.push(token, jnp).span != cache.fields.span)


def close(model: MuseFormer, layers: Sequence[Any], cache: Cache, rows: jax.Array) -> Cache:
    """Computes the summaries of the spans that end here in the rows bool[B], as `closing` says.

    A loop that runs only where a row closes: it carries the summaries' keys, so that they are written in place, and
    reads the others.
    """
    together = -(-len(rows) // CLOSING_SHARE)

    def some(carry: tuple) -> tuple:
        held, pending = carry
        chosen = jnp.argsort(~pending, stable=True)[:together]  # rows that close first
        return _summaries(model, layers, cache, held, chosen, pending[chosen]), pending.at[chosen].set(False)

    of_chunk = lambda keys: SummaryKeys(keys.summary_k, keys.summary_v, keys.k2, keys.v2)
    held = tuple(tuple(map(of_chunk, chunks)) for chunks in cache.keys)
    held, _ = jax.lax.while_loop(lambda carry: carry[1].any(), some, (held, rows))
    joined = lambda keys, summary: keys._replace(**summary._asdict())
    return cache._replace(keys=tuple(tuple(map(joined, *of_layer)) for of_layer in zip(cache.keys, held, strict=True)))


def _summaries(
    model: MuseFormer,
    layers: Sequence[Any],
    cache: Cache,
    held: tuple[tuple[SummaryKeys, ...], ...],
    rows: jax.Array,
    valid: jax.Array,
) -> tuple[tuple[SummaryKeys, ...], ...]:
    """Of each layer what `held` has, with the current spans of some rows int32[K] written, where valid bool[K]."""
    parts, state = _parts(chunks_of(cache)), jax.tree.map(lambda x: x[rows], cache.fields)
    heads = len(cache.keys[0][0].k) // len(cache.length)
    document = jnp.ones_like(rows)[:, None]
    query = masks.Slots(document, state.span[:, None])
    sees_token = masks.sr(query, jax.tree.map(lambda x: x[rows], cache.tokens))
    first = jnp.min(jnp.where(valid, jnp.argmax(sees_token, axis=1), cache.slot))
    spans = jnp.max(jnp.where(valid, state.spans, 0))
    pools = _Pools(
        tokens=sees_token,
        summaries=masks.ss(query, _slots(rows >= 0, parts)),
        reads=tuple(part.summaries.start < spans for part in parts),
        turn=model.rotation(state.position[:, None], fields.time(state.bar, 0)[:, None]),
        lines=rows[:, None] * heads + jnp.arange(heads),
        slot=jnp.where(valid, state.span, NOWHERE),
        blocks=(first // OWN_BLOCK, -(-cache.slot // OWN_BLOCK)),
    )
    s = model.embed_summaries(state.bar, state.instrument)[:, None]
    written = []
    for parameters, tokens, before in zip(layers, cache.keys, held, strict=True):
        after, s = _close_in_layer(model.config, parameters, tokens, before, s, pools)
        written.append(after)
    return tuple(written)


class _Pools(NamedTuple):
    """What all layers know of the spans that close."""

    tokens: jax.Array  # bool[K, T] that they see: the last ones of their rows
    summaries: jax.Array  # bool[K, M] likewise, their own included
    reads: tuple[jax.Array, ...]  # bool[] of each chunk, for its summaries
    turn: Any
    lines: jax.Array  # int32[K, N] where the rows' heads lie in [B * N, ...] arrays
    slot: jax.Array  # int32[K] of each summary, or NOWHERE
    blocks: tuple[jax.Array, jax.Array]  # of OWN_BLOCK slots, from that of the first token that is seen to the last's


@functools.partial(jax.jit, static_argnums=0)
def _close_in_layer(
    config: ModelConfig,
    parameters: Any,
    tokens: tuple[Keys, ...],
    before: tuple[SummaryKeys, ...],
    s: jax.Array,
    pools: _Pools,
) -> tuple[tuple[SummaryKeys, ...], jax.Array]:
    """A layer's chunks with the summaries, and their stream s [K, 1, D] after the layer, as museformer.Layer does it; a
    summary stands at its span's last token.
    """
    layer, parts, lines = (
        nnx.merge(shape_of(config).layer, parameters),
        _parts(_chunks(tokens)),
        pools.lines.reshape(-1),
    )

    def own_block(number: jax.Array) -> tuple[jax.Array, jax.Array]:
        """k, v [K * N, OWN_BLOCK, H] of the slots of a block."""
        at = number * OWN_BLOCK

        def of(keys: Keys, start: int) -> tuple[jax.Array, jax.Array]:
            take = lambda slots: slots[lines[:, None], at - start + jnp.arange(OWN_BLOCK)]
            return take(keys.k), take(keys.v)

        ends = np.array([part.tokens.stop for part in parts[:-1]], np.int32)
        branches = [functools.partial(of, keys, part.tokens.start) for keys, part in zip(tokens, parts, strict=True)]
        return jax.lax.switch(jnp.sum(at >= ends), branches)

    def pool(q: jax.Array, summary_k: Sequence[jax.Array], summary_v: Sequence[jax.Array]) -> jax.Array:
        """Summaries, their own included, then blocks of tokens."""

        def see_block(number: jax.Array, seen: Seen) -> Seen:
            visible = jax.lax.dynamic_slice_in_dim(pools.tokens, number * OWN_BLOCK, OWN_BLOCK, axis=1)
            return attend.see(q, seen, *own_block(number), visible)

        seen = nothing(q)
        for part, k, v, reads in zip(parts, summary_k, summary_v, pools.reads, strict=True):

            def see(seen: Seen, part: Part = part, k: jax.Array = k, v: jax.Array = v) -> Seen:
                return attend.see(q, seen, k[lines], v[lines], pools.summaries[:, part.summaries])

            seen = see_where(reads, see, seen, len(parts))
        return mean(q, jax.lax.fori_loop(*pools.blocks, see_block, seen))

    before = SummaryKeys(*zip(*before, strict=True))  # of each kind its chunks
    entered = entering(s, tokens[0].k.dtype)
    q, *own = layer.summary.project(entered, pools.turn)
    # Written before they are read: a copy of all would be kept for the reader
    summary_k, summary_v = _with_summaries((before.summary_k, before.summary_v), own, pools)
    pooled = merge_heads(pool(q, summary_k, summary_v))
    k2, v2 = _with_summaries((before.k2, before.v2), layer.second_keys(pooled, pools.turn), pools)
    written = tuple(map(SummaryKeys, summary_k, summary_v, k2, v2))
    return written, s + layer.summary.branches(entered, pooled)


def _with_summaries(arrays: Any, values: Any, pools: _Pools) -> Any:
    """Each array's chunks with its value [K, N, 1, H], row by row."""

    def write_row(index: jax.Array, arrays: Any) -> Any:
        line, slot = pools.lines[index, 0], pools.slot[index]
        return tuple(_put(chunks, value[index], line, slot) for chunks, value in zip(arrays, values, strict=True))

    return jax.lax.fori_loop(0, len(pools.slot), write_row, arrays)


@jax.jit
def _put(chunks: Sequence[jax.Array], value: jax.Array, line: jax.Array, slot: jax.Array) -> tuple[jax.Array, ...]:
    """Chunks [B * N, .., H] with a value [L, 1, H] in a slot of the lines from `line` on. All chunks are written, so
    that each stays where it is: the others with what they hold already.
    """
    start, written = 0, []
    for slots in chunks:
        size = slots.shape[1]
        place = (line, jnp.clip(slot - start, 0, size - 1), 0)
        there = jax.lax.dynamic_slice(slots, place, value.shape)
        is_inside = (slot >= start) & (slot < start + size)
        written.append(jax.lax.dynamic_update_slice(slots, jnp.where(is_inside, value, there), place))
        start += size
    return tuple(written)
