"""Sampling: songs from a trained model, many side by side, token by token on the device.

    generate(run, prompt=score, constraints=Constraints(add="bass"), sampler=SampleConfig(seed=1))   ->  [Score, ...]
    generate()                                                                the model that comes with this program

One loop for everything (loop.py), no host in it. It comes back to the host every few tokens, to tell how far it is, and
goes on while the host looks. What has to be compiled is compiled while the checkpoint is read.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from configs import ComputeConfig, Constraints, ModelConfig, SampleConfig
from jax_impl.device import device
from jax_impl.device.ready import ready
from jax_impl.model.museformer import MuseFormer, abstract_model
from jax_impl.sampling import asked, cache, loop
from jax_impl.sampling.cache import OWN_BLOCK, Chunk
from jax_impl.sampling.draw import Settings
from jax_impl.sampling.loop import HEARD_AT_ONCE, Loop, Program
from jax_impl.sampling.task import Task, summary_slots
from jax_impl.sampling.weights import Weights, shape_of, weights_of
from jax_impl.sampling.written import InPartsSoFar, Sample
from jax_impl.training.found import Found
from tokenizer import vocabulary as vocab
from tokenizer.music.score import Score
from tokenizer.tokens import fields, grammar
from tokenizer.tokens import plan as planning
from tokenizer.tokens.plan import Plan

FIRST_CHUNK = 1024  # slots; those of a program are a multiple of it
FIRST_UNCACHED = 256  # where a token costs all slots
FEW = 8  # given tokens, such as those before a new song, that the grammar follows on the host
STRIDE = 64  # tokens between two looks of the host
ANYTHING, DEFAULT = Constraints(), SampleConfig()


def generate(
    run: str | Path | None = None,
    *,
    prompt: Score | np.ndarray | str | Path | None = None,
    constraints: Constraints = ANYTHING,
    sampler: SampleConfig = DEFAULT,
    checkpoint: str | int = "best",
) -> list[Score]:
    """sampler.num_samples songs of a trained run (None: of the model that comes with this program), each with all of a
    given one. prompt: a song to continue, or with constraints.add to accompany; its tokens or the path of a MIDI file
    will do. A score or file whose beats are not where it says is aligned first; either comes back in its own time.
    Warns of what becomes something else than was asked, and of what was read otherwise than it stands in the file.
    Raises InputError.
    """
    found, task = asked.task(run, prompt, constraints, sampler, checkpoint)
    asked.tell(task.notice)
    return [sample.score() for sample in Sampler(found, task).samples()]


def generate_files(
    run: str | Path | None = None,
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
    made = [sample.midi() for sample in Sampler(found, task).samples()]
    asked.tell("; ".join(dict.fromkeys(lost for _, lost in made if lost)))
    return [content for content, _ in made]


OnToken = Callable[[int, Sample], None]


class Sampler:
    """Songs of one model under one plan. Song i depends on (model, settings, seed, i) and, in its last bits, on the
    songs beside it: they are sampled in groups of config.batch, and a group is always the same.

    model: or a checkpoint, which is read meanwhile; where that cannot be, the first song raises CheckpointError.
    weights: its own, where a program that makes many samplers has them already (see read). room: tokens of a given song
    for which a cache is filled, so that songs of all lengths up to it take one program; 0: as many as there are.
    """

    def __init__(self, model: MuseFormer | Found, task: Task, weights: "Future[Weights] | None" = None, room: int = 0):
        self.task, self.config, self.plan = task, task.config, task.plan
        self.program = Program(_config(model), task.compute, task.config.grammar, task.cached)
        self._settings, self._room = Settings.of(task.config), room
        self._weights = weights or read(model, task.compute)

    def groups(self) -> list[range]:
        """Numbers of the songs that are sampled together."""
        count, size = self.config.num_samples, self.config.batch
        return [range(start, min(start + size, count)) for start in range(0, count, size)]

    def samples(self, on_token: OnToken = lambda *_: None) -> Iterator[Sample]:
        """All songs, group by group. on_token: told the length so far, and the longest song."""
        for numbers in self.groups():
            yield from self.group(numbers, on_token)

    def group(self, numbers: Sequence[int], on_token: OnToken = lambda *_: None) -> list[Sample]:
        """The songs with these numbers, side by side."""
        if self.task.parts:
            written = InPartsSoFar(self, self.task.parts, numbers)
            for samples in written.steps(STRIDE):
                longest = max(samples, key=lambda sample: len(sample.ids))
                on_token(written.tokens + len(longest.ids), longest)
            return written.samples()
        for samples in self.steps(numbers, STRIDE):
            longest = max(samples, key=lambda sample: len(sample.ids))
            on_token(len(longest.ids), longest)
        return samples

    def steps(
        self, numbers: Sequence[int], stride: int, plan: Plan | None = None, part: int = 0
    ) -> Iterator[list[Sample]]:
        """The songs so far, after every `stride` tokens. plan: of a part of the songs, of this number; None: of all."""
        plan = self.plan if plan is None else plan
        state, more = self._begin(len(numbers), plan)
        of_songs = (np.uint32(self.config.seed), np.array(numbers, np.int32), np.int32(part))
        arguments = (jax.device_put(plan), self._run(loop.keys_of, (), *of_songs), self._settings, np.int32(stride))
        go_on = self._go_on(state, arguments)
        state, seen = go_on(state)
        while True:
            ahead = go_on(state)  # while the host looks; where no song goes on it ends as it begins
            seen = jax.device_get(seen)
            yield [self._sample(seen, row, number) for row, number in enumerate(numbers)]
            if seen.done.all():
                return
            state, after = ahead
            slots, summaries = loop.room(state.past)
            if more and (seen.slot >= slots or seen.spans >= summaries):
                state = state._replace(past=self.program.grown(state.past, more.pop(0)))
                go_on = self._go_on(state, arguments)
                state, after = go_on(state)
            seen = after

    def _sample(self, seen: loop.Report, row: int, number: int) -> Sample:
        ids, whole, measure = seen.tokens[row, : seen.length[row] + 1], self.task.whole, int(seen.measure[row])
        place = (int(seen.program[row]), whole.measures_left_out + measure) if measure >= 0 else None
        told = (int(seen.errors[row]), number, bool(seen.cut_short[row]))
        return Sample(ids, bool(ids[-1] == vocab.EOS), *told, whole, place)

    def _go_on(self, state: Loop, arguments: tuple) -> Callable[[Loop], tuple[Loop, loop.Report]]:
        """The program, compiled while the weights are read. Raises CheckpointError where they cannot be."""
        weights = weights_of(shape_of(self.program.model).parameters, self.program.compute)
        program = ready(
            Program.go_on,
            (self.program,),
            weights,
            state,
            *arguments,
            before_compiling=lambda: self._weights.result() if self._weights.done() else None,
        )
        read = self._weights.result()
        return lambda state: program(read, state, *arguments)

    def _run(self, function: Any, static: tuple, *arguments: Any) -> Any:
        """What a function of jax.jit, whose first arguments are static, makes of the others."""
        return ready(function, static, *arguments)(*arguments)

    def _begin(self, rows: int, plan: Plan) -> tuple[Loop, list[Chunk]]:
        """The state before the first free place, and the chunks that it may get."""
        given = planning.prefix(plan)
        filled = self._filled(given)
        chunks, more = self._chunks(filled, len(given), int(fields.compute(given).span.max()) + 1)
        slots, followed = sum(chunk.tokens for chunk in (*chunks, *more)), self._followed(given)
        program, new = self.program, (rows, chunks)
        if filled:
            batch, state = cache.right_aligned([fields.compute(given[:-1])], filled)
            coming = np.asarray(given[-1:], np.int32)
            past = self._run(Program.prefilled, (program, *new), self._weights.result(), batch, state, coming)
        else:
            past = self._run(Program.empty, (program, *new))
            if len(given) > 1:
                past = program.append_all(self._weights.result(), past, np.asarray(given[:-1], np.int32))
        return loop.begun(past, followed, given, slots, program.model.vocab_size), more

    def _followed(self, given: np.ndarray) -> grammar.State:
        """The grammar of one song after the given tokens."""
        state = grammar.begin(1, self.program.model.max_bars)
        if len(given) <= FEW:
            for token in given:
                after = grammar.push(state, np.array([token]))
                state = grammar.State(*(new.astype(old.dtype) for new, old in zip(after, state, strict=True)))
            return state
        for start in range(0, len(given), HEARD_AT_ONCE):
            some = np.zeros(HEARD_AT_ONCE, np.int32)
            some[: len(given) - start] = given[start : start + HEARD_AT_ONCE]
            count = np.int32(min(len(given) - start, HEARD_AT_ONCE))
            state = self._run(Program.follow_given, (self.program,), state, some, count)
        return state

    # ------------------------------------------------------------ sizes

    def _filled(self, given: np.ndarray) -> int:
        """Slots that the given tokens but the last take in a cache: of few sizes, eighths of the next power of two, so
        that few programs are compiled. For songs in parts one number for all.
        """
        if not self.program.cached or len(given) == 1:
            return 0
        tokens = self.config.max_length if self.task.parts and len(self.task.parts.parts) > 1 else len(given) - 1
        tokens = max(tokens, self._room)
        step = max(1 << (tokens - 1).bit_length() >> 3, OWN_BLOCK)
        return -(-tokens // step) * step

    def _chunks(self, filled: int, given: int, spans: int) -> tuple[tuple[Chunk, ...], list[Chunk]]:
        """Those that a program begins with, and those that it gets as songs outgrow it: none where a chunk in which
        nothing lies costs nothing.
        """
        first = FIRST_CHUNK if self.program.cached else FIRST_UNCACHED
        slots = -(-(filled + self.config.max_length) // first) * first
        ends = [0, first]
        while ends[-1] < slots:
            ends.append(min(2 * ends[-1], slots))
        summaries = [0, *map(summary_slots, ends[1:])]
        chunks = [Chunk(*size) for size in np.diff([ends, summaries]).T.tolist()]
        if self.program.cached and not device.on_gpu():
            return tuple(chunks), []
        needed = 1
        while ends[needed] <= max(filled, given) or summaries[needed] <= spans:
            needed += 1
        return tuple(chunks[:needed]), chunks[needed:]


def read(model: MuseFormer | Found, compute: ComputeConfig) -> "Future[Weights]":
    """The weights of a model as samplers use them, read in a thread of their own."""
    reader, parameters = ThreadPoolExecutor(1), abstract_model(_config(model))[1]
    weights = reader.submit(_weights, model, parameters, compute)
    reader.shutdown(wait=False)
    return weights


def _config(model: MuseFormer | Found) -> ModelConfig:
    return model.record.model_config if isinstance(model, Found) else model.config


def _weights(model: MuseFormer | Found, abstract: Any, compute: ComputeConfig) -> Weights:
    if isinstance(model, Found):
        from jax_impl.training.checkpoint import parameters_of  # its libraries take longest to import

        on_host = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), abstract)
        parameters = parameters_of(model, on_host)
    else:
        parameters = nnx.to_pure_dict(nnx.state(model))
    return jax.device_put(weights_of(parameters, compute))
