"""Every file of a dataset against its digests and every row against its own tokens: what `check DATASET` finds."""

from collections import Counter
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tokenizer import vocabulary as vocab
from tokenizer.dataset.files import (
    MANIFEST,
    REJECTED,
    SPLITS,
    DatasetError,
    kind_of,
    read_manifest,
    read_rejected,
    shards_of,
)
from tokenizer.dataset.shards import TEMPOS, Rows, open_batch
from tokenizer.dataset.songs import SongTooLong, StoredSong, parse_told, record_batch, tempos_of, to_row
from tokenizer.dataset.workers import run
from tokenizer.disk.atomic import file_digest
from tokenizer.grid.tempo_map import SLOWEST, Tempos
from tokenizer.tokens.encode import encode_song, grid_song
from tokenizer.tokens.fields import compute

MISSING = "damaged dataset"  # the kind of reason in rejected.jsonl of songs that a repair had to leave out


@dataclass(frozen=True)
class Finding:
    """What is wrong, where (a file, and the row in it or None for all of it), and whether a repair mends it or leaves
    it out.
    """

    file: str
    row: int | None
    problem: str
    mendable: bool


@dataclass(frozen=True)
class Audited:
    """Of a shard: what is wrong in it; (hash, family) of its songs by (file, row); int64[724] how often it has each
    token.
    """

    findings: list[Finding]
    songs: dict[tuple[str, int], tuple[int, int]]
    token_counts: np.ndarray


def audit(folder: Path, workers: int = 0) -> list[Finding]:
    """Everything that is wrong with a dataset. Raises DatasetError where its manifest cannot be used."""
    manifest = read_manifest(folder)
    shards = shards_of(manifest)
    split_of = {entry["file"]: split for split, entry in shards}
    findings, places = [], {}
    counts = {split: np.zeros(vocab.SIZE, np.int64) for split in SPLITS}
    with tqdm(total=len(shards), desc="checking", unit="shard", disable=None) as progress:
        for name, audited in run(partial(_audit_shard, folder), [entry for _, entry in shards], workers, "local"):
            findings += audited.findings
            places |= audited.songs
            counts[split_of[name]] += audited.token_counts
            progress.update()
    if not findings:  # else they differ for that reason
        findings += _sums(manifest, counts)
    findings += _audit_rejected(folder, manifest) + _duplicates(places, split_of)
    return sorted(findings, key=lambda found: (found.file, found.row or 0, found.problem))


def missing_songs(folder: Path) -> list[str]:
    """Sources of the songs that a repair had to leave out. Raises DatasetError."""
    return [entry["source"] for entry in read_rejected(folder) if kind_of(entry["reason"]) == MISSING]


def _audit_shard(folder: Path, entry: dict) -> tuple[str, Audited]:
    """The file's name, and what is in it."""
    name, path, none = entry["file"], folder / entry["file"], np.zeros(vocab.SIZE, np.int64)
    try:
        batch = open_batch(path)
    except DatasetError as error:
        why = str(error).removeprefix(f"{path}: ").split(";")[0]
        return name, Audited([Finding(name, None, why, mendable=False)], {}, none)
    findings = []
    if file_digest(path) != entry["sha256"]:
        findings.append(Finding(name, None, "other bytes than the manifest says (sha256)", mendable=True))
    if batch.num_rows != entry["songs"]:
        findings.append(
            Finding(name, None, f"{batch.num_rows} songs, the manifest says {entry['songs']}", mendable=True)
        )
    songs, rows = {}, Rows(batch, path)
    for row in range(len(rows)):
        problem, mendable = problem_of(rows, row)
        if problem:
            findings.append(Finding(name, row, problem, mendable))
            if not mendable:
                continue
        songs[name, row] = (batch.column("hash")[row].as_py(), batch.column("family")[row].as_py())
    ids = batch.column("ids").flatten().to_numpy()
    return name, Audited(findings, songs, np.bincount(ids, minlength=vocab.SIZE)[: vocab.SIZE])


def _sums(manifest: dict, counts: dict[str, np.ndarray]) -> list[Finding]:
    """The manifest's sums against its shards, which are whole."""
    findings = []
    for split, part in manifest["splits"].items():
        for name in ("songs", "tokens"):
            if part[name] != (there := sum(entry[name] for entry in part["shards"])):
                findings.append(
                    Finding(MANIFEST, None, f"{part[name]} {split} {name}, the shards have {there}", mendable=True)
                )
        if part["token_counts"] != counts[split].tolist():
            findings.append(Finding(MANIFEST, None, f"the shards have other {split} token_counts", mendable=True))
    return findings


def _audit_rejected(folder: Path, manifest: dict) -> list[Finding]:
    path = folder / REJECTED
    try:
        kinds = Counter(kind_of(entry["reason"]) for entry in read_rejected(folder))
        if file_digest(path) != manifest["rejected_sha256"]:
            return [Finding(REJECTED, None, "other bytes than the manifest says (sha256)", mendable=True)]
    except DatasetError as error:
        return [Finding(REJECTED, None, str(error).removeprefix(f"{path}: ").split(";")[0], mendable=True)]
    if kinds != manifest["rejected"]:
        return [Finding(MANIFEST, None, f"it counts {manifest['rejected']}, {REJECTED} has {dict(kinds)}", True)]
    return []


# ---------------------------------------------------------------- rows


def problem_of(rows: Rows, row: int) -> tuple[str | None, bool]:
    """What is wrong with a row, or None; and whether its ids are a whole song, from which the rest can be made again.
    Nothing is made again of a row with a wrong digest: which of its columns is wrong, it does not say. What is kept
    beside the tokens does not follow from them; where it cannot be, a repair goes on without it.
    """
    if problem := rows.problem(row):
        return problem, False
    ids = rows.values("ids", row).astype(np.int32)
    if problem := grammar_problem(ids):
        return problem, False
    tempos, told, impossible = beside(rows, row)
    if impossible:
        return impossible, True
    there, expected = rows.batch.slice(row, 1), record_batch([to_row(compute(ids), rows.source(row), tempos, told)])
    names = [field.name for field in fields(StoredSong)]
    wrong = [name for name in names if not there.column(name).equals(expected.column(name))]
    return (f"its {', '.join(wrong)} do not follow from its tokens" if wrong else None), True


def beside(rows: Rows, row: int) -> tuple[Tempos, str, str | None]:
    """What a row keeps beside its tokens: its tempo map and what it tells, each empty where it cannot be; and why one
    cannot, or None.
    """
    tempos, told, problems = (), rows.told(row), []
    if why := _tempo_problem(*(rows.values(name, row).astype(np.int64) for name in TEMPOS)):
        problems.append(why)
    else:
        tempos = tempos_of(rows, row)
    try:
        parse_told(told)
    except ValueError as error:
        told = ""
        problems.append(str(error))
    return tempos, told, "; ".join(problems) or None


def _tempo_problem(ticks: np.ndarray, microseconds: np.ndarray) -> str | None:
    """Why int64[N] and int64[N] are no tempo map, which an empty one is; or None."""
    if len(ticks) != len(microseconds):
        return f"its tempo map has {len(ticks)} places and {len(microseconds)} tempi"
    if len(ticks) and (ticks[0] != 0 or (np.diff(ticks) <= 0).any()):
        return "its tempo map is out of order, or does not begin at 0"
    if len(ticks) and not 1 <= microseconds.min() <= microseconds.max() <= SLOWEST:
        return f"its tempo map has a beat that does not last 1 to {SLOWEST} microseconds"
    return None


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
