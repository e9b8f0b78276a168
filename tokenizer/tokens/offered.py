"""What a model that knows fewer tokens than ours cannot be asked: one that comes from v1.2.1, or was trained before the
grid was fine. It is offered none of ours, and none of the meters that it counted otherwise (vocabulary.offered).
"""

from dataclasses import replace

import numpy as np

from configs import Constraints, InputError
from tokenizer import vocabulary as vocab
from tokenizer.grid.meter import N_PARTS
from tokenizer.music import instruments
from tokenizer.tokens import names
from tokenizer.tokens.encode import encode_song
from tokenizer.tokens.given import Given
from tokenizer.vocabulary import CLASS, TEMPOS_BPM, TOKEN, VALUE, Class

WHY = "this model is from v1.2.1 or from before the fine grid and knows no"
HELP = "train it on, with --init-from, on a dataset prepared anew"


def check(wanted: Constraints, vocab_size: int) -> None:
    """Raises InputError where a model of so many tokens lacks what is wanted."""
    offered, tempos = vocab.offered(vocab_size), _tempos(vocab_size)
    slowest, fastest = TEMPOS_BPM[tempos[0]], TEMPOS_BPM[tempos[-1]]
    is_within = slowest <= wanted.tempo <= fastest or len(tempos) == len(TEMPOS_BPM)
    if wanted.tempo and not is_within:
        raise InputError(f"--tempo {wanted.tempo:g}: {WHY} tempo beyond {slowest} to {fastest}; {HELP}")
    if wanted.meter:
        meter = names.meter(wanted.meter, "--meter")
        if not offered[TOKEN[Class.SIGNATURE][meter]]:
            raise InputError(f"--meter {wanted.meter}: {WHY} {_bars(meter)}; {HELP}")


def as_offered(given: Given, vocab_size: int) -> Given:
    """A given song as a model of so many tokens can be told of it: at the nearest of its tempi, for the song keeps its
    own beside them. Raises InputError where the model lacks something that cannot be told otherwise, with the place of
    the first such.
    """
    tempos = _tempos(vocab_size)
    song = replace(given.song, tempo=np.clip(given.song.tempo, tempos[0], tempos[-1]))
    given = replace(given, song=song)
    tokens = encode_song(given.song, given.chords)
    lacking = np.flatnonzero(~vocab.offered(vocab_size)[tokens.ids])
    if len(lacking):
        first = int(lacking[0])
        track = int((CLASS[tokens.ids[:first]] == Class.TRACK).sum())
        number, program = max(track, 1), given.song.tracks[max(track - 1, 0)].program
        bar = int(given.song.bars.measure[max(int(tokens.bar[first]), 0)]) + 1
        raise InputError(
            f"the given song, bar {bar} of track {number} ({instruments.name(program)}): {WHY} "
            f"{_what(int(tokens.ids[first]))}; {HELP}"
        )
    return given


def _tempos(vocab_size: int) -> np.ndarray:
    """int[]: those that a model has, rising, as indices into TEMPOS_BPM."""
    tokens = TOKEN[Class.TEMPO]
    return np.flatnonzero(vocab.offered(vocab_size)[tokens])


def _what(token: int) -> str:
    value = int(VALUE[token])
    if CLASS[token] == Class.SIGNATURE:
        return _bars(value)
    if CLASS[token] == Class.POSITION:
        return "notes between two sixteenths"
    return f"notes of {vocab.NAMES[token][1:]} sixteenths"


def _bars(signature: int) -> str:
    numerator, denominator = vocab.SIGNATURES[signature]
    counted_in_eighths = " in sixteenths" if N_PARTS[signature] > 1 else ""  # v1.2.1 had such
    return f"bars of {numerator}/{denominator}{counted_in_eighths}"
