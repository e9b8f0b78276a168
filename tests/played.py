"""Songs whose beats are not where their file says: as made-up players play them, and as they come out aligned."""

import numpy as np

from tests.scores import score_of
from tokenizer.grid.align import Aligned, Kind
from tokenizer.grid.time_map import TimeMap, retimed
from tokenizer.music.score import DRUMS, Score, Signature, Tempo

BEAT = 960  # aligned ticks, twice those of the grid


def played(seed: int, bars: int = 6) -> tuple[Score, Aligned]:
    """Piano, drums and another piano, of no tempo that the file knows: beats of 500 to 899 ticks after a breath, notes
    up to 20 beside them, of any length. Bars of four beats.
    """
    random = np.random.default_rng(seed)
    knots = np.cumsum([300, *random.integers(500, 900, 4 * bars + 4)])
    time = TimeMap(knots, BEAT * np.arange(len(knots)))
    rows = []
    for place in range(1, 8 * bars):  # every eighth
        onset = int(time.back(place * BEAT // 2)) + int(random.integers(-20, 21))
        rows.append((onset, int(random.integers(60, 900)), 60 + place % 12, int(random.integers(1, 128))))
    drums = [(onset + 7, 50, 36, velocity) for onset, _, _, velocity in rows[::2]]
    tracks = ((0, rows), (DRUMS, drums), (73, []), (0, [(onset, 10, 40, 64) for onset, *_ in rows[::3]]))
    tempos = ((0, 120), (int(knots[5]), 97), (int(knots[-1]) + 1000, 60))
    score = score_of(*tracks, tempos=tempos, signatures=((0, 3, 4),), ticks_per_beat=384)
    return score, aligned_as(score, "beats", time, BEAT)


def shifted(ticks: int, kind: Kind = "shift", bars: int = 6) -> tuple[Score, Aligned]:
    """Eighths of a piano, all of them so many ticks after the beats of the file, of which it has 96 a beat."""
    rows = [(48 * place + ticks, 40, 60 + place % 5, 80) for place in range(1, 8 * bars)]
    score = score_of((0, rows), (DRUMS, [(96 + ticks, 5, 36, 90)]), ticks_per_beat=96)
    return score, aligned_as(score, kind, TimeMap.shifted(-ticks), 96)


def aligned_as(score: Score, kind: Kind, time: TimeMap, ticks_per_beat: int) -> Aligned:
    """In 4/4 at 120 BPM."""
    moved = retimed(score, time, ticks_per_beat, (Tempo(0, 500_000),), (Signature(0, 4, 4),))
    return Aligned(moved, kind, time=time)
