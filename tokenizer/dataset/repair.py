"""A damaged dataset written anew from those of its rows that are whole: `check --repair`.

Nothing is lost by it. What cannot be read for a reason of the system stops it. Rows that are not what was written are
left out, which rejected.jsonl says; then the old folder is moved aside, not removed. Songs that are left out can be
prepared again from their files.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs import InputError, PrepareConfig
from tokenizer.dataset.audit import MISSING, beside, grammar_problem
from tokenizer.dataset.files import (
    REJECTED,
    DatasetError,
    Split,
    kind_of,
    read_manifest,
    read_rejected,
    shards_of,
)
from tokenizer.dataset.find import find_midi
from tokenizer.dataset.gather import NONE, NothingUsable, gather, is_ours, named, work_folder
from tokenizer.dataset.prepare import TOKENIZER_VERSION, rejected_of, tokenize_all
from tokenizer.dataset.shards import Damaged, Rows, Unreadable, open_batch, write_batch
from tokenizer.dataset.songs import record_batch, to_row
from tokenizer.disk.atomic import WriteError, file_digest, move_aside
from tokenizer.tokens.fields import compute


@dataclass(frozen=True)
class Repaired:
    """manifest: the new one. dropped: how many rows and shards were not what was written. missing: sources of songs, or
    shards, that are to be prepared again. aside: where the old folder is, if anything in it is not in the new one.
    """

    manifest: dict
    dropped: int
    missing: list[str]
    aside: Path | None


@dataclass
class Kept:
    """files: of the rows that are kept. sources: of them. held_out: uint64[n] the families among them that are for
    validation, and for the test. damaged: entries for rejected.jsonl of what is not kept; those of whole shards say how
    many songs they had.
    """

    files: list[Path]
    sources: set[str]
    held_out: dict[Split, np.ndarray]
    damaged: list[dict]


def repair(folder: Path, midi_dirs: Sequence[Path] = (), workers: int = 0) -> Repaired:
    """Writes the dataset anew from its whole rows; it takes the old one's place once it is whole. midi_dirs: where the
    files of missing songs are, named as they were to prepare. Raises InputError, and then nothing is changed.
    """
    folder = named(folder)
    read_manifest(folder)  # what is no dataset gets no folder beside it
    try:
        with work_folder(folder) as work:
            manifest = read_manifest(folder)
            config = PrepareConfig(**manifest["config"], shard=manifest["shard"], workers=workers)
            if midi_dirs and manifest["tokenizer_version"] != TOKENIZER_VERSION:
                raise InputError(
                    f"--from: {folder} is of tokenizer {manifest['tokenizer_version']}, this is {TOKENIZER_VERSION}; "
                    "prepare all of it again"
                )
            shards = _open_all(folder, manifest)
            rejected, list_is_whole = _rejected(folder, manifest)
            shutil.rmtree(work / "repaired", ignore_errors=True)  # of one that was killed
            kept = _keep(shards, work / "blocks")
            missing = [entry for entry in rejected if kind_of(entry["reason"]) == MISSING] + kept.damaged
            rejected = [entry for entry in rejected if kind_of(entry["reason"]) != MISSING]
            again: list[Path] = []
            if midi_dirs and missing:
                again, missing = _prepare_again(midi_dirs, kept, missing, rejected, work / "blocks", config)
            lists = [rejected, *map(rejected_of, again), sorted(missing, key=lambda entry: entry["source"])]
            inputs = None if missing else manifest["inputs"]
            files, new = [*kept.files, *again], work / "repaired"
            made = gather(files, lists, work, new, config, manifest["tokenizer_version"], inputs, kept.held_out)
            aside = _take_place(new, folder, whole=not kept.damaged and list_is_whole)
    except NothingUsable as error:
        raise DatasetError(f"{folder}: no train song in it is whole ({error}); it is as it was") from error
    return Repaired(made, len(kept.damaged), [entry["source"] for entry in missing], aside)


def _open_all(folder: Path, manifest: dict) -> list[tuple[str, dict, Rows | None]]:
    """(split, entry, rows) of each shard, None where it is damaged. Raises DatasetError where one cannot be read."""
    shards = []
    for split, entry in shards_of(manifest):
        path = folder / entry["file"]
        try:
            shards.append((split, entry, Rows(open_batch(path), path)))
        except Unreadable as error:
            raise DatasetError(f"{error}; nothing is repaired until it can be") from error
        except Damaged:
            shards.append((split, entry, None))
    return shards


def _rejected(folder: Path, manifest: dict) -> tuple[list[dict], bool]:
    """What the list of rejected files still says, by source, and whether it is what was written."""
    entries = []
    try:
        for entry in read_rejected(folder):
            entries.append(entry)
        whole = file_digest(folder / REJECTED) == manifest["rejected_sha256"]
    except DatasetError as error:
        if isinstance(error.__cause__, OSError):
            raise DatasetError(f"{error}; nothing is repaired until it can be") from error
        whole = False
    return sorted(entries, key=lambda entry: entry["source"]), whole


def _keep(shards: Iterable[tuple[str, dict, Rows | None]], blocks: Path) -> Kept:
    """Writes the whole rows of each shard, all columns made again that follow from their tokens."""
    kept = Kept([], set(), {"validation": NONE, "test": NONE}, [])
    for split, entry, rows in shards:
        if rows is None:
            reason = f"{MISSING}: the shard of {entry['songs']} songs cannot be opened"
            source = f"{split} shard {entry['file']}"
            kept.damaged.append({"source": source, "reason": reason, "songs": entry["songs"]})
            continue
        songs = []
        for row in range(len(rows)):
            ids, source = rows.values("ids", row).astype(np.int32), rows.source(row)
            if problem := rows.problem(row) or grammar_problem(ids):
                kept.damaged.append({"source": source, "reason": f"{MISSING}: {problem}"})
            else:
                tempos, told, _ = beside(rows, row)
                songs.append(to_row(compute(ids), source, tempos, told))
        write_batch(blocks, entry["file"], record_batch(songs))
        kept.files.append(blocks / entry["file"])
        kept.sources |= {song.source for song in songs}
        if split in kept.held_out:
            families = np.array([song.family for song in songs], np.uint64)
            kept.held_out[split] = np.concatenate([kept.held_out[split], families])
    return kept


# ---------------------------------------------------------------- songs prepared again


def _prepare_again(
    midi_dirs: Sequence[Path],
    kept: Kept,
    missing: list[dict],
    rejected: list[dict],
    blocks: Path,
    config: PrepareConfig,
) -> tuple[list[Path], list[dict]]:
    """Blocks of the songs that are missing, made from their files, and what is missing still.

    Where the name of a song is not known (all of its shard is damaged, or its name), every file is taken that is
    neither in the dataset nor rejected; that many songs are to come of them.
    """
    files, _ = find_midi(midi_dirs)
    there = {source for source, _ in files}
    named = {entry["source"] for entry in missing} & there
    nameless = [entry for entry in missing if entry["source"] not in there]
    known = kept.sources | {entry["source"] for entry in rejected}
    taken = [file for file in files if file[0] in named or (nameless and file[0] not in known)]
    made = tokenize_all(taken, blocks, config)
    songs = sum(open_batch(block).num_rows for block in made)
    wanted = sum(entry.get("songs", 1) for entry in nameless)
    return made, [] if songs - len(named) >= wanted else nameless


# ---------------------------------------------------------------- the new one takes the old one's place


def _take_place(new: Path, folder: Path, whole: bool) -> Path | None:
    """Where the old folder is; None where nothing was in it that is not in the new one, and it is gone."""
    try:
        aside = move_aside(folder, "before-repair")
        try:
            os.replace(new, folder)
        except OSError:
            os.replace(aside, folder)
            raise
    except OSError as error:
        raise WriteError(folder, error) from error
    if not whole:
        return aside
    for path in _not_ours(aside):
        os.replace(path, folder / path.name)
    shutil.rmtree(aside)
    return None


def _not_ours(folder: Path) -> Iterator[Path]:
    yield from [path for path in folder.iterdir() if not is_ours(path.name)]
