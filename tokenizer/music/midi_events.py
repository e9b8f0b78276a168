"""The bytes of a standard MIDI file to what its tracks say, in absolute ticks: one pass, in plain Python. For midi.py.

Reads more kindly than the standard asks, as players do: unknown chunks and meta events of any content are skipped,
running status goes on after a meta event, a track may lack its end. What cannot be read is one MidiDamage with the
reason.
"""

import struct
from collections import defaultdict, deque
from dataclasses import dataclass, field

# Data bytes after a status byte: channel messages by their upper half, system messages by themselves.
CHANNEL_DATA = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}
SYSTEM_DATA = {0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0, 0xF8: 0, 0xFA: 0, 0xFB: 0, 0xFC: 0, 0xFE: 0}
META, SET_TEMPO, TIME_SIGNATURE = 0xFF, 0x51, 0x58
TRUNCATED = "the file ends in the middle of a track (truncated)"


class MidiDamage(Exception):
    """Bytes that are no MIDI file, with the reason."""


@dataclass
class Heard:
    """What the MIDI tracks say, in absolute ticks."""

    tempos: dict[int, int] = field(default_factory=dict)
    signatures: dict[int, tuple[int, int]] = field(default_factory=dict)
    # (track, channel): [(onset, duration, ...)]
    notes: dict[tuple[int, int], list] = field(default_factory=lambda: defaultdict(list))
    # (track, channel): [(event, program)]
    own_programs: dict[tuple[int, int], list] = field(default_factory=lambda: defaultdict(list))
    programs: dict[int, list] = field(default_factory=lambda: defaultdict(list))  # channel: [(tick, program)]
    last_tick: int = 0


def header(raw: bytes) -> tuple[int, int, int, int]:
    """Type, number of tracks, division, and where the first chunk begins. Raises MidiDamage."""
    if raw[:4] != b"MThd":
        raise MidiDamage("not a MIDI file (it does not begin with MThd)")
    if len(raw) < 14:
        raise MidiDamage(TRUNCATED)
    length, kind, tracks, division = struct.unpack(">LHHh", raw[4:14])
    if length < 6:
        raise MidiDamage(f"damaged MIDI data (a header of {length} bytes)")
    return kind, tracks, division, 8 + length


def tracks_of(raw: bytes, count: int, start: int) -> list[tuple[int, int]]:
    """(begin, end) of each track's bytes. Raises MidiDamage."""
    found = []
    while len(found) < count:
        if start + 8 > len(raw):
            raise MidiDamage(TRUNCATED)
        begin, length = start + 8, int.from_bytes(raw[start + 4 : start + 8], "big")
        if begin + length > len(raw):
            raise MidiDamage(TRUNCATED)
        if raw[start : start + 4] == b"MTrk":
            found.append((begin, begin + length))
        start = begin + length
    return found


def listen(raw: bytes, tracks: list[tuple[int, int]], scale: int, most_events: int, one_after_another: bool) -> Heard:
    """scale: what to multiply ticks by. most_events: of all tracks together. Raises MidiDamage."""
    heard, start = Heard(), 0
    for index, (begin, end) in enumerate(tracks):
        try:
            tick, events = _listen_to_track(heard, index, raw[begin:end], start, scale, most_events)
        except IndexError:
            raise MidiDamage(f"damaged MIDI data (track {index} ends in the middle of an event)") from None
        most_events -= events
        heard.last_tick = max(heard.last_tick, tick)
        if one_after_another:
            start = tick
    return heard


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length number of up to four bytes, and where it ends."""
    value = 0
    for place in range(at, at + 4):
        byte = data[place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + 1
    raise MidiDamage("damaged MIDI data (a number of more than four bytes)")


def _listen_to_track(heard: Heard, index: int, data: bytes, tick: int, scale: int, most_events: int) -> tuple[int, int]:
    """Adds what one track plays from `tick` on; returns where it ends and its number of events. Long on purpose: it
    runs once an event.
    """
    sounding: dict[int, deque] = {}  # notes not yet closed of each channel and pitch, the oldest first
    parts = [None] * 16  # where notes of each channel go
    at, end, status = 0, len(data), 0
    for event in range(most_events + 1):
        if at >= end:
            break
        delta = data[at]
        at += 1
        if delta > 0x7F:
            delta, at = _number(data, at - 1)
        tick += delta * scale
        byte = data[at]
        if byte > 0x7F:
            at += 1
            if byte >= 0xF0:
                at = _system(heard, data, at, byte, tick)
                continue
            status = byte
        elif not status:
            raise MidiDamage("damaged MIDI data (an event without status)")
        kind = status & 0xF0
        if kind == 0x90 or kind == 0x80:
            pitch, velocity = data[at], data[at + 1]
            at += 2
            if (pitch | velocity) > 0x7F:
                raise MidiDamage("damaged MIDI data (a data byte above 127)")
            key = (status & 0x0F) << 7 | pitch
            if kind == 0x90 and velocity:
                note = [tick, 0, pitch, velocity, event]
                part = parts[status & 0x0F]
                if part is None:
                    part = parts[status & 0x0F] = heard.notes[index, status & 0x0F]
                part.append(note)
                waiting = sounding.get(key)
                if waiting is None:
                    waiting = sounding[key] = deque()
                waiting.append(note)
            elif waiting := sounding.get(key):
                note = waiting.popleft()
                note[1] = tick - note[0]
        elif kind == 0xC0:
            program = data[at]
            at += 1
            if program > 0x7F:
                raise MidiDamage("damaged MIDI data (a data byte above 127)")
            heard.own_programs[index, status & 0x0F].append((event, program))
            heard.programs[status & 0x0F].append((tick, program))
        else:
            size = CHANNEL_DATA[kind]
            if (data[at] | data[at + size - 1]) > 0x7F:
                raise MidiDamage("damaged MIDI data (a data byte above 127)")
            at += size
    else:
        raise MidiDamage("too many events (no song needs half a million)")
    for waiting in sounding.values():
        for note in waiting:
            note[1] = tick - note[0]
    return tick, event


def _system(heard: Heard, data: bytes, at: int, status: int, tick: int) -> int:
    """A meta, system exclusive or system event whose status byte stands before `at`; returns where it ends."""
    if status not in (META, 0xF0, 0xF7):
        if status not in SYSTEM_DATA:
            raise MidiDamage(f"damaged MIDI data (status byte {status:#x})")
        end = at + SYSTEM_DATA[status]
    else:
        length, begin = _number(data, at + (status == META))
        end = begin + length
        content = data[begin:end]
        if status == META and data[at] == SET_TEMPO and length >= 3:
            tempo = int.from_bytes(content[:3], "big")
            if tempo:
                heard.tempos[tick] = tempo
        elif status == META and data[at] == TIME_SIGNATURE and length >= 2 and content[0] and content[1] <= 6:
            heard.signatures[tick] = (content[0], 1 << content[1])
    if end > len(data):
        raise IndexError
    return end
