"""Which songs, and which windows of the cut ones, share a row. Called by packing.py, once for each part of an epoch.

Songs go whole into the open row that they fill best. A song that fits none opens another one, in a free place or in
that of the fullest row, which is closed once enough cut songs wait: it is filled up with windows of them, the one first
that uses up the row's tokens and its summaries together. Any other song is cut and waits. A cut song's windows follow
one another and hold each of its bars once; none is cut within a measure, of which a bar is a part where it is long.
When all that is left fits the open rows, no new ones are opened.

    row 1   [ song 5 whole            ][ song 2 bars 0-31  ]
    row 2   [ song 7 whole ][ song 1 whole ][ 2: bars 32-39]
    row 3   [ song 2 bars 40-90                            ]

An epoch has hundreds of thousands of songs, and each worker packs all of them. So they are packed in sections that know
nothing of each other, side by side: step i of the loop is about the i-th song of every section, in arrays [sections,
...].
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from configs import DataConfig
from jax_impl.loading.sizes import Sizes

OPEN_ROWS = 32  # rows of a section that still take songs; more pack hardly better
WHOLE = -1  # n_bars of a song that is not cropped
MIN_BARS = 4  # of a window that only fills a gap
WAITING = 16  # cut songs in line to choose from; twice as many, and rows are made of them alone
NONE = -1

# A song, or n_bars of it from first_bar on (n_bars WHOLE: all of it), and an upper bound of its size.
PIECE = np.dtype(
    [("song", np.int32), ("first_bar", np.int32), ("n_bars", np.int32), ("tokens", np.int32), ("spans", np.int32)]
)


class Placed(NamedTuple):
    """Pieces in rows, int64[n] each: the section, the row's number in it, and the columns of PIECE."""

    section: np.ndarray
    row: np.ndarray
    song: np.ndarray
    first_bar: np.ndarray
    n_bars: np.ndarray
    tokens: np.ndarray
    spans: np.ndarray


@dataclass
class OpenRows:
    """Rows that still take songs: int64[sections, OPEN_ROWS] each."""

    number: np.ndarray  # of the row in its section, NONE where none is open
    tokens_left: np.ndarray  # 0 where none is open
    spans_left: np.ndarray

    @classmethod
    def none(cls, sections: int) -> "OpenRows":
        shape = (sections, OPEN_ROWS)
        return cls(np.full(shape, NONE), np.zeros(shape, np.int64), np.zeros(shape, np.int64))

    def any(self, sections: np.ndarray) -> np.ndarray:
        """bool[n]: whether a row is open."""
        return (self.number[sections] != NONE).any(axis=1)

    def fullest(self, of: np.ndarray, tokens_left: np.ndarray) -> np.ndarray:
        """int64[n]: of these rows, bool[n, OPEN_ROWS], the one with least room for tokens."""
        return np.where(of, tokens_left, np.iinfo(np.int64).max).argmin(axis=1)


@dataclass
class CutSongs:
    """Songs in line for the rest of their windows: [sections, 2 * WAITING + 1] each, int64 but for two. Bars are
    places in the bars of all songs.
    """

    waits: np.ndarray  # bool: whether there is one; else the other fields say nothing
    song: np.ndarray
    start: np.ndarray  # its first bar
    bar: np.ndarray  # the first of its next window
    stop: np.ndarray  # one past its last bar
    overhead: np.ndarray  # tokens that each window has besides those of its bars
    window_bars: np.ndarray  # bars that its next window is to have, 0: as many as fit
    least_tokens: np.ndarray  # of the shortest next window that may fill a gap
    least_spans: np.ndarray
    density: np.ndarray  # float64: tokens per span of what is left of it

    @classmethod
    def none(cls, sections: int) -> "CutSongs":
        shape = (sections, 2 * WAITING + 1)
        return cls(np.zeros(shape, bool), *(np.zeros(shape, np.int64) for _ in range(8)), np.zeros(shape))


class Packer:
    """Packs songs int64[sections, S] (NONE where a section has fewer) in this order; pack() gives the pieces, row by
    row.

    first_share: float64[sections, S]; the first window of a song that is too long for a row ends at this share of what
    a row holds, so that the cuts of a long song move with the epoch.

    In the methods, sections int64[n] are those that a step is about, and slots int64[n] a place in each of them: of
    OpenRows or of CutSongs.
    """

    def __init__(self, sizes: Sizes, config: DataConfig, order: np.ndarray, first_share: np.ndarray):
        """sizes: of the songs in this order, without the places that have none."""
        self.config, self.order, self.first_share = config, order, first_share
        given = order != NONE

        def of_songs(values: np.ndarray) -> np.ndarray:
            """int64[sections, S] from a value of each song; 0 where there is no song."""
            placed = np.zeros(order.shape, np.int64)
            placed[given] = values
            return placed

        self.tokens, self.spans, self.bars, self.overhead = map(of_songs, sizes[:4])
        fits_tokens, fits_spans = self.tokens <= config.max_seq_len, self.spans <= config.max_spans
        self.fits = given & fits_tokens & fits_spans & (self.bars <= config.max_bars)  # a row
        self.stops = np.cumsum(self.bars.ravel()).reshape(order.shape)  # one past each song's last bar
        self.tokens_before = _sums_before(sizes.bar_tokens)  # each bar
        self.spans_before = _sums_before(sizes.bar_spans)
        self.in_measure = np.append(
            sizes.bar_tokens == 0, False
        )  # no window begins there: the measure's first bar has them all

        self.n_rows = np.zeros(len(order), np.int64)  # opened so far
        self.tokens_to_place, self.spans_to_place = self.tokens.sum(axis=1), self.spans.sum(axis=1)
        self.open_rows, self.cut_songs = OpenRows.none(len(order)), CutSongs.none(len(order))
        self.placed = [Placed(*np.zeros((len(Placed._fields), 0), np.int64))]

    def pack(self) -> tuple[np.ndarray, np.ndarray]:
        """Pieces PIECE[N], row after row, and the number of pieces of each row, int64[rows]."""
        for number in range(self.order.shape[1]):
            self._add(number)
        while (left := np.flatnonzero(self.cut_songs.waits.any(axis=1))).size:
            self._use_up(left, close=self.open_rows.any(left))
        return self._row_by_row()

    def _add(self, number: int) -> None:
        """The song of this number of each section."""
        sections = self._put_into_open_rows(number)
        sections = self._put_into_new_rows(sections, number)
        self._cut(sections, number)
        while (full := sections[self.cut_songs.waits[sections].all(axis=1)]).size:
            self._use_up(full, close=self._rest_fits_open_rows(full) & self.open_rows.any(full))

    def _row_by_row(self) -> tuple[np.ndarray, np.ndarray]:
        placed = Placed(*map(np.concatenate, zip(*self.placed, strict=True)))
        key = placed.section * (int(self.n_rows.max(initial=0)) + 1) + placed.row
        by_row = np.argsort(key, kind="stable")
        pieces = np.empty(len(key), PIECE)
        for name in PIECE.names:
            pieces[name] = getattr(placed, name)[by_row]
        return pieces, np.unique(key, return_counts=True)[1]

    # ------------------------------------------------------------ whole songs

    def _put_into_open_rows(self, number: int) -> np.ndarray:
        """Each song into the fullest row that has room for it; returns the sections whose song finds none."""
        rows, tokens, spans = self.open_rows, self.tokens[:, number], self.spans[:, number]
        has_room = (rows.tokens_left >= tokens[:, None]) & (rows.spans_left >= spans[:, None])
        has_room &= self.fits[:, number, None]
        is_placed, fullest = has_room.any(axis=1), rows.fullest(has_room, rows.tokens_left)
        self._put(np.flatnonzero(is_placed), fullest[is_placed], number)
        return np.flatnonzero((self.order[:, number] != NONE) & ~is_placed)

    def _put_into_new_rows(self, sections: np.ndarray, number: int) -> np.ndarray:
        """Each song that fits a row into one that is opened for it, in a free slot or in that of a row that can be
        filled up with waiting songs; returns the sections whose song gets none.
        """
        may_open = self.fits[sections, number] & ~self._rest_fits_open_rows(sections)
        has_free_slot = (self.open_rows.number[sections] == NONE).any(axis=1)
        enough_wait = self.cut_songs.waits[sections].sum(axis=1) >= WAITING
        if (closes := may_open & ~has_free_slot & enough_wait).any():
            self._close_fullest(sections[closes])
        opens = may_open & (has_free_slot | enough_wait)
        opening = sections[opens]
        slots = (self.open_rows.number[opening] == NONE).argmax(axis=1)
        self._open(opening, slots)
        self._put(opening, slots, number)
        return sections[~opens]

    def _rest_fits_open_rows(self, sections: np.ndarray) -> np.ndarray:
        """bool[n]: all that is left of a section fits its open rows."""
        tokens_left = self.open_rows.tokens_left[sections].sum(axis=1)
        spans_left = self.open_rows.spans_left[sections].sum(axis=1)
        return (self.tokens_to_place[sections] <= tokens_left) & (self.spans_to_place[sections] <= spans_left)

    def _open(self, sections: np.ndarray, slots: np.ndarray) -> None:
        self.open_rows.number[sections, slots] = self._new_rows(sections)
        self.open_rows.tokens_left[sections, slots] = self.config.max_seq_len
        self.open_rows.spans_left[sections, slots] = self.config.max_spans

    def _new_rows(self, sections: np.ndarray) -> np.ndarray:
        """int64[n]: the number of one more row of each section."""
        number = self.n_rows[sections]
        self.n_rows[sections] += 1
        return number

    def _put(self, sections: np.ndarray, slots: np.ndarray, number: int) -> None:
        """Whole songs into open rows."""
        song, tokens, spans = (x[sections, number] for x in (self.order, self.tokens, self.spans))
        row, zero = self.open_rows.number[sections, slots], np.zeros_like(sections)
        self.placed.append(Placed(sections, row, song, zero, zero + WHOLE, tokens, spans))
        self.open_rows.tokens_left[sections, slots] -= tokens
        self.open_rows.spans_left[sections, slots] -= spans
        self.tokens_to_place[sections] -= tokens
        self.spans_to_place[sections] -= spans

    # ------------------------------------------------------------ rows of waiting songs

    def _use_up(self, sections: np.ndarray, close: np.ndarray) -> None:
        """Waiting songs fill up the fullest open row where it is to be closed, bool[n], else a row of their own."""
        if close.any():
            self._close_fullest(sections[close])
        if not close.all():
            self._fill_new_rows(sections[~close])

    def _close_fullest(self, sections: np.ndarray) -> None:
        """The fullest open row of each section is filled up; its slot is free."""
        rows = self.open_rows
        slots = rows.fullest(rows.number[sections] != NONE, rows.tokens_left[sections])
        at = (sections, slots)
        self._fill(sections, rows.number[at], rows.tokens_left[at], rows.spans_left[at])
        rows.number[at], rows.tokens_left[at], rows.spans_left[at] = NONE, 0, 0

    def _fill_new_rows(self, sections: np.ndarray) -> None:
        """A row of each section that only has windows; the first of them may be of any length."""
        rows = self._new_rows(sections)
        tokens, spans = np.full(len(sections), self.config.max_seq_len), np.full(len(sections), self.config.max_spans)
        window = self._put_window(sections, rows, tokens, spans, self.cut_songs.waits[sections])
        self._fill(sections, rows, tokens - window.tokens, spans - window.spans)

    def _fill(self, sections: np.ndarray, rows: np.ndarray, tokens: np.ndarray, spans: np.ndarray) -> None:
        """Windows of waiting songs into rows with so much room left, as many as fit."""
        cut = self.cut_songs
        while True:
            fits_tokens = cut.least_tokens[sections] <= tokens[:, None]
            fits_spans = cut.least_spans[sections] <= spans[:, None]
            suits = cut.waits[sections] & fits_tokens & fits_spans
            some = np.flatnonzero(suits.any(axis=1))
            if not some.size:
                return
            sections, rows, tokens, spans = sections[some], rows[some], tokens[some], spans[some]
            window = self._put_window(sections, rows, tokens, spans, suits[some])
            tokens, spans = tokens - window.tokens, spans - window.spans

    def _put_window(
        self, sections: np.ndarray, rows: np.ndarray, tokens: np.ndarray, spans: np.ndarray, suits: np.ndarray
    ) -> Placed:
        """The next window of one waiting song, as long as fits so much room. suits: bool[n, cuts], the songs to choose
        from.
        """
        mismatch = np.where(suits, self.mismatch(sections, tokens / np.maximum(spans, 1)), np.inf)
        window = self._take(sections, mismatch.argmin(axis=1), rows, tokens, spans)
        self.placed.append(window)
        return window

    def mismatch(self, sections: np.ndarray, density: np.ndarray) -> np.ndarray:
        """float64[n, cuts]: how badly the rest of each cut song suits a gap of so many tokens per span: least for the
        sparsest that leaves no tokens unused.
        """
        of_song, of_gap = self.cut_songs.density[sections], density[:, None]
        return np.where(of_song >= of_gap, of_song - of_gap, 1e6 - of_song)

    # ------------------------------------------------------------ cut songs

    def _cut(self, sections: np.ndarray, number: int) -> None:
        """Puts songs in line."""
        cut, at = self.cut_songs, (sections, self.cut_songs.waits[sections].argmin(axis=1))
        cut.song[at], cut.overhead[at] = self.order[sections, number], self.overhead[sections, number]
        cut.stop[at] = self.stops[sections, number]
        cut.start[at] = cut.stop[at] - self.bars[sections, number]
        self._go_on(*at, cut.start[at])
        longest = self._window_end(*at, self.config.max_seq_len, self.config.max_spans) - cut.bar[at]
        share_of_longest = np.rint(self.first_share[sections, number] * longest)
        cut.window_bars[at] = np.where(self.fits[sections, number], 0, share_of_longest)

    def _take(
        self, sections: np.ndarray, slots: np.ndarray, rows: np.ndarray, tokens: np.ndarray, spans: np.ndarray
    ) -> Placed:
        """The next window of each of these songs, as long as fits, out of the line."""
        cut, at = self.cut_songs, (sections, slots)
        song, start, bar, stop, overhead, wanted = (
            x[at] for x in (cut.song, cut.start, cut.bar, cut.stop, cut.overhead, cut.window_bars)
        )
        end = self._window_end(*at, tokens, spans)
        end = np.where((wanted >= MIN_BARS) & (wanted < end - bar), bar + wanted, end)
        leaves_scrap = (stop - MIN_BARS < end) & (end < stop) & (bar + MIN_BARS <= stop - MIN_BARS)
        end = self._measure_start(np.where(leaves_scrap, stop - MIN_BARS, end))
        window_tokens, window_spans = self._size(bar, end)
        self.tokens_to_place[sections] -= window_tokens
        self.spans_to_place[sections] -= window_spans
        cut.window_bars[at] = 0
        self._go_on(*at, end)
        return Placed(sections, rows, song, bar - start, end - bar, window_tokens + overhead, window_spans)

    def _window_end(self, sections: np.ndarray, slots: np.ndarray, tokens, spans) -> np.ndarray:
        """One past the last bar of a next window that fits so much room, where a measure ends."""
        cut, at = self.cut_songs, (sections, slots)
        bar = cut.bar[at]
        fits_tokens = _last(self.tokens_before, bar, tokens - cut.overhead[at])
        fits_spans = _last(self.spans_before, bar, spans)
        return self._measure_start(
            np.minimum.reduce((fits_tokens, fits_spans, bar + self.config.max_bars, cut.stop[at]))
        )

    def _measure_start(self, bar: np.ndarray) -> np.ndarray:
        """The bars, or where one lies within a measure, the one before it."""
        return bar - self.in_measure[bar]

    def _go_on(self, sections: np.ndarray, slots: np.ndarray, bar: np.ndarray) -> None:
        """The songs wait for their next window, which begins at a bar or past those that fit no row even by
        themselves; where none is left, they leave the line.
        """
        cut, at = self.cut_songs, (sections, slots)
        stop, overhead, begin = cut.stop[at], cut.overhead[at], bar
        while True:
            next_ = np.minimum(bar + 1, stop)
            next_ += self.in_measure[next_]
            tokens, spans = self._size(bar, next_)
            fits_none = (tokens > self.config.max_seq_len - overhead) | (spans > self.config.max_spans)
            fits_none |= next_ - bar > self.config.max_bars
            if not fits_none.any():
                break
            bar = np.where(fits_none, next_, bar)
        left_out_tokens, left_out_spans = self._size(begin, bar)
        self.tokens_to_place[sections] -= left_out_tokens
        self.spans_to_place[sections] -= left_out_spans

        cut.bar[at], cut.waits[at] = bar, bar < stop
        least = self._measure_start(np.minimum(bar + min(MIN_BARS, self.config.max_bars), stop))
        least_tokens, least_spans = self._size(bar, least)
        cut.least_tokens[at], cut.least_spans[at] = least_tokens + overhead, least_spans
        rest_tokens, rest_spans = self._size(bar, stop)
        cut.density[at] = rest_tokens / np.maximum(rest_spans, 1)

    def _size(self, bar: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and spans of the bars from each bar to before each stop."""
        return self.tokens_before[stop] - self.tokens_before[bar], self.spans_before[stop] - self.spans_before[bar]


def _sums_before(sizes: np.ndarray) -> np.ndarray:
    """int32[n + 1]: the sum of the sizes before each place; the caller sees to it that it is less than 2^31."""
    sums = np.zeros(len(sizes) + 1, np.int32)
    sums[1:] = sizes  # converted first: a sum that converts takes twice as long
    return np.cumsum(sums, out=sums)


def _last(sums: np.ndarray, bar: np.ndarray, room: np.ndarray | int) -> np.ndarray:
    """The last place up to which the sizes from each bar on fit the room."""
    return sums.searchsorted((sums[bar] + room).astype(sums.dtype), side="right") - 1
