"""A song as passages are compared: what each note of a track is to the next one, and what each bar of a track is.

    note           C4      E4      G4      C5        C4 in the next bar
    interval       4       3       5      -12        none: its track or phrase ends
    fine steps     12      12      12      60        END
    symbol         0x840c  0x830c  0x850c  0x743c    0x00ff

Two tracks go alike for k symbols where k + 1 notes of each are the same but for key and place. Drums have no key: there
a symbol's first byte is the drum itself, and k + 1 notes are k symbols and the next one's first byte.
"""

from dataclasses import dataclass

import numpy as np

from tokenizer.grid.meter import STEP_TICKS
from tokenizer.grid.song import GridTrack
from tokenizer.music.score import DRUMS
from tokenizer.tokens.encode import grid_song
from tokenizer.tokens.fields import TokenFields

SYMBOL = np.dtype(">u2")  # big-endian: the order of its bytes is that of the numbers
END = 255  # fine steps of a symbol behind which nothing belongs to it
LONGEST_PAUSE = 192  # fine steps between two onsets of a passage, 8 quarters; a longer pause ends it
FEWEST_PITCHES = 3  # pitch classes (or drums) of a passage and of a bar that say anything: no trill, no repeated note
FEWEST_NOTES = 4  # of a bar that says anything


@dataclass(frozen=True, eq=False)
class Lines:
    """The pitched tracks of a song, or its drums, one behind another, each note by note by (onset, pitch).

    symbols: SYMBOL[N], as above. pitch, program, measure: int64[N], measures counted from 0. bars: uint64[], a hash of
    each measure of each track that has FEWEST_NOTES and FEWEST_PITCHES: of the places of its onsets in the measure and
    of its pitches above the first one (of drums the pitches themselves).
    """

    symbols: np.ndarray
    pitch: np.ndarray
    program: np.ndarray
    measure: np.ndarray
    bars: np.ndarray


def lines(tokens: TokenFields) -> tuple[Lines, Lines]:
    """The pitched tracks and the drums of a song of well-formed tokens."""
    song, _ = grid_song(tokens)
    starts = song.bars.start_ticks[:-1] // STEP_TICKS
    of_measure = starts[np.flatnonzero(song.bars.part == 0)]
    pitched = [track for track in song.tracks if track.program != DRUMS]
    drums = [track for track in song.tracks if track.program == DRUMS]
    return tuple(_lines(tracks, starts, of_measure, song.bars.measure) for tracks in (pitched, drums))


def _lines(tracks: list[GridTrack], starts: np.ndarray, of_measure: np.ndarray, measures: np.ndarray) -> Lines:
    """starts: int64[bars] fine steps. of_measure: int64[measures] likewise. measures: int64[bars] numbers of them."""
    sizes = [len(track.notes) for track in tracks]
    number = np.repeat(np.arange(len(tracks)), sizes)
    program = np.repeat(np.array([track.program for track in tracks], np.int64), sizes)
    bar, step, pitch = (
        np.concatenate([np.zeros(0, np.int64), *(track.notes[name] for track in tracks)])
        for name in ("bar", "step", "pitch")
    )
    time, measure = starts[bar] + step, measures[bar]
    symbols = _symbols(time, pitch, number, program == DRUMS)
    bars = _bars(time - of_measure[measure], pitch, number, measure, program == DRUMS)
    return Lines(symbols, pitch, program, measure, bars)


def _symbols(time: np.ndarray, pitch: np.ndarray, track: np.ndarray, is_drums: np.ndarray) -> np.ndarray:
    if not len(time):
        return np.zeros(0, SYMBOL)
    steps, ends = np.append(np.diff(time), 0), np.append(np.diff(track) != 0, True)
    ends |= steps > LONGEST_PAUSE
    interval = np.where(ends, 0, np.append(np.diff(pitch), 0) + 128)
    return (np.where(is_drums, pitch, interval) << 8 | np.where(ends, END, steps)).astype(SYMBOL)


def _bars(
    place: np.ndarray, pitch: np.ndarray, track: np.ndarray, measure: np.ndarray, is_drums: np.ndarray
) -> np.ndarray:
    """place: int64[N] of each onset in its measure."""
    if not len(place):
        return np.zeros(0, np.uint64)
    begins = np.append(True, (np.diff(track) != 0) | (np.diff(measure) != 0))
    first, bar = np.flatnonzero(begins), np.cumsum(begins) - 1
    above = np.where(is_drums, pitch, pitch - pitch[first][bar] + 256)
    hashes = np.add.reduceat(mixed((place << 10 | above).astype(np.uint64)), first)
    kinds = np.unique(bar << 8 | np.where(is_drums, pitch, pitch % 12)) >> 8
    says_much = np.bincount(bar) >= FEWEST_NOTES
    says_much &= np.bincount(kinds, minlength=len(first)) >= FEWEST_PITCHES
    return hashes[says_much]


def mixed(values: np.ndarray) -> np.ndarray:
    """uint64[N]: each value's bits well mixed, one to one (SplitMix64's output function; Steele et al. 2014, figure
    17).
    """
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
