"""All that the tracks of a MIDI file say, message by message, and back into bytes. What is read is what is kept: this
goes over the events that midi_events.py has found whole, by its rules.
"""

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from tokenizer.music import midi
from tokenizer.music.devices import Key
from tokenizer.music.midi import LONGEST_DELTA, InFile
from tokenizer.music.midi_events import CHANNEL_DATA, META, MIDI_PORT, content_of, number_at, time_of

NOTE_OFF, NOTE_ON, AFTERTOUCH, CONTROLLER, PROGRAM_CHANGE = 0x80, 0x90, 0xA0, 0xB0, 0xC0  # + channel
TEXT, TRACK_NAME, END_OF_TRACK = 0x01, 0x03, 0x2F


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


class Message(NamedTuple):
    """tick: of the file, from 0. key: (port, channel) of what is said to a channel, else None. data: what stands in the
    file behind its time, the status byte written out and data bytes above 127 clipped.
    """

    tick: int
    key: Key | None
    data: bytes

    @property
    def kind(self) -> int:
        """NOTE_OFF ... PROGRAM_CHANGE of what is said to a channel, else the status byte."""
        return self.data[0] & 0xF0 if self.key else self.data[0]


class SaidByTrack(NamedTuple):
    """messages: without the end of the track, which is at the tick `end`. strikes: the numbers of those that begin or
    release notes, channel by channel, as Heard.strikes counts them.
    """

    messages: list[Message]
    strikes: dict[Key, list[int]]
    end: int


def messages_of(raw: bytes, file: InFile) -> list[SaidByTrack]:
    """Of each track of the file with the content `raw`."""
    ends = [tick // file.scale for tick in file.heard.track_ends]
    return [
        SaidByTrack(*_of_track(raw, begin, count), end)
        for (begin, count), end in zip(file.heard.contents, ends, strict=True)
    ]


def _of_track(raw: bytes, at: int, count: int) -> tuple[list[Message], dict[Key, list[int]]]:
    said, strikes = [], {}
    tick, status, port, has_port = 0, 0, 0, False
    for number in range(count):
        time, at = number_at(raw, at)
        tick += time_of(time, is_first=number == 0)
        if raw[at] >= 0xF0:
            byte, what = raw[at], raw[at + 1]
            begin, end = content_of(raw, at + 1, byte)
            content, at = raw[begin:end], end
            if byte == META and what == MIDI_PORT and content:
                port = content[0] & 0x7F
                if not has_port and not strikes:  # it is meant from the track's beginning on, see midi_events
                    said = [message._replace(key=message.key and (port, message.key[1])) for message in said]
                has_port = True
            said.append(Message(max(tick, 0), None, _system(byte, what, content)))
            continue
        if raw[at] > 0x7F:
            status, at = raw[at], at + 1
        size = CHANNEL_DATA.get(status & 0xF0, 2)
        key, data = (port, status & 0x0F), raw[at : at + size]
        at += size
        if max(data) > 0x7F:
            data = bytes(min(byte, 0x7F) for byte in data)
        kind = status & 0xF0
        if kind == NOTE_ON and data[1]:
            strikes.setdefault(key, [])
        if kind in (NOTE_OFF, NOTE_ON) and key in strikes:
            strikes[key].append(number)
        said.append(Message(max(tick, 0), key, bytes([status]) + data))
    return said, strikes


def _system(status: int, what: int, content: bytes) -> bytes:
    if status == META:
        return meta(what, content)
    has_length = status in (0xF0, 0xF7)
    return bytes([status]) + (number_of(len(content)) if has_length else b"") + content


def meta(what: int, content: bytes) -> bytes:
    return bytes([META, what]) + number_of(len(content)) + content


def number_of(value: int) -> bytes:
    """As variable-length number. Inverse: midi_events.number_at."""
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(value & 0x7F | 0x80)
    return bytes(reversed(out))


# ---------------------------------------------------------------- back into bytes


def file_of(kind: int, division: int, tracks: list[tuple[list[tuple[int, bytes]], int]]) -> bytes:
    """A MIDI file of its type and time division and of each track [(tick, message)], in order, and the tick of its
    end.
    """
    chunks = [_chunk(said, end) for said, end in tracks]
    return b"".join([struct.pack(">4sLHHh", b"MThd", 6, kind, len(tracks), division), *chunks])


def _chunk(said: list[tuple[int, bytes]], end: int) -> bytes:
    out, now = [], 0
    for tick, data in [*said, (end, meta(END_OF_TRACK, b""))]:
        while tick - now > LONGEST_DELTA:
            out += [number_of(LONGEST_DELTA), meta(TEXT, b"")]
            now += LONGEST_DELTA
        out += [number_of(tick - now), data]
        now = tick
    content = b"".join(out)
    return struct.pack(">4sL", b"MTrk", len(content)) + content
