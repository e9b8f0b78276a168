"""Score: music as notes in tracks, with its tempo and signature maps.
What MIDI files are read into and tokens decode to.
"""

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from configs import InputError

DRUMS = 128  # "program" of a drum track; 0-127 are General MIDI programs


class ImpossibleScore(InputError):
    """What no music has; the message names the track, note or change, and the value. Programs make scores, but of what
    people give them: it is theirs to mend, as a file is.
    """


# One note. Times count ticks from the start of the song; pitch 0-127, velocity 1-127, duration at least 0.
NOTE = np.dtype([("onset_ticks", np.int64), ("duration_ticks", np.int64), ("pitch", np.int16), ("velocity", np.int16)])
LATEST = 2**62 - 1  # tick; two of them added still fit int64
LARGEST = 2**31 - 1  # of the other numbers
MOST_BEATS = 2**16 - 1  # of a bar
NOTE_RANGES = {"onset_ticks": (0, LATEST), "duration_ticks": (0, LATEST), "pitch": (0, 127), "velocity": (1, 127)}


@dataclass(frozen=True, eq=False)
class Track:
    """program: 0-127 General MIDI, 128 drums. notes: NOTE[N], any order (snap sorts them by onset, pitch)."""

    program: int
    notes: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "program", _whole(self.program, "program"))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Track) and self.program == other.program and np.array_equal(self.notes, other.notes)


@dataclass(frozen=True)
class Tempo:
    """From `tick` on a quarter note lasts `microseconds_per_beat` (the unit of MIDI files, so that they round-trip
    exactly).
    """

    tick: int
    microseconds_per_beat: int

    def __post_init__(self) -> None:
        _make_whole(self, "tempo", "tick", LATEST)
        _make_whole(self, "tempo", "microseconds_per_beat")

    @property
    def bpm(self) -> float:
        return 60e6 / self.microseconds_per_beat


@dataclass(frozen=True)
class Signature:
    """From `tick` on bars last numerator/denominator of a whole note, counted from that tick."""

    tick: int
    numerator: int
    denominator: int

    def __post_init__(self) -> None:
        _make_whole(self, "signature", "tick", LATEST)
        _make_whole(self, "signature", "numerator", MOST_BEATS)
        _make_whole(self, "signature", "denominator")


@dataclass(frozen=True)
class Score:
    """A song. A beat is a quarter note, whatever the signature.

    tempos and signatures are sorted by tick, at most one a tick, and each begins with one at tick 0.
    Equality compares everything, note by note. Raises ImpossibleScore.
    """

    ticks_per_beat: int
    tracks: tuple[Track, ...]
    tempos: tuple[Tempo, ...]
    signatures: tuple[Signature, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "ticks_per_beat", _whole(self.ticks_per_beat, "ticks_per_beat"))
        for name, kind in (("tracks", Track), ("tempos", Tempo), ("signatures", Signature)):
            object.__setattr__(self, name, _several(getattr(self, name), name, kind))
        if self.ticks_per_beat < 1:
            raise ImpossibleScore(f"ticks_per_beat: {self.ticks_per_beat}, at least 1")
        for number, track in enumerate(self.tracks):
            _check_track(track, f"track {number}")
        _check_changes(self.tempos, "tempo")
        _check_changes(self.signatures, "signature")
        for number, tempo in enumerate(self.tempos):
            if tempo.microseconds_per_beat < 1:
                raise ImpossibleScore(f"tempo {number}: {tempo.microseconds_per_beat} microseconds a beat, at least 1")
        for number, signature in enumerate(self.signatures):
            numerator, denominator = signature.numerator, signature.denominator
            if numerator < 1 or denominator < 1 or denominator & (denominator - 1):
                raise ImpossibleScore(
                    f"signature {number}: {numerator}/{denominator}; beats are at least 1, of a note of 1, 2, 4, 8 ..."
                )


def _make_whole(change: "Tempo | Signature", kind: str, name: str, most: int = LARGEST) -> None:
    """A field of a change; a file may have half a million of them, most of which are whole."""
    value = getattr(change, name)
    if type(value) is not int or not -most <= value <= most:
        object.__setattr__(change, name, _whole(value, f"{kind}: {name}", most))


def _whole(value: Any, what: str, most: int = LARGEST) -> int:
    """Of numpy's or Python's whole numbers Python's, in which nothing overflows."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise ImpossibleScore(f"{what} {value!r} is not a whole number")
    if abs(number) > most:
        raise ImpossibleScore(f"{what} {number}, at most {most}")
    return number


def _several(value: Any, what: str, kind: type) -> tuple:
    """A tuple of these, of whatever holds them."""
    if not isinstance(value, Iterable):
        raise ImpossibleScore(f"{what} must be a tuple of {kind.__name__}, got {value!r}")
    items = tuple(value)
    for item in items:
        if not isinstance(item, kind):
            raise ImpossibleScore(f"{what} must be a tuple of {kind.__name__}, but one in it is {item!r}")
    return items


def _check_track(track: Track, where: str) -> None:
    if not 0 <= track.program <= DRUMS:
        raise ImpossibleScore(f"{where}: program {track.program}, 0 to {DRUMS}")
    if not isinstance(track.notes, np.ndarray) or track.notes.dtype != NOTE or track.notes.ndim != 1:
        raise ImpossibleScore(f"{where}: its notes are not an array of NOTE, of one dimension")
    for name, (least, most) in NOTE_RANGES.items() if len(track.notes) else ():
        values = track.notes[name]
        if values.min() < least or values.max() > most:
            note = int(np.flatnonzero((values < least) | (values > most))[0])
            limits = f"{least} to {most}" if most < LATEST or values[note] > most else f"at least {least}"
            raise ImpossibleScore(f"{where}, note {note}: {name} {values[note]}, {limits}")


def _check_changes(changes: tuple[Tempo, ...] | tuple[Signature, ...], what: str) -> None:
    if not changes or changes[0].tick != 0:
        raise ImpossibleScore(f"the first {what} is not at tick 0")
    for number in range(1, len(changes)):
        if changes[number].tick <= changes[number - 1].tick:
            raise ImpossibleScore(
                f"{what} {number}: at tick {changes[number].tick}, not after the one at {changes[number - 1].tick}"
            )
