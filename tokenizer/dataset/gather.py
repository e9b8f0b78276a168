"""Songs of many files to one dataset, in the order of their content: the second half of prepare, and all of merge.

Which song goes where is decided by three numbers of each (family, hash, place); the songs themselves are copied shard
by shard, by all workers. A shard that is whole stays when the work is killed, and is not made again.
"""

import errno
import fcntl
import hashlib
import heapq
import itertools
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from configs import InputError, PrepareConfig
from tokenizer.dataset.files import (
    SCHEMA,
    open_batch,
    open_shard,
    read_manifest,
    read_rejected,
    shards_of,
    write_batch,
    write_manifest,
)
from tokenizer.dataset.report import write_report
from tokenizer.dataset.workers import run

WHOLE_RANGE = 1 << 64  # of a hash


class NothingUsable(InputError):
    """No file can be used."""


def refuse_to_overwrite(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists already; name a new folder, or remove it first")


@contextmanager
def work_folder(out: Path) -> Iterator[Path]:
    """OUT.partial, for one process at a time. Stays where the work is interrupted, so that it can go on; goes where it
    is done, or where no dataset can come of it.
    """
    work = out.with_name(f"{out.name}.partial")
    try:
        (work / "blocks").mkdir(parents=True, exist_ok=True)
        with (work / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"{work}: another process is making {out} there; wait for it") from None
            try:
                yield work
            except NothingUsable:
                shutil.rmtree(work)
                raise
        shutil.rmtree(work)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        again = "; make room and give the same command again: it goes on where it stopped" if full else ""
        raise InputError(f"{error.filename or work}: cannot be written ({error.strerror}){again}") from error


@dataclass(frozen=True)
class Arrangement:
    """kept: int64[songs, 2] (file, row) of each song in order; families: uint64[songs]. copies: (source, group) of each
    song that is left
    out, groups: uint64[songs] what makes two songs the same, one of each kept."""

    kept: np.ndarray
    families: np.ndarray
    groups: np.ndarray
    copies: list[tuple[str, int]]


def gather(
    files: Sequence[Path],
    rejected: Sequence[Iterable[dict]],
    work: Path,
    out: Path,
    config: PrepareConfig,
    version: str,
) -> dict:
    """The dataset `out` of all rows of the files; returns its manifest. rejected: lists sorted by source. work: folder
    for what is not finished. Raises NothingUsable.
    """
    arranged = arrange(files, config.duplicates)
    if not len(arranged.kept):
        first = next(heapq.merge(*rejected, key=_source), {"source": "none", "reason": "in this shard"})
        raise NothingUsable(f"none of the files can be used; the first: {first['source']}: {first['reason']}")
    validation = count_validation(arranged.families, config.validation_fraction)
    splits = {"train": arranged.kept[validation:], "validation": arranged.kept[:validation]}
    names = json.dumps([[str(file) for file in files], config.content()]).encode()
    unfinished = work / hashlib.sha256(names).hexdigest()[:24]
    unfinished.mkdir(exist_ok=True)
    shards = _write_shards(files, splits, unfinished, config)
    left_out = heapq.merge(
        *(_resolved(entries, arranged, files) for entries in [*rejected, _copies(arranged)]), key=_source
    )
    manifest = write_manifest(unfinished, shards, left_out, config, version, config.shard)
    write_report(unfinished, manifest)
    for entry in unfinished.glob(".*.json"):
        entry.unlink()
    if out.is_dir():
        out.rmdir()  # it is empty
    os.replace(unfinished, out)
    return manifest


def _source(entry: dict) -> str:
    return entry["source"]


def arrange(files: Sequence[Path], duplicates: str) -> Arrangement:
    """Songs in the order of family, hash; of songs that are the same the first by source stays."""
    columns = {"family": [], "hash": [], "file": [], "row": []}
    for number, path in enumerate(files):
        batch = open_batch(path)
        for name in ("family", "hash"):
            # Copied: thousands of files need not stay mapped.
            columns[name].append(batch.column(name).to_numpy().copy())
        columns["file"].append(np.full(batch.num_rows, number))
        columns["row"].append(np.arange(batch.num_rows))
    family, hash_, file, row = (np.concatenate(columns[name]) for name in columns)
    order = np.lexsort((row, file, hash_, family))
    group = (hash_ if duplicates == "exact" else family)[order]
    places = np.stack([file, row], axis=1)[order]
    edges = (
        np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1], [True]]))
        if len(group)
        else np.zeros(1, np.int64)
    )
    kept, copies = edges[:-1].copy(), []
    for number, (start, end) in enumerate(itertools.pairwise(edges)):
        if end - start > 1:
            sources = sorted((_source_at(files, *places[i]), int(i)) for i in range(start, end))
            kept[number] = sources[0][1]
            copies += [(source, int(group[start])) for source, _ in sources[1:]]
    return Arrangement(places[kept], family[order][kept], group[kept], copies)


def _source_at(files: Sequence[Path], file: int, row: int) -> str:
    return open_batch(files[file]).column("source")[int(row)].as_py()


def _copies(arranged: Arrangement) -> Iterator[dict]:
    yield from ({"source": source, "group": f"{group:016x}"} for source, group in sorted(arranged.copies))


def _resolved(entries: Iterable[dict], arranged: Arrangement, files: Sequence[Path]) -> Iterator[dict]:
    """Duplicates say which song was kept, of all that are gathered here."""
    order = np.argsort(arranged.groups)
    for entry in entries:
        if "group" in entry:
            place = np.searchsorted(arranged.groups, np.uint64(int(entry["group"], 16)), sorter=order)
            source = _source_at(files, *arranged.kept[order[place]])
            entry = {
                "source": entry["source"],
                "reason": f"duplicate: the same music as {source}",
                "group": entry["group"],
            }
        yield entry


def count_validation(families: np.ndarray, fraction: float) -> int:
    """How many songs, the first ones, are for validation: by content, which is uniform, so that a song stays in its
    split whatever is added. A song is in the split of its transpositions. Of two songs one validates at least.
    """
    count = int(np.searchsorted(families, np.uint64(int(fraction * WHOLE_RANGE)), side="left"))
    if fraction > 0 and len(families) > 1:
        count = int(np.searchsorted(families, families[max(count, 1) - 1], side="right"))
        if count == len(families):
            count = 1
    return count


# ---------------------------------------------------------------- writing


def _write_shards(
    files: Sequence[Path], splits: dict[str, np.ndarray], folder: Path, config: PrepareConfig
) -> dict[str, list[dict]]:
    """Entries of the manifest. The entry of a finished shard lies beside it until all are."""
    size = config.songs_per_shard
    tasks = [
        (f"{split}-{number:05}.arrow", places[start : start + size])
        for split, places in splits.items()
        for number, start in enumerate(range(0, len(places), size))
    ]
    missing = [task for task in tasks if not _entry(folder, task[0]).exists()]
    with tqdm(
        total=len(tasks), initial=len(tasks) - len(missing), desc="writing", unit="shard", disable=None
    ) as progress:
        for _ in run(
            partial(_write_shard, [str(file) for file in files], str(folder)), missing, config.workers, config.engine
        ):
            progress.update()
    entries = [json.loads(_entry(folder, name).read_text()) for name, _ in tasks]
    return {split: [entry for entry in entries if entry["file"].startswith(f"{split}-")] for split in splits}


def _entry(folder: Path, name: str) -> Path:
    return folder / f".{name}.json"


def _write_shard(files: list[str], folder: str, task: tuple[str, np.ndarray]) -> None:
    name, places = task
    batches = {
        int(file): open_batch(Path(files[file])).replace_schema_metadata(None) for file in np.unique(places[:, 0])
    }
    rows = (
        pa.Table.from_batches([batches[file].slice(row, 1) for file, row in places.tolist()], SCHEMA)
        .combine_chunks()
        .to_batches()
    )
    if len(rows) != 1:
        raise InputError(f"{name} is too large for one Arrow file; take a smaller --songs-per-shard")
    entry = write_batch(Path(folder), name, rows[0])
    temporary = _entry(Path(folder), f"{name}.tmp")
    temporary.write_text(json.dumps(entry))
    os.replace(temporary, _entry(Path(folder), name))


# ---------------------------------------------------------------- merging


def merge(folders: Sequence[Path], out: Path, workers: int) -> dict:
    """One dataset of several that were prepared alike, such as all the shards of one: the same bytes as one prepare of
    all files.
    """
    refuse_to_overwrite(out)
    manifests = {folder: read_manifest(folder) for folder in sorted(map(Path, folders))}
    first = next(iter(manifests))
    for folder, manifest in manifests.items():
        for name in ("config", "tokenizer_version"):
            if manifest[name] != manifests[first][name]:
                raise InputError(f"{folder}: prepared with another {name} than {first}; prepare them alike")
    shards = sorted(manifest["shard"] for manifest in manifests.values())
    count = int(shards[0].split("/")[1])
    if count > 1 and shards != sorted(f"{number}/{count}" for number in range(1, count + 1)):
        raise InputError(
            f"these are the shards {', '.join(shards)}; merge takes each of 1/{count} to {count}/{count} once"
        )
    files = [folder / entry["file"] for folder, manifest in manifests.items() for _, entry in shards_of(manifest)]
    for folder, manifest in manifests.items():
        for _, entry in shards_of(manifest):
            open_shard(folder / entry["file"], entry)
    config = PrepareConfig(**manifests[first]["config"], workers=workers)
    with work_folder(out) as work:
        return gather(
            files,
            [read_rejected(folder) for folder in manifests],
            work,
            out,
            config,
            manifests[first]["tokenizer_version"],
        )
