"""What a sampler is to do, made of what a user wants and what a model is, before its parameters are read: the plan of
the songs, how long they may get, and what the user should know.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from configs import ComputeConfig, Constraints, InputError, ModelConfig, SampleConfig
from jax_impl.device import device
from jax_impl.device.memory import GB
from jax_impl.model.museformer import DTYPES
from jax_impl.training.record import Record
from tokenizer.music.score import Score
from tokenizer.tokens import fill, names, offered
from tokenizer.tokens import plan as planning
from tokenizer.tokens.encode import encode_song
from tokenizer.tokens.given import Given, Prompt, given_song
from tokenizer.tokens.parts import InParts
from tokenizer.tokens.plan import Plan
from tokenizer.tokens.room import NEW_SONG_TOKENS
from tokenizer.tokens.whole import Whole, whole_song

TOKENS_PER_SUMMARY = 4  # tokens for which there is one summary slot; a bar holds more on average
FEWEST_SUMMARIES = 64
LENGTH_MULTIPLE = 1024  # a length that nobody asked for is rounded up to this, so that few programs are compiled


@dataclass(frozen=True)
class Task:
    """config: as given, but with the max_length that was found where none was given: what makes the same songs again.
    whole: what makes songs of the tokens. cached: whether the model's rule lets it be sampled with a cache. parts:
    where a given song gets other tracks or other notes in some bars; plan is that of the first.
    """

    config: SampleConfig
    compute: ComputeConfig
    plan: Plan
    whole: Whole
    notices: tuple[str, ...]
    cached: bool
    parts: InParts | None = None

    @property
    def notice(self) -> str:
        return "; ".join(self.notices)


def task_of_record(
    record: Record, config: SampleConfig, wanted: Constraints, prompt: Prompt | Given | None = None
) -> Task:
    """What a trained model is to do on this device, see task_of."""
    context = record.train.get("max_seq_len", 0)
    compute = device.sampling_compute()
    return task_of(record.model_config, config, compute, prompt, wanted, context, record.has_seen_orders)


def task_of(
    model: ModelConfig,
    config: SampleConfig,
    compute: ComputeConfig,
    prompt: Score | np.ndarray | Prompt | Given | None,
    wanted: Constraints,
    context: int = 0,
    any_order: bool = False,
) -> Task:
    """Raises InputError where a model of this kind cannot do what is wanted. prompt: a given song, also as it is kept.
    context: tokens of a row that the model learned from, 0 where that is not known. any_order: whether it has seen
    tracks in other orders than HID's.
    """
    if not config.grammar and (prompt is not None or wanted != Constraints()):
        raise InputError(
            "--no-grammar cannot be combined with a given song or with what it must be: those hold by the grammar"
        )
    cached = model.mask_rule.scope == "span"
    memory = device.memory_limit() if cached else math.inf
    offered.check(wanted, model.vocab_size)
    given = prompt if isinstance(prompt, Given) else given_song(prompt, wanted)
    if given is not None:
        given = offered.as_offered(given, model.vocab_size)
    if not config.max_length:
        usual = planning.usual_room(given, wanted)
        length = _usual_length(usual, model, config, compute, memory)
        if given is not None and context and not wanted.strict:
            length = min(length, _in_context(given, wanted, usual, context))
        config = replace(config, max_length=length)
    _refuse_what_does_not_fit(model, config, compute, memory)
    most_spans = summary_slots(config.max_length) - 1
    if given is not None and (wanted.add or given.hidden):
        limits = planning.Room(config.max_length, most_spans)
        parts = InParts.of(given, wanted, limits, model.max_bars, model.vocab_size)
        _, plan = parts.fitting(parts.begun(), parts.parts[0])
        anew = fill.told(given.hidden, given.song) if given.hidden else ""
        notices = [*names.notices(wanted), *filter(None, [anew, parts.notice])]
        return Task(config, compute, plan, whole_song(given, 0, wanted), tuple(notices), cached, parts)
    planned = planning.make_plan(
        given, wanted, config.max_length, most_spans, model.max_bars, model.vocab_size, any_order
    )
    plan = planned.plan if config.grammar else planned.plan._replace(max_bars=np.int32(model.max_bars))
    whole = whole_song(given, planned.left_out, wanted)
    return Task(config, compute, plan, whole, tuple(planned.notices), cached)


def _usual_length(
    usual: planning.Room, model: ModelConfig, config: SampleConfig, compute: ComputeConfig, memory: float
) -> int:
    """--max-length where none is given: what is asked usually takes, that of a new song at least, as far as it fits."""
    length = max(usual.tokens, TOKENS_PER_SUMMARY * (usual.spans + 1), NEW_SONG_TOKENS)
    length = -(-length // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
    while length > LENGTH_MULTIPLE and _cache_bytes(model, config, compute, length) > memory:
        length -= LENGTH_MULTIPLE
    return length


def _in_context(given: Given, wanted: Constraints, usual: planning.Room, context: int) -> int:
    """--max-length of a given song by which the model sees no more of it than it learned from: of a longer song the
    bars around what is written, or its last ones.
    """
    if wanted.add or given.hidden:
        return max(context, LENGTH_MULTIPLE)
    new = usual.tokens - len(encode_song(given.song, given.chords).ids)
    return -(-(max(context, LENGTH_MULTIPLE) + new) // LENGTH_MULTIPLE) * LENGTH_MULTIPLE


def _cache_bytes(model: ModelConfig, config: SampleConfig, compute: ComputeConfig, length: int) -> int:
    """Of the cache of so many tokens for each of the songs side by side."""
    rows = min(config.batch, config.num_samples)
    slots = 2 * length + 4 * summary_slots(length)
    return model.layers * rows * slots * model.width * DTYPES[compute.precision](0).itemsize


def _refuse_what_does_not_fit(model: ModelConfig, config: SampleConfig, compute: ComputeConfig, memory: float) -> None:
    """Raises InputError where the cache alone would take more memory than there is for it: before minutes of work."""
    needed = _cache_bytes(model, config, compute, config.max_length)
    if needed > memory:
        raise InputError(
            f"--max-length {config.max_length} and {min(config.batch, config.num_samples)} songs side by side take "
            f"{needed / GB:.1f} GB, and {memory / GB:.1f} GB are for it: take a smaller --max-length or --batch"
        )


def summary_slots(slots: int) -> int:
    """Summary slots of a program with so many token slots."""
    return max(slots // TOKENS_PER_SUMMARY, FEWEST_SUMMARIES)
