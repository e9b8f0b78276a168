"""What tokens have in common: a chord its root and its quality, a pitch its class and its octave, an instrument its
family. Songs in twelve keys then teach the same rows.
"""

import numpy as np

from tokenizer import vocabulary as vocab
from tokenizer.tokens.fields import NO_INSTRUMENT
from tokenizer.vocabulary import CLASS, VALUE, Class

_ROOTS, _QUALITIES, _OCTAVES, _FAMILIES = len(vocab.ROOTS), len(vocab.QUALITIES), 11, 16
# Rows: 12 roots, 18 qualities, 12 pitch classes, 11 octaves, 16 families of 8 programs
_FIRST = np.cumsum([0, _ROOTS, _QUALITIES, 12, _OCTAVES, _FAMILIES]).tolist()
COUNT = _FIRST[-1]


def _of_tokens() -> np.ndarray:
    has = np.zeros((vocab.SIZE, COUNT), bool)
    chords = np.flatnonzero((CLASS == Class.CHORD) & (VALUE > 0))  # 0 is no chord
    has[chords, _FIRST[0] + (VALUE[chords] - 1) // _QUALITIES] = True
    has[chords, _FIRST[1] + (VALUE[chords] - 1) % _QUALITIES] = True
    pitches = np.flatnonzero(CLASS == Class.PITCH)
    has[pitches, _FIRST[2] + VALUE[pitches] % 12] = True
    has[pitches, _FIRST[3] + VALUE[pitches] // 12] = True
    programs = np.flatnonzero((CLASS == Class.TRACK) & (VALUE < 128))
    has[programs, _FIRST[4] + VALUE[programs] // 8] = True
    return has


def _of_instruments() -> np.ndarray:
    has = np.zeros((NO_INSTRUMENT + 1, COUNT), bool)
    programs = np.arange(128)
    has[programs, _FIRST[4] + programs // 8] = True
    return has


OF_TOKENS, OF_INSTRUMENTS = _of_tokens(), _of_instruments()  # bool[724, COUNT], bool[130, COUNT]
