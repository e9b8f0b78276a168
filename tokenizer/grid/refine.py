"""Beats moved to where the onsets around them say, smoothly: a chain of beats is heard to a hundredth of a second, a
grid of twelve places a beat needs better.
"""

from functools import lru_cache

import numpy as np

# Where in a beat onsets are: the place, and how likely it is
PLACES = np.array([0, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 1])
NATS = -np.log(np.array([0.4, 0.08, 0.04, 0.25, 0.04, 0.08, 0.4]))
SCATTER = 0.015  # seconds by which people are beside their place
FARTHEST = 0.05  # seconds: what is farther from any place is not meant for one
STIFFNESS = 0.006  # seconds by which a beat may be longer or shorter than the mean of its neighbours
ROUNDS = 3
PIECE = 400  # beats that are moved together
OVERLAP = 20


def refined(beats: np.ndarray, onsets: np.ndarray) -> np.ndarray:
    """float64[beats] seconds, strictly rising, of beats float64[beats], four at least; onsets: float64[N] sorted."""
    for _ in range(ROUNDS):
        moved = beats + _shifts(beats, onsets)
        if (np.diff(moved) <= 0.1).any():
            return beats
        beats = moved
    return beats


def _shifts(beats: np.ndarray, onsets: np.ndarray) -> np.ndarray:
    """float64[beats] by how much each moves."""
    out = np.zeros(len(beats))
    for start in range(0, len(beats), PIECE):
        first, end = max(start - OVERLAP, 0), min(start + PIECE + OVERLAP, len(beats))
        if end - first < 4:
            continue
        part = _shifts_of(beats[first:end], onsets)
        last = min(start + PIECE, len(beats))
        out[start:last] = part[start - first : last - first]
    return out


def _shifts_of(beats: np.ndarray, onsets: np.ndarray) -> np.ndarray:
    """Least squares: onsets at their likeliest places, and beats that change their length slowly."""
    n = len(beats)
    onsets = onsets[(onsets >= beats[0]) & (onsets < beats[-1])]
    beat = np.clip(np.searchsorted(beats, onsets, side="right") - 1, 0, n - 2)
    length = np.diff(beats)[beat]
    inside = (onsets - beats[beat]) / length
    off = (inside[:, None] - PLACES) * length[:, None]
    place = (off**2 / (2 * SCATTER**2) + NATS).argmin(axis=1)
    error, right = off[np.arange(len(place)), place], PLACES[place]
    trusted = np.abs(error) < FARTHEST
    beat, error, right = beat[trusted], error[trusted], right[trusted]
    left = 1 - right

    # The sum of squares of (what is seen of the two beats around an onset), as a matrix of three diagonals
    matrix = np.zeros((n, n))
    diagonal = np.bincount(beat, left**2, n) + np.bincount(beat + 1, right**2, n)
    beside = np.bincount(beat, left * right, n)[:-1]
    index = np.arange(n)
    matrix[index, index] = diagonal / SCATTER**2 + 1e-2
    matrix[index[:-1], index[1:]] = matrix[index[1:], index[:-1]] = beside / SCATTER**2
    stiffness = _stiffness(n)
    seen = (np.bincount(beat, left * error, n) + np.bincount(beat + 1, right * error, n)) / SCATTER**2
    # Beats as they are have a bend of their own, which is none of the player's
    return np.linalg.solve(matrix + stiffness, seen - stiffness @ beats)


@lru_cache(maxsize=4)
def _stiffness(n: int) -> np.ndarray:
    """float64[n, n]: of shifts x, x @ it @ x is the sum of squares of their second differences, in STIFFNESS."""
    bend = np.diff(np.eye(n), 2, axis=0)
    return bend.T @ bend / STIFFNESS**2
