"""The cache of a sampler: what layers hold of the tokens so far, and one more token at the cost of its path alone.
Filled and read by sample.py.

Under a rule of scope "span" nothing depends on a later token and no position ever moves: keys and values are computed
once. Of each layer:

    k, v                    of every regular token                     one slot a step, the same slot in all rows
    summary_k, summary_v    of every closed span, for SS               slot i holds span i
    k2, v2                  of every closed span, for RS               slot i holds span i

A span closes when the next chord, track or special token arrives. Before that token is computed, the span's summary
runs through all layers, over its own tokens and the summaries before it. Rows close at different times: the summaries
of the rows that close are computed together, a few rows at once, until none is left.

Rows that begin with prompts of different lengths are aligned to the right (see right_aligned), so that all of them
write the same slot; slots are not positions. A model of scope "bar" cannot be cached: a bar's summary changes with
tokens written long after it was read.

One file, because filling, writing a token and closing a span must agree on what lies in which slot: apart, each would
have to say it again.
"""

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
from jax_impl.model.museformer import DTYPES, Keys, Layer, MuseFormer, merge_heads, rotate, rotation, split_heads
from tokenizer.tokens import fields
from tokenizer.tokens.fields import FieldState, TokenFields

CLOSING_SHARE = 8  # of B rows, B / 8 summaries are computed at once: a bar has about 14 tokens
OWN_BLOCK = 64  # slots that a summary reads at once, from the last back to its span's first


class Cache(NamedTuple):
    """Everything the next token needs of those before it. B rows, T token slots, M summary slots."""

    keys: tuple[Keys, ...]  # of each layer: k, v [B * N, T, H]; summary_k, summary_v, k2, v2 [B * N, M, H]; see `flat`
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


class Weights(NamedTuple):
    """A model's parameters as the step reads them: layers apart (a stack of them would be copied slice by slice) and in
    compute dtype.
    """

    model: Any  # of the whole model, fp32; the step uses its tables and last norm
    layers: tuple[Any, ...]


def weights(model: MuseFormer, compute: ComputeConfig) -> Weights:
    stacked = nnx.state(model.layers)
    cast = lambda layer: jax.tree.map(lambda parameter: parameter[layer].astype(DTYPES[compute.precision]), stacked)
    return Weights(nnx.state(model), tuple(cast(layer) for layer in range(model.config.layers)))


def graphs(model: MuseFormer) -> tuple[nnx.GraphDef, nnx.GraphDef]:
    """What, merged with Weights.model and with one of Weights.layers, is the model and the layer."""
    return nnx.graphdef(model), nnx.graphdef(model.layers)


# ---------------------------------------------------------------- beginning


def empty(config: ModelConfig, compute: ComputeConfig, rows: int, slots: int, summary_slots: int) -> Cache:
    """No token yet, in any row."""
    make = lambda length: jnp.zeros((rows * config.heads, length, HEAD_DIM), DTYPES[compute.precision])
    keys = lambda: Keys(*(make(slots) for _ in range(2)), *(make(summary_slots) for _ in range(4)))
    tokens = masks.Tokens(*(jnp.zeros((rows, slots), jnp.int32) for _ in masks.Tokens._fields))
    state = fields.begin(rows, jnp)
    return Cache(
        tuple(keys() for _ in range(config.layers)), tokens, state, jnp.zeros(rows, jnp.int32), jnp.zeros((), jnp.int32)
    )


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
    model: MuseFormer, batch: Batch, state: FieldState, compute: ComputeConfig, slots: int, summary_slots: int
) -> Cache:
    """The cache after right-aligned rows [B, P], P <= slots, from one parallel pass."""
    keys = model.keys(batch, max_spans=summary_slots, compute=compute)
    data = masks.summaries(batch, model.config.mask_rule, summary_slots)
    grown = _grow_tokens(masks.all_tokens(batch, data), slots)
    layers = tuple(Keys(*(flat(x[layer]) for x in keys)) for layer in range(model.config.layers))
    layers = tuple(_grow_keys(layer, slots, summary_slots) for layer in layers)
    length = jnp.sum(batch.document > 0, axis=1).astype(jnp.int32)
    return Cache(layers, grown, jax.tree.map(jnp.asarray, state), length, jnp.asarray(batch.tokens.shape[1], jnp.int32))


def flat(x: jax.Array) -> jax.Array:
    """[B, N, length, H] to [B * N, length, H]: with an axis of one row the compiler would compute each update twice and
    copy the cache.
    """
    return x.reshape(-1, *x.shape[2:])


def grow(cache: Cache, slots: int, summary_slots: int) -> Cache:
    """The same with more room."""
    keys = tuple(_grow_keys(layer, slots, summary_slots) for layer in cache.keys)
    return cache._replace(keys=keys, tokens=_grow_tokens(cache.tokens, slots))


def _grow_keys(keys: Keys, slots: int, summary_slots: int) -> Keys:
    pad = lambda x, length: jnp.pad(x, ((0, 0), (0, length - x.shape[1]), (0, 0)))
    return Keys(pad(keys.k, slots), pad(keys.v, slots), *(pad(x[:, :summary_slots], summary_slots) for x in keys[2:]))


def _grow_tokens(tokens: masks.Tokens, slots: int) -> masks.Tokens:
    return jax.tree.map(lambda x: jnp.pad(x, ((0, 0), (0, slots - x.shape[1]))), tokens)


def repeat(cache: Cache, rows: int) -> Cache:
    """Every row of a cache of one row, `rows` times."""
    return jax.tree.map(lambda x: jnp.tile(x, (rows, *[1] * (x.ndim - 1))) if x.ndim else x, cache)


# ---------------------------------------------------------------- one more token: close(closing(token)), then
# append(token)


def append(
    model: MuseFormer, layers: Sequence[Layer], cache: Cache, token: jax.Array, alive: jax.Array
) -> tuple[Cache, jax.Array]:
    """One more token int32[B] in each row where alive bool[B]; logits float32[B, V] of the one after it. The slot
    must exist.

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
    query = jax.tree.map(lambda x: x[:, None], query)
    sees_token = masks.rr(query, tokens, model.config.mask_rule)
    sees_summary = masks.rs(query, _slots(cache, alive))

    dtype = cache.keys[0].k.dtype
    turn = rotation(state.position[:, None], dtype)
    r = model.embed_tokens(token, state.instrument)[:, None].astype(dtype)
    keys = []
    for layer, held in zip(layers, cache.keys, strict=True):
        q, k, v = layer.regular.project(r)
        put = lambda slots, value: jax.lax.dynamic_update_slice(slots, flat(value), (0, cache.slot, 0))
        held = held._replace(k=put(held.k, rotate(k, turn)), v=put(held.v, v))
        q = rotate(q, turn)
        seen = _see(q, _nothing(q), held.k2, held.v2, sees_summary)
        updated = _mean(q, _see(q, seen, held.k, held.v, sees_token))
        r = r + layer.regular.out(merge_heads(updated))
        r = r + layer.regular.feed_forward(r)
        keys.append(held)
    state = state.where(alive, before, jnp)
    cache = Cache(tuple(keys), tokens, state, cache.length + alive, cache.slot + 1)
    return cache, model.logits(r)[:, 0]


def _slots(cache: Cache, alive: jax.Array) -> masks.Slots:
    """Summaries as keys, [B, M]: which of them are written is the query's to know (rs: visible, ss: its own index)."""
    index = jnp.arange(cache.keys[0].k2.shape[1])
    return masks.Slots(alive.astype(jnp.int32)[:, None], index[None])


def closing(cache: Cache, token: jax.Array, alive: jax.Array) -> jax.Array:
    """bool[B]: the rows whose span the next token int32[B] closes, where alive bool[B]."""
    return alive & (cache.fields.span >= 0) & (cache.fields.push(token, jnp).span != cache.fields.span)


def close(model: MuseFormer, layers: Sequence[Layer], cache: Cache, rows: jax.Array) -> Cache:
    """Computes the summaries of the spans that end here in the rows bool[B], as `closing` says.

    A loop that runs only where a row closes: it carries the summaries' keys, so that they are written in place, and
    reads the others.
    """
    together = -(-len(rows) // CLOSING_SHARE)

    def some(carry: tuple) -> tuple:
        held, pending = carry
        chosen = jnp.argsort(~pending, stable=True)[:together]  # rows that close first
        return _summaries(model, layers, cache, held, chosen, pending[chosen]), pending.at[chosen].set(False)

    held = tuple(SummaryKeys(keys.summary_k, keys.summary_v, keys.k2, keys.v2) for keys in cache.keys)
    held, _ = jax.lax.while_loop(lambda carry: carry[1].any(), some, (held, rows))
    return cache._replace(
        keys=tuple(keys._replace(**summary._asdict()) for keys, summary in zip(cache.keys, held, strict=True))
    )


def _summaries(
    model: MuseFormer,
    layers: Sequence[Layer],
    cache: Cache,
    held: tuple[SummaryKeys, ...],
    rows: jax.Array,
    valid: jax.Array,
) -> tuple[SummaryKeys, ...]:
    """Of each layer what `held` has, with the current spans of some rows int32[K] written, where valid bool[K]."""
    # Where the rows' heads lie in [B * N, ...] arrays, and which slot each writes: none where not valid
    all_slots, state = held[0].summary_k.shape[1], jax.tree.map(lambda x: x[rows], cache.fields)
    heads = len(held[0].summary_k) // len(cache.length)
    lines = (rows[:, None] * heads + jnp.arange(heads)).reshape(-1)
    slot = jnp.repeat(jnp.where(valid, state.span, all_slots), heads)
    write = lambda slots, value: slots.at[lines, slot].set(flat(value)[:, 0], mode="drop")

    # What they see. Their spans' tokens are the last ones of their rows: within `reach` slots, in blocks of OWN_BLOCK
    document = jnp.ones_like(rows)[:, None]
    query = masks.Slots(document, state.span[:, None])
    sees_summary = masks.ss(query, masks.Slots(document, jnp.arange(all_slots)[None]))
    sees_token = masks.sr(query, jax.tree.map(lambda x: x[rows], cache.tokens))
    reach = jnp.max(jnp.where(valid, cache.slot - jnp.argmax(sees_token, axis=1), 0))
    blocks = -(-reach // OWN_BLOCK)

    def pool(q: jax.Array, tokens: Keys, summary_k: jax.Array, summary_v: jax.Array) -> jax.Array:
        """Summaries, their own included, then blocks of tokens, from the last one back."""

        def see_block(number: jax.Array, seen: Seen) -> Seen:
            slots = cache.slot - OWN_BLOCK * (number + 1) + jnp.arange(OWN_BLOCK)
            visible = sees_token[:, slots] & (slots >= 0)
            return _see(q, seen, tokens.k[lines[:, None], slots], tokens.v[lines[:, None], slots], visible)

        seen = _see(q, _nothing(q), summary_k[lines], summary_v[lines], sees_summary)
        return _mean(q, jax.lax.fori_loop(0, blocks, see_block, seen))

    # Through the layers, as museformer.Layer does it; a summary stands at its span's last token
    dtype = cache.keys[0].k.dtype
    turn = rotation(state.position[:, None], dtype)
    s = model.embed_summaries(state.bar, state.instrument)[:, None].astype(dtype)
    written = []
    for layer, tokens, before in zip(layers, cache.keys, held, strict=True):
        q, k, v = layer.summary.project(s)
        summary_k, summary_v = write(before.summary_k, rotate(k, turn)), write(before.summary_v, v)
        pooled = merge_heads(pool(rotate(q, turn), tokens, summary_k, summary_v))
        k2, v2 = split_heads(layer.kv2(pooled), parts=2)
        k2, v2 = write(before.k2, rotate(k2, turn)), write(before.v2, v2)
        written.append(SummaryKeys(summary_k, summary_v, k2, v2))
        s = s + layer.summary.out(pooled)
        s = s + layer.summary.feed_forward(s)
    return tuple(written)


# ---------------------------------------------------------------- attention of one query a row, q [B, N, 1, H], over
# groups of keys


class Seen(NamedTuple):
    """A softmax over the keys so far, of each row and head."""

    highest: jax.Array  # float32[B * N] score, -inf before any
    total: jax.Array  # float32[B * N], sum of exp(score - highest)
    values: jax.Array  # float32[B * N, H], sum of exp(score - highest) * value


def _nothing(q: jax.Array) -> Seen:
    lines = q.shape[0] * q.shape[1]
    return Seen(jnp.full(lines, -jnp.inf), jnp.zeros(lines), jnp.zeros((lines, q.shape[-1])))


def _see(q: jax.Array, seen: Seen, k: jax.Array, v: jax.Array, visible: jax.Array) -> Seen:
    """k, v [B * N, S, H], visible bool[B, S]."""
    scores = jnp.einsum("ZH,ZSH->ZS", flat(q)[:, 0] * q.shape[-1] ** -0.5, k, preferred_element_type=jnp.float32)
    scores = jnp.where(jnp.repeat(visible, q.shape[1], axis=0), scores, -jnp.inf)
    highest = jnp.maximum(seen.highest, scores.max(axis=-1))
    base = jnp.where(jnp.isfinite(highest), highest, 0)
    shrink, shares = jnp.exp(seen.highest - base), jnp.exp(scores - base[:, None])
    values = jnp.einsum("ZS,ZSH->ZH", shares.astype(v.dtype), v, preferred_element_type=jnp.float32)
    return Seen(highest, seen.total * shrink + shares.sum(axis=-1), seen.values * shrink[:, None] + values)


def _mean(q: jax.Array, seen: Seen) -> jax.Array:
    """Shaped as q; zeros where nothing was visible, as jax_impl.attention.attention."""
    return (seen.values / jnp.where(seen.total > 0, seen.total, 1)[:, None]).reshape(q.shape).astype(q.dtype)
