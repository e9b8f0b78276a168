"""A score written by beats and measures that were found: in its own resolution where its beats were steady, else with
a tempo map in which beats are beats.

    beats found         |    |    |    |    |    |    |
    begin a measure               4                   4
    measures       (   2 of silence   )
                   |    |    |    |    |    |    |    |    |    |
                   1 of 4         1 ...

Beats before the first one that begins a measure are the end of a measure that is filled up with silence in front.
"""

from dataclasses import replace

import numpy as np

from tokenizer.grid.time_map import TimeMap, retimed
from tokenizer.music.score import Score, Signature, Tempo

TICKS_PER_BEAT = 960  # of a score that was played freely: as fine as players' files


def steady(score: Score, first_beat: int, measures: np.ndarray) -> tuple[Score, TimeMap]:
    """Of beats a quarter note apart from tick `first_beat` on, before which no note begins. measures: int64[beats] of
    the measure that begins with each beat, 0 where none does.
    """
    beat = score.ticks_per_beat
    time = TimeMap.shifted(_silence(measures) * beat - first_beat)
    ticks = [int(time.there(tempo.tick)) for tempo in score.tempos]
    later = [replace(tempo, tick=tick) for tempo, tick in zip(score.tempos, ticks, strict=True) if tick > 0]
    (*_, first) = (tempo for tempo, tick in zip(score.tempos, ticks, strict=True) if tick <= 0 or tempo.tick == 0)
    tempos = (replace(first, tick=0), *later)
    return retimed(score, time, beat, tempos, _signatures(measures, beat)), time


def free(score: Score, beats: np.ndarray, seconds: np.ndarray, measures: np.ndarray) -> tuple[Score, TimeMap]:
    """Of beats at these ticks int64[beats], strictly rising, the first not after the first note; seconds: float64 of
    the same. measures: as of steady.
    """
    aligned = (np.arange(len(beats)) + _silence(measures)) * TICKS_PER_BEAT
    lengths = np.rint(np.diff(seconds) * 1e6).astype(np.int64).tolist()
    tempos, said = [], None
    for tick, length in zip([0, *aligned[1:-1].tolist()], lengths, strict=True):
        if length != said:
            tempos.append(Tempo(tick, length))
        said = length
    time = TimeMap(beats, aligned)
    return retimed(score, time, TICKS_PER_BEAT, tuple(tempos), _signatures(measures, TICKS_PER_BEAT)), time


def _silence(measures: np.ndarray) -> int:
    """Beats of silence in front of the first one."""
    begins = np.flatnonzero(measures)
    return int(-begins[0] % measures[begins[0]])


def _signatures(measures: np.ndarray, beat: int) -> tuple[Signature, ...]:
    begins = np.flatnonzero(measures)
    silence, first = _silence(measures), int(measures[begins[0]])
    found, said = [Signature(0, first, 4)], first
    for place in begins.tolist():
        if measures[place] != said:
            said = int(measures[place])
            found.append(Signature((place + silence) * beat, said, 4))
    return tuple(found)
