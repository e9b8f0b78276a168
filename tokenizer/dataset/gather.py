"""Songs of many files to one dataset, in the order of their content: the second half of prepare and of merge.

Which song goes where is decided by three numbers of each (family, hash, place); the songs themselves are copied shard
by shard, by all workers. A shard that is whole stays when the work is killed, and is not made again.
"""

import hashlib
import heapq
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from configs import CheckConfig, InputError, PrepareConfig
from tokenizer.dataset.files import (
    MANIFEST,
    REJECTED,
    SCHEMA,
    SHARD_NAME,
    Split,
    write_manifest,
)
from tokenizer.dataset.report import FILES as REPORT_FILES
from tokenizer.dataset.report import write_report
from tokenizer.dataset.shards import Rows, open_batch, write_batch
from tokenizer.dataset.songs import parse_told
from tokenizer.dataset.told import sum_up
from tokenizer.dataset.workers import run
from tokenizer.disk.atomic import WriteError, move_aside, write_json
from tokenizer.disk.lock import only_writer

WHOLE_RANGE = 1 << 64  # of a hash
INSTEAD = "name a new folder, or --overwrite to move this one aside"
UNFINISHED = re.compile(r"[0-9a-f]{24}")  # names of what gather writes into
NONE: np.ndarray = np.zeros(0, np.uint64)


class NothingUsable(InputError):
    """No file can be used."""


def is_ours(name: str) -> bool:
    """Whether a dataset has a file of this name."""
    return name in (MANIFEST, REJECTED, *REPORT_FILES) or bool(SHARD_NAME.fullmatch(name))


def named(folder: Path) -> Path:
    """The same place with a name of its own, which ".", ".." and a link have not. Raises InputError for the root."""
    place = Path(os.path.realpath(folder))
    if not place.name:
        raise InputError(f"{folder}: is no place for a dataset; name a folder in it")
    return place


def partial_folder(out: Path) -> Path:
    """Where `out`, which is `named`, is made."""
    return out.with_name(f"{out.name}.partial")


def make_room(out: Path, overwrite: bool) -> None:
    """Raises InputError where there is something, or moves it aside. An empty folder is taken, and one that a killed
    run was filling.
    """
    if not os.path.lexists(out):
        return
    names = set(os.listdir(out)) if out.is_dir() else {MANIFEST}
    being_filled = partial_folder(out).is_dir() and MANIFEST not in names and all(map(is_ours, names))
    if names and not being_filled:
        if not overwrite:
            raise InputError(f"{out}: exists already; {INSTEAD}")
        print(f"{out}: moved to {move_aside(out, 'old')}")


@contextmanager
def work_folder(out: Path) -> Iterator[Path]:
    """OUT.partial, for one process at a time; out is `named`. Stays where the work is interrupted, so that it can go
    on; goes where it is done, or where no dataset can come of it. Raises Busy, WriteError.
    """
    work = partial_folder(out)
    try:
        (work / "blocks").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(work, error) from error
    with ExitStack() as after, only_writer(work):
        after.callback(_remove_if_empty, work)
        try:
            yield work
        except NothingUsable:
            _empty(work)
            raise
        finally:
            _remove_if_empty(work / "blocks")
        _empty(work)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # there is something in it, not finished or not ours, or another process
        folder.rmdir()


def _empty(work: Path) -> None:
    """Removes what is made there."""
    for path in work.iterdir():
        if path.is_dir() and (path.name == "blocks" or UNFINISHED.fullmatch(path.name)):
            shutil.rmtree(path)


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
    inputs: str | None = None,
    held_out: Mapping[Split, np.ndarray] = MappingProxyType({}),
) -> dict:
    """The dataset `out` of all rows of the files; returns its manifest. rejected: lists sorted by source. work: folder
    for what is not finished. inputs: see write_manifest. held_out: families that are for validation or for the test
    in any case; for the test, if for both. Raises NothingUsable.
    """
    arranged = arrange(files, config.duplicates)
    if not len(arranged.kept) and config.shard == "1/1":  # a part of a small collection may be empty
        first = next(heapq.merge(*rejected, key=_source), {"source": "there is none", "reason": "no songs"})
        raise NothingUsable(f"none of the files can be used; the first: {first['source']}: {first['reason']}")
    splits = {split: arranged.kept[there] for split, there in divide(arranged.families, config, held_out).items()}
    unfinished = work / _key(files, splits, config)
    unfinished.mkdir(exist_ok=True)
    shards = _write_shards(files, splits, unfinished, config)
    left_out = heapq.merge(
        *(_resolved(entries, arranged, files) for entries in [*rejected, _copies(arranged)]), key=_source
    )
    sums = sum_up(_told(unfinished, shards), CheckConfig())
    manifest = write_manifest(unfinished, shards, left_out, config, version, config.shard, inputs, sums)
    if len(arranged.kept):
        write_report(unfinished, manifest)
    for entry in unfinished.glob(".*.json"):
        entry.unlink()
    _move(unfinished, out)
    return manifest


def _key(files: Sequence[Path], splits: dict[str, np.ndarray], config: PrepareConfig) -> str:
    """Of everything that decides what the shards hold; a file that was written anew is another one."""
    states = [(str(file), (state := file.stat()).st_size, state.st_mtime_ns) for file in files]
    settings = [states, config.content(), *(len(places) for split, places in splits.items() if split != "train")]
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:24]


def _move(unfinished: Path, out: Path) -> None:
    """To its place. A folder that is there stays the folder it is, since someone may stand in it: it is filled, with
    the manifest last.
    """
    try:
        if not out.is_dir():
            os.replace(unfinished, out)
            return
        for path in sorted(unfinished.iterdir(), key=lambda path: (path.name == MANIFEST, path.name)):
            os.replace(path, out / path.name)
        unfinished.rmdir()
    except OSError as error:
        raise WriteError(out, error) from error


def _told(folder: Path, shards: dict[str, list[dict]]) -> Iterator[dict]:
    """What is told of each song, in their order; {} of those of which nothing is known."""
    for entry in itertools.chain.from_iterable(shards.values()):
        for told in open_batch(folder / entry["file"]).column("told"):
            yield parse_told(told.as_py())


def _source(entry: dict) -> str:
    return entry["source"]


def arrange(files: Sequence[Path], duplicates: str) -> Arrangement:
    """Songs in the order of family, hash; of songs that are the same the first by source stays."""
    columns = {"family": [NONE], "hash": [NONE], "file": [np.zeros(0, int)], "row": [np.zeros(0, int)]}
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
    rows = Rows(open_batch(files[file]), files[file])
    rows.verify(int(row))
    return rows.source(int(row))


def _copies(arranged: Arrangement) -> Iterator[dict]:
    yield from ({"source": source, "group": f"{group:016x}"} for source, group in sorted(arranged.copies))


def _resolved(entries: Iterable[dict], arranged: Arrangement, files: Sequence[Path]) -> Iterator[dict]:
    """Duplicates say which song was kept, of all that are gathered here."""
    order = np.argsort(arranged.groups)
    for entry in entries:
        group = np.uint64(int(entry.get("group", "0"), 16))
        place = int(np.searchsorted(arranged.groups, group, sorter=order))
        # Of a damaged dataset the song that was kept may be gone.
        if "group" in entry and place < len(order) and arranged.groups[order[place]] == group:
            source = _source_at(files, *arranged.kept[order[place]])
            entry = {
                "source": entry["source"],
                "reason": f"duplicate: the same music as {source}",
                "group": entry["group"],
            }
        yield entry


def divide(
    families: np.ndarray, config: PrepareConfig, held_out: Mapping[Split, np.ndarray]
) -> dict[Split, np.ndarray]:
    """bool[songs] of each split: which of the songs, in order of their families, are in it. Validation has the first of
    them, a test the last, so that asking for one changes nothing of the other. Raises NothingUsable.
    """
    place = np.arange(len(families))
    first = place < count_validation(families, config.validation_fraction)
    last = place >= len(families) - count_test(families[~first], config.test_fraction)
    to_validate, to_test = (np.isin(families, held_out.get(split, NONE)) for split in ("validation", "test"))
    tests = to_test | (last & ~to_validate)
    validates = (to_validate | first) & ~tests
    trains = ~(validates | tests)
    if len(families) and not trains.any():
        raise NothingUsable("no song is left to train on: each is held out in one of the datasets")
    for more, what in ((validates & ~first, "validation"), (tests & ~last, "the test")):
        if more.any():
            print(f"{more.sum()} more songs are for {what}: one of the datasets holds them out")
    splits = {"train": trains, "validation": validates}
    return splits | {"test": tests} if config.test_fraction or tests.any() else splits


def count_test(families: np.ndarray, fraction: float) -> int:
    """How many songs, the last ones, are for a test, of those that do not validate: chosen as those are. One at least,
    where another is left to train on.
    """
    if fraction == 0 or not len(families):
        return 0
    first = int(
        np.searchsorted(families, np.uint64(min(int((1 - fraction) * WHOLE_RANGE), WHOLE_RANGE - 1)), side="left")
    )
    for begin in (min(first, len(families) - 1), len(families) - 1):
        count = len(families) - int(np.searchsorted(families, families[begin], side="left"))
        if count < len(families):
            return count
    return 0


def count_validation(families: np.ndarray, fraction: float) -> int:
    """How many songs, the first ones, are for validation: by content, which is uniform, so that a song stays in its
    split whatever is added. A song is in the split of its transpositions. Of two songs one validates at least, if they
    are not one in two keys; one by itself is trained on.
    """
    if fraction == 0 or not len(families):
        return 0
    below = int(np.searchsorted(families, np.uint64(int(fraction * WHOLE_RANGE)), side="left"))
    for least in (max(below, 1), 1):  # all of them cannot validate: then the first does
        count = int(np.searchsorted(families, families[least - 1], side="right"))
        if count < len(families):
            return count
    return 0


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
    entries = [json.loads(_entry(folder, name).read_text(encoding="utf-8")) for name, _ in tasks]
    return {split: [entry for entry in entries if entry["file"].startswith(f"{split}-")] for split in splits}


def _entry(folder: Path, name: str) -> Path:
    return folder / f".{name}.json"


def _write_shard(files: list[str], folder: str, task: tuple[str, np.ndarray]) -> None:
    name, places = task
    numbers = np.unique(places[:, 0]).tolist()
    batches = {file: open_batch(Path(files[file])).replace_schema_metadata(None) for file in numbers}
    rows = {file: Rows(batch, Path(files[file])) for file, batch in batches.items()}
    for file, row in places.tolist():
        rows[file].verify(row)
    slices = [batches[file].slice(row, 1) for file, row in places.tolist()]
    # With an empty one beside it a single row is copied too; else its bytes would depend on the file it comes from.
    whole = pa.Table.from_batches([*slices, slices[0].slice(0, 0)], SCHEMA).combine_chunks().to_batches()
    if len(whole) != 1:
        raise InputError(f"{name} is too large for one Arrow file; take a smaller --songs-per-shard")
    write_json(_entry(Path(folder), name), write_batch(Path(folder), name, whole[0]))
