"""A song as the page has it: what mido reads in the file is what is drawn, and its bars stay where they were found."""

import io
import json
from dataclasses import replace

import mido
import numpy as np
import pytest

from configs import InputError
from jax_impl.page import edits
from jax_impl.page.song import Song
from tokenizer.grid.meter import TICKS_PER_BEAT
from tokenizer.grid.time_map import TimeMap, retimed
from tokenizer.music import midi
from tokenizer.music.composer import compose
from tokenizer.music.score import Score, Signature, Tempo, Track


def content(score: Score) -> bytes:
    return midi.to_bytes(score, "a song")[0]


def seconds_of(raw: bytes) -> list[tuple[int, int, float]]:
    """(pitch, velocity, second) of the notes that mido hears, in order."""
    heard, now = [], 0.0
    for message in mido.MidiFile(file=io.BytesIO(raw)):
        now += message.time
        if message.type == "note_on" and message.velocity:
            heard.append((message.note, message.velocity, now))
    return sorted(heard)


def drawn(plain: dict) -> list[tuple[int, int, float]]:
    """The same of what the page draws, by its bar lines alone."""
    ticks = [bar["tick"] for bar in plain["bars"]] + [plain["end"]["tick"]]
    seconds = [bar["seconds"] for bar in plain["bars"]] + [plain["end"]["seconds"]]
    notes = [note for track in plain["tracks"] for note in track["notes"]]
    at = np.interp([note[0] for note in notes], ticks, seconds)
    return sorted((note[2], note[3], float(second)) for second, note in zip(at, notes, strict=True))


def moved(score: Score, ticks: int) -> Score:
    return retimed(score, TimeMap.shifted(ticks), score.ticks_per_beat, score.tempos, score.signatures)


def with_pickup(score: Score) -> Score:
    """Its first note a quarter before the second measure, in a first measure of a quarter."""
    quarter = score.ticks_per_beat
    notes = np.array([(0, quarter, 60, 90)], score.tracks[0].notes.dtype)
    later = moved(score, quarter)
    signatures = (Signature(0, 1, 4), Signature(quarter, 4, 4))
    return replace(later, tracks=(*later.tracks, Track(73, notes)), signatures=signatures)


SONGS = {
    "as it is": compose(0),
    "a pickup": with_pickup(compose(1)),
    "beside the grid": moved(compose(2), 37),
    "another tempo": replace(compose(3), tempos=(Tempo(0, 500_000), Tempo(12 * 480, 400_000))),  # at a bar line
}


@pytest.mark.parametrize("name", SONGS)
def test_what_another_reader_hears_is_what_is_drawn(name):
    raw = content(SONGS[name])
    song = Song.of_file(raw)
    heard, seen = seconds_of(raw), drawn(song.plain())
    assert [note[:2] for note in heard] == [note[:2] for note in seen]
    slowest = max(tempo.microseconds_per_beat for tempo in SONGS[name].tempos) / 1e6
    tick = slowest / TICKS_PER_BEAT  # notes are drawn at the nearest one of the grid
    assert max(abs(one[2] - other[2]) for one, other in zip(heard, seen, strict=True)) <= tick


@pytest.mark.parametrize("name", SONGS)
def test_the_bars_stay_where_they_were_found(name):
    """Also as JSON, and with other notes in the file."""
    song = Song.of_file(content(SONGS[name]))
    beats = json.loads(json.dumps(song.plain()["beats"]))
    assert Song.of_file(song.raw, beats).plain() == song.plain() | {"notices": []}
    fewer = Song.of_file(edits.without(song, [0]), beats)
    lines = [(bar.tick, bar.seconds, bar.meter) for bar in fewer.bars]
    assert lines == [(bar.tick, bar.seconds, bar.meter) for bar in song.bars][: len(lines)] and len(lines) > 8


def test_a_pickup_is_filled_up_and_lies_before_the_file():
    song = Song.of_file(content(SONGS["a pickup"]))
    assert song.bars[0].seconds < 0 and song.bars[0].meter == "4/4" and song.beats["kind"] == "pickup"
    assert "a pickup is filled up" in " ".join(song.notices)


@pytest.mark.parametrize(
    "change",
    [
        {"source": [0]},
        {"aligned": [5, 5]},
        {"source": "x"},
        {"tempos": [[0]]},
        {"ticks_per_beat": None},
        {"signatures": [[0, 4, 3]]},
        {"aligned": [-(10**9), 0]},
        {"source": [0, 10**30]},
    ],
)
def test_beats_that_nobody_found_are_refused(change):
    song = Song.of_file(content(SONGS["a pickup"]))
    with pytest.raises(InputError):
        Song.of_file(song.raw, song.beats | change)


@pytest.mark.parametrize(
    "raw", [b"", b"MThd", b"\0" * 100, b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\0\0\4\0\xff\x2f\0", b"PK\3\4"]
)
def test_what_is_no_song_is_refused_by_its_name(raw):
    with pytest.raises(InputError, match=r"^odd\.mid: "):
        Song.of_file(raw, name="odd.mid")


def test_tracks_keep_their_names_whatever_else_changes(song):
    fewer = Song.of_file(edits.without(song, [1]), song.beats)
    assert fewer.ids == [name for number, name in enumerate(song.ids) if number != 1]
    assert len(set(song.ids)) == len(song.ids)
