"""Arrow files of songs: opened, memory-mapped, and written; and their rows, each of which carries a digest of itself.

What holds the files together: files.py.
"""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenizer import vocabulary as vocab
from tokenizer.dataset.files import DIGEST, FIELD_TYPES, SCHEMA, DatasetError
from tokenizer.disk.atomic import atomic, file_digest

LISTS = (*FIELD_TYPES, "bar_tokens", "bar_spans")
TEMPOS = ("tempo_ticks", "tempo_microseconds")
NUMBERS = ("tracks", "notes", "seconds", "hash", "family")


class Damaged(DatasetError):
    """A file or row that is not what was written."""


class Unreadable(DatasetError):
    """A file that may be whole, but of which the system does not give the content."""


# ---------------------------------------------------------------- rows


class Rows:
    """The rows of a shard, as numpy views of its memory map."""

    def __init__(self, batch: pa.RecordBatch, path: Path):
        self.batch, self.path = batch, path
        columns = {name: batch.column(name) for name in batch.schema.names}
        self._values = {name: columns[name].values.to_numpy() for name in (*LISTS, *TEMPOS)}
        self._offsets = {name: columns[name].offsets.to_numpy() for name in (*LISTS, *TEMPOS)}
        self._numbers = [columns[name].to_numpy() for name in NUMBERS]
        self._sources, self._told = columns["source"], columns["told"]
        self._digests = columns[DIGEST].to_numpy() if DIGEST in columns else None

    def __len__(self) -> int:
        return self.batch.num_rows

    def values(self, name: str, row: int) -> np.ndarray:
        """What a column of lists has in a row, in its stored type."""
        offsets = self._offsets[name]
        return self._values[name][offsets[row] : offsets[row + 1]]

    def source(self, row: int) -> str:
        return self._sources[row].as_py()

    def told(self, row: int) -> str:
        return self._told[row].as_py()

    def digest(self, row: int) -> int:
        """crc32 of all other columns, little-endian: the lengths of the lists and of the source's UTF-8, uint32 each;
        the values of the lists; tracks, notes, seconds, hash and family; the source. Each in its stored type, in the
        order of SCHEMA. Then, if one of them is not empty, the lengths of tempo_ticks, tempo_microseconds and told, and
        these: where none is known a row has the digest that it had before there were such columns.
        """
        lists, source = [self.values(name, row) for name in LISTS], self.source(row).encode()
        digest = zlib.crc32(struct.pack("<9I", *map(len, lists), len(source)))
        for values in lists:
            digest = zlib.crc32(values, digest)
        numbers = struct.pack("<HIfQQ", *(column[row] for column in self._numbers))
        digest = zlib.crc32(numbers + source, digest)
        beside = [*(self.values(name, row).tobytes() for name in TEMPOS), self.told(row).encode()]
        if any(beside):
            lengths = struct.pack("<3I", *(len(self.values(name, row)) for name in TEMPOS), len(beside[-1]))
            digest = zlib.crc32(lengths + b"".join(beside), digest)
        return digest

    def problem(self, row: int) -> str | None:
        """Why a row must not be used, or None."""
        if self.digest(row) != self._digests[row]:
            return "damaged (its digest is that of another content)"
        largest = int(self.values("ids", row).max(initial=0))
        return f"damaged (token {largest} does not exist)" if largest >= vocab.SIZE else None

    def verify(self, row: int) -> None:
        """Raises Damaged."""
        if problem := self.problem(row):
            raise Damaged(f"{self.path} row {row} ({self.source(row)}): {problem}; {_advice(self.path)}")


def with_digests(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Rows of all columns but the last one, and that one."""
    rows = Rows(batch, Path())
    digests = pa.array([rows.digest(row) for row in range(len(rows))], pa.uint32())
    return pa.record_batch([*batch.columns, digests], schema=SCHEMA)


def _advice(path: Path) -> str:
    return f"hid-museformer check {path.parent} lists all damage, --repair mends it"


# ---------------------------------------------------------------- files


def open_shard(path: Path, entry: dict) -> Rows:
    """A shard, if it is the one that its manifest's entry describes. Raises Damaged, Unreadable."""
    if (size := _size(path)) != entry["bytes"]:
        raise Damaged(f"{path}: {size} bytes, the manifest says {entry['bytes']}; {_advice(path)}")
    batch = open_batch(path)
    if batch.num_rows != entry["songs"]:
        raise Damaged(f"{path}: {batch.num_rows} songs, the manifest says {entry['songs']}; {_advice(path)}")
    return Rows(batch, path)


def _size(path: Path) -> int:
    """Bytes of a file that can be read. Raises Damaged where there is none, Unreadable."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        raise Damaged(f"{path}: missing; {_advice(path)}") from None
    except OSError as error:
        raise Unreadable(f"{path}: cannot be read ({error.strerror})") from error


def open_batch(path: Path) -> pa.RecordBatch:
    """The rows of an Arrow file of songs, memory-mapped; its structure is checked, not what the rows say. Raises
    Damaged, Unreadable.
    """
    _size(path)
    try:
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source)
            if not reader.schema.equals(SCHEMA):
                raise Damaged(f"{path}: other columns than this program writes; {_advice(path)}")
            if reader.num_record_batches != 1:
                raise Damaged(f"{path}: {reader.num_record_batches} batches of rows, not one; {_advice(path)}")
            batch = reader.get_batch(0)
            batch.validate(full=True)  # offsets: else a wrong one is read as songs of gigabytes
    except (OSError, pa.ArrowException) as error:
        if getattr(error, "errno", None):  # the system's; Arrow's own have none
            raise Unreadable(f"{path}: cannot be read ({error.strerror})") from error
        raise Damaged(f"{path}: damaged ({str(error).splitlines()[0]}); {_advice(path)}") from error
    if any(part.null_count for column in batch.columns for part in _parts(column)):
        raise Damaged(f"{path}: damaged (there are values missing); {_advice(path)}")
    return batch


def _parts(column: pa.Array) -> tuple[pa.Array, ...]:
    return (column, column.values) if isinstance(column, pa.ListArray) else (column,)


def write_batch(folder: Path, name: str, batch: pa.RecordBatch) -> dict:
    """A shard of rows as they are, whole or not at all; returns its entry of the manifest, with token_counts, a number
    for each token of the vocabulary. Raises WriteError.
    """
    with atomic(folder / name) as temporary:
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        digest, size = file_digest(temporary), temporary.stat().st_size
    ids = batch.column("ids").flatten().to_numpy()
    counts = np.bincount(ids, minlength=vocab.SIZE)[: vocab.SIZE].tolist()
    return {
        "file": name,
        "songs": batch.num_rows,
        "tokens": len(ids),
        "bytes": size,
        "sha256": digest,
        "token_counts": counts,
    }
