"""What people call instruments, chords and meters, as programs and tokens' numbers."""

import re

from configs import InputError
from tokenizer import vocabulary as vocab
from tokenizer.music import instruments
from tokenizer.music.score import DRUMS

COMMON = {
    "drums": DRUMS,
    "bass": 33,
    "piano": 0,
    "guitar": 25,
    "organ": 16,
    "strings": 48,
    "violin": 40,
    "cello": 42,
    "pad": 89,
    "vibraphone": 11,
    "choir": 52,
    "trumpet": 56,
    "brass": 61,
    "sax": 65,
    "flute": 73,
    "lead": 81,
}
_PROGRAMS = {name.lower(): program for program, name in enumerate(instruments.NAMES)} | COMMON

_FLATS = {"Db": "C#", "Eb": "D#", "Gb": "F#", "Ab": "G#", "Bb": "A#", "Cb": "B", "Fb": "E", "E#": "F", "B#": "C"}
_QUALITIES = {"": "maj", "m": "min", "M7": "maj7", "m7": "min7", "m6": "min6", "m9": "min9", "M9": "maj9"}
_QUALITIES |= {"o": "dim", "o7": "dim7", "m7b5": "hdim7", "+": "aug", "sus": "sus4"}


def programs(text: str, flag: str) -> list[int]:
    """Programs (128 drums) of names or numbers separated by commas. Raises InputError that lists the known ones."""
    found = []
    for word in filter(None, (word.strip() for word in text.split(","))):
        program = int(word) if word.isdigit() else _PROGRAMS.get(word.lower(), -1)
        if not 0 <= program <= 127 and program != _PROGRAMS.get(word.lower()):
            raise InputError(
                f"{flag}: unknown instrument {word!r}; known are {', '.join(COMMON)}, the programs 0 to 127 and the "
                f"General MIDI names: {', '.join(instruments.NAMES)}"
            )
        found.append(program)
    if not found:
        raise InputError(f"{flag}: name at least one instrument, such as {', '.join(list(COMMON)[:3])}")
    return found


def chords(text: str, flag: str) -> list[int]:
    """Chords as bar_chords numbers them, 0 for N, of names such as C, Am, Bb7, Dmin7. Raises InputError that lists the
    known ones.
    """
    found = []
    for word in text.replace("|", " ").split():
        match = re.fullmatch(r"([A-G][#b]?)(.*)", word)
        root, quality = (match[1], match[2]) if match else ("", "")
        name = "N" if word == "N" else _FLATS.get(root, root) + _QUALITIES.get(quality, quality)
        if name not in _CHORDS:
            raise InputError(
                f"{flag}: unknown chord {word!r}; a chord is a root ({', '.join(vocab.ROOTS)} or with b) "
                "and nothing, m or one of "
                f"{', '.join(vocab.QUALITIES)}; N is none"
            )
        found.append(_CHORDS[name])
    return found


_CHORDS = {name: number for number, name in enumerate(vocab.NAMES[vocab.CHORD : vocab.POSITION])}


def meter(text: str, flag: str) -> int:
    """Index into vocabulary.SIGNATURES of such as 3/4. Raises InputError that lists the known ones."""
    known = [f"{numerator}/{denominator}" for numerator, denominator in vocab.SIGNATURES]
    if text not in known:
        raise InputError(f"{flag}: unknown meter {text!r}; known are {', '.join(known)}")
    return known.index(text)


def transposed_chord(chord: int, semitones: int) -> int:
    """The chord so many semitones higher; N stays."""
    if chord == 0:
        return 0
    root, quality = divmod(chord - 1, len(vocab.QUALITIES))
    return 1 + (root + semitones) % len(vocab.ROOTS) * len(vocab.QUALITIES) + quality
