"""Time moved so that the beats of a score are where its music has them: between reading and the grid.

    none       a score that lies on its grid: as it is, bit for bit
    pickup     a short measure at the start in which music begins is filled up with silence in front
    shift      all of it lies a constant time beside the grid
    meter      its time signature cannot be meant: measures are found, and the first is filled up likewise
    beats      it was played freely: the tempo map is rewritten, so that beats are beats
    off_grid   likewise, but its beats are not heard well enough to say

Notes are never moved against each other. What was done is data: Aligned.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tokenizer.grid import downbeats, measured, performance
from tokenizer.grid.shift import (
    Steady,
    beats_are_meant,
    beside_ms,
    first_tick,
    held_from,
    lies_on_grid,
    shifted,
    steady,
)
from tokenizer.grid.tempo_map import seconds_at
from tokenizer.grid.time_map import TimeMap, retimed
from tokenizer.music.score import Score, Signature, Tempo

Kind = Literal["none", "pickup", "shift", "meter", "beats", "off_grid"]

_BEHIND = 128  # beats after the last note in which a change of tempo or meter still counts
_LATENCY = 0.06  # seconds by which a recording is late or early as a whole, under bar lines that hold
_SIXTEENTHS, _THIRTY_SECONDS = 4, 8  # in a beat, one of which is its beginning
_BEATS_OF_A_SONG = 16  # at least, of which one signature can be said to be wrong
SURE = 0.81  # confidence from which on beats that were found are used
_CLEARLY = 0.5  # log odds a measure by which other bar lines must be better than those of the file


@dataclass(frozen=True, eq=False)
class Aligned:
    """score: what goes on to the grid. kind: what was done, the most of it (a meter is found of songs that are shifted
    too). shift_beats: how much later the first note is than in the file, in quarter notes of the aligned score.
    confidence: from 0 to 1, that its beats are where they are put, and of a meter its measures. moved_ms: milliseconds
    by which onsets then lie beside the nearest places of the grid, in the mean. time: from the file's ticks to the
    score's, None where they are the same.
    """

    score: Score
    kind: Kind
    shift_beats: float = 0.0
    confidence: float = 1.0
    moved_ms: float = 0.0
    time: TimeMap | None = None


def align(score: Score) -> Aligned:
    """The score, its beats where the music has them; its own resolution, unless it was played freely."""
    if not any(len(track.notes) for track in score.tracks):
        return Aligned(score, "none")
    has_measures = not _is_mostly(score, (1, 4))
    if has_measures and lies_on_grid(score) and beats_are_meant(score, 0, _THIRTY_SECONDS):
        return _with_whole_measures(score)
    if (found := steady(score)) is None:
        return _played_freely(score)
    is_meant = has_measures and beats_are_meant(score, -found.shift_ticks, _SIXTEENTHS)
    if is_meant and not found.shift_ticks:
        return _with_whole_measures(score)
    if _begins_beside_beats(score):
        return _with_whole_measures(score)
    if not performance.can_be_heard(score):
        moved, time = shifted(score, found.shift_ticks)
        return _done(score, moved, "shift", found.concentration, time)
    # Programs that know nothing but beats write 2/4 throughout
    return _played_to_click(score, found, is_meant and not _is_mostly(score, (2, 4)))


# ---------------------------------------------------------------- scores


def _is_mostly(score: Score, signature: tuple[int, int]) -> bool:
    """Whether most of the song is said to be measures of that signature."""
    last = _last_ticks(score)[0] + 1
    begins = np.array([signature.tick for signature in score.signatures], np.int64)
    beats = np.diff(np.append(np.minimum(begins, last), last)) / score.ticks_per_beat
    is_such = np.array([(each.numerator, each.denominator) == signature for each in score.signatures])
    return bool(beats[is_such].sum() >= max(_BEATS_OF_A_SONG, beats.sum() / 2))


def _begins_beside_beats(score: Score) -> bool:
    """Whether a meter after the first begins between two beats, so that no beat goes through the song."""
    last = _last_ticks(score)[0]
    return any(change.tick % score.ticks_per_beat for change in score.signatures[1:] if change.tick <= last)


def _with_whole_measures(score: Score) -> Aligned:
    """A score whose beats are its beats. A short measure at its start gets silence in front, in the meter that follows:
    otherwise it stays as it is.
    """
    silence = _missing_of_pickup(score)
    if not silence:
        return Aligned(score, "none", moved_ms=beside_ms(score))
    time = TimeMap.shifted(silence)
    begins, ends = _last_ticks(score)
    margin = _BEHIND * score.ticks_per_beat
    signatures = [
        Signature(max(0, change.tick + silence), change.numerator, change.denominator)
        for change in score.signatures[1:]
        if change.tick <= begins + margin
    ]
    signatures[0] = replace(signatures[0], tick=0)
    tempos = [
        Tempo(change.tick + silence if change.tick else 0, change.microseconds_per_beat)
        for change in score.tempos
        if change.tick <= ends + margin
    ]
    moved = retimed(score, time, score.ticks_per_beat, tuple(tempos), tuple(signatures))
    return _done(score, moved, "pickup", 1.0, time)


def _missing_of_pickup(score: Score) -> int:
    """Ticks of silence in front that make a whole measure of a short one at the start: 0 where there is none, or no
    note in it.
    """
    if len(score.signatures) == 1:
        return 0
    first, second = score.signatures[:2]
    if first_tick(score) >= second.tick:
        return 0
    whole = 4 * score.ticks_per_beat * second.numerator // second.denominator
    own = 4 * score.ticks_per_beat * first.numerator // first.denominator
    return whole - second.tick if second.tick < whole and second.tick <= own else 0


def _last_ticks(score: Score) -> tuple[int, int]:
    """At which the last note begins, and the last one ends."""
    notes = [track.notes for track in score.tracks if len(track.notes)]
    ends = max(int((each["onset_ticks"] + each["duration_ticks"]).max()) for each in notes)
    return max(int(each["onset_ticks"].max()) for each in notes), ends


# ---------------------------------------------------------------- to a click


def _played_to_click(score: Score, found: Steady, is_meant: bool) -> Aligned:
    """A song whose tempo is its music's. Its own bar lines are kept where they may be meant: no more than latency lies
    between them and the notes, and no others are clearly better.
    """
    beat, late = score.ticks_per_beat, -found.shift_ticks
    may_hold = is_meant and abs(late) * _seconds_a_beat(score) <= _LATENCY * beat
    held = held_from(score, late, _SIXTEENTHS)
    if may_hold and not held.any():  # drums alone, of which only their click knows more
        moved, time = shifted(score, found.shift_ticks)
        return _done(score, moved, "shift", found.concentration, time)
    ear = performance.listen(score)
    beats = _beats_of(score, late + int(held.argmax()) * beat // _SIXTEENTHS)
    lines = ear.lines(seconds_at(score.tempos, beat, beats))
    measures = downbeats.measures(lines)
    if may_hold:
        own_beats = _beats_of(score, late)
        own = ear.lines(seconds_at(score.tempos, beat, own_beats))[_own_measures(score, own_beats - late)]
        if lines[measures > 0].sum() - own.sum() <= _CLEARLY * len(own):
            moved, time = shifted(score, found.shift_ticks)
            return _done(score, moved, "shift", found.concentration, time)
    moved, time = measured.steady(score, int(beats[0]), measures)
    chances = 1 / (1 + np.exp(-lines[measures > 0]))
    return _done(score, moved, "meter", min(found.concentration, float(chances.mean())), time)


def _beats_of(score: Score, phase: int) -> np.ndarray:
    """int64[beats]: ticks a quarter note apart, one of which is `phase`, from the last that is not after the first
    onset to the first after the last.
    """
    onsets = np.concatenate([track.notes["onset_ticks"] for track in score.tracks])
    beat = score.ticks_per_beat
    first = phase + (int(onsets.min()) - phase) // beat * beat
    return np.arange(first, int(onsets.max()) + beat + 1, beat)


def _own_measures(score: Score, beats: np.ndarray) -> np.ndarray:
    """int64[measures]: which of the beats at these ticks are nearest to bar lines of the file."""
    begins = [signature.tick for signature in score.signatures if signature.tick <= beats[-1]]
    lines = np.concatenate(
        [
            np.arange(begin, end, max(4 * score.ticks_per_beat * signature.numerator // signature.denominator, 1))
            for begin, end, signature in zip(begins, [*begins[1:], int(beats[-1]) + 1], score.signatures, strict=False)
        ]
    )
    beat = (lines - beats[0] + score.ticks_per_beat // 2) // score.ticks_per_beat
    return np.unique(beat[(beat >= 0) & (beat < len(beats))])


def _seconds_a_beat(score: Score) -> float:
    """Of its first tempo."""
    return score.tempos[0].microseconds_per_beat / 1e6


# ---------------------------------------------------------------- freely


def _played_freely(score: Score) -> Aligned:
    found = performance.find(score)
    if found is None:
        return Aligned(score, "off_grid", confidence=0.0, moved_ms=beside_ms(score))
    moved, time = measured.free(score, found.ticks, found.seconds, found.measures)
    return _done(score, moved, "beats" if found.confidence >= SURE else "off_grid", found.confidence, time)


def _done(score: Score, moved: Score, kind: Kind, confidence: float, time: TimeMap) -> Aligned:
    """What was done to a score that became `moved`."""
    shift = first_tick(moved) / moved.ticks_per_beat - first_tick(score) / score.ticks_per_beat
    return Aligned(moved, kind, round(shift, 4), round(confidence, 3), round(beside_ms(moved), 2), time)
