"""Which place on the grid each onset of a track is meant for: the simplest explanation of them all. Called by quantize.

Each quarter note of a track is read in one division: sixteenths, eighth triplets, thirty-seconds, sixteenth triplets,
or mixed, which has the places of all (a pianist's three against four). Onsets of a player, in fine steps of 1/24 of a
quarter:

    onsets                       0.4  6.9 11.2 18.5 | 0.1  8.8 15.1
    nearest of all places        0    6   12   18   | 0    9   15      thirty-seconds, which nobody meant
    sixteenths, then triplets    0    6   12   18   | 0    8   16      the simplest

That is what costs least (in nats: minus the logarithm of a probability). A quarter costs the _NATS of its division, and
_CHANGE where that is not the division of the quarter before; each distinct place costs the logarithm of how many there
are to choose from; and an onset lies around its place with the track's own scatter, the likeliest of nine: so a score
is read exactly and a drummer loosely. In a mixed quarter an onset may also lie anywhere: what no division has (five in
a quarter, a grace note) goes to the nearest place and does not pass for a loose hand.

A track whose onsets all stand on places is left as it is, so that reading it again changes nothing. Distances are exact
integers and costs are summed as integers: every machine reads the same.
"""

import math
from dataclasses import dataclass

import numpy as np

from tokenizer.vocabulary import IS_PLACE, QUARTER

ALL = np.append(np.flatnonzero(IS_PLACE), QUARTER)
_PLACES = (
    *(np.arange(0, QUARTER + 1, QUARTER // d) for d in (4, 3, 8, 6)),
    ALL,
)  # the last is the next quarter's first
_NATS = (0.0, 0.5, 1.5, 2.0, 2.0)  # of a quarter in each division
_MIXED = len(_PLACES) - 1
_CHANGE = 2.5
_SCATTERS = np.array([1 / 480, 1 / 160, 1 / 96, 1 / 64, 1 / 48, 1 / 36, 1 / 28, 1 / 22, 1 / 18])  # quarters

UNIT = 2**16  # costs are whole numbers of 1 / 2**16 nats: their sums do not depend on an order of summation


@dataclass(frozen=True, eq=False)
class Explanation:
    """Of n distinct onsets in q quarters: step, int64[n] places in fine steps from the bar line; division, int64[q]
    indices into sixteenths, triplets, thirty-seconds, sixteenth triplets, mixed; scatter, in quarters.
    """

    step: np.ndarray
    division: np.ndarray
    scatter: float


def places(bar: np.ndarray, time: np.ndarray, length: np.ndarray, quarter: int) -> np.ndarray:
    """int64[N]: fine steps from the bar line, its bar's length at most, of each onset of a track.

    bar, time: int64[N], any order: number of its bar and time in it, of which a quarter note has `quarter`.
    length: int64[N], fine steps of its bar.
    """
    step, beside = np.divmod(time * QUARTER, quarter)
    if not beside.any() and IS_PLACE[step % QUARTER].all():
        return step
    key = bar * (int(time.max()) + 1) + time
    _, one, of = np.unique(key, return_index=True, return_inverse=True)
    return explain(bar[one], time[one], length[one], quarter).step[of]


def explain(bar: np.ndarray, time: np.ndarray, length: np.ndarray, quarter: int) -> Explanation:
    """The simplest explanation of distinct onsets [n], n > 0, in rising order; arguments as of places."""
    number, inside = np.divmod(time, quarter)
    begins = np.append(True, (np.diff(bar) != 0) | (np.diff(number) != 0))
    first = np.flatnonzero(begins)  # onset of each quarter

    place = np.stack([nearest(steps, inside, quarter) for steps in _PLACES])  # [divisions, n]
    off = np.abs(inside * QUARTER - place * quarter)
    # The next bar line is a place too, in a quarter that the bar cuts as well, and none is behind it
    room = length - number * QUARTER
    to_line = room * quarter - inside * QUARTER
    place, off = np.where(to_line <= off, room, place), np.minimum(to_line, off)

    cost, constant = _costs(place, off / (QUARTER * quarter), begins, first)
    scatter, division = _cheapest(cost, constant)
    onsets = np.diff(np.append(first, len(time)))
    step = number * QUARTER + place[np.repeat(division, onsets), np.arange(len(time))]
    return Explanation(step, division, float(_SCATTERS[scatter]))


def nearest(steps: np.ndarray, time: np.ndarray, quarter: int) -> np.ndarray:
    """Of fine steps in rising order the nearest to each time, the later one of two equally near. Exact."""
    twice = (steps[1:] + steps[:-1]) * quarter  # twice the middle between two, times QUARTER
    return steps[np.searchsorted(twice, 2 * QUARTER * time, side="right")]


def _costs(place: np.ndarray, off: np.ndarray, begins: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64[scatters, divisions, q], what each quarter costs, and int64[scatters], what all cost beside that.

    place, off: [divisions, n] of each onset, and how far from there it is, in quarters.
    """
    is_new = np.concatenate([np.ones((len(place), 1), bool), np.diff(place) != 0], axis=1) | begins
    n_places = np.add.reduceat(is_new, first, axis=1, dtype=np.int64)
    quarters = n_places * _PLACE_COST[:, None] + _QUARTER_COST[:, None]
    onsets = np.minimum(off * off * _WEIGHT[:, None, None], _MOST[:, :, None])
    cost = quarters + np.add.reduceat(np.rint(onsets).astype(np.int64), first, axis=2)
    return cost, place.shape[1] * _SCATTER_COST


def whole(nats: float | list[float] | np.ndarray) -> np.ndarray:
    """Costs that can be summed."""
    return np.rint(np.multiply(nats, UNIT)).astype(np.int64)


_PLACE_COST = whole([math.log(len(steps) - 1) for steps in _PLACES])
_QUARTER_COST = whole(_NATS)
_CHANGE_COST = int(whole(_CHANGE))
_SCATTER_COST = whole([math.log(scatter) for scatter in _SCATTERS])  # of each onset
_WEIGHT = UNIT / (2 * _SCATTERS**2)
# An onset of a mixed quarter costs no more than one that may lie anywhere in it: with its scatter's cost, nothing
_MOST = np.where(np.arange(len(_PLACES)) == _MIXED, -_SCATTER_COST[:, None], np.inf)


def _cheapest(cost: np.ndarray, constant: np.ndarray) -> tuple[int, np.ndarray]:
    """The scatter (the least of equally cheap ones) and the division of each quarter, int64[q], that cost least.

    A scatter costs its cheapest divisions at least, and with all their changes at most: few are worth a closer look.
    The division changes only where the cheapest one does; so quarters are looked at in runs of one cheapest division.
    """
    division = cost.argmin(axis=1)
    at_least = cost.min(axis=1).sum(axis=1) + constant
    changes = np.count_nonzero(np.diff(division), axis=1)
    at_most = np.minimum(at_least + changes * _CHANGE_COST, cost.sum(axis=2).min(axis=1) + constant)
    found = []
    for scatter in np.flatnonzero(at_least <= at_most.min()).tolist():
        first = np.flatnonzero(np.append(True, np.diff(division[scatter]) != 0))
        total, path = _path(np.add.reduceat(cost[scatter], first, axis=1).T.tolist())
        found.append((total + int(constant[scatter]), scatter, first, path))
    _, scatter, first, path = min(found, key=lambda each: each[:2])
    return scatter, np.repeat(path, np.diff(np.append(first, cost.shape[2])))


def _path(costs: list[list[int]]) -> tuple[int, list[int]]:
    """The least cost of a path through the runs, and the division of each; costs[run][division]: Viterbi."""
    totals = [costs[0]]
    for cost in costs[1:]:
        total = totals[-1]
        changed = min(total) + _CHANGE_COST
        totals.append([(kept if kept <= changed else changed) + own for kept, own in zip(total, cost, strict=True)])
    least = min(totals[-1])
    path = [totals[-1].index(least)]
    for total in reversed(totals[:-1]):
        cheapest = total.index(min(total))
        path.append(path[-1] if total[path[-1]] <= total[cheapest] + _CHANGE_COST else cheapest)
    return least, path[::-1]
