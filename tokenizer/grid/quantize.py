"""Score to grid: every time, tempo and velocity rounded to what the vocabulary can say.
Integer arithmetic throughout. It is tokenizer.snap, and encode begins with it.
"""

from dataclasses import dataclass

import numpy as np

from tokenizer.grid import divisions, lengths
from tokenizer.grid.meter import STEP_TICKS, TICKS_PER_BEAT, Layout, lay_bars
from tokenizer.grid.song import GRID_NOTE, GridSong, make_song
from tokenizer.music.score import Score
from tokenizer.vocabulary import TEMPOS_BPM, velocity_bin

_TEMPO_EDGES = (np.array(TEMPOS_BPM[1:]) + np.array(TEMPOS_BPM[:-1])) / 2  # of two equally near bins the lower wins


def snap(score: Score) -> Score:
    """The score on the grid, at 480 ticks per beat: exactly what its tokens decode to. snap(snap(x)) == snap(x).

    Raises ScoreTooLong.
    """
    return quantize(score).to_score()


@dataclass(frozen=True, eq=False)
class OnGrid:
    """A score on the grid. layout: where its time lies there. notes: of each track of the score GRID_NOTE[N], in their
    order, each as it lies there by itself. song: what they make, one after another where one pitch overlaps.
    """

    layout: Layout
    notes: tuple[np.ndarray, ...]
    song: GridSong


def quantize(score: Score) -> GridSong:
    """The score on the grid. Raises ScoreTooLong."""
    return on_grid(score).song


def on_grid(score: Score) -> OnGrid:
    """The score on the grid, and how it came there. Raises ScoreTooLong."""
    layout = layout_of(score)
    notes = tuple(grid_notes(track.notes, score.ticks_per_beat, layout) for track in score.tracks)
    programs = [track.program for track in score.tracks]
    song = make_song(layout.bars, _bar_tempos(score, layout), list(zip(programs, notes, strict=True)))
    return OnGrid(layout, notes, song)


def layout_of(score: Score) -> Layout:
    """The bars of the score, and where its time lies in theirs. Raises ScoreTooLong."""
    last_tick = max((int(track.notes["onset_ticks"].max()) for track in score.tracks if len(track.notes)), default=0)
    return lay_bars(score, last_tick)


# Times are compared in units of 1 / (480 * ticks_per_beat) beats, in which ticks of the source and of the grid are both
# whole.


def grid_notes(notes: np.ndarray, ticks_per_beat: int, layout: Layout) -> np.ndarray:
    """GRID_NOTE[N] of the notes NOTE[N] of a track, in their order. Onsets go to the places that divisions says, past
    the last one of a bar to the next bar.
    """
    starts = layout.bars.start_ticks
    onset = grid_time(notes["onset_ticks"], ticks_per_beat, layout)
    bar = np.searchsorted(starts * ticks_per_beat, onset, side="right") - 1
    quarter = TICKS_PER_BEAT * ticks_per_beat
    bar_steps = np.diff(starts)[bar] // STEP_TICKS
    step = divisions.places(bar, onset - starts[bar] * ticks_per_beat, bar_steps, quarter)
    past = starts[bar] + step * STEP_TICKS >= starts[bar + 1]
    out = np.empty(len(notes), GRID_NOTE)
    out["bar"] = bar + past
    out["step"] = np.where(past, 0, step)
    out["pitch"], out["velocity"] = notes["pitch"], velocity_bin(notes["velocity"].astype(np.int32))
    written = (out["pitch"], out["step"], out["bar"])
    out["duration"] = lengths.durations(notes["duration_ticks"] * TICKS_PER_BEAT, written, quarter)
    return out


def grid_time(ticks: np.ndarray, ticks_per_beat: int, layout: Layout) -> np.ndarray:
    """Where source ticks lie on the grid: as far from their stretch's start as in the source, but not past its end."""
    time = ticks * TICKS_PER_BEAT
    stretch = np.searchsorted(layout.source, time, side="right") - 1
    ends = np.append(layout.grid[1:], np.iinfo(np.int64).max)
    return np.minimum(layout.grid[stretch] + time - layout.source[stretch], ends[stretch])


def _bar_tempos(score: Score, layout: Layout) -> np.ndarray:
    """int32[bars] tempo bin of each bar: its beats over its time."""
    lines = source_time(layout.bars.start_ticks, score.ticks_per_beat, layout)
    changes = np.array([tempo.tick for tempo in score.tempos], np.int64) * TICKS_PER_BEAT
    microseconds = np.array([tempo.microseconds_per_beat for tempo in score.tempos], np.int64)
    edges = np.union1d(lines, changes[changes < lines[-1]])  # between two edges lie one bar and one tempo
    tempo = np.searchsorted(changes, edges[:-1], side="right") - 1
    bar = np.searchsorted(lines, edges[:-1], side="right") - 1
    elapsed = np.zeros(len(layout.bars), np.int64)
    np.add.at(elapsed, bar, np.diff(edges) * microseconds[tempo])
    at_start = microseconds[np.searchsorted(changes, lines[:-1], side="right") - 1]
    length = np.diff(lines)
    # A change moved to the nearest sixteenth can leave a bar no time
    mean = np.where(length > 0, elapsed / np.maximum(length, 1), at_start)
    return np.searchsorted(_TEMPO_EDGES, 60e6 / mean, side="left").astype(np.int32)


def source_time(ticks: np.ndarray, ticks_per_beat: int, layout: Layout) -> np.ndarray:
    """Ticks of the grid in the source's time: the inverse of grid_time."""
    time = ticks * ticks_per_beat
    stretch = np.maximum(np.searchsorted(layout.grid, time, side="right") - 1, 0)
    ends = np.append(layout.source[1:], np.iinfo(np.int64).max)
    moved = np.minimum(layout.source[stretch] + time - layout.grid[stretch], ends[stretch])
    return np.maximum(moved, 0)  # nothing is before the song, where a pickup is filled up
