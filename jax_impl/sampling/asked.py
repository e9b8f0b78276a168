"""What Python programs hand to `generate` and `stream`, and the command line to the former, made what these work with,
or refused by the argument's name before a model is loaded.
"""

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from configs import Constraints, InputError, Pedal, SampleConfig
from jax_impl.device import device
from jax_impl.sampling.task import Task, task_of
from jax_impl.training.checkpoint import Found, find, step_named
from tokenizer import vocabulary as vocab
from tokenizer.grid.changes import meters_written
from tokenizer.grid.quantize import on_grid
from tokenizer.music import midi
from tokenizer.music.midi import Reading
from tokenizer.music.score import Score
from tokenizer.tokens import names
from tokenizer.tokens.fields import TokenFields
from tokenizer.tokens.given import Prompt, prompt_of

Step = int | Literal["best", "latest"]


def task(run: Any, prompt: Any, constraints: Any, sampler: Any, checkpoint: Any) -> tuple[Found, Task]:
    """A model's checkpoint, of which the parameters are not read yet, and what the model is to do. Raises InputError
    where one of the arguments is not what it must be, or the model cannot do it.
    """
    if not isinstance(run, str | os.PathLike):
        raise InputError(f"run must be the path of a training run, got {type(run).__name__}")
    for name, value, kind in (("constraints", constraints, Constraints), ("sampler", sampler, SampleConfig)):
        if not isinstance(value, kind):
            raise InputError(f"{name} must be {kind.__name__}(...), got {value!r}")
    names.check(constraints)
    song, notices = given(prompt, constraints.pedal)
    return task_for(Path(run), step_named(checkpoint), sampler, constraints, song, notices)


def task_for(
    run: Path, checkpoint: Step, sampler: SampleConfig, wanted: Constraints, prompt: Prompt | None, notices: list[str]
) -> tuple[Found, Task]:
    """As task, of what is known to be right. notices: of the given song, told before all others."""
    found = find(run, checkpoint)
    made = task_of(found.record.model_config, sampler, device.sampling_compute(), prompt, wanted)
    return found, replace(made, notices=(*notices, *made.notices))


def given(prompt: Any, pedal: Pedal) -> tuple[Prompt | None, list[str]]:
    """A given song, and what was read otherwise than it stands in the file: a Score, tokens int32[T], or the path of a
    MIDI file, which is read. Raises InputError.
    """
    if prompt is None:
        return None, []
    if isinstance(prompt, Score):
        return prompt_of(prompt), []
    if isinstance(prompt, str | os.PathLike):
        reading = midi.read_told(prompt, pedal)
        return prompt_of(reading.score), [f"{prompt}: {what}" for what in _told(reading)]
    ids = np.asarray(prompt.ids if isinstance(prompt, TokenFields) else prompt)
    if ids.ndim != 1 or not len(ids) or not np.issubdtype(ids.dtype, np.integer):
        raise InputError(f"prompt must be a Score, tokens, or the path of a MIDI file, got {prompt!r:.200}")
    if not (0 <= ids.min() and ids.max() < vocab.SIZE):
        raise InputError(f"prompt: tokens are from 0 to {vocab.SIZE - 1}, got {ids.min()} to {ids.max()}")
    return prompt_of(ids.astype(np.int32)), []


def _told(reading: Reading) -> list[str]:
    lines, found = list(reading.repairs), on_grid(reading.score)
    if reading.pedalled:
        notes = "1 note" if reading.pedalled == 1 else f"{reading.pedalled} notes"
        lines.append(f"the sustain pedal lengthens {notes}; --pedal ignore plays them as the keys were held")
    for bars in meters_written(reading.score, found.layout, found.song):
        lines.append(f"{bars}; --bars and --keep-bars count bars as they are written")
    return lines


def tell(notice: str) -> None:
    """Warns, where the program called generate or stream, of what became something else than was asked; "" is none."""
    if notice:
        warnings.warn(notice, stacklevel=3)
