"""Which place on the grid each onset of a track is meant for, and which duration each note: the simplest explanation."""

import numpy as np

from tokenizer.vocabulary import DURATIONS, QUARTER

_PLACES = np.array(
    [step for step in range(QUARTER + 1) if step % 3 == 0 or step % 4 == 0]
)  # of a quarter, in fine steps


def places(bar: np.ndarray, time: np.ndarray, quarter: int) -> np.ndarray:
    """int64[N]: fine steps from the bar line, of onsets int64[N] of a track by bar and time in it, of which a quarter
    note has `quarter`.
    """
    number, inside = np.divmod(time, quarter)
    return number * QUARTER + _nearest(_PLACES, inside, quarter)


def durations(time: np.ndarray, quarter: int) -> np.ndarray:
    """int64[N]: durations of a track's notes int64[N], in fine steps that the vocabulary has."""
    return _nearest(DURATIONS, time, quarter)


def _nearest(steps: np.ndarray, time: np.ndarray, quarter: int) -> np.ndarray:
    """Of fine steps in rising order the nearest to each time, the later one of two equally near."""
    twice = (steps[1:] + steps[:-1]) * quarter  # twice the middle between two, times QUARTER
    return steps[np.searchsorted(twice, 2 * QUARTER * time, side="right")]
