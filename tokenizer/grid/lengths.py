"""How long each note of a track is meant to last, as a duration that the vocabulary has. Called by quantize.

People let go sooner or later than is written, and a new duration is one more token. So a track's lengths are read
together, in the order in which its notes are written, as what costs least (in nats). In fine steps of 1/24 of a
quarter:

    notes            5.8  7.3  6.1  4.8  22.8  23.9
    nearest          6    8    6    4    24    24
    the simplest     6    6    6    6    24    24

A duration costs _CHANGE where it is not that of the note before, and more beside that if two notes are tied to write it
(_TIED) or it is no whole number of sixteenths (_FINE). A note ends around its length, or around 19/20 of it as notation
programs have it (22.8 of 24), with the track's own scatter, the likeliest of five; or it has an odd length (_ODD), and
goes to the nearest: so an exact score keeps its short notes and triplets, whatever else it has.

A track whose lengths are all durations is left as it is. Distances are exact, costs are summed as integers.
"""

import math

import numpy as np

from tokenizer.grid.divisions import nearest, whole
from tokenizer.vocabulary import DURATIONS, LONGEST, QUARTER, SIXTEENTH

_CHANGE, _TIED, _FINE, _ODD = 4.0, 1.0, 3.0, 3.0  # nats
_SCATTERS = (1 / 480, 1 / 160, 1 / 64, 1 / 28, 1 / 18)  # quarters, from the least
_AROUND = np.arange(-6, 7)  # a length is one of the durations from the sixth before the nearest to the sixth after
_NEAREST = 6

_CHANGE_COST, _ODD_COST = int(whole(_CHANGE)), int(whole(_ODD))
_NEVER = 2**50
_UNTIED = SIXTEENTH * np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256])
_OWN_COST = whole(np.where(DURATIONS % SIXTEENTH, _FINE, np.where(np.isin(DURATIONS, _UNTIED), 0, _TIED)))


def durations(time: np.ndarray, written: tuple[np.ndarray, ...], quarter: int) -> np.ndarray:
    """int64[N]: durations of a track's notes, in fine steps that the vocabulary has.

    time: int64[N] their lengths, of which a quarter note has `quarter`. written: keys of the order in which they are
    written, as np.lexsort takes them.
    """
    length, of = np.unique(np.minimum(time, LONGEST // QUARTER * quarter), return_inverse=True)
    close = nearest(DURATIONS, length, quarter)
    if (close * quarter == length * QUARTER).all():
        return close[of]
    options = np.searchsorted(DURATIONS, close)[:, None] + _AROUND  # [lengths, 13], indices into DURATIONS
    is_there = (options >= 0) & (options < len(DURATIONS))
    options = np.clip(options, 0, len(DURATIONS) - 1)
    own = np.where(is_there, _OWN_COST[options], _NEVER)
    ends = _end_costs(_off(length, DURATIONS[options], quarter), own, np.bincount(of))

    begun = ends + own  # and _CHANGE_COST
    duration = options[np.arange(len(length)), begun.argmin(axis=1)][of]
    # To stay at a duration is worth no more than to begin the best one
    is_option = is_there & (ends <= begun.min(axis=1, keepdims=True) + _CHANGE_COST)
    is_open = np.count_nonzero(is_option, axis=1)[of] > 1
    if is_open.any():
        order = np.lexsort(written)
        is_open = is_open[order]
        # A note that leaves no choice parts what is before it from what is after it: those between such are settled
        notes = order[is_open | np.append(is_open[1:], False) | np.append(False, is_open[:-1])]
        choices = [[] for _ in length]
        which, where = np.nonzero(is_option)
        for index, *choice in zip(which, options[which, where], ends[which, where], begun[which, where], strict=True):
            choices[index].append(tuple(map(int, choice)))
        duration[notes] = _path([choices[index] for index in of[notes].tolist()])
    return DURATIONS[duration]


def _off(length: np.ndarray, steps: np.ndarray, quarter: int) -> np.ndarray:
    """float64[lengths, options], quarters: how far a note ends from its whole length, or from 19/20 of it if nearer."""
    twentieths = 20 * QUARTER * length[:, None]
    off = np.minimum(np.abs(twentieths - 20 * quarter * steps), np.abs(twentieths - 19 * quarter * steps))
    return off / (20 * QUARTER * quarter)


def _end_costs(off: np.ndarray, own: np.ndarray, notes: np.ndarray) -> np.ndarray:
    """int64[lengths, options]: what it costs that a note ends there, by the track's likeliest scatter (the least of
    equally likely ones). own: what the options cost beside that; notes: how many there are of each length.
    """
    n_notes, least, costs = int(notes.sum()), math.inf, own
    for scatter in _SCATTERS:
        constant = int(whole(math.log(scatter)))
        if least <= n_notes * constant:
            break  # an end costs something, and the scatters to come cost more
        ends = whole(off * off * (1 / (2 * scatter**2)))
        ends[:, _NEAREST] = np.minimum(ends[:, _NEAREST], _ODD_COST - constant)
        total = int(((ends + own).min(axis=1) + constant) @ notes)
        if total < least:
            least, costs = total, ends
    return costs


def _path(notes: list[list[tuple[int, int, int]]]) -> list[int]:
    """The durations of notes that cost least: Viterbi over each one's (duration, cost to stay at it, to begin it)."""
    totals: dict[int, int] = {}
    least, cheapest, before = 0, None, []
    for choices in notes:
        changed, came, previous, totals = least + _CHANGE_COST, {}, totals, {}
        for duration, stays, begins in choices:
            kept = previous.get(duration, _NEVER) + stays
            totals[duration] = min(kept, changed + begins)
            came[duration] = duration if kept <= changed + begins else cheapest
        cheapest = min(totals, key=totals.__getitem__)
        least = totals[cheapest]
        before.append(came)
    path = [cheapest]
    for came in reversed(before[1:]):
        path.append(came[path[-1]])
    return path[::-1]
