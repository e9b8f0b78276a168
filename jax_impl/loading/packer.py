"""Which songs, and which windows of the cut ones, share a row.

Songs go whole into the open row that they fill best. A song that fits none is cut and waits; when enough wait, the
fullest open row is closed: it is filled up with windows of waiting songs, the one first that uses up the row's tokens
and its summaries together. A cut song's windows follow one another and hold each of its bars once. When all that is
left fits the open rows, no new ones are opened.

    row 1   [ song 5 whole            ][ song 2 bars 0-31  ]
    row 2   [ song 7 whole ][ song 1 whole ][ 2: bars 32-39]
    row 3   [ song 2 bars 40-90                            ]

An epoch has hundreds of thousands of songs, and each worker packs all of them. So they are packed in sections that know
nothing of each other, side by side: step i of the loop is about the i-th song of every section, in arrays [sections,
...].
"""

import numpy as np

from configs import DataConfig
from tokenizer.dataset.songs import Songs

OPEN_ROWS = 32  # rows of a section that still take songs; more pack hardly better
TOKENS_OUTSIDE = 4  # BOS, tempo, signature, EOS
TOKENS_PER_TRACK = 4  # track and SEP, and the duration and velocity that a crop may have to say again
WHOLE = -1  # n_bars of a song that is not cropped
MIN_BARS = 4  # of a window that only fills a gap
WAITING = 16  # cut songs in line to choose from; twice as many, and rows are made of them alone
NONE = -1

# A song, or n_bars of it from first_bar on (n_bars WHOLE: all of it), and an upper bound of its size.
PIECE = np.dtype(
    [("song", np.int32), ("first_bar", np.int32), ("n_bars", np.int32), ("tokens", np.int32), ("spans", np.int32)]
)


class Packer:
    """Packs songs int64[sections, S] (NONE where a section has fewer) in this order; pack() gives the pieces, row by
    row.

    first_share: float64[sections, S]; the first window of a song that is too long for a row ends at this share of what
    a row holds, so that the cuts of a long song move with the epoch.

    Of open rows, [sections, OPEN_ROWS]: row, its number in its section (NONE where no row is open), and what room it
    has left. Of cut songs, [sections, 2 WAITING + 1]: waits, whether there is one; start, bar and stop, its first bar,
    the next to take and one past its last, as places in the bars of all songs; first_bars, how long its next window is
    to be (0: as long as fits).
    """

    def __init__(self, songs: Songs, config: DataConfig, order: np.ndarray, first_share: np.ndarray):
        self.config, self.order, self.first_share = config, order, first_share
        self.n_sections, self.n_songs = order.shape
        given = order != NONE
        index = order[given]
        size = {name: np.zeros(order.shape, np.int64) for name in ("tokens", "spans", "bars", "overhead")}
        size["tokens"][given], size["spans"][given], size["bars"][given] = (
            songs.tokens[index],
            songs.spans[index],
            songs.bars[index],
        )
        size["overhead"][given] = TOKENS_OUTSIDE + TOKENS_PER_TRACK * songs.tracks[index]
        self.size = size
        self.fits = (
            given
            & (size["tokens"] <= config.max_seq_len)
            & (size["spans"] <= config.max_spans)
            & (size["bars"] <= config.max_bars)
        )
        self.stops = np.cumsum(size["bars"].ravel()).reshape(order.shape)
        self.tokens_before, self.spans_before = map(_sums_before, songs.bar_sizes(index))

        rows = (self.n_sections, OPEN_ROWS)
        self.n_rows = np.zeros(self.n_sections, np.int64)
        self.row = np.full(rows, NONE)
        self.tokens_left, self.spans_left = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
        self.tokens_to_place, self.spans_to_place = size["tokens"].sum(axis=1), size["spans"].sum(axis=1)
        cuts = (self.n_sections, 2 * WAITING + 1)
        self.waits = np.zeros(cuts, bool)
        self.song, self.start, self.bar, self.stop, self.overhead, self.first_bars = (
            np.zeros(cuts, np.int64) for _ in range(6)
        )
        # Of the shortest window for a gap:
        self.least_tokens, self.least_spans = np.zeros(cuts, np.int64), np.zeros(cuts, np.int64)
        self.density = np.zeros(cuts)  # tokens per span of what is left of it
        self.placed: list[tuple[np.ndarray, ...]] = []  # int64[n] each: section, row, and the columns of PIECE

    def pack(self) -> tuple[np.ndarray, np.ndarray]:
        """Pieces PIECE[N], row after row, and the number of pieces of each row, int64[rows]."""
        for number in range(self.n_songs):
            self._add(number)
        while (left := self.waits.any(axis=1).nonzero()[0]).size:
            self._use_up(left, (self.row[left] != NONE).any(axis=1))
        nothing = (np.zeros(0, np.int64),) * 7
        section, row, *columns = map(np.concatenate, zip(nothing, *self.placed, strict=True))
        key = section * (int(self.n_rows.max(initial=0)) + 1) + row
        by_row = np.argsort(key, kind="stable")
        pieces = np.empty(len(key), PIECE)
        for name, column in zip(PIECE.names, columns, strict=True):
            pieces[name] = column[by_row]
        return pieces, np.unique(key, return_counts=True)[1]

    # ------------------------------------------------------------ song by song

    def _add(self, number: int) -> None:
        """The song of this number of each section."""
        tokens, spans, fits = (x[:, number] for x in (self.size["tokens"], self.size["spans"], self.fits))
        room = (self.tokens_left >= tokens[:, None]) & (self.spans_left >= spans[:, None]) & fits[:, None]
        best = np.where(room, self.tokens_left, self.config.max_seq_len + 1).argmin(axis=1)
        has_room = room.any(axis=1)
        self._put(has_room.nonzero()[0], best, number)

        rest = ((self.order[:, number] != NONE) & ~has_room).nonzero()[0]
        if not rest.size:
            return
        unopened = self.row[rest] == NONE
        goes_on = fits[rest] & ~self._ends(rest)
        new = goes_on & unopened.any(axis=1)
        slot = np.zeros(self.n_sections, np.int64)
        slot[rest] = unopened.argmax(axis=1)
        close = goes_on & ~new & (self.waits[rest].sum(axis=1) >= WAITING)
        slot[rest[close]] = self._close(rest[close])
        open_ = rest[new | close]
        self._open(open_, slot[open_])
        self._put(open_, slot, number)
        cut = rest[~new & ~close]
        self._cut(cut, number)
        while (full := cut[self.waits[cut].all(axis=1)]).size:
            self._use_up(full, self._ends(full) & (self.row[full] != NONE).any(axis=1))

    def _ends(self, sections: np.ndarray) -> np.ndarray:
        """bool[n]: what is left fits the open rows."""
        tokens, spans = self.tokens_left[sections].sum(axis=1), self.spans_left[sections].sum(axis=1)
        return (self.tokens_to_place[sections] <= tokens) & (self.spans_to_place[sections] <= spans)

    def _open(self, sections: np.ndarray, slots: np.ndarray) -> None:
        self.row[sections, slots] = self.n_rows[sections]
        self.n_rows[sections] += 1
        self.tokens_left[sections, slots] = self.config.max_seq_len
        self.spans_left[sections, slots] = self.config.max_spans

    def _put(self, sections: np.ndarray, slot: np.ndarray, number: int) -> None:
        """Whole songs into open rows; slot: int64[all sections]."""
        slots = slot[sections]
        tokens, spans = self.size["tokens"][sections, number], self.size["spans"][sections, number]
        zero = np.zeros_like(sections)
        self.placed.append(
            (sections, self.row[sections, slots], self.order[sections, number], zero, zero + WHOLE, tokens, spans)
        )
        self.tokens_left[sections, slots] -= tokens
        self.spans_left[sections, slots] -= spans
        self.tokens_to_place[sections] -= tokens
        self.spans_to_place[sections] -= spans

    # ------------------------------------------------------------ rows that take no more songs

    def _close(self, sections: np.ndarray) -> np.ndarray:
        """The fullest open row of each is filled up and free again; returns its slot."""
        slots = np.where(self.row[sections] != NONE, self.tokens_left[sections], self.config.max_seq_len + 1).argmin(
            axis=1
        )
        at = (sections, slots)
        self._fill(sections, self.row[at], self.tokens_left[at], self.spans_left[at], is_empty=False)
        self.row[at], self.tokens_left[at], self.spans_left[at] = NONE, 0, 0
        return slots

    def _use_up(self, sections: np.ndarray, close: np.ndarray) -> None:
        """Waiting songs fill up an open row where one is to be closed, else a row of their own."""
        self._close(sections[close])
        alone = sections[~close]
        rows = self.n_rows[alone]
        self.n_rows[alone] += 1
        self._fill(
            alone,
            rows,
            np.full(len(alone), self.config.max_seq_len),
            np.full(len(alone), self.config.max_spans),
            is_empty=True,
        )

    def _fill(
        self, sections: np.ndarray, rows: np.ndarray, tokens: np.ndarray, spans: np.ndarray, is_empty: bool
    ) -> None:
        """Windows of waiting songs into rows with so much room left, as many as fit; those of an empty row may be of
        any length.
        """
        while True:
            suits = self.waits[sections]
            if not is_empty:
                suits &= (self.least_tokens[sections] <= tokens[:, None]) & (
                    self.least_spans[sections] <= spans[:, None]
                )
            one = suits.any(axis=1).nonzero()[0]
            if not one.size:
                return
            sections, rows, tokens, spans = sections[one], rows[one], tokens[one], spans[one]
            mismatch = np.where(suits[one], self.mismatch(sections, tokens / np.maximum(spans, 1)), np.inf)
            piece = self._take(sections, mismatch.argmin(axis=1), tokens, spans)
            self.placed.append((sections, rows, *piece))
            tokens, spans, is_empty = tokens - piece[3], spans - piece[4], False

    def mismatch(self, sections: np.ndarray, density: np.ndarray) -> np.ndarray:
        """float64[n, cuts]: how badly the rest of each cut song suits a gap of so many tokens per span: least for the
        sparsest that leaves no tokens unused.
        """
        of_song, of_gap = self.density[sections], density[:, None]
        return np.where(of_song >= of_gap, of_song - of_gap, 1e6 - of_song)

    # ------------------------------------------------------------ cut songs

    def _cut(self, sections: np.ndarray, number: int) -> None:
        """Puts songs in line."""
        at = (sections, self.waits[sections].argmin(axis=1))
        self.waits[at] = True
        self.song[at], self.stop[at] = self.order[sections, number], self.stops[sections, number]
        self.start[at] = self.bar[at] = self.stop[at] - self.size["bars"][sections, number]
        self.overhead[at] = self.size["overhead"][sections, number]
        self._aim(*at)
        longest = (
            self._end(
                *at, np.full(len(sections), self.config.max_seq_len), np.full(len(sections), self.config.max_spans)
            )
            - self.bar[at]
        )
        self.first_bars[at] = np.where(
            self.fits[sections, number], 0, np.rint(self.first_share[sections, number] * longest)
        )

    def _end(self, sections: np.ndarray, slots: np.ndarray, tokens: np.ndarray, spans: np.ndarray) -> np.ndarray:
        """One past the last bar that fits so much room."""
        bar, stop = self.bar[sections, slots], self.stop[sections, slots]
        limits = (
            self._last(self.tokens_before, bar, tokens - self.overhead[sections, slots]),
            self._last(self.spans_before, bar, spans),
            bar + self.config.max_bars,
            stop,
        )
        return np.minimum.reduce(limits)

    @staticmethod
    def _last(sums: np.ndarray, bar: np.ndarray, room: np.ndarray) -> np.ndarray:
        """The last place up to which the sizes from each bar on fit the room."""
        return sums.searchsorted((sums[bar] + room).astype(sums.dtype), side="right") - 1

    def _take(
        self, sections: np.ndarray, slots: np.ndarray, tokens: np.ndarray, spans: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """The next window of each of these songs, as long as fits: the columns of PIECE."""
        at = (sections, slots)
        bar, stop, first, end = self.bar[at], self.stop[at], self.first_bars[at], self._end(*at, tokens, spans)
        end = np.where((first >= MIN_BARS) & (first < end - bar), bar + first, end)
        leaves_scrap = (stop - MIN_BARS < end) & (end < stop) & (bar + MIN_BARS <= stop - MIN_BARS)
        end = np.where(leaves_scrap, stop - MIN_BARS, end)
        size = self.tokens_before[end] - self.tokens_before[bar], self.spans_before[end] - self.spans_before[bar]
        self.tokens_to_place[sections] -= size[0]
        self.spans_to_place[sections] -= size[1]
        self.bar[at], self.first_bars[at] = end, 0
        self._aim(*at)
        return self.song[at], bar - self.start[at], end - bar, size[0] + self.overhead[at], size[1]

    def _aim(self, sections: np.ndarray, slots: np.ndarray) -> None:
        """Past bars that fit no row even by themselves, to the end of the line where none is left; and what the next
        window takes.
        """
        at = (sections, slots)
        bar, stop, room = self.bar[at], self.stop[at], self.config.max_seq_len - self.overhead[at]
        while True:
            next_ = np.minimum(bar + 1, stop)
            too_long = (self.tokens_before[next_] - self.tokens_before[bar] > room) | (
                self.spans_before[next_] - self.spans_before[bar] > self.config.max_spans
            )
            if not too_long.any():
                break
            bar = np.where(too_long, next_, bar)
        self.tokens_to_place[sections] -= self.tokens_before[bar] - self.tokens_before[self.bar[at]]
        self.spans_to_place[sections] -= self.spans_before[bar] - self.spans_before[self.bar[at]]
        least = np.minimum(bar + min(MIN_BARS, self.config.max_bars), stop)
        self.bar[at], self.waits[at] = bar, bar < stop
        self.least_tokens[at] = self.tokens_before[least] - self.tokens_before[bar] + self.overhead[at]
        self.least_spans[at] = self.spans_before[least] - self.spans_before[bar]
        rest = self.tokens_before[stop] - self.tokens_before[bar], self.spans_before[stop] - self.spans_before[bar]
        self.density[at] = rest[0] / np.maximum(rest[1], 1)


def _sums_before(sizes: np.ndarray) -> np.ndarray:
    """int32[n + 1]: the sum of the sizes before each place; the caller sees to it that it is less than 2^31."""
    sums = np.zeros(len(sizes) + 1, np.int32)
    sums[1:] = sizes  # converted first: a sum that converts takes twice as long
    return np.cumsum(sums, out=sums)
