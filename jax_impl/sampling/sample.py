"""Sampling: songs from a trained model, many side by side, token by token on the device.

    generate(run, prompt=score, constraints=Constraints(add="bass"), sampler=SampleConfig(seed=1))   ->  [Score, ...]

One loop for everything (jax.lax.while_loop, no host in it): a token goes through the model (jax_impl.sampling.cache),
the plan (tokenizer.tokens.plan, follow) says what may come or must come next, one is drawn. Programs have static sizes:
where a song outgrows one, the next, twice as large, goes on. The loop comes back to the host every few tokens, to tell
how far it is.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from configs import Constraints, SampleConfig
from jax_impl.batch import Batch
from jax_impl.model.museformer import MuseFormer
from jax_impl.sampling import asked, cache, uncached
from jax_impl.sampling.draw import bar_is_over, draw, hear, penalized
from jax_impl.sampling.task import Task, summary_slots
from tokenizer import vocabulary as vocab
from tokenizer.music.score import Score
from tokenizer.tokens import fields, follow, grammar
from tokenizer.tokens import plan as planning
from tokenizer.tokens.parts import InParts
from tokenizer.tokens.plan import Plan
from tokenizer.tokens.whole import Whole

SMALLEST_SLOTS = 256  # program sizes double from here up
PROMPT_MULTIPLE = 64  # prompts are filled up to this, so that few programs are compiled
STRIDE = 64  # tokens between two looks of the host
ANYTHING, DEFAULT, NEW = Constraints(), SampleConfig(), Whole()


@dataclass(frozen=True)
class Sample:
    """ids: int32[T], from BOS on, as the model saw and wrote them. finished: it ends in EOS. errors: tokens that the
    grammar would not have allowed. number: of the song among those of its seed. cut_short: it, or one of its tracks,
    was brought to an end for want of room, where the model might have gone on. whole: what makes the song of them, all
    of a given one included.
    """

    ids: np.ndarray
    finished: bool
    errors: int
    number: int
    cut_short: bool = False
    whole: Whole = NEW

    def score(self) -> Score:
        """The whole song; a given one in its own time."""
        return self.whole.score(self.ids)

    def midi(self) -> tuple[bytes, str | None]:
        """The same as the bytes of a MIDI file, a given one with what is new in it; and what should be known of it."""
        return self.whole.midi(self.ids)

    def on_grid(self) -> Score:
        """The whole song with the bars that the model had."""
        return self.whole.on_grid(self.ids)

    def chords(self) -> list[str]:
        """Names of the chords of its bars, as its tokens say them."""
        return self.whole.chords(self.ids)


class Loop(NamedTuple):
    """What one turn of the loop makes of the one before. B songs."""

    past: Any  # cache.Cache or uncached.Songs, without `token`
    token: jax.Array  # int32[B] the last one
    grammar: grammar.State
    place: jax.Array  # int32[B] in the script
    heard: jax.Array  # float32[B, V] note tokens of the track's last bars
    tokens: jax.Array  # int32[B, max_length]
    done: jax.Array  # bool[B]
    errors: jax.Array  # int32[B]
    cut_short: jax.Array  # bool[B]


def generate(
    run: str | Path,
    *,
    prompt: Score | np.ndarray | str | Path | None = None,
    constraints: Constraints = ANYTHING,
    sampler: SampleConfig = DEFAULT,
    checkpoint: str | int = "best",
) -> list[Score]:
    """sampler.num_samples songs of a trained run, each with all of a given one. prompt: a song to continue, or with
    constraints.add to accompany; its tokens or the path of a MIDI file will do. A score or file whose beats are not
    where it says is aligned first; either comes back in its own time. Warns of what becomes something else than was
    asked, and of what was read otherwise than it stands in the file. Raises InputError.
    """
    found, task = asked.task(run, prompt, constraints, sampler, checkpoint)
    asked.tell(task.notice)
    return [sample.score() for sample in Sampler(found.load(), task).samples()]


def generate_files(
    run: str | Path,
    *,
    prompt: Score | np.ndarray | str | Path | None = None,
    constraints: Constraints = ANYTHING,
    sampler: SampleConfig = DEFAULT,
    checkpoint: str | int = "best",
) -> list[bytes]:
    """As generate, each song as the content of a MIDI file: a given file is itself, with its controllers, names and all
    that no Score holds, and with what is new in it.
    """
    found, task = asked.task(run, prompt, constraints, sampler, checkpoint)
    asked.tell(task.notice)
    made = [sample.midi() for sample in Sampler(found.load(), task).samples()]
    asked.tell("; ".join(dict.fromkeys(lost for _, lost in made if lost)))
    return [content for content, _ in made]


class Sampler:
    """Songs of one model under one plan. Song i depends on (model, settings, seed, i) and, in its last bits, on the
    songs beside it: they are sampled in groups of config.batch, and a group is always the same.
    """

    def __init__(self, model: MuseFormer, task: Task):
        self.model, self.task, self.cached = model, task, task.cached
        self.config, self.compute, self.plan = task.config, task.compute, task.plan
        self._graphs, self._weights = cache.graphs(model), cache.weights(model, self.compute)
        self._go_on = jax.jit(self._turns, donate_argnums=1)
        self._hear_given = jax.jit(self._grammar_after)
        self._fill_cache = jax.jit(self._prefilled, static_argnames=("slots", "rows"))

    def groups(self) -> list[range]:
        """Numbers of the songs that are sampled together."""
        count, size = self.config.num_samples, self.config.batch
        return [range(start, min(start + size, count)) for start in range(0, count, size)]

    def samples(self, on_token: Callable[[int], None] = lambda _: None) -> Iterator[Sample]:
        """All songs, group by group. on_token: told the length so far."""
        for numbers in self.groups():
            yield from self.group(numbers, on_token)

    def group(self, numbers: Sequence[int], on_token: Callable[[int], None] = lambda _: None) -> list[Sample]:
        """The songs with these numbers, side by side."""
        if self.task.parts:
            return self._in_parts(self.task.parts, numbers, on_token)
        for samples in self.steps(numbers, STRIDE):
            on_token(max(len(sample.ids) for sample in samples))
        return samples

    def _in_parts(self, parts: InParts, numbers: Sequence[int], on_token: Callable[[int], None]) -> list[Sample]:
        """The songs, of which the first part is the same for all; the others hang on what the ones before became."""
        songs = {number: parts.begun() for number in numbers}
        written: dict[int, list[Sample]] = {number: [] for number in numbers}
        tokens = 0
        for index, part in enumerate(parts.parts):
            for together in [[number] for number in numbers] if index else [numbers]:
                plan, before = parts.plan(songs[together[0]], part), tokens
                for samples in self.steps(together, STRIDE, plan, index):
                    tokens = before + max(len(sample.ids) for sample in samples)
                    on_token(tokens)
                for sample in samples:
                    written[sample.number].append(sample)
                    songs[sample.number] = parts.with_written(songs[sample.number], part, sample.ids)
        return [
            Sample(
                parts.ids(songs[number]),
                all(sample.finished for sample in written[number]),
                sum(sample.errors for sample in written[number]),
                number,
                any(sample.cut_short for sample in written[number]),
                self.task.whole,
            )
            for number in numbers
        ]

    def steps(
        self, numbers: Sequence[int], stride: int, plan: Plan | None = None, part: int = 0
    ) -> Iterator[list[Sample]]:
        """The songs so far, after every `stride` tokens. plan: of a part of the songs, of this number; None: of all."""
        keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(self.config.seed)))(jnp.asarray(numbers))
        keys = jax.vmap(lambda key: jax.random.fold_in(key, part))(keys) if part else keys
        plan = self.plan if plan is None else plan
        state, device_plan = self._begin(len(numbers), plan), jax.tree.map(jnp.asarray, plan)
        while True:
            slots = self._size(int(state.past.slot), int(self._spans(state)), plan)
            if slots > self._slots(state):
                state = state._replace(past=self._grow(state.past, slots))
            state = self._go_on(self._weights, state, device_plan, keys, stride)
            lengths, done = np.asarray(state.past.length), np.asarray(state.done)
            tokens, errors = np.asarray(state.tokens), np.asarray(state.errors)
            cut_short = np.asarray(state.cut_short)
            samples = []
            for row, number in enumerate(numbers):
                ids = tokens[row, : lengths[row] + 1]
                finished = bool(ids[-1] == vocab.EOS)
                told = (int(errors[row]), number, bool(cut_short[row]))
                samples.append(Sample(ids, finished, *told, self.task.whole))
            yield samples
            if done.all():
                return

    # ------------------------------------------------------------ the loop

    def _begin(self, rows: int, plan: Plan) -> Loop:
        """The state before the first free place."""
        given = planning.prefix(plan)
        state = self._hear_given(plan.script, len(given))
        state = jax.tree.map(lambda x: jnp.repeat(x, rows, axis=0), state)
        filled, spans = self._filled(given), int(fields.compute(given).span.max()) + 1
        slots = self._size(max(filled, len(given)), spans, plan)
        if not self.cached:
            past = jax.jit(self._append_all)(self._weights, uncached.empty(rows, slots), jnp.asarray(given[:-1]))
        elif filled:
            past = self._prefill(given, filled, slots, rows)
        else:
            past = cache.empty(self.model.config, self.compute, rows, slots, summary_slots(slots))
        tokens = np.zeros((rows, self.config.max_length), np.int32)
        tokens[:, : len(given)] = given
        zero = jnp.zeros(rows, jnp.int32)
        heard = jnp.zeros((rows, self.model.config.vocab_size), jnp.float32)
        told = (heard, jnp.asarray(tokens), zero > 0, zero, zero > 0)
        return Loop(past, zero + given[-1], state, zero + len(given), *told)

    def _grammar_after(self, script: jax.Array, length: jax.Array) -> grammar.State:
        """Of one song, after so many tokens of a script."""

        def push(state: grammar.State, token: tuple[jax.Array, jax.Array]) -> tuple[grammar.State, None]:
            new = grammar.push(state, token[1][None], jnp)
            return jax.tree.map(lambda new, old: jnp.where(token[0] < length, new, old), new, state), None

        begun = grammar.begin(1, self.model.config.max_bars, jnp)
        return jax.lax.scan(push, begun, (jnp.arange(len(script)), script))[0]

    def _prefill(self, given: np.ndarray, filled: int, slots: int, rows: int) -> cache.Cache:
        """The cache of the given tokens but the last, whose coming is announced, for every row."""
        batch, state = cache.right_aligned([fields.compute(given[:-1])], filled)
        return self._fill_cache(self._weights, batch, state, jnp.asarray(given[-1:], jnp.int32), slots=slots, rows=rows)

    def _prefilled(self, weights: cache.Weights, batch: Batch, state: Any, token: jax.Array, slots: int, rows: int):
        model, layers = self._merge(weights)
        one = cache.prefill(model, batch, state, self.compute, slots, summary_slots(slots))
        return cache.repeat(cache.close(model, layers, one, cache.closing(one, token, jnp.ones(1, bool))), rows)

    def _append_all(self, weights, past: uncached.Songs, ids: jax.Array) -> uncached.Songs:
        """The given tokens written down; their logits are not wanted."""
        for_row = jnp.ones(len(past.length), jnp.int32)
        step = lambda past, token: (self._append(weights, past, for_row * token, for_row > 0)[0], None)
        return jax.lax.scan(step, past, ids)[0]

    def _merge(self, weights: cache.Weights) -> tuple[MuseFormer, list]:
        model, layer = self._graphs
        return nnx.merge(model, weights.model), [nnx.merge(layer, parameters) for parameters in weights.layers]

    def _append(self, weights, past, token: jax.Array, alive: jax.Array):
        model, layers = self._merge(weights)
        if self.cached:
            return cache.append(model, layers, past, token, alive)
        return uncached.append(model, past, token, alive, summary_slots(past.batch.tokens.shape[1]), self.compute)

    def _turns(self, weights: cache.Weights, state: Loop, plan: Plan, keys: jax.Array, turns: int) -> Loop:
        """At most so many tokens more, as long as a song goes on and there is room.

        Two loops: the inner one writes tokens until a bar is full in some row, whose summary the outer one then
        computes.
        """
        slots, summaries = self._slots(state), summary_slots(self._slots(state))

        def goes_on(turn, state):
            return (turn < turns) & ~state.done.all() & (state.past.slot < slots) & (self._spans(state) < summaries)

        def write(carry: tuple) -> tuple:
            turn, state, _ = carry
            new = self._turn(weights, state, plan, keys)
            closes = cache.closing(new.past, new.token, ~state.done) if self.cached else jnp.zeros_like(state.done)
            return turn + 1, new, closes

        def write_and_close(carry: tuple) -> tuple:
            none = jnp.zeros_like(carry[1].done)
            until_full = lambda carry: goes_on(*carry[:2]) & ~carry[2].any()
            turn, state, closes = jax.lax.while_loop(until_full, write, (*carry, none))
            if self.cached:
                state = state._replace(past=cache.close(*self._merge(weights), state.past, closes))
            return turn, state

        return jax.lax.while_loop(lambda carry: goes_on(*carry), write_and_close, (0, state))[1]

    def _turn(self, weights: cache.Weights, state: Loop, plan: Plan, keys: jax.Array) -> Loop:
        alive = ~state.done
        past, logits = self._append(weights, state.past, state.token, alive)
        with jax.named_scope("choose"):
            token, errors, cut_short = self._choose(state, plan, keys, past, logits)
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

    def _choose(self, state: Loop, plan: Plan, keys: jax.Array, past, logits: jax.Array) -> tuple[jax.Array, ...]:
        """(next token int32[B], whether the grammar is against it bool[B], whether it cuts a song short bool[B])."""
        spans, rows, size = past.fields.spans, jnp.arange(len(keys)), logits.shape[1]  # what the model can write
        if self.config.grammar:
            choice = follow.choices(plan, state.place, state.grammar, past.length, spans, jnp)
            forced, allowed = choice.forced, choice.allowed[:, :size]
            logits = bar_is_over(logits, allowed)
        else:
            choice, forced = None, plan.script[state.place]
            room = (spans < plan.max_spans) & (past.fields.bars < plan.max_bars)
            allowed = (plan.free & (room[:, None] | (jnp.asarray(grammar.CLASS) != grammar.CHORD)))[:, :size]
        logits = jnp.where(allowed, penalized(logits, state.heard, self.config.repetition_penalty), -jnp.inf)
        drawn = jax.vmap(lambda key, at, row: draw(jax.random.fold_in(key, at), row, self.config))(
            keys, past.length, logits
        )
        token = jnp.where(forced >= 0, forced, drawn)
        errors = (forced < 0) & ~grammar.allowed(state.grammar, jnp)[rows, token]
        return token, errors, follow.cuts_short(choice, token, jnp) if choice else jnp.zeros_like(errors)

    # ------------------------------------------------------------ sizes

    def _spans(self, state: Loop) -> jax.Array:
        return jnp.max(state.past.fields.spans)

    def _slots(self, state: Loop) -> int:
        return (state.past.tokens.document if self.cached else state.past.batch.tokens).shape[1]

    def _filled(self, given: np.ndarray) -> int:
        """Slots that the given tokens but the last take in a cache: for songs in parts one number for all."""
        if not self.cached:
            return 0
        tokens = self.config.max_length if self.task.parts and len(self.task.parts.parts) > 1 else len(given) - 1
        return -(-tokens // PROMPT_MULTIPLE) * PROMPT_MULTIPLE

    def _size(self, used: int, spans: int, plan: Plan) -> int:
        """Token slots of the smallest program with room for one more than so many tokens and spans."""
        slots, most = SMALLEST_SLOTS, self._filled(planning.prefix(plan)) + self.config.max_length
        while slots <= used or summary_slots(slots) <= spans:
            slots *= 2
        return min(slots, most)

    def _grow(self, past, slots: int):
        if self.cached:
            return jax.jit(partial(cache.grow, slots=slots, summary_slots=summary_slots(slots)))(past)
        return uncached.grow(past, slots)
