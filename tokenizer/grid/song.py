"""GridSong: a song on the grid, between Score and tokens: quantize makes it, encode reads it. Everything in it is
something the vocabulary can say.
"""

from dataclasses import dataclass

import numpy as np

from tokenizer.grid.meter import STEP_TICKS, TICKS_PER_BEAT, Bars
from tokenizer.music.score import DRUMS, NOTE, Score, Signature, Tempo, Track
from tokenizer.vocabulary import DURATIONS, SIGNATURES, TEMPOS_BPM, bin_velocity

TEMPO_MICROSECONDS = np.array([round(60e6 / bpm) for bpm in TEMPOS_BPM], np.int64)  # of a beat, per tempo bin

# One note: which bar, its place there and its duration in fine steps (1/24 of a quarter) that the vocabulary has, MIDI
# pitch, velocity bin (0-31).
GRID_NOTE = np.dtype(
    [("bar", np.int32), ("step", np.int32), ("pitch", np.int32), ("duration", np.int32), ("velocity", np.int32)]
)

# HID order of tracks: drums, bass, piano, guitar, organ, pads, strings, chromatic percussion, winds, leads, synth
# effects, the rest.
_GROUPS = (
    (DRUMS, DRUMS + 1),
    (32, 40),
    (0, 8),
    (24, 32),
    (16, 24),
    (88, 96),
    (40, 52),
    (8, 16),
    (56, 80),
    (80, 88),
    (96, 104),
    (0, 128),
)
_ORDER = list(dict.fromkeys(program for first, end in _GROUPS for program in range(first, end)))
HID_RANK = {program: rank for rank, program in enumerate(_ORDER)}


@dataclass(frozen=True, eq=False)
class GridTrack:
    """program: 0-127, 128 drums. notes: GRID_NOTE[N], N > 0, sorted by (bar, step, pitch);
    no two of one pitch overlap.
    """

    program: int
    notes: np.ndarray


@dataclass(frozen=True, eq=False)
class GridSong:
    """bars: of the whole song, up to the one of the last onset (one bar if there is no note). tempo: int32[bars] bin of
    each bar.
    tracks: in HID order, stable, none empty."""

    bars: Bars
    tempo: np.ndarray
    tracks: tuple[GridTrack, ...]

    def to_score(self) -> Score:
        """At 480 ticks per beat; tempo and signature maps hold the changes."""
        starts = self.bars.start_ticks
        tempos = [Tempo(int(starts[bar]), int(TEMPO_MICROSECONDS[self.tempo[bar]])) for bar in _changes(self.tempo)]
        signatures = [
            Signature(int(starts[bar]), *SIGNATURES[self.bars.signature[bar]]) for bar in _changes(self.bars.signature)
        ]
        tracks = [Track(track.program, self._score_notes(track.notes)) for track in self.tracks]
        return Score(TICKS_PER_BEAT, tuple(tracks), tuple(tempos), tuple(signatures))

    def _score_notes(self, notes: np.ndarray) -> np.ndarray:
        out = np.empty(len(notes), NOTE)
        out["onset_ticks"] = self.bars.start_ticks[notes["bar"]] + notes["step"] * STEP_TICKS
        out["duration_ticks"] = notes["duration"] * STEP_TICKS
        out["pitch"], out["velocity"] = notes["pitch"], bin_velocity(notes["velocity"])
        return out


def make_song(bars: Bars, tempo: np.ndarray, tracks: list[tuple[int, np.ndarray]]) -> GridSong:
    """A GridSong of any notes GRID_NOTE that stand on the grid: overlaps resolved, sorted, trimmed to the last onset's
    bar.
    """
    kept = [GridTrack(program, resolve_overlaps(notes, bars)) for program, notes in tracks if len(notes)]
    kept.sort(key=lambda track: HID_RANK[track.program])
    n_bars = 1 + max((int(track.notes["bar"][-1]) for track in kept), default=0)
    return GridSong(Bars(bars.signature[:n_bars]), tempo[:n_bars], tuple(kept))


def resolve_overlaps(notes: np.ndarray, bars: Bars) -> np.ndarray:
    """Sorted by (bar, step, pitch). Equal onsets of a pitch merge into the longest and loudest, and so do onsets nearer
    than the shortest note; an earlier note of a pitch ends where a later one begins, or as far before that as there is
    no such duration.
    """
    notes = notes[np.lexsort((notes["duration"], notes["step"], notes["bar"], notes["pitch"]))]
    time = bars.start_ticks[notes["bar"]] // STEP_TICKS + notes["step"]
    first = _first_of_each(notes["pitch"], time)
    merged, ends = notes[first], np.maximum.reduceat(time + notes["duration"], first)
    merged["velocity"] = np.maximum.reduceat(notes["velocity"], first)

    begins_next = np.where(np.diff(merged["pitch"]) == 0, time[first][1:], ends[:-1])
    ends[:-1] = np.minimum(ends[:-1], begins_next)
    merged["duration"] = DURATIONS[np.searchsorted(DURATIONS, ends - time[first], side="right") - 1]
    return merged[np.lexsort((merged["pitch"], merged["step"], merged["bar"]))]


def _first_of_each(pitch: np.ndarray, time: np.ndarray) -> np.ndarray:
    """int[]: of notes sorted by (pitch, time), those that begin the shortest note's length or more after the one of
    their pitch before that is there itself.
    """
    shortest = DURATIONS[0]
    is_near = (np.diff(pitch) == 0) & (np.diff(time) < shortest)
    keeps = np.append(True, ~is_near)
    if (is_near & (np.diff(time) > 0)).any():  # several that are near each other may not be near the first
        last = -1
        for index in range(len(time)):
            keeps[index] = last < 0 or pitch[index] != pitch[last] or time[index] - time[last] >= shortest
            last = index if keeps[index] else last
    return np.flatnonzero(keeps)


def _changes(values: np.ndarray) -> list[int]:
    """Indices at which a value differs from the one before; 0 always."""
    return np.flatnonzero(np.diff(values, prepend=values[0] - 1)).tolist()
