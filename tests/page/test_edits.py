"""What a user changes without the model: that alone is another in the file."""

import io
import zipfile

import mido
import pytest

from jax_impl.page import edits
from jax_impl.page.song import Refused, Song
from tokenizer.music.score import DRUMS


def messages(raw: bytes) -> list[list[str]]:
    """Of each track what mido reads, with its time."""
    return [[str(message) for message in track] for track in mido.MidiFile(file=io.BytesIO(raw)).tracks]


def test_a_track_is_taken_out_and_the_others_stay_message_by_message(song):
    there, left = messages(song.raw), messages(edits.without(song, [2]))
    changed = [number for number, track in enumerate(there) if track != left[number]]
    assert len(changed) == 1 and not any("note_on" in message for message in left[changed[0]])
    with pytest.raises(Refused, match="all of them"):
        edits.without(song, range(len(song.ids)))
    with pytest.raises(Refused, match="track 99"):
        edits.without(song, [99])


def test_another_instrument_is_another_program_and_nothing_else(song):
    raw = edits.with_program(song, 1, 38)
    there, then = messages(song.raw), messages(raw)
    differ = [(a, b) for x, y in zip(there, then, strict=True) for a, b in zip(x, y, strict=False) if a != b]
    assert [kind.split()[0] for pair in differ for kind in pair].count("note_on") == 0
    after = Song.of_file(raw)
    assert [track.program for track in after.own.score.tracks] == sorted_in(song, 1, 38)
    assert notes(after) == sorted([*notes(song)])


def sorted_in(song: Song, track: int, program: int) -> list[int]:
    from tokenizer.grid.song import HID_RANK

    programs = [each.program for each in song.own.score.tracks]
    programs[track] = program
    return sorted(programs, key=HID_RANK.__getitem__)


def notes(song: Song) -> list:
    return sorted(song.notes(number).tolist() for number in range(len(song.ids)))


@pytest.mark.parametrize(("track", "program"), [(0, 0), (1, DRUMS), (1, 0), (3, 127)])
def test_drums_become_an_instrument_and_back(song, track, program):
    after = Song.of_file(edits.with_program(song, track, program))
    assert notes(after) == notes(song)
    assert sorted(t.program for t in after.own.score.tracks) == sorted(sorted_in(song, track, program))


def test_tracks_of_one_channel_part_where_one_gets_another_instrument():
    """A file that says two instruments on one channel, one after the other."""
    file = mido.MidiFile(ticks_per_beat=480)
    track = mido.MidiTrack()
    file.tracks.append(track)
    for program, pitch in ((0, 60), (40, 64)):
        track.append(mido.Message("program_change", program=program, channel=3))
        for _ in range(8):
            track.append(mido.Message("note_on", note=pitch, velocity=80, channel=3))
            track.append(mido.Message("note_off", note=pitch, time=480, channel=3))
    out = io.BytesIO()
    file.save(file=out)
    song = Song.of_file(out.getvalue())
    assert [each.program for each in song.own.score.tracks] == [0, 40]
    after = Song.of_file(edits.with_program(song, 0, 73))
    assert [each.program for each in after.own.score.tracks] == [40, 73] and notes(after) == notes(song)


def test_each_track_is_a_file_of_its_own(song):
    archive = zipfile.ZipFile(io.BytesIO(edits.one_by_one(song, "../a/b: c")))
    names = archive.namelist()
    assert len(names) == len(song.ids) == len(set(names)) and not any("/" in name for name in names)
    found = [Song.of_file(archive.read(name), song.beats) for name in names]
    assert [each.own.score.tracks[0].program for each in found] == [t.program for t in song.own.score.tracks]
    assert [each.notes(0).tolist() for each in found] == [song.notes(n).tolist() for n in range(len(song.ids))]
    assert edits.one_by_one(song, "x") == edits.one_by_one(song, "x")


@pytest.mark.parametrize("text", ["", "...", "../../etc/passwd", "a\0b", "x" * 500, "CON:", "über alles", "\ud800"])
def test_names_of_files_are_names_anywhere(text):
    name = edits.file_name(text)
    assert 0 < len(name) <= edits.LONGEST_NAME and not set(name) & set('/\\:*?"<>|\0') and name.strip(". ")
