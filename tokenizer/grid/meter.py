"""Bars: a signature map of any kind laid out as bars that the vocabulary can say. Called by quantize.

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

Name = tuple[int, int]  # of a bar: its signature, which says its length too
EIGHTHS = {(n, d): n * 8 // d for n, d in SIGNATURES}  # length of each supported bar
SINGLE_EIGHTH = (1, 8)  # the one bar without a token, until it joins its neighbour
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
    is_last = np.append(starts[1:] > until + _MARGIN, True)
    names: list[Name] = []
    for index in range(int(np.argmax(is_last)) + 1):
        said = (score.signatures[index].numerator, score.signatures[index].denominator)
        start = int(starts[index])
        if is_last[index]:
            stretch = _open_stretch(said, max(until - start, 0), MAX_BARS - len(names))
        else:
            stretch = _stretch(said, int(starts[index + 1]) - start, MAX_BARS - len(names))
        for name in stretch:
            _append(names, name, _by_length(said))
    return Layout(Bars(np.array([_INDEX[name] for name in names], np.int32)), source, starts * EIGHTH_TICKS)


def _append(names: list[Name], name: Name, by_length: dict[int, Name]) -> None:
    """One more bar; a single eighth, which has no name, and the bar before it become bars of their length together."""
    if names and SINGLE_EIGHTH in (name, names[-1]):
        length = _eighths(names.pop()) + _eighths(name)
        names.extend(_named(length, by_length))
    else:
        names.append(name)


def _open_stretch(said: Name, length: int, most_bars: int) -> list[Name]:
    """Bars of the last signature: `length` eighths filled up with whole bars, and one more."""
    unit = sum(map(_eighths, _unit(said)))
    return _stretch(said, length + -length % unit + unit, most_bars)


def _stretch(said: Name, length: int, most_bars: int) -> list[Name]:
    """Bars of `length` eighths under one signature: whole ones, and what is left over. Raises ScoreTooLong."""
    unit = _unit(said)
    count, rest = divmod(length, sum(map(_eighths, unit)))
    if count * len(unit) > most_bars:
        raise ScoreTooLong(f"more than {MAX_BARS} bars; split the song, or remove stray events at its end")
    return unit * count + _named(rest, _by_length(said))


def _unit(said: Name) -> list[Name]:
    """The fewest bars of a signature that together are whole eighths, two at least, as bars that have a name."""
    if said in EIGHTHS:
        return [said]
    eighths = max(Fraction(8 * said[0], said[1]).numerator, 2)
    return _named(eighths, _by_length(said))


def _named(length: int, by_length: dict[int, Name]) -> list[Name]:
    """Bars of that total length; a single eighth stays one, for _append to join."""
    bars = []
    while length not in by_length and length > 1:
        bars.append(by_length[8])
        length -= 8
    return [*bars, by_length.get(length, SINGLE_EIGHTH)] if length else bars


def _by_length(said: Name) -> dict[int, Name]:
    """What bars of each length are called where that signature is in force."""
    return COMPOUND if said[1] >= 8 else SIMPLE


def _eighths(name: Name) -> int:
    return 1 if name == SINGLE_EIGHTH else EIGHTHS[name]
