"""A song bar by bar, as its bars are finished: for live use, and for `generate --stream`.

    song = stream(run, constraints=Constraints(instruments="bass,piano"))
    for bar in song:
        play(bar.score, at=bar.start_ticks)
    song.sample.score()  # the whole song

Every token is looked at once, and a bar is decoded by itself: what a bar costs does not grow with the song. Of a given
song the bars that the model does not see come first.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from configs import Constraints, SampleConfig
from jax_impl.sampling import asked
from jax_impl.sampling.sample import ANYTHING, DEFAULT, Sample, Sampler
from tokenizer import vocabulary as vocab
from tokenizer.grid.meter import BAR_TICKS, TICKS_PER_BEAT
from tokenizer.music.score import NOTE, Score, Signature, Track
from tokenizer.tokens import grammar
from tokenizer.tokens.decode import (
    DEFAULT_DURATION,
    DEFAULT_SIGNATURE,
    DEFAULT_TEMPO,
    DEFAULT_VELOCITY,
    decode,
)
from tokenizer.tokens.whole import Whole

STRIDE = 8  # tokens between two looks for a finished bar
OF_NOTES = (grammar.POSITION, grammar.PITCH, grammar.DURATION, grammar.VELOCITY)


@dataclass(frozen=True, eq=False)
class Bar:
    """A bar that is finished: which track of the song, which bar of it (from 0; given tracks first, then new ones),
    and what it holds.

    start_ticks: of the bar in the song, 480 a beat. score: the bar alone, from tick 0 on, with its meter and its tempi;
    without tracks where it is silent, and its last notes may sound on past its end.
    """

    track: int
    program: int
    bar: int
    chord: str
    start_ticks: int
    score: Score

    @property
    def notes(self) -> np.ndarray:
        """NOTE[N], their onsets counted from the start of the song."""
        if not self.score.tracks:
            return np.zeros(0, NOTE)
        notes = self.score.tracks[0].notes.copy()
        notes["onset_ticks"] += self.start_ticks
        return notes


def stream(
    run: str | Path,
    *,
    prompt: Score | np.ndarray | str | Path | None = None,
    constraints: Constraints = ANYTHING,
    sampler: SampleConfig = DEFAULT,
    checkpoint: str | int = "best",
) -> "Stream":
    """One song of a trained run, whose bars come as they are finished, given ones first. prompt: as for
    sample.generate. Warns and raises as that does.
    """
    found, task = asked.task(run, prompt, constraints, sampler, checkpoint)
    asked.tell(task.notice)
    return Stream(Sampler(found.load(), task))


class Stream:
    """Iterated over, samples the sampler's first song and gives its bars. sample: of the tokens so far; at the end the
    whole song, the same that Sampler.samples gives.
    """

    sample: Sample

    def __init__(self, sampler: Sampler):
        self._sampler = sampler

    def __iter__(self) -> Iterator[Bar]:
        bars, looked_at = Bars(self._sampler.task.whole), 0
        yield from unseen_bars(self._sampler.task.whole)
        for samples in self._sampler.steps(range(1), STRIDE):
            (self.sample,) = samples
            yield from bars.push(self.sample.ids[looked_at:])
            looked_at = len(self.sample.ids)


def unseen_bars(whole: Whole) -> Iterator[Bar]:
    """Those of a given song that the model does not see, track by track."""
    if whole.given is None:
        return
    song = whole.given.song
    starts, chords = song.bars.start_ticks.tolist(), (vocab.CHORD + whole.given.chords).tolist()
    for number, track in enumerate(song.to_score().tracks):
        onset, last = track.notes["onset_ticks"], int(song.tracks[number].notes["bar"][-1])
        for bar in range(min(whole.left_out, last + 1)):
            start, end = starts[bar], starts[bar + 1]
            notes = track.notes[(onset >= start) & (onset < end)].copy()
            notes["onset_ticks"] -= start
            meter = Signature(0, *vocab.SIGNATURES[song.bars.signature[bar]])
            tracks = (Track(track.program, notes),) if len(notes) else ()
            score = Score(TICKS_PER_BEAT, tracks, whole.tempos(bar, int(song.tempo[bar])), (meter,))
            yield Bar(number, track.program, bar, vocab.NAMES[chords[bar]], start, score)


class Bars:
    """Follows the tokens of one song as they come, and cuts them into bars. whole: what the tokens belong to.

    Under the grammar the bars' notes together are those of the decoded song; without it a note may also be cut by one
    of a later bar, which a bar alone cannot know.
    """

    def __init__(self, whole: Whole):
        self._whole, self._numbers = whole, whole.track_numbers()
        self._free_from = np.zeros(vocab.N_PITCHES, np.int64)  # tick at which the track's new notes may begin
        self._track, self._program, self._bar = -1, 0, -1
        self._signatures, self._tempos = [DEFAULT_SIGNATURE], [DEFAULT_TEMPO]  # of the first track's bars so far
        self._starts = [whole.first_tick]  # ticks, of the bars so far and of the next
        self._duration, self._velocity = DEFAULT_DURATION - 1, DEFAULT_VELOCITY  # in force, as their tokens count
        self._chord: int | None = None  # token with which the current bar began, None outside of bars
        self._tokens: list[int] = []  # of its notes

    def push(self, ids: np.ndarray) -> Iterator[Bar]:
        """The bars that the next tokens int32[N] finish: each is followed by the token that ends it."""
        for token in ids.tolist():
            kind, value = int(grammar.CLASS[token]), int(grammar.VALUE[token])
            if kind in (grammar.CHORD, grammar.TRACK, grammar.EOS) and self._chord is not None:
                yield self._finished()
            if kind == grammar.TRACK:
                self._begin_track(token)
            elif kind == grammar.CHORD:
                self._begin_bar(token)
            elif kind == grammar.SIGNATURE and self._track <= 0:  # in the head, or in the first track
                self._signatures[-1] = value
            elif kind == grammar.TEMPO and self._track <= 0:
                self._tempos[-1] = value
            elif kind in OF_NOTES and self._chord is not None:
                self._tokens.append(token)

    def _begin_track(self, token: int) -> None:
        self._track, self._program, self._bar = self._track + 1, vocab.token_program(token), -1
        self._duration, self._velocity = DEFAULT_DURATION - 1, DEFAULT_VELOCITY
        is_given = self._track < len(self._numbers)
        self._free_from = self._whole.free_from(self._numbers[self._track]) if is_given else 0 * self._free_from

    def _begin_bar(self, token: int) -> None:
        self._bar, self._chord, self._tokens = self._bar + 1, token, []
        if self._bar == len(self._signatures):  # it goes on as the one before, where nothing else is said
            self._signatures.append(self._signatures[-1])
            self._tempos.append(self._tempos[-1])

    def _finished(self) -> Bar:
        """The current bar, decoded as the only one of a song, with what is in force in it said anew."""
        signature, tempo = self._signatures[self._bar], self._tempos[self._bar]
        if self._bar + 1 == len(self._starts):
            self._starts.append(self._starts[-1] + int(BAR_TICKS[signature]))
        head = [
            vocab.BOS,
            vocab.TEMPO + tempo,
            vocab.SIGNATURE + signature,
            vocab.track_token(self._program),
            vocab.SEP,
        ]
        in_force = [vocab.DURATION + self._duration, vocab.VELOCITY + self._velocity]
        score = decode(np.array([*head, self._chord, *in_force, *self._tokens, vocab.EOS], np.int32))
        for token in self._tokens:
            if grammar.CLASS[token] == grammar.DURATION:
                self._duration = int(grammar.VALUE[token])
            elif grammar.CLASS[token] == grammar.VELOCITY:
                self._velocity = int(grammar.VALUE[token])
        chord, self._chord = vocab.NAMES[self._chord], None
        start = self._starts[self._bar]
        return Bar(self._number(), self._program, self._bar + self._whole.left_out, chord, start, self._exact(score))

    def _number(self) -> int:
        """Of the track in the song."""
        new = self._track - len(self._numbers)
        return self._numbers[self._track] if new < 0 else self._whole.given_tracks + new

    def _exact(self, score: Score) -> Score:
        """A bar as it is in the whole song: in its tempi, without new notes where given ones sound."""
        bar, start = self._bar + self._whole.left_out, self._starts[self._bar]
        tempos = self._whole.tempos(bar, self._tempos[self._bar])
        if bar < self._whole.given_bars:
            return replace(score, tempos=tempos)
        notes = [track.notes for track in score.tracks]
        free = [part[part["onset_ticks"] + start >= self._free_from[part["pitch"]]] for part in notes]
        tracks = tuple(Track(self._program, part) for part in free if len(part))
        return replace(score, tracks=tracks, tempos=tempos)
