"""The tracks of a standard MIDI file to what they say, in absolute ticks: one pass over the bytes, in plain Python.

Reads as players do. A track ends at its end-of-track event, data bytes above 127 are clipped, running status goes on
after a meta event, and what comes before damage is kept. What was not as it should be is told in one sentence each.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from tokenizer.music import chunks
from tokenizer.music.chunks import Chunk, MidiDamage
from tokenizer.music.devices import BANK, END_NOTES, LIFT, PART, PEDAL, PROGRAM, RESET, Event, Key, part_mode, reset

# Data bytes after a status byte: channel messages by their upper half, system messages by themselves.
CHANNEL_DATA = {0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}
SYSTEM_DATA = {0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0, 0xF8: 0, 0xFA: 0, 0xFB: 0, 0xFC: 0, 0xFE: 0}
META, SET_TEMPO, TIME_SIGNATURE, END_OF_TRACK, MIDI_PORT = 0xFF, 0x51, 0x58, 0x2F, 0x21
EXCLUSIVE, EXCLUSIVE_GOES_ON = 0xF0, 0xF7
LONGEST_EXCLUSIVE = 64  # bytes that are looked at
KEPT_CONTROLLERS = frozenset({BANK, PEDAL, *END_NOTES, LIFT})
LONGEST_NUMBER = 8  # bytes; files have four, some fill up with zeros
MOST_RESETS = 1000


@dataclass
class Heard:
    """What the MIDI tracks say. Keys are (port, channel), from 0; tracks are counted from 0. An event: Event."""

    tempos: dict[int, int] = field(default_factory=dict)
    signatures: dict[int, tuple[int, int]] = field(default_factory=dict)
    # (track, key): beginnings and releases of notes, as sustain.strike codes them
    strikes: dict[tuple[int, Key], list[int]] = field(default_factory=dict)
    events: dict[Key, list[Event]] = field(default_factory=lambda: defaultdict(list))
    resets: dict[int, list[Event]] = field(default_factory=lambda: defaultdict(list))  # port: those of all its channels
    track_ends: list[int] = field(default_factory=list)
    # of each track the byte with which its content begins, and how many whole events it has before its end
    contents: list[tuple[int, int]] = field(default_factory=list)
    partly_read: int = 0  # tracks of which the rest cannot be read
    impossible: int = 0  # tempi and signatures that are

    @property
    def last_tick(self) -> int:
        return max(self.track_ends, default=0)


@dataclass(frozen=True)
class _Stop:
    """Where the reading of a track ended. clipped: how many data bytes were. early: how many ticks before the song the
    track begins. impossible: how many tempi and signatures are. is_partial: whether there was more that cannot be read.
    why: None at its end-of-track event, else in words.
    """

    place: int
    tick: int
    events: int
    clipped: int
    early: int
    impossible: int
    is_partial: bool
    why: str | None


def listen(raw: bytes, start: int, scale: int, most_events: int, one_after_another: bool, repairs: list[str]) -> Heard:
    """All tracks from the byte `start` on. scale: what to multiply ticks by. most_events: of all tracks together. Adds
    to `repairs` what was wrong. Raises MidiDamage.
    """
    heard, tick = Heard(), 0
    place, skipped = chunks.next_track(raw, start)
    repairs += [skipped] if skipped else []
    while place < len(raw):
        chunk = chunks.track_at(raw, place)
        stop = _listen_to_track(heard, raw, chunk, tick, scale, most_events)
        most_events -= stop.events
        heard.track_ends.append(stop.tick)
        heard.contents.append((chunk.begin, stop.events))
        heard.partly_read += stop.is_partial
        heard.impossible += stop.impossible
        place, skipped = _next_place(raw, chunk, stop)
        repairs += _repairs(len(heard.track_ends), chunk, stop, place)
        repairs += [skipped] if skipped and not stop.why else []
        if one_after_another:
            tick = stop.tick
    if sum(map(len, heard.resets.values())) > MOST_RESETS:
        raise MidiDamage(f"more than {MOST_RESETS} system resets; the file is damaged")
    return heard


def _next_place(raw: bytes, chunk: Chunk, stop: _Stop) -> tuple[int, str | None]:
    """Where the next track begins: right behind the end of this one, or where its length says, or the next there is;
    and what was skipped, in words.
    """
    right_there = raw[stop.place : stop.place + 4] == chunks.TRACK
    says_where = chunk.follows is not None and stop.place <= chunk.declared_end
    if says_where and not right_there and chunk.follows < len(raw):
        return chunk.follows, None
    place, skipped = chunks.next_track(raw, stop.place)
    return place, None if says_where and place == len(raw) else skipped  # what the chunk has more is told by itself


def _repairs(number: int, chunk: Chunk, stop: _Stop, next_place: int) -> list[str]:
    """What was wrong in the track of that number, counted from 1. next_place: where the next one begins."""
    found = []
    length, declared = stop.place - chunk.begin, chunk.declared_end - chunk.begin
    if stop.early:
        found.append(f"track {number} begins {stop.early} ticks before the song; what is there is put at its beginning")
    if stop.clipped:
        found.append(f"clipped {chunks.count(stop.clipped, 'data byte')} in track {number}")
    if stop.why:
        found.append(f"track {number} {stop.why}")
    elif length < declared and chunk.declared_end <= next_place:
        found.append(f"left out {chunks.count(declared - length, 'byte')} behind the end of track {number}")
    elif length != declared:
        found.append(f"track {number} is {length} bytes long, not {declared} as it says")
    return found


class _Odd(Exception):
    """What no player could go on after."""


def number_at(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length number, and where it ends."""
    value = 0
    for place in range(at, at + LONGEST_NUMBER):
        byte = data[place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + 1
    raise _Odd(f"a number of more than {LONGEST_NUMBER} bytes")


def time_of(value: int, is_first: bool) -> int:
    """The ticks before an event, of its number. A few programs write a first note before the song's beginning as a
    negative number of 32 bits.
    """
    if value < 1 << 28:
        return value
    if is_first and 1 << 31 <= value < 1 << 32:
        return value - (1 << 32)
    raise _Odd("a time of more than four bytes")


def _listen_to_track(heard: Heard, raw: bytes, chunk: Chunk, start: int, scale: int, most_events: int) -> _Stop:
    """Adds what one track plays from the tick `start` on. Long on purpose: it runs once an event."""
    index, data, at, end = len(heard.track_ends), raw, chunk.begin, chunk.end
    parts = [None] * 16  # where the strikes of each channel go
    tick, status, port, has_port, clipped, exclusive = start, 0, 0, False, 0, b""
    event, early, impossible, is_partial, why = 0, 0, 0, True, "has no end-of-track event"
    try:
        for event in range(most_events + 1):
            before = tick  # what a broken event leaves
            if at >= end:
                is_partial = chunk.declared_end > end
                break
            delta = data[at]
            at += 1
            if delta > 0x7F:
                if data[at] < 0x80:  # most times have two bytes
                    delta = (delta & 0x7F) << 7 | data[at]
                    at += 1
                else:
                    delta, at = number_at(data, at - 1)
                    if delta >= 1 << 28:
                        delta = time_of(delta, is_first=event == 0)
                        early = -delta
            tick += delta * scale
            byte = data[at]
            if byte > 0x7F:
                at += 1
                if byte >= 0xF0:
                    what = data[at]
                    begin, at = content_of(data, at, byte)
                    if at > end:
                        raise IndexError
                    if byte in (EXCLUSIVE, EXCLUSIVE_GOES_ON):
                        before_it = exclusive if byte == EXCLUSIVE_GOES_ON else b""
                        exclusive = (before_it + data[begin : min(at, begin + LONGEST_EXCLUSIVE)])[:LONGEST_EXCLUSIVE]
                        if _obey(heard, exclusive, port, (tick, index, event)):
                            exclusive = b""
                    elif byte != META:
                        pass
                    elif what == END_OF_TRACK:
                        is_partial, why = False, None
                        break
                    elif what == MIDI_PORT and at > begin:
                        new_port = data[begin] & 0x7F
                        if new_port and not has_port and not any(parts):
                            _move(heard, index, new_port)
                        has_port, port, parts = True, new_port, [None] * 16
                    elif what in (SET_TEMPO, TIME_SIGNATURE):
                        impossible += not _measure(heard, what, data[begin:at], max(tick, 0))
                    continue
                status = byte
            elif not status:
                raise _Odd("an event without status")
            kind = status & 0xF0
            if kind == 0x90 or kind == 0x80:
                pitch, velocity = data[at], data[at + 1]
                at += 2
                if at > end:
                    raise IndexError
                if (pitch | velocity) > 0x7F:
                    clipped += (pitch > 0x7F) + (velocity > 0x7F)
                    pitch, velocity = min(pitch, 0x7F), min(velocity, 0x7F)
                if kind == 0x80:
                    velocity = 0
                part = parts[status & 0x0F]
                if part is None:
                    part = heard.strikes.get((index, (port, status & 0x0F)))
                    if part is None:
                        if not velocity:
                            continue
                        part = heard.strikes[index, (port, status & 0x0F)] = []
                    parts[status & 0x0F] = part
                part.append(tick << 14 | pitch << 7 | velocity)  # sustain.strike
                continue
            size = CHANNEL_DATA[kind]
            first, second = data[at], data[at + size - 1]
            at += size
            if at > end:
                raise IndexError
            if (first | second) > 0x7F:
                clipped += (first > 0x7F) + (size == 2 and second > 0x7F)
                first, second = min(first, 0x7F), min(second, 0x7F)
            if kind == 0xC0 or (kind == 0xB0 and first in KEPT_CONTROLLERS):
                what, value = (PROGRAM, first) if kind == 0xC0 else (first, second)
                notes_before = len(heard.strikes.get((index, (port, status & 0x0F)), ()))
                heard.events[port, status & 0x0F].append((tick, index, event, what, value, notes_before))
        else:
            raise MidiDamage("too many events (no song needs half a million)")
    except IndexError:
        tick, at, why = before, min(at, end), f"is cut off at tick {before}; it is read as far as it goes"
    except _Odd as odd:
        tick, why = before, f"cannot be read after tick {before} ({odd}); what follows is left out"
    return _Stop(at, max(tick, 0), event, clipped, early, impossible, is_partial, why)


def content_of(data: bytes, at: int, status: int) -> tuple[int, int]:
    """Where the content of a meta, system exclusive or system event begins and ends; its status byte stands before
    `at`.
    """
    if status in (META, EXCLUSIVE, EXCLUSIVE_GOES_ON):
        length, begin = number_at(data, at + (status == META))
        return begin, begin + length
    if status not in SYSTEM_DATA:
        raise _Odd(f"a status byte {status:#x}")
    return at, at + SYSTEM_DATA[status]


def _measure(heard: Heard, what: int, content: bytes, tick: int) -> bool:
    """A tempo or a signature; whether it can be."""
    if what == SET_TEMPO and len(content) >= 3 and (tempo := int.from_bytes(content[:3], "big")):
        heard.tempos[tick] = tempo
        return True
    if what == TIME_SIGNATURE and len(content) >= 2 and content[0] and content[1] <= 6:
        heard.signatures[tick] = (content[0], 1 << content[1])
        return True
    return False


def _move(heard: Heard, index: int, port: int) -> None:
    """To its first port, what a track has said before naming it: notation programs name it last."""
    lists = [(heard.events[0, channel], heard.events[port, channel]) for channel in range(16)]
    for said, moved in [*lists, (heard.resets[0], heard.resets[port])]:
        first = len(said)
        while first and said[first - 1][1] == index:
            first -= 1
        moved += said[first:]
        del said[first:]


def _obey(heard: Heard, message: bytes, port: int, when: tuple[int, int, int]) -> bool:
    """What a system exclusive message says of who plays; whether it says anything of it."""
    message = message.removeprefix(b"\xf0")  # as it comes after F7
    if (system := reset(message)) is not None:
        heard.resets[port].append((*when, RESET, system, 0))
    elif (mode := part_mode(message)) is not None:
        channel, is_drums = mode
        heard.events[port, channel].append((*when, PART, is_drums, 0))
    else:
        return False
    return True
