"""Reading what MIDI files mean, odd ones too, and writing what reads back the same."""

import re
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scores import score_of, writable
from tokenizer.disk.atomic import WriteError
from tokenizer.music import midi
from tokenizer.music.score import DRUMS, NOTE, Score, Signature, Tempo, Track

END = b"\x00\xff\x2f\x00"


def file(tmp_path, *tracks: bytes, kind: int = 1, division: int = 480):
    """A MIDI file of raw tracks."""
    path = tmp_path / "song.mid"
    chunks = b"".join(b"MTrk" + struct.pack(">L", len(track)) + track for track in tracks)
    path.write_bytes(b"MThd" + struct.pack(">Lhhh", 6, kind, len(tracks), division) + chunks)
    return path


def notes(track: Track) -> list[tuple]:
    return [tuple(note) for note in track.notes.tolist()]


def parts(score: Score) -> list[tuple[int, list[tuple]]]:
    return [(track.program, notes(track)) for track in score.tracks]


# ---------------------------------------------------------------- what files mean


def test_running_status_and_velocity_zero_as_note_off(tmp_path):
    path = file(tmp_path, b"\x00\x90\x3c\x40" + b"\x60\x3c\x00" + b"\x00\x3e\x40" + b"\x60\x3e\x00" + END)
    assert parts(midi.read(path)) == [(0, [(0, 96, 60, 64), (96, 96, 62, 64)])]


def test_notes_of_one_pitch_close_in_the_order_they_opened(tmp_path):
    path = file(tmp_path, b"\x00\x90\x3c\x40" + b"\x10\x90\x3c\x50" + b"\x10\x80\x3c\x00" + b"\x10\x80\x3c\x00" + END)
    assert parts(midi.read(path)) == [(0, [(0, 32, 60, 64), (16, 32, 60, 80)])]


def test_a_note_never_closed_ends_with_its_track_and_a_stray_note_off_means_nothing(tmp_path):
    path = file(tmp_path, b"\x00\x80\x3c\x00" + b"\x00\x90\x3e\x40" + b"\x40\xff\x2f\x00")
    assert parts(midi.read(path)) == [(0, [(0, 64, 62, 64)])]


def test_a_program_change_inside_a_track_splits_it(tmp_path):
    path = file(
        tmp_path,
        b"\x00\xc0\x05"
        + b"\x00\x90\x3c\x40\x10\x80\x3c\x00"
        + b"\x00\xc0\x07"
        + b"\x00\x90\x3e\x40\x10\x80\x3e\x00"
        + END,
    )
    assert parts(midi.read(path)) == [(5, [(0, 16, 60, 64)]), (7, [(16, 16, 62, 64)])]


def test_a_type_0_file_is_split_by_channel_and_channel_10_is_drums(tmp_path):
    programs = b"".join(bytes((0, 0xC0 + channel, 20 + channel)) for channel in range(16))
    sounds = b"".join(bytes((0, 0x90 + channel, 60, 64, 0x10, 0x80 + channel, 60, 0)) for channel in range(16))
    score = midi.read(file(tmp_path, programs + sounds + END, kind=0))
    assert parts(score) == [(DRUMS if c == 9 else 20 + c, [(16 * c, 16, 60, 64)]) for c in range(16)]


def test_programs_set_by_another_track_count_where_a_track_sets_none(tmp_path):
    setup = b"\x00\xc0\x2a" + b"\x00\xc1\x2b" + b"\x20\xc1\x2c" + END  # channel 2 changes at tick 32
    first = b"\x00\x90\x3c\x40\x10\x80\x3c\x00" + END
    second = b"\x00\x91\x3e\x40\x10\x81\x3e\x00" + b"\x10\x91\x3e\x40\x10\x81\x3e\x00" + END
    expected = [(42, [(0, 16, 60, 64)]), (43, [(0, 16, 62, 64)]), (44, [(32, 16, 62, 64)])]
    assert parts(midi.read(file(tmp_path, setup, first, second))) == expected
    assert parts(midi.read(file(tmp_path, setup, b"\x00\xc0\x07" + first, second))) == [
        (7, expected[0][1]),
        *expected[1:],
    ]


def test_a_track_without_an_end_event_ends_with_its_last_event(tmp_path):
    path = file(tmp_path, b"\x00\x90\x3c\x40" + b"\x20\x90\x3e\x40" + b"\x10\x80\x3e\x00")
    assert parts(midi.read(path)) == [(0, [(0, 48, 60, 64), (32, 16, 62, 64)])]


def test_the_patterns_of_a_type_2_file_follow_one_another(tmp_path):
    track = b"\x00\x90\x3c\x40\x40\x80\x3c\x00" + END
    score = midi.read(file(tmp_path, track, track, kind=2))
    assert parts(score) == [(0, [(0, 64, 60, 64)]), (0, [(64, 64, 60, 64)])]


@pytest.mark.parametrize(("frames", "per_second"), [(24, 24), (25, 25), (29, 30000 / 1001), (30, 30)])
def test_smpte_time_keeps_its_seconds(tmp_path, frames, per_second):
    division = struct.unpack(">h", struct.pack(">bB", -frames, 40))[0]
    path = file(tmp_path, b"\x00\x90\x3c\x40" + b"\x81\x00\x80\x3c\x00" + END, division=division)  # 128 ticks
    score = midi.read(path)
    seconds = notes(score.tracks[0])[0][1] / score.ticks_per_beat * score.tempos[0].microseconds_per_beat / 1e6
    assert seconds == pytest.approx(128 / 40 / per_second, rel=1e-12)


def test_tempo_and_signature_maps_come_whole_and_impossible_entries_are_ignored(tmp_path):
    tempo = lambda us: b"\xff\x51\x03" + us.to_bytes(3, "big")
    signature = lambda n, d: b"\xff\x58\x04" + bytes((n, d, 24, 8))
    one = b"\x00" + tempo(400_000) + b"\x40" + tempo(600_000) + b"\x10" + tempo(0) + END
    other = b"\x00" + signature(3, 2) + b"\x40" + signature(0, 2) + b"\x40" + signature(7, 3) + END
    score = midi.read(file(tmp_path, one, other))
    assert score.tempos == (Tempo(0, 400_000), Tempo(64, 600_000))
    assert score.signatures == (Signature(0, 3, 4), Signature(128, 7, 8))
    empty = midi.read(file(tmp_path, END))
    assert empty == Score(480, (), (Tempo(0, 500_000),), (Signature(0, 4, 4),))


def test_a_song_is_not_lost_for_an_odd_key_signature_or_a_riff_wrapper(tmp_path):
    note = b"\x00\x90\x3c\x40\x10\x80\x3c\x00" + END
    path = file(tmp_path, b"\x00\xff\x59\x02\x63\x63" + note)
    expected = parts(midi.read(path))
    assert expected == [(0, [(0, 16, 60, 64)])]
    content = path.read_bytes()
    path.write_bytes(
        b"RIFF" + struct.pack("<L", len(content) + 12) + b"RMIDdata" + struct.pack("<L", len(content)) + content
    )
    assert parts(midi.read(path)) == expected


def test_notes_whose_bytes_look_like_a_key_signature_are_notes(tmp_path):
    """16345 ticks (ff 59) before a note of pitch 2 under running status."""
    path = file(tmp_path, b"\x00\x90\x3c\x40" + b"\xff\x59\x02\x40" + b"\x10\x02\x00" + b"\x00\x3c\x00" + END)
    assert parts(midi.read(path)) == [(0, [(0, 16361, 60, 64), (16345, 16, 2, 64)])]


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"hello", "not a MIDI file"),
        (b"MThd", "truncated"),
        (
            b"MThd" + struct.pack(">Lhhh", 6, 1, 1, 480) + b"MTrk" + struct.pack(">L", 99) + b"\x00\x90",
            "no note can be read: track 1 is cut off",
        ),
        (b"MThd" + struct.pack(">Lhhh", 6, 1, 1, 480) + b"Mxxx" + struct.pack(">L", 0), "truncated"),
        (
            b"MThd" + struct.pack(">Lhhh", 6, 1, 1, 480) + b"MTrk" + struct.pack(">L", 8) + b"\x00\x3c\x40\x00" + END,
            r"no note can be read: track 1 cannot be read after tick 0 \(an event without status\)",
        ),
        (b"MThd" + struct.pack(">Lhhh", 6, 1, 0, 480), "no track"),
        (b"MThd" + struct.pack(">Lhhh", 6, 1, 0, 0), "division 0"),
        (b"MThd" + struct.pack(">Lhhh", 6, 1, 0, -1), "division -1"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "bad.mid"
    path.write_bytes(content)
    with pytest.raises(midi.MidiError, match=rf"bad\.mid.*{reason}"):
        midi.read(path)


def test_a_file_cut_anywhere_gives_what_came_before_and_is_named_as_cut(tmp_path):
    path = tmp_path / "cut.mid"
    midi.write(score_of((5, [(0, 480, 60, 80), (480, 480, 62, 80)])), path)
    whole, counts = path.read_bytes(), set()
    for length in range(4, len(whole)):
        path.write_bytes(whole[:length])
        try:
            reading = midi.read_told(path, "extend")
        except midi.MidiError as error:
            assert re.search(r"cut\.mid.*(truncated|no note can be read: (track|header))", str(error)), error
        else:
            assert re.search("track 2 (is cut off|has no end)|counts 2 tracks", reading.repairs[0])
            counts.add(len(reading.score.tracks[0].notes))
    assert counts == {1, 2}


@settings(max_examples=200)
@given(st.dictionaries(st.integers(0, 200), st.integers(0, 255), max_size=8))
def test_damage_gives_a_score_or_an_error_that_names_the_file(tmp_path_factory, changed):
    path = tmp_path_factory.getbasetemp() / "damaged.mid"
    midi.write(score_of((5, [(0, 480, 60, 80), (480, 480, 62, 80)]), (DRUMS, [(0, 9, 36, 80)])), path)
    content = bytearray(path.read_bytes())
    for place, byte in changed.items():
        content[place % len(content)] = byte
    path.write_bytes(content)
    try:
        assert isinstance(midi.read(path), Score)
    except midi.MidiError as error:
        assert "damaged.mid" in str(error)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(midi.MidiError, match="nowhere"):
        midi.read(tmp_path / "nowhere.mid")
    with pytest.raises(midi.MidiError, match="cannot be read"):
        midi.read(tmp_path)


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        (score_of(ticks_per_beat=1 << 15), "ticks per beat"),
        (Score(480, (), (Tempo(0, 1 << 24),), (Signature(0, 4, 4),)), "tempo"),
        (score_of(signatures=((0, 256, 4),)), "256/4"),
        (score_of(signatures=((0, 4, 128),)), "4/128"),
        (score_of((0, [(0, 9, 60, 80)]), (0, [(1 << 50, 9, 60, 80)])), "track 1 has a note to tick"),
        (score_of((0, [(5, 1 << 50, 60, 80)])), "track 0 has a note to tick"),
    ],
)
def test_a_score_that_midi_cannot_say_is_refused(tmp_path, score, reason):
    with pytest.raises(midi.MidiError, match=rf"x\.mid.*{reason}"):
        midi.write(score, tmp_path / "x.mid")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- writing


@settings(max_examples=80)
@given(writable())
def test_a_written_score_reads_back_the_same(tmp_path_factory, score):
    path = tmp_path_factory.getbasetemp() / "written.mid"
    midi.write(score, path)
    assert midi.read(path) == score


@pytest.mark.parametrize("tick", [(1 << 28) - 1, 1 << 28, (1 << 40) - 1])
def test_a_pause_of_any_length_is_written(tmp_path, tick):
    """MIDI says times from event to event, in four bytes of seven bits."""
    note = np.array([(0, 1, 60, 100), (tick, 1, 62, 100)], NOTE)
    late = Score(480, (Track(0, note),), (Tempo(0, 500_000), Tempo(tick, 400_000)), (Signature(0, 4, 4),))
    assert midi.write(late, tmp_path / "late.mid") is None
    assert midi.read(tmp_path / "late.mid") == late


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "song.mid"
    midi.write(score_of((0, [(0, 480, 60, 80)])), path)
    before = path.read_bytes()

    def full(source, target):
        assert path.read_bytes() == before  # nothing has touched it yet
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(WriteError, match=r"song\.mid: no space left"):
        midi.write(score_of((0, [(0, 480, 62, 80)])), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["song.mid"]


def test_a_place_that_cannot_hold_a_file_is_named(tmp_path):
    score = score_of((0, [(0, 480, 60, 80)]))
    (tmp_path / "plain").write_text("not a folder", encoding="utf-8")
    (tmp_path / "folder.mid").mkdir()
    for path in (
        tmp_path / "none" / "x.mid",
        tmp_path / "plain" / "x.mid",
        tmp_path / "folder.mid",
        tmp_path / f"{'x' * 300}.mid",
    ):
        with pytest.raises(WriteError, match=rf"{path.name}: cannot be written"):
            midi.write(score, path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.mid", "plain"]


def test_real_songs_are_read(songs):
    for path in songs:
        score = midi.read(path)
        assert score.tracks and all(track.notes.dtype == NOTE and len(track.notes) for track in score.tracks)
        assert all(np.all(np.diff(track.notes["onset_ticks"]) >= 0) for track in score.tracks)
