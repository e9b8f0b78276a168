"""What Python programs hand to `generate` and `stream`, and the command line to the former, made what these work with,
or refused by the argument's name before a model is loaded.
"""

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from configs import Align, Constraints, InputError, Pedal, SampleConfig
from jax_impl.sampling.task import Task, task_of_record
from jax_impl.training.found import Found, find, step_named
from tokenizer import vocabulary as vocab
from tokenizer.grid.align import Aligned, align
from tokenizer.grid.changes import meters_written
from tokenizer.grid.quantize import on_grid
from tokenizer.grid.tempo_map import seconds_at
from tokenizer.music import midi
from tokenizer.music.messages import GivenFile
from tokenizer.music.midi import Reading
from tokenizer.music.score import Score
from tokenizer.tokens import names
from tokenizer.tokens.fields import TokenFields
from tokenizer.tokens.given import Prompt, aligned_prompt, prompt_of

Step = int | Literal["best", "latest"]


def task(run: Any, prompt: Any, constraints: Any, sampler: Any, checkpoint: Any) -> tuple[Found, Task]:
    """A model's checkpoint, of which the parameters are not read yet, and what the model is to do. Raises InputError
    where one of the arguments is not what it must be, or the model cannot do it.
    """
    if not isinstance(run, str | os.PathLike | None):
        raise InputError(f"run must be the path of a training run, got {type(run).__name__}")
    for name, value, kind in (("constraints", constraints, Constraints), ("sampler", sampler, SampleConfig)):
        if not isinstance(value, kind):
            raise InputError(f"{name} must be {kind.__name__}(...), got {value!r}")
    names.check(constraints)
    song, notices = given(prompt, constraints.pedal, constraints.align)
    return task_for(None if run is None else Path(run), step_named(checkpoint), sampler, constraints, song, notices)


def task_for(
    run: Path | None,
    checkpoint: Step,
    sampler: SampleConfig,
    wanted: Constraints,
    prompt: Prompt | None,
    notices: list[str],
) -> tuple[Found, Task]:
    """As task, of what is known to be right. notices: of the given song, told before all others."""
    found = find(run, checkpoint)
    if wanted.fill and not found.record.has_seen_fills:
        raise InputError(
            f"--fill: the model of {found.name} never saw hidden bars and can fill none; train one with --fill 0.3, or "
            "this one on with --init-from"
        )
    made = task_of_record(found.record, sampler, wanted, prompt)
    return found, replace(made, notices=(*notices, *made.notices))


def given(prompt: Any, pedal: Pedal, where_beats_are: Align) -> tuple[Prompt | None, list[str]]:
    """A given song, and what was read otherwise than it stands in the file: a Score, tokens int32[T], or the path of a
    MIDI file, which is read. Tokens have their beats where they say. Raises InputError.
    """
    if prompt is None:
        return None, []
    if isinstance(prompt, Score):
        aligned, said = with_beats(prompt, where_beats_are)
        return aligned_prompt(prompt, aligned), [f"the given song: {what}" for what in said]
    if isinstance(prompt, str | os.PathLike):
        file = GivenFile(midi.load(prompt))  # read once: what comes back is what was read
        reading = midi.parse(file.raw, prompt, pedal)
        aligned, said = with_beats(reading.score, where_beats_are)
        notices = [*of_reading(reading), *said, *of_bars(aligned.score)]
        return aligned_prompt(reading.score, aligned, file), [f"{prompt}: {what}" for what in notices]
    ids = np.asarray(prompt.ids if isinstance(prompt, TokenFields) else prompt)
    if ids.ndim != 1 or not len(ids) or not np.issubdtype(ids.dtype, np.integer):
        raise InputError(f"prompt must be a Score, tokens, or the path of a MIDI file, got {prompt!r:.200}")
    if not (0 <= ids.min() and ids.max() < vocab.SIZE):
        raise InputError(f"prompt: tokens are from 0 to {vocab.SIZE - 1}, got {ids.min()} to {ids.max()}")
    return prompt_of(ids.astype(np.int32)), []


def with_beats(score: Score, where_beats_are: Align) -> tuple[Aligned, list[str]]:
    """A score with its beats where they are wanted, and what was done to it for that."""
    as_it_is = Aligned(score, "none")
    if where_beats_are == "off":
        return as_it_is, []
    aligned = align(score)
    if aligned.kind == "off_grid" and where_beats_are == "auto":
        return as_it_is, [
            "its beats are not heard well enough to say where they are: its bars are those of the file; "
            "--align keep takes the best guess"
        ]
    return aligned, of_alignment(aligned)


def of_alignment(aligned: Aligned) -> list[str]:
    """What a user should know who counts bars, or plays what is new together with the file."""
    meter = "{0.numerator}/{0.denominator}".format(aligned.score.signatures[0])
    match aligned.kind:
        case "none":
            return []
        case "pickup":
            return ["a pickup is filled up in front: its bar counts as bar 1"]
        case "shift":
            return ["all of it lies beside its beats by the same time, and so does what is new"]
        case "meter":
            return [f"its time signature cannot be meant: bars of {meter} were found, and are counted"]
    guess = "; a guess, --align off counts the bars of the file" if aligned.kind == "off_grid" else ""
    return [f"its beats were found, at about {_bpm(aligned.score):.0f} BPM: bars of {meter} are counted by them{guess}"]


def _bpm(score: Score) -> float:
    """In the mean, from its first note to its last."""
    onsets = np.concatenate([track.notes["onset_ticks"] for track in score.tracks])
    span = np.array([onsets.min(), max(onsets.max(), onsets.min() + 1)])
    first, last = seconds_at(score.tempos, score.ticks_per_beat, span)
    return 60 * float(span[1] - span[0]) / score.ticks_per_beat / float(last - first)


def of_reading(reading: Reading) -> list[str]:
    lines = list(reading.repairs)
    if reading.pedalled:
        notes = "1 note" if reading.pedalled == 1 else f"{reading.pedalled} notes"
        lines.append(f"the sustain pedal lengthens {notes}; --pedal ignore plays them as the keys were held")
    return lines


def of_bars(score: Score) -> list[str]:
    found = on_grid(score)
    written = meters_written(score, found.layout, found.song)
    return [f"{bars}; --bars and --keep-bars count bars as they are written" for bars in written]


def tell(notice: str) -> None:
    """Warns, where the program called generate or stream, of what became something else than was asked; "" is none."""
    if notice:
        warnings.warn(notice, stacklevel=3)
