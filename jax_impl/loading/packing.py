"""What a training epoch is made of: which songs, which windows of the cut ones, in which rows.
A pure function, no tokens touched; loader.py asks it for rows by number.

Every bar of every song is in every epoch once (as often as its dataset's weight says), and where songs are cut differs
by epoch. See jax_impl/loading/packer.py for how.
"""

from collections.abc import Iterator

import numpy as np

from configs import DataConfig, InputError
from jax_impl.batch import Batch, pack_examples
from jax_impl.loading.packer import NONE, PIECE, WHOLE, Packer
from jax_impl.loading.sizes import TOKENS_OUTSIDE, TOKENS_PER_TRACK, Sizes, stored_sizes, with_room
from jax_impl.loading.tasks import (
    HIDDEN_TRACK_TOKENS,
    NO_TASKS,
    STREAM,
    Room,
    Tasks,
    has_tasks,
    shown,
    tasks_of_epoch,
    tasks_of_song,
)
from tokenizer.dataset.songs import Songs, ranges
from tokenizer.tokens.augment import augment
from tokenizer.tokens.crop import window
from tokenizer.tokens.example import Example, example, whole
from tokenizer.tokens.fields import KIND_PITCH

SECTION_ROWS = 192  # of songs that are packed together, about and at least; more pack hardly better
SECTION_SONGS = 128  # at least
SONGS_AT_ONCE = 1 << 15  # packed side by side: more take more memory, and hardly less time
MAP_TOKENS = 2  # signature and tempo, at most, of a bar without a note
TOKENS_AT_ONCE = 1 << 29  # as they are stored: with room for tasks less than 2^31, counted in 32 bits


class EpochPlan:
    """The rows of any epoch of one split: plan.rows(epoch) lists them, plan.row(epoch, i) makes one.

    planned: epochs whose rows are known, the last asked for and the one before it.
    """

    def __init__(self, songs: Songs, config: DataConfig):
        self.songs, self.config = songs, config
        self.planned: dict[int, EpochRows] = {}

    def rows(self, epoch: int) -> "EpochRows":
        if epoch not in self.planned:
            before = {epoch - 1: self.planned[epoch - 1]} if epoch - 1 in self.planned else {}
            self.planned = before | {epoch: self._rows(epoch)}
        return self.planned[epoch]

    def _rows(self, epoch: int) -> "EpochRows":
        random = np.random.default_rng(np.random.SeedSequence([self.config.seed, epoch]))
        weight = self.songs.weight
        times = np.floor(weight).astype(np.int64) + (random.random(len(weight)) < weight % 1)
        order = random.permutation(np.repeat(np.arange(len(weight)), times))
        if not len(order) and not epoch:  # a later one may be without
            raise InputError(
                f"the first epoch has none of the {len(weight)} songs: by the weights of mixture.json an epoch has "
                f"{weight.sum():.3g} songs; give larger ones"
            )
        tasks = tasks_of_epoch(self.config, epoch, len(weight)) if has_tasks(self.config) else None
        rows = EpochRows.joined(
            [
                Packer(self._sizes(part[part != NONE], tasks), self.config, part, first_share).pack()
                for part, first_share in self._sections(order, random.random(len(order)))
            ]
        )
        if len(order) and not len(rows):
            limits = f"--max-seq-len {self.config.max_seq_len} and {self.config.max_spans} bar summaries (--max-spans)"
            raise InputError(f"a row of {limits} holds no bar of any song; take more")
        rows = rows.where(~self._silent(rows.pieces, tasks))
        return rows.in_order(random.permutation(len(rows)))

    def _sizes(self, songs: np.ndarray, tasks: Tasks | None) -> Sizes:
        sizes = stored_sizes(self.songs, songs)
        return sizes if tasks is None else with_room(sizes, tasks.of(songs), self.config)

    def _silent(self, pieces: np.ndarray, tasks: Tasks | None) -> np.ndarray:
        """bool[N]: the windows without a note, as in the gap before a stray one: they would be rows of nothing.

        Their bars have a chord token a track, signature and tempo, room to be hidden, and no more; the few that may be
        such are looked at.
        """
        songs, spans = pieces["song"], pieces["spans"]
        of_bars = pieces["tokens"] - TOKENS_OUTSIDE - TOKENS_PER_TRACK * self.songs.tracks[songs]
        if tasks is not None:  # of at most half the spans a token more than the span that it is
            of_bars -= np.where(tasks.hidden[songs] > 0, HIDDEN_TRACK_TOKENS + 1 + spans // 2, 0)
        silent = (pieces["n_bars"] != WHOLE) & (of_bars - spans <= MAP_TOKENS * pieces["n_bars"])
        for number in np.flatnonzero(silent).tolist():
            song, first_bar, n_bars = pieces[["song", "first_bar", "n_bars"]][number].tolist()
            tokens = self.songs[song]
            inside = (tokens.bar >= first_bar) & (tokens.bar < first_bar + n_bars)
            silent[number] = not (inside & (tokens.kind == KIND_PITCH)).any()
        return silent

    def _sections(self, order: np.ndarray, first_share: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """What a Packer takes: [sections, songs] each, until all songs are taken."""
        length, max_spans = self.config.max_seq_len, self.config.max_spans
        rows = int(np.maximum(self.songs.tokens[order] * max_spans, self.songs.spans[order] * length).sum()) // (
            length * max_spans
        )
        count = max(min(rows // SECTION_ROWS, len(order) // SECTION_SONGS), 1)
        size = -(-len(order) // count)
        missing = count * size - len(order)
        order = np.append(order, np.full(missing, NONE)).reshape(count, size)
        first_share = np.append(first_share, np.zeros(missing)).reshape(count, size)
        most_tokens = int(np.where(order == NONE, 0, self.songs.tokens[order]).sum(axis=1).max(initial=1))
        together = max(min(SONGS_AT_ONCE // max(size, 1), TOKENS_AT_ONCE // most_tokens), 1)
        for start in range(0, count, together):
            yield order[start : start + together], first_share[start : start + together]

    def row(self, epoch: int, index: int) -> Batch:
        """Row [T] of an epoch."""
        pieces = [self._example(epoch, *piece) for piece in self.rows(epoch)[index].tolist()]
        return pack_examples(pieces, self.config.max_seq_len)

    def _example(self, epoch: int, song: int, first_bar: int, n_bars: int, tokens: int, spans: int) -> Example:
        """Of a PIECE: augmented, cut, and as its tasks say."""
        seed, piece = self.config.seed, self.songs[song]
        if self.config.augment is not None:  # before it is cut, so that all windows of a song are in one key
            random = np.random.default_rng(np.random.SeedSequence([seed, epoch, song]))
            piece = augment(piece, self.config.augment, random)
        tasks = tasks_of_song(self.config, epoch, song) if has_tasks(self.config) else NO_TASKS
        if n_bars == WHOLE and tasks == NO_TASKS:
            return whole(piece)
        part = window(piece, first_bar, int(self.songs.bars[song]) if n_bars == WHOLE else n_bars)
        if tasks == NO_TASKS:
            return example(part)
        as_stored = piece if n_bars == WHOLE else example(part).tokens
        random = np.random.default_rng(np.random.SeedSequence([seed, epoch, song, first_bar, STREAM]))
        return shown(part, tasks, Room(tokens, spans).without(as_stored), random)


class EpochRows:
    """Rows of an epoch in two arrays; rows[i] is PIECE[n]."""

    def __init__(self, pieces: np.ndarray, counts: np.ndarray):
        """pieces: PIECE[N], row after row. counts: int64[rows] of each row."""
        self._ends = np.concatenate([[0], np.cumsum(counts)])
        self.pieces = pieces

    @classmethod
    def joined(cls, parts: list[tuple[np.ndarray, np.ndarray]]) -> "EpochRows":
        return cls(*map(np.concatenate, zip((np.zeros(0, PIECE), np.zeros(0, np.int64)), *parts, strict=True)))

    def where(self, keep: np.ndarray) -> "EpochRows":
        """Only these pieces, bool[N], and the rows that have any of them."""
        row = np.repeat(np.arange(len(self)), np.diff(self._ends))[keep]
        return EpochRows(self.pieces[keep], np.unique(row, return_counts=True)[1])

    def in_order(self, order: np.ndarray) -> "EpochRows":
        counts = np.diff(self._ends)[order]
        return EpochRows(self.pieces[ranges(self._ends[order], counts)], counts)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return self.pieces[self._ends[index] : self._ends[index + 1]]
