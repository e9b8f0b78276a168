"""The compiled loop of a sampler: a token goes through the model (cache.py), the plan (tokenizer.tokens.plan, follow)
says what may come or must come next, one is drawn. Called by sample.py.

What a program is compiled for is in Program and in the sizes of its arguments, which come in few steps; all else, the
draw's settings and the weights too, is an argument. So one program serves all songs of a model of this kind.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from configs import ComputeConfig, ModelConfig
from jax_impl.batch import Batch
from jax_impl.model.museformer import MuseFormer
from jax_impl.sampling import cache, uncached
from jax_impl.sampling.draw import Settings, bar_is_over, draw, hear, penalized, surer
from jax_impl.sampling.task import summary_slots
from jax_impl.sampling.weights import Weights, shape_of
from tokenizer import vocabulary as vocab
from tokenizer.tokens import follow, grammar
from tokenizer.tokens.plan import Plan

HEARD_AT_ONCE = 256  # given tokens that the grammar follows in one go


class Loop(NamedTuple):
    """What one turn of the loop makes of the one before. B songs."""

    past: Any  # cache.Cache or uncached.Songs, without `token`
    token: jax.Array  # int32[B] the last one
    grammar: grammar.State
    place: jax.Array  # int32[B] in the script
    heard: jax.Array  # float32[B, V] note tokens of the track's last bars
    tokens: jax.Array  # int32[B, T]
    done: jax.Array  # bool[B]
    errors: jax.Array  # int32[B]
    cut_short: jax.Array  # bool[B]


class Report(NamedTuple):
    """What the host looks at while the loop goes on."""

    tokens: jax.Array  # int32[B, T]
    length: jax.Array  # int32[B], without the last token
    done: jax.Array  # bool[B]
    errors: jax.Array  # int32[B]
    cut_short: jax.Array  # bool[B]
    program: jax.Array  # int32[B] of the track that is being written
    measure: jax.Array  # int32[B] that is being written, -1 outside of any
    slot: jax.Array  # int32[], slots of the cache that are filled
    spans: jax.Array  # int32[], of the song that has most


@dataclass(frozen=True)
class Program:
    """What is compiled: for models of this shape, with the grammar or without."""

    model: ModelConfig
    compute: ComputeConfig
    grammar: bool
    cached: bool

    # ------------------------------------------------------------ before the first free place

    @partial(jax.jit, static_argnums=0)
    def follow_given(self, state: grammar.State, given: jax.Array, count: jax.Array) -> grammar.State:
        """After the first `count` of the given tokens int32[HEARD_AT_ONCE], of one song."""

        def push(index: jax.Array, state: grammar.State) -> grammar.State:
            return grammar.push(state, given[index][None], jnp)

        return jax.lax.fori_loop(0, count, push, state)

    @partial(jax.jit, static_argnums=(0, 1, 2))
    def empty(self, rows: int, chunks: tuple[cache.Chunk, ...]) -> Any:
        """Songs without a token."""
        if self.cached:
            return cache.empty(self.model, self.compute, rows, chunks)
        return uncached.empty(rows, sum(chunk.tokens for chunk in chunks))

    @partial(jax.jit, static_argnums=(0, 1, 2))
    def prefilled(
        self,
        rows: int,
        chunks: tuple[cache.Chunk, ...],
        weights: Weights,
        batch: Batch,
        state: Any,
        token: jax.Array,
    ) -> cache.Cache:
        """The cache of a right-aligned row [1, P], whose coming token int32[1] is announced, for every song."""
        model, layers = self._merged(weights)
        one = cache.prefill(model, batch, state, self.compute, chunks)
        return cache.repeat(cache.close(model, layers, one, cache.closing(one, token, jnp.ones(1, bool))), rows)

    @partial(jax.jit, static_argnums=0)
    def append_all(self, weights: Weights, past: uncached.Songs, ids: jax.Array) -> uncached.Songs:
        """The given tokens written down; their logits are not wanted."""
        for_row = jnp.ones(len(past.length), jnp.int32)
        step = lambda past, token: (self._append(weights, past, for_row * token, for_row > 0)[0], None)
        return jax.lax.scan(step, past, ids)[0]

    # ------------------------------------------------------------ from there on

    @partial(jax.jit, static_argnums=0, donate_argnums=2)
    def go_on(
        self,
        weights: Weights,
        state: Loop,
        plan: Plan,
        keys: jax.Array,
        settings: Settings,
        turns: jax.Array,
    ) -> tuple[Loop, Report]:
        """At most so many tokens more, as long as a song goes on and there is room.

        Two loops: the inner one writes tokens until a bar is full in some row, whose summary the outer one then
        computes.
        """
        slots, summaries = room(state.past)

        def goes_on(turn, state):
            return (turn < turns) & ~state.done.all() & (state.past.slot < slots) & (_spans(state) < summaries)

        def write(carry: tuple) -> tuple:
            turn, state, _ = carry
            new = self._turn(weights, state, plan, keys, settings)
            closes = cache.closing(new.past, new.token, ~state.done) if self.cached else jnp.zeros_like(state.done)
            return turn + 1, new, closes

        def write_and_close(carry: tuple) -> tuple:
            none = jnp.zeros_like(carry[1].done)
            until_full = lambda carry: goes_on(*carry[:2]) & ~carry[2].any()
            turn, state, closes = jax.lax.while_loop(until_full, write, (*carry, none))
            if self.cached:
                state = state._replace(past=cache.close(*self._merged(weights), state.past, closes))
            return turn, state

        state = jax.lax.while_loop(lambda carry: goes_on(*carry), write_and_close, (0, state))[1]
        of_songs = (state.tokens, state.past.length, state.done, state.errors, state.cut_short)
        place = (state.grammar.program, state.grammar.measure)
        return state, Report(*of_songs, *place, state.past.slot, _spans(state))

    @partial(jax.jit, static_argnums=(0, 2))
    def grown(self, past: Any, chunk: cache.Chunk) -> Any:
        """The same songs with room for more."""
        if self.cached:
            return cache.grow(past, chunk)
        return uncached.grow(past, past.batch.tokens.shape[1] + chunk.tokens)

    def _turn(self, weights: Weights, state: Loop, plan: Plan, keys: jax.Array, settings: Settings) -> Loop:
        alive = ~state.done
        past, logits = self._append(weights, state.past, state.token, alive)
        with jax.named_scope("choose"):
            token, errors, cut_short = self._choose(state, plan, keys, settings, past, logits)
            token = jnp.where(alive, token, vocab.PAD)

        def keep(new, old):
            return jax.tree.map(lambda n, o: jnp.where(alive.reshape(-1, *[1] * (n.ndim - 1)), n, o), new, old)

        length = jnp.minimum(past.length, state.tokens.shape[1] - 1)  # of ended rows, which write what is there
        written = jnp.where(alive, token, state.tokens[jnp.arange(len(token)), length])
        is_full = past.length + 1 >= plan.max_tokens
        return Loop(
            past,
            token,
            keep(grammar.push(state.grammar, token, jnp), state.grammar),
            keep(follow.advance(plan, state.place, token, jnp), state.place),
            hear(state.heard, token),
            state.tokens.at[jnp.arange(len(token)), length].set(written),
            state.done | (alive & ((token == vocab.EOS) | is_full)),
            state.errors + (alive & errors),
            state.cut_short | (alive & (cut_short | (is_full & (token != vocab.EOS)))),
        )

    def _choose(
        self, state: Loop, plan: Plan, keys: jax.Array, settings: Settings, past: Any, logits: jax.Array
    ) -> tuple[jax.Array, ...]:
        """(next token int32[B], whether the grammar is against it bool[B], whether it cuts a song short bool[B])."""
        spans, rows, size = past.fields.spans, jnp.arange(len(keys)), logits.shape[1]  # what the model can write
        if self.grammar:
            choice = follow.choices(plan, state.place, state.grammar, past.length, spans, jnp)
            forced, allowed = choice.forced, choice.allowed[:, :size]
            logits = bar_is_over(logits, allowed)
        else:
            choice, forced = None, plan.script[state.place]
            has_room = (spans < plan.max_spans) & (past.fields.bars < plan.max_bars)
            allowed = (plan.free & (has_room[:, None] | (jnp.asarray(grammar.CLASS) != grammar.CHORD)))[:, :size]
        logits = surer(logits, allowed, settings.chord_temperature)
        logits = jnp.where(allowed, penalized(logits, state.heard, settings.repetition_penalty), -jnp.inf)
        drawn = jax.vmap(lambda key, at, row: draw(jax.random.fold_in(key, at), row, settings))(
            keys, past.length, logits
        )
        token = jnp.where(forced >= 0, forced, drawn)
        errors = (forced < 0) & ~grammar.allowed(state.grammar, jnp, plan.any_order)[rows, token]
        return token, errors, follow.cuts_short(choice, token, jnp) if choice else jnp.zeros_like(errors)

    def _append(self, weights: Weights, past: Any, token: jax.Array, alive: jax.Array) -> tuple[Any, jax.Array]:
        model, layers = self._merged(weights)
        if self.cached:
            return cache.append(model, layers, past, token, alive)
        return uncached.append(model, past, token, alive, room(past)[1], self.compute)

    def _merged(self, weights: Weights) -> tuple[MuseFormer, tuple]:
        return nnx.merge(shape_of(self.model).model, weights.model), weights.layers


@jax.jit
def keys_of(seed: jax.Array, numbers: jax.Array, part: jax.Array) -> jax.Array:
    """Random keys [B] of the songs with these numbers int32[B], of a part of them (0: of all of one)."""

    def key_of(number: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(seed), number)
        return jnp.where(part == 0, key, jax.random.fold_in(key, part))

    return jax.vmap(key_of)(numbers)


def room(past: Any) -> tuple[int, int]:
    """Slots of songs: of tokens, and of summaries."""
    if isinstance(past, uncached.Songs):
        slots = past.batch.tokens.shape[1]
        return slots, summary_slots(slots)
    chunks = cache.chunks_of(past)
    return sum(chunk.tokens for chunk in chunks), sum(chunk.summaries for chunk in chunks)


def begun(past: Any, state: grammar.State, given: np.ndarray, slots: int, vocab_size: int) -> Loop:
    """Songs of which these tokens int32[] are given, all but the last in `past`; state: after all of them, of one."""
    rows = len(past.length)
    tokens = np.zeros((rows, slots), np.int32)
    tokens[:, : len(given)] = given
    number = lambda value: np.full(rows, value, np.int32)
    no = np.zeros(rows, bool)
    repeated = jax.tree.map(lambda x: np.repeat(np.asarray(x), rows, axis=0), state)
    heard = np.zeros((rows, vocab_size), np.float32)
    return Loop(past, number(given[-1]), repeated, number(len(given)), heard, tokens, no, number(0), no)


def _spans(state: Loop) -> jax.Array:
    return jnp.max(state.past.fields.spans)
