"""Which rows of the table of attributes each token and each instrument has, read from the tokens' names: 12 roots, 18
qualities of chords, 12 classes and 11 octaves of pitches, 16 families of instruments.
"""

import re

from tokenizer.tokens.fields import NO_INSTRUMENT
from tokenizer.vocabulary import NAMES, QUALITIES, ROOTS

ROOT, QUALITY, PITCH_CLASS, OCTAVE, FAMILY = 0, 12, 30, 42, 53  # first row of each
COUNT = 69
_CHORD = re.compile(f"({'|'.join(sorted(ROOTS, key=len, reverse=True))})({'|'.join(map(re.escape, QUALITIES))})")
_PITCH, _PROGRAM = re.compile(r"P(\d+)"), re.compile(r"#P(\d+)")


def of_token(name: str) -> list[int]:
    if chord := _CHORD.fullmatch(name):
        return [ROOT + ROOTS.index(chord[1]), QUALITY + QUALITIES.index(chord[2])]
    if pitch := _PITCH.fullmatch(name):
        octave, class_ = divmod(int(pitch[1]), 12)
        return [PITCH_CLASS + class_, OCTAVE + octave]
    if program := _PROGRAM.fullmatch(name):
        return [FAMILY + int(program[1]) // 8]
    return []


def of_instrument(number: int) -> list[int]:
    return [FAMILY + number // 8] if number < 128 else []  # neither drums nor none


OF_TOKENS = list(map(of_token, NAMES))
OF_INSTRUMENTS = list(map(of_instrument, range(NO_INSTRUMENT + 1)))
