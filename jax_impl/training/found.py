"""The checkpoints of a run, as far as their records say: which there are, and what a model is. No array is read here,
and nothing is imported that reads or writes them (see checkpoint.py).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import Any, Literal

import numpy as np

from configs import InputError
from configs.model import V121_VOCAB_SIZE
from jax_impl import shipped
from jax_impl.training import record as records
from jax_impl.training.record import Damage, Record, versions
from tokenizer import vocabulary as vocab
from tokenizer.disk.destination import WEIGHTS

FOLDER = "checkpoints"


class CheckpointError(InputError):
    """A checkpoint that is not there, is damaged, or belongs to something else; the message names it and says what to
    do.
    """


class Steps:
    """The checkpoints of one run. Raises CheckpointError where there is no folder of them."""

    def __init__(self, run_dir: Path):
        self.folder = Path(run_dir).absolute() / FOLDER
        if not self.folder.is_dir():
            raise CheckpointError(
                f"{run_dir}: no checkpoints here; give the --output-dir of a training run, or an exported model, "
                f"NAME{WEIGHTS.suffixes[0]}"
            )

    def steps(self) -> list[int]:
        """Those that there are, in order: a folder has its number for a name once all of it is written."""
        try:
            names = [path.name for path in self.folder.iterdir() if path.is_dir()]
        except OSError as error:
            raise CheckpointError(f"{self.folder}: cannot be opened ({error})") from error
        return sorted(int(name) for name in names if name.isascii() and name.isdecimal())

    def choose(self, step: int | Literal["best", "latest"]) -> int:
        """A step that there is. "best" has the lowest validation loss; where none was validated yet, it is the latest.
        Raises CheckpointError.
        """
        there = self.steps()
        if not there:
            raise CheckpointError(
                f"{self.folder}: no checkpoint yet; train longer, or with a smaller --checkpoint-every"
            )
        if step == "latest":
            return there[-1]
        if step == "best":
            best = lowest({step: self.record(step).validation_loss for step in there})
            return there[-1] if best is None else best
        if step not in there:
            raise CheckpointError(f"{self.folder}: no checkpoint of step {step}; there are {_listed(there)}")
        return step

    def record(self, step: int) -> Record:
        """Raises CheckpointError also where the tokens mean something else now."""
        with self._reading(step):
            found = records.read(self.folder / str(step))
            if found.step != step:
                raise Damage(f"it is that of step {found.step}")
        _check_model(found, self.folder / str(step))
        return found

    @contextmanager
    def _reading(self, step: int, found: Record | None = None) -> Iterator[None]:
        """Errors of the layers below, which come in every class, as a CheckpointError: what is understood in words,
        what is not as it came.
        """
        try:
            yield
        except CheckpointError:
            raise
        except Exception as error:
            others = [there for there in self.steps() if there != step]
            advice = "use another with `train --resume-from STEP` or, for other verbs, `--checkpoint STEP` "
            advice += f"(there: {_listed(others)}), or bring a copy back"
            what = why_unread(error, found)
            raise CheckpointError(f"{self.folder / str(step)}: {what.format(advice=advice)}") from error


def _check_model(found: Record, where: Path) -> None:
    """Raises CheckpointError where it is a model that this program does not know, or whose tokens mean something else
    now.
    """
    try:
        found.model_config  # noqa: B018
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise CheckpointError(
            f"{where}: describes a model that this program does not know ({said(error)}); a newer version may"
        ) from error
    tokens = found.model.get("vocab_size", V121_VOCAB_SIZE)
    if found.vocabulary != vocab.fingerprint(tokens):
        raise CheckpointError(
            f"{where}: trained with vocabulary {found.vocabulary}, whose {tokens} tokens are "
            f"{vocab.fingerprint(tokens)} in this program; use the version of the program that trained it"
        )


def lowest(losses: dict[int, float | None]) -> int | None:
    """The step of the lowest loss that is a number, of equal ones the last; None where there is none."""
    finite = {step: loss for step, loss in losses.items() if loss is not None and math.isfinite(loss)}
    return min(finite, key=lambda step: (finite[step], -step), default=None)


def step_named(step: Any) -> int | Literal["best", "latest"]:
    """A step as a number or as text, "best" or "latest". Raises InputError."""
    if isinstance(step, int | np.integer) and not isinstance(step, bool):
        return int(step)
    if isinstance(step, str):
        if step in ("best", "latest"):
            return step
        if step.isascii() and step.isdecimal() and len(step) < 20:
            return int(step)
    raise InputError(f"checkpoint must be best, latest or a step, got {step!r}")


@dataclass(frozen=True)
class Found:
    """A checkpoint that is there, of which the record is read and not yet the arrays: what its model is can be asked
    before that takes memory and time.

    run_dir: of the run; or the model's one file.
    """

    run_dir: Path
    record: Record

    @property
    def run(self) -> str | None:
        """What `find` is asked for to find it again: None is the model that comes with this program, wherever that lies
        on a machine.
        """
        return None if self.run_dir == shipped.MODEL else str(self.run_dir)

    @property
    def name(self) -> str:
        """For people."""
        return self.run or shipped.NAME


def find(run_dir: Path | None, step: int | str) -> Found:
    """A checkpoint of a run, or the only one of a file that stands for it; None: of the model that comes with this
    program. step: "best", "latest", or a number. Raises CheckpointError, and InputError where it is none of these.
    """
    step = step_named(step)
    run_dir = shipped.MODEL if run_dir is None else run_dir
    if is_file(run_dir):
        return _of_file(Path(run_dir), step)
    checkpoints = Steps(run_dir)
    return Found(Path(run_dir), checkpoints.record(checkpoints.choose(step)))


def is_file(run_dir: Path) -> bool:
    """Whether its name is that of a model in one file (weights_file.py)."""
    return Path(run_dir).suffix.lower() in WEIGHTS.suffixes and not Path(run_dir).is_dir()


def _of_file(path: Path, step: int | Literal["best", "latest"]) -> Found:
    from jax_impl.training.weights_file import read_record

    with reading_file(path):
        record = read_record(path)
    _check_model(record, path)
    found = Found(path, record)
    if isinstance(step, int) and step != record.step:
        raise CheckpointError(f"{found.name}: no checkpoint of step {step}; it is that of step {record.step}")
    return found


@contextmanager
def reading_file(path: Path) -> Iterator[None]:
    """Errors of reading a model's one file, as a CheckpointError."""
    try:
        yield
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Damage as error:
        raise CheckpointError(f"{path}: cannot be read as a model: {error}") from error


# ---------------------------------------------------------------- what an error of the layers below means


def why_unread(error: Exception, found: Record | None) -> str:
    """What is so, where that is known, with {advice} for what to do; else the error as it came, with the libraries that
    wrote the checkpoint where they are others.
    """
    told = said(error).replace("{", "{{").replace("}", "}}")
    text = " ".join(map(str, chain(error)))
    kinds = tuple(map(type, chain(error)))
    if MemoryError in kinds or "RESOURCE_EXHAUSTED" in text or "out of memory" in text.lower():
        return f"does not fit into memory; take more devices with --fsdp-devices, or end what else uses them ({told})"
    if PermissionError in kinds or "PERMISSION_DENIED" in text:
        return f"may not be read: the permissions of its files forbid it ({told})"
    if FileNotFoundError in kinds or "NOT_FOUND" in text:
        return f"a file of it is missing; {{advice}} ({told})"
    if "Truncated" in text or "OUT_OF_RANGE" in text:  # tensorstore reads a missing data file as an empty one
        return f"damaged: a file of it is cut short or missing; {{advice}} ({told})"
    if (
        Damage in kinds
        or JSONDecodeError in kinds
        or any(mark in text for mark in ("DATA_LOSS", "CRC", "ZSTD", "corrupt"))
    ):
        return f"damaged; {{advice}} ({told})"
    now = versions()
    other = [f"{name} {there} (here {now[name]})" for name, there in (found.versions if found else {}).items()
             if now.get(name, there) != there]  # fmt: skip
    written = f"; it was written with {', '.join(other)}" if other else "; {advice}"
    return f"could not be restored{written} ({told})"


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what it came from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def said(error: BaseException) -> str:
    """Class and text, in one line, of what an error came from at first; of a long one the beginning."""
    *_, first = chain(error) if not isinstance(error, Damage) else [error]
    return f"{type(first).__name__}: {' '.join(str(first).split())[:300]}"


def _listed(steps: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(steps))) or "none"
