"""All places of many songs' symbols in the order of what follows each of them (a suffix array; Manber & Myers 1993,
section 2), so that the longest passage which begins anywhere in a song is found by binary search, however often it
occurs. Places are ordered by DEPTH symbols; those that go alike for so long stand in the order in which they lie.

    symbols   b a n a n a          order   5 3 1 0 4 2        first   [a] 0 .. 3, [b] 3 .. 4, [n] 4 .. 6
                                           a       what follows at 5
                                           a n a             ... at 3
                                           a n a n a         ... at 1
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jax_impl.evaluation.copies_notes import END, SYMBOL

DEPTH = 32  # symbols by which places are ordered
BYTES = SYMBOL.itemsize * DEPTH
KEY = 4  # symbols in a number of 64 bits
MOST_ALIKE = 4096  # places that go alike for DEPTH symbols and are followed further, for one place of a song
AT_ONCE = 1 << 23  # places that are sorted in memory at once
BLOCK = 1 << 24  # symbols that are looked through at once


@dataclass(frozen=True, eq=False)
class Places:
    """symbols: SYMBOL[N + DEPTH], zeros at the end. order: integer[N] places of symbols. first: int64[65537], where in
    `order` the places of each first symbol begin.
    """

    symbols: np.ndarray
    order: np.ndarray
    first: np.ndarray

    def longest(self, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int64[Q] how many bytes of symbols from each place of a song's symbols SYMBOL[Q] on go as somewhere here, and
        int64[Q] where. No passage goes on behind END. Raises IndexError where the order is none.
        """
        at = np.arange(len(query))
        if not len(self.order) or not len(query):
            return 0 * at, 0 * at
        own, most = windows(padded(query)), 2 * _next_end(query) + 1 - 2 * at
        keys, at, of_key = np.unique(_rows(own, at).view(f"S{BYTES}")[:, 0], return_index=True, return_inverse=True)
        low, high = (self.first[query[at].astype(np.int64) + more] for more in (0, 1))
        low = self._search(keys, low, high, np.less)
        found, place = self._nearest(_rows(own, at), low)
        high = self._search(keys, low, np.where(found == BYTES, high, low), np.less_equal)
        found, place, low, high = found[of_key], place[of_key], low[of_key], high[of_key]
        goes_on = np.flatnonzero((found == BYTES) & (most > BYTES))
        self._follow(own, goes_on, low, high, most, found, place)
        return np.minimum(found, most), place

    @cached_property
    def windows(self) -> np.ndarray:
        """See there."""
        return windows(np.asarray(self.symbols))

    def _search(self, keys: np.ndarray, low: np.ndarray, high: np.ndarray, before: np.ufunc) -> np.ndarray:
        """int64[K]: how many places stand in the order before each key, of those from low to before high."""
        low, high = low.copy(), high.copy()
        while len(going := np.flatnonzero(low < high)):
            middle = (low[going] + high[going]) // 2
            there = _rows(self.windows, self.order[middle]).view(f"S{BYTES}")[:, 0]
            is_before = before(there, keys[going])
            low[going] = np.where(is_before, middle + 1, low[going])
            high[going] = np.where(is_before, high[going], middle)
        return low

    def _nearest(self, rows: np.ndarray, low: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the two places between which each of the rows uint8[K, BYTES] would stand, how many bytes the one goes on
        alike that does for more (no other does for more), and it.
        """
        places = [self.order[np.clip(low + side, 0, len(self.order) - 1)].astype(np.int64) for side in (0, -1)]
        alike = [_alike(rows, _rows(self.windows, place)) for place in places]
        return np.maximum(*alike), np.where(alike[0] >= alike[1], *places)

    def _follow(
        self,
        own: np.ndarray,
        goes_on: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        most: np.ndarray,
        found: np.ndarray,
        place: np.ndarray,
    ) -> None:
        """Of places of a song that go on for DEPTH symbols as those in the order from low to before high: how far in
        all, into `found` and `place`. own: windows of the song.
        """
        last = -2  # the place before the first is none
        for at in goes_on.tolist():
            places = self.order[low[at] : min(high[at], low[at] + MOST_ALIKE)].astype(np.int64)
            if last == at - 1 and found[last] - 2 >= BYTES:  # what comes from there was followed from there
                found[at], place[at] = found[last] - 2, place[last] + 1
                places = places[(places == 0) | (self.windows[places - 1, 0] != own[last, 0])]
            last = at
            if len(places):
                alike = self._further(own, at, places, int(most[at]))
                best = int(alike.argmax())
                if alike[best] > found[at]:
                    found[at], place[at] = alike[best], places[best]

    def _further(self, own: np.ndarray, at: int, places: np.ndarray, most: int) -> np.ndarray:
        """int64[P]: bytes that are alike from each place on, of which BYTES are known."""
        alike, going = np.full(len(places), BYTES, np.int64), np.arange(len(places))
        for symbols in range(DEPTH, most // 2 + 1, DEPTH):
            more = _alike(_rows(own, np.array([at + symbols])), _rows(self.windows, places[going] + symbols))
            alike[going] += more
            going = going[more == BYTES]
            if not len(going):
                break
        return alike


def padded(symbols: np.ndarray) -> np.ndarray:
    """SYMBOL[N + DEPTH]: zeros behind symbols SYMBOL[N]."""
    longer = np.zeros(len(symbols) + DEPTH, SYMBOL)  # np.concatenate would change the order of bytes
    longer[: len(symbols)] = symbols
    return longer


def _next_end(query: np.ndarray) -> np.ndarray:
    """int64[Q]: the first place at or behind each one with a symbol that ends; the last symbol of all does."""
    ends = np.flatnonzero(query.astype(np.int64) & 255 == END)
    return ends[np.searchsorted(ends, np.arange(len(query)))]


def windows(symbols: np.ndarray) -> np.ndarray:
    """SYMBOL[N + 1, DEPTH]: DEPTH symbols from each place on, of symbols SYMBOL[N + DEPTH]; a view."""
    return np.lib.stride_tricks.sliding_window_view(symbols, DEPTH)


def _rows(windows: np.ndarray, at: np.ndarray) -> np.ndarray:
    """uint8[P, BYTES]: the bytes of these."""
    return np.ascontiguousarray(windows[at]).view(np.uint8)


def _alike(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """int64[P]: bytes that are alike from the first on, of rows uint8[P, BYTES]."""
    differs = one != other
    return np.where(differs.any(axis=1), differs.argmax(axis=1), BYTES)


# ---------------------------------------------------------------- putting them in order


def firsts(symbols: np.ndarray) -> np.ndarray:
    """int64[65537]: Places.first of symbols SYMBOL[N + DEPTH]."""
    return np.concatenate([[0], np.cumsum(_counts(symbols, ()))])


def ordered(symbols: np.ndarray) -> Iterator[np.ndarray]:
    """Places.order of symbols SYMBOL[N + DEPTH], piece by piece; no more memory than pieces of AT_ONCE places take."""
    for places in _alike_first(symbols, ()):
        yield _sorted(symbols, places) if len(places) <= AT_ONCE else places


def _places(symbols: np.ndarray, prefix: tuple[int, ...]) -> Iterator[np.ndarray]:
    """int64[] the places from which on these symbols stand, block by block."""
    n = len(symbols) - DEPTH
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        if not prefix:
            yield np.arange(start, stop)
            continue
        places = start + np.flatnonzero(symbols[start:stop] == prefix[0])
        for number, symbol in enumerate(prefix[1:], 1):
            places = places[symbols[places + number] == symbol]
        yield places


def _counts(symbols: np.ndarray, prefix: tuple[int, ...]) -> np.ndarray:
    """int64[65536]: how often each symbol follows on the prefix."""
    counts = np.zeros(1 << 16, np.int64)
    for places in _places(symbols, prefix):
        counts += np.bincount(symbols[places + len(prefix)], minlength=len(counts))
    return counts


def _alike_first(symbols: np.ndarray, prefix: tuple[int, ...]) -> Iterator[np.ndarray]:
    """int64[]: the places from which on the prefix stands, in pieces of which each stands before the next in the order.
    A piece of more than AT_ONCE places is in order: its DEPTH symbols are alike.
    """
    if len(prefix) == DEPTH:
        yield np.concatenate([*_places(symbols, prefix)])
        return
    counts = _counts(symbols, prefix)
    there = np.flatnonzero(counts)
    start = 0
    while start < len(there):
        stop = start + max(int(np.searchsorted(np.cumsum(counts[there[start:]]), AT_ONCE, side="right")), 1)
        low, high = int(there[start]), int(there[stop - 1])
        start = stop
        if low == high and counts[low] > AT_ONCE:
            yield from _alike_first(symbols, (*prefix, low))
            continue
        found = []
        for places in _places(symbols, prefix):
            follows = symbols[places + len(prefix)]
            found.append(places[(follows >= low) & (follows <= high)])
        yield np.concatenate(found)


def _sorted(symbols: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Places int64[P], given as they lie, in the order of the DEPTH symbols from each on: KEY symbols at a time, of
    those that were alike so far.
    """
    places = places.copy()
    group = np.zeros(len(places), np.int64)  # those that are alike so far have one number, and stand together
    alike = np.arange(len(places))
    for symbol in range(0, DEPTH, KEY):
        if not len(alike):
            break
        here = places[alike]
        key = np.zeros(len(here), np.uint64)
        for number in range(symbol, symbol + KEY):
            key = key << np.uint64(16) | symbols[here + number]
        by_key = np.lexsort((key, group[alike]))
        places[alike], key = here[by_key], key[by_key]
        differs = np.append(True, (np.diff(key) != 0) | (np.diff(group[alike]) != 0))
        group[alike] = alike[np.flatnonzero(differs)][np.cumsum(differs) - 1]
        is_alone = differs & np.append(differs[1:], True)
        alike = alike[~is_alone]
    return places
