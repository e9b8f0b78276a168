"""Structure: how alike bars are that lie so many bars apart (Yu et al. 2022, Museformer: Transformer with Fine- and
Coarse-Grained Attention for Music Generation, NeurIPS: its similarity distribution and similarity
error).

    l(i, j) = |N(i) & N(j)| / |N(i) | N(j)|     N(i) the set of the notes of bar i
    L(t)    = mean of l(i, i + t) over all bars of all songs
    error   = mean of |L(t) - L'(t)| over t = 1 .. 40, of two sets of songs

Two notes are the same if pitch, duration and onset in the bar are. Bars are whole measures, with all their tracks; a
drum is not the same as a pitch. Of two silent bars l is 0 / 0: such pairs are left out.
"""

import numpy as np

from jax_impl.evaluation.notes import Notes
from tokenizer.vocabulary import LONGEST

DISTANCES = 40  # T: the largest distance, in bars


def song_similarity(notes: Notes) -> tuple[np.ndarray, np.ndarray]:
    """float64[40] sum of l(i, i + t) over the pairs of bars of one song and int64[40] their number, for t = 1 .. 40."""
    n_bars = len(notes.lines) - 1
    bar = notes.measure_of(notes.onset)
    place = notes.onset - notes.lines[bar]
    names = (notes.pitch + 128 * notes.is_drum, notes.end - notes.onset, place)
    room = (256, LONGEST + 1, int(np.diff(notes.lines).max()))
    _, name = np.unique(np.ravel_multi_index(names, room), return_inverse=True)
    stride = n_bars + DISTANCES  # a note and its bar in one number; no bar that is further on is another note's
    found = np.unique(name * stride + bar)
    size = np.bincount(found % stride, minlength=n_bars)
    sums, counts = np.zeros(DISTANCES), np.zeros(DISTANCES, np.int64)
    for distance in range(1, min(DISTANCES, n_bars - 1) + 1):
        again = found[np.isin(found + distance, found, assume_unique=True)] % stride
        common = np.bincount(again, minlength=n_bars)[:-distance]
        together = size[:-distance] + size[distance:] - common
        sums[distance - 1] = (common / np.maximum(together, 1)).sum()
        counts[distance - 1] = np.count_nonzero(together)
    return sums, counts


def curve(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """float64[40]: L(t) of songs, from what song_similarity says of each, [S, 40]; NaN where they have no pair."""
    total = counts.sum(axis=0)
    return np.where(total > 0, sums.sum(axis=0) / np.maximum(total, 1), np.nan)


def similarity_error(one: np.ndarray, other: np.ndarray) -> float | None:
    """Of two curves float64[40], over the distances that both have; None where there are none."""
    apart = np.abs(one - other)
    return float(np.nanmean(apart)) if not np.isnan(apart).all() else None
