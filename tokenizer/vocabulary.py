"""The 724 tokens in one table: of each id its name, its class and its value. Everything else asks this table.

0-642 are v1.2.1's, with their ids; models that come from there have no others. Ours stand behind them:

0-5 special | 6-222 chord | 223-238 position | 239-366 pitch | 367-495 track | 496-527 tempo
528-546 time signature | 547-610 duration | 611-642 velocity
643-674 position | 675-698 duration | 699-707 time signature | 708-723 tempo

    CLASS[id]              what it is, a number of Class         CLASS[230] == Class.POSITION
    VALUE[id]              what it says, see below               VALUE[230] == 42
    TOKEN[class][value]    the id that says it, -1 where none    TOKEN[Class.POSITION][42] == 230

chord: 0 none, then root by root each quality. position: fine steps (1/24 of a quarter note) from the bar line, 0-95.
pitch: of MIDI. track: program 0-127, 128 drums. tempo: index into TEMPOS_BPM, which rises. time signature: index into
SIGNATURES. duration: fine steps, 3-1536. velocity: bin 0-31.
"""

import hashlib
from fractions import Fraction

import numpy as np

SPECIALS = ("PAD", "BOS", "EOS", "MASK", "SEP", "UNK")
PAD, BOS, EOS, MASK, SEP, UNK = range(6)


class Class:
    """Classes of tokens. Each special token is a class of its own, numbered as its id."""

    PAD, BOS, EOS, MASK, SEP, UNK, CHORD, POSITION, PITCH, TRACK, TEMPO, SIGNATURE, DURATION, VELOCITY = range(14)


N_CLASSES = 14

ROOTS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
# fmt: off
QUALITIES = ("maj", "min", "dim", "aug", "7", "maj7", "min7", "dim7", "hdim7", "sus2", "sus4", "7sus4",
             "6", "min6", "9", "maj9", "min9", "5")
_SIGNATURES_V121 = ((1, 4), (2, 4), (3, 4), (4, 4), (5, 4), (6, 4), (7, 4), (2, 2), (3, 2), (4, 2),
                    (3, 8), (5, 8), (6, 8), (7, 8), (9, 8), (12, 8), (2, 8), (4, 8), (8, 8))
# fmt: on
_SIGNATURES_OURS = ((1, 8), *((n, 16) for n in range(1, 16, 2)))
SIGNATURES = _SIGNATURES_V121 + _SIGNATURES_OURS

_TEMPO_RATIO = (250 / 40) ** (1 / 31)
_TEMPOS_SLOW, _TEMPOS_V121, _TEMPOS_FAST = (
    tuple(round(40 * _TEMPO_RATIO**i) for i in steps) for steps in (range(-8, 0), range(32), range(32, 40))
)
TEMPOS_BPM = _TEMPOS_SLOW + _TEMPOS_V121 + _TEMPOS_FAST

# Fine steps: 24 to a quarter note, 6 to a sixteenth. A quarter has 12 places, sixteenths, thirty-seconds and triplets.
QUARTER, SIXTEENTH = 24, 6
IS_PLACE = np.array([step % 3 == 0 or step % 4 == 0 for step in range(QUARTER)])  # of the fine steps of a quarter
_BESIDE = tuple(step for step in range(96) if step % SIXTEENTH and IS_PLACE[step % QUARTER])
_LONG = (80, 96, 112, 128, 160, 192, 224, 256)  # sixteenths
LONGEST = _LONG[-1] * SIXTEENTH  # fine steps of the longest note

N_CHORDS, N_PITCHES, N_TRACKS, N_VELOCITIES = 1 + len(ROOTS) * len(QUALITIES), 128, 129, 32
N_TEMPOS, N_SIGNATURES = len(TEMPOS_BPM), len(SIGNATURES)


def _sixteenths(letter: str, step: int) -> str:
    """Name of a time in fine steps, which counts sixteenths: T3, T3+1/2, L1/2."""
    whole, rest = divmod(Fraction(step, SIXTEENTH), 1)
    return f"{letter}{whole}+{rest}" if whole and rest else f"{letter}{rest or whole}"


def _position(step: int) -> str:
    return _sixteenths("T", step)


def _duration(steps: int) -> str:
    return _sixteenths("L", steps)


def _track(program: int) -> str:
    return "#D" if program == N_TRACKS - 1 else f"#P{program}"


def _tempo(index: int) -> str:
    return f"BPM_{index - len(_TEMPOS_SLOW)}"


def _signature(index: int) -> str:
    return "TS_{}/{}".format(*SIGNATURES[index])


_CHORDS = ("N", *(root + quality for root in ROOTS for quality in QUALITIES))
_FIRST_TEMPO, _FIRST_SIGNATURE = len(_TEMPOS_SLOW), len(_SIGNATURES_V121)  # in v1.2.1; of ours
_BLOCKS = (  # in the order of ids: class, values, their names
    (Class.CHORD, range(N_CHORDS), _CHORDS.__getitem__),
    (Class.POSITION, range(0, 96, SIXTEENTH), _position),
    (Class.PITCH, range(N_PITCHES), "P{}".format),
    (Class.TRACK, (N_TRACKS - 1, *range(N_TRACKS - 1)), _track),
    (Class.TEMPO, range(_FIRST_TEMPO, _FIRST_TEMPO + len(_TEMPOS_V121)), _tempo),
    (Class.SIGNATURE, range(_FIRST_SIGNATURE), _signature),
    (Class.DURATION, range(SIXTEENTH, 65 * SIXTEENTH, SIXTEENTH), _duration),
    (Class.VELOCITY, range(N_VELOCITIES), "V{}".format),
    (Class.POSITION, _BESIDE, _position),
    (Class.DURATION, [step for step in _BESIDE if step <= 48], _duration),
    (Class.DURATION, [sixteenths * SIXTEENTH for sixteenths in _LONG], _duration),
    (Class.SIGNATURE, range(_FIRST_SIGNATURE, N_SIGNATURES), _signature),
    (Class.TEMPO, (*range(_FIRST_TEMPO), *range(_FIRST_TEMPO + len(_TEMPOS_V121), N_TEMPOS)), _tempo),
)
_TABLE = [(name, number, 0) for number, name in enumerate(SPECIALS)]
_TABLE += [(name(value), number, value) for number, values, name in _BLOCKS for value in values]

NAMES: tuple[str, ...] = tuple(name for name, _, _ in _TABLE)
ID = {name: number for number, name in enumerate(NAMES)}
CLASS = np.array([number for _, number, _ in _TABLE], np.int32)
VALUE = np.array([value for _, _, value in _TABLE], np.int32)
SIZE, V121_SIZE = len(NAMES), 643
assert SIZE == len(ID) == 724


def _tokens(number: int) -> np.ndarray:
    """int32[]: the id of each value of a class, -1 where none says it."""
    (ids,) = np.nonzero(CLASS == number)
    tokens = np.full(VALUE[ids].max() + 1, -1, np.int32)
    tokens[VALUE[ids]] = ids
    return tokens


TOKEN = tuple(_tokens(number) for number in range(N_CLASSES))

# What a note can last, in fine steps
DURATIONS = np.flatnonzero(TOKEN[Class.DURATION] >= 0)


def fingerprint(size: int) -> str:
    """Of everything that the meaning of the first `size` tokens hangs on; datasets and checkpoints carry it and refuse
    another.
    """
    tempos = _TEMPOS_V121 if size == V121_SIZE else TEMPOS_BPM
    return hashlib.sha256("\n".join([*NAMES[:size], *map(str, tempos)]).encode()).hexdigest()[:16]


FINGERPRINT, V121_FINGERPRINT = fingerprint(SIZE), fingerprint(V121_SIZE)


def offered(size: int) -> np.ndarray:
    """bool[724]: what a model of the first `size` tokens may write or be given. Those of v1.2.1 have none of ours, and
    counted measures of more than 16 sixteenths in eighths, which tokens no longer say.
    """
    has_it = np.arange(SIZE) < size
    if size == V121_SIZE:
        has_it[[ID[f"TS_{n}/{d}"] for n, d in SIGNATURES if n * 16 > 16 * d]] = False
    return has_it


def track_token(program: int) -> int:
    """Token of a track: program 0-127, or 128 for drums. Inverse: VALUE."""
    return int(TOKEN[Class.TRACK][program])


def tempo_bin(bpm: float) -> int:
    """The nearest tempo, as an index into TEMPOS_BPM; the lower one of two equally near."""
    return min(range(N_TEMPOS), key=lambda i: (abs(TEMPOS_BPM[i] - bpm), i))


def velocity_bin(velocity: int) -> int:
    """Bin 0-31 of a MIDI velocity; works on arrays. Inverse: bin_velocity."""
    return velocity * N_VELOCITIES // 128


def bin_velocity(bin_: int) -> int:
    """Middle MIDI velocity (2-126) of a bin; works on arrays."""
    return bin_ * 4 + 2
