"""A window of bars of a song: all its tracks in musical time, as a song of its own. For the loader and given songs.

A bar here is a part of a measure where that is long (see grid/meter.py). A window begins with a measure: what its first
bar means hangs on which part it is. It may end within one.
"""

from dataclasses import dataclass, replace

import numpy as np

from tokenizer.grid.meter import Bars
from tokenizer.grid.song import GridSong, GridTrack
from tokenizer.tokens.encode import encode_song, grid_song
from tokenizer.tokens.fields import TokenFields


@dataclass(frozen=True, eq=False)
class Window:
    """Bars of a song as a song of its own, and what of it a cut ended. chords: int32[bars]. goes_on: whether the song
    has bars behind the window. tracks_go_on: bool[tracks] whether each track has notes there.
    """

    song: GridSong
    chords: np.ndarray
    goes_on: bool
    tracks_go_on: np.ndarray

    def in_order(self, order: np.ndarray) -> "Window":
        """Its tracks in an order: int[tracks] numbers of them."""
        tracks = tuple(self.song.tracks[number] for number in order.tolist())
        return replace(self, song=replace(self.song, tracks=tracks), tracks_go_on=self.tracks_go_on[order])


def crop(tokens: TokenFields, first_bar: int, n_bars: int) -> TokenFields:
    """The tokens of a window. One without notes gives BOS BPM TS EOS."""
    cut = window(tokens, first_bar, n_bars)
    return encode_song(cut.song, cut.chords)


def window(tokens: TokenFields, first_bar: int, n_bars: int) -> Window:
    """The bars first_bar .. first_bar + n_bars - 1, and before them the rest of first_bar's measure, counted from 0
    again.

    The header says the tempo and signature in force there. Notes that began earlier are left out, silent tracks too,
    and the song ends with the bar of its last note. Chords stay as they were.
    """
    song, chords = grid_song(tokens)
    stop = first_bar + n_bars
    first_bar -= int(song.bars.part[first_bar])
    tracks, tracks_go_on = [], []
    for track in song.tracks:
        begin, end = np.searchsorted(track.notes["bar"], [first_bar, stop])
        if begin < end:
            notes = track.notes[begin:end].copy()
            notes["bar"] -= first_bar
            tracks.append(GridTrack(track.program, notes))
            tracks_go_on.append(end < len(track.notes))
    length = 1 + max((int(track.notes["bar"][-1]) for track in tracks), default=0)
    bars = slice(first_bar, first_bar + length)
    shown = GridSong(Bars(song.bars.signature[bars]), song.tempo[bars], tuple(tracks))
    return Window(shown, chords[bars], stop < len(song.bars), np.array(tracks_go_on, bool))
