"""The cache of a sampler: what the layers hold of the tokens so far, and one more token at the cost of its own path alone.

Under a rule of scope "span" nothing depends on a later token and no position ever moves: keys and values are computed once. Of each layer:

    k, v                    of every regular token                     one slot a step, the same slot in all rows
    summary_k, summary_v    of every closed span, for SS               slot i holds span i
    k2, v2                  of every closed span, for RS               slot i holds span i

A span closes when the next chord, track or special token arrives. Before that token is computed, the span's summary runs through all
layers, over its own tokens and the summaries before it. Rows close at different times: the summaries of the rows that close are computed
together, a few rows at once, until none is left.

Rows that begin with prompts of different lengths are aligned to the right (see right_aligned), so that all of them write the same slot;
slots are not positions. A model of scope "bar" cannot be cached: a bar's summary changes with tokens written long after it was read.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from configs import ComputeConfig, ModelConfig
from configs.model import HEAD_DIM
from jax_impl import masks
from jax_impl.batch import Batch, pack_row, stack_rows
from jax_impl.model import DTYPES, Keys, Layer, MuseFormer, merge_heads, rotate, rotation, split_heads
from tokenizer import fields
from tokenizer.fields import FieldState, TokenFields

CLOSING_SHARE = 8  # of B rows, B / 8 summaries are computed at once: a bar has about 14 tokens


class Cache(NamedTuple):
    """Everything the next token needs of those before it. B rows, T token slots, M summary slots."""

    keys: tuple[Keys, ...]  # of each layer: k, v [B, N, T, H]; summary_k, summary_v, k2, v2 [B, N, M, H]
    tokens: masks.Tokens  # int32[B, T] each, fields of the tokens in the slots; document 0 = empty
    fields: FieldState  # int32[B] each, after the last token
    length: jax.Array  # int32[B], tokens of each row, which is the next one's position
    slot: jax.Array  # int32[], where the next token goes


class Weights(NamedTuple):
    """A model's parameters as the step reads them: layers apart (a stack of them would be copied slice by slice) and in compute dtype."""

    model: Any  # of the whole model, fp32; the step uses its tables and last norm
    layers: tuple[Any, ...]


def weights(model: MuseFormer, compute: ComputeConfig) -> Weights:
    stacked = nnx.state(model.layers)
    cast = lambda layer: jax.tree.map(lambda parameter: parameter[layer].astype(DTYPES[compute.precision]), stacked)  # noqa: E731
    return Weights(nnx.state(model), tuple(cast(layer) for layer in range(model.config.layers)))


def graphs(model: MuseFormer) -> tuple[nnx.GraphDef, nnx.GraphDef]:
    """What, merged with Weights.model and with one of Weights.layers, is the model and the layer."""
    return nnx.graphdef(model), nnx.graphdef(model.layers)


# ---------------------------------------------------------------- beginning


def empty(config: ModelConfig, compute: ComputeConfig, rows: int, slots: int, summary_slots: int) -> Cache:
    """No token yet, in any row."""
    make = lambda length: jnp.zeros((rows, config.heads, length, HEAD_DIM), DTYPES[compute.precision])  # noqa: E731
    keys = lambda: Keys(*(make(slots) for _ in range(2)), *(make(summary_slots) for _ in range(4)))  # noqa: E731
    tokens = masks.Tokens(*(jnp.zeros((rows, slots), jnp.int32) for _ in masks.Tokens._fields))
    state = jax.tree.map(lambda value: jnp.full(rows, value, jnp.int32), fields.START)
    return Cache(tuple(keys() for _ in range(config.layers)), tokens, state, jnp.zeros(rows, jnp.int32), jnp.zeros((), jnp.int32))


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


def prefill(model: MuseFormer, batch: Batch, state: FieldState, compute: ComputeConfig, slots: int, summary_slots: int) -> Cache:
    """The cache after right-aligned rows [B, P], P <= slots, from one parallel pass."""
    keys = model.keys(batch, max_spans=summary_slots, compute=compute)
    data = masks.summaries(batch, model.config.mask_rule, summary_slots)
    grown = _grow_tokens(masks.all_tokens(batch, data), slots)
    layers = tuple(Keys(*(x[layer] for x in keys)) for layer in range(model.config.layers))
    layers = tuple(_grow_keys(layer, slots, summary_slots) for layer in layers)
    length = jnp.sum(batch.document > 0, axis=1).astype(jnp.int32)
    return Cache(layers, grown, jax.tree.map(jnp.asarray, state), length, jnp.asarray(batch.tokens.shape[1], jnp.int32))


def grow(cache: Cache, slots: int, summary_slots: int) -> Cache:
    """The same with more room."""
    keys = tuple(_grow_keys(layer, slots, summary_slots) for layer in cache.keys)
    return cache._replace(keys=keys, tokens=_grow_tokens(cache.tokens, slots))


def _grow_keys(keys: Keys, slots: int, summary_slots: int) -> Keys:
    pad = lambda x, length: jnp.pad(x, ((0, 0), (0, 0), (0, length - x.shape[2]), (0, 0)))  # noqa: E731
    return Keys(pad(keys.k, slots), pad(keys.v, slots), *(pad(x[:, :, :summary_slots], summary_slots) for x in keys[2:]))


def _grow_tokens(tokens: masks.Tokens, slots: int) -> masks.Tokens:
    return jax.tree.map(lambda x: jnp.pad(x, ((0, 0), (0, slots - x.shape[1]))), tokens)


def repeat(cache: Cache, rows: int) -> Cache:
    """Every row of a cache of one row, `rows` times."""
    return jax.tree.map(lambda x: jnp.repeat(x, rows, axis=0) if x.ndim else x, cache)


# ---------------------------------------------------------------- one more token: close(token), then append(token)


def append(model: MuseFormer, layers: Sequence[Layer], cache: Cache, token: jax.Array, alive: jax.Array) -> tuple[Cache, jax.Array]:
    """One more token int32[B] in each row where alive bool[B]; logits float32[B, 643] of the one after it. The slot must exist.

    The token must have been announced to `close`.
    """
    before, state = cache.fields, cache.fields.push(token, jnp)
    query = masks.Tokens(
        document=alive.astype(jnp.int32),
        position=cache.length,
        bar=state.bar,
        instrument=state.instrument,
        kind=state.kind,
        onset=state.onset,
        pooled_by=state.span,
        visible=state.spans - (state.span >= 0),
    )
    write = lambda slots, value: jax.lax.dynamic_update_slice(slots, value[:, None], (0, cache.slot))  # noqa: E731
    tokens = jax.tree.map(write, cache.tokens, query)
    query = jax.tree.map(lambda x: x[:, None], query)
    sees_token = masks.rr(query, tokens, model.config.mask_rule)
    sees_summary = masks.rs(query, _slots(cache, alive))

    dtype = cache.keys[0].k.dtype
    turn = rotation(cache.length[:, None], dtype)
    r = model.embed_tokens(token, state.instrument)[:, None].astype(dtype)
    keys = []
    for layer, held in zip(layers, cache.keys, strict=True):
        q, k, v = layer.regular.project(r)
        place = (0, 0, cache.slot, 0)
        held = held._replace(
            k=jax.lax.dynamic_update_slice(held.k, rotate(k, turn), place), v=jax.lax.dynamic_update_slice(held.v, v, place)
        )
        updated = _attend(rotate(q, turn), [(held.k2, held.v2, sees_summary), (held.k, held.v, sees_token)])
        r = r + layer.regular.out(merge_heads(updated))
        r = r + layer.regular.feed_forward(r)
        keys.append(held)
    state = jax.tree.map(lambda new, old: jnp.where(alive, new, old), state, before)
    cache = Cache(tuple(keys), tokens, state, cache.length + alive, cache.slot + 1)
    return cache, model.logits(r)[:, 0]


def _slots(cache: Cache, alive: jax.Array) -> masks.Slots:
    """Summaries as keys, [B, M]: which of them are written is the query's to know (rs: visible, ss: its own index)."""
    index = jnp.arange(cache.keys[0].k2.shape[2])
    return masks.Slots(alive.astype(jnp.int32)[:, None], index[None])


def close(model: MuseFormer, layers: Sequence[Layer], cache: Cache, token: jax.Array, alive: jax.Array) -> Cache:
    """Computes the summaries of the spans that the next token int32[B] closes, in rows where alive bool[B].

    Apart from append so that a loop can do it last: the compiler updates the tokens' keys in place only if nothing reads the old ones.
    """
    span = cache.fields.push(token, jnp).span
    closes = alive & (cache.fields.span >= 0) & (span != cache.fields.span)
    rows = len(closes)
    together = -(-rows // CLOSING_SHARE)

    def some(carry: tuple) -> tuple:
        keys, pending = carry
        chosen = jnp.argsort(~pending, stable=True)[:together]  # rows that close first
        valid = pending[chosen]
        keys = _summaries(model, layers, cache, keys, chosen, valid)
        return keys, pending.at[chosen].set(False)

    own = tuple(held[2:] for held in cache.keys)  # the tokens' keys are only read
    all_of_them = lambda own: jax.lax.while_loop(lambda carry: carry[1].any(), some, (own, closes))[0]  # noqa: E731
    own = jax.lax.cond(closes.any(), all_of_them, lambda own: own, own)  # without it the loop's operands are copied at every token
    return cache._replace(keys=tuple(Keys(held.k, held.v, *summary) for held, summary in zip(cache.keys, own, strict=True)))


def _summaries(model, layers, cache: Cache, own: tuple, rows: jax.Array, valid: jax.Array) -> tuple:
    """The layers' (summary_k, summary_v, k2, v2) with the current spans of some rows int32[K] written, where valid bool[K]."""
    pick = lambda x: x[rows]  # noqa: E731
    state = jax.tree.map(pick, cache.fields)
    slots = own[0][0].shape[2]
    index = jnp.where(valid, state.span, slots)  # dropped where not valid
    write = lambda held, value: held.at[rows, :, index].set(value[:, :, 0], mode="drop")  # noqa: E731
    query = masks.Slots(jnp.ones_like(index)[:, None], state.span[:, None])
    sees_summary = masks.ss(query, masks.Slots(jnp.ones_like(index)[:, None], jnp.arange(slots)[None]))
    sees_token = masks.sr(query, jax.tree.map(pick, cache.tokens))

    dtype = cache.keys[0].k.dtype
    turn = rotation(pick(cache.length)[:, None] - 1, dtype)  # a summary stands at its span's last token
    s = model.embed_summaries(state.bar, state.instrument)[:, None].astype(dtype)
    written = []
    for layer, held, (summary_k, summary_v, k2s, v2s) in zip(layers, cache.keys, own, strict=True):
        q, k, v = layer.summary.project(s)
        summary_k, summary_v = write(summary_k, rotate(k, turn)), write(summary_v, v)
        seen = [(pick(summary_k), pick(summary_v), sees_summary), (pick(held.k), pick(held.v), sees_token)]
        pooled = merge_heads(_attend(rotate(q, turn), seen))
        k2, v2 = split_heads(layer.kv2(pooled), parts=2)
        written.append((summary_k, summary_v, write(k2s, rotate(k2, turn)), write(v2s, v2)))
        s = s + layer.summary.out(pooled)
        s = s + layer.summary.feed_forward(s)
    return tuple(written)


def _attend(q: jax.Array, groups: Sequence[tuple[jax.Array, jax.Array, jax.Array]]) -> jax.Array:
    """One query a row, q [B, N, 1, H], over groups of (k, v [B, N, S, H], visible bool[B, S]): as jax_impl.attention.attention."""
    q = q[:, :, 0] * q.shape[-1] ** -0.5
    score = lambda k: jnp.einsum("BNH,BNSH->BNS", q, k, preferred_element_type=jnp.float32)  # noqa: E731
    scores = [jnp.where(visible[:, None], score(k), -jnp.inf) for k, _, visible in groups]
    highest = jnp.max(jnp.stack([s.max(axis=-1) for s in scores]), axis=0)[..., None]
    highest = jnp.where(jnp.isfinite(highest), highest, 0)  # a query that sees nothing gives zeros
    exponentials = [jnp.exp(s - highest) for s in scores]
    total = sum(e.sum(axis=-1) for e in exponentials)[..., None]
    out = sum(
        jnp.einsum("BNS,BNSH->BNH", e.astype(v.dtype), v, preferred_element_type=jnp.float32)
        for e, (_, v, _) in zip(exponentials, groups, strict=True)
    )
    return (out / jnp.where(total > 0, total, 1))[:, :, None].astype(q.dtype)
