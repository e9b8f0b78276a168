"""Where the header and the tracks of a MIDI file lie, in files too that say it wrongly.

A chunk is four letters, its length in four bytes, and its content. Players trust neither lengths nor counts: a track
ends at its end-of-track event, and the next one begins where "MTrk" stands.
"""

import struct
from dataclasses import dataclass

HEADER, TRACK = b"MThd", b"MTrk"
LENGTH = b"\0\0\0\6"  # of a header
JUNK = 1024  # bytes in which the header must begin: MacBinary puts 128 before it, RIFF 20
MOST_FOREIGN = 100  # chunks of unknown kinds between two tracks


class MidiDamage(Exception):
    """Bytes that are no MIDI file, with the reason."""


@dataclass(frozen=True)
class Header:
    """kind: MIDI type 0, 1 or 2. tracks: how many it counts. start: where the first chunk is expected, in bytes."""

    kind: int
    tracks: int
    division: int
    start: int


@dataclass(frozen=True)
class Chunk:
    """A track. begin: of its content, in bytes. declared_end: where its length puts its end, in the file or beyond.
    end: where to stop at the latest if no end-of-track event comes before. follows: where the next track begins if
    the length is right (the file's length if none does), None if it is wrong.
    """

    begin: int
    declared_end: int
    end: int
    follows: int | None


def header(raw: bytes, repairs: list[str]) -> Header:
    """Adds to `repairs` what was wrong with it. Raises MidiDamage."""
    place = _header_place(raw)
    if len(raw) < place + 14:
        raise MidiDamage("the file ends in its header (truncated)")
    length, kind, tracks, division = struct.unpack(">LHHh", raw[place + 4 : place + 14])
    if place and raw[:4] != b"RIFF":  # which is a legal wrapper
        repairs.append(f"skipped {count(place, 'byte')} before the header")
    start = place + 8 + length
    if length < 6 or (length > 6 and raw[start : start + 4] != TRACK):
        repairs.append(f"the header says it is {count(length, 'byte')} long; 6 are read")
        start = place + 14
    if kind > 2:
        repairs.append(f"MIDI type {kind} does not exist; read as type 1")
        kind = 1
    return Header(kind, tracks, division, start)


def _header_place(raw: bytes) -> int:
    """The first that says its length rightly, else the first: junk may name it too. Raises MidiDamage."""
    is_riff = raw[:4] == b"RIFF" and raw[8:12] == b"RMID"  # whose other chunks may be of any length
    window = raw if is_riff else raw[: JUNK + len(HEADER) + 4]
    place = window.find(HEADER + LENGTH)
    place = window.find(HEADER) if place < 0 else place
    if place < 0:
        raise MidiDamage("not a MIDI file (MThd is not in its first kilobyte)")
    return place


def track_at(raw: bytes, place: int) -> Chunk:
    """Of the chunk that begins there, which is a track."""
    begin = min(place + 8, len(raw))
    declared_end = begin + int.from_bytes(raw[place + 4 : place + 8], "big")
    follows = _after_foreign(raw, declared_end)
    return Chunk(begin, declared_end, declared_end if follows is not None else _found(raw, begin), follows)


def next_track(raw: bytes, place: int) -> tuple[int, str | None]:
    """Where the next track of this song begins, chunks of other kinds skipped, the file's length if none does; and what
    else was skipped, in words.
    """
    follows = _after_foreign(raw, place)
    if follows is not None:
        return follows, None
    found = _found(raw, place)
    if raw[found : found + 4] == HEADER:
        return len(raw), "left out another song behind the first"
    if found < len(raw):
        return found, f"skipped {count(found - place, 'byte')} before a track"
    return found, None if raw[:4] == b"RIFF" else f"left out {count(found - place, 'byte')} behind the last track"


def count_repair(counted: int, found: int) -> str | None:
    """What is wrong with the header's count of tracks, None where nothing is."""
    if counted == found:
        return None
    return f"header counts {count(counted, 'track')}, {found} {'is' if found == 1 else 'are'} there"


def _after_foreign(raw: bytes, place: int) -> int | None:
    """Where a track begins or the file ends, after any chunks of other kinds; None where there is something else."""
    for _ in range(MOST_FOREIGN):
        if place == len(raw):
            return place
        kind = raw[place : place + 4]
        if kind == TRACK:
            return place
        if place + 8 > len(raw) or kind == HEADER or not kind.isalnum():
            return None
        place += 8 + int.from_bytes(raw[place + 4 : place + 8], "big")
    return None


def _found(raw: bytes, place: int) -> int:
    """Where the next track stands, or another song, or the file ends."""
    following = raw.find(TRACK, place)
    following = len(raw) if following < 0 else following
    another = raw.find(HEADER, place, following)
    return following if another < 0 else another


def count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
