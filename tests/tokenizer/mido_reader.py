"""The referee: what a MIDI file says, read with mido. Slow, plain and independent of tokenizer.music: every rule is
written again here, message by message and note by note.
"""

import io
from collections import defaultdict
from dataclasses import dataclass

import mido

DRUMS = 128


@dataclass
class Message:
    tick: int
    track: int
    number: int  # in its track
    port: int
    said: mido.Message | mido.MetaMessage

    @property
    def when(self) -> tuple[int, int, int]:
        return self.tick, self.track, self.number

    @property
    def place(self) -> tuple[int, int]:
        return self.port, self.said.channel


@dataclass
class Note:
    struck: Message
    end: int | None = None
    released: Message | None = None
    sound: int = 0


def read(raw: bytes, pedal: bool = False, scale: int = 1) -> tuple[list[tuple], dict, dict]:
    """(sound, onset, duration, pitch, velocity) of all notes, sorted; tempos and signatures by tick. Raises ValueError
    for unknown metas: mido loses their time.
    """
    messages = _messages(mido.MidiFile(file=io.BytesIO(raw), clip=True), scale)
    messages.sort(key=lambda message: (message.tick, message.track, message.number))
    notes, last_tick = _notes(messages), max((message.tick for message in messages), default=0)
    setting = [m for m in messages if m.said.type in ("sysex", "program_change", "control_change")]
    for place in {note.struck.place for note in notes}:
        here = [note for note in notes if note.struck.place == place]
        playing = {note.struck.track for note in here}
        settings = _settings(setting, place)
        for note in here:
            note.sound = _sound(settings, note, playing, drums=place[1] == 9)
        if pedal:
            _ring([note for note in here if note.sound != DRUMS], here, setting, place, last_tick)
    found = [
        (note.sound, note.struck.tick, note.end - note.struck.tick, note.struck.said.note, note.struck.said.velocity)
        for note in notes
    ]
    tempos, signatures = {}, {}
    for message in sorted(messages, key=lambda message: message.track):  # at one tick the last track's word counts
        said = message.said
        if said.type == "set_tempo" and said.tempo:
            tempos[message.tick] = said.tempo
        elif said.type == "time_signature" and said.numerator and said.denominator <= 64:
            signatures[message.tick] = (said.numerator, said.denominator)
    return sorted(found), tempos, signatures


def _messages(midi: mido.MidiFile, scale: int) -> list[Message]:
    """With the port on which each is said: a track's first port is its port from the start."""
    found, tick = [], 0
    for index, track in enumerate(midi.tracks):
        tick = tick if midi.type == 2 else 0
        port = 0
        for message in track:
            if message.type == "midi_port":
                port = message.port
            if message.type == "midi_port" or (message.type == "note_on" and message.velocity):
                break
        for number, message in enumerate(track):
            if message.type == "unknown_meta":
                raise ValueError("an unknown meta event")
            tick += message.time * scale
            if message.type == "midi_port":
                port = message.port
            found.append(Message(tick, index, number, port, message))
            if message.type == "end_of_track":
                break
        else:
            found.append(Message(tick, index, len(track), port, mido.MetaMessage("end_of_track")))
    return found


def _notes(messages: list[Message]) -> list[Note]:
    """Closed as the messages come. At one tick, what ends the notes of a channel comes first."""
    notes, sounding = [], defaultdict(list)  # (port, channel): notes, the oldest first
    ending = [m for m in messages if m.said.type == "control_change" and _ends_notes(m.said.control)][::-1]
    for message in messages:
        while ending and ending[-1].tick <= message.tick:
            end = ending.pop()
            for note in [note for note in sounding[end.place] if note.struck.tick < end.tick]:
                note.end = end.tick
                sounding[end.place].remove(note)
        said = message.said
        if said.type == "note_on" and said.velocity:
            notes.append(Note(message))
            sounding[message.place].append(notes[-1])
        elif said.type in ("note_on", "note_off"):
            for note in sounding[message.place]:
                if note.struck.track == message.track and note.struck.said.note == said.note:
                    note.end, note.released = message.tick, message
                    sounding[message.place].remove(note)
                    break
        elif said.type == "end_of_track":
            for place in sounding:
                for note in [note for note in sounding[place] if note.struck.track == message.track]:
                    note.end = message.tick
                    sounding[place].remove(note)
    return notes


def _ends_notes(control: int) -> bool:
    return control == 120 or control >= 123


# ---------------------------------------------------------------- who plays


def _settings(messages: list[Message], place: tuple[int, int]) -> list[tuple]:
    """(tick, track, number, what, value) of all that sets a channel, as it acts: resets come before what other tracks
    say at their tick.
    """
    found = []
    for message in messages:
        said = message.said
        where = (message.tick, message.track, message.number)
        if said.type == "sysex" and message.port == place[0]:
            what, channel, value = _exclusive(bytes(said.data))
            if what == "reset" or (what == "part" and channel == place[1]):
                found.append((*where, what, value))
        elif said.type == "program_change" and message.place == place:
            found.append((*where, "program", said.program))
        elif said.type == "control_change" and said.control == 0 and message.place == place:
            found.append((*where, "bank", said.value))
    first = []
    for setting in found:
        later_reset = any(other[:2] == setting[:2] and other[2] >= setting[2] for other in found if other[3] == "reset")
        first.append((setting[0], not later_reset, *setting[1:]))
    return [(tick, *rest) for tick, _, *rest in sorted(first)]


def _exclusive(data: bytes) -> tuple:
    """(what, channel, value) in mido's hands: without F0 and F7."""
    text = data.hex()
    if text[:2] == "7e" and text[4:6] == "09" and text[6:8] in ("01", "02", "03"):
        return "reset", None, {"01": "gm", "02": "", "03": "gm2"}[text[6:8]]
    if text[:2] == "41" and text[4:8] == "4212" and len(data) > 7:
        if text[8:14] in ("40007f", "00007f"):
            return "reset", None, "gs"
        if text[8:11] == "401" and text[12:14] == "15":
            return "part", [9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15][int(text[11], 16)], data[7] > 0
    if text[:3] == "431" and text[4:6] == "4c" and len(data) > 6:
        if text[6:12] in ("00007e", "00007f"):
            return "reset", None, "xg"
        if text[6:8] == "08" and data[4] < 16 and text[10:12] == "07":
            return "part", data[4], data[6] > 0
    return "", None, None


def _sound(settings: list[tuple], note: Note, playing: set[int], drums: bool) -> int:
    """Walks through all that sets the channel up to the note."""
    struck, by_default = note.struck, drums
    system, bank, own, anybody = "", 0, None, None  # (tick, program, what its bank says of drums, when)
    part_set = -1
    for when, (tick, track, number, what, value) in enumerate(settings):
        if tick > struck.tick:
            break
        if what == "reset":
            system, bank, drums, own, anybody, part_set = value, 0, by_default, None, None, when
        elif what == "part":
            drums, part_set = value, when
        elif what == "bank":
            bank = value
        else:
            program = (tick, value, _drum_bank(system, bank), when)
            if track == struck.track:
                if number < struck.number:
                    own = program
            elif track not in playing and own and own[0] < tick:
                own = program
            if track != struck.track or number < struck.number:
                anybody = program
    chosen = own or anybody
    if chosen and chosen[2] is not None and chosen[3] > part_set:
        drums = chosen[2]
    return DRUMS if drums else chosen[1] if chosen else 0


def _drum_bank(system: str, bank: int) -> bool | None:
    if system == "gm2" and bank in (120, 121):
        return bank == 120
    if system == "xg" and bank in (126, 127):
        return True
    if system in ("", "gm") and bank in (120, 127):
        return True
    return None


# ---------------------------------------------------------------- the pedal


def _ring(held: list[Note], here: list[Note], messages: list[Message], place: tuple[int, int], last_tick: int) -> None:
    """Lengthens notes of a channel that end while its pedal is down."""
    moves, cuts, is_down = [], [], False
    for message in messages:
        said = message.said
        if said.type == "control_change" and message.place == place:
            if said.control in (64, 121):
                moves.append((message.when, said.control == 64 and said.value >= 64))
            if said.control == 120:
                cuts.append(message.tick)
        elif said.type == "sysex" and message.port == place[0] and _exclusive(bytes(said.data))[0] == "reset":
            moves.append((message.when, False))
    times = []
    for when, down in [*moves, ((last_tick,), False)]:
        if down and not is_down:
            times.append([when, None])
        elif is_down and not down:
            times[-1][1] = when[0]
        is_down = down
    strikes = {}
    for note in here:
        strikes.setdefault(note.struck.said.note, []).append(note.struck.tick)
    for note in held:
        for down, up in times:
            let_go = note.released.when if note.released else (note.end,)
            if down < let_go and note.end < up:
                struck_again = [tick for tick in strikes[note.struck.said.note] if tick > note.struck.tick]
                cut = [tick for tick in cuts if tick >= note.end]
                note.end = max(note.end, min([up, *struck_again, *cut]))
                break
