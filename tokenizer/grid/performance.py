"""A score that was played freely: its beats by ear, its measures, and how sure that is."""

from dataclasses import dataclass

import numpy as np

from tokenizer.grid import beats, downbeats, pulse
from tokenizer.grid.hearing import FPS, Heard, features, heard
from tokenizer.grid.refine import PLACES, refined
from tokenizer.grid.shift import first_tick
from tokenizer.grid.tempo_map import seconds_at, ticks_at
from tokenizer.music.score import Score

FEWEST = 4  # beats that a song must have
MOST_SECONDS = 3600.0  # of a song that is listened to
EARLY_SECONDS = 0.02  # by which a first note is before its beat
FAR_SECONDS = 0.03  # that an onset lies beside where people put them
CLUES = 10


@dataclass(frozen=True, eq=False)
class Ear:
    """What is heard of a score. notes: its own; odds: float32[frames, 2], of a beat and of a bar line at each."""

    notes: Heard
    odds: np.ndarray

    def beats(self, seconds: np.ndarray) -> np.ndarray:
        """float64[n]: log odds of a beat at each time."""
        return self.at(seconds, 0)

    def lines(self, beats: np.ndarray) -> np.ndarray:
        """float64[beats]: log odds that a measure begins with each beat, of which all are given, in seconds."""
        return downbeats.clues(self.notes, beats, self.at(beats, 1)) @ pulse.downbeat_weights()

    def at(self, seconds: np.ndarray, column: int) -> np.ndarray:
        """float64[n]: the highest log odds of a column within a frame of each time."""
        frames = np.arange(len(self.odds)) / FPS
        near = [np.interp(seconds + off / FPS, frames, self.odds[:, column]) for off in (-1, 0, 1)]
        return np.maximum.reduce(near)


def listen(score: Score) -> Ear:
    notes = heard(score)
    return Ear(notes, pulse.hear(features(notes)))


@dataclass(frozen=True, eq=False)
class Beats:
    """Of a score: its beats, the first not after its first onset, the last after its last one. ticks: int64[beats] of
    the file; seconds: float64[beats] of these ticks; measures: int64[beats] of the measure that begins with each, 0
    where none does; clues: float64[CLUES] of how well they are heard; confidence: from 0 to 1, what follows from them.
    """

    ticks: np.ndarray
    seconds: np.ndarray
    measures: np.ndarray
    clues: np.ndarray

    @property
    def confidence(self) -> float:
        return float(1 / (1 + np.exp(-self.clues @ pulse.confidence_weights())))


def find(score: Score) -> Beats | None:
    """None where there are too few beats to say, the file's ticks cannot, or the song is too long to be one."""
    if not can_be_heard(score):
        return None
    ear = listen(score)
    found = beats.chain(ear.odds[:, 0])
    onsets = np.unique(ear.notes.begin)
    if len(found) < FEWEST:
        return None
    found = _around(refined(found, onsets), onsets)
    ticks = ticks_at(score.tempos, score.ticks_per_beat, found)
    ticks[0] = min(ticks[0], first_tick(score))  # who begins a little early begins with the beat
    if len(ticks) < FEWEST or (np.diff(ticks) <= 0).any():
        return None
    seconds = seconds_at(score.tempos, score.ticks_per_beat, ticks)
    lines = ear.lines(seconds)
    measures = downbeats.measures(lines)
    return Beats(ticks, seconds, measures, _clues(seconds, lines[measures > 0], ear, onsets))


def can_be_heard(score: Score) -> bool:
    """Whether it is short enough to be listened to."""
    last = max(int(track.notes["onset_ticks"].max(initial=0)) for track in score.tracks)
    return float(seconds_at(score.tempos, score.ticks_per_beat, np.array([last]))[0]) <= MOST_SECONDS


def _around(seconds: np.ndarray, onsets: np.ndarray) -> np.ndarray:
    """Beats from the last that is not after the first onset, or hardly, to the first after the last one, going on as
    they do.
    """
    first, last = seconds[1] - seconds[0], seconds[-1] - seconds[-2]
    before = max(0, int(np.ceil((seconds[0] - onsets[0]) / first)))
    behind = max(0, int(np.ceil((onsets[-1] - seconds[-1]) / last)) + 1)
    seconds = np.concatenate(
        [
            seconds[0] - first * np.arange(before, 0, -1),
            seconds,
            seconds[-1] + last * np.arange(1, behind + 1),
        ]
    )
    begin = max(0, int(np.searchsorted(seconds, onsets[0] + EARLY_SECONDS, side="right")) - 1)
    end = int(np.searchsorted(seconds, onsets[-1], side="right")) + 1
    return seconds[begin:end]


def _clues(seconds: np.ndarray, lines: np.ndarray, ear: Ear, onsets: np.ndarray) -> np.ndarray:
    """What tells whether beats are right: float64[CLUES]. lines: log odds of those that begin measures."""
    heard_, half = ear.beats(seconds), ear.beats((seconds[1:] + seconds[:-1]) / 2)
    lengths, number = np.diff(seconds), np.arange(len(seconds))
    others = [ear.beats(np.interp(np.arange(0, len(seconds) - 1, by), number, seconds)) for by in (2 / 3, 4 / 3, 3 / 2)]
    beat = np.interp(onsets, seconds, number)
    off = np.abs((beat % 1)[:, None] - PLACES).min(axis=1) * np.interp(onsets, seconds[:-1], lengths)
    change = np.abs(np.diff(np.log(lengths)))
    return np.array(
        [
            1.0,
            np.tanh(heard_ / 3).mean(),
            np.tanh(half / 3).mean(),
            (heard_ < -1).mean(),
            max(np.tanh(other / 3).mean() for other in others),
            np.tanh(lines / 3).mean(),
            (off > FAR_SECONDS).mean(),
            np.log(len(seconds) / 100),
            np.log(lengths.mean() / beats.USUAL) ** 2,
            np.quantile(change, 0.9) * 10,
        ]
    )
