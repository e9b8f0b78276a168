"""The one table of what values the numbers of the configs may have; every config checks itself against it when it is
made, at the command line and from Python alike, and tests read it.
"""

import dataclasses
import math
import operator
import os
import types
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from configs.errors import InputError

INT32 = 2**31 - 1
FLOAT32 = 3e38  # about the largest
UNSAID = (INT32, FLOAT32, math.inf)  # who would give more is told so
LARGEST_SEED = 2**32 - 1  # of JAX's keys; larger ones would be others over again


@dataclass(frozen=True)
class Range:
    """Numbers from least to most, these two included unless above, below say otherwise.

    zero: where 0 is allowed beside them, what it means.
    """

    least: float
    most: float = math.inf
    above: bool = False
    below: bool = False
    zero: str = ""

    def __contains__(self, value: float) -> bool:
        high_enough = value > self.least if self.above else value >= self.least
        low_enough = value < self.most if self.below else value <= self.most
        return (high_enough and low_enough) or (bool(self.zero) and value == 0)

    def __str__(self) -> str:
        words = f"{'above' if self.above else 'at least'} {self.least}"
        if self.above or self.below:
            words += "" if self.most in UNSAID else f" and {'below' if self.below else 'at most'} {self.most}"
        elif self.most not in UNSAID:
            words = f"from {self.least} to {self.most}"
        return f"{words}, or 0 ({self.zero})" if self.zero else words


COUNT = Range(1, INT32)
COUNT_OR_NONE = Range(0, INT32)
SHARE = Range(0, 1)
BELOW_ONE = Range(0, 1, below=True)
POSITIVE = Range(0, FLOAT32, above=True)
NOT_NEGATIVE = Range(0, FLOAT32)
PROCESSES = 4096  # of one machine

RANGES: dict[str, dict[str, Range]] = {
    "SampleConfig": {
        "temperature": Range(0.001, 1000, zero="the most likely token"),  # logits divided by it stay finite
        "chord_temperature": Range(0.001, 1000),
        "top_k": Range(1, INT32, zero="keep all"),
        "top_p": Range(0, 1, above=True),
        "min_p": SHARE,
        "repetition_penalty": Range(1, 1000),
        "max_length": Range(32, INT32, zero="what is asked usually takes"),
        "seed": Range(0, LARGEST_SEED),
        "num_samples": Range(1, 1_000_000),
        "batch": COUNT,
    },
    "Constraints": {
        "bars": Range(1, INT32, zero="the model decides"),
        "tempo": Range(4, 1000, zero="the model decides"),
        "transpose": Range(-48, 48),
        "keep_bars": Range(1, INT32, zero="all"),
    },
    "TrainConfig": {
        "max_seq_len": Range(64, INT32),
        "max_spans": Range(1, INT32, zero="3/16 of --max-seq-len"),
        "batch_size": COUNT,
        "gradient_accumulation_steps": COUNT,
        "epochs": COUNT,
        "steps": COUNT,
        "learning_rate": POSITIVE,
        "chord_weight": POSITIVE,
        "warmup_steps": COUNT_OR_NONE,
        "decay_steps": COUNT,
        "final_learning_rate": SHARE,
        "weight_decay": NOT_NEGATIVE,
        "beta1": BELOW_ONE,
        "beta2": BELOW_ONE,
        "clip_norm": POSITIVE,
        "dropout": BELOW_ONE,
        "reorder": SHARE,
        "fill": SHARE,
        "seed": COUNT_OR_NONE,
        "fsdp_devices": COUNT,
        "data_devices": Range(1, INT32, zero="as many as there are"),
        "num_workers": Range(0, PROCESSES),
        "log_every": COUNT,
        "validate_every": COUNT,
        "eval_every": Range(1, INT32, zero="with each validation"),
        "validation_batches": COUNT,
        "checkpoint_every": COUNT,
        "resume_from": COUNT,
        "keep_last": COUNT,
    },
    "ClusterConfig": {
        "num_processes": COUNT,
        "process_id": Range(0, INT32 - 1),
        "wait_seconds": Range(1, 86_400),
    },
    "PrepareConfig": {
        "validation_fraction": BELOW_ONE,
        "test_fraction": BELOW_ONE,
        "songs_per_shard": COUNT,
        "workers": Range(1, PROCESSES, zero="one per core"),
        "min_bars": COUNT_OR_NONE,
        "max_bars": COUNT,
        "min_notes": COUNT,
        "max_notes": COUNT,
        "min_pitches": COUNT_OR_NONE,
        "min_seconds": NOT_NEGATIVE,
        "max_seconds": POSITIVE,
        "max_crossing": SHARE,
        "max_silent_bars": COUNT_OR_NONE,
    },
    "CheckConfig": {
        "moved_ms": NOT_NEGATIVE,
        "silent_bars": COUNT,
        "audible_moved": SHARE,
        "damaged_moved": SHARE,
        "audible_merged": SHARE,
        "damaged_merged": SHARE,
        "audible_cut": SHARE,
        "damaged_cut": SHARE,
        "audible_seconds": NOT_NEGATIVE,
        "damaged_seconds": NOT_NEGATIVE,
    },
    "EvaluateConfig": {
        "samples": Range(1, 1_000_000, zero="the losses alone"),
        "bars": COUNT,
        "max_length": Range(32, INT32, zero="what so many bars usually take"),
        "seed": Range(0, LARGEST_SEED),
        "held_out": COUNT,
    },
    "FinetuneConfig": {
        "minutes": POSITIVE,
        "seed": Range(0, LARGEST_SEED),
    },
    "AugmentConfig": {
        "transpose": Range(-127, 127),
        "velocity": Range(-31, 31),
        "tempo": Range(-31, 31),
    },
    "DataConfig": {
        "max_seq_len": COUNT,
        "max_spans": COUNT,
        "batch_size": COUNT,
        "max_bars": COUNT,
        "seed": COUNT_OR_NONE,
        "num_workers": Range(0, PROCESSES),
        "reorder": SHARE,
        "fill": SHARE,
        "part": COUNT_OR_NONE,
        "parts": COUNT,
    },
    "ModelConfig": {
        "layers": COUNT,
        "width": COUNT,
        "ffn": COUNT,
        "max_bars": COUNT,
        "dropout": BELOW_ONE,
    },
    "MaskRule": {
        "near_bars": COUNT_OR_NONE,
        "far_offsets": Range(-INT32, INT32),
    },
    "ComputeConfig": {
        "layer_rows": Range(1, INT32, zero="all"),
    },
}


def check(config: Any, *, is_flag: bool = True) -> None:
    """Called by a frozen config's __post_init__: every field has the type that its annotation says and, if it is a
    number, a value of its range. What means the same is replaced by it: NumPy's numbers, paths given as text, lists.

    is_flag: messages name fields as flags of the command line. Raises InputError naming the field.
    """
    kind = type(config).__name__
    for field in dataclasses.fields(config):
        name = f"--{field.name.replace('_', '-')}" if is_flag else f"{kind}.{field.name}"
        value = typed(name, getattr(config, field.name), field.type)
        if limits := RANGES[kind].get(field.name):
            within(name, value, limits)
        object.__setattr__(config, field.name, value)


def within(name: str, value: Any, limits: Range) -> None:
    """Raises InputError where a number, or one of several, is not of this range; None is no number."""
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, float) and not math.isfinite(number):
            raise InputError(f"{name} must be a finite number, {limits}, got {number}")
        if number is not None and number not in limits:
            words = f"at most {limits.most}" if limits.most in UNSAID and number > limits.most else limits
            raise InputError(f"{name} must be {words}, got {number}")


def typed(name: str, value: Any, annotation: Any) -> Any:
    """The value as its annotation wants it. Raises InputError where it cannot be."""
    kinds, words = options(annotation), choices(annotation)
    if value is None and types.NoneType in kinds:
        return None
    if words:
        return _one_of(name, value, words)
    (wanted,) = (kind for kind in kinds if kind is not types.NoneType)
    if get_origin(wanted) is tuple:
        return _several(name, value, get_args(wanted))
    try:
        return _CONVERT.get(wanted, lambda value: _instance(value, wanted))(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{name} must be {_WORDS.get(wanted, f'a {wanted.__name__}')}, got {value!r}") from error


def options(annotation: Any) -> tuple:
    """The types of which a value may be any one."""
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def choices(annotation: Any) -> list:
    """The words, or the whole numbers, of which a value must be one; none where it is no such value."""
    return [word for kind in options(annotation) if get_origin(kind) is Literal for word in get_args(kind)]


def _one_of(name: str, value: Any, words: list) -> Any:
    try:
        named = _whole(value) if isinstance(words[0], int) else value
    except TypeError:
        named = None
    if not isinstance(named, type(words[0])) or named not in words:
        raise InputError(f"{name} must be one of {', '.join(map(str, words))}, got {value!r}")
    return named


def _several(name: str, value: Any, kinds: tuple) -> tuple:
    """kinds: (int, int) for two, (int, ...) for any number."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise InputError(f"{name} must be a tuple, got {value!r}")
    if kinds[-1] is not Ellipsis and len(value) != len(kinds):
        raise InputError(f"{name} must be {len(kinds)} values, got {value!r}")
    return tuple(typed(name, item, kinds[0]) for item in value)


def _whole(value: Any) -> int:
    if _is_bool(value):
        raise TypeError
    return operator.index(value)


def _real(value: Any) -> float:
    if _is_bool(value) or isinstance(value, str | bytes):
        raise TypeError
    return float(value)


def _truth(value: Any) -> bool:
    if not _is_bool(value):
        raise TypeError
    return bool(value)


def _is_bool(value: Any) -> bool:
    return type(value).__name__ in ("bool", "bool_")  # NumPy's too


def _path(value: Any) -> Path:
    if isinstance(value, bytes):
        raise TypeError
    return Path(os.fspath(value))


def _instance(value: Any, wanted: type) -> Any:
    if not isinstance(value, wanted):
        raise TypeError
    return value


_CONVERT = {int: _whole, float: _real, bool: _truth, Path: _path}
_WORDS = {int: "a whole number", float: "a number", bool: "True or False", Path: "a path", str: "text"}
