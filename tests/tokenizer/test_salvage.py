"""Damaged files are read as far as players read them, and each repair is told."""

import struct
from pathlib import Path

import pytest

from tests import ROOT
from tests.tokenizer.hostile import END, HEADER, track
from tokenizer.music import midi

NOTE, NEXT = b"\x00\x90\x3c\x40\x10\x80\x3c\x00", b"\x00\x90\x40\x40\x10\x80\x40\x00"
WHOLE = track(NOTE + NEXT + END)
CASES = ROOT.parent / "shared" / "cases"


def header(tracks: int, kind: int = 1, length: int = 6) -> bytes:
    return struct.pack(">4sLHHh", b"MThd", length, kind, tracks, 480)


def chunk(content: bytes, length: int) -> bytes:
    """A track that says it is so long."""
    return b"MTrk" + struct.pack(">L", length) + content


def pitches(raw: bytes) -> tuple[list[list[int]], list[str]]:
    """Of each track of the score; and the repairs."""
    reading = midi.parse(raw, "x.mid", "extend")
    return [track.notes["pitch"].tolist() for track in reading.score.tracks], list(reading.repairs)


BOTH = [60, 64]
CUT = "track 1 is cut off at tick 16; it is read as far as it goes"
SALVAGED = {
    "junk before the header": (bytes(128) + HEADER + WHOLE, [BOTH], "skipped 128 bytes before the header"),
    "the most junk": (bytes(1024) + HEADER + WHOLE, [BOTH], "skipped 1024 bytes before the header"),
    "junk that names a header": (
        b"a file of kind MThd\r\n" + HEADER + WHOLE,
        [BOTH],
        "skipped 21 bytes before the header",
    ),
    "bytes behind the last track": (HEADER + WHOLE + bytes(5), [BOTH], "left out 5 bytes behind the last track"),
    "type 0 of two tracks": (
        header(2, 0) + WHOLE * 2,
        [BOTH] * 2,
        "MIDI type 0 has one track, 2 are there; all are read",
    ),
    "an impossible tempo, two impossible meters": (
        HEADER + track(b"\0\xff\x51\3\0\0\0\0\xff\x58\4\0\2\x18\x08" + b"\0\xff\x58\4\4\x09\x18\x08" + NOTE + END),
        [[60]],
        "impossible tempi or meters, ignored: 3",
    ),
    "a short header": (header(1, length=5) + WHOLE, [BOTH], "the header says it is 5 bytes long; 6 are read"),
    "a long header": (
        header(1, length=9999) + WHOLE,
        [BOTH],
        "the header says it is 9999 bytes long; 6 are read",
    ),
    "type 3": (header(1, 3) + WHOLE, [BOTH], "MIDI type 3 does not exist; read as type 1"),
    "too many tracks counted": (header(3) + WHOLE, [BOTH], "header counts 3 tracks, 1 is there"),
    "too few tracks counted": (header(1) + WHOLE * 3, [BOTH] * 3, "header counts 1 track, 3 are there"),
    "a foreign chunk counted": (
        header(2) + b"XFIH\0\0\0\2ab" + WHOLE,
        [BOTH],
        "header counts 2 tracks, 1 is there",
    ),
    "a byte behind the end": (HEADER + track(NOTE + END + b"\0"), [[60]], "left out 1 byte behind the end of track 1"),
    "a note behind the end": (HEADER + track(NOTE + END + NEXT), [[60]], "left out 8 bytes behind the end of track 1"),
    "a length too large": (HEADER + chunk(NOTE + END, 99), [[60]], "track 1 is 12 bytes long, not 99 as it says"),
    "a length too small": (HEADER + chunk(NOTE + END, 5), [[60]], "track 1 is 12 bytes long, not 5 as it says"),
    "no length": (HEADER + chunk(NOTE + END, 0), [[60]], "track 1 is 12 bytes long, not 0 as it says"),
    "a length past a next track": (
        header(2) + chunk(NOTE + END, 12 + len(WHOLE)) + WHOLE,
        [[60], BOTH],
        f"track 1 is 12 bytes long, not {12 + len(WHOLE)} as it says",
    ),
    "a length past one of two next tracks": (
        header(3) + chunk(NOTE + END, 12 + len(WHOLE)) + WHOLE + WHOLE,
        [[60], BOTH, BOTH],
        f"track 1 is 12 bytes long, not {12 + len(WHOLE)} as it says",
    ),
    "bytes before a next track that a length takes in": (
        header(2) + chunk(NOTE + END + b"ab" + WHOLE, 14 + len(WHOLE)),
        [[60], BOTH],
        f"track 1 is 12 bytes long, not {14 + len(WHOLE)} as it says, skipped 2 bytes before a track",
    ),
    "bytes between tracks": (
        header(2) + WHOLE + b"\0\0\0\0\0\0\0%c" % len(WHOLE) + WHOLE,
        [BOTH, BOTH],
        "skipped 8 bytes before a track",
    ),
    "bytes before the first track": (HEADER + b"\0\0" + WHOLE, [BOTH], "skipped 2 bytes before a track"),
    "another song": (HEADER + WHOLE + HEADER + WHOLE, [BOTH], "left out another song behind the first"),
    "a length into a next track": (
        header(2) + chunk(NOTE + END, 15) + WHOLE,
        [[60], BOTH],
        "track 1 is 12 bytes long, not 15 as it says",
    ),
    "no end": (HEADER + track(NOTE), [[60]], "track 1 has no end-of-track event"),
    "no end, a length too large, a next track": (
        header(2) + chunk(NOTE, 99) + WHOLE,
        [[60], BOTH],
        "track 1 has no end-of-track event",
    ),
    "cut in a note": (HEADER + chunk(NOTE + NEXT[:2], 20), [[60]], CUT),
    "cut in a meta event": (HEADER + track(NOTE + b"\x00\xff\x01\x7fabc"), [[60]], CUT),
    "cut before a next track": (header(2) + track(NOTE + b"\x00\x90") + WHOLE, [[60], BOTH], CUT),
    "a status byte that does not exist": (
        header(2) + track(NOTE + b"\x00\xf5" + NEXT + END) + WHOLE,
        [[60], BOTH],
        "track 1 cannot be read after tick 16 (a status byte 0xf5); what follows is left out",
    ),
    "a time beyond all songs": (
        HEADER + track(NOTE + b"\x9f\xff\xff\xff\x7f" + NEXT + END),
        [[60]],
        "track 1 cannot be read after tick 16 (a time of more than four bytes); what follows is left out",
    ),
    "a controller above 127": (
        HEADER + track(b"\x00\xb0\x87\xff\x00\xb0\x07\xff" + NOTE + END),
        [[60]],
        "clipped 3 data bytes in track 1",
    ),
    "a program above 127": (
        HEADER + track(b"\x00\xc0\xff" + NOTE + END),
        [[60]],
        "clipped 1 data byte in track 1",
    ),
    "a time before the last event": (
        HEADER + track(NOTE + b"\x8f\xff\xff\xff\x70" + NEXT[1:] + END),
        [[60]],
        "track 1 cannot be read after tick 16 (a time of more than four bytes); what follows is left out",
    ),
    "a pitch and a velocity above 127": (
        HEADER + track(b"\x00\x90\x90\xc8\x10\x80\x90\x00" + END),
        [[127]],
        "clipped 3 data bytes in track 1",
    ),
    "a beginning before the song": (
        HEADER + track(b"\x8f\xff\xff\xff\x70" + NOTE[1:4] + b"\x20" + NOTE[5:] + END),  # 16 ticks before it
        [[60]],
        "track 1 begins 16 ticks before the song; what is there is put at its beginning",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", SALVAGED)
def test_what_is_whole_is_read_and_the_repair_told(kind):
    raw, notes, repair = SALVAGED[kind]
    found, repairs = pitches(raw)
    assert (found, ", ".join(repairs)) == (notes, repair)


@pytest.mark.parametrize(
    "raw",
    [
        HEADER + WHOLE,
        b"RIFF\x50\0\0\0RMIDdata" + struct.pack("<L", 14 + len(WHOLE)) + HEADER + WHOLE + b"LIST\2\0\0\0ab",
        b"RIFF\x60\x08\0\0RMIDDISP\xd0\7\0\0" + bytes(2000) + b"data\xff\0\0\0" + HEADER + WHOLE,
        header(1) + b"XFIH\0\0\0\2ab" + b"XFKM\0\0\0\0" + WHOLE,
        header(1, length=8)[:14] + b"ab" + WHOLE,
        header(1) + WHOLE + b"XFIH\0\0\0\2ab",
        HEADER + track(b"\x80\x80\x80\x80\x00" + NOTE[1:] + NEXT + END),  # zero in five bytes
    ],
    ids=["whole", "RIFF", "a long RIFF", "foreign chunks", "a longer header", "a chunk behind", "a long zero"],
)  # fmt: skip
def test_what_is_legal_or_harmless_is_no_repair(raw):
    assert pitches(raw) == ([BOTH], [])


def test_every_repair_is_told_and_of_very_many_how_many_more():
    raw = bytes(7) + header(99) + track(b"\x00\xb0\x07\xff" + NOTE + END + b"ab") * 25
    _, repairs = pitches(raw)
    assert repairs[:4] == [
        "skipped 7 bytes before the header",
        "header counts 99 tracks, 25 are there",
        "clipped 1 data byte in track 1",
        "left out 2 bytes behind the end of track 1",
    ]
    assert len(repairs) == midi.MOST_REPAIRS + 1 and repairs[-1] == f"and {52 - midi.MOST_REPAIRS} more"


@pytest.mark.parametrize(
    ("kind", "tracks"),
    [
        ("cut in a note", 1),
        ("cut before a next track", 1),
        ("a status byte that does not exist", 1),
        ("no end", 0),
        ("a length too large", 0),
        ("bytes behind the last track", 0),
    ],
)
def test_it_is_known_of_how_many_tracks_the_rest_is_lost(kind, tracks):
    assert midi.parse(SALVAGED[kind][0], "x.mid", "extend").partly_read == tracks


def test_a_track_cut_off_between_two_events_has_lost_its_rest():
    assert midi.parse(HEADER + chunk(NOTE, 99), "x.mid", "extend").partly_read == 1


def test_a_cut_note_sounds_to_where_its_track_was_read():
    reading = midi.parse(HEADER + track(b"\x00\x90\x3c\x40\x10\x90\x3e\x40\x10\x80\x3e"), "x.mid", "extend")
    assert [note.item()[:3] for note in reading.score.tracks[0].notes] == [(0, 16, 60), (16, 0, 62)]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (bytes(2000) + HEADER + WHOLE, "not a MIDI file"),
        (HEADER[:12], "truncated"),
        (header(0), "no track is in it"),
        (HEADER, "it ends before its first track"),
        (HEADER + b"XFIH\0\0\0\2ab", "it ends before its first track"),
        (struct.pack(">4sLHHh", b"MThd", 6, 1, 1, 0) + WHOLE, "division 0"),
        (HEADER + track(b"\x00\x3c\x40"), "no note can be read: track 1 cannot be read after tick 0"),
        (HEADER + track(END + NOTE), "no note can be read: left out 8 bytes"),
        (b"PK\3\4" + HEADER + WHOLE, "archive"),
    ],
)
def test_what_is_no_music_is_refused_in_a_line(raw, reason):
    with pytest.raises(midi.MidiError, match=rf"^x\.mid: .*{reason}.*$"):
        midi.parse(raw, "x.mid", "extend")


@pytest.mark.skipif(not CASES.is_dir(), reason="the small cases are not here")
@pytest.mark.parametrize(
    ("case", "notes", "repairs"),
    [("01", 16, 1), ("03b", 16, 1), ("04", 16, 1), ("05", 16, 1), ("06_", 16, 1), ("06b", 16, 1), ("07", 16, 1),
     ("08", 16, 1), ("09", 17, 1), ("10", 16, 1), ("45", 16, 0)],
)  # fmt: skip
def test_the_small_cases_are_read(case, notes, repairs):
    [path] = Path(CASES).glob(f"{case}*")
    reading = midi.read_told(path, "extend")
    assert (sum(len(track.notes) for track in reading.score.tracks), len(reading.repairs)) == (notes, repairs)
