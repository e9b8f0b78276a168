"""A song as the page has it: a MIDI file, and where the beats were found in it. The server keeps none: each request
brings the song with it, and each answer is another one.

    file ticks ---- beats ----> aligned ticks ---- layout of bars ----> ticks of the grid, which the page draws

Beats are found once, when a file is opened. From then on they go with it: what is written into the file must not move
the bars that the user sees.
"""

import base64
import binascii
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from configs import ALIGN, PEDAL, InputError
from jax_impl.sampling import asked
from tokenizer.grid.align import Aligned
from tokenizer.grid.meter import N_PARTS, PART_SIXTEENTHS, SIXTEENTH_TICKS, TICKS_PER_BEAT, ScoreTooLong
from tokenizer.grid.quantize import grid_time
from tokenizer.grid.song import GridSong
from tokenizer.grid.tempo_map import seconds_at
from tokenizer.grid.time_map import TimeMap, retimed
from tokenizer.music import instruments, midi
from tokenizer.music.messages import GivenFile
from tokenizer.music.score import Score, Signature, Tempo
from tokenizer.tokens import fields
from tokenizer.tokens.encode import grid_song
from tokenizer.tokens.given import Prompt, aligned_prompt
from tokenizer.tokens.own_time import OwnTime
from tokenizer.tokens.whole import PATTERNS, names_of
from tokenizer.vocabulary import SIGNATURES

MOST_BYTES = 16 << 20  # of a MIDI file that somebody brings
TO_BE_FOUND = "to be found"  # of beats: nobody has looked for them yet


class Refused(InputError):
    """What a request asks for cannot be; the message says why, and goes to the page."""


class Silent(Refused):
    """A file without notes."""


class Bar(NamedTuple):
    """A measure. tick: of the grid, at which it begins. seconds: in the file, before 0 where a pickup was filled up."""

    tick: int
    seconds: float
    meter: str
    chord: str
    bpm: float


@dataclass(frozen=True, eq=False)
class Song:
    """prompt: what a sampler takes. notices: what its owner should know of how it was read. beats: plain JSON values,
    None where they are as the file says.
    """

    raw: bytes
    beats: dict | None
    prompt: Prompt
    notices: tuple[str, ...]

    @classmethod
    def of_file(cls, raw: bytes, beats: Any = TO_BE_FOUND, name: str = "the file") -> "Song":
        """Raises InputError where it is no song."""
        try:
            return cls._of_file(raw, beats, name)
        except ScoreTooLong as error:
            raise Refused(f"{name}: {error}") from error

    @classmethod
    def _of_file(cls, raw: bytes, beats: Any, name: str) -> "Song":
        reading = midi.parse(raw, name, PEDAL)
        if not any(len(track.notes) for track in reading.score.tracks):
            raise Silent(f"{name}: no notes in it")
        file, notices = GivenFile(raw), []
        if not file.can_be_edited:
            file, notices = GivenFile(midi.to_bytes(reading.score, name)[0]), [PATTERNS]
            reading = midi.parse(file.raw, name, PEDAL)
        if beats == TO_BE_FOUND:
            aligned, said = asked.with_beats(reading.score, ALIGN)
            notices += [*asked.of_reading(reading), *said, *asked.of_bars(aligned.score)]
        else:
            aligned = _with_beats(reading.score, beats)
        notices = [notice.partition("; --")[0] for notice in notices]  # flags, of which a page has none
        return cls(file.raw, _plain(aligned), aligned_prompt(reading.score, aligned, file), tuple(notices))

    @property
    def file(self) -> GivenFile:
        return self.own.file

    @property
    def own(self) -> OwnTime:
        return self.prompt.own

    @cached_property
    def _on_grid(self) -> tuple[GridSong, np.ndarray]:
        """The song on the grid, and the chord of each part of a measure."""
        return grid_song(fields.compute(self.prompt.ids))

    @property
    def grid(self) -> GridSong:
        return self._on_grid[0]

    @property
    def chords(self) -> np.ndarray:
        """int32[bars]: of each part of a measure, as bar_chords numbers them."""
        return self._on_grid[1]

    @cached_property
    def ids(self) -> list[str]:
        """Of each track a name that stays when others change, or its instrument: where it stands in the file."""
        sources, counts, names = self.file.there.sources, Counter(), []
        for source in sources:
            place = (source.track, *source.key)
            names.append("-".join(map(str, (*place, *([counts[place]] if counts[place] else [])))))
            counts[place] += 1
        return [names[notes.track] for notes in self.own.notes]

    @cached_property
    def bars(self) -> list[Bar]:
        song, chords = self._on_grid
        begins, lines = np.flatnonzero(song.bars.part == 0), self.lines
        seconds = self.seconds_at(lines)
        lasting = np.maximum(np.diff(seconds), 1e-9)
        beats = np.diff(lines) / TICKS_PER_BEAT
        return [
            Bar(
                int(lines[number]),
                round(float(seconds[number]), 6),
                "{}/{}".format(*SIGNATURES[song.bars.signature[begin]]),
                names_of(chords[song.bars.measure == number]),
                round(float(60 * beats[number] / lasting[number]), 2),
            )
            for number, begin in enumerate(begins.tolist())
        ]

    @cached_property
    def lines(self) -> np.ndarray:
        """int64[measures + 1]: ticks of the bar lines, of whole measures."""
        bars = self.grid.bars
        begins = bars.start_ticks[:-1][bars.part == 0]
        last = bars.signature[-1]
        rest = PART_SIXTEENTHS[last, bars.part[-1] + 1 : N_PARTS[last]].sum() * SIXTEENTH_TICKS
        return np.append(begins, bars.start_ticks[-1] + rest)

    def seconds_at(self, ticks: np.ndarray) -> np.ndarray:
        """float64[N]: of ticks of the grid, in the file."""
        score = self.own.read
        return seconds_at(score.tempos, score.ticks_per_beat, self.own.back(ticks))

    def ticks_of(self, ticks: np.ndarray) -> np.ndarray:
        """int64[N]: ticks of the grid of ticks of the file. Notes so lie where they are played, not where they snap."""
        beat, time = self.own.ticks_per_beat, self.own.time
        return np.rint(grid_time(time.there(ticks), beat, self.own.layout) / beat).astype(np.int64)

    def notes(self, track: int) -> np.ndarray:
        """int64[N, 4] of a track: tick and ticks of the grid, pitch, velocity; by their onsets."""
        notes = self.own.score.tracks[track].notes
        begins = self.ticks_of(notes["onset_ticks"])
        lasting = np.maximum(self.ticks_of(notes["onset_ticks"] + notes["duration_ticks"]) - begins, 1)
        rows = np.stack([begins, lasting, notes["pitch"], notes["velocity"]], axis=1)
        return rows[np.lexsort((rows[:, 2], rows[:, 0]))]

    def measure_of(self, track: int) -> np.ndarray:
        """int64[N]: of the notes of a track as they were read, the measure in which each lies, from 0."""
        return self.grid.bars.measure[self.own.bars[track]]

    def beats_of_longer(self, kept: OwnTime, raw: bytes) -> dict | None:
        """Where the beats are in a file that goes on behind this song. kept: what was kept of it, whose time goes on
        as in its last beat; with the changes of tempo and meter that come there.
        """
        if self.beats is None:
            return None
        now, time = midi.parse(raw, "the song", PEDAL).score, kept.time
        end = int(time.there(np.array(kept.end)))
        at = lambda tick: int(time.there(np.array(tick)))
        until = lambda changes: [change for change in changes if change[0] < end]
        file, music = (int(ticks[-1] - ticks[-2]) for ticks in (time.source, time.aligned))
        longer = file * kept.ticks_per_beat / (music * now.ticks_per_beat)  # beats of the music in one of the file
        tempos = [
            [at(change.tick), round(change.microseconds_per_beat * longer)]
            for change in now.tempos
            if change.tick >= kept.end
        ]
        signatures = [
            [at(change.tick), change.numerator, change.denominator]
            for change in now.signatures
            if change.tick >= kept.end
        ]
        return self.beats | {
            "source": time.source.tolist(),
            "aligned": time.aligned.tolist(),
            "tempos": until(self.beats["tempos"]) + tempos,
            "signatures": until(self.beats["signatures"]) + signatures,
        }

    def plain(self) -> dict:
        """As JSON values: the song and all that the page draws."""
        score, lines = self.own.read, self.lines
        ends = [track.notes["onset_ticks"] + track.notes["duration_ticks"] for track in self.own.score.tracks]
        last = max(int(each.max()) for each in ends)
        return {
            "midi": base64.b64encode(self.raw).decode("ascii"),
            "beats": self.beats,
            "bars": [bar._asdict() for bar in self.bars],
            "end": {"tick": int(lines[-1]), "seconds": round(float(self.seconds_at(lines[-1:])[0]), 6)},
            "seconds": round(float(seconds_at(score.tempos, score.ticks_per_beat, np.array([last]))[0]), 6),
            "tracks": [
                {
                    "id": name,
                    "program": track.program,
                    "name": instruments.name(track.program),
                    "notes": self.notes(number).tolist(),
                }
                for number, (track, name) in enumerate(zip(self.own.score.tracks, self.ids, strict=True))
            ],
            "notices": list(self.notices),
        }


def of_base64(text: str, what: str) -> bytes:
    """The content of a file. Raises Refused."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(f"{what}: not base64 ({error})") from error
    if len(raw) > MOST_BYTES:
        raise Refused(f"{what}: {len(raw) / (1 << 20):.1f} MB, and {MOST_BYTES >> 20} MB is the most")
    return raw


# ---------------------------------------------------------------- beats


def _plain(aligned: Aligned) -> dict | None:
    """Where the beats of a file are. Inverse: _with_beats."""
    if aligned.time is None:
        return None
    score = aligned.score
    return {
        "kind": aligned.kind,
        "source": aligned.time.source.tolist(),
        "aligned": aligned.time.aligned.tolist(),
        "ticks_per_beat": score.ticks_per_beat,
        "tempos": [[tempo.tick, tempo.microseconds_per_beat] for tempo in score.tempos],
        "signatures": [[change.tick, change.numerator, change.denominator] for change in score.signatures],
    }


def _with_beats(score: Score, beats: dict | None) -> Aligned:
    """A score that is read, with the beats that were found in it. Raises Refused."""
    if beats is None:
        return Aligned(score, "none")
    try:
        time = TimeMap(*(np.array(beats[name], np.int64) for name in ("source", "aligned")))
        if min(len(time.source), len(time.aligned)) < 2 or len(time.source) != len(time.aligned):
            raise ValueError("too few knots")
        if (np.diff(time.source) <= 0).any() or (np.diff(time.aligned) <= 0).any():
            raise ValueError("its knots do not rise")
        tempos = tuple(Tempo(*change) for change in beats["tempos"])
        signatures = tuple(Signature(*change) for change in beats["signatures"])
        moved = retimed(score, time, beats["ticks_per_beat"], tempos, signatures)
        return Aligned(moved, beats["kind"], time=time)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise Refused(f"beats: not those that came with the song ({type(error).__name__}: {error})") from error
