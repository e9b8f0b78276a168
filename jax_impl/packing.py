"""What a training epoch is made of: which songs, which windows of the cut ones, in which rows. A pure function, no tokens touched.

Songs go whole into the rows that they fill best. A row that no song fits any more is filled up with windows of songs that are cut: those
too long for a row, and as many others as it takes. Of the songs being cut the one is taken that uses up the row's tokens and its summaries
together. A cut song's windows follow one another and hold each of its bars once:

    row 1   [ song 5 whole            ][ song 2 bars 0-31  ]
    row 2   [ song 7 whole ][ song 1 whole ][ 2: bars 32-39]
    row 3   [ song 2 bars 40-90                            ]

So every bar of every song is in every epoch once (as often as its dataset's weight says), and where songs are cut differs by epoch.
"""

from functools import lru_cache

import numpy as np

from configs import DataConfig, InputError
from jax_impl.batch import Batch, pack_row
from tokenizer.augment import augment
from tokenizer.crop import crop
from tokenizer.dataset import Songs

OPEN_ROWS = 64  # rows that still take songs while packing; more pack hardly better
TOKENS_OUTSIDE = 4  # BOS, tempo, signature, EOS
TOKENS_PER_TRACK = 4  # track and SEP, and the duration and velocity that a crop may have to say again
WHOLE = -1  # n_bars of a song that is not cropped
MIN_BARS = 4  # of a window that only fills a gap
WAITING = 16  # cut songs in line to choose from; twice as many, and rows are made of them alone

# A song, or n_bars of it from first_bar on (n_bars WHOLE: all of it), and an upper bound of its size.
PIECE = np.dtype([("song", np.int32), ("first_bar", np.int32), ("n_bars", np.int32), ("tokens", np.int32), ("spans", np.int32)])


class Plan:
    """The rows of any epoch of one split: plan.rows(epoch) lists them, plan.row(epoch, i) makes one."""

    def __init__(self, songs: Songs, config: DataConfig):
        self.songs, self.config = songs, config
        self.rows = lru_cache(maxsize=4)(self._rows)  # a loader may look one epoch ahead

    def _rows(self, epoch: int) -> "Rows":
        random = np.random.default_rng(np.random.SeedSequence([self.config.seed, epoch]))
        weight = self.songs.weight
        times = np.floor(weight).astype(np.int64) + (random.random(len(weight)) < weight % 1)
        packer = Packer(self.songs, self.config)
        order = random.permutation(np.repeat(np.arange(len(weight)), times))
        for song, first_share in zip(order.tolist(), random.random(len(order)).tolist(), strict=True):
            packer.add(song, first_share)
        rows = packer.finish()
        if not rows:
            limits = f"--max-seq-len {self.config.max_seq_len} and {self.config.max_spans} bar summaries (--max-spans)"
            raise InputError(f"a row of {limits} holds no bar of any song; take more")
        return Rows([rows[i] for i in random.permutation(len(rows)).tolist()])

    def row(self, epoch: int, index: int) -> Batch:
        """Row [T] of an epoch."""
        tokens = []
        for song, first_bar, n_bars, _, _ in self.rows(epoch)[index].tolist():
            piece = self.songs[song]
            if self.config.augment is not None:  # before it is cut, so that all windows of a song are in one key
                random = np.random.default_rng(np.random.SeedSequence([self.config.seed, epoch, song]))
                piece = augment(piece, self.config.augment, random)
            if n_bars != WHOLE:
                piece = crop(piece, first_bar, n_bars)
            if piece.span.max() >= 0:  # a window may hold no note
                tokens.append(piece)
        return pack_row(tokens, self.config.max_seq_len)


class Rows:
    """Rows of an epoch in two arrays; rows[i] is PIECE[n]."""

    def __init__(self, rows: list[list[tuple]]):
        self._ends = np.cumsum([0, *map(len, rows)])
        self.pieces = np.array([piece for row in rows for piece in row], PIECE)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return self.pieces[self._ends[index] : self._ends[index + 1]]


class Cut:
    """A song that is taken window by window, from its first bar to its last.

    first_share: the first window ends at this share of what a row holds, so that the cuts of a long song move with the epoch; 1 for none.
    """

    def __init__(self, songs: Songs, song: int, config: DataConfig, first_share: float = 1):
        self.song, self.config, self.bar = song, config, 0
        bar_tokens, bar_spans = songs.bar_sizes(song)
        self.overhead = TOKENS_OUTSIDE + TOKENS_PER_TRACK * int(songs.tracks[song])
        self.tokens, self.spans = (np.concatenate([[0], np.cumsum(sizes)]) for sizes in (bar_tokens, bar_spans))
        self._skip()
        self.first_bars = round(first_share * (self._end(config.max_seq_len, config.max_spans) - self.bar))

    @property
    def bars_left(self) -> int:
        return len(self.tokens) - 1 - self.bar

    def mismatch(self, density: float) -> float:
        """How badly the rest of the song suits a gap of so many tokens per span: least for the sparsest that leaves no tokens unused."""
        own = (self.tokens[-1] - self.tokens[self.bar]) / (self.spans[-1] - self.spans[self.bar])
        return own - density if own >= density else 1e6 - own

    def _skip(self) -> None:
        """Past bars that fit no row even by themselves."""
        while self.bars_left and self._end(self.config.max_seq_len, self.config.max_spans) == self.bar:
            self.bar += 1

    def _end(self, max_tokens: int, max_spans: int) -> int:
        """One past the last bar that fits; self.bar if none does."""
        end = min(
            int(np.searchsorted(self.tokens, self.tokens[self.bar] + max_tokens - self.overhead, side="right")) - 1,
            int(np.searchsorted(self.spans, self.spans[self.bar] + max_spans, side="right")) - 1,
            self.bar + self.config.max_bars,
            len(self.tokens) - 1,
        )
        return max(end, self.bar)

    def take(self, max_tokens: int, max_spans: int, least_bars: int) -> tuple | None:
        """The next window, as a PIECE, as long as fits; None if that is shorter than least_bars and not all that is left."""
        begin, end = self.bar, self._end(max_tokens, max_spans)
        if MIN_BARS <= self.first_bars < end - begin:
            end = begin + self.first_bars
        if end < begin + min(least_bars, self.bars_left) or end == begin:
            return None
        if begin + least_bars <= len(self.tokens) - 1 - least_bars < end < len(self.tokens) - 1:
            end = len(self.tokens) - 1 - least_bars  # leave no shorter window for the end
        self.bar, self.first_bars = end, 0
        self._skip()
        size = self.overhead + int(self.tokens[end] - self.tokens[begin])
        return (self.song, begin, end - begin, size, int(self.spans[end] - self.spans[begin]))


class Packer:
    """Takes songs one by one, gives rows of pieces; see the top of this file."""

    def __init__(self, songs: Songs, config: DataConfig):
        self.songs, self.config = songs, config
        self.fits = (songs.tokens <= config.max_seq_len) & (songs.spans <= config.max_spans) & (songs.bars <= config.max_bars)
        self.rows: list[list[tuple]] = []
        self.open: list[list[tuple]] = [[] for _ in range(OPEN_ROWS)]
        self.tokens_left, self.spans_left = np.full(OPEN_ROWS, config.max_seq_len), np.full(OPEN_ROWS, config.max_spans)
        self.cuts: list[Cut] = []

    def add(self, song: int, first_share: float) -> None:
        if not self.fits[song]:
            self._cut(song, first_share)
            while len(self.cuts) > 2 * WAITING:
                self.rows.append(self._filled([], self.config.max_seq_len, self.config.max_spans))
            return
        tokens, spans = int(self.songs.tokens[song]), int(self.songs.spans[song])
        fitting = (self.tokens_left >= tokens) & (self.spans_left >= spans)
        if fitting.any():
            self._put(int(np.where(fitting, self.tokens_left, self.config.max_seq_len + 1).argmin()), song, tokens, spans)
        elif len(self.cuts) < WAITING:
            self._cut(song)
        else:
            place = int(self.tokens_left.argmin())
            self._close(place)
            self._put(place, song, tokens, spans)

    def finish(self) -> list[list[tuple]]:
        """All rows. The emptiest open rows give up their songs to fill the others."""
        order = np.argsort(self.tokens_left, kind="stable").tolist()
        while order:
            if self.cuts:
                self._close(order.pop(0))
            else:
                for song, *_ in self.open[order.pop()]:
                    self._cut(song)
        while self.cuts:
            self.rows.append(self._filled([], self.config.max_seq_len, self.config.max_spans))
        return [row for row in self.rows if row]

    def _put(self, place: int, song: int, tokens: int, spans: int) -> None:
        self.open[place].append((song, 0, WHOLE, tokens, spans))
        self.tokens_left[place] -= tokens
        self.spans_left[place] -= spans

    def _close(self, place: int) -> None:
        self.rows.append(self._filled(self.open[place], int(self.tokens_left[place]), int(self.spans_left[place])))
        self.open[place], self.tokens_left[place], self.spans_left[place] = [], self.config.max_seq_len, self.config.max_spans

    def _cut(self, song: int, first_share: float = 1) -> None:
        cut = Cut(self.songs, song, self.config, first_share)
        if cut.bars_left:
            self.cuts.append(cut)

    def _filled(self, row: list[tuple], tokens: int, spans: int) -> list[tuple]:
        """The row with windows of the songs in line, as many as fit."""
        while self.cuts and tokens > 0 and spans > 0:
            by_mismatch = sorted(self.cuts, key=lambda cut: cut.mismatch(tokens / spans))
            taken = ((cut, cut.take(tokens, spans, MIN_BARS if row else 1)) for cut in by_mismatch)
            best, piece = next((one for one in taken if one[1]), (None, None))
            if best is None:
                break
            row.append(piece)
            tokens, spans = tokens - piece[3], spans - piece[4]
            if not best.bars_left:
                self.cuts.remove(best)
        return row
