"""Score: music as notes in tracks, with its tempo and signature maps.
What MIDI files are read into and tokens decode to.
"""

from dataclasses import dataclass

import numpy as np

DRUMS = 128  # "program" of a drum track; 0-127 are General MIDI programs

# One note. Times count ticks from the start of the song; pitch 0-127, velocity 1-127, duration at least 0.
NOTE = np.dtype([("onset_ticks", np.int64), ("duration_ticks", np.int64), ("pitch", np.int16), ("velocity", np.int16)])


@dataclass(frozen=True, eq=False)
class Track:
    """program: 0-127 General MIDI, 128 drums. notes: NOTE[N], any order (snap sorts them by onset, pitch)."""

    program: int
    notes: np.ndarray

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Track) and self.program == other.program and np.array_equal(self.notes, other.notes)


@dataclass(frozen=True)
class Tempo:
    """From `tick` on a quarter note lasts `microseconds_per_beat` (the unit of MIDI files, so that they round-trip
    exactly).
    """

    tick: int
    microseconds_per_beat: int

    @property
    def bpm(self) -> float:
        return 60e6 / self.microseconds_per_beat


@dataclass(frozen=True)
class Signature:
    """From `tick` on bars last numerator/denominator of a whole note, counted from that tick."""

    tick: int
    numerator: int
    denominator: int


@dataclass(frozen=True)
class Score:
    """A song. A beat is a quarter note, whatever the signature.

    tempos and signatures are sorted by tick, at most one a tick, and each begins with one at tick 0.
    Equality compares everything, note by note.
    """

    ticks_per_beat: int
    tracks: tuple[Track, ...]
    tempos: tuple[Tempo, ...]
    signatures: tuple[Signature, ...]
