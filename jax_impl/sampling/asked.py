"""What Python programs hand to `generate` and `stream`, made what these work with, or refused by the argument's name
before a model is loaded.
"""

import os
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np

from configs import Constraints, InputError, SampleConfig
from jax_impl.training.checkpoint import step_named
from tokenizer import vocabulary as vocab
from tokenizer.music import midi
from tokenizer.music.score import Score
from tokenizer.tokens import names
from tokenizer.tokens.fields import TokenFields

Step = int | Literal["best", "latest"]


def checked(
    run: Any, prompt: Any, constraints: Any, sampler: Any, checkpoint: Any
) -> tuple[Path, Score | np.ndarray | None, Step]:
    """run, prompt and checkpoint, and constraints and sampler are what they must be. Raises InputError."""
    if not isinstance(run, str | os.PathLike):
        raise InputError(f"run must be the path of a training run, got {type(run).__name__}")
    for name, value, kind in (("constraints", constraints, Constraints), ("sampler", sampler, SampleConfig)):
        if not isinstance(value, kind):
            raise InputError(f"{name} must be {kind.__name__}(...), got {value!r}")
    names.check(constraints)
    return Path(run), song(prompt), step_named(checkpoint)


def song(prompt: Any) -> Score | np.ndarray | None:
    """A given song: a Score, its tokens int32[T], or the path of a MIDI file, which is read. Raises InputError."""
    if prompt is None or isinstance(prompt, Score):
        return prompt
    if isinstance(prompt, str | os.PathLike):
        return midi.read(prompt)
    ids = np.asarray(prompt.ids if isinstance(prompt, TokenFields) else prompt)
    if ids.ndim != 1 or not len(ids) or not np.issubdtype(ids.dtype, np.integer):
        raise InputError(f"prompt must be a Score, tokens, or the path of a MIDI file, got {prompt!r:.200}")
    if not (0 <= ids.min() and ids.max() < vocab.SIZE):
        raise InputError(f"prompt: tokens are from 0 to {vocab.SIZE - 1}, got {ids.min()} to {ids.max()}")
    return ids.astype(np.int32)


def tell(notice: str) -> None:
    """Warns, where the program called generate or stream, of what became something else than was asked; "" is none."""
    if notice:
        warnings.warn(notice, stacklevel=3)
