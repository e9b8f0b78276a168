"""A model as one file, for others: its parameters as safetensors, and the record of the checkpoint that they come from.

    layers.regular.qkv.kernel    float32[L, D, 3 D]    one tensor a parameter, named by its path, stacked over layers
    metadata: {"format": "hid-museformer", "record": Record as JSON, "checksum": of these tensors}

Wherever a run is read, such a file is too (found.find). Anything that reads safetensors reads it: no code is in it.
"""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from configs import InputError
from jax_impl.training import digest, record
from jax_impl.training.record import Damage, Record
from tokenizer.disk.atomic import atomic

FORMAT = "hid-museformer"
Precision = Literal["fp32", "fp16"]
DTYPES = {"fp32": np.float32, "fp16": np.float16}


def write(path: Path, parameters: Any, found: Record, precision: Precision) -> None:
    """parameters: nested dicts of fp32 arrays. fp16: rounded to half the bytes. Raises WriteError, and InputError where
    a number is too large for fp16.
    """
    with np.errstate(over="ignore"):  # it is looked for
        tensors = {name: np.asarray(leaf, DTYPES[precision]) for name, leaf in _named(parameters)}
    if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise InputError(f"{path}: the model has numbers that {precision} cannot hold; give --precision fp32")
    found = dataclasses.replace(found, train=_without_paths(found.train), data={}, window={})
    metadata = {"format": FORMAT, "record": json.dumps(found.signed()), "checksum": digest.checksum(tensors)}
    content = save(tensors, metadata)
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def _without_paths(train: dict) -> dict:
    """A TrainConfig without the folders of the machine that it ran on, which are no one else's business."""
    return train | {name: None for name in ("data_dir", "output_dir", "init_from") if name in train}


def read_record(path: Path) -> Record:
    """Raises OSError, and Damage where the file is not one that `write` made."""
    with _opened(path) as file:
        return record.of_json(_metadata(file)["record"])


def read_parameters(path: Path, abstract: Any) -> Any:
    """Nested dicts of arrays: of jax, laid out as `abstract` says, or of numpy where that has no sharding. Raises
    OSError, and Damage.
    """
    wanted = dict(_named(abstract))
    with _opened(path) as file:
        there = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        checksum = _metadata(file)["checksum"]
    of_shape = lambda tensors: {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if of_shape(there) != of_shape(wanted):
        raise Damage("its tensors are not those of the model that it says it is")
    if digest.checksum(there) != checksum:
        raise Damage("the checksum of its tensors is wrong")

    def placed(path: tuple, like: Any) -> Any:
        tensor = there[_name(path)].astype(like.dtype)
        sharding = getattr(like, "sharding", None)
        if sharding is None:
            return tensor
        return jax.make_array_from_callback(tensor.shape, sharding, lambda index: tensor[index])

    return jax.tree_util.tree_map_with_path(placed, abstract)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except SafetensorError as error:
        raise Damage(str(error)) from error


def _metadata(file: Any) -> dict[str, str]:
    found = file.metadata() or {}
    if found.get("format") != FORMAT or not {"record", "checksum"} <= found.keys():
        raise Damage("it is no model of hid-museformer: its metadata does not say so")
    return found


def _named(tree: Any) -> list[tuple[str, Any]]:
    return [(_name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _name(path: tuple) -> str:
    return ".".join(str(key.key) for key in path)
