"""A score's own tempo map in the time of the grid, and seconds by any tempo map.

The tokens' 32 tempi are for the model. What a file said is kept beside them, in ticks of the grid, and written back
when the song becomes MIDI again: it lasts as long as it did.
"""

from dataclasses import replace

import numpy as np

from tokenizer.grid.meter import TICKS_PER_BEAT, Layout
from tokenizer.grid.quantize import grid_time, source_time
from tokenizer.music.score import Score, Tempo

Tempos = tuple[Tempo, ...]
SLOWEST = (1 << 24) - 1  # microseconds a beat that a MIDI file can say


def own_tempos(score: Score, layout: Layout) -> Tempos:
    """The score's tempo map in ticks of the grid, 480 a beat, as it is laid out in bars.

    Where a change of meter beside an eighth is moved to the nearest one, the bar before it gets longer or shorter in
    beats, and lasts as long as in the score all the same: its tempo is the one that makes it so.
    """
    changes = np.array([tempo.tick for tempo in score.tempos], np.int64)
    on_grid = _rounded(grid_time(changes, score.ticks_per_beat, layout), score.ticks_per_beat)
    first, last = _moved_bars(score, layout)
    knots = np.unique(np.concatenate([on_grid, first, last]))
    source = source_time(knots, score.ticks_per_beat, layout) / TICKS_PER_BEAT
    in_force = np.searchsorted(on_grid, knots, side="right") - 1  # of several on one tick the last
    lengths = np.array([tempo.microseconds_per_beat for tempo in score.tempos], np.int64)[in_force]
    if len(first):
        elapsed = np.diff(seconds_at(score.tempos, score.ticks_per_beat, source)) * 1e6 * TICKS_PER_BEAT
        moved = np.searchsorted(first, knots[:-1], side="right") > np.searchsorted(last, knots[:-1], side="right")
        lengths[:-1] = np.where(moved, np.clip(np.rint(elapsed / np.diff(knots)), 1, SLOWEST), lengths[:-1])
    differs = np.concatenate([[True], lengths[1:] != lengths[:-1]])
    return tuple(map(Tempo, knots[differs].tolist(), lengths[differs].tolist()))


def _rounded(time: np.ndarray, ticks_per_beat: int) -> np.ndarray:
    """Ticks of the grid of times in units of 1 / (480 * ticks_per_beat) beats."""
    return (2 * time + ticks_per_beat) // (2 * ticks_per_beat)


def _moved_bars(score: Score, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Ticks of the grid at which the bars begin and end that are longer or shorter there than in the score: the last of
    a stretch of one meter.
    """
    on_grid = np.diff(layout.grid) * score.ticks_per_beat
    is_moved = np.diff(layout.source) * TICKS_PER_BEAT != on_grid
    ends = np.unique(layout.grid[1:][is_moved])
    lines = layout.bars.start_ticks
    ends = ends[(ends > 0) & (ends <= lines[-1])]
    return lines[np.searchsorted(lines, ends) - 1], ends


def seconds_at(tempos: Tempos, ticks_per_beat: int, ticks: np.ndarray) -> np.ndarray:
    """float64[N]: seconds from the start of the song at each tick [N], which may lie between two."""
    changes = np.array([tempo.tick for tempo in tempos], np.int64)
    lengths = np.array([tempo.microseconds_per_beat for tempo in tempos], np.float64)
    at_change = np.concatenate([[0.0], np.cumsum(np.diff(changes) * lengths[:-1])])
    tempo = np.maximum(np.searchsorted(changes, ticks, side="right") - 1, 0)
    return (at_change[tempo] + (ticks - changes[tempo]) * lengths[tempo]) / (1e6 * ticks_per_beat)


def with_tempos(score: Score, tempos: Tempos) -> Score:
    """A score on the grid with another tempo map in its ticks, as far as its bars go; as it is where there is none."""
    last = max(
        (int((t.notes["onset_ticks"] + t.notes["duration_ticks"]).max(initial=0)) for t in score.tracks), default=0
    )
    kept = tuple(tempo for tempo in tempos if tempo.tick <= last)
    return replace(score, tempos=kept) if kept else score
