"""What else a training song is shown as: its tracks in another order, bars of some of them hidden and said at the end.
Which songs of an epoch, as pure functions of (seed, epoch, song), and what becomes of a window of one.

The plan of an epoch leaves room for it (see sizes.py), and order and hidden bars are chosen among those that fit it: a
window that has none is shown as it is. Stored songs stay as they are.
"""

from typing import NamedTuple

import numpy as np

from configs import DataConfig
from tokenizer.grid.song import GridSong
from tokenizer.tokens.crop import Window
from tokenizer.tokens.encode import Hidden
from tokenizer.tokens.example import Example, example
from tokenizer.tokens.fields import OUTSIDE, TokenFields

STREAM = 0x7461736B  # "task": behind seed and epoch, where augmentation has the number of a song
# Of the bars of all tracks a song draws between these shares that may be hidden, evenly on a logarithmic scale, in
# SHARE_UNIT-ths: from a few bars of a track to half of all
SHARE_UNIT = 1 << 10
LEAST_SHARE, MOST_SHARE = 20, SHARE_UNIT // 2
HIDDEN_TRACK_TOKENS = 7  # of hidden bars: UNK, track, SEP; duration and velocity anew at their start and behind them
HIDDEN_BAR_TOKENS, HIDDEN_BAR_SPANS = 2, 1  # MASK, and the chord once more, which is a span
ORDER_BARS = 8  # bars of a song for each that another first track may have more than the first one had
TRIES = 4  # draws of hidden bars, of which the one counts that leaves least room unused
ENOUGH = 0.85  # of the room, and no more is drawn


class Tasks(NamedTuple):
    """Of each song, or of one. is_reordered: bool[n]. hidden: int32[n], share of its bars that may be hidden, in
    SHARE_UNIT-ths, 0 where none are.
    """

    is_reordered: np.ndarray
    hidden: np.ndarray

    def of(self, songs: np.ndarray) -> "Tasks":
        return Tasks(self.is_reordered[songs], self.hidden[songs])


NO_TASKS = Tasks(False, 0)


class Room(NamedTuple):
    """What a window may have more than it has as it is stored."""

    tokens: int
    spans: int

    def without(self, tokens: TokenFields) -> "Room":
        """What these leave of it."""
        return Room(self.tokens - len(tokens), self.spans - int(tokens.span.max(initial=OUTSIDE)) - 1)


def has_tasks(config: DataConfig) -> bool:
    return config.reorder > 0 or config.fill > 0


def tasks_of_epoch(config: DataConfig, epoch: int, songs: int) -> Tasks:
    """Of all songs, by three chances of each; those of one song depend on no other."""
    return _tasks(config, np.random.Generator(_bits(config, epoch)).random((songs, 3)))


def tasks_of_song(config: DataConfig, epoch: int, song: int) -> Tasks:
    """The same of one song."""
    return _tasks(config, np.random.Generator(_bits(config, epoch).advance(3 * song)).random(3))


def _bits(config: DataConfig, epoch: int) -> np.random.PCG64:
    return np.random.PCG64(np.random.SeedSequence([config.seed, epoch, STREAM]))


def _tasks(config: DataConfig, chances: np.ndarray) -> Tasks:
    """chances: float64[..., 3]."""
    share = LEAST_SHARE * (MOST_SHARE / LEAST_SHARE) ** chances[..., 2]
    hidden = np.where(chances[..., 1] < config.fill, share, 0)
    return Tasks(chances[..., 0] < config.reorder, hidden.astype(np.int32))


# ---------------------------------------------------------------- one window


def shown(window: Window, tasks: Tasks, room: Room, random: np.random.Generator) -> Example:
    """A window of a song with these tasks."""
    if tasks.is_reordered and window.song.tracks:
        window, room = reordered(window, room, bool(tasks.hidden), random)
    hidden = hidden_bars(window.song, room, random) if tasks.hidden and window.song.tracks else None
    return example(window, hidden)


def reordered(window: Window, room: Room, keeps_room: bool, random: np.random.Generator) -> tuple[Window, Room]:
    """The window with its tracks in another order, each first one equally likely for which there is room, and the room
    that is left. keeps_room: all but what was left for the order is for something else.

    The first track has every bar; any other ends with its last note. So a new one that ends early costs the old one's
    bars behind that, of a chord each:

        #D  0 1 2 3   #P33  0 1      ->      #P33  0 1 2 3   #D  0 1 2 3       the last note of #P33 is in bar 1
    """
    song = window.song
    last = last_bars(song)
    costs = last[0] - last
    most = min(*room, len(song.bars) // ORDER_BARS) if keeps_room else min(room)
    first = random.choice(np.flatnonzero(costs <= most))
    others = np.delete(np.arange(len(last)), first)
    cost = int(costs[first])
    window = window.in_order(np.append(first, random.permutation(others)))
    return window, Room(room.tokens - cost, room.spans - cost)


def hidden_bars(song: GridSong, room: Room, random: np.random.Generator) -> Hidden | None:
    """One range of whole measures and some tracks that have a note there; None where there is no room for any."""
    best, most_used = None, 0
    for _ in range(TRIES):
        drawn, used = _drawn_bars(song, room, random)
        if used > most_used:
            best, most_used = drawn, used
        if most_used >= ENOUGH * room.tokens:
            break
    return best


def _drawn_bars(song: GridSong, room: Room, random: np.random.Generator) -> tuple[Hidden | None, int]:
    """Hidden bars and the tokens that they take. As few tracks as use up the room, all that have room for a bar, or any
    number between are equally likely; their bars begin anywhere, and are as many as there is room for.
    """
    n_tracks, n_bars = len(song.tracks), len(song.bars)
    bars_for = lambda tracks: min(room.spans, (room.tokens - HIDDEN_TRACK_TOKENS * tracks) // HIDDEN_BAR_TOKENS)
    most = min(n_tracks, room.spans, room.tokens // (HIDDEN_TRACK_TOKENS + HIDDEN_BAR_TOKENS))
    if most < 1:
        return None, 0
    fewest = int(np.clip(np.ceil(bars_for(1) / n_bars - 1 / 4), 1, most))  # a little unused, and tracks are whole
    number = random.choice([fewest, most, random.integers(fewest, most, endpoint=True)])
    tracks = np.sort(random.permutation(n_tracks)[:number])
    begins = np.flatnonzero(song.bars.part == 0)
    first = random.choice(begins[begins <= max(n_bars - max(bars_for(number) // number, 1), 0)])
    stops = np.append(begins[begins > first], n_bars)
    is_there, tokens, spans = _costs(song, tracks, first, stops)
    fits = np.flatnonzero((tokens <= room.tokens) & (spans <= room.spans) & is_there.any(axis=0))
    if not fits.size:
        return None, 0
    longest = fits[-1]
    return Hidden(int(first), int(stops[longest]), tuple(tracks[is_there[:, longest]].tolist())), int(tokens[longest])


def _costs(song: GridSong, tracks: np.ndarray, first: int, stops: np.ndarray) -> tuple[np.ndarray, ...]:
    """bool[tracks, stops] which tracks have a note from bar `first` to before each stop, and int[stops] at most so many
    tokens and spans more to hide those bars of them. A track but the song's first is shown longer where they end behind
    its last note.
    """
    next_notes = [notes[np.searchsorted(notes, first) :][:1] for notes in (song.tracks[n].notes["bar"] for n in tracks)]
    next_note = np.array([bar[0] if len(bar) else len(song.bars) for bar in next_notes])
    is_there = next_note[:, None] < stops
    longer = np.maximum(stops - 1 - last_bars(song)[tracks][:, None], 0) * (tracks != 0)[:, None]
    bars = stops - first
    tokens = is_there * (HIDDEN_TRACK_TOKENS + HIDDEN_BAR_TOKENS * bars + longer)
    spans = is_there * (HIDDEN_BAR_SPANS * bars + longer)
    return is_there, tokens.sum(axis=0), spans.sum(axis=0)


def last_bars(song: GridSong) -> np.ndarray:
    """int[tracks]: the bar of each track's last note."""
    return np.array([int(track.notes["bar"][-1]) for track in song.tracks])
