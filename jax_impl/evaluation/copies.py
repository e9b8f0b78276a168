"""What a song has of the songs that a model was trained on: the longest passage that both have, and the bars that occur
there. No JAX, no model: notes against notes, each compared as copies_notes.py says.

A **passage** is a run of notes of one track, in order of onset and then pitch, that a track of a training song has too:
the same steps of pitch from note to note (so in whatever key, since training varies it) and the same distances of
onsets in 1/24 of a quarter, wherever in the bar. No pause in it is longer than 8 quarters. Lengths, loudness and
instruments are not compared. Passages of fewer than three pitch classes say nothing (trills, repeated notes) and are
none. The longest is the one with the most notes that are not said again within it: `distinct` counts a figure of eight
steps that comes back in the passage once, so that an ostinato of a page is no longer than its first turns. Of those the
one with the most notes.

A **bar** is known where a track of a training song has a measure with the same onsets and the same pitches above its
first note. Measures of a track with fewer than four notes or three pitch classes are not counted.

Drums have no key: their pitches are compared as they are, three drums stand for three pitch classes, and they are told
apart from the rest, since beats are common goods.

Real songs share passages and bars with others, too: `compare` says how much those held out do.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from configs import InputError
from jax_impl.evaluation import copies_index
from jax_impl.evaluation.copies_index import Damaged, Held
from jax_impl.evaluation.copies_notes import FEWEST_PITCHES, Lines, lines
from tokenizer.dataset.songs import Dataset
from tokenizer.music import instruments
from tokenizer.music.score import DRUMS
from tokenizer.tokens.crop import crop
from tokenizer.tokens.fields import KIND_PITCH, TokenFields

FIGURE = 8  # steps from note to note that are said again
QUARTERS = ("quartile_1", "median", "quartile_3", "max")


@dataclass(frozen=True)
class Passage:
    """notes: how many it has. distinct: but for those that are said again within it. instrument: of the song's track.
    bars: the first and the last measure in the song, from 1. song, song_bars: the same of the training song. semitones:
    by which the song is higher than the training song.
    """

    notes: int
    distinct: int
    instrument: str
    bars: tuple[int, int]
    song: str
    song_bars: tuple[int, int]
    semitones: int

    def __str__(self) -> str:
        key = f", {self.semitones:+} semitones" if self.semitones else ""
        where = f"({self.instrument}, {_bars(self.bars)}) = song {self.song} {_bars(self.song_bars)}{key}"
        again = "" if self.notes == self.distinct else f", {self.distinct} without what it says again"
        return f"{self.notes} notes{again} {where}"


@dataclass(frozen=True)
class Known:
    """Of the measures of all tracks that are counted, how many a training song has."""

    known: int
    counted: int

    @property
    def share(self) -> float | None:
        """None where none is counted."""
        return self.known / self.counted if self.counted else None


@dataclass(frozen=True)
class Copies:
    """What a song has of training songs, of pitched tracks and of drums; None: no passage at all."""

    longest: Passage | None
    longest_drums: Passage | None
    bars_known: Known
    drum_bars_known: Known

    def plain(self) -> dict:
        """As JSON values."""
        passages = {name: getattr(self, name) for name in ("longest", "longest_drums")}
        shares = {name: getattr(self, name) for name in ("bars_known", "drum_bars_known")}
        return {
            **{name: found and _listed(asdict(found)) for name, found in passages.items()},
            **{name: asdict(found) | {"share": found.share} for name, found in shares.items()},
        }


def _listed(values: dict) -> dict:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _bars(bars: tuple[int, int]) -> str:
    first, last = bars
    return f"bar {first}" if first == last else f"bars {first}-{last}"


# ---------------------------------------------------------------- one song


def open_index(dataset: Path | Dataset, progress: bool = True, folder: Path | None = None) -> "Index":
    """What the training songs of a dataset hold. Made where it is not there yet, once, in about 10 seconds for 1800
    songs; with a notice and a progress bar, where progress says so.

    folder: where it is kept, rather than where HID_CACHE or XDG_CACHE_HOME say. Raises InputError: DatasetError,
    WriteError where it can be kept nowhere, Busy while another process makes it.
    """
    dataset = dataset if isinstance(dataset, Dataset) else Dataset(dataset)
    folder = copies_index.folder_of(dataset.fingerprint) if folder is None else Path(folder)
    return Index(dataset, folder, copies_index.open_or_make(dataset, folder, progress), progress)


class Index:
    """Of one dataset; as open_index makes it."""

    def __init__(self, dataset: Dataset, folder: Path, held: tuple[Held, Held], progress: bool):
        self.dataset, self.folder = dataset, folder
        self._held, self._progress = held, progress

    @property
    def songs(self) -> int:
        """How many it holds."""
        return int(np.count_nonzero(self.dataset["train"].weight))

    def copies(self, tokens: TokenFields) -> Copies:
        """Of a song of well-formed tokens (encode gives them of any Score). An index that turns out to be damaged is
        made anew. Raises InputError where that cannot be.
        """
        if not isinstance(tokens, TokenFields):
            raise InputError(f"a song must be its tokens (tokenizer.encode), got {type(tokens).__name__}")
        try:
            return self._copies(tokens)
        except (IndexError, Damaged):
            copies_index.make(self.dataset, self.folder, self._progress)
            self._held = copies_index.opened(self.folder)
            return self._copies(tokens)

    def _copies(self, tokens: TokenFields) -> Copies:
        parts = lines(tokens)
        longest = [self._longest(part, kind) for kind, part in enumerate(parts)]
        return Copies(*longest, *(_known(part.bars, held.bars) for part, held in zip(parts, self._held, strict=True)))

    def _longest(self, part: Lines, kind: int) -> Passage | None:
        """kind: 0 pitched tracks, 1 drums. Raises IndexError and Damaged where the index is not what was written."""
        held = self._held[kind]
        alike, place = held.places.longest(part.symbols)
        # k symbols are the steps between k + 1 notes, or k drums and their distances to the next
        notes = (alike + 1) // 2 if kind else np.where(alike >= 2, alike // 2 + 1, 0)
        if (found := _best(part, notes)) is None:
            return None
        first, distinct = found
        stop, place = first + int(notes[first]), int(place[first])
        number = int(np.searchsorted(held.songs, place, side="right")) - 1
        there, own = lines(self.dataset["train"][number])[kind], slice(first, stop)
        place -= int(held.songs[number])
        same = slice(place, place + stop - first)
        if not (
            np.array_equal(there.symbols[same][:-1], part.symbols[own][:-1])
            and np.array_equal(np.diff(there.pitch[same]), np.diff(part.pitch[own]))
        ):
            raise Damaged(f"{self.folder}: song {number} has no such passage")
        return Passage(
            notes=stop - first,
            distinct=distinct,
            instrument=instruments.name(int(part.program[first])),
            bars=_measures(part, own),
            song=self.dataset["train"].source(number),
            song_bars=_measures(there, same),
            semitones=int(part.pitch[first] - there.pitch[place]),
        )


def _measures(part: Lines, notes: slice) -> tuple[int, int]:
    return int(part.measure[notes][0]) + 1, int(part.measure[notes][-1]) + 1


def _best(part: Lines, notes: np.ndarray) -> tuple[int, int] | None:
    """Where the longest passage begins, and how many of its notes are not said again; None: there is none. notes:
    int64[N], how many from each place on are some training song's.
    """
    best, at = None, np.arange(len(notes))
    is_whole = np.diff(at + notes, prepend=-1) > 0  # others end a passage that begins earlier
    whole = np.flatnonzero(is_whole & (notes >= FEWEST_PITCHES))
    for first in whole[np.argsort(-notes[whole], kind="stable")].tolist():
        if best and notes[first] <= best[1]:
            break
        own = slice(first, first + int(notes[first]))
        pitch = part.pitch[own]
        if len(np.unique(pitch if part.program[first] == DRUMS else pitch % 12)) >= FEWEST_PITCHES:
            distinct = _distinct(part.symbols[own])
            if best is None or distinct > best[1]:
                best = first, distinct
    return best


def _distinct(symbols: np.ndarray) -> int:
    """Of so many notes, how many do not end a figure that has been before; the last one's symbol is not looked at."""
    if len(symbols) <= FIGURE:
        return len(symbols)
    figures = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(symbols[:-1], FIGURE))
    return len(symbols) - len(figures) + len(np.unique(figures.view(f"S{2 * FIGURE}")))


def _known(bars: np.ndarray, there: np.ndarray) -> Known:
    """there: uint64[], sorted."""
    if not len(bars) or not len(there):
        return Known(0, len(bars))
    at = np.minimum(np.searchsorted(there, bars), len(there) - 1)
    return Known(int(np.count_nonzero(there[at] == bars)), len(bars))


# ---------------------------------------------------------------- many songs


def compare(samples: Sequence[TokenFields], held_out: Sequence[TokenFields], index: Index) -> dict:
    """What samples have of training songs, beside what real songs have that were held out, as JSON values. Of each of
    those the bars in its middle, as many as samples have (their median): longer songs share longer passages.
    """
    bars = int(np.median([_n_bars(song) for song in samples])) if len(samples) else 0
    cut = [crop(song, max(_n_bars(song) - bars, 0) // 2, bars) for song in held_out] if bars else []
    of_samples, of_held_out = ([index.copies(song) for song in songs] for songs in (samples, cut))
    return {
        "training_songs": index.songs,
        "bars": bars,
        "samples": [found.plain() for found in of_samples],
        "of_samples": _summary(samples, of_samples),
        "held_out": _summary(cut, of_held_out),
    }


def _n_bars(song: TokenFields) -> int:
    """Bars as the model counts them: a long measure has two."""
    return int(song.bar.max(initial=-1)) + 1


def _summary(songs: Sequence[TokenFields], found: list[Copies]) -> dict:
    """Of songs that have pitched tracks (or drums): quartiles and maximum of the notes of their longest passages that
    are not said again, 0 where there is none. Of those that have bars which count: the mean share that is known.
    """
    is_drums = [song.instrument[song.kind == KIND_PITCH] == DRUMS for song in songs]
    said: dict = {"songs": len(songs)}
    for name, has in (("longest", [not drums.all() for drums in is_drums]), ("longest_drums", map(any, is_drums))):
        passages = [getattr(one, name) for one, has_any in zip(found, has, strict=True) if has_any]
        lengths = [passage.distinct if passage else 0 for passage in passages]
        quarters = np.percentile(lengths, [25, 50, 75, 100]).tolist() if lengths else [None] * 4
        said[name] = {"songs": len(lengths)} | dict(zip(QUARTERS, quarters, strict=True))
    for name in ("bars_known", "drum_bars_known"):
        shares = [getattr(one, name).share for one in found]
        shares = [share for share in shares if share is not None]
        said[name] = {"songs": len(shares), "mean": float(np.mean(shares)) if shares else None}
    return said
