"""A given song in its own time: as it was read, and the way there from the grid.

    ticks of the file     0 . . . 700 . . . 1310 . .      its notes, tempi and meters, which stay as they are
    aligned ticks         0 . . . 960 . . . 1920 . .      where a beat is a beat: TimeMap
    ticks of the grid     0 . . . 480 . . .  960 . .      where a bar is a bar: Layout

So what a model adds can go back into the project from which the file came, where everything stands where it stood, or
into the file itself.
"""

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from tokenizer.grid.align import Aligned
from tokenizer.grid.meter import TICKS_PER_BEAT, Bars, Layout
from tokenizer.grid.quantize import OnGrid, source_time
from tokenizer.grid.song import HID_RANK
from tokenizer.grid.tempo_map import SLOWEST
from tokenizer.grid.time_map import TimeMap
from tokenizer.music.edited import Edit, edited
from tokenizer.music.messages import GivenFile
from tokenizer.music.score import DRUMS, NOTE, Score, Signature, Tempo, Track
from tokenizer.tokens.encode import Hidden

PITCH_SHIFT = 48  # bits of a tick: more than twice the last one of a file
# New notes, with the number of the track of a score that they go on, None of a new one
New = list[tuple[int | None, Track]]
FARTHEST = 32  # bits of the ticks of the grid that are looked through: millions of beats


class Notes(NamedTuple):
    """Which notes of a song as it was read: the number of their track, and int[N] theirs in it."""

    track: int
    numbers: np.ndarray


@dataclass(frozen=True, eq=False)
class OwnTime:
    """score: as it was read, its tracks those of the song on the grid. bars: of each track int32[N], the bar in which
    each note lies on the grid. time: from the score's ticks to aligned ones, of which ticks_per_beat are a beat.
    layout: from those to the grid.

    read: the whole song as it was read, before anything of it was left out or moved, in the order of its file. notes:
    of each track of the score which notes of that these are; semitones: by which they were moved. end: tick of the
    score from which on bars are new, None where none is. file: the one in which it stands, None of a song that is none.
    """

    score: Score
    bars: tuple[np.ndarray, ...]
    time: TimeMap
    ticks_per_beat: int
    layout: Layout
    read: Score
    notes: tuple[Notes, ...]
    semitones: int = 0
    end: int | None = None
    file: GivenFile | None = None

    @classmethod
    def of(cls, score: Score, aligned: Aligned, found: OnGrid, file: GivenFile | None = None) -> "OwnTime":
        """aligned: of the score; found: on_grid(aligned.score). file: where the score was read from."""
        last = len(found.song.bars) - 1  # a note past it met one before, and is part of that
        notes = _in_hid_order(score)
        bars = tuple(np.minimum(found.notes[track]["bar"], last) for track, _ in notes)
        time = aligned.time or TimeMap.shifted(0)
        tracks = tuple(score.tracks[track] for track, _ in notes)
        beat, layout = aligned.score.ticks_per_beat, found.layout
        return cls(replace(score, tracks=tracks), bars, time, beat, layout, score, notes, file=file)

    # ---------------------------------------------------------------- from the grid, and to it

    def back(self, ticks: np.ndarray) -> np.ndarray:
        """int64[N]: ticks of the file of ticks of the grid; negative before its start."""
        return self.time.back(self._aligned(ticks))

    def _aligned(self, ticks: np.ndarray) -> np.ndarray:
        """int64[N]: aligned ticks of ticks of the grid."""
        before = np.minimum(ticks * self.ticks_per_beat - self.layout.grid[0], 0)  # where source_time stands still
        time = source_time(ticks, self.ticks_per_beat, self.layout) + before
        return (2 * time + TICKS_PER_BEAT) // (2 * TICKS_PER_BEAT)

    def earliest(self, ticks: np.ndarray, least: int) -> np.ndarray:
        """int64[N]: the first tick of the grid, from `least` on, that is not before each of the file's ticks [N]."""
        before = np.full(len(ticks), least - 1, np.int64)
        for bit in reversed(range(FARTHEST)):
            before += np.where(self.back(before + (1 << bit)) < ticks, 1 << bit, 0)
        return before + 1

    # ---------------------------------------------------------------- what is kept of it

    def transposed(self, semitones: int) -> "OwnTime":
        """All but its drums so many semitones higher, which MIDI must have."""
        tracks = []
        for track in self.score.tracks:
            notes = track.notes.copy()
            notes["pitch"] += 0 if track.program == DRUMS else semitones
            tracks.append(Track(track.program, notes))
        score = replace(self.score, tracks=tuple(tracks))
        return replace(self, score=score, semitones=self.semitones + semitones)

    def first(self, bars: int) -> "OwnTime":
        """The notes of so many first bars of the grid, and the tracks that have such."""
        return self._with([bar < bars for bar in self.bars], keeps_silent=False)

    def without(self, hidden: Hidden) -> "OwnTime":
        """The notes outside of the hidden bars; all tracks, also those without any."""
        return self._with(
            [
                (number not in hidden.tracks) | (bar < hidden.first) | (bar >= hidden.stop)
                for number, bar in enumerate(self.bars)
            ],
            keeps_silent=True,
        )

    def _with(self, kept: list[np.ndarray], keeps_silent: bool) -> "OwnTime":
        """kept: of each track bool[N], which notes."""
        rows = [
            (Track(track.program, track.notes[chosen]), bars[chosen], Notes(notes.track, notes.numbers[chosen]))
            for track, bars, notes, chosen in zip(self.score.tracks, self.bars, self.notes, kept, strict=True)
            if keeps_silent or chosen.any()
        ]
        tracks, bars, notes = zip(*rows, strict=True) if rows else ((), (), ())
        return replace(self, score=replace(self.score, tracks=tracks), bars=bars, notes=notes)

    def until(self, end_tick: int) -> "OwnTime":
        """From a tick of the grid on, time goes on as in the beat before it, in the tempo and meter of then: what comes
        there is not what the file has there.
        """
        end, there = int(self.back(np.array(end_tick))), self._aligned(np.array(end_tick))
        knots = max(int(np.searchsorted(self.time.aligned, there, side="left")) + 1, 2)
        stretches = max(int(np.searchsorted(self.layout.grid, end_tick * self.ticks_per_beat, side="right")), 1)
        time = TimeMap(self.time.source[:knots], self.time.aligned[:knots])
        layout = replace(self.layout, source=self.layout.source[:stretches], grid=self.layout.grid[:stretches])
        first_tempo, *tempos = self.score.tempos
        first_signature, *signatures = self.score.signatures
        score = replace(
            self.score,
            tempos=(first_tempo, *(change for change in tempos if change.tick < end)),
            signatures=(first_signature, *(change for change in signatures if change.tick < end)),
        )
        return replace(self, score=score, time=time, layout=layout, end=end)

    # ---------------------------------------------------------------- with what is new

    def with_new(self, new: New, tempos: list[Tempo], signatures: list[Signature]) -> Score:
        """The song as it was read, and what is new, in ticks of the grid: notes, and changes past its end. Tracks in
        HID order. A new note that would cut one of the song short is left out, or ends before it.
        """
        tempos, signatures = self._changes(tempos, signatures)
        return replace(
            self.score,
            tracks=joined(self.score.tracks, self._beside(new)),
            tempos=tuple(({change.tick: change for change in (*self.score.tempos, *tempos)}).values()),
            signatures=tuple(({change.tick: change for change in (*self.score.signatures, *signatures)}).values()),
        )

    def merged(self, new: New, tempos: list[Tempo], signatures: list[Signature]) -> tuple[bytes, str | None]:
        """As with_new, but into the file, which there is: everything in it stays as it is. Also what a player may lose,
        or None. Raises MidiError.
        """
        removed = [np.ones(len(track.notes), bool) for track in self.read.tracks]
        for track, numbers in self.notes:
            removed[track][numbers] = False
        added = [(None if number is None else self.notes[number].track, track) for number, track in self._beside(new)]
        cuts = self.end is not None and any(gone.any() for gone in removed)
        changes = self._changes(tempos, signatures)
        edit = Edit(tuple(removed), tuple(added), *changes, self.semitones, self.end, cuts)
        return edited(self.file, edit, self.read)

    def _changes(
        self, tempos: list[Tempo], signatures: list[Signature]
    ) -> tuple[tuple[Tempo, ...], tuple[Signature, ...]]:
        """Of the grid in the file's time; of several at a tick the last."""
        faster = {self._tick(change): Tempo(self._tick(change), self._length(change)) for change in tempos}
        other = {self._tick(change): replace(change, tick=self._tick(change)) for change in signatures}
        return tuple(faster.values()), tuple(other.values())

    def _beside(self, new: New) -> New:
        """Where new notes of the grid lie in the file, as far as they leave its notes what they are: those that sound
        on the same channel. Tracks without a note are left out.
        """
        keys = self.file.keys if self.file else range(len(self.read.tracks))
        own_keys = [keys[track] for track, _ in self.notes]
        sounding: dict[Hashable, list[np.ndarray]] = defaultdict(list)
        for key, track in zip(own_keys, self.score.tracks, strict=True):
            sounding[key].append(track.notes)
        out = []
        for number, track in new:
            notes = self._placed(track.notes)
            if number is not None:
                notes = fitted(notes, np.concatenate(sounding[own_keys[number]]))
                sounding[own_keys[number]].append(notes)
            if len(notes):
                out.append((number, Track(track.program, notes)))
        return out

    def _placed(self, notes: np.ndarray) -> np.ndarray:
        """NOTE[]: where notes of the grid lie in the file. What is filled up in front has no place there: a note that
        lies mostly before the file's start is left out, another that begins there begins with it.
        """
        begins, ends = self.back(notes["onset_ticks"]), self.back(notes["onset_ticks"] + notes["duration_ticks"])
        out = notes.copy()
        out["onset_ticks"] = np.maximum(begins, 0)
        out["duration_ticks"] = np.maximum(ends - out["onset_ticks"], 1)
        return out[begins + ends >= 0]

    def _tick(self, change: Tempo | Signature) -> int:
        return max(int(self.back(np.array(change.tick))), 0)

    def _length(self, change: Tempo) -> int:
        """Microseconds of a beat of the file, which need be none of the music, where a beat of the music lasts as the
        change says: past the end.
        """
        file, music = np.diff(self.time.source[-2:]).item(), np.diff(self.time.aligned[-2:]).item()
        length = change.microseconds_per_beat * self.score.ticks_per_beat * music / (file * self.ticks_per_beat)
        return min(max(round(length), 1), SLOWEST)


def _in_hid_order(score: Score) -> tuple[Notes, ...]:
    """All notes of the tracks that have some."""
    tracks = [number for number, track in enumerate(score.tracks) if len(track.notes)]
    tracks.sort(key=lambda number: HID_RANK[score.tracks[number].program])
    return tuple(Notes(number, np.arange(len(score.tracks[number].notes))) for number in tracks)


def fitted(new: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Of the notes NOTE[N] those that leave given ones NOTE[M] as they are: none begins where one of its pitch sounds
    or begins, and each ends where the next one of its pitch begins at the latest.
    """
    onset = given["onset_ticks"]
    is_free, until = left_free(new["pitch"], new["onset_ticks"], given["pitch"], onset, onset + given["duration_ticks"])
    out = new[is_free].copy()
    out["duration_ticks"] = np.minimum(out["duration_ticks"], (until - new["onset_ticks"])[is_free])
    return out


def left_free(
    pitch: np.ndarray, begins: np.ndarray, given_pitch: np.ndarray, given_begins: np.ndarray, given_ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of N new notes, beside M given ones, in any unit of time: bool[N] none of its pitch sounds or begins where it
    does, int64[N] when the next of its pitch begins.
    """
    order = np.lexsort((given_begins, given_pitch))
    onsets, ends = (_pitch_time(given_pitch, times)[order] for times in (given_begins, given_ends))
    until = np.append(np.maximum.accumulate(ends), -1)  # sounding, by those that have begun; of lower pitches: before
    at = _pitch_time(pitch, begins)
    begun = np.searchsorted(onsets, at, side="right") - 1
    is_free = (until[begun] <= at) & (np.append(onsets, -1)[begun] < at)
    following = np.append(onsets, np.iinfo(np.int64).max)[begun + 1] - at  # of a higher pitch: far away
    return is_free, begins + following


def _pitch_time(pitch: np.ndarray, ticks: np.ndarray) -> np.ndarray:
    """int64[]: both as one number, of which those of two pitches are far apart."""
    return (pitch.astype(np.int64) << PITCH_SHIFT) + ticks


def joined(tracks: tuple[Track, ...], new: New) -> tuple[Track, ...]:
    """Tracks with new notes after their own, and new tracks after those of their program, in HID order; none without
    notes.
    """
    out = list(tracks)
    for number, track in new:
        if number is None:
            out.append(track)
        else:
            out[number] = Track(track.program, np.concatenate([out[number].notes, track.notes]))
    return tuple(sorted((track for track in out if len(track.notes)), key=lambda track: HID_RANK[track.program]))


# ---------------------------------------------------------------- as plain JSON values


def to_json(own: OwnTime) -> dict:
    """All of it, as lists of whole numbers. Inverse: of_json."""
    score, layout = own.score, own.layout
    return {
        "ticks_per_beat": score.ticks_per_beat,
        "tempos": [[tempo.tick, tempo.microseconds_per_beat] for tempo in score.tempos],
        "signatures": [[change.tick, change.numerator, change.denominator] for change in score.signatures],
        "tracks": [
            {"program": track.program, "bars": bars.tolist()}
            | {name: track.notes[name].tolist() for name in NOTE.names}
            for track, bars in zip(score.tracks, own.bars, strict=True)
        ],
        "knots": {"source": own.time.source.tolist(), "aligned": own.time.aligned.tolist()},
        "aligned_ticks_per_beat": own.ticks_per_beat,
        "stretches": {"source": layout.source.tolist(), "grid": layout.grid.tolist()},
        "bars": layout.bars.signature.tolist(),
    }


def of_json(values: dict, read: Score | None, file: GivenFile | None) -> OwnTime:
    """read: the song as it is read from the file, in the file's order; both None of JSONs that were made before the
    file was kept. Raises ValueError, KeyError or TypeError where they are not what to_json gives, ImpossibleScore where
    they are no song.
    """
    tracks = []
    for track in values["tracks"]:
        notes = np.empty(len(track["onset_ticks"]), NOTE)
        for name in NOTE.names:
            notes[name] = track[name]
        tracks.append(Track(track["program"], notes))
    score = Score(
        values["ticks_per_beat"],
        tuple(tracks),
        tuple(Tempo(*tempo) for tempo in values["tempos"]),
        tuple(Signature(*change) for change in values["signatures"]),
    )
    knots, stretches = (
        {name: np.array(ticks, np.int64) for name, ticks in values[part].items()} for part in ("knots", "stretches")
    )
    if any(len(ticks) < 2 or (np.diff(ticks) <= 0).any() for ticks in knots.values()):
        raise ValueError("its knots do not rise")
    return OwnTime(
        score,
        tuple(np.array(track["bars"], np.int32) for track in values["tracks"]),
        TimeMap(**knots),
        int(values["aligned_ticks_per_beat"]),
        Layout(Bars(np.array(values["bars"], np.int32)), **stretches),
        read or score,
        _in_hid_order(read or score),
        file=file,
    )
