"""Checkpoints: everything a run needs to go on bit for bit, and everything sampling needs, in one folder per step.

    RUN/checkpoints/STEP/parameters   the model
                         optimizer    its moments and counts
                         run          JSON: Record, see record.py

There are no random keys to keep: those of a step are functions of (seed, step). Writing is asynchronous, and a
checkpoint appears whole or not at all. orbax does not see flipped bits in array data, so each record carries checksums
and restoring compares them.
"""

import dataclasses
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from json import JSONDecodeError
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx
from orbax.checkpoint import checkpoint_managers as managers

from configs import InputError
from configs.model import V121_VOCAB_SIZE
from jax_impl.model.museformer import MuseFormer, abstract_model
from jax_impl.training import digest
from jax_impl.training import record as records
from jax_impl.training.record import Damage, Record, plain, versions
from jax_impl.training.step import TrainState
from tokenizer import vocabulary as vocab
from tokenizer.disk.atomic import FULL, disk_full

__all__ = [
    "CheckpointError",
    "Checkpoints",
    "Found",
    "Record",
    "find",
    "load_model",
    "on_default_device",
    "plain",
    "versions",
]

FOLDER = "checkpoints"


class CheckpointError(InputError):
    """A checkpoint that is not there, is damaged, or belongs to something else; the message names it and says what to
    do.
    """


class Checkpoints:
    """The checkpoints of one run. With keep_last it writes: the best, the last so many and that of the step `keep` are
    kept; with None it only reads.
    """

    def __init__(self, run_dir: Path, keep_last: int | None, keep: int | None = None):
        self.folder = Path(run_dir).absolute() / FOLDER
        self._losses: dict[int, float | None] = {}  # by step, as far as they were asked for
        self._bytes: int | None = None  # of the arrays of the last save
        if keep_last is None:
            if not self.folder.is_dir():
                raise CheckpointError(f"{run_dir}: no checkpoints here; give the --output-dir of a training run")
            options = managers.CheckpointManagerOptions(read_only=True, save_interval_steps=0, create=False)
        else:
            kept = [managers.LatestN(keep_last), _TheBest(self), managers.CustomSteps([] if keep is None else [keep])]
            policy = managers.AnyPreservationPolicy(kept)
            options = managers.CheckpointManagerOptions(preservation_policy=policy, cleanup_tmp_directories=True)
        try:
            with _unwarned():
                self._manager = ocp.CheckpointManager(self.folder, options=options)
        except OSError as error:
            raise CheckpointError(f"{self.folder}: cannot be opened ({error})") from error

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is not None:  # that error is the one to tell
            with suppress(Exception):
                self._manager.close()
            return
        with self._writing(self.latest()):
            self._manager.close()

    def latest(self) -> int | None:
        return self._manager.latest_step()

    def steps(self) -> list[int]:
        """Those that there are, in order."""
        return sorted(self._manager.all_steps())

    def read_again(self) -> None:
        """After checkpoints were moved."""
        self._manager.reload()

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

    def save(self, state: TrainState, record: Record, validation_loss: float | None) -> None:
        """Returns once the arrays are copied; writing goes on behind. A failure shows at the next save or at finish."""
        arrays = {"parameters": state.parameters, "optimizer": state.optimizer}
        record = dataclasses.replace(
            record,
            checksums={name: digest.checksum(tree) for name, tree in arrays.items()},
            shapes={name: digest.shapes(tree) for name, tree in arrays.items()},
            validation_loss=validation_loss,
        )
        items = {name: ocp.args.StandardSave(tree) for name, tree in arrays.items()}
        items["run"] = ocp.args.JsonSave(record.signed())
        self.finish()  # the save before, so that its failure bears its own step
        self._losses[record.step] = validation_loss
        self._bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(arrays))
        with self._writing(record.step):
            self._manager.save(record.step, args=ocp.args.Composite(**items), force=True)

    def delete_after(self, step: int) -> list[int]:
        """Deletes the checkpoints of later steps, damaged ones too, the last one first; returns which they were."""
        later = [there for there in self.steps() if there > step]
        for there in reversed(later):
            self._manager.delete(there)
        return later

    def finish(self) -> None:
        """Waits until the last save is on disk."""
        with self._writing(self.latest()):
            self._manager.wait_until_finished()

    def record(self, step: int) -> Record:
        """Raises CheckpointError also where the tokens mean something else now."""
        with self._reading(step):
            found = records.read(self.folder / str(step))
            if found.step != step:
                raise Damage(f"it is that of step {found.step}")
        tokens = found.model.get("vocab_size", V121_VOCAB_SIZE)
        if found.vocabulary != vocab.fingerprint(tokens):
            raise CheckpointError(
                f"{self.folder / str(step)}: trained with vocabulary {found.vocabulary}, whose {tokens} tokens are "
                f"{vocab.fingerprint(tokens)} in this program; use the version of the program that trained it"
            )
        return found

    def restore(self, step: int, abstract: TrainState) -> TrainState:
        """The state of a step; abstract: its shapes, dtypes and shardings. Raises CheckpointError."""
        arrays = self._arrays(step, {"parameters": abstract.parameters, "optimizer": abstract.optimizer})
        number = jax.make_array_from_callback((), abstract.step.sharding, lambda _: np.int32(step))
        return TrainState(arrays["parameters"], arrays["optimizer"], number)

    def parameters(self, step: int, abstract: Any) -> Any:
        """Raises CheckpointError."""
        return self._arrays(step, {"parameters": abstract})["parameters"]

    def _arrays(self, step: int, items: dict[str, Any]) -> dict[str, Any]:
        found = self.record(step)
        for name, abstract in items.items():
            self._check_shapes(step, found.shapes.get(name), digest.shapes(abstract))
        with self._reading(step, found):
            wanted = {name: ocp.args.StandardRestore(abstract) for name, abstract in items.items()}
            restored = self._manager.restore(step, args=ocp.args.Composite(**wanted))
            for name in items:
                sum_ = found.checksums[name]
                before = isinstance(sum_, int)  # written before there was a digest
                if sum_ != (int(digest.plain_sum(restored[name])) if before else digest.checksum(restored[name])):
                    raise Damage(f"the checksum of {name} is wrong")
        return {name: restored[name] for name in items}

    def _check_shapes(self, step: int, there: dict[str, str] | None, wanted: dict[str, str]) -> None:
        if there is not None and there != wanted:
            path = next(path for path in [*wanted, *there] if there.get(path) != wanted.get(path))
            raise CheckpointError(
                f"{self.folder / str(step)}: holds another model: {path} is {there.get(path)} there, and "
                f"{wanted.get(path)} is wanted"
            )

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
            others = [there for there in self._manager.all_steps() if there != step]
            advice = "use another with `train --resume-from STEP` or `generate --checkpoint STEP` "
            advice += f"(there: {_listed(others)}), or bring a copy back"
            what = why_unread(error, found)
            raise CheckpointError(f"{self.folder / str(step)}: {what.format(advice=advice)}") from error

    @contextmanager
    def _writing(self, step: int | None) -> Iterator[None]:
        try:
            yield
        except CheckpointError:
            raise
        except Exception as error:
            before = any(there != step for there in self._manager.all_steps())
            intact = "; the one before it is intact" if before else ""
            message = f"{self.folder}: the checkpoint of step {step} could not be written{intact}"
            if _is_full(error):
                reason = f"{disk_full(self.folder, self._bytes)}; make room and give the same command again"
                raise CheckpointError(f"{message}: {reason}") from error
            raise CheckpointError(f"{message} ({_said(error)})") from error


class _TheBest(managers.PreservationPolicy):
    """Keeps the checkpoint of the lowest validation loss that its record says; orbax's own file of metrics is not
    asked, whose damage nothing would show.
    """

    def __init__(self, checkpoints: Checkpoints):
        self._checkpoints = checkpoints

    def should_preserve(self, checkpoints: Sequence, *, context: Any) -> list[bool]:
        del context
        steps = [there.step for there in checkpoints]
        best = lowest({step: self._loss(step) for step in steps})
        return [step == best for step in steps]

    def _loss(self, step: int) -> float | None:
        known = self._checkpoints._losses
        if step not in known:
            known[step] = None
            with suppress(CheckpointError):  # a damaged one is not the best
                known[step] = self._checkpoints.record(step).validation_loss
        return known[step]


@contextmanager
def _unwarned() -> Iterator[None]:
    """Orbax warns that a folder is only read, which is what it was asked to do."""
    logger, is_worse = logging.getLogger("absl"), lambda record: record.levelno > logging.WARNING
    logger.addFilter(is_worse)
    try:
        yield
    finally:
        logger.removeFilter(is_worse)


def lowest(losses: dict[int, float | None]) -> int | None:
    """The step of the lowest loss that is a number, of equal ones the last; None where there is none."""
    finite = {step: loss for step, loss in losses.items() if loss is not None and math.isfinite(loss)}
    return min(finite, key=lambda step: (finite[step], -step), default=None)


# ---------------------------------------------------------------- what an error of the layers below means


def why_unread(error: Exception, found: Record | None) -> str:
    """What is so, where that is known, with {advice} for what to do; else the error as it came, with the libraries that
    wrote the checkpoint where they are others.
    """
    said = _said(error).replace("{", "{{").replace("}", "}}")
    text = " ".join(map(str, _chain(error)))
    kinds = tuple(map(type, _chain(error)))
    if MemoryError in kinds or "RESOURCE_EXHAUSTED" in text or "out of memory" in text.lower():
        return f"does not fit into memory; take more devices with --fsdp-devices, or end what else uses them ({said})"
    if PermissionError in kinds or "PERMISSION_DENIED" in text:
        return f"may not be read: the permissions of its files forbid it ({said})"
    if FileNotFoundError in kinds or "NOT_FOUND" in text:
        return f"a file of it is missing; {{advice}} ({said})"
    if "Truncated" in text or "OUT_OF_RANGE" in text:  # tensorstore reads a missing data file as an empty one
        return f"damaged: a file of it is cut short or missing; {{advice}} ({said})"
    if (
        Damage in kinds
        or JSONDecodeError in kinds
        or any(mark in text for mark in ("DATA_LOSS", "CRC", "ZSTD", "corrupt"))
    ):
        return f"damaged; {{advice}} ({said})"
    now = versions()
    other = [f"{name} {there} (here {now[name]})" for name, there in (found.versions if found else {}).items()
             if now.get(name, there) != there]  # fmt: skip
    written = f"; it was written with {', '.join(other)}" if other else "; {advice}"
    return f"could not be restored{written} ({said})"


def _is_full(error: BaseException) -> bool:
    """Whether its cause is a full disk; tensorstore says so in text alone."""
    signs = ("No space left", "Disk quota exceeded")
    return any(
        getattr(cause, "errno", None) in FULL or any(sign in str(cause) for sign in signs) for cause in _chain(error)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what it came from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _said(error: BaseException) -> str:
    """Class and text, in one line, of what an error came from at first; of a long one the beginning."""
    *_, first = _chain(error) if not isinstance(error, Damage) else [error]
    return f"{type(first).__name__}: {' '.join(str(first).split())[:300]}"


def _listed(steps: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(steps))) or "none"


def on_default_device(abstract: Any) -> Any:
    """Shapes and dtypes, placed on the first device of this process."""
    place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype, sharding=place), abstract)


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


@dataclasses.dataclass(frozen=True)
class Found:
    """A checkpoint that is there, of which the record is read and not yet the arrays: what its model is can be asked
    before that takes memory and time.
    """

    run_dir: Path
    record: Record

    def load(self) -> MuseFormer:
        """The model, on the first device of this process. Raises CheckpointError."""
        graph, abstract = abstract_model(self.record.model_config)
        return nnx.merge(graph, self._read(on_default_device(abstract)))

    def parameters(self, abstract: Any) -> Any:
        """Nested dicts of the model's parameters on the host, of numpy. abstract: as abstract_model says them. Raises
        CheckpointError.
        """
        return self._read(jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), abstract))

    def _read(self, abstract: Any) -> Any:
        with Checkpoints(self.run_dir, keep_last=None) as checkpoints:
            return checkpoints.parameters(self.record.step, abstract)


def find(run_dir: Path, step: int | str) -> Found:
    """A checkpoint of a run. step: "best", "latest", or a number. Raises CheckpointError, and InputError where it is
    none of these.
    """
    step = step_named(step)
    with Checkpoints(run_dir, keep_last=None) as checkpoints:
        return Found(Path(run_dir), checkpoints.record(checkpoints.choose(step)))


def load_model(run_dir: Path, step: int | str) -> tuple[MuseFormer, Record]:
    """The model of a run from its checkpoint alone: no flags are needed. step: as for `find`. Raises CheckpointError,
    and InputError.
    """
    found = find(run_dir, step)
    return found.load(), found.record
