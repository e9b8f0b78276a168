"""The content of a MIDI file with notes taken out, new ones put in, and its rest cut away: every other event as it is,
at its tick and in its order.

At one tick come first ends of new notes, then what the file says, then programs and beginnings of new notes. So what a
controller sets there holds for them, and a note of the file that begins there is not theirs to end.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from tokenizer.music import midi, new_tracks, sounds
from tokenizer.music.devices import END_NOTES, LIFT, PEDAL, Key
from tokenizer.music.messages import (
    AFTERTOUCH,
    CONTROLLER,
    NOTE_OFF,
    NOTE_ON,
    GivenFile,
    Message,
    SaidByTrack,
    file_of,
    messages_of,
    meta,
)
from tokenizer.music.midi_events import META, SET_TEMPO, TIME_SIGNATURE
from tokenizer.music.new_tracks import AFTER, BEFORE, LAST, THERE
from tokenizer.music.score import DRUMS, Score, Signature, Tempo, Track
from tokenizer.music.sounds import Sound
from tokenizer.music.sustain import DOWN


@dataclass(frozen=True, eq=False)
class Edit:
    """What becomes of a file, its tracks and ticks those of the score that is read of it. removed: of each track
    bool[N], which notes are taken out. added: new notes, with the number of the track that they go on, None of a new
    one. tempos, signatures: new ones. semitones: by how many notes that stay are moved, drums left out.

    end: where new bars begin, None where there are none. From there on tempi, meters and all-notes-off of the file are
    taken out, and a pedal that is down is lifted; where it `cuts`, all is taken out but notes and their ends.
    """

    removed: tuple[np.ndarray, ...]
    added: tuple[tuple[int | None, Track], ...] = ()
    tempos: tuple[Tempo, ...] = ()
    signatures: tuple[Signature, ...] = ()
    semitones: int = 0
    end: int | None = None
    cuts: bool = False


def edited(file: GivenFile, edit: Edit, score: Score) -> tuple[bytes, str | None]:
    """The file as it then is, and what a player may lose of it, None where that is nothing. score: what is read of the
    file. Raises MidiError where new notes have no place.
    """
    editor = _Editor(file, edit)
    editor.take_out()
    editor.cut()
    editor.transpose()
    on_tracks = defaultdict(list)
    for number, track in edit.added:
        if number is not None:
            on_tracks[editor.sources[number].track, editor.sources[number].key].append((number, track.notes))
    for place, notes in on_tracks.items():
        editor.put_in(*place, notes)
    editor.end_what_is_open({track for track, _ in on_tracks})
    editor.change_time()
    new = [track for number, track in edit.added if number is None and len(track.notes)]
    places = new_tracks.new_places(file, editor.said, score, new)
    tracks = editor.tracks()
    has_ports = any(place.port for place in places) or any(map(new_tracks.ports, editor.said))
    tracks += [
        new_tracks.new_track(track, place, has_ports, editor.reset_ticks(place.port), file.there.scale)
        for track, place in zip(new, places, strict=True)
    ]
    kind = 1 if len(tracks) > 1 else file.there.header.kind
    return file_of(kind, file.there.header.division, tracks), new_tracks.notice(file, score, new, places)


@dataclass
class _Editor:
    """said: by each track of the file. gone: of each track the numbers of messages that are taken out. instead: of
    each track messages that stand for others, by number. new: of each track what is new: (tick of the file, order at
    that tick, message).
    """

    file: GivenFile
    edit: Edit
    said: list[SaidByTrack] = field(init=False)

    def __post_init__(self) -> None:
        self.there, self.sources = self.file.there, self.file.there.sources
        self.said = messages_of(self.file.raw, self.there)
        self.gone: list[set[int]] = [set() for _ in self.said]
        self.instead: list[dict[int, bytes]] = [{} for _ in self.said]
        self.new: list[list[tuple[int, int, bytes]]] = [[] for _ in self.said]
        self.begins = [self._numbers(source, source.begins) for source in self.sources]
        self.releases = [self._numbers(source, source.releases) for source in self.sources]

    def _numbers(self, source: midi.Source, strikes: np.ndarray) -> np.ndarray:
        """int[N]: of strikes of a source the numbers of their messages, -1 of none."""
        return np.append(self.said[source.track].strikes[source.key], -1)[strikes]

    @property
    def end(self) -> int | None:
        return None if self.edit.end is None else self._tick(self.edit.end)

    def _tick(self, tick: int) -> int:
        return (2 * int(tick) + self.there.scale) // (2 * self.there.scale)

    def reset_ticks(self, port: int) -> list[int]:
        """Where the synthesizer of a port forgets its programs."""
        return sorted({max(tick, 0) // self.there.scale for tick, *_ in self.there.heard.resets.get(port, ())})

    # ---------------------------------------------------------------- what goes

    def take_out(self) -> None:
        for source, begins, releases, removed in zip(
            self.sources, self.begins, self.releases, self.edit.removed, strict=True
        ):
            self.gone[source.track] |= set(begins[removed].tolist()) | (set(releases[removed].tolist()) - {-1})

    def cut(self) -> None:
        if self.end is None:
            return
        of_notes = [set() for _ in self.said]
        for source, begins, releases in zip(self.sources, self.begins, self.releases, strict=True):
            of_notes[source.track] |= set(begins.tolist()) | set(releases.tolist())
        for index, said in enumerate(self.said):
            for number, message in enumerate(said.messages):
                goes = self.edit.cuts or _acts_on_new_bars(message)
                if goes and message.tick >= self.end and number not in of_notes[index]:
                    self.gone[index].add(number)
        pedals = {}
        for _, index, message in self._in_order():
            if message.key and message.kind == CONTROLLER and message.data[1] in (PEDAL, LIFT):
                pedals[message.key] = index, message.data[1] == PEDAL and message.data[2] >= DOWN
        for (_, channel), (index, is_down) in pedals.items():
            if is_down:
                self.new[index].append((self.end, BEFORE, bytes([CONTROLLER | channel, PEDAL, 0])))

    def _in_order(self) -> Iterator[tuple[int, int, Message]]:
        """(tick, track, message) of what stays before the end, as players take it."""
        staying = [
            (message.tick, index, number)
            for index, said in enumerate(self.said)
            for number, message in enumerate(said.messages)
            if number not in self.gone[index] and message.tick < self.end
        ]
        for tick, index, number in sorted(staying):
            yield tick, index, self.said[index].messages[number]

    def transpose(self) -> None:
        """What is said of pitches of melodic notes: releases of nothing as the note before them, aftertouch from a
        track that plays nothing on the channel where something melodic plays there.
        """
        if not self.edit.semitones:
            return
        of_part = defaultdict(list)  # numbers of strikes, and whether each is melodic
        for source, begins, releases in zip(self.sources, self.begins, self.releases, strict=True):
            for number in (*begins.tolist(), *releases[releases >= 0].tolist()):
                of_part[source.track, source.key].append((number, source.program != DRUMS))
        of_part = {part: np.array(sorted(strikes)).T for part, strikes in of_part.items()}
        melodic_keys = {source.key for source in self.sources if source.program != DRUMS}
        for index, said in enumerate(self.said):
            for number, message in enumerate(said.messages):
                if message.kind not in (NOTE_OFF, NOTE_ON, AFTERTOUCH):
                    continue
                if (index, message.key) in of_part:
                    numbers, is_melodic = of_part[index, message.key]
                    moves = is_melodic[max(int(np.searchsorted(numbers, number, side="right")) - 1, 0)]
                else:
                    moves = message.key in melodic_keys
                if moves:
                    self._move(index, number, message)

    def _move(self, index: int, number: int, message: Message) -> None:
        status, pitch, value = message.data
        pitch += self.edit.semitones
        if 0 <= pitch <= 127:
            self.instead[index][number] = bytes([status, pitch, value])
        else:
            self.gone[index].add(number)  # of no note: those have pitches that MIDI has

    # ---------------------------------------------------------------- what comes

    def put_in(self, index: int, key: Key, added: list[tuple[int, np.ndarray]]) -> None:
        """Notes of one track of the file on one channel, with the number of the track of the score that has them."""
        rows = sorted(
            (self._tick(onset), number, pitch, velocity, max(self._tick(onset + duration), self._tick(onset) + 1))
            for number, notes in added
            for onset, duration, pitch, velocity in notes.tolist()
        )
        said_before = self._sounds(index, key, rows)
        for (tick, _, pitch, velocity, end), setting in zip(rows, said_before, strict=True):
            self.new[index] += [(tick, AFTER, data) for data in setting]
            self.new[index].append((tick, AFTER, bytes([NOTE_ON | key[1], pitch, velocity])))
            self.new[index].append((end, BEFORE, bytes([NOTE_OFF | key[1], pitch, 0])))
        self._take_out_idle_releases(index, key, rows)

    def _take_out_idle_releases(self, index: int, key: Key, rows: list[tuple[int, ...]]) -> None:
        """Note-offs that end no note of the file, but would end a new one."""
        used = set()
        for source, begins, releases in zip(self.sources, self.begins, self.releases, strict=True):
            if (source.track, source.key) == (index, key):
                used |= {*begins.tolist(), *releases.tolist()}
        of_pitch = defaultdict(list)
        for number in self.said[index].strikes.get(key, ()):
            if number not in used:
                message = self.said[index].messages[number]
                of_pitch[self.instead[index].get(number, message.data)[1]].append((message.tick, number))
        for tick, _, pitch, _, end in rows:
            self.gone[index] |= {number for at, number in of_pitch[pitch] if tick < at < end}

    def _sounds(self, index: int, key: Key, rows: list[tuple[int, ...]]) -> list[list[bytes]]:
        """Of each new note, in order, what must be said before it so that it has the sound of its track's notes in the
        file. Says before notes of the file what these had before that.
        """
        resets = {(track, number) for _, track, number, *_ in self.there.heard.resets.get(key[0], ())}
        playing = {source.track for source in self.sources if source.key == key} - {index}
        setting = sounds.setting(self.said, index, key, playing, resets)
        if not any(step.sets_program for step in setting):
            return [[] for _ in rows]
        of_note = {
            number: track
            for track, (source, begins) in enumerate(zip(self.sources, self.begins, strict=True))
            if (source.track, source.key) == (index, key)
            for number in begins.tolist()
        }
        wanted = sounds.wanted(setting, of_note, [row[:2] for row in rows])
        staying = [(step.tick, THERE, place, step) for place, step in enumerate(setting) if not self._is_gone(step)]
        coming = [(tick, AFTER, place, None) for place, (tick, *_) in enumerate(rows)]
        in_file, now, out = Sound(), Sound(), [[] for _ in rows]
        for tick, _, place, step in sorted(staying + coming, key=lambda row: row[:3]):
            if step is None:
                out[place] = now.becomes(wanted[place], key[1])
            elif step.is_note:
                self.new[index] += [(tick, BEFORE, data) for data in now.becomes(in_file.sound, key[1])]
            else:
                in_file.hear(step.message)
                now.hear(step.message)
        return out

    def _is_gone(self, step: sounds.Step) -> bool:
        return step.number in self.gone[step.track]

    def end_what_is_open(self, longer: set[int]) -> None:
        """Notes without a release end where they did, also where what ended them is gone, or their track is longer."""
        for source, begins, releases, removed in zip(
            self.sources, self.begins, self.releases, self.edit.removed, strict=True
        ):
            if self.end is None and source.track not in longer:
                continue
            limit = self.said[source.track].end if self.end is None else min(self.end, self.said[source.track].end)
            for note in np.flatnonzero((releases < 0) & ~removed).tolist():
                end, number = int(source.ends[note]) // self.there.scale, int(begins[note])
                if end >= limit:
                    message = self.said[source.track].messages[number]
                    pitch = self.instead[source.track].get(number, message.data)[1]
                    when = BEFORE if end > message.tick else LAST
                    self.new[source.track].append((end, when, bytes([NOTE_OFF | source.key[1], pitch, 0])))

    def change_time(self) -> None:
        """In the first track, where programs look for it. A file in SMPTE time has no tempi."""
        for tempo in self.edit.tempos if self.there.header.division > 0 else ():
            data = meta(SET_TEMPO, tempo.microseconds_per_beat.to_bytes(3, "big"))
            self.new[0].append((self._tick(tempo.tick), BEFORE, data))
        for signature in self.edit.signatures:
            content = bytes([signature.numerator, signature.denominator.bit_length() - 1, 24, 8])
            self.new[0].append((self._tick(signature.tick), BEFORE, meta(TIME_SIGNATURE, content)))

    def tracks(self) -> list[tuple[list[tuple[int, bytes]], int]]:
        """[(tick, message)] of each track of the file as it then is, and where it ends."""
        out = []
        for said, gone, instead, new in zip(self.said, self.gone, self.instead, self.new, strict=True):
            there = [
                (message.tick, THERE, instead.get(number, message.data))
                for number, message in enumerate(said.messages)
                if number not in gone
            ]
            rows = [(tick, data) for tick, _, data in sorted(there + new, key=lambda row: row[:2])]
            end = min(said.end, self.end) if self.edit.cuts else said.end
            out.append((rows, max(end, rows[-1][0] if rows else 0)))
        return out


def _acts_on_new_bars(message: Message) -> bool:
    if message.key:
        return message.kind == CONTROLLER and message.data[1] in END_NOTES
    return message.data[0] == META and message.data[1] in (SET_TEMPO, TIME_SIGNATURE)
