"""GridSong: a song on the grid, between Score and tokens: quantize makes it, encode reads it. Everything in it is
something the vocabulary can say.
"""

from dataclasses import dataclass

import numpy as np

from tokenizer.grid.meter import TICKS_PER_BEAT, Bars
from tokenizer.music.score import DRUMS, NOTE, Score, Signature, Tempo, Track
from tokenizer.vocabulary import N_DURATIONS, SIGNATURES, TEMPOS_BPM, bin_velocity

TEMPO_MICROSECONDS = np.array([round(60e6 / bpm) for bpm in TEMPOS_BPM], np.int64)  # of a beat, per tempo bin

# One note: which bar, grid step in it, MIDI pitch, duration in grid steps of its bar (1-64), velocity bin (0-31).
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
        step_ticks = self.bars.step_ticks[notes["bar"]]
        out = np.empty(len(notes), NOTE)
        out["onset_ticks"] = self.bars.start_ticks[notes["bar"]] + notes["step"] * step_ticks
        out["duration_ticks"] = notes["duration"] * step_ticks
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
    """Sorted by (bar, step, pitch). Equal onsets of a pitch merge into the longest and loudest; an earlier note of a
    pitch ends where a later one begins, or on the last step of its own grid before that (the two bars may have
    different grids).
    """
    notes = notes[np.lexsort((notes["duration"], notes["step"], notes["bar"], notes["pitch"]))]
    same = (
        (notes["pitch"][1:] == notes["pitch"][:-1])
        & (notes["bar"][1:] == notes["bar"][:-1])
        & (notes["step"][1:] == notes["step"][:-1])
    )
    first = np.flatnonzero(np.concatenate([[True], ~same]))
    merged = notes[np.append(first[1:] - 1, len(notes) - 1)]  # the last of equal onsets is the longest
    merged["velocity"] = np.maximum.reduceat(notes["velocity"], first)

    step_ticks = bars.step_ticks[merged["bar"]]
    onset = bars.start_ticks[merged["bar"]] + merged["step"] * step_ticks
    gap = (onset[1:] - onset[:-1]) // step_ticks[:-1]
    room = np.where(merged["pitch"][1:] == merged["pitch"][:-1], gap, N_DURATIONS)
    merged["duration"][:-1] = np.minimum(merged["duration"][:-1], room)
    return merged[np.lexsort((merged["pitch"], merged["step"], merged["bar"]))]


def _changes(values: np.ndarray) -> list[int]:
    """Indices at which a value differs from the one before; 0 always."""
    return np.flatnonzero(np.diff(values, prepend=values[0] - 1)).tolist()
