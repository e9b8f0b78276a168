"""Score to grid: every time, tempo and velocity rounded to what the vocabulary can say.
Integer arithmetic throughout. It is tokenizer.snap, and encode begins with it.
"""

import numpy as np

from tokenizer.grid.meter import TICKS_PER_BEAT, Layout, lay_bars
from tokenizer.grid.song import GRID_NOTE, GridSong, make_song
from tokenizer.music.score import Score
from tokenizer.vocabulary import N_DURATIONS, TEMPOS_BPM, velocity_bin

_TEMPO_EDGES = (np.array(TEMPOS_BPM[1:]) + np.array(TEMPOS_BPM[:-1])) / 2  # of two equally near bins the lower wins


def snap(score: Score) -> Score:
    """The score on the grid, at 480 ticks per beat: exactly what its tokens decode to. snap(snap(x)) == snap(x).

    Raises ScoreTooLong.
    """
    return quantize(score).to_score()


def quantize(score: Score, layout: Layout | None = None) -> GridSong:
    """The score on the grid. layout: what layout_of(score) gives, if it is there already. Raises ScoreTooLong."""
    layout = layout or layout_of(score)
    tracks = [(track.program, grid_notes(track.notes, score.ticks_per_beat, layout)) for track in score.tracks]
    return make_song(layout.bars, _bar_tempos(score, layout), tracks)


def layout_of(score: Score) -> Layout:
    """The bars of the score, and where its time lies in theirs. Raises ScoreTooLong."""
    last_tick = max((int(track.notes["onset_ticks"].max()) for track in score.tracks if len(track.notes)), default=0)
    return lay_bars(score, last_tick)


# Times are compared in units of 1 / (480 * ticks_per_beat) beats, in which ticks of the source and of the grid are both
# whole.


def grid_notes(notes: np.ndarray, ticks_per_beat: int, layout: Layout) -> np.ndarray:
    """GRID_NOTE[N] of notes NOTE[N], each by itself and in their order. Onsets go to the nearest step, half later; past
    the last step of a bar to the next bar. Durations count steps of the onset's bar.
    """
    starts, step_ticks = layout.bars.start_ticks * ticks_per_beat, layout.bars.step_ticks * ticks_per_beat
    onset = grid_time(notes["onset_ticks"], ticks_per_beat, layout)
    bar = np.searchsorted(starts, onset, side="right") - 1
    step = (2 * (onset - starts[bar]) + step_ticks[bar]) // (2 * step_ticks[bar])
    past = starts[bar] + step * step_ticks[bar] >= starts[bar + 1]
    out = np.empty(len(notes), GRID_NOTE)
    out["bar"] = bar = bar + past
    out["step"] = np.where(past, 0, step)
    duration = notes["duration_ticks"] * TICKS_PER_BEAT
    out["duration"] = np.clip((2 * duration + step_ticks[bar]) // (2 * step_ticks[bar]), 1, N_DURATIONS)
    out["pitch"], out["velocity"] = notes["pitch"], velocity_bin(notes["velocity"].astype(np.int32))
    return out


def grid_time(ticks: np.ndarray, ticks_per_beat: int, layout: Layout) -> np.ndarray:
    """Where source ticks lie on the grid: as far from their stretch's start as in the source, but not past its end."""
    stretch = np.searchsorted(layout.source, ticks, side="right") - 1
    moved = layout.grid[stretch] * ticks_per_beat + (ticks - layout.source[stretch]) * TICKS_PER_BEAT
    ends = np.append(layout.grid[1:], np.iinfo(np.int64).max // ticks_per_beat) * ticks_per_beat
    return np.minimum(moved, ends[stretch])


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
    # A change moved to the nearest eighth can leave a bar no time
    mean = np.where(length > 0, elapsed / np.maximum(length, 1), at_start)
    return np.searchsorted(_TEMPO_EDGES, 60e6 / mean, side="left").astype(np.int32)


def source_time(ticks: np.ndarray, ticks_per_beat: int, layout: Layout) -> np.ndarray:
    """Ticks of the grid in the source's time: the inverse of grid_time."""
    stretch = np.searchsorted(layout.grid, ticks, side="right") - 1
    moved = layout.source[stretch] * TICKS_PER_BEAT + (ticks - layout.grid[stretch]) * ticks_per_beat
    ends = np.append(layout.source[1:], np.iinfo(np.int64).max // TICKS_PER_BEAT) * TICKS_PER_BEAT
    return np.minimum(moved, ends[stretch])
