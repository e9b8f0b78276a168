"""What the model writes for the page: in the places that are asked for, beside which every message of the file stays as
it is; and what is told on the way is what is there at the end.
"""

import base64
import io
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import mido
import pytest

from configs import Constraints, InputError
from jax_impl.page import edits, vary, writing
from jax_impl.page.model import Model
from jax_impl.page.requests import Write
from jax_impl.page.song import Silent, Song
from jax_impl.page.writing import Event, written
from tests.page.conftest import as_text
from tests.page.test_song import SONGS, content
from tests.runs import write_dataset
from tokenizer.dataset.songs import Dataset
from tokenizer.music.score import Score, Track


@pytest.fixture(scope="module")
def model(run_dir) -> Model:
    return Model.of(run_dir, "best")


@pytest.fixture(scope="module", params=["as it is", "a pickup"])
def there(request) -> Song:
    return Song.of_file(content(first_bars(SONGS[request.param])))


def first_bars(score: Score) -> Score:
    """Few, so that little is written."""
    end = 10 * 4 * score.ticks_per_beat
    tracks = [Track(track.program, track.notes[track.notes["onset_ticks"] < end]) for track in score.tracks]
    return replace(score, tracks=tuple(track for track in tracks if len(track.notes)))


def asked(song: Song | None, action: str, **more) -> Write:
    values = {"action": action, "seed": 1, "density": "0-8", **more}
    if song is not None:
        values["song"] = {"midi": as_text(song.raw), "beats": song.beats}
    return Write.of(values)


def songs_of(events: list[Event]) -> list[Song]:
    told = [event.data["song"] for event in events if event.name == "written"]
    return [Song.of_file(base64.b64decode(song["midi"]), song["beats"]) for song in told]


def check_told(events: list[Event], before: Song | None, is_new: Callable[[int, int], bool]) -> None:
    """The bars that were told on the way have the notes that the songs have in those places. is_new: of a track and a
    tick of a song, whether it was written.
    """
    songs = {event.data["alternative"]: event.data["song"] for event in events if event.name == "written"}
    told: dict[int, Counter] = {alternative: Counter() for alternative in songs}
    for event in events:
        for bar in event.data["bars"] if event.name == "bars" else ():
            told[event.data["alternative"]].update((bar["program"], *note[:1], note[2]) for note in bar["notes"])
            assert all(0 <= note[0] - bar["tick"] < bar["ticks"] for note in bar["notes"])
    assert songs
    for alternative, song in songs.items():
        own = Counter(
            (track["program"], note[0], note[2])
            for number, track in enumerate(song["tracks"])
            for note in track["notes"]
            if is_new(number, note[0])
        )
        # A note of the file that rings on may keep one of its pitch from beginning
        assert own and own <= told[alternative] and sum(own.values()) >= 0.9 * sum(told[alternative].values())


def elsewhere(raw: bytes, begin: float, end: float) -> list[str]:
    """All that mido reads of a file but notes that begin from `begin` to before `end`, in ticks, and their ends, and
    changes of time from there on.
    """
    out, file = [], mido.MidiFile(file=io.BytesIO(raw))
    for number, track in enumerate(file.tracks):
        now, sounding = 0, set()
        for message in track:
            now += message.time
            key = (getattr(message, "channel", None), getattr(message, "note", None))
            if message.type == "note_on" and message.velocity and begin <= now < end:
                sounding.add(key)
            elif message.type in ("note_on", "note_off") and key in sounding:
                sounding.discard(key)
            elif message.type != "end_of_track" and not (changes_time(message) and now >= begin):
                out.append(f"{number} {now} {message.copy(time=0)}")
    return out


def changes_time(message: mido.Message) -> bool:
    return message.type in ("set_tempo", "time_signature")


@pytest.mark.parametrize("action", ["rewrite", "vary"])
def test_bars_are_written_anew_and_nothing_else(model, there, action):
    tracks, first, last = [1, 2], 3, 4
    events = list(written(model, asked(there, action, tracks=tracks, first=first, last=last)))
    lines = there.lines
    is_new = lambda track, tick: track in tracks and lines[first - 1] <= tick < lines[last]
    check_told(events, there, is_new)
    begin, end = there.own.back(lines[[first - 1, last]])
    kept, songs = elsewhere(there.raw, begin, end), songs_of(events)
    assert len(songs) == 3 and len({song.raw for song in songs}) > 1
    for song in songs:
        assert elsewhere(song.raw, begin, end) == kept and song.bars[:8][0] == there.bars[0]
        for number, name in enumerate(there.ids):
            if number not in tracks:
                assert song.notes(song.ids.index(name)).tolist() == there.notes(number).tolist()


@pytest.mark.parametrize("fills", [True, False])
def test_a_song_goes_on(model, there, fills, monkeypatch):
    """Also with a model that has seen no hidden bars."""
    monkeypatch.setattr(type(model), "fills", fills)
    events = list(written(model, asked(there, "continue", bars=2)))
    end = there.lines[-1]
    check_told(events, there, lambda track, tick: tick >= end)
    for song in songs_of(events):
        assert len(song.bars) <= len(there.bars) + 2
        assert [(bar.tick, bar.meter) for bar in song.bars[: len(there.bars)]] == [
            (bar.tick, bar.meter) for bar in there.bars
        ]
        last = there.own.back(end).item()
        assert elsewhere(song.raw, last, 10**9) == elsewhere(there.raw, last, 10**9)


@pytest.mark.parametrize("fills", [True, False])
@pytest.mark.parametrize("bars", [{}, {"first": 5, "last": 6}])
def test_tracks_come_beside_the_others(model, there, bars, fills, monkeypatch):
    """Also of a model that cannot fill some bars alone."""
    monkeypatch.setattr(type(model), "fills", fills)
    events = list(written(model, asked(there, "add", instruments="flute", density="1-8", **bars)))
    begin, end = (there.lines[4], there.lines[6]) if bars else (0, 10**9)
    before = set(there.ids)
    assert any(len(song.ids) > len(before) for song in songs_of(events))
    for song in songs_of(events):
        new = [number for number, name in enumerate(song.ids) if name not in before]
        assert [song.own.score.tracks[number].program for number in new] in ([73], [])
        for number, name in enumerate(song.ids):
            if number in new:
                assert all(begin <= note[0] < end for note in song.notes(number).tolist())
            else:
                assert song.notes(number).tolist() == there.notes(there.ids.index(name)).tolist()


def test_a_new_song_is_what_was_asked_for(model):
    events = list(written(model, asked(None, "new", instruments="bass,piano", bars=3, key="A minor", tempo=97)))
    check_told(events, None, lambda track, tick: True)
    for song in songs_of(events):
        assert len(song.bars) <= 3 and {track.program for track in song.own.score.tracks} <= {0, 33}
        assert song.bars[0].bpm == 97
        pitches = {int(note[2]) % 12 for number in range(len(song.ids)) for note in song.notes(number)}
        assert pitches <= {9, 11, 0, 2, 4, 5, 7}
    kinds = [event.name for event in events]
    assert kinds[0] == "begun" and kinds[-3:] == ["written"] * 3 and set(kinds[1:-3]) == {"bars"}


def test_an_instrument_that_hardly_plays_is_told(song):
    programs = [track.program for track in song.own.score.tracks]
    asked_for = lambda programs: Constraints(instruments=["drums" if each == 128 else each for each in programs])
    assert not writing.hardly_plays(song, asked_for(programs))
    assert writing.hardly_plays(song, asked_for([*programs, 73])), "one is not there at all"
    one = edits.without(song, range(1, len(programs)))
    alone, notes = Song.of_file(one), song.own.score.tracks[1].notes[:2]
    raw, _ = alone.own.merged([(None, Track(40, notes))], [], [])
    assert writing.hardly_plays(Song.of_file(raw), asked_for([128, 40])), "two notes in all bars"


def test_the_same_seed_writes_the_same(model, there):
    both = [list(written(model, asked(there, "rewrite", tracks=[0], first=2, last=2))) for _ in range(2)]
    assert [song.raw for song in songs_of(both[0])] == [song.raw for song in songs_of(both[1])]
    alone = list(written(model, asked(there, "rewrite", tracks=[0], first=2, last=2, alternatives=1)))
    assert len(songs_of(alone)) == 1


def test_an_alternative_without_a_note_is_left_out(model, song, monkeypatch):
    """As of a song of one track that is written anew as a whole."""
    opened, silent = Song.of_file, iter([True, False, False, True, True, True])

    def of_file(*arguments):
        if next(silent):
            raise Silent("no notes in it")
        return opened(*arguments)

    request = asked(song, "rewrite", tracks=[0], first=2, last=2)
    monkeypatch.setattr(Song, "of_file", of_file)
    events = list(written(model, request))
    assert [event.data["alternative"] for event in events if event.name == "written"] == [1, 2]
    with pytest.raises(InputError, match="no note here"):
        list(written(model, request))


def test_what_cannot_be_is_said_before_anything_is_written(model, song, monkeypatch):
    monkeypatch.setattr(type(model), "fills", False)
    for action, more in (("rewrite", {"tracks": [0], "first": 1}), ("vary", {"tracks": [0], "first": 1})):
        with pytest.raises(InputError, match="never saw hidden bars"):
            list(written(model, asked(song, action, **more)))


def test_what_is_known_from_training_is_said_where_the_songs_are_at_hand(run_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("HID_CACHE", str(tmp_path / "kept"))
    data = write_dataset(tmp_path / "songs", songs=8, bars=4)
    model = Model.of(run_dir, "best")
    assert not model.knows_training_songs
    record = model.found.record
    record = replace(record, train=record.train | {"data_dir": str(data)}, dataset=Dataset(data).fingerprint)
    model = replace(model, found=replace(model.found, record=record))
    assert model.knows_training_songs
    events = list(written(model, asked(None, "new", instruments="bass", bars=2)))
    said = [event.data["text"] for event in events if event.name == "copies"]
    assert len(said) == 3 and all("known from training" in text for text in said)


def test_vary_leaves_about_half_of_the_bars_and_others_in_each_alternative(model, song):
    events = list(written(model, asked(song, "vary", tracks=[2], first=5, last=8, density="")))
    lines, stayed = song.lines, []
    of_bar = lambda one, bar: [note for note in one.notes(2).tolist() if lines[bar - 1] <= note[0] < lines[bar]]
    for made in songs_of(events):
        stayed.append({bar for bar in range(5, 9) if of_bar(made, bar) == of_bar(song, bar)})
    assert [bars & set(kept) for bars, kept in zip(stayed, ((5, 7), (6, 8), (6, 7)), strict=True)] == [
        {5, 7},
        {6, 8},
        {6, 7},
    ]
    assert all(len(bars) < 4 for bars in stayed), "something is another in each"


@pytest.mark.parametrize(("bars", "stretches"), [(1, [[1], [1], [1]]), (2, [[2], [1], [1]]), (3, [[2], [1, 3], [1]])])
def test_stretches_that_are_varied(bars, stretches):
    request = SimpleNamespace(first=1, last=bars)
    found = [[first for first, _ in vary.anew(request, number)] for number in range(3)]
    assert found == stretches


def test_long_selections_are_varied_in_few_stretches():
    request = SimpleNamespace(first=1, last=100)
    for number in range(3):
        stretches = vary.anew(request, number)
        assert len(stretches) <= vary.MOST_STRETCHES and all(last - first == 12 for first, last in stretches[:-1])


def test_chords_that_are_asked_for_come_in_the_bars_that_they_are_for(model, song):
    request = asked(song, "vary", tracks=[2], first=5, last=8, chords="C % F G7")
    assert [vary.part(request, song, bar, bar).wanted.chords for bar in range(5, 9)] == ["C", "C", "F", "G7"]
