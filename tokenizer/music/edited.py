"""The content of a MIDI file with notes taken out, new ones put in, and its rest cut away: every other event as it is,
at its tick and in its order.

At one tick come first ends of new notes, then what the file says, then programs and beginnings of new notes. So what a
controller sets there holds for them, and a note of the file that begins there is not theirs to end.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from tokenizer.music import channels, instruments, midi
from tokenizer.music.channels import Place
from tokenizer.music.devices import BANK, DRUM_CHANNEL, END_NOTES, LIFT, PART, PEDAL, Key
from tokenizer.music.messages import (
    AFTERTOUCH,
    CONTROLLER,
    NOTE_OFF,
    NOTE_ON,
    PROGRAM_CHANGE,
    TRACK_NAME,
    Message,
    SaidByTrack,
    file_of,
    messages_of,
    meta,
)
from tokenizer.music.midi_events import META, MIDI_PORT, SET_TEMPO, TIME_SIGNATURE
from tokenizer.music.score import DRUMS, Score, Signature, Tempo, Track
from tokenizer.music.sustain import DOWN

FINE_BANK = 32  # controller
BEFORE, THERE, AFTER, LAST = range(4)  # order at one tick: of the file is what is THERE
PATTERNS = (
    "its patterns of MIDI type 2, which are played one after another, are written as one song of their notes alone"
)


@dataclass(frozen=True, eq=False)
class GivenFile:
    """A MIDI file of a user that `midi.parse` reads: its content."""

    raw: bytes

    @cached_property
    def there(self) -> midi.InFile:
        return midi.in_file(self.raw)

    @property
    def can_be_edited(self) -> bool:
        """False of type 2, where ticks of one pattern are not those of another."""
        return self.there.header.kind != 2

    @property
    def keys(self) -> list[Key]:
        """Port and channel on which each track of the score plays."""
        return [source.key for source in self.there.sources]


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
    places = _new_places(file, editor.said, score, new)
    tracks = editor.tracks()
    has_ports = any(place.port for place in places) or any(port for said in editor.said for port in _ports(said))
    tracks += [
        _new_track(track, place, has_ports, editor.reset_ticks(place.port), file.there.scale)
        for track, place in zip(new, places, strict=True)
    ]
    kind = 1 if len(tracks) > 1 else file.there.header.kind
    return file_of(kind, file.there.header.division, tracks), _notice(file, score, new, places)


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
        sounds = self._sounds(index, key, rows)
        for (tick, _, pitch, velocity, end), program in zip(rows, sounds, strict=True):
            self.new[index] += [(tick, AFTER, data) for data in program]
            self.new[index].append((tick, AFTER, bytes([NOTE_ON | key[1], pitch, velocity])))
            self.new[index].append((end, BEFORE, bytes([NOTE_OFF | key[1], pitch, 0])))
        self._take_out_idle_releases(index, key, rows)

    def _take_out_idle_releases(self, index: int, key: Key, rows: list[tuple[int, ...]]) -> None:
        """Note-offs that end no note of the file, but would end a new one."""
        used = {number for releases in self.releases for number in releases.tolist()}
        used |= {number for begins in self.begins for number in begins.tolist()}
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
        if not any(
            message.key == key and message.kind == PROGRAM_CHANGE for _, _, _, message in self._setting(index, key)
        ):
            return [[] for _ in rows]
        wanted = self._wanted(index, key, rows)
        setting = [
            (message.tick, THERE, track, number, message)
            for track, number, tick, message in self._setting(index, key)
            if number not in self.gone[track]
        ]
        coming = [(tick, AFTER, len(self.said), place, None) for place, (tick, *_) in enumerate(rows)]
        in_file, now, out = _Sound(), _Sound(), [[] for _ in rows]
        for tick, _, _, place, message in sorted(setting + coming, key=lambda row: row[:4]):
            if message is None:
                out[place] = now.said_of(wanted[place], key[1])
                now.sound = wanted[place]
            elif message.kind == NOTE_ON:
                self.new[index] += [(tick, BEFORE, data) for data in now.said_of(in_file.sound, key[1])]
                now.sound = in_file.sound
            else:
                in_file.hear(message)
                now.hear(message)
        return out

    def _setting(self, index: int, key: Key) -> list[tuple[int, int, int, Message]]:
        """(track, number, tick, message): notes of a part, and what sets their sound, in its order: its own track and
        those that play nothing on the channel.
        """
        playing = {source.track for source in self.sources if source.key == key} - {index}
        resets = {(track, number) for _, track, number, *_ in self.there.heard.resets.get(key[0], ())}
        found = []
        for track, said in enumerate(self.said):
            if track in playing:
                continue
            for number, message in enumerate(said.messages):
                if message.key == key:
                    of_note = message.kind == NOTE_ON and message.data[2] and track == index
                    of_bank = message.kind == CONTROLLER and message.data[1] in (BANK, FINE_BANK)
                    counts = of_note or of_bank or message.kind == PROGRAM_CHANGE
                else:
                    counts = (track, number) in resets
                if counts:
                    found.append((message.tick, track, number, message))
        return [
            (track, number, tick, message) for tick, track, number, message in sorted(found, key=lambda row: row[:3])
        ]

    def _wanted(self, index: int, key: Key, rows: list[tuple[int, ...]]) -> list[tuple[int, int, int]]:
        """The sound of each new note: that of the last note of its track of the score before it, else of the first."""
        of_note = {
            int(number): track
            for track, (source, begins) in enumerate(zip(self.sources, self.begins, strict=True))
            if (source.track, source.key) == (index, key)
            for number in begins
        }
        state, heard = _Sound(), defaultdict(list)
        for track, number, tick, message in self._setting(index, key):
            if message.key and message.kind == NOTE_ON:
                if track == index:
                    heard[of_note[number]].append((tick, state.sound))
            else:
                state.hear(message)
        out = []
        for tick, number, *_ in rows:
            before = [sound for at, sound in heard[number] if at <= tick]
            out.append(before[-1] if before else heard[number][0][1])
        return out

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


class _Sound:
    """A channel's sound, (bank, fine bank, program), and the banks that the next program change will take."""

    def __init__(self) -> None:
        self.banks, self.sound = (0, 0), (0, 0, 0)

    def hear(self, message: Message) -> None:
        if not message.key:  # a reset
            self.banks, self.sound = (0, 0), (0, 0, 0)
        elif message.kind == PROGRAM_CHANGE:
            self.sound = (*self.banks, message.data[1])
        elif message.data[1] == BANK:
            self.banks = message.data[2], self.banks[1]
        else:
            self.banks = self.banks[0], message.data[2]

    def said_of(self, sound: tuple[int, int, int], channel: int) -> list[bytes]:
        """What makes this the sound, and leaves the banks as they are."""
        if sound == self.sound:
            return []
        program = [bytes([PROGRAM_CHANGE | channel, sound[2]])]
        if sound[:2] == self.banks:
            return program
        return _banks(sound[:2], channel) + program + _banks(self.banks, channel)


def _banks(banks: tuple[int, int], channel: int) -> list[bytes]:
    return [
        bytes([CONTROLLER | channel, number, value]) for number, value in zip((BANK, FINE_BANK), banks, strict=True)
    ]


# ---------------------------------------------------------------- new tracks


def _ports(said: SaidByTrack) -> set[int]:
    return {message.data[-1] for message in said.messages if message.data[:2] == bytes([META, MIDI_PORT])}


def _new_places(file: GivenFile, said: list[SaidByTrack], score: Score, new: list[Track]) -> list[Place]:
    """A channel that the file does not use, on any port; where there is none, the one on which it is least in the way
    of others, on a further port. Drums play on channel 10 of the first port on which that is theirs.
    """
    heard = file.there.heard
    used = {message.key for track in said for message in track.messages if message.key}
    used |= {key for key, events in heard.events.items() if any(what == PART for _, _, _, what, *_ in events)}
    not_drums = {s.key for s in file.there.sources if s.program != DRUMS}
    not_drums |= {
        key
        for key, events in heard.events.items()
        if any(what == PART and not value for _, _, _, what, value, _ in events)
    }
    playing = [(track, source.key[1]) for track, source in zip(score.tracks, file.there.sources, strict=True)]
    places = []
    for track in new:
        if track.program == DRUMS:
            ports = (port for port in range(channels.PORTS) if (port, DRUM_CHANNEL) not in not_drums)
            place = Place(next(ports, 0), DRUM_CHANNEL)
        else:
            taken = {channel for _, channel in used}
            free = [channel for channel in channels.MELODIC_CHANNELS if channel not in taken]
            channel = free[0] if free else min(channels.MELODIC_CHANNELS, key=lambda c: _lost(playing, track, c))
            ports = [port for port in range(channels.PORTS) if (port, channel) not in used]
            if not ports:
                raise midi.MidiError(
                    f"the given song has no channel left for another {instruments.name(track.program)}"
                )
            place = Place(ports[0], channel)
        places.append(place)
        playing.append((track, place.channel))
        used.add((place.port, place.channel))
    return places


def _lost(playing: list[tuple[Track, int]], track: Track, channel: int) -> tuple[int, int]:
    """How many notes a new track on a channel would cut short for players that know no ports, and how many tracks it
    would share it with.
    """
    sharing = tuple(other for other, its_channel in playing if its_channel == channel)
    together = Score(1, (*sharing, track), (Tempo(0, 1),), (Signature(0, 4, 4),))
    return channels.clashes(together, [channel] * (len(sharing) + 1)), len(sharing)


def _notice(file: GivenFile, score: Score, new: list[Track], places: list[Place]) -> str | None:
    further = sum(place.port > max(port for port, _ in file.keys) for place in places)
    if not further:
        return None
    whole = Score(1, (*score.tracks, *new), (Tempo(0, 1),), (Signature(0, 4, 4),))
    on_channels = [channel for _, channel in file.keys] + [place.channel for place in places]
    lost = channels.clashes(whole, on_channels) - channels.clashes(score, on_channels[: len(score.tracks)])
    tracks = "1 new track plays" if further == 1 else f"{further} new tracks play"
    return (
        f"{tracks} on a further MIDI port, since the given song uses all channels; players that know no ports, "
        f"FluidSynth is one, may cut {lost} notes short"
    )


def _new_track(
    track: Track, place: Place, has_ports: bool, resets: list[int], scale: int
) -> tuple[list[tuple[int, bytes]], int]:
    """As midi.write writes one. resets: ticks at which its program must be said again."""
    rows = [(0, BEFORE, meta(TRACK_NAME, instruments.name(track.program).encode("ascii")))]
    if has_ports:
        rows.append((0, BEFORE, meta(MIDI_PORT, bytes([place.port]))))
    if track.program != DRUMS:
        program = bytes([PROGRAM_CHANGE | place.channel, track.program])
        rows += [(tick, THERE, program) for tick in sorted({0, *resets})]
    for onset, duration, pitch, velocity in track.notes.tolist():
        begin, end = ((2 * tick + scale) // (2 * scale) for tick in (onset, onset + duration))
        rows.append((begin, AFTER, bytes([NOTE_ON | place.channel, pitch, velocity])))
        rows.append((max(end, begin + 1), BEFORE, bytes([NOTE_OFF | place.channel, pitch, 0])))
    rows.sort(key=lambda row: row[:2])
    return [(tick, data) for tick, _, data in rows], rows[-1][0]
