"""Checkpoints: everything a run needs to go on bit for bit, and everything sampling needs, in one folder per step.

    RUN/checkpoints/STEP/parameters   the model
                         optimizer    its moments and counts
                         run          JSON: Record below
                         metrics      JSON: the validation loss, where one was measured at this step

There are no random keys to keep: those of a step are functions of (seed, step). Writing is asynchronous, and a
checkpoint appears whole or not at all. orbax does not see flipped bits in array data, so each record carries checksums
and restoring compares them.
"""

import dataclasses
import importlib.metadata
import json
from pathlib import Path
from typing import Any, Literal

import absl.logging
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx
from orbax.checkpoint import checkpoint_managers as managers

from configs import InputError, MaskRule, ModelConfig
from jax_impl.model.museformer import MuseFormer, abstract_model
from jax_impl.training.step import TrainState
from tokenizer import vocabulary as vocab

# Orbax warns of read-only folders and checkpoints without metrics, which are meant here
absl.logging.set_verbosity(absl.logging.ERROR)

FOLDER = "checkpoints"
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
COMPARE = {"best_fn": lambda metrics: metrics["validation_loss"], "best_mode": "min"}


class CheckpointError(InputError):
    """A checkpoint that is not there, is damaged, or belongs to something else; the message names it and says what to
    do.
    """


@dataclasses.dataclass(frozen=True)
class Record:
    """What a checkpoint knows beside its arrays. Plain JSON values only."""

    step: int
    model: dict  # ModelConfig
    train: dict  # TrainConfig, paths as text
    total_steps: int
    data: dict  # position of the data iterator after this step
    dataset: str  # fingerprint of the songs
    window: dict  # metrics of the steps since the last line of metrics.jsonl
    vocabulary: str
    versions: dict
    checksums: dict  # of "parameters" and "optimizer"

    @property
    def model_config(self) -> ModelConfig:
        rule = self.model["mask_rule"]
        rule = MaskRule(**rule | {"far_offsets": tuple(rule["far_offsets"])})
        return ModelConfig(**self.model | {"mask_rule": rule})


def versions() -> dict[str, str]:
    """Of the libraries whose numerics or formats a checkpoint hangs on."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def plain(config: Any) -> dict:
    """A config as JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


@jax.jit
def checksum(tree: Any) -> jax.Array:
    """uint32[]: sum of the bits of all arrays; the same for any layout over devices."""
    words = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}
    bits = (jax.lax.bitcast_convert_type(leaf, words[leaf.dtype.itemsize]) for leaf in jax.tree.leaves(tree))
    return sum((jnp.sum(leaf, dtype=jnp.uint32) for leaf in bits), jnp.uint32(0))


class Checkpoints:
    """The checkpoints of one run. With keep_last it writes: the best and the last so many are kept; with None it only
    reads.
    """

    def __init__(self, run_dir: Path, keep_last: int | None):
        self.folder = Path(run_dir).absolute() / FOLDER
        if keep_last is None:
            if not self.folder.is_dir():
                raise CheckpointError(f"{run_dir}: no checkpoints here; give the --output-dir of a training run")
            options = managers.CheckpointManagerOptions(read_only=True, save_interval_steps=0, create=False, **COMPARE)
        else:
            best = managers.BestN(
                get_metric_fn=COMPARE["best_fn"], reverse=True, n=1, keep_checkpoints_without_metrics=False
            )
            policy = managers.AnyPreservationPolicy([managers.LatestN(keep_last), best])
            options = managers.CheckpointManagerOptions(
                preservation_policy=policy, cleanup_tmp_directories=True, **COMPARE
            )
        try:
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        except OSError as error:
            raise CheckpointError(f"{self.folder}: cannot be opened ({error})") from error

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        with self._writing(self.latest()):
            self._manager.close()

    def latest(self) -> int | None:
        return self._manager.latest_step()

    def choose(self, step: int | Literal["best", "latest"]) -> int:
        """A step that there is. "best" has the lowest validation loss;
        where none was validated yet, it is the latest.
        """
        there = self._manager.all_steps()
        if not there:
            raise CheckpointError(
                f"{self.folder}: no checkpoint yet; train longer, or with a smaller --checkpoint-every"
            )
        best = self._manager.best_step()
        chosen = {"latest": there[-1], "best": there[-1] if best is None else best}.get(step, step)
        if chosen not in there:
            raise CheckpointError(
                f"{self.folder}: no checkpoint of step {chosen}; there are {', '.join(map(str, there))}"
            )
        return chosen

    def save(self, state: TrainState, record: Record, validation_loss: float | None) -> None:
        """Returns once the arrays are copied; writing goes on behind. A failure shows at the next save or at finish."""
        sums = {"parameters": int(checksum(state.parameters)), "optimizer": int(checksum(state.optimizer))}
        items = ocp.args.Composite(
            parameters=ocp.args.StandardSave(state.parameters),
            optimizer=ocp.args.StandardSave(state.optimizer),
            run=ocp.args.JsonSave(dataclasses.asdict(dataclasses.replace(record, checksums=sums))),
        )
        metrics = None if validation_loss is None else {"validation_loss": validation_loss}
        self.finish()  # the save before, so that its failure bears its own step
        with self._writing(record.step):
            self._manager.save(record.step, args=items, metrics=metrics, force=True)

    def delete_after(self, step: int) -> None:
        """Deletes the checkpoints of later steps, damaged ones too: the run goes on from `step`."""
        for later in self._manager.all_steps():
            if later > step:
                self._manager.delete(later)

    def finish(self) -> None:
        """Waits until the last save is on disk."""
        with self._writing(self.latest()):
            self._manager.wait_until_finished()

    def record(self, step: int) -> Record:
        """Raises CheckpointError also where the tokens mean something else now."""
        with self._reading(step):
            values = self._manager.restore(step, args=ocp.args.Composite(run=ocp.args.JsonRestore())).run
            record = Record(**values)
        if record.vocabulary != vocab.FINGERPRINT:
            raise CheckpointError(
                f"{self.folder / str(step)}: trained with vocabulary {record.vocabulary}, this program has "
                f"{vocab.FINGERPRINT}; "
                "use the version of the program that trained it"
            )
        return record

    def restore(self, step: int, abstract: TrainState) -> TrainState:
        """The state of a step; abstract: its shapes, dtypes and shardings."""
        arrays = self._arrays(step, {"parameters": abstract.parameters, "optimizer": abstract.optimizer})
        return TrainState(
            arrays["parameters"], arrays["optimizer"], jax.device_put(np.int32(step), abstract.step.sharding)
        )

    def parameters(self, step: int, abstract: Any) -> Any:
        return self._arrays(step, {"parameters": abstract})["parameters"]

    def _arrays(self, step: int, items: dict[str, Any]) -> dict[str, Any]:
        sums = self.record(step).checksums
        with self._reading(step):
            wanted = {name: ocp.args.StandardRestore(abstract) for name, abstract in items.items()}
            restored = self._manager.restore(step, args=ocp.args.Composite(**wanted))
            for name in items:
                if int(checksum(restored[name])) != sums[name]:
                    raise ValueError(f"the checksum of {name} is wrong")
        return {name: restored[name] for name in items}

    def _reading(self, step: int) -> "_Translate":
        others = ", ".join(str(there) for there in self._manager.all_steps() if there != step) or "none"
        flags = "`train --resume-from STEP` or `generate --checkpoint STEP`"
        advice = f"use another with {flags} (there: {others}), or bring a copy back"
        return _Translate(f"{self.folder / str(step)}: damaged; {advice}")

    def _writing(self, step: int | None) -> "_Translate":
        return _Translate(
            f"{self.folder}: the checkpoint of step {step} could not be written; the one before it is intact"
        )


class _Translate:
    """Errors of the storage layers below, which come in every class, as a CheckpointError with what they say."""

    def __init__(self, message: str):
        self.message = message

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, CheckpointError):
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(f"{self.message} ({kind.__name__}: {reason})") from error


def on_default_device(abstract: Any) -> Any:
    """Shapes and dtypes, placed on the first device."""
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype, sharding=place), abstract)


def load_model(run_dir: Path, step: int | Literal["best", "latest"]) -> tuple[MuseFormer, Record]:
    """The model of a run from its checkpoint alone: no flags are needed. Raises CheckpointError."""
    with Checkpoints(run_dir, keep_last=None) as checkpoints:
        step = checkpoints.choose(step)
        record = checkpoints.record(step)
        graph, abstract = abstract_model(record.model_config)
        return nnx.merge(graph, checkpoints.parameters(step, on_default_device(abstract))), record
