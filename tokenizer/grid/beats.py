"""The beats of music that was played freely: the likeliest chain of beats, each about as long as the one before.

Semi-Markov Viterbi over the moments at which a beat may be and how long it lasts. Seconds throughout.
"""

import numpy as np

from tokenizer.grid.hearing import FPS

RATE = 100  # moments a second
SHORTEST, LONGEST = 0.28, 0.84  # seconds of a beat
MOST_CHANGE = 5  # moments by which a beat may be longer or shorter than the one before
CHANGE = 60.0  # what a beat costs that is e times as long as the one before
USUAL, SPREAD = 0.5, 0.6  # seconds of a beat, and octaves around it
BONUS = 0.8  # of each beat
FLOOR = -4.0  # log odds of a beat that nothing is heard of

_LENGTHS = np.arange(round(SHORTEST * RATE), round(LONGEST * RATE) + 1)


def chain(log_odds: np.ndarray) -> np.ndarray:
    """float64[beats] seconds of the likeliest chain, of the log odds float32[frames] of a beat at each frame."""
    moments = np.arange(len(log_odds) * RATE // FPS)
    odds = np.maximum(np.interp(moments / RATE, np.arange(len(log_odds)) / FPS, log_odds), FLOOR).astype(np.float32)
    return _viterbi(odds, _LENGTHS) / RATE


def _viterbi(odds: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """int64[beats] moments.

    last[t, k]: of chains whose last beat is at moment t, lengths[k] after the one before it; next_[longest + t, k]: of
    those that have a beat at t and the next one lengths[k] after it. In blocks of the shortest beat, within which no
    beat depends on another. A chain may begin before the music with any length.
    """
    shortest, longest, kinds, n = int(lengths[0]), int(lengths[-1]), len(lengths), len(odds)
    cost, prior = _cost_of_change(lengths), _of_length(lengths)
    last = np.empty((n + shortest, kinds), np.float32)
    next_ = np.zeros((longest + n + shortest, kinds), np.float32)
    flat = next_.reshape(-1)
    padded = np.full((shortest, kinds + 2 * MOST_CHANGE), -np.inf, np.float32)
    nearby = np.lib.stride_tricks.sliding_window_view(padded, kinds, axis=1)  # [shortest, changes, kinds]
    scratch = np.empty(nearby.shape, np.float32)
    odds = np.append(odds, np.zeros(shortest, np.float32))[:, None]
    came_from = (np.arange(shortest)[:, None] + longest - lengths) * kinds + np.arange(kinds)
    for start in range(0, n, shortest):
        block = flat[came_from + start * kinds] + odds[start : start + shortest] + prior
        last[start : start + shortest] = padded[:, MOST_CHANGE:-MOST_CHANGE] = block
        np.subtract(nearby, cost, out=scratch)
        scratch.max(axis=1, out=next_[longest + start : longest + start + shortest])
    return _traced(last, cost, lengths, n)


def _of_length(lengths: np.ndarray) -> np.ndarray:
    """float32[kinds]: what a beat gains or loses by its length."""
    octaves = np.log2(lengths / RATE / USUAL)
    return (BONUS - octaves**2 / (2 * SPREAD**2)).astype(np.float32)


def _cost_of_change(lengths: np.ndarray) -> np.ndarray:
    """float32[changes, kinds]: from lengths[k + change - MOST_CHANGE] to lengths[k]."""
    logarithm = np.pad(np.log(lengths), MOST_CHANGE, constant_values=np.inf)
    changes = [logarithm[j : j + len(lengths)] - np.log(lengths) for j in range(2 * MOST_CHANGE + 1)]
    return (CHANGE * np.abs(np.stack(changes))).astype(np.float32)


def _traced(last: np.ndarray, cost: np.ndarray, lengths: np.ndarray, n: int) -> np.ndarray:
    """The best chain whose last beat is so late that no other could follow."""
    begin = max(n - int(lengths[-1]), 0)
    moment, kind = divmod(int(last[begin:n].argmax()), len(lengths))
    moment, path = begin + moment, []
    while moment >= 0:
        path.append(moment)
        moment -= int(lengths[kind])
        if moment >= 0:
            before = np.clip(kind + np.arange(-MOST_CHANGE, MOST_CHANGE + 1), 0, len(lengths) - 1)
            kind = int(before[(last[moment, before] - cost[:, kind]).argmax()])
    return np.array(path[::-1])
