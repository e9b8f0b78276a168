"""v1.2.1's datasets as its preprocessing wrote them: shard_0000.pt, shard_0001.pt, ... (lists of songs, a dict of
tensors each) and meta.json, which says how many songs of which vocabulary there are. Reading them runs no code from
them. For import-shards.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tokenizer.dataset.v121 import COLUMNS, V121Error, V121Song
from tokenizer.vocabulary import V121_SIZE
from torch_ref.checkpoint import load


def shard_batches(folder: Path) -> Iterator[list[V121Song]]:
    """The songs, a shard at a time. Raises V121Error or TorchFileError."""
    folder = Path(folder)
    if not folder.is_dir():
        raise V121Error(f"{folder}: no such folder")
    paths = sorted(folder.glob("shard_*.pt"))
    if not paths:
        raise V121Error(f"{folder}: no data of v1.2.1 here (shard_*.pt, or a dataset saved by the datasets library)")
    meta = _meta(folder, paths)
    songs = 0
    for path in paths:
        shard = _songs(path)
        songs += len(shard)
        yield shard
    if songs != meta.get("total_samples", songs):
        raise V121Error(
            f"{folder}: its meta.json promises {meta['total_samples']} songs, the shards hold {songs}; copy "
            "the missing ones"
        )


def _meta(folder: Path, paths: list[Path]) -> dict[str, Any]:
    """meta.json, if it agrees with the shards that are there."""
    path = folder / "meta.json"
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise V121Error(f"{path}: cannot be read ({error}); it says how many songs there should be") from error
    if not isinstance(meta, dict):
        raise V121Error(f"{path}: holds no names and values")
    if (tokens := meta.get("vocab_size", V121_SIZE)) != V121_SIZE:
        raise V121Error(f"{path}: tokens of another vocabulary ({tokens} tokens, v1.2.1's has {V121_SIZE})")
    missing = sorted(set(meta.get("shards", ())) - {path.name for path in paths})
    if missing:
        raise V121Error(f"{folder}: {missing[0]} is missing, which meta.json names; copy it, too")
    return meta


def _songs(path: Path) -> list[V121Song]:
    content = load(path, "shard")
    if not isinstance(content, list):
        raise V121Error(f"{path}: holds a {type(content).__name__}, not a list of songs")
    songs = []
    for number, song in enumerate(content):
        source = f"{path.name}#{number}"
        if not isinstance(song, dict):
            raise V121Error(f"{path}: song {number} is a {type(song).__name__}, not a dict of tensors")
        missing = [name for name in COLUMNS if name not in song]
        if missing:
            raise V121Error(f"{path}: song {number} has no {missing[0]}; there are {', '.join(map(str, song))}")
        songs.append(V121Song.of(source, *(_array(song[name], source, name) for name in COLUMNS)))
    return songs


def _array(value: object, source: str, name: str) -> np.ndarray:
    if not isinstance(value, torch.Tensor):
        raise V121Error(f"{source}: {name} is a {type(value).__name__}, not a tensor")
    return value.numpy()
