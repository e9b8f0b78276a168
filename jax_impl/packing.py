"""What a training epoch is made of: which songs, which windows of the long ones, in which rows. A pure function, no tokens touched."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from configs import DataConfig, InputError
from jax_impl.batch import Batch, pack_row
from tokenizer.crop import crop
from tokenizer.dataset import Songs

OPEN_ROWS = 64  # rows that still take songs while packing; more pack hardly better
TOKENS_OUTSIDE = 4  # BOS, tempo, signature, EOS
TOKENS_PER_TRACK = 4  # track and SEP, and the duration and velocity that a crop may have to say again
WHOLE = -1  # n_bars of a song that is not cropped


@dataclass(frozen=True)
class Piece:
    """A song, or n_bars of it from first_bar on (n_bars WHOLE: all of it), and an upper bound of its size."""

    song: int
    first_bar: int
    n_bars: int
    tokens: int
    spans: int


class Plan:
    """The rows of any epoch of one split: plan.rows(epoch) lists them, plan.row(epoch, i) makes one."""

    def __init__(self, songs: Songs, config: DataConfig):
        self.songs, self.config = songs, config
        self.rows = lru_cache(maxsize=4)(self._rows)  # a loader may look one epoch ahead

    def _rows(self, epoch: int) -> list[list[Piece]]:
        random = np.random.default_rng(np.random.SeedSequence([self.config.seed, epoch]))
        pieces = []
        for song in random.permutation(len(self.songs)).tolist():
            piece = self._piece(song, epoch)
            if piece is not None:
                pieces.append(piece)
        if not pieces:
            limits = f"--max-seq-len {self.config.max_seq_len} and {self.config.max_spans} bar summaries (--max-spans)"
            raise InputError(f"a row of {limits} holds no bar of any song; take more")
        rows = first_fit(pieces, self.config.max_seq_len, self.config.max_spans)
        return [rows[i] for i in random.permutation(len(rows)).tolist()]

    def row(self, epoch: int, index: int) -> Batch:
        """Row [T] of an epoch."""
        tokens = []
        for piece in self.rows(epoch)[index]:
            song = self.songs[piece.song]
            tokens.append(song if piece.n_bars == WHOLE else crop(song, piece.first_bar, piece.n_bars))
        return pack_row([song for song in tokens if song.span.max() >= 0], self.config.max_seq_len)  # a window may hold no note

    def _piece(self, song: int, epoch: int) -> Piece | None:
        """The whole song if it fits, else one of the windows it falls into when cut from a random first bar on: every bar has the same
        chance, and the cuts move with the epoch. None if not even a bar fits."""
        config, songs = self.config, self.songs
        tokens, spans, bars = int(songs.tokens[song]), int(songs.spans[song]), int(songs.bars[song])
        if tokens <= config.max_seq_len and spans <= config.max_spans and bars <= config.max_bars:
            return Piece(song, 0, WHOLE, tokens, spans)
        random = np.random.default_rng(np.random.SeedSequence([config.seed, epoch, song]))
        bar_tokens, bar_spans = songs.bar_sizes(song)
        overhead = TOKENS_OUTSIDE + TOKENS_PER_TRACK * int(songs.tracks[song])
        uncut = cut(bar_tokens, bar_spans, overhead, config, phase=0)
        if not uncut:
            return None
        windows = cut(bar_tokens, bar_spans, overhead, config, phase=int(random.integers(uncut[0][1])))
        begin, end = windows[int(random.integers(len(windows)))]
        size = overhead + int(bar_tokens[begin:end].sum())
        return Piece(song, begin, end - begin, size, int(bar_spans[begin:end].sum()))


def cut(bar_tokens: np.ndarray, bar_spans: np.ndarray, overhead: int, config: DataConfig, phase: int) -> list[tuple[int, int]]:
    """Windows (begin, end) of consecutive bars that fit a row, each as long as it can be, but that none reaches across bar `phase`.
    Bars that do not fit a row by themselves are in none."""
    tokens = np.concatenate([[0], np.cumsum(bar_tokens)])
    spans = np.concatenate([[0], np.cumsum(bar_spans)])
    windows, begin = [], 0
    while begin < len(bar_tokens):
        end = min(
            int(np.searchsorted(tokens, tokens[begin] + config.max_seq_len - overhead, side="right")) - 1,
            int(np.searchsorted(spans, spans[begin] + config.max_spans, side="right")) - 1,
            begin + config.max_bars,
            phase if begin < phase else len(bar_tokens),
        )
        if end > begin:
            windows.append((begin, end))
        begin = max(end, begin + 1)
    return windows


def first_fit(pieces: list[Piece], max_tokens: int, max_spans: int) -> list[list[Piece]]:
    """Each piece goes into the first of the open rows with room for it; when none has, the fullest open row is closed for a new one."""
    rows: list[list[Piece]] = []
    open_rows: list[list[Piece]] = [[] for _ in range(OPEN_ROWS)]
    tokens_left, spans_left = np.full(OPEN_ROWS, max_tokens), np.full(OPEN_ROWS, max_spans)
    for piece in pieces:
        fits = (tokens_left >= piece.tokens) & (spans_left >= piece.spans)
        place = int(fits.argmax())
        if not fits[place]:
            place = int(tokens_left.argmin())
            rows.append(open_rows[place])
            open_rows[place], tokens_left[place], spans_left[place] = [], max_tokens, max_spans
        open_rows[place].append(piece)
        tokens_left[place] -= piece.tokens
        spans_left[place] -= piece.spans
    return rows + [row for row in open_rows if row]
