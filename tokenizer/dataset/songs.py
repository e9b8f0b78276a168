"""A song as a row of a dataset and back (prepare, repair), and all songs of a dataset (loading, training). What files
they lie in: files.py.
"""

import hashlib
import json
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from configs import InputError
from tokenizer import vocabulary as vocab
from tokenizer.dataset.files import (
    DIGEST,
    FIELD_TYPES,
    SCHEMA,
    SPLITS,
    DatasetError,
    Split,
    read_manifest,
    read_mixture,
    shards_of,
)
from tokenizer.dataset.shards import TEMPOS, Damaged, Rows, open_shard, with_digests
from tokenizer.grid.meter import Bars
from tokenizer.grid.tempo_map import Tempos, length
from tokenizer.music.score import DRUMS, Tempo
from tokenizer.tokens.encode import bar_maps
from tokenizer.tokens.fields import KIND_PITCH, OUTSIDE, TokenFields
from tokenizer.vocabulary import CLASS, TOKEN, VALUE, Class

NO_COUNT = 0xFFFF  # OUTSIDE where a field is stored unsigned: onset, span


class SongTooLong(InputError):
    """A song with more bars, notes or spans than the stored types can count."""


# ---------------------------------------------------------------- a song as a row


@dataclass(frozen=True)
class StoredSong:
    """One row of a shard: the columns of SCHEMA but for the digest, which is made when it is written."""

    ids: np.ndarray
    bar: np.ndarray
    instrument: np.ndarray
    kind: np.ndarray
    onset: np.ndarray
    span: np.ndarray
    bar_tokens: np.ndarray
    bar_spans: np.ndarray
    tracks: int
    notes: int
    seconds: float
    source: str
    hash: int
    family: int
    tempo_ticks: np.ndarray
    tempo_microseconds: np.ndarray
    told: str


def to_row(tokens: TokenFields, source: str, tempos: Tempos = (), told: str = "") -> StoredSong:
    """A song in the stored types. tempos: its own tempo map in ticks of the grid (see own_tempos), none where it is not
    known. told: a JSON object of what reading it changed. Raises SongTooLong rather than let a number wrap. Inverse:
    Songs[i], Songs.tempos and Songs.told.
    """
    for name in ("bar", "onset", "span"):
        limit = np.iinfo(FIELD_TYPES[name]).max - 1
        if int(getattr(tokens, name).max(initial=0)) > limit:
            raise SongTooLong(f"{name} counts past {limit}, more than a dataset stores; split the song")
    columns = {}
    for name, dtype in FIELD_TYPES.items():
        values = getattr(tokens, name)
        columns[name] = (
            np.where(values == OUTSIDE, NO_COUNT, values).astype(dtype)
            if name in ("onset", "span")
            else values.astype(dtype)
        )
    inside = tokens.bar[tokens.bar >= 0]
    signature, tempo, _ = bar_maps(tokens)
    bars, class_ = Bars(signature), CLASS[tokens.ids]
    first = np.flatnonzero(bars.part == 0)[bars.measure]  # of the measure of each bar
    is_chord = (class_ == Class.CHORD) & (tokens.bar >= 0)
    n_bars = int(inside.max(initial=OUTSIDE)) + 1
    bar_tokens, bar_spans = (np.bincount(first[bar], minlength=n_bars) for bar in (inside, tokens.bar[is_chord]))
    if int(bar_tokens.max(initial=0)) > 0xFFFF:
        raise SongTooLong("one bar holds more than 65535 tokens")
    return StoredSong(
        **columns,
        bar_tokens=bar_tokens.astype(np.uint16),
        bar_spans=bar_spans.astype(np.uint16),
        tracks=int((class_ == Class.TRACK).sum()),
        notes=int((tokens.kind == KIND_PITCH).sum()),
        seconds=length(bars, tempo, tempos),
        source=source,
        hash=music_hash(tokens),
        family=music_hash(tokens, any_key=True),
        tempo_ticks=np.array([tempo.tick for tempo in tempos], np.int32),
        tempo_microseconds=np.array([tempo.microseconds_per_beat for tempo in tempos], np.int32),
        told=told,
    )


def music_hash(tokens: TokenFields, any_key: bool = False) -> int:
    """64 bits of what is played: signatures, programs, onsets, pitches, durations and velocities on the grid. Neither
    tempo nor chords, which follow from the notes. any_key: the same for every transposition of the pitched tracks.
    """
    ids = tokens.ids.copy()
    if any_key:
        pitched = (tokens.kind == KIND_PITCH) & (tokens.instrument != DRUMS)
        pitches = VALUE[ids[pitched]]
        ids[pitched] = TOKEN[Class.PITCH][pitches - pitches.min(initial=vocab.N_PITCHES)]
    class_ = CLASS[tokens.ids]
    ids[class_ == Class.CHORD] = TOKEN[Class.CHORD][0]
    ids = ids[class_ != Class.TEMPO]
    return int.from_bytes(hashlib.sha256(ids.astype("<u2").tobytes()).digest()[:8], "big")


def record_batch(songs: Sequence[StoredSong]) -> pa.RecordBatch:
    """The rows, with their digests."""
    schema = pa.schema([field for field in SCHEMA if field.name != DIGEST])
    columns = [pa.array([getattr(song, field.name) for song in songs], field.type) for field in schema]
    return with_digests(pa.record_batch(columns, schema=schema))


# ---------------------------------------------------------------- all songs


class Songs(Sequence):
    """The songs of one split, memory-mapped; songs[i] is song i's TokenFields, songs[-1] the last one's, songs[2:5] are
    a list.

    tokens, spans, bars, tracks: int64[len], sizes of each song. weight: float64[len], how often an epoch has it.
    part_weight: float64[len], the weight of the mixture's part that it is in.
    """

    def __init__(self, shards: list[Rows], weights: list[float], token_counts: np.ndarray):
        """weights: of the songs of each shard. token_counts: see there."""
        self.weight = np.concatenate(
            [np.zeros(0), *(np.full(len(rows), weight) for rows, weight in zip(shards, weights, strict=True))]
        )
        self.part_weight = self.weight.copy()
        self._shards = [rows for rows in shards if len(rows)]
        self._starts = np.cumsum([0, *map(len, self._shards)])
        self._token_counts = token_counts
        batches = [rows.batch for rows in self._shards]
        self.tokens = _concatenated([np.diff(batch.column("ids").offsets.to_numpy()) for batch in batches])
        self.bars = _concatenated([np.diff(batch.column("bar_tokens").offsets.to_numpy()) for batch in batches])
        self.tracks = _concatenated([batch.column("tracks").to_numpy() for batch in batches])
        self.spans = _concatenated([_sums(batch.column("bar_spans")) for batch in batches])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int | slice) -> TokenFields | list[TokenFields]:
        """Raises IndexError where there is no such song, DatasetError where the stored song is damaged."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        rows, row = self._place(index)
        rows.verify(row)
        stored = {name: rows.values(name, row) for name in FIELD_TYPES}
        columns = {name: values.astype(np.int32) for name, values in stored.items()}
        for name in ("onset", "span"):
            columns[name][stored[name] == NO_COUNT] = OUTSIDE
        return TokenFields(**columns)

    def bar_sizes(self, songs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and spans of every bar number over all tracks, song after song: uint16[bars of all songs] each."""
        bars = self.bars[songs]
        starts = np.cumsum(bars) - bars
        sizes = np.zeros((2, int(bars.sum())), np.uint16)
        shard_of = np.searchsorted(self._starts, songs, side="right") - 1
        for shard in np.unique(shard_of).tolist():
            here = np.flatnonzero(shard_of == shard)
            for size, name in zip(sizes, ("bar_tokens", "bar_spans"), strict=True):
                column = self._shards[shard].batch.column(name)
                begins = column.offsets.to_numpy()[songs[here] - self._starts[shard]]
                size[ranges(starts[here], bars[here])] = column.values.to_numpy()[ranges(begins, bars[here])]
        return sizes[0], sizes[1]

    def value(self, name: str, index: int) -> int | float | str:
        """A song's source, hash, family, notes, seconds or tracks."""
        rows, row = self._place(index)
        return rows.batch.column(name)[row].as_py()

    def source(self, index: int) -> str:
        return self.value("source", index)

    def hash(self, index: int) -> int:
        return self.value("hash", index)

    def tempos(self, index: int) -> Tempos:
        """A song's own tempo map in ticks of the grid, 480 a beat; empty where none is known. Raises DatasetError."""
        rows, row = self._place(index)
        rows.verify(row)
        return tempos_of(rows, row)

    def told(self, index: int) -> dict:
        """What reading a song changed, as prepare told it; empty where nothing is known. Raises DatasetError."""
        rows, row = self._place(index)
        rows.verify(row)
        try:
            return parse_told(rows.told(row))
        except ValueError as error:
            raise Damaged(f"{rows.path} row {row} ({rows.source(row)}): {error}") from error

    def column(self, name: str) -> np.ndarray:
        """[len]: one of the numbers of every song."""
        none = np.zeros(0, SCHEMA.field(name).type.to_pandas_dtype())
        return np.concatenate([none, *(rows.batch.column(name).to_numpy() for rows in self._shards)])

    def token_counts(self) -> np.ndarray:
        """int64[724]: how often each token occurs in the split's files, whatever the songs' weights."""
        return self._token_counts.copy()

    def _place(self, index: int) -> tuple[Rows, int]:
        """The shard that holds a song, and its row there; a negative index counts from the end."""
        number = operator.index(index)
        if number < 0:
            number += len(self)
        if not 0 <= number < len(self):
            raise IndexError(f"song {index}: there are {len(self)}")
        shard = int(np.searchsorted(self._starts, number, side="right")) - 1
        return self._shards[shard], int(number - self._starts[shard])


def tempos_of(rows: Rows, row: int) -> Tempos:
    """The tempo map of a row, as it is stored."""
    return tuple(map(Tempo, *(rows.values(name, row).tolist() for name in TEMPOS)))


def parse_told(told: str) -> dict:
    """What a row tells, {} where that is nothing. Raises ValueError."""
    if not told:
        return {}
    try:
        changes = json.loads(told)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"what it tells is no JSON ({error})") from error
    if not isinstance(changes, dict):
        raise ValueError("what it tells is no JSON object")
    return changes


def _concatenated(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int64)


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """int64[sum of counts]: starts[0], starts[0] + 1, ... counts[0] of them, then those from
    starts[1] on, and so on.
    """
    return np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())


def _sums(column: pa.ListArray) -> np.ndarray:
    totals = np.concatenate([[0], np.cumsum(column.values.to_numpy(), dtype=np.int64)])
    return np.diff(totals[column.offsets.to_numpy()])


class Dataset:
    """A dataset made by `prepare`, or a mixture of some: dataset["train"] and dataset["validation"] are Songs, of which
    the latter may be empty; so is dataset["test"] where prepare was asked for one. manifest: what prepare wrote (of a
    mixture: of its first dataset). notices: what whoever trains on it should know.

    A song that is held out in one part of a mixture, in whatever key, has weight 0 in the others: one that validates
    where others train on it, and one of a test where they train on it or validate with it.
    Manifests and the structure of the files are checked on opening, each song when it is loaded. Raises DatasetError.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        weights = read_mixture(self.folder)
        manifests = {part: read_manifest(part) for part in weights}
        self.manifest = next(iter(manifests.values()))
        self._described = [
            (str(weights[part]), split, s["sha256"]) for part in weights for split, s in shards_of(manifests[part])
        ]
        self._splits, part_of = {}, {}
        for split in dict.fromkeys(name for manifest in manifests.values() for name in manifest["splits"]):
            entries = [(part, entry) for part in weights for of, entry in shards_of(manifests[part]) if of == split]
            shards = [open_shard(part / entry["file"], entry) for part, entry in entries]
            described = [manifest["splits"].get(split) for manifest in manifests.values()]
            counts = sum(np.array(there["token_counts"]) for there in described if there)
            self._splits[split] = Songs(shards, [weights[part] for part, _ in entries], counts)
            numbers = [list(weights).index(part) for part, _ in entries]
            part_of[split] = np.repeat(np.array(numbers, int), list(map(len, shards)))
        for split in self._splits.keys() - {"train"}:
            self[split].weight[:] = 1
        if not len(self["train"]):
            raise DatasetError(f"{self.folder}: no train songs; prepare a dataset from at least one song")
        self.notices = self._hold_out(list(weights), part_of)
        if not self["train"].weight.any():
            raise DatasetError(f"{self.folder}: no train songs: each is held out in another part of the mixture")

    def _hold_out(self, parts: list[Path], part_of: dict[Split, np.ndarray]) -> list[str]:
        """Takes out of each split the songs that another part keeps for a later one; says how many, by part. part_of:
        number of the part that each song of a split is from.
        """
        notices = []
        for split, done in (("train", "trained on"), ("validation", "used to validate")):
            held_out = np.zeros(len(self[split]), bool)
            for number, part in enumerate(parts if len(parts) > 1 else []):
                for other_number, other in enumerate(parts):
                    shared = (part_of[split] == number) & self._kept_for_later(split, part_of, other_number)
                    held_out |= shared
                    if shared.any():
                        notices.append(f"{shared.sum()} songs of {part} are held out in {other}: not {done}")
            self[split].weight[held_out] = 0
            if held_out.any():
                self._described.append(("held out", int(held_out.sum())))
        return notices

    def _kept_for_later(self, split: Split, part_of: dict[Split, np.ndarray], number: int) -> np.ndarray:
        """bool[songs of the split]: whether a part has them in a split that comes after this one, in whatever key."""
        later = [name for name in SPLITS[SPLITS.index(split) + 1 :] if name in part_of]
        families = [self[name].column("family")[part_of[name] == number] for name in later]
        return np.isin(self[split].column("family"), np.concatenate([np.zeros(0, np.uint64), *families]))

    def __getitem__(self, split: Split) -> Songs:
        if split not in self._splits:
            raise DatasetError(f"{self.folder}: no split {split!r}; there are {', '.join(self._splits)}")
        return self._splits[split]

    def __contains__(self, split: object) -> bool:
        return split in self._splits

    def __iter__(self) -> Iterator[Split]:
        return iter(self._splits)

    def __len__(self) -> int:
        return len(self._splits)

    def __reduce__(self):
        return Dataset, (self.folder,)  # another process maps the files itself

    @property
    def fingerprint(self) -> str:
        """Of the music, its order and how often it is trained on: two datasets with one fingerprint give the same
        batches.
        """
        return hashlib.sha256(json.dumps(self._described).encode()).hexdigest()[:16]
