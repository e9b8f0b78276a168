"""Every row of a dataset against its own tokens: what `check DATASET` finds, and what --repair writes anew."""

import hashlib
import os
import shutil
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from configs import PrepareConfig
from tokenizer import vocabulary as vocab
from tokenizer.dataset.files import DatasetError, open_batch, read_manifest, read_rejected, shards_of, write_batch
from tokenizer.dataset.gather import gather, work_folder
from tokenizer.dataset.songs import SongTooLong, StoredSong, record_batch, to_row
from tokenizer.dataset.workers import run
from tokenizer.tokens.encode import encode_song, grid_song
from tokenizer.tokens.fields import compute


@dataclass(frozen=True)
class Finding:
    """What is wrong, where (a shard's file, and the row in it or None for all of it), and whether a repair mends it or
    leaves it out.
    """

    shard: str
    row: int | None
    problem: str
    mendable: bool


def audit(folder: Path, workers: int = 0) -> list[Finding]:
    """Everything that is wrong with a dataset. Raises DatasetError where it cannot be opened at all."""
    manifest = read_manifest(folder)
    shards = shards_of(manifest)
    findings, places = [], {}
    with tqdm(total=len(shards), desc="checking", unit="shard", disable=None) as progress:
        for found, songs in run(partial(_audit_shard, folder), [entry for _, entry in shards], workers, "local"):
            findings += found
            places |= songs
            progress.update()
    split_of = {entry["file"]: split for split, entry in shards}
    return sorted(
        findings + _duplicates(places, split_of), key=lambda found: (found.shard, found.row or 0, found.problem)
    )


def _audit_shard(folder: Path, entry: dict) -> tuple[list[Finding], dict]:
    """What is wrong in one shard, and (hash, family) of its songs by (shard, row)."""
    name, path = entry["file"], folder / entry["file"]
    try:
        batch = open_batch(path)
    except DatasetError as error:
        return [Finding(name, None, str(error).removeprefix(f"{path}: "), mendable=False)], {}
    findings = []
    with path.open("rb") as content:
        if hashlib.file_digest(content, "sha256").hexdigest() != entry["sha256"]:
            findings.append(Finding(name, None, "other bytes than the manifest says (sha256)", mendable=True))
    if batch.num_rows != entry["songs"]:
        findings.append(
            Finding(name, None, f"{batch.num_rows} songs, the manifest says {entry['songs']}", mendable=True)
        )
    songs = {}
    for row in range(batch.num_rows):
        problem, mendable = problem_of(batch, row)
        if problem:
            findings.append(Finding(name, row, problem, mendable))
            if not mendable:
                continue
        songs[name, row] = (batch.column("hash")[row].as_py(), batch.column("family")[row].as_py())
    return findings, songs


def problem_of(batch: pa.RecordBatch, row: int) -> tuple[str | None, bool]:
    """What is wrong with a row, or None; and whether its ids are a whole song, from which the rest
    can be made again.
    """
    ids = ids_of(batch, row)
    problem = grammar_problem(ids)
    if problem:
        return problem, False
    expected, row_of = to_row(compute(ids), batch.column("source")[row].as_py()), batch.slice(row, 1)
    wrong = [
        field.name
        for field in fields(StoredSong)
        if not row_of.column(field.name).equals(record_batch([expected]).column(field.name))
    ]
    return (f"its {', '.join(wrong)} do not follow from its tokens" if wrong else None), True


def ids_of(batch: pa.RecordBatch, row: int) -> np.ndarray:
    return batch.column("ids")[row].values.to_numpy().astype(np.int32)


def grammar_problem(ids: np.ndarray) -> str | None:
    """Why these are not the tokens of a song as encode writes them, or None."""
    if not len(ids):
        return "no tokens"
    if ids.max() >= vocab.SIZE:
        return f"token {ids.max()} does not exist"
    if ids[0] != vocab.BOS or ids[-1] != vocab.EOS:
        return "does not go from BOS to EOS"
    tokens = compute(ids)
    try:
        song, chords = grid_song(tokens)
        to_row(tokens, "")
        for track in song.tracks:
            place = track.notes["bar"].astype(np.int64) << 32 | track.notes["step"] << 8 | track.notes["pitch"]
            if (np.diff(place) <= 0).any():
                return "notes out of order"
        again = encode_song(song, chords)
    except (ValueError, IndexError, SongTooLong) as error:
        return f"not the grammar of a song ({error})"
    if again != tokens:
        differs = np.flatnonzero(again.ids[: len(ids)] != ids[: len(again)]) if len(again) and len(ids) else []
        where = int(differs[0]) if len(differs) else min(len(again), len(ids))
        return f"not the grammar of a song (from token {where} on)"
    return None


def _duplicates(songs: dict[tuple[str, int], tuple[int, int]], split_of: dict[str, str]) -> list[Finding]:
    """Songs that are there twice, and songs in several keys of which one is in another split."""
    first: dict[int, tuple[str, int]] = {}
    split: dict[int, str] = {}
    findings = []
    for place in sorted(songs):
        hash_, family = songs[place]
        if hash_ in first:
            findings.append(
                Finding(*place, f"the same music as {first[hash_][0]} row {first[hash_][1]}", mendable=True)
            )
        elif split.setdefault(family, split_of[place[0]]) != split_of[place[0]]:
            findings.append(Finding(*place, "in another split than the same music in another key", mendable=True))
        first.setdefault(hash_, place)
    return findings


# ---------------------------------------------------------------- repair


def repair(folder: Path, workers: int = 0) -> dict:
    """Writes the dataset anew from the tokens of its whole rows, and takes its place; returns the new manifest. Rows
    whose tokens are no song and shards that cannot be opened are left out, which rejected.jsonl says. The old folder
    stays until the new one is whole.
    """
    manifest = read_manifest(folder)
    config = PrepareConfig(**manifest["config"], shard=manifest["shard"], workers=workers)
    repaired = folder.with_name(f"{folder.name}.repaired")
    with work_folder(repaired) as work:
        rejected, files = [], []
        for split, entry in shards_of(manifest):
            path = work / "blocks" / entry["file"]
            try:
                batch = open_batch(folder / entry["file"])
            except DatasetError:
                rejected.append(
                    {
                        "source": f"{split} shard {entry['file']}",
                        "reason": "damaged dataset: the shard cannot be opened",
                    }
                )
                continue
            songs = []
            for row in range(batch.num_rows):
                ids, source = ids_of(batch, row), batch.column("source")[row].as_py()
                problem = grammar_problem(ids)
                if problem:
                    rejected.append({"source": source, "reason": f"damaged dataset: {problem}"})
                else:
                    songs.append(to_row(compute(ids), source))
            write_batch(path.parent, path.name, record_batch(songs))
            files.append(path)
        lists = [read_rejected(folder), sorted(rejected, key=lambda entry: entry["source"])]
        gather(files, lists, work, repaired, config, manifest["tokenizer_version"])
    old = folder.with_name(f"{folder.name}.old")
    os.replace(folder, old)
    os.replace(repaired, folder)
    shutil.rmtree(old)
    return read_manifest(folder)
