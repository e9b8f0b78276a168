"""A MIDI file as a user has it, with much that is no note, and an independent reader's view of such files (mido)."""

import io
import struct
from collections import defaultdict

import mido

from tests.tokenizer.hostile import number

BAR, BEAT = 1536, 384  # ticks; bars of 4/4


def meta(what: int, content: bytes) -> bytes:
    return bytes([0xFF, what, len(content)]) + content


def track_of(*events: tuple[int, bytes], end: int) -> bytes:
    """events: (tick, message), sorted by tick; times in four bytes, as few programs write them."""
    content, now = b"", 0
    for tick, message in [*sorted(events, key=lambda event: event[0]), (end, meta(0x2F, b""))]:
        content += number(tick - now) + message
        now = tick
    return b"MTrk" + struct.pack(">L", len(content)) + content


def note(tick: int, end: int, channel: int, pitch: int, velocity: int = 80) -> list[tuple[int, bytes]]:
    return [(tick, bytes([0x90 | channel, pitch, velocity])), (end, bytes([0x80 | channel, pitch, 40]))]


# Eight bars: a bass a little beside the beat, a piano in triplets under a pedal, drums; channels 3, 1 and 10
BASS = [event for beat in range(32) for event in note(beat * BEAT + beat % 5, beat * BEAT + 300, 2, 40 + beat % 3)]
PIANO = [event for place in range(96) for event in note(place * 128, place * 128 + 90, 0, 60 + place % 7)]
DRUMS = [event for beat in range(32) for event in note(beat * BEAT, beat * BEAT + 20, 9, 36 + 2 * (beat % 2), 101)]
SAID = [
    (0, meta(0x03, b"My song")),
    (0, meta(0x02, b"(c) somebody")),
    (0, meta(0x58, bytes([4, 2, 24, 8]))),
    (0, meta(0x59, bytes([2, 0]))),
    (0, meta(0x51, (500_000).to_bytes(3, "big"))),
    (0, b"\xf0\x05\x7e\x7f\x09\x01\xf7"),
    (0, b"\xb0\x07\x64"),
    (0, b"\x0a\x30"),  # running status
    (0, b"\xc0\x04"),
    (0, b"\xb2\x00\x08"),
    (0, b"\xc2\x21"),
    *((place * 700, bytes([0xE0, place % 128, 64])) for place in range(1, 17)),  # in whose way bytes of status are
    *((place * 500, bytes([0xD2, place])) for place in range(1, 24)),
    *((bar * BAR + 5, meta(0x05, b"la ")) for bar in range(8)),
    *((bar * BAR + 700, meta(0x51, (500_000 + 9999 * bar).to_bytes(3, "big"))) for bar in range(1, 8)),
    (3 * BAR, b"\xb0\x40\x7f"),
    (3 * BAR + 3, bytes([0xA0, 60, 30])),
    (6 * BAR + 10, b"\xb0\x40\x00"),
    (8 * BAR + 200, b"\xb0\x7b\x00"),  # all notes off, and what comes behind the last bar
    (8 * BAR + 201, meta(0x06, b"fin")),
]
END = 8 * BAR + 400


def file_of(*tracks: bytes, kind: int = 1) -> bytes:
    return struct.pack(">4sLHHh", b"MThd", 6, kind, len(tracks), BEAT) + b"".join(tracks)


def type_1() -> bytes:
    parts = ((b"low", BASS), (b"keys", PIANO), (b"kit", DRUMS))
    playing = [track_of((0, meta(0x03, name)), *events, end=8 * BAR) for name, events in parts]
    return file_of(track_of(*SAID, end=END), *playing)


FILES = {"type 0": file_of(track_of(*SAID, *BASS, *PIANO, *DRUMS, end=END), kind=0), "type 1": type_1()}


def messages(raw: bytes) -> list[list[tuple[int, mido.Message]]]:
    """Of each track what it says, with its tick, as mido reads it."""
    tracks = []
    for track in mido.MidiFile(file=io.BytesIO(raw), clip=True).tracks:
        tick, said = 0, []
        for message in track:
            tick += message.time
            if message.type != "end_of_track":
                said.append((tick, message.copy(time=0)))
        tracks.append(said)
    return tracks


def ends(raw: bytes) -> list[int]:
    """Tick of the end of each track, as mido reads it."""
    return [sum(message.time for message in track) for track in mido.MidiFile(file=io.BytesIO(raw), clip=True).tracks]


def beside(user: list, now: list) -> list:
    """What a track says now beside all that the user's said, which it says in the same order."""
    more, left = [], iter(user)
    expected = next(left, None)
    for event in now:
        if event == expected:
            expected = next(left, None)
        else:
            more.append(event)
    assert expected is None, f"lost, or in another order: {expected}"
    return more


def without_notes(said: list, channels: set[int], begin: int, end: int) -> list:
    """What a track says but the notes of these channels that begin from one tick to before another, and their ends."""
    kept, open_ = [], defaultdict(list)
    for event in said:
        tick, message = event
        if message.type not in ("note_on", "note_off") or message.channel not in channels:
            kept.append(event)
        elif message.type == "note_on":
            goes = begin <= tick < end
            open_[message.channel, message.note].append(goes)
            kept += [event] * (not goes)
        else:
            kept += [event] * (not open_[message.channel, message.note].pop(0))
    return kept
