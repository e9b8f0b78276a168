"""A score's own tempo map in the time of the grid, and seconds by any tempo map.

The tokens' 48 tempi are for the model. What a file said is kept beside them, in ticks of the grid, and written back
when the song becomes MIDI again: it lasts as long as it did.
"""

from dataclasses import replace

import numpy as np

from tokenizer.grid.meter import STEP_TICKS, TICKS_PER_BEAT, Bars, Layout
from tokenizer.grid.quantize import grid_time, source_time
from tokenizer.grid.song import TEMPO_MICROSECONDS
from tokenizer.music.score import Score, Tempo
from tokenizer.vocabulary import LONGEST

Tempos = tuple[Tempo, ...]
SLOWEST = (1 << 24) - 1  # microseconds a beat that a MIDI file can say
LONGEST_NOTE = LONGEST * STEP_TICKS  # ticks that a note on the grid can sound past the last bar line


def own_tempos(score: Score, layout: Layout) -> Tempos:
    """The score's tempo map in ticks of the grid, 480 a beat, as it is laid out in bars; as far as a note can sound.

    Every change lies on the nearest tick, with the tempo that the score says. Where the next one would so come more
    than half a tick early or late, the tempo is the one that brings it to its time: in a bar that is longer or shorter
    on the grid, since a change of meter moved to the nearest sixteenth, and where several changes meet on one tick.

    score  4/4 120 BPM, one bar of 23/32, 4/4     |. . . .|. . .'|. . . .|
    grid   the bar in the middle is one of 6/8    |. . . .|. . . |. . . .|    120, 125.2, 120 BPM
    """
    length_of = {tempo.tick: tempo.microseconds_per_beat for tempo in _that_sound(score, layout)}
    changes = np.array(list(length_of), np.int64)
    on_grid = _rounded(grid_time(changes, score.ticks_per_beat, layout), score.ticks_per_beat)
    on_grid[0] = 0  # a pickup that is filled up begins later
    knots = np.unique(np.concatenate([on_grid, *_moved_bars(score, layout)]))
    source = source_time(knots, score.ticks_per_beat, layout) / TICKS_PER_BEAT
    said = np.array(list(length_of.values()), np.int64)[np.searchsorted(on_grid, knots, side="right") - 1]
    lengths = _kept_in_time(knots, said, seconds_at(score.tempos, score.ticks_per_beat, source))
    differs = np.concatenate([[True], lengths[1:] != lengths[:-1]])
    return tuple(map(Tempo, knots[differs].tolist(), lengths[differs].tolist()))


def _that_sound(score: Score, layout: Layout) -> list[Tempo]:
    """The changes that a note of the score on the grid can still meet."""
    last = np.array([layout.bars.start_ticks[-1] + LONGEST_NOTE])
    last_tick = int(source_time(last, score.ticks_per_beat, layout)[0]) // TICKS_PER_BEAT
    return [tempo for tempo in score.tempos if tempo.tick <= last_tick]


def _rounded(time: np.ndarray, ticks_per_beat: int) -> np.ndarray:
    """Ticks of the grid of times in units of 1 / (480 * ticks_per_beat) beats."""
    return (2 * time + ticks_per_beat) // (2 * ticks_per_beat)


def _moved_bars(score: Score, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Ticks of the grid at which the bars begin and end that are longer or shorter there than in the score: the last of
    a stretch of one meter, a pickup, and the first bar where a stretch before it has no room at all. Behind the last
    bar line, where no note begins, all up to the change is one bar.
    """
    is_moved = np.diff(layout.source) != np.diff(layout.grid)
    is_moved[:1] |= layout.grid[0] > 0
    lines = layout.bars.start_ticks
    ends = np.unique(layout.grid[1:][is_moved]) // score.ticks_per_beat
    ends = np.where(ends == 0, lines[1], ends)
    ends = ends[ends <= lines[-1] + LONGEST_NOTE]
    return lines[np.searchsorted(lines, ends) - 1], ends


def _kept_in_time(knots: np.ndarray, said: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """int64[K]: microseconds a beat from each tick knots[K] on. said[K], unless the next tick would then be more than
    half a tick from its time seconds[K]; what one piece cannot make good, since it has no room, the next ones do.
    """
    lengths, microseconds = said.copy(), 0.0
    spans, times = (np.diff(knots) / TICKS_PER_BEAT).tolist(), (seconds * 1e6).tolist()
    for piece, (span, length, time) in enumerate(zip(spans, said.tolist(), times[1:], strict=False)):
        if abs(microseconds + span * length - time) > length / TICKS_PER_BEAT / 2:
            length = min(max(round((time - microseconds) / span), 1), SLOWEST)
        lengths[piece] = length
        microseconds += span * length
    return lengths


def seconds_at(tempos: Tempos, ticks_per_beat: int, ticks: np.ndarray) -> np.ndarray:
    """float64[N]: seconds from the start of the song at each tick [N], which may lie between two."""
    changes = np.array([tempo.tick for tempo in tempos], np.int64)
    lengths = np.array([tempo.microseconds_per_beat for tempo in tempos], np.float64)
    at_change = np.concatenate([[0.0], np.cumsum(np.diff(changes) * lengths[:-1])])
    tempo = np.maximum(np.searchsorted(changes, ticks, side="right") - 1, 0)
    return (at_change[tempo] + (ticks - changes[tempo]) * lengths[tempo]) / (1e6 * ticks_per_beat)


def ticks_at(tempos: Tempos, ticks_per_beat: int, seconds: np.ndarray) -> np.ndarray:
    """int64[N]: the tick nearest to each time [N] from the start of the song, before which it may lie: the inverse of
    seconds_at.
    """
    changes = np.array([tempo.tick for tempo in tempos], np.int64)
    at_change = seconds_at(tempos, ticks_per_beat, changes)
    tempo = np.maximum(np.searchsorted(at_change, seconds, side="right") - 1, 0)
    lengths = np.array([tempo.microseconds_per_beat for tempo in tempos], np.float64)
    return changes[tempo] + np.rint((seconds - at_change[tempo]) * 1e6 * ticks_per_beat / lengths[tempo]).astype(
        np.int64
    )


def length(bars: Bars, tempo: np.ndarray, own: Tempos) -> float:
    """Seconds that bars last: by a song's own tempo map, or where there is none at the tempi int[bars] of the bars, as
    the vocabulary numbers them.
    """
    lines = bars.start_ticks
    if own:
        return float(seconds_at(own, TICKS_PER_BEAT, lines[-1]))
    return float((np.diff(lines) * TEMPO_MICROSECONDS[tempo]).sum() / TICKS_PER_BEAT / 1e6)


def with_tempos(score: Score, tempos: Tempos) -> Score:
    """A score on the grid with another tempo map in its ticks, as far as its notes sound; as it is where there is
    none.
    """
    last = max(
        (int((t.notes["onset_ticks"] + t.notes["duration_ticks"]).max(initial=0)) for t in score.tracks), default=0
    )
    kept = tuple(tempo for tempo in tempos if tempo.tick <= last)
    return replace(score, tempos=kept) if kept else score
