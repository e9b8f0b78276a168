"""Broken MIDI files, made from whole ones by a seed."""

import struct
from collections.abc import Sequence

import numpy as np

HEADER = struct.pack(">4sLHHh", b"MThd", 6, 1, 1, 480)
END = b"\x00\xff\x2f\x00"
MEGABYTES, SIXTEEN = 10 << 20, 16 << 20
MOST = 499_900  # events; half a million are refused


def track(content: bytes) -> bytes:
    return b"MTrk" + struct.pack(">L", len(content)) + content


def number(value: int) -> bytes:
    """In four bytes, as MIDI writes numbers."""
    return bytes(value >> shift & 0x7F | (0x80 if shift else 0) for shift in (21, 14, 7, 0))


def break_file(raw: bytes, seed: int) -> tuple[str, bytes]:
    """(what was done, the broken file): one or two of the kinds of damage below."""
    random = np.random.default_rng(seed)
    kinds = random.choice(len(DAMAGES), size=1 + int(random.random() < 0.3), replace=False)
    for kind in kinds:
        raw = DAMAGES[kind](bytearray(raw), random)
    return " and ".join(DAMAGES[kind].__name__ for kind in kinds), bytes(raw)


def whole_monsters() -> dict[str, bytes]:
    """Files that are hostile by themselves."""
    scale = b"".join(bytes([1, pitch, 64]) for pitch in range(128))
    sixteen_notes = b"".join(bytes([0, 0x90 + channel, 60, 64]) for channel in range(16))
    set_all_the_time = b"\x01\xb0\x40\x7f\x00\x00\x7f\x01\x7b\x00\x01\x40\x00\x00\xc0\x01\x01\x02\x00\xff\x21\x01\x00"
    sixty_bands = track(sixteen_notes + END) * 60
    return {
        "ten megabytes of zeros": bytes(MEGABYTES),
        "ten megabytes of zeros in a track": HEADER + track(bytes(MEGABYTES)),
        "ten megabytes of notes": HEADER + track(b"\x00\x90\x3c\x40" + b"\x01\x3c\x40" * (MEGABYTES // 3) + END),
        "as many notes as may be, none closed": HEADER + track(b"\x00\x90\x3c\x40" + scale * (MOST // 128) + END),
        "as many tempi as may be": HEADER
        + track(b"\x01\xff\x51\x03\x07\xa1\x20\x01\xff\x51\x03\x07\xa1\x21" * (MOST // 2) + END),
        "as many signatures as may be": HEADER
        + track(b"\x00\x90\x3c\x40" + b"\x01\xff\x58\x04\x01\x06\x18\x08" * MOST + END),
        "sixteen megabytes of one event": HEADER
        + track(b"\x00\xf0" + number(SIXTEEN - 100) + bytes(SIXTEEN - 100) + b"\x00\x90\x3c\x40" + END),
        "100000 tracks": struct.pack(">4sLHHh", b"MThd", 6, 1, 0xFFFF, 480) + track(END) * 100_000,
        "100000 tracks with a note": struct.pack(">4sLHHh", b"MThd", 6, 1, 0xFFFF, 480)
        + track(b"\x00\x90\x3c\x40" + END) * 100_000,
        "a million numbers that never end": HEADER + track(b"\x80" * 1_000_000),
        "sixty bands whose channel is set all the time": HEADER
        + track(b"\x00\xf0\x05\x7e\x7f\x09\x01\xf7" * 900 + set_all_the_time * (MOST // 8) + END)
        + sixty_bands,
        "a million chunks of another kind": HEADER + b"ABCD\x00\x00\x00\x00" * 1_000_000 + track(END),
        "tracks that all claim the whole file": HEADER
        + (b"MTrk\x00\xff\xff\xff" + b"\x00\x90\x3c\x40" + END) * 100_000,
        "a note of a year": HEADER
        + track(b"\x00\x90\x3c\x40" + b"\xff\xff\xff\x7f\xa0\x00\x00" * 500 + b"\x00\x80\x3c\x00" + END),
        "notes in the far future": HEADER + track((b"\xff\xff\xff\x7f\x90\x3c\x40" + b"\x01\x3c\x00") * 8000 + END),
    }


def bit_flips(raw: bytearray, random: np.random.Generator) -> bytearray:
    for place in random.integers(len(raw), size=int(random.integers(1, 30))).tolist():
        raw[place] ^= 1 << int(random.integers(8))
    return raw


def random_bytes(raw: bytearray, random: np.random.Generator) -> bytearray:
    start = int(random.integers(len(raw)))
    content = random.bytes(int(random.integers(1, 200)))
    raw[start : start + len(content)] = content
    return raw


def truncation(raw: bytearray, random: np.random.Generator) -> bytearray:
    return raw[: int(random.integers(len(raw)))]


def removed_bytes(raw: bytearray, random: np.random.Generator) -> bytearray:
    start = int(random.integers(len(raw)))
    del raw[start : start + int(random.integers(1, 60))]
    return raw


def repeated_bytes(raw: bytearray, random: np.random.Generator) -> bytearray:
    start = int(random.integers(len(raw)))
    return raw[:start] + raw[start : start + int(random.integers(1, 400))] * int(random.integers(2, 50)) + raw[start:]


def chunk_length(raw: bytearray, random: np.random.Generator) -> bytearray:
    start = raw.find(b"MTrk", int(random.integers(len(raw)))) % len(raw)
    raw[start + 4 : start + 8] = struct.pack(
        ">L", int(random.choice([0, 1, 0xFFFFFFFF, 0x7FFFFFFF, int(random.integers(1 << 32))]))
    )
    return raw


def header_fields(raw: bytearray, random: np.random.Generator) -> bytearray:
    place = int(random.choice([4, 8, 10, 12]))
    value = int(random.choice([0, 1, 0xFFFF, 0x8000, 0xE728, 0xE700, int(random.integers(1 << 16))]))
    raw[place : place + 2] = struct.pack(">H", value)
    return raw


def long_numbers(raw: bytearray, random: np.random.Generator) -> bytearray:
    """A delta time, or a meta event's length, of many bytes."""
    start = int(random.integers(14, max(len(raw), 15)))
    return raw[:start] + b"\xff" * int(random.integers(1, 12)) + b"\x7f" + raw[start:]


def deep_running_status(raw: bytearray, random: np.random.Generator) -> bytearray:
    events = random.integers(0, 128, size=(int(random.integers(1, 20_000)), 3)).astype(np.uint8).tobytes()
    return bytearray(HEADER + track(b"\x00\x90\x3c\x40" + events + (END if random.random() < 0.8 else b"")))


def odd_events(raw: bytearray, random: np.random.Generator) -> bytearray:
    """Random well-formed events of every status, system ones too."""
    content = bytearray()
    for _ in range(int(random.integers(1, 500))):
        status = int(random.integers(0x80, 0x100))
        content += (
            bytes([int(random.integers(128)), status])
            + random.integers(0, 128, int(random.integers(4))).astype(np.uint8).tobytes()
        )
    return bytearray(HEADER + track(bytes(content)))


def damaged_meta(raw: bytearray, random: np.random.Generator) -> bytearray:
    places = [place for place in range(len(raw) - 3) if raw[place] == 0xFF]
    if places:
        place = places[int(random.integers(len(places)))]
        raw[place + 1 + int(random.integers(2))] = int(random.integers(256))
    return raw


DAMAGES: Sequence = (
    bit_flips, random_bytes, truncation, removed_bytes, repeated_bytes, chunk_length,
    header_fields, long_numbers, deep_running_status, odd_events, damaged_meta,
)  # fmt: skip
