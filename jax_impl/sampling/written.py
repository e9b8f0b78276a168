"""What a sampler has written: a song, and a given song that is written part by part (see tokenizer/tokens/parts.py)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from tokenizer import vocabulary as vocab
from tokenizer.grid.song import GridSong
from tokenizer.music.score import Score
from tokenizer.tokens import fields, grammar
from tokenizer.tokens.parts import InParts, Part
from tokenizer.tokens.whole import Whole

NEW = Whole()


@dataclass(frozen=True)
class Sample:
    """ids: int32[T], from BOS on, as the model saw and wrote them. finished: it ends in EOS. errors: tokens that the
    grammar would not have allowed. number: of the song among those of its seed. cut_short: it, or one of its tracks,
    was brought to an end for want of room, where the model might have gone on. whole: what makes the song of them, all
    of a given one included. place: program of the track and number of the measure, from 0, that are being written.
    """

    ids: np.ndarray
    finished: bool
    errors: int
    number: int
    cut_short: bool = False
    whole: Whole = NEW
    place: tuple[int, int] | None = None

    def score(self) -> Score:
        """The whole song; a given one in its own time."""
        return self.whole.score(self.ids)

    def midi(self) -> tuple[bytes, str | None]:
        """The same as the bytes of a MIDI file, a given one with what is new in it; and what should be known of it."""
        return self.whole.midi(self.ids)

    def on_grid(self) -> Score:
        """The whole song with the bars that the model had."""
        return self.whole.on_grid(self.ids)

    def chords(self) -> list[str]:
        """Names of the chords of its bars, as its tokens say them."""
        return self.whole.chords(self.ids)


class Place(NamedTuple):
    """A measure of a song, from 0, in one of its tracks, given ones first."""

    track: int
    measure: int


class InPartsSoFar:
    """Songs with these numbers, of which the first part is the same for all; the others hang on what the ones before
    became. sampler: whose `steps` write a part. tokens: of the parts before the one that is being written.
    """

    def __init__(self, sampler: Any, parts: InParts, numbers: Sequence[int]):
        self._sampler, self._parts, self._numbers = sampler, parts, numbers
        self._songs = {number: parts.begun() for number in numbers}
        self._written: dict[int, list[Sample]] = {number: [] for number in numbers}
        self._seen: Part | None = None
        self.tokens = 0

    def steps(self, stride: int) -> Iterator[list[Sample]]:
        """After every `stride` tokens, the songs that are being written: what they are of the current part."""
        length = 0
        for index, part in enumerate(self._parts.parts):
            for together in [[number] for number in self._numbers] if index else [list(self._numbers)]:
                self.tokens += length
                self._seen, plan = self._parts.fitting(self._songs[together[0]], part)
                for samples in self._sampler.steps(together, stride, plan, index):
                    length = max(len(sample.ids) for sample in samples)
                    yield samples
                for sample in samples:
                    self._written[sample.number].append(sample)
                    self._songs[sample.number] = self.so_far(sample)

    def song(self, number: int) -> GridSong:
        """What the parts that are written have made of it."""
        return self._songs[number]

    def so_far(self, sample: Sample) -> GridSong:
        """The song with what a sample of the current part has written of it."""
        return self._parts.with_written(self._songs[sample.number], self._seen, sample.ids)

    def finished(self, sample: Sample) -> list[Place]:
        """The measures of the current part that a sample has written to their ends, in the order in which it did."""
        ids, part, bars = sample.ids, self._seen, self._parts.given.song.bars
        tracks = self._parts.hidden.tracks
        kind, is_last = grammar.CLASS[ids], ids[-1] == vocab.EOS
        sections = int((kind == grammar.TRACK).sum()) - self._parts.shown(self._songs[sample.number], part)
        if sections <= 0:
            return []
        bar = int(fields.compute(ids).bar[-1])
        current = part.first if bar < 0 else int(bars.measure[self._parts.given.begins[part.first] + bar])
        out = []
        for number, track in enumerate(tracks[:sections]):
            stop = current if number == sections - 1 and not is_last else part.stop
            out += [Place(track, measure) for measure in range(part.begin, min(stop, part.stop))]
        return out

    def samples(self) -> list[Sample]:
        """The whole songs, once all parts are written."""
        return [
            replace(
                written[-1],
                ids=self._parts.ids(self._songs[number]),
                finished=all(sample.finished for sample in written),
                errors=sum(sample.errors for sample in written),
                cut_short=any(sample.cut_short for sample in written),
                whole=self._sampler.task.whole,
                place=None,
            )
            for number, written in self._written.items()
        ]
