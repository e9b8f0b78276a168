"""A given song in its own time, where the grid has another: as it was read, and the way there from the grid.

    ticks of the file     0 . . . 700 . . . 1310 . .      its notes, tempi and meters, which stay as they are
    aligned ticks         0 . . . 960 . . . 1920 . .      where a beat is a beat: TimeMap
    ticks of the grid     0 . . . 480 . . .  960 . .      where a bar is a bar: Layout

So what a model adds can go back into the project from which the file came, where everything stands where it stood.
"""

from dataclasses import dataclass, replace

import numpy as np

from tokenizer.grid.align import Aligned
from tokenizer.grid.meter import TICKS_PER_BEAT, Bars, Layout
from tokenizer.grid.quantize import OnGrid, source_time
from tokenizer.grid.song import HID_RANK
from tokenizer.grid.tempo_map import SLOWEST
from tokenizer.grid.time_map import TimeMap
from tokenizer.music.score import DRUMS, NOTE, Score, Signature, Tempo, Track

FARTHEST = 32  # bits of the ticks of the grid that are looked through: millions of beats


@dataclass(frozen=True, eq=False)
class OwnTime:
    """score: as it was read, its tracks those of the song on the grid. bars: of each track int32[N], the bar in which
    each note lies on the grid. time: from the score's ticks to aligned ones, of which ticks_per_beat are a beat.
    layout: from those to the grid.
    """

    score: Score
    bars: tuple[np.ndarray, ...]
    time: TimeMap
    ticks_per_beat: int
    layout: Layout

    @classmethod
    def of(cls, score: Score, aligned: Aligned, found: OnGrid) -> "OwnTime":
        """aligned: of the score, with a time; found: on_grid(aligned.score)."""
        last = len(found.song.bars) - 1  # a note past it met one before, and is part of that
        tracks = [
            (track, np.minimum(placed["bar"], last))
            for track, placed in zip(score.tracks, found.notes, strict=True)
            if len(track.notes)
        ]
        tracks.sort(key=lambda track_and_bars: HID_RANK[track_and_bars[0].program])
        score = replace(score, tracks=tuple(track for track, _ in tracks))
        bars = tuple(bars for _, bars in tracks)
        return cls(score, bars, aligned.time, aligned.score.ticks_per_beat, found.layout)

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
        return replace(self, score=replace(self.score, tracks=tuple(tracks)))

    def first(self, bars: int) -> "OwnTime":
        """The notes of so many first bars of the grid, and the tracks that have such."""
        kept, bars_of = [], []
        for track, bar in zip(self.score.tracks, self.bars, strict=True):
            if (is_kept := bar < bars).any():
                kept.append(Track(track.program, track.notes[is_kept]))
                bars_of.append(bar[is_kept])
        return replace(self, score=replace(self.score, tracks=tuple(kept)), bars=tuple(bars_of))

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
        return replace(self, score=score, time=time, layout=layout)

    # ---------------------------------------------------------------- with what is new

    def with_new(
        self,
        new: list[tuple[int | None, Track]],
        tempos: list[Tempo],
        signatures: list[Signature],
    ) -> Score:
        """The song as it was read, and what is new, in ticks of the grid: notes, with the number of the track that they
        go on (None: a new one), and changes past its end. Tracks in HID order.
        """
        placed = [(number, Track(track.program, self._placed(track.notes))) for number, track in new]
        sounding = [(number, track) for number, track in placed if len(track.notes)]
        faster = {self._tick(change): Tempo(self._tick(change), self._length(change)) for change in tempos}
        other = {self._tick(change): replace(change, tick=self._tick(change)) for change in signatures}
        return replace(
            self.score,
            tracks=joined(self.score.tracks, sounding),
            tempos=tuple(({change.tick: change for change in self.score.tempos} | faster).values()),
            signatures=tuple(({change.tick: change for change in self.score.signatures} | other).values()),
        )

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


def joined(tracks: tuple[Track, ...], new: list[tuple[int | None, Track]]) -> tuple[Track, ...]:
    """Tracks with new notes after their own, and new tracks after those of their program, in HID order. new: with the
    number of the track that they go on, None of a new one.
    """
    out = list(tracks)
    for number, track in new:
        if number is None:
            out.append(track)
        else:
            out[number] = Track(track.program, np.concatenate([out[number].notes, track.notes]))
    return tuple(sorted(out, key=lambda track: HID_RANK[track.program]))


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


def of_json(values: dict) -> OwnTime:
    """Raises ValueError, KeyError or TypeError where they are not what to_json gives, ImpossibleScore where they are no
    song.
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
    )
