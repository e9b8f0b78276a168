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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx
from orbax.checkpoint import checkpoint_managers as managers

from configs.model import FilePrecision
from jax_impl.model.museformer import MuseFormer, abstract_model
from jax_impl.training import digest, weights_file
from jax_impl.training.found import (
    FOLDER,
    CheckpointError,
    Found,
    Steps,
    chain,
    find,
    is_file,
    lowest,
    reading_file,
    said,
)
from jax_impl.training.record import Damage, Record
from jax_impl.training.step import TrainState
from tokenizer.disk.atomic import FULL, disk_full


class Checkpoints(Steps):
    """The checkpoints of one run. With keep_last it writes: the best, the last so many and that of the step `keep` are
    kept; with None it only reads.
    """

    def __init__(self, run_dir: Path, keep_last: int | None, keep: int | None = None):
        self._losses: dict[int, float | None] = {}  # by step, as far as they were asked for
        self._bytes: int | None = None  # of the arrays of the last save
        if keep_last is None:
            super().__init__(run_dir)
            options = managers.CheckpointManagerOptions(read_only=True, save_interval_steps=0, create=False)
        else:
            self.folder = Path(run_dir).absolute() / FOLDER
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
            raise CheckpointError(f"{message} ({said(error)})") from error


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


def _is_full(error: BaseException) -> bool:
    """Whether its cause is a full disk; tensorstore says so in text alone."""
    signs = ("No space left", "Disk quota exceeded")
    return any(
        getattr(cause, "errno", None) in FULL or any(sign in str(cause) for sign in signs) for cause in chain(error)
    )


def on_default_device(abstract: Any) -> Any:
    """Shapes and dtypes, placed on the first device of this process."""
    place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype, sharding=place), abstract)


def parameters_of(found: Found, abstract: Any) -> Any:
    """Nested dicts of a model's parameters. abstract: their shapes and dtypes, with a sharding where they are to lie on
    devices; of numpy arrays, on the host. Raises CheckpointError.
    """
    if is_file(found.run_dir):
        with reading_file(found.run_dir):
            return weights_file.read_parameters(found.run_dir, found.record, abstract)
    with Checkpoints(found.run_dir, keep_last=None) as checkpoints:
        return checkpoints.parameters(found.record.step, abstract)


def load_model(run_dir: Path, step: int | str) -> tuple[MuseFormer, Record]:
    """The model of a run from its checkpoint alone, on the first device of this process: no flags are needed. step: as
    for `find`. Raises CheckpointError, and InputError.
    """
    found = find(run_dir, step)
    graph, abstract = abstract_model(found.record.model_config)
    return nnx.merge(graph, parameters_of(found, on_default_device(abstract))), found.record


def export(run: Path, path: Path, precision: FilePrecision, step: int | str = "best", overwrite: bool = False) -> Found:
    """Writes the model of a run as one file, see weights_file.write; returns which checkpoint it is. Raises
    CheckpointError, and InputError.
    """
    found = find(run, step)
    _, abstract = abstract_model(found.record.model_config)
    on_host = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), abstract)
    weights_file.write(path, parameters_of(found, on_host), found.record, precision, overwrite)
    return found
