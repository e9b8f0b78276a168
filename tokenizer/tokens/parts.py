"""A given song that gets other tracks (--accompany) or other notes in some bars (--fill), part by part.

A song that the model has no room for is seen through a window: whole tracks, for as many bars around those that are
written as there is room for, with the tempo and meter in force there. What does not fit into one is written in several
parts, each of which sees what the one before wrote:

    bars        1 ... 40 41 ... 64 65 ... 88 89 ... 120        --fill bass:41-88
    part 1            [.... wwwwww]                            w: written, .: seen, the bass of 65-88 not there yet
    part 2                  [..... wwwwwww ....]
"""

from dataclasses import dataclass, replace
from math import ceil
from typing import NamedTuple

import numpy as np

from configs import Constraints, InputError
from tokenizer.grid.meter import STEP_TICKS, Bars
from tokenizer.grid.song import GRID_NOTE, HID_RANK, GridSong, GridTrack
from tokenizer.tokens import fields, names, plan, room, scripts, wishes
from tokenizer.tokens.encode import Hidden, encode_song, grid_song
from tokenizer.tokens.given import Given, chord_pattern
from tokenizer.tokens.own_time import left_free
from tokenizer.tokens.plan import Plan, Room
from tokenizer.vocabulary import CLASS, DURATIONS, Class

AS_BUSY = 1.5  # what is kept for bars that are filled, of what such bars are, as far as it leaves these around them:
NEAREST = 4
BEFORE, BEHIND = 1 / 3, 1 / 4  # of the room, what is kept for the bars before those that are written, and behind them
# Besides those of its bars a window takes: BOS, tempo, meter and EOS; of each track two tokens, and lengths and
# velocities said anew; of each written track three more
TOKENS_OUTSIDE, TOKENS_PER_TRACK, TOKENS_PER_WRITTEN = 4, 6, 5


class Part(NamedTuple):
    """What is written in one go, in measures of the song from 0: begin .. stop - 1, seen in first .. end - 1."""

    first: int
    begin: int
    stop: int
    end: int


@dataclass(frozen=True, eq=False)
class InParts:
    """given: the song, with its hidden bars where these are written, else with tracks to come. programs: of these."""

    given: Given
    wanted: Constraints
    programs: list[int]
    limits: Room
    max_bars: int
    vocab_size: int
    parts: tuple[Part, ...] = ()

    @classmethod
    def of(cls, given: Given, wanted: Constraints, limits: Room, max_bars: int, vocab_size: int) -> "InParts":
        """Raises InputError where not even one bar fits."""
        if wanted.bars and wanted.bars != given.measures:
            raise InputError(f"--bars {wanted.bars}: the given song has {given.measures} bars, which it keeps")
        programs = [] if given.hidden else sorted(names.programs(wanted.add, "--add"), key=HID_RANK.__getitem__)
        undivided = cls(given, wanted, programs, limits, max_bars, vocab_size)
        return replace(undivided, parts=tuple(undivided._divided()))

    # ---------------------------------------------------------------- what is written

    @property
    def hidden(self) -> Hidden:
        """Bars and tracks that are written: of the song that `begun` gives."""
        tracks = len(self.given.song.tracks)
        return self.given.hidden or Hidden(0, len(self.given), tuple(range(tracks, tracks + len(self.programs))))

    def begun(self) -> GridSong:
        """The song without what is written, its new tracks without notes."""
        tracks = [*self.given.song.tracks, *(GridTrack(program, np.zeros(0, GRID_NOTE)) for program in self.programs)]
        for number in self.hidden.tracks:
            notes = tracks[number].notes
            tracks[number] = GridTrack(tracks[number].program, notes[~_within(notes, self.hidden)])
        return replace(self.given.song, tracks=tuple(tracks))

    def plan(self, song: GridSong, part: Part) -> Plan:
        """Of a part, where so much of the song is written. Raises InputError where there is no room."""
        bars, seen = self._bars(part), self._seen(song, part)
        chords = self.given.chords[bars.first : bars.end]
        window = Given(self._window(song, bars, seen), chords, self.given.tempos)
        behind, count = bars.begin - bars.first, bars.stop - bars.begin
        if self.given.hidden:
            tracks = tuple(index for index, number in enumerate(seen) if number in self.hidden.tracks)
            window = replace(window, hidden=Hidden(behind, behind + count, tracks))
            script, behind = scripts.filled(window), 0
        elif behind:
            script = scripts.accompanied(window, self.programs, behind)
        else:
            window = replace(window, song=replace(window.song, tracks=window.song.tracks[: -len(self.programs)]))
            script = scripts.accompanied(window, self.programs)
        writes = plan.Writes(behind, 0, count, self._asked_chords(part), window.song.bars.signature)
        return plan.part_plan(script, writes, self.given, self.wanted, self.limits, self.max_bars, self.vocab_size)

    def fitting(self, song: GridSong, part: Part) -> tuple[Part, Plan]:
        """The same part, seen in as much of its window as there is room for beside what the parts before it became:
        they may hold more than is usual. And its plan. Raises InputError where there is no room at all.
        """
        while True:
            before, behind = part.begin - part.first, part.end - part.stop
            try:
                return part, self.plan(song, part)
            except InputError:
                if before == behind == 0:
                    raise
            part = part._replace(first=part.first + 1) if before >= behind else part._replace(end=part.end - 1)

    def _asked_chords(self, part: Part) -> np.ndarray:
        """int32[max_bars]: of the window's measures, -1 where none is asked for."""
        asked = np.full(self.max_bars, -1, np.int32)
        if self.wanted.chords:
            first = int(self.given.song.bars.measure[self.hidden.first])
            in_song = chord_pattern(self.wanted, part.stop - first)
            asked[part.begin - part.first : part.stop - part.first] = in_song[part.begin - first :]
        return asked

    def with_written(self, song: GridSong, part: Part, ids: np.ndarray) -> GridSong:
        """The song with what the tokens of a part's plan write, also where they are not all there yet: but for notes
        that would cut one that sounds in from before the window.
        """
        bars, seen = self._bars(part), self._seen(song, part)
        written, _ = grid_song(fields.compute(ids))
        tracks = list(song.tracks)
        for index, number in enumerate(seen):
            if number in self.hidden.tracks and index < len(written.tracks):
                notes = written.tracks[index].notes.copy()
                notes["bar"] += bars.first
                new = notes[(notes["bar"] >= bars.begin) & (notes["bar"] < bars.stop)]
                tracks[number] = GridTrack(tracks[number].program, fitted(tracks[number].notes, new, song.bars))
        return replace(song, tracks=tuple(tracks))

    def shown(self, song: GridSong, part: Part) -> int:
        """How many tracks the tokens of a part's plan have before those that are written."""
        return len(self._seen(song, part)) - (0 if self.given.hidden else len(self.programs))

    def ids(self, song: GridSong) -> np.ndarray:
        """int32[T]: the whole song as a model with room for all of it would have written it."""
        if self.given.hidden:
            return encode_song(song, self.given.chords, self.given.hidden).ids
        sounding = tuple(track for track in song.tracks if len(track.notes))
        return encode_song(replace(song, tracks=sounding), self.given.chords).ids

    @property
    def notice(self) -> str:
        """What a user should know of it. Raises InputError where the user wants none of that."""
        (part, *more), measures = self.parts, self.given.measures
        if not more and (part.first, part.end) == (0, measures):
            return ""
        if self.wanted.strict:
            raise InputError(
                f"the given song is too long for the model to see all of it at once (--max-length {self.limits.tokens})"
            )
        why = f"(--max-length {self.limits.tokens})"
        if not more:
            return f"the model saw bars {part.first + 1}-{part.end} of {measures} {why}; the file holds all of them"
        seen = ", ".join(f"{part.begin + 1}-{part.stop} from {part.first + 1}-{part.end}" for part in self.parts[:3])
        rest = " and so on" if len(self.parts) > 3 else ""
        return f"written in {len(self.parts)} parts, for the model sees no more at once {why}: bars {seen}{rest}"

    # ---------------------------------------------------------------- windows

    def _bars(self, part: Part) -> Part:
        """The same in bars."""
        return Part(*self.given.begins[list(part)].tolist())

    def _seen(self, song: GridSong, part: Part) -> list[int]:
        """Numbers of the tracks in the window of a part: those with a note there, and those that are written."""
        bars = self._bars(part)
        has_note = [
            ((track.notes["bar"] >= bars.first) & (track.notes["bar"] < bars.end)).any() for track in song.tracks
        ]
        return [number for number, has in enumerate(has_note) if has or number in self.hidden.tracks]

    def _window(self, song: GridSong, bars: Part, seen: list[int]) -> GridSong:
        tracks = []
        for number in seen:
            notes = song.tracks[number].notes
            notes = notes[(notes["bar"] >= bars.first) & (notes["bar"] < bars.end)].copy()
            notes["bar"] -= bars.first
            tracks.append(GridTrack(song.tracks[number].program, notes))
        inside = slice(bars.first, bars.end)
        return GridSong(Bars(song.bars.signature[inside]), song.tempo[inside], tuple(tracks))

    def _divided(self) -> list[Part]:
        begins, hidden = self.given.begins, self.hidden
        if plan.usual_room(self.given, self.wanted).fits(self.limits) and len(self.given) <= self.max_bars:
            whole = Part(0, *np.searchsorted(begins, [hidden.first, hidden.stop]).tolist(), self.given.measures)
            return [self._with_room(whole)]
        begin, stop = np.searchsorted(begins, [hidden.first, hidden.stop]).tolist()
        before = _sizes_before(self, begins)
        limits = np.array([self.limits.tokens, self.limits.spans, self.max_bars]) - self._outside()
        fits = lambda first, end, share=1.0: bool((before[end] - before[first] <= limits * share).all())
        parts = []
        while begin < stop:
            first = last = begin
            while first and fits(first - 1, begin, BEFORE):
                first -= 1
            while last < stop and fits(first, last + 1, 1 - BEHIND if last > begin else 1):
                last += 1
            if last == begin:
                raise InputError(f"not even bar {begin + 1} of the given song fits; raise --max-length")
            end, grows = last, True
            while grows:  # the rest of the room; what is not written yet behind a part is not there to be seen
                grows = False
                if self.given.hidden and last == stop and end < self.given.measures and fits(first, end + 1):
                    end, grows = end + 1, True
                if first and fits(first - 1, end):
                    first, grows = first - 1, True
            parts.append(Part(first, begin, last, end))
            begin = last
        return parts if len(parts) > 1 else [self._with_room(*parts)]

    def _with_room(self, part: Part) -> Part:
        """Of a song in one part the same, seen in fewer bars where what comes may be busier than is usual: but for the
        nearest ones.
        """
        before = _sizes_before(self, self.given.begins)[:, 0]
        room_left = self.limits.tokens - int(self._outside()[0]) - self._more_than_usual()
        while before[part.end] - before[part.first] > room_left:
            ahead, behind = part.begin - part.first, part.end - part.stop
            if max(ahead, behind) <= NEAREST:
                break
            part = part._replace(first=part.first + 1) if ahead >= behind else part._replace(end=part.end - 1)
        return part

    def _more_than_usual(self) -> int:
        """Tokens that hidden bars may take beyond what is usual: as much more than that, than what was there, or than
        their tracks take elsewhere.
        """
        if not self.given.hidden:
            return 0
        hidden, tracks = self.hidden, self.begun().tracks
        usual = _usual_a_bar(self)
        whole, begun = (encode_song(song, self.given.chords).ids for song in (self.given.song, self.begun()))
        there = (len(whole) - len(begun)) / (hidden.stop - hidden.first)
        elsewhere = sum(_tokens_a_bar(begun, number, tracks[number]) for number in hidden.tracks)
        return ceil((AS_BUSY * max(there, elsewhere, usual) - usual) * (hidden.stop - hidden.first))

    def _outside(self) -> np.ndarray:
        """int64[3]: tokens, spans and bars that a window takes besides those of its measures."""
        tracks, written = len(self.given.song.tracks) + len(self.programs), len(self.hidden.tracks)
        tokens = TOKENS_OUTSIDE + TOKENS_PER_TRACK * tracks + TOKENS_PER_WRITTEN * written
        tokens += 2 * _asked_per_bar(self) + (written + 1) * wishes.of(self.wanted).tokens_per_note
        return np.array([tokens + plan.NOTE_AND_END + plan.SLACK_TOKENS, plan.SLACK_SPANS * (1 + written), 0])


def _sizes_before(song: InParts, begins: np.ndarray) -> np.ndarray:
    """int64[measures + 1, 3]: tokens, spans and bars of all measures before each, with what is written as it usually
    is.
    """
    tokens = encode_song(song.begun(), song.given.chords)
    inside, is_chord = tokens.bar[tokens.bar >= 0], CLASS[tokens.ids] == Class.CHORD
    count = len(song.given)
    sizes = np.stack([np.bincount(inside, minlength=count), np.bincount(tokens.bar[is_chord], minlength=count)], axis=1)
    sizes = np.concatenate([sizes, np.ones((count, 1), np.int64)], axis=1)
    hidden = song.hidden
    for number in hidden.tracks:  # of one that is silent up to its hidden bars those before are said too
        last = int(song.begun().tracks[number].notes["bar"].max(initial=-1))
        sizes[last + 1 : hidden.first, :2] += 1
    sizes[hidden.first : hidden.stop, 0] += _usual_a_bar(song) + _asked_per_bar(song)
    sizes[hidden.first : hidden.stop, 1] += 2 * len(hidden.tracks)
    before = np.concatenate([np.zeros((1, 3), np.int64), np.cumsum(sizes, axis=0)])
    return before[begins]


def _usual_a_bar(song: InParts) -> int:
    """Tokens that a bar of all tracks that are written usually takes."""
    tracks = song.begun().tracks
    return sum(room.tokens_per_bar(tracks[number].program) + 2 for number in song.hidden.tracks)


def _tokens_a_bar(ids: np.ndarray, number: int, track: GridTrack) -> float:
    """Of a track of a song with these tokens, in the bars in which it sounds; 0 where it is silent."""
    own = ids[np.cumsum(CLASS[ids] == Class.TRACK) == number + 1]
    sounding = len(np.unique(track.notes["bar"]))
    return 1 + (CLASS[own] != Class.CHORD).sum() / sounding if sounding else 0.0


def _asked_per_bar(song: InParts) -> int:
    """Tokens that what must hold takes at most in a bar of all tracks that are written."""
    tracks, of_program = song.begun().tracks, wishes.of(song.wanted).tokens_per_bar.max(axis=0)
    return int(sum(of_program[tracks[number].program] for number in song.hidden.tracks))


def _within(notes: np.ndarray, hidden: Hidden) -> np.ndarray:
    return (notes["bar"] >= hidden.first) & (notes["bar"] < hidden.stop)


def fitted(there: np.ndarray, new: np.ndarray, bars: Bars) -> np.ndarray:
    """GRID_NOTE[N], sorted: notes that are there, as they are, and new ones, which end before the next of their pitch
    that is there begins, and are left out where one still sounds.
    """
    onset = lambda notes: bars.start_ticks[notes["bar"]] // STEP_TICKS + notes["step"]
    begins, given = onset(new), onset(there)
    is_free, until = left_free(new["pitch"], begins, there["pitch"], given, given + there["duration"])
    kept = is_free & (until - begins >= DURATIONS[0])
    notes = new[kept].copy()
    longest = np.minimum(notes["duration"], (until - begins)[kept])
    notes["duration"] = DURATIONS[np.searchsorted(DURATIONS, longest, side="right") - 1]
    notes = np.concatenate([there, notes])
    return notes[np.lexsort((notes["pitch"], notes["step"], notes["bar"]))]
