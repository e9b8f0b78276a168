"""A window of bars of a song: all its tracks in musical time, as a song of its own. For the loader and given songs.

A bar here is a part of a measure where that is long (see grid/meter.py). A window begins with a measure: what its first
bar means hangs on which part it is. It may end within one.
"""

import numpy as np

from tokenizer.grid.meter import Bars
from tokenizer.grid.song import GridSong, GridTrack
from tokenizer.tokens.encode import encode_song, grid_song
from tokenizer.tokens.fields import TokenFields


def crop(tokens: TokenFields, first_bar: int, n_bars: int) -> TokenFields:
    """The bars first_bar .. first_bar + n_bars - 1, and before them the rest of first_bar's measure, counted from 0
    again.

    The header says the tempo and signature in force there. Notes that began earlier are left out, silent tracks too,
    and the song ends with the bar of its last note. Chords stay as they were. A window without notes gives BOS BPM TS
    EOS.
    """
    song, chords = grid_song(tokens)
    stop = first_bar + n_bars
    first_bar -= int(song.bars.part[first_bar])
    tracks = []
    for track in song.tracks:
        begin, end = np.searchsorted(track.notes["bar"], [first_bar, stop])
        if begin < end:
            notes = track.notes[begin:end].copy()
            notes["bar"] -= first_bar
            tracks.append(GridTrack(track.program, notes))
    length = 1 + max((int(track.notes["bar"][-1]) for track in tracks), default=0)
    window = slice(first_bar, first_bar + length)
    return encode_song(GridSong(Bars(song.bars.signature[window]), song.tempo[window], tuple(tracks)), chords[window])
