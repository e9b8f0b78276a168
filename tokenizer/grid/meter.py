"""Bars: a signature map of any kind laid out as bars that the vocabulary can say. Called by quantize.

Lengths count sixteenth notes, the shortest thing a bar line can stand on. A supported signature keeps its measures.
Everything else becomes supported ones of the same total length, the other bar lines kept:

    10/8, 6/16         as long as a supported one: named so        5/4, 3/8
    11/8, 17/16        too long for one signature: split           4/4 3/8, 4/4 1/16
    3/32               not on sixteenths: joined                   3/16 (two measures)
    4/4 cut short      by a change after five sixteenths           5/16

A change that does not fall on a sixteenth moves to the nearest one, and the music after it moves along (so that
downbeats stay downbeats); changes are moved each by itself, so nothing adds up. A pickup is filled up in front instead,
so that its notes are as far before the downbeat as they were.

A measure longer than 16 sixteenths is written in parts. What tokens and model call a bar is such a part, or a whole
measure of at most 16 sixteenths:

    5/4  12 + 8    6/4, 12/8  12 + 12    7/4  16 + 12    9/8  12 + 6    3/2  16 + 8    4/2  16 + 16
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil

import numpy as np

from configs import InputError
from tokenizer.music.score import Score
from tokenizer.vocabulary import QUARTER, SIGNATURES, SIXTEENTH

TICKS_PER_BEAT = 480  # of a score on the grid
STEP_TICKS = TICKS_PER_BEAT // QUARTER  # of a fine step
SIXTEENTH_TICKS = SIXTEENTH * STEP_TICKS
MAX_BARS = 32000  # a bar number must fit the narrow integers of a dataset; a song has hundreds

Name = tuple[int, int]  # of a measure: its signature, which says its length too
SIXTEENTHS = {(n, d): n * 16 // d for n, d in SIGNATURES}  # length of each supported measure
# fmt: off
SIMPLE = {
    2: (1, 8), 4: (1, 4), 6: (3, 8), 8: (2, 4), 10: (5, 8), 12: (3, 4), 14: (7, 8), 16: (4, 4), 18: (9, 8), 20: (5, 4),
    24: (6, 4), 28: (7, 4), 32: (4, 2), **{n: (n, 16) for n in range(1, 16, 2)},
}
COMPOUND = SIMPLE | {12: (6, 8), 24: (12, 8)}  # names where the signature in force counts eighths
_DIVIDED = {18: (12, 6), 20: (12, 8), 24: (12, 12), 28: (16, 12), 32: (16, 16)}
# fmt: on
PARTS = {name: _DIVIDED.get(length, (length,)) for name, length in SIXTEENTHS.items()} | {(3, 2): (16, 8)}
N_PARTS = np.array([len(PARTS[name]) for name in SIGNATURES], np.int32)  # bars of a measure, by signature
PART_SIXTEENTHS = np.array([(PARTS[name] * 2)[:2] for name in SIGNATURES], np.int32)  # [signature, part] of a bar


class ScoreTooLong(InputError):
    """The music has more bars than a song can have."""


_INDEX = {name: index for index, name in enumerate(SIGNATURES)}
_MARGIN = 128  # sixteenths after the last note within which a change can still cut its measure short


@dataclass(frozen=True, eq=False)
class Bars:
    """n consecutive bars from the start of the song, where a measure begins; signature: int32[n] of the measure that
    each is, or is part of, as an index into vocabulary.SIGNATURES.
    """

    signature: np.ndarray

    def __len__(self) -> int:
        return len(self.signature)

    @cached_property
    def part(self) -> np.ndarray:
        """int32[n]: which part of its measure each bar is, 0 or 1."""
        index = np.arange(len(self), dtype=np.int32)
        begins = np.append(True, np.diff(self.signature) != 0)[: len(self)]
        return (index - np.maximum.accumulate(np.where(begins, index, 0))) % N_PARTS[self.signature]

    @cached_property
    def measure(self) -> np.ndarray:
        """int64[n]: number of the measure that each bar is part of."""
        return np.cumsum(self.part == 0) - 1

    @property
    def n_measures(self) -> int:
        return int(np.count_nonzero(self.part == 0))

    @cached_property
    def start_ticks(self) -> np.ndarray:
        """int64[n + 1] bar lines on the grid, the last one's end included."""
        lengths = PART_SIXTEENTHS[self.signature, self.part].astype(np.int64) * SIXTEENTH_TICKS
        return np.concatenate([[0], np.cumsum(lengths)])


@dataclass(frozen=True, eq=False)
class Layout:
    """Bars, and how the source's time maps to theirs: stretch s of one signature begins at source[s] in the score, at
    grid[s] on the grid; both count 1 / (480 * ticks_per_beat) beats, in which ticks of either are whole. grid[0] is
    above 0 where a pickup is filled up in front.
    """

    bars: Bars
    source: np.ndarray
    grid: np.ndarray


def lay_bars(score: Score, until_tick: int) -> Layout:
    """Bars of the score up to one that begins after until_tick (a note rounded past the last bar has one to go to).

    Raises ScoreTooLong past MAX_BARS.
    """
    source = np.array([s.tick for s in score.signatures], np.int64)
    starts = (8 * source + score.ticks_per_beat) // (2 * score.ticks_per_beat)  # in sixteenths: the nearest, half up
    pickup = _pickup(score)
    if pickup:
        starts[1] = pickup
    until = 4 * int(until_tick) // score.ticks_per_beat + 4
    is_last = np.append(starts[1:] > until + _MARGIN, True)
    signature: list[int] = []
    for index in range(int(np.argmax(is_last)) + 1):
        said = (score.signatures[index].numerator, score.signatures[index].denominator)
        start = int(starts[index])
        if is_last[index]:
            measures = _open_stretch(said, max(until - start, 0), MAX_BARS - len(signature))
        else:
            measures = _stretch(said, int(starts[index + 1]) - start, MAX_BARS - len(signature))
        signature += [_INDEX[name] for name in measures for _ in PARTS[name]]
    source, grid = source * TICKS_PER_BEAT, starts * SIXTEENTH_TICKS * score.ticks_per_beat
    if pickup:
        grid[0] = grid[1] - source[1]
    return Layout(Bars(np.array(signature, np.int32)), source, grid)


def _pickup(score: Score) -> int:
    """Sixteenths that a pickup takes which is not whole ones: one measure at the start, or less, before a change. 0
    where there is none such.
    """
    if len(score.signatures) == 1:
        return 0
    first, second = score.signatures[:2]
    length = Fraction(4 * second.tick, score.ticks_per_beat)
    is_short = length <= max(Fraction(16 * first.numerator, first.denominator), 1)
    return ceil(length) if is_short and length.denominator > 1 else 0


def _open_stretch(said: Name, length: int, most_bars: int) -> list[Name]:
    """Measures of the last signature: `length` sixteenths filled up with whole ones, and one more."""
    unit = sum(map(SIXTEENTHS.__getitem__, _unit(said)))
    return _stretch(said, length + -length % unit + unit, most_bars)


def _stretch(said: Name, length: int, most_bars: int) -> list[Name]:
    """Measures of `length` sixteenths under one signature: whole ones, and what is left over. Raises ScoreTooLong."""
    unit = _unit(said)
    count, rest = divmod(length, sum(map(SIXTEENTHS.__getitem__, unit)))
    if count * sum(len(PARTS[name]) for name in unit) > most_bars:
        raise ScoreTooLong(f"more than {MAX_BARS} bars; split the song, or remove stray events at its end")
    return unit * count + _named(rest, said)


def _unit(said: Name) -> list[Name]:
    """The fewest measures of a signature that together are whole sixteenths, as measures that have a name."""
    return [said] if said in SIXTEENTHS else _named(Fraction(16 * said[0], said[1]).numerator, said)


def _named(length: int, said: Name) -> list[Name]:
    """Measures of that total length, called as where that signature is in force."""
    by_length = COMPOUND if said[1] >= 8 else SIMPLE
    measures = []
    while length not in by_length and length:
        measures.append(by_length[16])
        length -= 16
    return [*measures, by_length[length]] if length else measures
