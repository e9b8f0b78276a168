"""Songs whose beats are known, as if nobody had set a tempo: what the beat finder learns from and is judged by.

    a score      | . . . | . . . |            its own tempo map, its own bar lines
    retimed      |  .  .  . |. .  .   |       seconds, a player's tempo, 10 ms beside it; 120 BPM stands in the file

Ticks of what comes out are milliseconds by another name: 960 a second, with no relation to the music's beats.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tokenizer.grid.tempo_map import seconds_at
from tokenizer.music.score import Score, Signature, Tempo, Track

TICKS_PER_BEAT, TICKS_PER_SECOND = 480, 960  # of what comes out
EXTENT = 0.15  # of the tempo, at the most, faster and slower
PERIODS_SECONDS = (8.0, 60.0)
WAVES = 5
JITTER_SECONDS = 0.010
LONGEST_SECONDS, LONGEST_UNTIMED_SECONDS = 80.0, 100.0
LEAD_SECONDS = (0.2, 1.2)  # before the first note


@dataclass(frozen=True, eq=False)
class Retimed:
    """score: the performance, 480 ticks a beat, 120 BPM and 4/4 throughout; tracks without a note are not in it.

    beats, pulse, downbeats: float64[], rising seconds of the notated quarter notes, of the felt beats (dotted notes in
    compound meters), and of the bar lines, from the start to past the last note.
    in_beats, in_pulses: of each track float64[N], of each note how many quarter notes, or felt beats, it lies past one
    of them.
    """

    score: Score
    beats: np.ndarray
    pulse: np.ndarray
    downbeats: np.ndarray
    in_beats: tuple[np.ndarray, ...]
    in_pulses: tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False)
class _Stretch:
    """Of one signature: float ticks from begin to end, anchor at a bar line; length of a pulse and of a bar."""

    begin: float
    end: float
    anchor: float
    pulse: float
    bar: float

    def lines(self, every: float) -> np.ndarray:
        """float64[] ticks of the stretch that are whole multiples of so many from its bar lines."""
        first = np.ceil((self.begin - self.anchor) / every - 1e-9)
        return self.anchor + every * np.arange(first, np.ceil((self.end - self.anchor) / every - 1e-9))


def retimed(score: Score, seed: int) -> Retimed:
    """A score with a note at least, played freely: the first 80 seconds. The same seed, the same performance."""
    random = np.random.default_rng(seed)
    first, last = _onset_range(score)
    begins = float(_seconds(score, np.array([first]))[0])
    lasts = float(_seconds(score, np.array([last]))[0]) - begins
    curve = _Curve(random, min(lasts, 1.2 * LONGEST_SECONDS) + 1.0)
    lead = random.uniform(*LEAD_SECONDS)
    jitter = [random.normal(0, JITTER_SECONDS, len(track.notes)) for track in score.tracks]

    def played(ticks: np.ndarray) -> np.ndarray:
        return lead + curve.played(_seconds(score, ticks) - begins)

    return _performance(score, played, jitter, LONGEST_SECONDS)


def untimed(score: Score, scale: float) -> Retimed:
    """A score that was played to its file's tempo, without that tempo: the first 100 seconds, each note where it was,
    all seconds times scale (a song of 120 BPM would else say its own).
    """

    def played(ticks: np.ndarray) -> np.ndarray:
        return scale * _seconds(score, ticks)

    return _performance(score, played, [np.zeros(len(track.notes)) for track in score.tracks], LONGEST_UNTIMED_SECONDS)


class _Curve:
    """A player's time: slow random waves of the tempo, the largest deviation of which is EXTENT."""

    def __init__(self, random: np.random.Generator, seconds: float) -> None:
        self.written = np.append(np.arange(0, seconds, 0.05), seconds)
        periods = np.exp(random.uniform(*np.log(PERIODS_SECONDS), WAVES))
        sizes, phases = random.uniform(0.3, 1, WAVES), random.uniform(0, 2 * np.pi, WAVES)
        waves = (sizes * np.sin(2 * np.pi * self.written[:, None] / periods + phases)).sum(axis=1)
        slower = 1 + EXTENT * waves / np.abs(waves).max()
        steps = np.diff(self.written) * (slower[1:] + slower[:-1]) / 2
        self.heard = np.concatenate([[0.0], np.cumsum(steps)])

    def played(self, seconds: np.ndarray) -> np.ndarray:
        """Seconds at which what is written at these is heard; outside, as fast as at the nearest end."""
        inside = np.clip(seconds, self.written[0], self.written[-1])
        return np.interp(inside, self.written, self.heard) + (seconds - inside)


def _performance(
    score: Score, played: Callable[[np.ndarray], np.ndarray], jitter: list[np.ndarray], longest: float
) -> Retimed:
    """played: float ticks [N] of the score -> seconds; jitter: of each track, seconds [N] that its notes are late."""
    stretches = _stretches(score, _onset_range(score)[1])
    tracks, kept_ticks = [], []
    for track, late in zip(score.tracks, jitter, strict=True):
        onset = track.notes["onset_ticks"]
        begins = np.maximum(played(onset) + late, 0)
        ends = np.maximum(played(onset + track.notes["duration_ticks"]) + late, begins)
        stays = played(onset) < longest
        if stays.any():
            tracks.append(Track(track.program, _in_ticks(track.notes, begins, ends)[stays]))
            kept_ticks.append(onset[stays])
    tempo, signature = (Tempo(0, 500_000),), (Signature(0, 4, 4),)
    until = max(float(played(ticks).max()) for ticks in kept_ticks)

    def heard(ticks: list[np.ndarray]) -> np.ndarray:
        """One line past the last note is kept."""
        seconds = played(np.unique(np.concatenate(ticks)))
        seconds = seconds[seconds >= 0]
        return seconds[: np.searchsorted(seconds, until, side="right") + 1]

    return Retimed(
        Score(TICKS_PER_BEAT, tuple(tracks), tempo, signature),
        beats=heard([each.lines(score.ticks_per_beat) for each in stretches]),
        pulse=heard([each.lines(each.pulse) for each in stretches]),
        downbeats=heard([each.lines(each.bar) for each in stretches]),
        in_beats=tuple(_past(ticks, stretches, [score.ticks_per_beat] * len(stretches)) for ticks in kept_ticks),
        in_pulses=tuple(_past(ticks, stretches, [each.pulse for each in stretches]) for ticks in kept_ticks),
    )


def _stretches(score: Score, last: int) -> list[_Stretch]:
    """Of a score's signatures, to a bar past the last onset. What is shorter than a measure at the start ends at a bar
    line rather than begins at one.
    """
    begins = [float(each.tick) for each in score.signatures]
    ends = [*begins[1:], np.inf]
    found = []
    for number, (signature, begin, end) in enumerate(zip(score.signatures, begins, ends, strict=True)):
        unit = 4 * score.ticks_per_beat / signature.denominator
        is_compound = signature.numerator % 3 == 0 and signature.denominator >= 8
        pulse, bar = 3 * unit if is_compound else float(score.ticks_per_beat), signature.numerator * unit
        whole = bar
        if number == 0 and len(begins) > 1:
            whole = max(bar, score.signatures[1].numerator * 4 * score.ticks_per_beat / score.signatures[1].denominator)
        is_pickup = number == 0 and end < whole
        end = min(end, last + 2 * max(bar, score.ticks_per_beat))
        if begin < end:
            found.append(_Stretch(begin, end, end if is_pickup else begin, pulse, whole if is_pickup else bar))
    return found


def _past(ticks: np.ndarray, stretches: list[_Stretch], lengths: list[float]) -> np.ndarray:
    """float64[N]: how many such lengths each tick lies past the anchor of its stretch."""
    stretch = np.searchsorted([each.begin for each in stretches], ticks, side="right") - 1
    return (ticks - np.array([each.anchor for each in stretches])[stretch]) / np.array(lengths)[stretch]


def _in_ticks(notes: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The notes at these seconds."""
    out = notes.copy()
    out["onset_ticks"] = np.rint(begins * TICKS_PER_SECOND)
    out["duration_ticks"] = np.rint(ends * TICKS_PER_SECOND) - out["onset_ticks"]
    return out


def _seconds(score: Score, ticks: np.ndarray) -> np.ndarray:
    return seconds_at(score.tempos, score.ticks_per_beat, ticks)


def _onset_range(score: Score) -> tuple[int, int]:
    """Ticks of the first and the last onset."""
    onsets = [track.notes["onset_ticks"] for track in score.tracks if len(track.notes)]
    return min(int(each.min()) for each in onsets), max(int(each.max()) for each in onsets)
