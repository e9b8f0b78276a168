"""The files of a dataset: Arrow IPC shards, one row a song, and a manifest of what is in them and what was left out.

    OUT/manifest.json            written last: without it there is no dataset
    OUT/train-00000.arrow ...    record batch of songs: tokens, their fields, and what the loader plans with
    OUT/validation-00000.arrow
    OUT/rejected.jsonl           every file that is not in the dataset, with its reason

Shards are memory-mapped: opening is instant, and resident memory does not grow with the dataset.
A folder that holds a mixture.json instead is several datasets trained on together: {"datasets": {"PATH": WEIGHT, ...}},
where a weight is how often an epoch has each song of that dataset (0.5: half of its songs) and a path is seen from the
folder.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from configs import InputError, PrepareConfig
from tokenizer import vocabulary as vocab

FORMAT = 2
MANIFEST, REJECTED, MIXTURE = "manifest.json", "rejected.jsonl", "mixture.json"
SPLITS = ("train", "validation")
Split = Literal["train", "validation"]
FIELD_TYPES = {
    "ids": np.uint16,
    "bar": np.int16,
    "instrument": np.uint8,
    "kind": np.int8,
    "onset": np.uint16,
    "span": np.uint16,
}
SCHEMA = pa.schema(
    [
        *((name, pa.list_(pa.from_numpy_dtype(dtype))) for name, dtype in FIELD_TYPES.items()),
        ("bar_tokens", pa.list_(pa.uint16())),  # tokens of each bar number, over all tracks
        ("bar_spans", pa.list_(pa.uint16())),  # tracks that have that bar
        ("tracks", pa.uint16()),
        ("notes", pa.uint32()),
        ("seconds", pa.float32()),  # at the tempi of its bars
        ("source", pa.string()),  # the file, below the folder given to prepare
        ("hash", pa.uint64()),  # of the notes on the grid: see music_hash
        ("family", pa.uint64()),  # the same in every transposition
    ]
)


class DatasetError(InputError):
    """A dataset that cannot be used; the message names the file and says what to do."""


# ---------------------------------------------------------------- reading


def shards_of(manifest: dict) -> list[tuple[Split, dict]]:
    """(split, entry) of every shard, in order."""
    return [(split, entry) for split in SPLITS for entry in manifest["splits"][split]["shards"]]


def read_mixture(folder: Path) -> dict[Path, float]:
    """Weight of each dataset of a mixture; a dataset by itself has weight 1. Raises DatasetError."""
    path = folder / MIXTURE
    if not path.exists():
        return {folder: 1.0}
    try:
        weights = {folder / name: float(weight) for name, weight in json.loads(path.read_text())["datasets"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f'{path}: cannot be read ({error}); it should say {{"datasets": {{"PATH": WEIGHT}}}}'
        ) from error
    if not weights or not all(0 < weight < 1000 for weight in weights.values()):
        raise DatasetError(f"{path}: name at least one dataset, with weights above 0 and below 1000")
    return weights


def read_manifest(folder: Path) -> dict:
    """The manifest, if this program can read the dataset. Raises DatasetError."""
    path = folder / MANIFEST
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such dataset; make one with: hid-museformer prepare MIDI_DIR {folder}")
    try:
        manifest = json.loads(path.read_text())
        form, fingerprint = manifest["format"], manifest["vocabulary"]
    except FileNotFoundError:
        raise DatasetError(
            f"{folder}: not a whole dataset (no {MANIFEST}); make one with: hid-museformer prepare MIDI_DIR OUT"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); run prepare again") from error
    if form != FORMAT:
        raise DatasetError(f"{path}: dataset format {form}, this program reads {FORMAT}; run prepare again")
    if fingerprint != vocab.FINGERPRINT:
        raise DatasetError(
            f"{path}: tokens of another vocabulary ({fingerprint}, not {vocab.FINGERPRINT}); run prepare again"
        )
    try:
        missing = {name for name in ("tokenizer_version", "shard", "config", "rejected") if name not in manifest}
        missing |= {
            name
            for _, shard in shards_of(manifest)
            for name in ("file", "songs", "tokens", "bytes", "sha256")
            if name not in shard
        }
    except (KeyError, TypeError) as error:
        missing = {str(error)}
    if missing:
        raise DatasetError(f"{path}: lacks {', '.join(sorted(missing))}; run prepare again")
    return manifest


def open_shard(path: Path, entry: dict) -> pa.RecordBatch:
    """A shard, if it is the one that its manifest's entry describes. Raises DatasetError."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error}); run prepare again") from error
    if size != entry["bytes"]:
        raise DatasetError(f"{path}: {size} bytes, the manifest says {entry['bytes']}; run prepare again")
    batch = open_batch(path)
    if batch.num_rows != entry["songs"]:
        raise DatasetError(f"{path}: {batch.num_rows} songs, the manifest says {entry['songs']}; run prepare again")
    return batch


def open_batch(path: Path) -> pa.RecordBatch:
    """The rows of an Arrow file of songs, memory-mapped. Raises DatasetError."""
    try:
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source)
            if not reader.schema.equals(SCHEMA):
                raise DatasetError(f"{path}: other columns than this program writes; run prepare again")
            return reader.get_batch(0)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); run prepare again") from error


# ---------------------------------------------------------------- writing


def write_batch(folder: Path, name: str, batch: pa.RecordBatch) -> dict:
    """A shard of rows as they are; returns its entry of the manifest."""
    path, temporary = folder / name, folder / f".{name}.tmp"
    with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    os.replace(temporary, path)
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    tokens = len(batch.column("ids").flatten())
    return {"file": name, "songs": batch.num_rows, "tokens": tokens, "bytes": path.stat().st_size, "sha256": digest}


def write_manifest(
    folder: Path,
    splits: dict[str, list[dict]],
    rejected: Iterable[dict],
    config: PrepareConfig,
    version: str,
    shard: str = "1/1",
) -> dict:
    """The manifest, last of all, and before it the list of what was left out.

    rejected: {"source", "reason"} of every file that is not in the dataset. shard: "I/N" of a dataset that holds one of
    N parts.
    """
    reasons: Counter[str] = Counter()
    temporary = folder / f".{REJECTED}.tmp"
    with temporary.open("w") as sink:
        for entry in rejected:
            reasons[entry["reason"].split(":")[0].split(" (")[0]] += 1
            sink.write(json.dumps(entry, ensure_ascii=False) + "\n")
    os.replace(temporary, folder / REJECTED)
    manifest = {
        "format": FORMAT,
        "vocabulary": vocab.FINGERPRINT,
        "tokenizer_version": version,
        "shard": shard,
        "config": config.content(),
        "splits": {
            split: {
                "songs": sum(s["songs"] for s in shards),
                "tokens": sum(s["tokens"] for s in shards),
                "shards": shards,
            }
            for split, shards in splits.items()
        },
        "rejected": dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
    }
    temporary = folder / f".{MANIFEST}.tmp"
    temporary.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    os.replace(temporary, folder / MANIFEST)
    return manifest


def read_rejected(folder: Path) -> Iterator[dict]:
    """{"source", "reason"} of each file that prepare left out, by name of the source."""
    try:
        with (folder / REJECTED).open() as lines:
            yield from map(json.loads, lines)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{folder / REJECTED}: cannot be read ({error}); run prepare again") from error
