"""Who plays a note, and how long: drum parts and banks, resets, ports, programs that tracks share, ends of all notes,
the sustain pedal. By hand, and against the referee.
"""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizer import mido_reader
from tests.tokenizer.hostile import END, number, track
from tokenizer.music import midi
from tokenizer.music.score import DRUMS


def file(*tracks: bytes, kind: int = 1) -> bytes:
    header = struct.pack(">4sLHHh", b"MThd", 6, kind, len(tracks), 480)
    return header + b"".join(track(content + END) for content in tracks)


def note(channel: int = 0, ticks: int = 16, pitch: int = 60) -> bytes:
    return bytes([0, 0x90 + channel, pitch, 64]) + number(ticks) + bytes([0x80 + channel, pitch, 0])


def exclusive(text: str) -> bytes:
    content = bytes.fromhex(text) + b"\xf7"
    return b"\x00\xf0" + bytes([len(content)]) + content


def control(controller: int, value: int, channel: int = 0, ticks: int = 0) -> bytes:
    return number(ticks) + bytes([0xB0 + channel, controller, value])


def program(value: int, channel: int = 0, ticks: int = 0) -> bytes:
    return number(ticks) + bytes([0xC0 + channel, value])


def port(value: int) -> bytes:
    return bytes([0, 0xFF, 0x21, 1, value])


def sounds(raw: bytes) -> list[int]:
    """Program of each note, or DRUMS, in the order of tracks and of onsets in them."""
    return [track.program for track in midi.parse(raw, "x.mid", "extend").score.tracks for _ in track.notes]


def times(raw: bytes, pedal: str = "extend") -> list[tuple[int, int, int]]:
    """(onset, end, pitch) of each note."""
    score = midi.parse(raw, "x.mid", pedal).score
    found = [note.tolist()[:3] for track in score.tracks for note in track.notes]
    return sorted((onset, onset + duration, pitch) for onset, duration, pitch in found)


def referee(raw: bytes, pedal: bool = True) -> bool:
    """Whether the referee hears the same."""
    score = midi.parse(raw, "x.mid", "extend" if pedal else "ignore").score
    ours = sorted((track.program, *note) for track in score.tracks for note in track.notes.tolist())
    return ours == mido_reader.read(raw, pedal)[0]


GM_ON, GM_OFF, GM2_ON = (exclusive(f"7e 7f 09 0{value}") for value in (1, 2, 3))
GS_RESET = exclusive("41 10 42 12 40 00 7f 00 41")
XG_ON = exclusive("43 10 4c 00 00 7e 00")


def gs_part(block: int, mode: int) -> bytes:
    return exclusive(f"41 10 42 12 40 1{block:x} 15 {mode:02x} 00")


def xg_part(part: int, mode: int) -> bytes:
    return exclusive(f"43 10 4c 08 {part:02x} 07 {mode:02x}")


# ---------------------------------------------------------------- drums


def bank(value: int, channel: int = 0, ticks: int = 0) -> bytes:
    """A bank, and a program of it."""
    return control(0, value, channel, ticks) + program(5, channel)


@pytest.mark.parametrize(
    ("said", "channel", "sound"),
    [
        (program(7, 9), 9, DRUMS),
        (gs_part(0, 0), 9, 0),
        (gs_part(0, 0) + program(7, 9), 9, 7),
        (gs_part(0xB, 1), 11, DRUMS),
        (gs_part(0xB, 2) + program(7, 11), 11, DRUMS),
        (gs_part(1, 1), 0, DRUMS),
        (gs_part(9, 1), 8, DRUMS),
        (gs_part(0xA, 1), 10, DRUMS),
        (gs_part(0xB, 1) + gs_part(0xB, 0), 11, 0),
        (gs_part(0xB, 1) + GS_RESET, 11, 0),
        (gs_part(0xB, 1) + GM_ON, 11, 0),
        (GS_RESET + gs_part(0xB, 1), 11, DRUMS),
        (gs_part(0, 0) + XG_ON, 9, DRUMS),
        (bank(127, 11) + gs_part(0xB, 0), 11, 5),
        (xg_part(4, 2), 4, DRUMS),
        (xg_part(9, 0) + program(3, 9), 9, 3),
        (xg_part(4, 2) + XG_ON + program(3, 4), 4, 3),
        (bank(127), 0, DRUMS),
        (bank(120), 0, DRUMS),
        (bank(126), 0, 5),
        (bank(8), 0, 5),
        (GM_ON + bank(127), 0, DRUMS),
        (XG_ON + bank(127), 0, DRUMS),
        (XG_ON + bank(126), 0, DRUMS),
        (XG_ON + bank(120), 0, 5),
        (XG_ON + bank(127) + bank(0), 0, 5),
        (XG_ON + bank(0, 9), 9, DRUMS),
        (GS_RESET + bank(127), 0, 5),
        (GS_RESET + bank(120), 0, 5),
        (GS_RESET + GM_OFF + bank(127), 0, DRUMS),
        (GM2_ON + bank(120), 0, DRUMS),
        (GM2_ON + bank(121, 9), 9, 5),
        (bank(121, 9), 9, DRUMS),
        (bank(127) + GM_ON, 0, 0),
        (control(0, 127), 0, 0),  # a bank alone changes nothing
        (program(5) + control(0, 127), 0, 5),
        (control(0, 127) + XG_ON + program(5), 0, 5),
        (program(30) + XG_ON, 0, 0),
        (b"\x00\xf0\x06\x41\x10\x42\x12\x40\x1b\x00\xf7\x04\x15\x01\x0f\xf7", 11, DRUMS),  # sent in two parts
        (b"\x00\xf7\x0b\xf0" + bytes.fromhex("41 10 42 12 40 1b 15 01 0f f7"), 11, DRUMS),
    ],
)
def test_who_is_a_drummer(said, channel, sound):
    assert sounds(file(said + note(channel))) == [sound]
    assert sounds(file(said, note(channel))) == [sound]  # said in a track without notes


def test_a_part_mode_counts_from_its_time_on_in_all_tracks():
    raw = file(number(100) + gs_part(0xB, 1)[1:] + number(100) + GS_RESET[1:], note(11, 100) * 3, note(11, 200) * 2)
    assert sounds(raw) == [0, 0, DRUMS, 0, 0]
    assert times(raw)[0] == (0, 100, 60) and referee(raw)


def test_a_reset_comes_before_what_other_tracks_say_at_its_tick_and_after_what_its_own_has_said():
    assert sounds(file(program(5) + note(), GM_ON)) == [5]
    assert sounds(file(gs_part(0xB, 1), note(11), GM_ON)) == [DRUMS]
    assert sounds(file(gs_part(0xB, 1) + GM_ON, note(11))) == [0]


def test_a_message_counts_once_though_more_bytes_follow_it():
    raw = file(gs_part(0xB, 1) + number(200) + b"\xf7\x01\xf6" + note(11), number(100) + gs_part(0xB, 0)[1:])
    assert sounds(raw) == [0]


# ---------------------------------------------------------------- ports


def test_each_port_has_channels_of_its_own():
    raw = file(port(0) + program(40, 2) + note(2), port(1) + note(2), port(0) + note(2))
    assert sounds(raw) == [40, 0, 40] and referee(raw)
    drums = file(port(1) + gs_part(3, 1) + note(2), port(0) + note(2), port(1) + note(9))
    assert sounds(drums) == [DRUMS, 0, DRUMS] and referee(drums)
    reset = file(port(0) + program(40, 2) + port(1) + XG_ON, port(0) + note(2))
    assert sounds(reset) == [40] and referee(reset)


def test_what_a_track_says_before_it_names_its_port_is_of_that_port():
    """As MuseScore writes it."""
    raw = file(program(40) + note(), program(41) + port(1) + note(), program(42) + port(2) + note())
    assert sounds(raw) == [40, 41, 42] and referee(raw)
    assert sounds(file(program(40) + note() + port(1) + note())) == [40, 0]


# ---------------------------------------------------------------- programs that tracks share


@pytest.mark.parametrize(
    ("tracks", "expected"),
    [
        # Said by a track without notes, before or behind in the file.
        ([program(5), note() * 2], [5, 5]),
        ([note() * 2, program(5)], [5, 5]),
        ([note() * 2, program(5, ticks=16)], [0, 5]),
        # It counts beside the track's own, later in time; at one tick the own counts.
        ([program(7) + note() * 2, program(5, ticks=16)], [7, 5]),
        ([program(7) + note() * 2, program(5)], [7, 7]),
        ([program(5), program(7) + note() * 2], [7, 7]),
        ([note() + program(7) + note(), program(5)], [5, 7]),
        ([program(7) + note() * 2 + program(8) + note(), program(5, ticks=16)], [7, 5, 8]),
        # Said by a track that has notes there: for tracks that say none themselves.
        ([program(5) + note(), note()], [5, 5]),
        ([program(5) + note(), program(7) + note()], [5, 7]),
        ([note() + program(5) + note(), note() * 2], [0, 5, 0, 5]),
        ([program(7) + note() * 2, note() + program(5) + note()], [7, 7, 7, 5]),
        ([program(9), program(5, ticks=16) + note(), note() * 2], [5, 9, 5]),
        # On another channel: nothing.
        ([program(5, 1) + note(1), note()], [5, 0]),
        # Drums stay drums.
        ([program(5, 9), note(9)], [DRUMS]),
        # A note at the tick of its own track's change, but before it in the file.
        ([program(3) + note(ticks=0) + program(4) + note()], [3, 4]),
        # After a reset all begin anew.
        ([program(7) + note() * 2, number(16) + GM_ON[1:] + program(5)], [7, 5]),
        ([program(7) + note() * 2, number(16) + GM_ON[1:]], [7, 0]),
    ],
)
def test_a_note_has_its_tracks_program_or_what_the_channel_was_told(tracks, expected):
    raw = file(*tracks)
    assert sounds(raw) == expected
    assert referee(raw)


# ---------------------------------------------------------------- ends of all notes


@pytest.mark.parametrize("controller", [120, 123, 124, 125, 126, 127])
def test_notes_that_hang_end_where_all_notes_of_the_channel_end(controller):
    hanging = b"\x00\x90\x3c\x40\x00\x91\x3e\x40"
    own = file(hanging + control(controller, 0, ticks=50) + number(150) + note(ticks=30)[1:])
    other = file(hanging + number(200) + note(ticks=30)[1:], control(controller, 0, ticks=50))
    for raw in (own, other):
        assert times(raw) == [(0, 50, 60), (0, 230, 62), (200, 230, 60)]
        assert referee(raw)
    elsewhere = file(port(1) + b"\x00\x90\x3c\x40" + number(200) + b"\x80\x30\x00", control(controller, 0, ticks=50))
    assert times(elsewhere) == [(0, 200, 60)]


def test_at_the_tick_where_a_note_begins_nothing_ends_it_and_a_later_release_means_nothing():
    raw = file(b"\x00\x90\x3c\x40" + control(123, 0) + number(20) + b"\x80\x3c\x00", control(123, 0))
    assert times(raw) == [(0, 20, 60)] and referee(raw)
    late = file(b"\x00\x90\x3c\x40" + control(123, 0, ticks=10) + number(10) + b"\x80\x3c\x00" + note())
    assert times(late) == [(0, 10, 60), (20, 36, 60)] and referee(late)


def test_releases_without_a_note_close_none_that_begins_later():
    stray = b"\x00\x80\x3c\x00\x00\x80\x3d\x00"
    raw = file(note(pitch=59) + stray + stray + note() + note(pitch=61) + number(50) + b"\x80\x3c\x00")
    assert times(raw) == [(0, 16, 59), (16, 32, 60), (32, 48, 61)] and referee(raw)


# ---------------------------------------------------------------- the pedal

DOWN, UP = control(64, 64), control(64, 63)


def up(ticks: int) -> bytes:
    return control(64, 0, ticks=ticks)


@pytest.mark.parametrize(
    ("tracks", "expected"),
    [
        ([DOWN + note() + up(84)], [(0, 100, 60)]),
        ([DOWN + UP + note() + up(84)], [(0, 16, 60)]),  # lifted before
        ([note() + DOWN + up(84)], [(0, 16, 60)]),  # down at the very end of the note
        (
            [b"\x00\x90\x3c\x40" + control(64, 127, ticks=16) + b"\x00" + note()[-3:] + up(84)],
            [(0, 100, 60)],
        ),  # just before it
        ([control(64, 127, ticks=16), note() + up(84)], [(0, 100, 60)]),  # by an earlier track
        ([note() + up(84), control(64, 127, ticks=16)], [(0, 16, 60)]),  # by a later one
        ([note(), DOWN + up(16)], [(0, 16, 60)]),  # up there
        ([note(), control(64, 127, ticks=8) + up(92)], [(0, 100, 60)]),  # down while it sounds, in another track
        ([DOWN + note() + note() + up(84)], [(0, 16, 60), (16, 116, 60)]),  # struck again
        ([DOWN + note(), number(50) + note()[1:], up(100)], [(0, 50, 60), (50, 100, 60)]),  # by another track
        ([DOWN + note() + note(pitch=62) + up(68)], [(0, 100, 60), (16, 100, 62)]),
        ([DOWN + note() + control(120, 0, ticks=24) + up(60)], [(0, 40, 60)]),  # all sound off
        ([DOWN + b"\x00\x90\x3c\x40" + control(123, 0, ticks=24) + up(60)], [(0, 84, 60)]),  # all notes off
        ([DOWN + note() + control(121, 0, ticks=24) + up(60)], [(0, 40, 60)]),  # all controllers reset
        ([DOWN + note() + number(24) + GM_ON[1:]], [(0, 40, 60)]),
        ([DOWN + note() + number(500) + b"\xb0\x07\x64"], [(0, 516, 60)]),  # never lifted
        ([DOWN + note() + DOWN + up(84)], [(0, 100, 60)]),  # down twice
        ([DOWN + note() + up(4) + DOWN + note() + up(84)], [(0, 20, 60), (20, 120, 60)]),  # changed at a tick
        ([DOWN + note(1) + up(84)], [(0, 16, 60)]),  # of another channel
        ([control(64, 127, 9) + note(9) + number(100) + b"\xb9\x40\x00"], [(0, 16, 60)]),  # drums
    ],
)
def test_notes_ring_under_the_pedal(tracks, expected):
    raw = file(*tracks)
    assert times(raw) == expected
    assert referee(raw) and referee(raw, pedal=False)


def test_it_is_told_how_many_notes_the_pedal_made_longer_and_it_may_be_ignored():
    raw = file(DOWN + note() + note() + up(84) + note())
    assert midi.parse(raw, "x.mid", "extend").pedalled == 1
    assert midi.parse(raw, "x.mid", "ignore").pedalled == 0
    assert times(raw, "ignore") == [(0, 16, 60), (16, 32, 60), (116, 132, 60)]


# ---------------------------------------------------------------- all together

SAID = st.one_of(
    st.builds(program, st.integers(0, 3), st.sampled_from((0, 9, 11))),
    st.builds(bank, st.sampled_from((0, 120, 121, 126, 127)), st.sampled_from((0, 9, 11))),
    st.builds(
        control, st.sampled_from((64, 64, 64, 120, 121, 123)), st.sampled_from((0, 127)), st.sampled_from((0, 11))
    ),
    st.builds(gs_part, st.sampled_from((0, 1, 0xB)), st.integers(0, 1)),
    st.sampled_from((GM_ON, GS_RESET, XG_ON, GM2_ON)),
    st.builds(port, st.integers(0, 1)),
)
STRUCK = st.builds(
    lambda on, channel, pitch: bytes([0, (0x90 if on else 0x80) + channel, pitch, 64]),
    st.booleans(), st.sampled_from((0, 0, 9, 11)), st.integers(60, 61),
)  # fmt: skip


def at(ticks: int, said: bytes) -> bytes:
    """Events that begin at their tick 0, so many ticks later."""
    return b"%c\xff\x01\x00" % ticks + said


@settings(max_examples=150)
@given(
    st.lists(st.lists(st.builds(at, st.sampled_from((0, 0, 5, 9)), SAID | STRUCK | STRUCK), max_size=25), max_size=4)
)
def test_whatever_is_said_the_referee_hears_the_same(tracks):
    raw = file(*(b"".join(said) for said in tracks), note())
    assert referee(raw) and referee(raw, pedal=False)
