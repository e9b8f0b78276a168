"""A model as one file, for others: its parameters as safetensors, and the record of the checkpoint that they come from.

    layers.regular.qkv.kernel    float32[L, D, 3 D]    one tensor a parameter, named by its path, stacked over layers
    metadata: {"hid-museformer": Record as JSON}       its checksum is that of these very tensors, as fp32

Wherever a run is read, such a file is too (found.find). Anything that reads safetensors reads it: no code is in it.
"""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from configs import InputError
from configs.model import FilePrecision
from jax_impl.training import digest, record
from jax_impl.training.record import Damage, Record
from tokenizer.disk.atomic import WriteError, atomic, refuse_to_replace

FORMAT = "hid-museformer"
DTYPES: dict[FilePrecision, type] = {"fp32": np.float32, "fp16": np.float16}


def write(path: Path, parameters: Any, found: Record, precision: FilePrecision, overwrite: bool = False) -> None:
    """parameters: nested dicts of fp32 arrays. fp16: rounded to half the bytes. The same model gives the same bytes.
    Raises WriteError, and InputError where a number is too large for fp16, or a file is there and is not to be written
    over.
    """
    with np.errstate(over="ignore"):  # it is looked for
        rounded = jax.tree.map(lambda leaf: np.asarray(leaf, DTYPES[precision]), parameters)
    pairs = zip(jax.tree.leaves(parameters), jax.tree.leaves(rounded), strict=True)
    if any((np.isfinite(before) & ~np.isfinite(after)).any() for before, after in pairs):
        raise InputError(f"{path}: the model has numbers that {precision} cannot hold; give --precision fp32")
    checksums = {"parameters": digest.checksum(_as_fp32(rounded))}
    of_the_run = dict(data={}, window={}, shapes={})  # what only the run needs, to go on
    found = dataclasses.replace(found, train=_without_paths(found.train), checksums=checksums, **of_the_run)
    content = save(dict(_named(rounded)), {FORMAT: json.dumps(found.signed())})
    with atomic(path) as temporary:
        try:
            temporary.write_bytes(content)
        except OSError as error:
            temporary.unlink(missing_ok=True)  # what is free is told without it
            raise WriteError(temporary, error, len(content)) from error
        refuse_to_replace(path, flag="FILE", overwrite=overwrite)  # it may have come during the work


def _without_paths(train: dict) -> dict:
    """A TrainConfig without the folders of the machine that it ran on, which are no one else's business."""
    return train | {name: None for name in ("data_dir", "output_dir", "init_from") if name in train}


def read_record(path: Path) -> Record:
    """Raises OSError, and Damage where the file is not one that `write` made."""
    with _opened(path) as file:
        metadata = file.metadata() or {}
    if FORMAT not in metadata:
        raise Damage("it is no model of this program, which its metadata would say")
    return record.of_json(metadata[FORMAT])


def read_parameters(path: Path, found: Record, abstract: Any) -> Any:
    """Nested dicts of arrays: of jax, laid out as `abstract` says, or of numpy where that has no sharding. found: what
    read_record said, whose tensors they must be. Raises OSError, and Damage.
    """
    with _opened(path) as file:
        there = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    of_shape = lambda tensors: {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if of_shape(there) != of_shape(dict(_named(abstract))):
        raise Damage("its tensors are not those of the model that it says it is")
    if not {tensor.dtype.type for tensor in there.values()} <= set(DTYPES.values()):
        raise Damage(f"its tensors must be {' or '.join(DTYPES)}")
    parameters = _as_fp32(jax.tree_util.tree_map_with_path(lambda place, _: there[_name(place)], abstract))
    if digest.checksum(parameters) != found.checksums.get("parameters"):
        raise Damage("the checksum of its tensors is wrong; bring a whole copy, and replace none while it is read")
    return jax.tree.map(_placed, parameters, abstract)


def _placed(tensor: np.ndarray, like: Any) -> Any:
    sharding = getattr(like, "sharding", None)
    if sharding is None:
        return tensor
    return jax.make_array_from_callback(tensor.shape, sharding, lambda index: tensor[index])


def _as_fp32(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), tree)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except SafetensorError as error:
        raise Damage(f"{error}; bring a whole copy") from error


def _named(tree: Any) -> list[tuple[str, Any]]:
    return [(_name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _name(path: tuple) -> str:
    return ".".join(str(key.key) for key in path)
