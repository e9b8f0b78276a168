"""Where the model writes in a given song, as bars that are hidden in it: behind its last bar, and in some bars of new
tracks. So every action sees the song in one pass, and its programs are those of rewriting.
"""

from dataclasses import replace

import numpy as np

from configs import Constraints
from jax_impl.page.song import Refused, Song
from tokenizer.grid.meter import Bars
from tokenizer.grid.song import GRID_NOTE, HID_RANK, GridSong, GridTrack
from tokenizer.tokens import names
from tokenizer.tokens.encode import Hidden
from tokenizer.tokens.fields import MOST_HIDDEN
from tokenizer.tokens.given import Given, chord_pattern, given_song

STILL_PLAYS = 8  # measures at the end of a song: what is silent there has ended before it
NOTHING_ASKED = Constraints()


def whole(song: Song) -> Given:
    """The song up to the end of its last measure."""
    return given_song(song.prompt, NOTHING_ASKED)


def playing(given: Given) -> list[int]:
    """The tracks that go on where the song does: those that sound in its last measures, the busiest of very many."""
    begin = int(given.begins[max(given.measures - STILL_PLAYS, 0)])
    counts = [int((track.notes["bar"] >= begin).sum()) for track in given.song.tracks]
    busiest = sorted(range(len(counts)), key=lambda number: -counts[number])[: MOST_HIDDEN + 1]
    return sorted(number for number in busiest if counts[number])


def alone(given: Given, track: int) -> Given:
    """One track of the song, with the chords of all: what decides how the others go on."""
    song = given.song
    return replace(given, song=replace(song, tracks=(song.tracks[track],)))


def lengthened(given: Given, track: int, written: GridSong, chords: np.ndarray, left_out: int) -> Given:
    """The song with new bars, in which one track is there and the others that play are hidden. written, chords: that
    track alone, from bar `left_out` on, with its new bars.
    """
    song, seen, others = given.song, len(given) - left_out, [n for n in playing(given) if n != track]
    notes = written.tracks[0].notes
    notes = notes[notes["bar"] >= seen].copy()
    notes["bar"] += left_out
    tracks = list(song.tracks)
    tracks[track] = GridTrack(song.tracks[track].program, np.concatenate([song.tracks[track].notes, notes]))
    longer = GridSong(
        Bars(np.concatenate([song.bars.signature, written.bars.signature[seen:]])),
        np.concatenate([song.tempo, written.tempo[seen:]]),
        tuple(tracks),
    )
    hidden = Hidden(len(given), len(longer.bars), tuple(others)) if others else None
    return Given(longer, np.concatenate([given.chords, chords[seen:]]), given.tempos, given.own, hidden)


def with_tracks(given: Given, wanted: Constraints, instruments: str, first: int, last: int) -> Given:
    """The song with new tracks, silent but for these measures, from 1, which are hidden. Raises InputError."""
    programs = sorted(names.programs(instruments, "instruments"), key=HID_RANK.__getitem__)
    if len(programs) > MOST_HIDDEN:
        raise Refused(f"instruments: {len(programs)} at a time, and {MOST_HIDDEN} are the most")
    tracks = (*given.song.tracks, *(GridTrack(program, np.zeros(0, GRID_NOTE)) for program in programs))
    new = tuple(range(len(given.song.tracks), len(tracks)))
    hidden = Hidden(int(given.begins[first - 1]), int(given.begins[last]), new)
    chords = given.chords.copy()
    if wanted.chords:
        measure = given.song.bars.measure[hidden.first : hidden.stop]
        chords[hidden.first : hidden.stop] = chord_pattern(wanted, last - first + 1)[measure - measure[0]]
    return replace(given, song=replace(given.song, tracks=tracks), chords=chords, hidden=hidden)
