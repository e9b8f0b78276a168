"""The whole song, of what a user gave and what a model wrote of it: every given bar and track as it was given, also
those that the model did not see, and beside them only what is new.

    given      bar 1 ... 9 | 10 ... 16           all tracks, kept bars
    written                 | 1 ...  7 | 8 9      by a model that sees the last 7 bars, and goes on
    whole      bar 1 ... 9 | 10 ... 16 | 17 18    the given song, then the new notes of the written one

The tempi of a song are exact: given bars have their own, which go on in new ones, and the tempo that was asked for is
that tempo, where the tokens have only the nearest of theirs.

A given song comes back in its own time: every note and change that is kept of it as it was read, and what is new by the
beats that it has or that were found, past the end as far apart as the last two. Its tempi and meters are those of its
file up to the end of the given bars, and then of new bars alone: changes that the file has later belong to what is not
kept. A file comes back itself, with what is new in it. Tokens, which have no other time, come back on the grid.

Of hidden bars the notes go, and what is written of them comes; a note that rings into them stays as it is.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from configs import Constraints
from tokenizer import vocabulary as vocab
from tokenizer.grid.meter import MAX_BARS, Bars
from tokenizer.grid.song import HID_RANK, TEMPO_MICROSECONDS
from tokenizer.grid.tempo_map import Tempos, with_tempos
from tokenizer.music import midi
from tokenizer.music.score import Score, Signature, Tempo, Track
from tokenizer.tokens import grammar, names
from tokenizer.tokens.decode import DEFAULT_SIGNATURE, decode
from tokenizer.tokens.given import Given, between, chord_pattern
from tokenizer.tokens.held import heard
from tokenizer.tokens.own_time import New, OwnTime, fitted, joined
from tokenizer.vocabulary import NAMES, TOKEN, VALUE, Class

PATTERNS = (
    "the given song: its patterns of MIDI type 2, which are played one after another, are written as one song of their "
    "notes alone"
)


class Asked(NamedTuple):
    """Chords that are asked for, as bar_chords numbers them, over and over in the measures from `first` to before
    `stop`.
    """

    first: int = 0
    stop: int = 0
    chords: tuple[int, ...] = ()


class Whole(NamedTuple):
    """What makes a whole song of the tokens of a model. given: the song as it is kept, None where there is none.
    left_out: its first bars, which the model does not see: whole measures. exact: microseconds a beat of tempi (as the
    vocabulary numbers them) that are not the tokens' own. asked: chords of what is new.
    """

    given: Given | None = None
    left_out: int = 0
    exact: tuple[tuple[int, int], ...] = ()
    asked: Asked = Asked()

    def score(self, ids: np.ndarray) -> Score:
        """The song, whose last part the tokens int32[T] say; they may be cut off anywhere. A given one is in its own
        time, given tokens and new songs are on the grid.
        """
        if self._own is None:
            return self.on_grid(ids)
        written = decode(ids)
        return self._own.with_new(self._new(ids, written), *self._later(written))

    def midi(self, ids: np.ndarray) -> tuple[bytes, str | None]:
        """The same as the bytes of a MIDI file, and what should be known of them, or None. A given file is itself, with
        what is new in it. Raises MidiError.
        """
        if self._own is None or self._own.file is None:
            return midi.to_bytes(self.score(ids), "the song")
        if not self._own.file.can_be_edited:
            return midi.to_bytes(self.score(ids), "the song")[0], PATTERNS
        written = decode(ids)
        return self._own.merged(self._new(ids, written), *self._later(written))

    @property
    def _own(self) -> OwnTime | None:
        """What stays of the given song in its own time."""
        if self.given is None or self.given.own is None:
            return None
        own, hidden = self.given.own, self.given.hidden
        return own if hidden is None else own.without(hidden)

    def on_grid(self, ids: np.ndarray) -> Score:
        """The song in ticks of the grid, 480 a beat, with the bars that the model had."""
        written = decode(ids)
        if self.given is None:
            return replace(written, tempos=self._exact_tempos(written))
        given, end = self._given_on_grid(), self.end_tick
        later, signatures = self._later(written)
        tracks = joined(given.tracks, self._new(ids, written))
        whole = replace(given, tracks=tracks, signatures=(*given.signatures, *signatures))
        last = max((int(track.notes["onset_ticks"].max()) for track in whole.tracks), default=0)
        own = [tempo for tempo in self.given.tempos if tempo.tick < end or last < end]  # new bars have the last one's
        return with_tempos(whole, (*own, *later))

    def new_on_grid(self, ids: np.ndarray) -> tuple[Track, ...] | None:
        """What is new of each track of `on_grid`; None where nothing is given."""
        if self.given is None:
            return None
        marked = []  # as no new note is: with velocity 0
        for track in self._given_on_grid().tracks:
            notes = track.notes.copy()
            notes["velocity"] = 0
            marked.append(Track(track.program, notes))
        tracks = joined(tuple(marked), self._new(ids, decode(ids)))
        return tuple(Track(track.program, track.notes[track.notes["velocity"] > 0]) for track in tracks)

    @property
    def measures_anew(self) -> tuple[int, int] | None:
        """The first of the measures that are written anew, from 0, and one past the last; None of other songs."""
        if self.given is None or self.given.hidden is None:
            return None
        first, end = np.searchsorted(self.given.begins, [self.given.hidden.first, self.given.hidden.stop])
        return int(first), int(end)

    def _given_on_grid(self) -> Score:
        """What stays of the given song, in ticks of the grid; all its tracks, also those without a note."""
        score, hidden = self.given.song.to_score(), self.given.hidden
        if hidden is None:
            return score
        tracks = list(score.tracks)
        for number in hidden.tracks:
            bars, track = self.given.song.tracks[number].notes["bar"], tracks[number]
            tracks[number] = replace(track, notes=track.notes[(bars < hidden.first) | (bars >= hidden.stop)])
        return replace(score, tracks=tuple(tracks))

    def chords(self, ids: np.ndarray) -> list[str]:
        """Names of the chords of the song's measures, as the tokens of its first track say them."""
        chords, signatures = _first_track(ids)
        if self.given is not None:
            new = len(self.given) - self.left_out
            chords = np.concatenate([self.given.chords, chords[new:]])
            signatures = np.concatenate([self.given.song.bars.signature, signatures[new:]])
        measures = Bars(signatures).measure
        return [names_of(chords[measures == number]) for number in range(measures.max(initial=-1) + 1)]

    def heard_chords(self, ids: np.ndarray) -> tuple[int, int]:
        """In how many measures the chord finder hears the chord that was asked for, and in how many one was."""
        if not self.asked.chords:
            return 0, 0
        score = self.on_grid(ids)
        wanted = np.full(max(len(self.chords(ids)), self.asked.first), -1, np.int32)
        inside = slice(self.asked.first, min(self.asked.stop, len(wanted)))
        wanted[inside] = np.resize(self.asked.chords, len(wanted[inside]))
        return heard(wanted, score)

    @property
    def first_tick(self) -> int:
        """Where the part that the model sees begins."""
        return 0 if self.given is None else int(self.given.song.bars.start_ticks[self.left_out])

    @property
    def end_tick(self) -> int:
        """Where the given bars end."""
        return 0 if self.given is None else int(self.given.song.bars.start_ticks[-1])

    @property
    def measures_left_out(self) -> int:
        return 0 if self.given is None else int(self.given.song.bars.measure[self.left_out])

    @property
    def given_tracks(self) -> int:
        return 0 if self.given is None else len(self.given.song.tracks)

    def track_numbers(self) -> list[int]:
        """Of the given tracks that the model sees, in the order in which it sees them. New ones come after the last."""
        if self.given is None:
            return []
        return [n for n, track in enumerate(self.given.song.tracks) if track.notes["bar"][-1] >= self.left_out]

    def microseconds(self, tempo: int) -> int:
        """Of a beat, of a tempo of the vocabulary."""
        return dict(self.exact).get(tempo, int(TEMPO_MICROSECONDS[tempo]))

    def tempos(self, begin: int, end: int, said: list[tuple[int, int]]) -> Tempos:
        """Of the time from tick `begin` to before tick `end`, counted from its start. Of given bars their own; of
        others as the tokens say it: [(tick, tempo of the vocabulary)].
        """
        if self.given is None or begin >= self.end_tick:
            return tuple(Tempo(tick, self.microseconds(tempo)) for tick, tempo in said)
        return between(self.given.tempos, begin, end)

    def _exactly(self, microseconds: int) -> int:
        return self.microseconds(int(np.flatnonzero(TEMPO_MICROSECONDS == microseconds)[0]))

    def _exact_tempos(self, written: Score) -> tuple[Tempo, ...]:
        return tuple(Tempo(tempo.tick, self._exactly(tempo.microseconds_per_beat)) for tempo in written.tempos)

    def later(self, ids: np.ndarray) -> tuple[list[Tempo], list[Signature]]:
        """Changes of tempo and meter that tokens make in new bars, in ticks of the song on the grid."""
        return self._later(decode(ids))

    def _later(self, written: Score) -> tuple[list[Tempo], list[Signature]]:
        """Changes of tempo and meter in new bars, in ticks of the song on the grid."""
        begin, end = self.first_tick, self.end_tick
        return tuple(
            [replace(change, tick=change.tick + begin) for change in changes if change.tick + begin >= end]
            for changes in (self._exact_tempos(written), written.signatures)
        )

    def _new(self, ids: np.ndarray, written: Score) -> New:
        """New notes in ticks of the song on the grid, with the number of the given track that they go on, None of a new
        one.
        """
        new, seen = [], self.track_numbers()
        hidden = None if self.given is None else self.given.hidden
        staying = () if hidden is None else self._given_on_grid().tracks
        for number, track in zip(_order(ids), written.tracks, strict=True):
            notes, goes_on = track.notes.copy(), seen[number] if number < len(seen) else None
            notes["onset_ticks"] += self.first_tick
            if hidden is not None:
                if goes_on not in hidden.tracks:
                    continue
                begin, end = self.given.song.bars.start_ticks[[hidden.first, hidden.stop]]
                notes = notes[(notes["onset_ticks"] >= begin) & (notes["onset_ticks"] < end)]
                notes = fitted(notes, staying[goes_on].notes)
            elif goes_on is not None:
                notes = notes[notes["onset_ticks"] >= self.free_from(goes_on)[notes["pitch"]]]
            new.append((goes_on, Track(track.program, notes)))
        return new

    def free_from(self, number: int) -> np.ndarray:
        """int64[128]: tick of the grid from which on a new note of each pitch may begin in a given track: in new bars,
        and once no given note sounds that it would cut short, be it on the grid or in its own time. The model hears of
        those on the grid all but the ones from bars that it does not see.
        """
        given = self.given.song.to_score().tracks[number].notes
        free = np.full(vocab.N_PITCHES, self.end_tick, np.int64)
        np.maximum.at(free, given["pitch"], given["onset_ticks"] + given["duration_ticks"])
        if self.given.own is None:
            return free
        played, ends = self.given.own.score.tracks[number].notes, np.zeros(vocab.N_PITCHES, np.int64)
        np.maximum.at(ends, played["pitch"], played["onset_ticks"] + played["duration_ticks"])
        return np.maximum(free, self.given.own.earliest(ends, self.end_tick))


def names_of(chords: np.ndarray) -> str:
    """Of a measure's chords, as bar_chords numbers them: one where all of its parts have the same."""
    return " ".join(dict.fromkeys(NAMES[token] for token in TOKEN[Class.CHORD][chords]))


def _first_track(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int[bars] chord and signature of each bar that the first track of any tokens has."""
    kind = grammar.CLASS[ids]
    tracks = np.cumsum(kind == grammar.TRACK)
    opens = (tracks == 1) & (kind == grammar.CHORD)
    says = (tracks <= 1) & (kind == grammar.SIGNATURE)
    bar = np.maximum(np.cumsum(opens) - 1, 0)  # what the head says is of the first
    said = np.full(int(opens.sum()) + 1, -1)
    said[bar[says]] = VALUE[ids[says]]  # of several in a bar the last
    last = np.maximum.accumulate(np.where(said >= 0, np.arange(len(said)), -1))
    return VALUE[ids[opens]], np.where(last >= 0, said[last], DEFAULT_SIGNATURE)[:-1]


def _order(ids: np.ndarray) -> list[int]:
    """Of each track that decode gives, which in the tokens it is: it puts those with notes into HID order. Hidden bars
    that are said at the end are of the tracks with a MASK, in order.
    """
    kind = grammar.CLASS[ids]
    section = np.cumsum(kind == grammar.TRACK) - 1
    shown = int((np.cumsum(ids == vocab.UNK) == 0)[kind == grammar.TRACK].sum())
    masked = np.unique(section[ids == vocab.MASK])
    of_section = np.concatenate([np.arange(shown), masked])
    sounding = np.unique(of_section[section[(kind == grammar.PITCH) & (section >= 0)]]).tolist()
    programs = VALUE[ids[kind == grammar.TRACK]].tolist()
    return sorted(sounding, key=lambda track: HID_RANK[programs[track]])


def whole_song(given: Given | None, left_out: int, wanted: Constraints) -> Whole:
    """What the tokens of a song that was planned so belong to."""
    exact = ()
    if given is not None:
        end = int(given.song.bars.start_ticks[-1])
        (*_, last) = (tempo for tempo in given.tempos if tempo.tick < end)
        exact = ((int(given.song.tempo[-1]), last.microseconds_per_beat),)
    elif wanted.tempo:
        exact = ((vocab.tempo_bin(wanted.tempo), round(60e6 / wanted.tempo)),)
    return Whole(given, left_out, exact, _asked(given, wanted))


def _asked(given: Given | None, wanted: Constraints) -> Asked:
    if not wanted.chords:
        return Asked()
    chords = tuple(chord_pattern(wanted, len(names.chords(wanted.chords, "--chords"))).tolist())
    if given is not None and given.hidden:
        measure = given.song.bars.measure
        return Asked(int(measure[given.hidden.first]), int(measure[given.hidden.stop - 1]) + 1, chords)
    return Asked(0 if given is None or wanted.add else given.measures, MAX_BARS, chords)
