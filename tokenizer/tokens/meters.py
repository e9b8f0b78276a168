"""The meters of the measures that a song is to get, and how many bars they take: long measures two. Asked by plan."""

from typing import NamedTuple

import numpy as np

from configs import Constraints
from tokenizer import vocabulary as vocab
from tokenizer.grid.meter import N_PARTS, Bars
from tokenizer.tokens import names
from tokenizer.tokens.given import Given

LONGEST_PATTERN = 16  # measures after which meters that alternate repeat
ONE_PART = vocab.SIGNATURES.index((4, 4))


class Meters(NamedTuple):
    """Of the measures to come, over and over, as far as is known: those that alternate; else the one that is asked for
    or in force, or where there is none one of a single part.
    """

    signatures: np.ndarray  # int32[P] of bars that are whole measures
    alternate: bool

    @property
    def begins(self) -> np.ndarray:
        """int64[]: the bars with which measures begin."""
        return np.flatnonzero(Bars(self.signatures).part == 0)

    def bars(self, measures: int) -> int:
        """With which so many measures have begun."""
        repeats, last = divmod(measures - 1, len(self.begins))
        return repeats * len(self.signatures) + int(self.begins[last]) + 1 if measures else 0

    def measures(self, bars: int) -> int:
        """That begin in so many bars."""
        repeats, rest = divmod(bars, len(self.signatures))
        return repeats * len(self.begins) + int(np.sum(self.begins < rest))

    def __str__(self) -> str:
        """Behind a number of them: what they are, where that is not what a model's bars are."""
        numerator, denominator = vocab.SIGNATURES[self.signatures[0]]
        return f" of {numerator}/{denominator}" if N_PARTS[self.signatures[0]] > 1 and not self.alternate else ""


def to_come(given: Given | None, wanted: Constraints) -> Meters:
    """They alternate after a song that goes on where those of its last measures do: the shortest row of measures that
    differ and stand there twice.
    """
    if given is None:
        last = names.meter(wanted.meter, "--meter") if wanted.meter else ONE_PART
        return Meters(np.full(N_PARTS[last], last, np.int32), alternate=False)
    meters = given.song.bars.signature[given.begins[:-1]]
    for period in range(2, min(LONGEST_PATTERN, len(meters) // 2) + 1):
        last, before = meters[-period:], meters[-2 * period : -period]
        if np.array_equal(last, before) and (last != last[0]).any() and not (wanted.add or given.hidden):
            return Meters(np.repeat(last, N_PARTS[last]), alternate=True)
    return Meters(np.repeat(meters[-1:], N_PARTS[meters[-1:]]), alternate=False)
