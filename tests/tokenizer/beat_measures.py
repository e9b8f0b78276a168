"""How well beats that were found are those that were meant. mir_eval judges; a beat is right within 70 ms.

The music asks for a steady beat of 0.3 to 0.75 s rather than for the notation's. What counts half and double how:

    f        as they are, against the notated quarter notes: half and double are wrong
    octave   whether their level is the notated quarter note's: half and double are wrong
    level    whether it is that of the felt beat (dotted in compound meters), or its half or double, which are right
             here; third: whether it is a third or three times of the felt beat
    f_after  the best of the same beats read at their own level, every second and third of them, from either one on,
             and halved and divided in three; against quarter notes or felt beats, or against these halved and divided
             in three, where what was found is faster. Half, double and thirds are right, half a beat beside is wrong
    notes    share of notes whose place in a beat is the true one, of that best reading

Unlike in contests the first five seconds count. Only beats from the first onset to the last one are compared.
"""

import warnings
from dataclasses import dataclass

import mir_eval
import numpy as np

from tests.tokenizer.retime import Retimed
from tokenizer.grid import divisions
from tokenizer.grid.align import Aligned
from tokenizer.grid.tempo_map import seconds_at
from tokenizer.music.score import Score
from tokenizer.vocabulary import QUARTER

WINDOW_SECONDS = 0.07
SAME_LEVEL = 0.08  # shares by which median periods of one level may differ
_READINGS = ((1, 0), (2, 0), (2, 1), (0.5, 0), (3, 0), (3, 1), (3, 2), (1 / 3, 0))  # how many beats each, from which on
_TIME = 9600  # of a beat, where places are looked for


@dataclass(frozen=True)
class Judged:
    """Of one song; see above."""

    f: float
    octave: bool
    level: bool
    third: bool
    f_after: float
    notes: float


def beats_of(score: Score, aligned: Aligned) -> tuple[np.ndarray, np.ndarray]:
    """float64[] seconds in the score as it is of the quarter-note lines of what it was aligned to, and of its bar
    lines, to a bar past its last note. Quarter notes are counted from where a signature begins.
    """
    moved = aligned.score
    last = max(int(track.notes["onset_ticks"].max(initial=0)) for track in moved.tracks)
    beats, bars = [], []
    begins = [each.tick for each in moved.signatures]
    for signature, begin, next_begin in zip(moved.signatures, begins, [*begins[1:], np.inf], strict=True):
        bar = 4 * moved.ticks_per_beat * signature.numerator / signature.denominator
        until = min(next_begin, last + bar + moved.ticks_per_beat)
        beats.append(np.arange(begin, until, moved.ticks_per_beat))
        bars.append(np.arange(begin, until, bar))
    return _seconds(score, aligned, beats), _seconds(score, aligned, bars)


def _seconds(score: Score, aligned: Aligned, lines: list[np.ndarray]) -> np.ndarray:
    ticks = np.rint(np.concatenate(lines)).astype(np.int64)
    source = ticks if aligned.time is None else aligned.time.back(ticks)
    return np.unique(seconds_at(score.tempos, score.ticks_per_beat, source))


def onset_seconds(score: Score) -> list[np.ndarray]:
    """float64[N] of each track."""
    return [seconds_at(score.tempos, score.ticks_per_beat, track.notes["onset_ticks"]) for track in score.tracks]


def judge(found: np.ndarray, truth: Retimed) -> Judged:
    """found: rising seconds of beats of truth.score."""
    onsets = np.concatenate(onset_seconds(truth.score))
    if len(found) < 3 or len(truth.beats) < 3:
        return Judged(0.0, False, False, False, 0.0, 0.0)
    f_after, reading, in_true = 0.0, found, truth.in_beats
    by_level = {"beats": (truth.beats, truth.in_beats), "pulse": (truth.pulse, truth.in_pulses)}
    if np.array_equal(truth.beats, truth.pulse):
        del by_level["pulse"]
    for beats, counted in by_level.values():
        pairs = [(beats, _read(found, taken, phase), 1) for taken, phase in _READINGS]
        pairs += [(_read(beats, 1 / parts, 0), found, parts) for parts in (2, 3)]
        for true, read, parts in pairs:
            if (score := f_measure(true, read, onsets)) > f_after:
                f_after, reading = score, read
                in_true = tuple(parts * each for each in counted)
    period, felt = (np.median(np.diff(found)) / np.median(np.diff(each)) for each in (truth.beats, truth.pulse))
    return Judged(
        f=f_measure(truth.beats, found, onsets),
        octave=_is_near(period, 1),
        level=any(_is_near(felt, times) for times in (0.5, 1, 2)),
        third=any(_is_near(felt, times) for times in (1 / 3, 3)),
        f_after=f_after,
        notes=_notes_in_place(reading, truth.score, in_true),
    )


def f_measure(true: np.ndarray, found: np.ndarray, onsets: np.ndarray) -> float:
    """Of beats between the first and the last of the onsets, all in seconds."""
    first, last = onsets.min() - WINDOW_SECONDS, onsets.max() + WINDOW_SECONDS
    true, found = (beats[(beats >= first) & (beats <= last)] for beats in (true, found))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are none is 0, as it says
        shift = max(0.0, -min(true.min(initial=0), found.min(initial=0)))  # it takes no time before 0
        return float(mir_eval.beat.f_measure(true + shift, found + shift, WINDOW_SECONDS))


def _is_near(period: float, times: float) -> bool:
    return bool(abs(np.log(period / times)) < np.log1p(SAME_LEVEL))


def _read(beats: np.ndarray, taken: float, phase: float) -> np.ndarray:
    """So many beats as one, from that one on; up to two more before the first and after the last."""
    before, after = (abs(edge[1] - edge[0]) for edge in (beats[:2], beats[-2:]))
    more = np.concatenate([beats[0] - before * np.array([2, 1]), beats, beats[-1] + after * np.array([1, 2])])
    first = phase - taken * np.floor((phase + 2) / taken)
    return np.interp(np.arange(first, len(beats) + 1 + 1e-9, taken), np.arange(-2, len(beats) + 2), more)


def _notes_in_place(beats: np.ndarray, score: Score, in_true: tuple[np.ndarray, ...]) -> float:
    right = notes = 0
    for seconds, counted in zip(onset_seconds(score), in_true, strict=True):
        place = np.interp(seconds, beats, np.arange(len(beats)))
        beyond = seconds > beats[-1]
        place[beyond] = len(beats) - 1 + (seconds[beyond] - beats[-1]) / (beats[-1] - beats[-2])
        before = seconds < beats[0]
        place[before] = (seconds[before] - beats[0]) / (beats[1] - beats[0])
        right += int((_places(place) == _places(counted)).sum())
        notes += len(seconds)
    return right / notes


def _places(in_beats: np.ndarray) -> np.ndarray:
    """int64[N] fine steps from the beat of notes [N] that lie so many beats past any one."""
    time = np.rint((in_beats - np.floor(in_beats.min())) * _TIME).astype(np.int64)
    bar, inside = np.divmod(time, 4 * _TIME)
    return divisions.places(bar, inside, np.full(len(bar), 4 * QUARTER), _TIME) % QUARTER
