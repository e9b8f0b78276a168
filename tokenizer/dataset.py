"""A dataset on disk: Arrow IPC shards, one row a song, and a manifest that says what is in them and what was left out.

    OUT/manifest.json            written last: without it there is no dataset
    OUT/train-00000.arrow ...    record batch of songs: tokens, their fields, and what the loader plans with
    OUT/validation-00000.arrow

Shards are memory-mapped: opening is instant, and resident memory does not grow with the dataset.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from configs import InputError
from tokenizer import vocabulary as vocab
from tokenizer.fields import OUTSIDE, TokenFields

FORMAT = 1
MANIFEST = "manifest.json"
SPLITS = ("train", "validation")
Split = Literal["train", "validation"]
NO_COUNT = 0xFFFF  # OUTSIDE where a field is stored unsigned: onset, span
FIELD_TYPES = {"ids": np.uint16, "bar": np.int16, "instrument": np.uint8, "kind": np.int8, "onset": np.uint16, "span": np.uint16}
SCHEMA = pa.schema(
    [
        *((name, pa.list_(pa.from_numpy_dtype(dtype))) for name, dtype in FIELD_TYPES.items()),
        ("bar_tokens", pa.list_(pa.uint16())),  # tokens of each bar number, over all tracks
        ("bar_spans", pa.list_(pa.uint16())),  # tracks that have that bar
        ("tracks", pa.uint16()),
        ("source", pa.string()),  # the file, below the folder given to prepare
        ("hash", pa.string()),  # of the ids: 16 hex digits
    ]
)


class DatasetError(InputError):
    """A dataset that cannot be used; the message names the file and says what to do."""


class SongTooLong(InputError):
    """A song with more bars, notes or spans than the stored types can count."""


# ---------------------------------------------------------------- songs as rows


@dataclass(frozen=True)
class StoredSong:
    """One row of a shard: the columns of SCHEMA."""

    ids: np.ndarray
    bar: np.ndarray
    instrument: np.ndarray
    kind: np.ndarray
    onset: np.ndarray
    span: np.ndarray
    bar_tokens: np.ndarray
    bar_spans: np.ndarray
    tracks: int
    source: str
    hash: str


def to_row(tokens: TokenFields, source: str) -> StoredSong:
    """A song in the stored types. Raises SongTooLong rather than let a number wrap. Inverse: Songs.fields."""
    for name in ("bar", "onset", "span"):
        limit = np.iinfo(FIELD_TYPES[name]).max - 1
        if int(getattr(tokens, name).max(initial=0)) > limit:
            raise SongTooLong(f"{name} counts past {limit}, more than a dataset stores; split the song")
    columns = {}
    for name, dtype in FIELD_TYPES.items():
        values = getattr(tokens, name)
        columns[name] = np.where(values == OUTSIDE, NO_COUNT, values).astype(dtype) if name in ("onset", "span") else values.astype(dtype)
    inside = tokens.bar[tokens.bar >= 0]
    is_chord = (tokens.ids >= vocab.CHORD) & (tokens.ids < vocab.POSITION) & (tokens.bar >= 0)
    bar_tokens, bar_spans = np.bincount(inside), np.bincount(tokens.bar[is_chord])
    if int(bar_tokens.max(initial=0)) > 0xFFFF:
        raise SongTooLong("one bar holds more than 65535 tokens")
    tracks = int(((tokens.ids >= vocab.TRACK) & (tokens.ids < vocab.TEMPO)).sum())
    content = hashlib.sha256(columns["ids"].astype("<u2").tobytes()).hexdigest()[:16]
    return StoredSong(
        **columns,
        bar_tokens=bar_tokens.astype(np.uint16),
        bar_spans=bar_spans.astype(np.uint16),
        tracks=tracks,
        source=source,
        hash=content,
    )


class Songs(Sequence):
    """The songs of one split, memory-mapped; songs[i] is song i's TokenFields.

    tokens, spans, bars, tracks: int64[len], sizes of each song.
    """

    def __init__(self, folder: Path, shards: list[dict]):
        batches = [_open_shard(folder / shard["file"], shard) for shard in shards]
        self._batches = [batch for batch in batches if batch.num_rows]
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)])
        self.tokens = self._sizes("ids")
        self.bars = self._sizes("bar_tokens")
        self.tracks = self._concatenated([batch.column("tracks").to_numpy() for batch in self._batches])
        self.spans = self._concatenated([_sums(batch.column("bar_spans")) for batch in self._batches])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> TokenFields:
        stored = {name: self._list(name, index) for name in FIELD_TYPES}
        columns = {name: values.astype(np.int32) for name, values in stored.items()}
        for name in ("onset", "span"):
            columns[name][stored[name] == NO_COUNT] = OUTSIDE
        return TokenFields(**columns)

    def bar_sizes(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and spans, int64[bars] each, of every bar number over all tracks."""
        return self._list("bar_tokens", index).astype(np.int64), self._list("bar_spans", index).astype(np.int64)

    def source(self, index: int) -> str:
        batch, row = self._place(index)
        return batch.column("source")[row].as_py()

    def hash(self, index: int) -> str:
        batch, row = self._place(index)
        return batch.column("hash")[row].as_py()

    def token_counts(self) -> np.ndarray:
        """int64[643]: how often each token occurs in the split."""
        counts = np.zeros(vocab.SIZE, np.int64)
        for batch in self._batches:
            counts += np.bincount(batch.column("ids").flatten().to_numpy(), minlength=vocab.SIZE)
        return counts

    def _place(self, index: int) -> tuple[pa.RecordBatch, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"song {index} of {len(self)}")
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._batches[shard], int(index - self._starts[shard])

    def _list(self, name: str, index: int) -> np.ndarray:
        batch, row = self._place(index)
        column = batch.column(name)
        begin, end = column.offsets[row].as_py(), column.offsets[row + 1].as_py()
        return column.values.slice(begin, end - begin).to_numpy()

    def _sizes(self, name: str) -> np.ndarray:
        return self._concatenated([np.diff(batch.column(name).offsets.to_numpy()) for batch in self._batches])

    @staticmethod
    def _concatenated(parts: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int64)


def _sums(column: pa.ListArray) -> np.ndarray:
    totals = np.concatenate([[0], np.cumsum(column.values.to_numpy(), dtype=np.int64)])
    return np.diff(totals[column.offsets.to_numpy()])


# ---------------------------------------------------------------- reading


class Dataset:
    """A dataset made by `prepare`: dataset["train"] and dataset["validation"] are Songs; manifest: what prepare wrote.

    Everything is checked on opening. Raises DatasetError.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self._splits = {split: Songs(self.folder, self.manifest["splits"][split]["shards"]) for split in SPLITS}
        for split in SPLITS:
            if len(self._splits[split]) == 0:
                raise DatasetError(f"{self.folder}: no {split} songs; prepare a dataset from at least two different songs")

    def __getitem__(self, split: Split) -> Songs:
        return self._splits[split]

    def __reduce__(self):
        return Dataset, (self.folder,)  # another process maps the files itself

    @property
    def fingerprint(self) -> str:
        """Of the music and its order: two datasets with one fingerprint give the same batches."""
        shards = [(split, shard["sha256"]) for split in SPLITS for shard in self.manifest["splits"][split]["shards"]]
        return hashlib.sha256(json.dumps(shards).encode()).hexdigest()[:16]


def read_manifest(folder: Path) -> dict:
    """The manifest, if this program can read the dataset. Raises DatasetError."""
    path = folder / MANIFEST
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such dataset; make one with: hid-museformer prepare MIDI_DIR {folder}")
    try:
        manifest = json.loads(path.read_text())
        form, fingerprint = manifest["format"], manifest["vocabulary"]
    except FileNotFoundError:
        raise DatasetError(f"{folder}: not a whole dataset (no {MANIFEST}); run prepare again") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); run prepare again") from error
    if form != FORMAT:
        raise DatasetError(f"{path}: dataset format {form}, this program reads {FORMAT}; run prepare again")
    if fingerprint != vocab.FINGERPRINT:
        raise DatasetError(f"{path}: tokens of another vocabulary ({fingerprint}, not {vocab.FINGERPRINT}); run prepare again")
    return manifest


def _open_shard(path: Path, entry: dict) -> pa.RecordBatch:
    try:
        size = path.stat().st_size
        if size != entry["bytes"]:
            raise DatasetError(f"{path}: {size} bytes, the manifest says {entry['bytes']}; run prepare again")
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source)
            if not reader.schema.equals(SCHEMA):
                raise DatasetError(f"{path}: other columns than this program writes; run prepare again")
            batch = reader.get_batch(0)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); run prepare again") from error
    if batch.num_rows != entry["songs"]:
        raise DatasetError(f"{path}: {batch.num_rows} songs, the manifest says {entry['songs']}; run prepare again")
    return batch


# ---------------------------------------------------------------- writing


def write_shard(folder: Path, name: str, songs: Sequence[StoredSong]) -> dict:
    """One shard, whole or not at all; returns its entry of the manifest."""
    columns = [pa.array([getattr(song, field.name) for song in songs], field.type) for field in SCHEMA]
    path, temporary = folder / name, folder / f".{name}.tmp"
    with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
    os.replace(temporary, path)
    content = path.read_bytes()
    tokens = sum(len(song.ids) for song in songs)
    return {"file": name, "songs": len(songs), "tokens": tokens, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def write_manifest(folder: Path, splits: dict[str, list[dict]], rejected: list[dict], config: object, version: str) -> dict:
    """The manifest, last of all. rejected: {"source", "reason"} of every file that is not in the dataset."""
    manifest = {
        "format": FORMAT,
        "vocabulary": vocab.FINGERPRINT,
        "tokenizer_version": version,
        "config": asdict(config),
        "splits": {
            split: {"songs": sum(s["songs"] for s in shards), "tokens": sum(s["tokens"] for s in shards), "shards": shards}
            for split, shards in splits.items()
        },
        "rejected": rejected,
    }
    temporary = folder / f".{MANIFEST}.tmp"
    temporary.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    os.replace(temporary, folder / MANIFEST)
    return manifest
