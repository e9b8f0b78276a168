"""A song bar by bar, as its bars are finished: for live use, and for `generate --stream`.

    song = stream(run, constraints=Constraints(instruments="bass,piano"))
    for bar in song:
        play(bar.score, at=bar.start_ticks)
    song.sample.score()  # the whole song

Every token is looked at once, and a bar is decoded by itself: what a bar costs does not grow with the song. Of a given
song the bars that the model does not see come first.

A bar is what people call so, a whole measure: where that is long, the tokens say it in two parts.

Bars are of the grid: what is new can be played along with what was given only by the same beats. Those of a given song
that was aligned have its notes on the beats that were found, in tempi that bring these to the time they had; the whole
song at the end has its notes as they were read, in its own time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from configs import Constraints, InputError, SampleConfig
from jax_impl.sampling import asked
from jax_impl.sampling.sample import ANYTHING, DEFAULT, Sample, Sampler
from tokenizer import vocabulary as vocab
from tokenizer.grid.meter import N_PARTS, PART_SIXTEENTHS, SIXTEENTH_TICKS, TICKS_PER_BEAT
from tokenizer.music.score import NOTE, Score, Signature, Track
from tokenizer.tokens import grammar
from tokenizer.tokens.decode import (
    DEFAULT_DURATION,
    DEFAULT_SIGNATURE,
    DEFAULT_TEMPO,
    DEFAULT_VELOCITY,
    decode,
)
from tokenizer.tokens.whole import Whole, names_of
from tokenizer.vocabulary import TOKEN, Class

STRIDE = 8  # tokens between two looks for a finished bar
OF_NOTES = (grammar.POSITION, grammar.PITCH, grammar.DURATION, grammar.VELOCITY)


@dataclass(frozen=True, eq=False)
class Bar:
    """A bar that is finished: which track of the song, which bar of it (from 0; given tracks first, then new ones),
    and what it holds.

    chord: its name, or two where the parts of a long bar have two. start_ticks: of the bar in the song, 480 a beat.
    score: the bar alone, from tick 0 on, with its meter and its tempi; without tracks where it is silent, and its last
    notes may sound on past its end.
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
    run: str | Path | None = None,
    *,
    prompt: Score | np.ndarray | str | Path | None = None,
    constraints: Constraints = ANYTHING,
    sampler: SampleConfig = DEFAULT,
    checkpoint: str | int = "best",
) -> "Stream":
    """One song of a trained run, whose bars come as they are finished, given ones first. run, prompt: as for
    sample.generate. Warns and raises as that does.
    """
    found, task = asked.task(run, prompt, constraints, sampler, checkpoint)
    asked.tell(task.notice)
    return Stream(Sampler(found, task))


class Stream:
    """Iterated over, samples the sampler's first song and gives its bars. sample: of the tokens so far; at the end the
    whole song, the same that Sampler.samples gives.
    """

    sample: Sample

    def __init__(self, sampler: Sampler):
        self._sampler = sampler

    def __iter__(self) -> Iterator[Bar]:
        task = self._sampler.task
        if task.parts and (task.parts.given.hidden or len(task.parts.parts) > 1):
            raise InputError("--stream tells bars in the order of a song, and has no bars inside of one or in parts")
        bars, looked_at = Bars(task.whole), 0
        yield from unseen_bars(task.whole)
        for samples in self._sampler.steps(range(1), STRIDE):
            (self.sample,) = samples
            yield from bars.push(self.sample.ids[looked_at:])
            looked_at = len(self.sample.ids)


def unseen_bars(whole: Whole) -> Iterator[Bar]:
    """Those of a given song that the model does not see, track by track."""
    if whole.given is None:
        return
    song, begins = whole.given.song, whole.given.begins.tolist()
    starts = song.bars.start_ticks.tolist()
    for number, track in enumerate(song.to_score().tracks):
        onset, last = track.notes["onset_ticks"], int(song.bars.measure[song.tracks[number].notes["bar"][-1]])
        for bar in range(min(whole.measures_left_out, last + 1)):
            first, after = begins[bar], begins[bar + 1]
            start, end = starts[first], starts[after]
            notes = track.notes[(onset >= start) & (onset < end)].copy()
            notes["onset_ticks"] -= start
            meter = Signature(0, *vocab.SIGNATURES[song.bars.signature[first]])
            tracks = (Track(track.program, notes),) if len(notes) else ()
            score = Score(TICKS_PER_BEAT, tracks, whole.tempos(start, end, []), (meter,))
            yield Bar(number, track.program, bar, names_of(whole.given.chords[first:after]), start, score)


class Parts:
    """The bars of a song's first track so far, which are parts of measures, and where they lie."""

    def __init__(self, first_tick: int):
        self.signatures, self.tempos = [DEFAULT_SIGNATURE], [DEFAULT_TEMPO]
        self.parts, self.measures, self.starts = [0], [0], [first_tick]

    def begin(self, bar: int) -> None:
        """The bar begins in a track: it goes on as the one before, where nothing else is said."""
        if bar < len(self.signatures):
            return
        signature, part = self.signatures[-1], self.parts[-1]
        begins = part + 1 == N_PARTS[signature]
        self.starts.append(self.starts[-1] + int(PART_SIXTEENTHS[signature, part]) * SIXTEENTH_TICKS)
        self.parts.append(0 if begins else part + 1)
        self.measures.append(self.measures[-1] + int(begins))
        self.signatures.append(signature)
        self.tempos.append(self.tempos[-1])

    def change_meter(self, signature: int) -> None:
        """The last bar has this one, and begins a measure if that is another than before."""
        if signature != self.signatures[-1]:
            self.measures[-1] += self.parts[-1] > 0
            self.signatures[-1], self.parts[-1] = signature, 0


class Bars:
    """Follows the tokens of one song as they come, and cuts them into bars. whole: what the tokens belong to.

    Under the grammar the bars' notes together are those of the decoded song; without it a note may also be cut by one
    of a later bar, which a bar alone cannot know.
    """

    def __init__(self, whole: Whole):
        self._whole, self._numbers = whole, whole.track_numbers()
        self._free_from = np.zeros(vocab.N_PITCHES, np.int64)  # tick at which the track's new notes may begin
        self._song = Parts(whole.first_tick)
        self._track, self._program, self._part = -1, 0, -1  # number of the current part in its track
        self._duration, self._velocity = DEFAULT_DURATION, DEFAULT_VELOCITY  # in force
        self._tokens: list[list[int]] = []  # of the current bar's parts: a chord and its notes'

    def push(self, ids: np.ndarray) -> Iterator[Bar]:
        """The bars that the next tokens int32[N] finish: each is followed by the token that ends it."""
        for token in ids.tolist():
            kind, value = int(grammar.CLASS[token]), int(grammar.VALUE[token])
            says_first = self._track <= 0  # in the head, or in the first track
            if kind in (grammar.TRACK, grammar.EOS) and self._tokens:
                yield self._finished(0)
            if kind == grammar.TRACK:
                self._begin_track(value)
            elif kind == grammar.CHORD and self._track >= 0:
                self._part += 1
                self._song.begin(self._part)
                self._tokens.append([token])
                if len(self._tokens) > 1 and self._song.parts[self._part] == 0:
                    yield self._finished(1)
            elif kind == grammar.SIGNATURE and says_first:
                self._song.change_meter(value)
                if len(self._tokens) > 1 and self._song.parts[self._part] == 0:
                    yield self._finished(1)
            elif kind == grammar.TEMPO and says_first:
                self._song.tempos[-1] = value
            elif kind in OF_NOTES and self._tokens:
                self._tokens[-1].append(token)

    def _begin_track(self, program: int) -> None:
        self._track, self._program, self._part = self._track + 1, program, -1
        self._duration, self._velocity = DEFAULT_DURATION, DEFAULT_VELOCITY
        is_given = self._track < len(self._numbers)
        self._free_from = self._whole.free_from(self._numbers[self._track]) if is_given else 0 * self._free_from

    def _finished(self, begun: int) -> Bar:
        """The current bar, decoded as the only one of a song, with what is in force in it said anew. begun: parts
        of the next one that have begun.
        """
        parts = self._tokens[: len(self._tokens) - begun]
        self._tokens = self._tokens[len(parts) :]
        end = self._part + 1 - begun
        bars = range(end - len(parts), end)
        head = [
            vocab.BOS,
            TOKEN[Class.TEMPO][self._song.tempos[bars[0]]],
            TOKEN[Class.SIGNATURE][self._song.signatures[bars[0]]],
            vocab.track_token(self._program),
            vocab.SEP,
        ]
        in_force = [TOKEN[Class.DURATION][self._duration], TOKEN[Class.VELOCITY][self._velocity]]
        (first, *notes), *more = parts
        of_notes = [*notes, *(token for part in more for token in part)]
        score = decode(np.array([*head, first, *in_force, *of_notes, vocab.EOS], np.int32))
        for token in of_notes:
            if grammar.CLASS[token] == grammar.DURATION:
                self._duration = int(grammar.VALUE[token])
            elif grammar.CLASS[token] == grammar.VELOCITY:
                self._velocity = int(grammar.VALUE[token])
        chord = names_of(grammar.VALUE[[part[0] for part in parts]])
        measure = self._song.measures[bars[0]] + self._whole.measures_left_out
        start = self._song.starts[bars[0]]
        return Bar(self._number(), self._program, measure, chord, start, self._exact(score, bars))

    def _number(self) -> int:
        """Of the track in the song."""
        new = self._track - len(self._numbers)
        return self._numbers[self._track] if new < 0 else self._whole.given_tracks + new

    def _exact(self, score: Score, bars: range) -> Score:
        """A bar of these parts as it is in the whole song: in its tempi, without new notes where given ones sound."""
        song, start = self._song, self._song.starts[bars[0]]
        end = song.starts[bars[-1]] + int(PART_SIXTEENTHS[song.signatures[bars[-1]], len(bars) - 1]) * SIXTEENTH_TICKS
        said = [
            (song.starts[bar] - start, song.tempos[bar])
            for bar in bars
            if bar == bars[0] or song.tempos[bar] != song.tempos[bar - 1]
        ]
        tempos = self._whole.tempos(start, end, said)
        if start < self._whole.end_tick:
            return replace(score, tempos=tempos)
        notes = [track.notes for track in score.tracks]
        free = [part[part["onset_ticks"] + start >= self._free_from[part["pitch"]]] for part in notes]
        tracks = tuple(Track(self._program, part) for part in free if len(part))
        return replace(score, tracks=tracks, tempos=tempos)
