"""Bars: a signature map of any kind laid out as bars that the vocabulary can say.

Lengths count eighth notes, the shortest thing a bar line can stand on. A supported signature keeps its bars. Everything
else becomes supported bars of the same total length, the other bar lines kept:

    11/8, 8/4          too long for one signature: split           4/4 3/8, 4/4 4/4
    3/16, 1/8          not on eighths, or shorter than two: joined 3/8 (two bars), 1/4 (two bars)
    4/4 cut short      by a change after five eighths              5/8
    a single eighth    left over by a change                       joined with the bar before it (at the start: after)

A change that does not fall on an eighth moves to the nearest one, and the music after it moves along (so that downbeats
stay downbeats); changes are moved each by itself, so nothing adds up.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from configs import InputError
from tokenizer.music.score import Score
from tokenizer.vocabulary import SIGNATURES

TICKS_PER_BEAT = 480  # of a score on the grid
EIGHTH_TICKS = TICKS_PER_BEAT // 2
MAX_BARS = 32000  # a bar number must fit the narrow integers of a dataset; a song has hundreds

EIGHTHS = {(n, d): n * 8 // d for n, d in SIGNATURES}  # length of each supported bar
# fmt: off
SIMPLE = {
    2: (1, 4), 3: (3, 8), 4: (2, 4), 5: (5, 8), 6: (3, 4), 7: (7, 8), 8: (4, 4), 9: (9, 8), 10: (5, 4), 12: (6, 4),
    14: (7, 4),
}
COMPOUND = SIMPLE | {6: (6, 8), 12: (12, 8)}  # names where the signature in force counts eighths
# fmt: on


class ScoreTooLong(InputError):
    """The music has more bars than a song can have."""


STEP_TICKS = np.array([EIGHTH_TICKS // 2 if 2 * EIGHTHS[s] <= 16 else EIGHTH_TICKS for s in SIGNATURES], np.int64)
BAR_TICKS = np.array([EIGHTHS[s] * EIGHTH_TICKS for s in SIGNATURES], np.int64)
_INDEX = {name: index for index, name in enumerate(SIGNATURES)}
_MARGIN = 64  # eighths after the last note within which a change can still cut its bar short


@dataclass(frozen=True, eq=False)
class Bars:
    """n consecutive bars from the start of the song; signature: int32[n], index into vocabulary.SIGNATURES."""

    signature: np.ndarray

    def __len__(self) -> int:
        return len(self.signature)

    @property
    def start_ticks(self) -> np.ndarray:
        """int64[n + 1] bar lines on the grid, the last one's end included."""
        return np.concatenate([[0], np.cumsum(BAR_TICKS[self.signature])])

    @property
    def step_ticks(self) -> np.ndarray:
        """int64[n] length of a grid step: a sixteenth while the bar has at most 16 of them, else an eighth."""
        return STEP_TICKS[self.signature]


@dataclass(frozen=True, eq=False)
class Layout:
    """Bars, and how the source's time maps to theirs: stretch s of one signature begins at source tick source[s], grid
    tick grid[s].
    """

    bars: Bars
    source: np.ndarray
    grid: np.ndarray


def lay_bars(score: Score, until_tick: int) -> Layout:
    """Bars of the score up to one that begins after until_tick (a note rounded past the last bar has one to go to).

    Raises ScoreTooLong past MAX_BARS.
    """
    source = np.array([s.tick for s in score.signatures], np.int64)
    starts = (4 * source + score.ticks_per_beat) // (2 * score.ticks_per_beat)  # in eighths: the nearest, half up
    until = 2 * int(until_tick) // score.ticks_per_beat + 2
    layout: list[tuple[int, tuple[int, int]]] = []  # (length in eighths, signature) of each bar
    for index, signature in enumerate(score.signatures):
        start = int(starts[index])
        is_last = index + 1 == len(starts) or starts[index + 1] > until + _MARGIN
        length = max(until - start, 0) if is_last else int(starts[index + 1]) - start
        _append_stretch(layout, length, is_last, (signature.numerator, signature.denominator))
        if is_last:
            break
    return Layout(Bars(np.array([_INDEX[name] for _, name in layout], np.int32)), source, starts * EIGHTH_TICKS)


def _append_stretch(layout: list, length: int, open_end: bool, signature: tuple[int, int]) -> None:
    """Bars of one stretch of `length` eighths under one signature; an open end is filled up with whole bars and one
    more.
    """
    names = COMPOUND if signature[1] >= 8 else SIMPLE
    unit, unit_bars = _unit(signature, names)
    if open_end:
        length += -length % unit + unit  # whole bars, and one more
    if len(layout) + (length // unit) * len(unit_bars) > MAX_BARS:
        raise ScoreTooLong(f"more than {MAX_BARS} bars; split the song, or remove stray events at its end")
    for piece in unit_bars * (length // unit) + _split(length % unit, names):
        if layout and 1 in (piece[0], layout[-1][0]):  # a single eighth joins its neighbour
            layout[-1:] = _split(layout[-1][0] + piece[0], names)
        else:
            layout.append(piece)


def _unit(signature: tuple[int, int], names: dict) -> tuple[int, list]:
    """The fewest bars of a signature that together are whole eighths, two at least: their length, and supported bars
    for them.
    """
    if signature in EIGHTHS:
        return EIGHTHS[signature], [(EIGHTHS[signature], signature)]
    unit = max(Fraction(8 * signature[0], signature[1]).numerator, 2)
    return unit, _split(unit, names)


def _split(length: int, names: dict) -> list[tuple[int, tuple[int, int]]]:
    """Supported bars of that total length; a single eighth stays one, which the vocabulary cannot say, for the caller
    to join.
    """
    bars = []
    while length not in names and length > 1:
        bars.append((8, names[8]))
        length -= 8
    return [*bars, (length, names.get(length, (1, 8)))] if length else bars
