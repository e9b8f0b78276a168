"""Time moved so that the beats of a score are where its music has them: between reading and the grid.

    none       a score that lies on its grid: as it is, bit for bit
    pickup     a short measure at the start is filled up with silence in front
    shift      all of it lies a constant time beside the grid
    meter      its time signature cannot be meant: measures are found, and the first is filled up likewise
    beats      it was played freely: the tempo map is rewritten, so that beats are beats
    off_grid   likewise, but its beats are not heard well enough to say

Notes are never moved against each other. What was done is data: Aligned.
"""

from dataclasses import dataclass, replace
from typing import Literal

from tokenizer.grid.time_map import TimeMap, retimed
from tokenizer.music.score import Score, Signature, Tempo

Kind = Literal["none", "pickup", "shift", "meter", "beats", "off_grid"]


@dataclass(frozen=True, eq=False)
class Aligned:
    """score: what goes on to the grid. kind: what was done, the most of it (a meter is found of songs that are shifted
    too). shift_beats: how much later the first note is than in the file, in quarter notes of the aligned score.
    confidence: from 0 to 1, that its beats are where they are put. moved_ms: milliseconds by which onsets then lie
    beside their places on the grid, in the mean. time: from the file's ticks to the score's, None where they are the
    same.
    """

    score: Score
    kind: Kind
    shift_beats: float = 0.0
    confidence: float = 1.0
    moved_ms: float = 0.0
    time: TimeMap | None = None


def align(score: Score) -> Aligned:
    """The score, its beats where the music has them; its own resolution, unless it was played freely."""
    if silence := _missing_of_pickup(score):
        return _later(score, silence)
    return Aligned(score, "none")


def _missing_of_pickup(score: Score) -> int:
    """Ticks of silence in front that make a whole measure of a short one at the start: 0 where there is none."""
    if len(score.signatures) == 1:
        return 0
    first, second = score.signatures[:2]
    whole = 4 * score.ticks_per_beat * second.numerator // second.denominator
    own = 4 * score.ticks_per_beat * first.numerator // first.denominator
    return whole - second.tick if second.tick < whole and second.tick <= own else 0


def _later(score: Score, silence: int) -> Aligned:
    """The score with so much silence in front, in the meter that follows."""
    time = TimeMap.shifted(silence)
    head, *rest = score.signatures[1:]
    signatures = (Signature(0, head.numerator, head.denominator), *(_at(time, change) for change in rest))
    first, *later = score.tempos
    tempos = (first, *(_at(time, change) for change in later))
    moved = retimed(score, time, score.ticks_per_beat, tempos, signatures)
    return Aligned(moved, "pickup", shift_beats=silence / score.ticks_per_beat, time=time)


def _at(time: TimeMap, change: Signature | Tempo) -> Signature | Tempo:
    return replace(change, tick=int(time.there(change.tick)))
