"""What a checkpoint knows beside its arrays, as JSON with a digest of itself."""

import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from configs import InputError, MaskRule, ModelConfig
from configs.model import V121_VOCAB_SIZE

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
CONFIG_FILE = "config.json"  # beside the checkpoints: what the run is, for who looks there
FILE = Path("run", "metadata")  # in the folder of a step, where orbax keeps it


class Damage(ValueError):
    """Contents that are not what was written."""


@dataclasses.dataclass(frozen=True)
class Record:
    """Plain JSON values only. Checksums, shapes and validation loss are filled in when it is saved."""

    step: int
    model: dict  # ModelConfig
    train: dict  # TrainConfig, paths as text
    total_steps: int
    data: dict  # position of the data iterator after this step
    dataset: str  # fingerprint of the songs
    window: dict  # metrics of the steps since the last line of metrics.jsonl
    vocabulary: str
    versions: dict
    checksums: dict = dataclasses.field(default_factory=dict)  # of "parameters" and "optimizer"
    shapes: dict = dataclasses.field(default_factory=dict)  # of both, by path; {} where it was written before
    validation_loss: float | None = None  # of this step, where it was measured
    # The largest share of songs that was ever shown so in training, by its flag's name; {} where it was written before
    tasks: dict = dataclasses.field(default_factory=dict)

    @property
    def has_seen_fills(self) -> bool:
        """Whether the model has been shown songs with hidden bars."""
        return self.tasks.get("fill", 0) > 0

    @property
    def has_seen_orders(self) -> bool:
        """Whether the model has been shown songs with their tracks in other orders than HID's."""
        return self.tasks.get("reorder", 0) > 0

    @property
    def model_config(self) -> ModelConfig:
        """Written before models said so, they had v1.2.1's tokens."""
        rule = self.model["mask_rule"]
        rule = MaskRule(**rule | {"far_offsets": tuple(rule["far_offsets"])})
        return ModelConfig(**{"vocab_size": V121_VOCAB_SIZE} | self.model | {"mask_rule": rule})

    def dataset_folder(self) -> Path:
        """Of the songs that the run was trained on, which may have been made anew since. Raises InputError where it is
        not known, or not there.
        """
        told = self.train.get("data_dir")
        if not told:
            raise InputError("the model does not say what it was trained on; name a dataset with --data-dir")
        if not Path(told).is_dir():
            raise InputError(
                f"{told}: the dataset that the run was trained on is not there (seen from {Path.cwd()}); name where it "
                "is with --data-dir"
            )
        return Path(told)

    def signed(self) -> dict:
        """What is written: its fields, and a digest of them. Inverse: read."""
        values = dataclasses.asdict(self)
        return values | {"digest": digest_of(values)}


def read(step_folder: Path) -> Record:
    """The record of a checkpoint. Raises OSError, and Damage where it is not what was written."""
    return of_json((step_folder / FILE).read_bytes(), lambda: _loss_before(step_folder))


def of_json(text: str | bytes, loss_before: Callable[[], float | None] | None = None) -> Record:
    """Of what `signed` wrote. loss_before: the validation loss of one that was written before records said it and had a
    digest; None where there is none so old. Raises Damage where it is something else.
    """
    try:
        values = json.loads(text)
        if "digest" in values:
            if values.pop("digest") != digest_of(values):
                raise Damage("the digest of its record is wrong")
        elif loss_before is None:
            raise Damage("its record has no digest")
        else:  # written before there was one
            values["validation_loss"] = loss_before()
        return Record(**values)
    except Damage:
        raise
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Damage(f"its record is none ({error})") from error


def _loss_before(step_folder: Path) -> float | None:
    path = step_folder / "metrics" / "metrics"
    return json.loads(path.read_bytes())["validation_loss"] if path.exists() else None


def digest_of(values: dict) -> str:
    """32 hex digits of the sha256 of JSON values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def versions() -> dict[str, str]:
    """Of the libraries whose numerics or formats a checkpoint hangs on."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def plain(config: Any) -> dict:
    """A config as JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))
