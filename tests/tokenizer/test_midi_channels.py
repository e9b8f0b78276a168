"""Songs of more instruments than channels: what players hear of them, with ports and without."""

import random

import mido
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scores import score_of
from tests.tokenizer import mido_reader
from tokenizer.music import channels, midi
from tokenizer.music.channels import Place
from tokenizer.music.score import DRUMS, Score


def events(path, ports: bool) -> list[tuple[int, int, tuple[int, int], mido.Message]]:
    """(tick, track, (port, channel), message) as a synthesizer gets them: at one tick track by track. ports: whether it
    knows any; else all is played on one.
    """
    found = []
    for index, track in enumerate(mido.MidiFile(path).tracks):
        tick = port = 0
        for message in track:
            tick += message.time
            if message.type == "midi_port" and ports:
                port = message.port
            if not message.is_meta:
                found.append((tick, index, (port, message.channel), message))
    return sorted(found, key=lambda event: event[0])


def cut_notes(path, ports: bool = True) -> int:
    """Notes that a track begins or ends while they sound for another: a player has one voice a channel and pitch."""
    voices, cut = {}, 0  # (port, channel), pitch: the track that sounds
    for _, index, place, message in events(path, ports):
        if message.type not in ("note_on", "note_off"):
            continue
        cut += voices.get((place, message.note), index) != index
        if message.type == "note_on":
            voices[place, message.note] = index
        else:
            voices.pop((place, message.note), None)
    return cut


def played(path, ports: bool = True) -> list[tuple[int, int, int]]:
    """(tick, program, pitch) of every note: the program of a channel is the last one set."""
    programs, heard = {}, []
    for tick, _, place, message in events(path, ports):
        if message.type == "program_change":
            programs[place] = message.program
        elif message.type == "note_on":
            heard.append((tick, DRUMS if message.channel == 9 else programs[place], message.note))
    return sorted(heard)


def sounds(score: Score) -> list[tuple[int, int, int]]:
    return sorted((note["onset_ticks"], track.program, note["pitch"]) for track in score.tracks for note in track.notes)


def band(instruments: int, notes: int, bars: int = 16) -> Score:
    """Instruments that play at random around pitches of their own, and drums."""
    rng = random.Random(instruments)
    tracks = [(DRUMS, [(tick, 100, 36, 90) for tick in range(0, bars * 1920, 480)])]
    for program in range(instruments):
        centre = rng.randint(48, 72)
        onsets = sorted(rng.sample(range(0, bars * 1920, 240), notes))
        tracks.append((program, [(onset, 230, centre + rng.randint(-6, 6), 80) for onset in onsets]))
    return score_of(*tracks)


def in_unison(instruments: int) -> Score:
    return score_of(*((program, [(480 * n, 480, 60 + n % 3, 80) for n in range(8)]) for program in range(instruments)))


# ---------------------------------------------------------------- what is heard


@pytest.mark.parametrize("instruments", [15, 16, 17, 40, 128])
@pytest.mark.parametrize(
    "song", [lambda n: band(n, 8), lambda n: band(n, 64), in_unison], ids=["sparse", "dense", "one"]
)
def test_no_note_is_cut_by_another_instrument(tmp_path, song, instruments):
    score, path = song(instruments), tmp_path / "many.mid"
    midi.write(score, path)
    assert cut_notes(path) == 0
    assert played(path) == played(path, ports=False) == sounds(score)
    assert midi.read(path) == score


def test_a_note_that_begins_where_another_ends_is_not_cut_either(tmp_path):
    """At one tick a player takes earlier tracks first, so a beginning before an end in a later one. Tracks
    of two notes are given their channels before those of one note.
    """
    begins, ends, elsewhere = (480, 480, 60, 80), (0, 480, 60, 80), (1920, 480, 70, 80)
    for tracks in ([[begins]] * 15 + [[ends]], [[begins]] + [[ends, elsewhere]] * 15):
        midi.write(score_of(*enumerate(tracks)), tmp_path / "touching.mid")
        assert cut_notes(tmp_path / "touching.mid") == 0


def test_players_without_ports_lose_little_and_that_is_said(tmp_path, monkeypatch):
    score, path = band(40, 64), tmp_path / "many.mid"
    said = midi.write(score, path)
    lost = cut_notes(path, ports=False)
    assert said.startswith("41 tracks play on 2 MIDI ports; ")
    monkeypatch.setattr(channels, "places", lambda score: taking_turns(score))
    midi.write(score, path)
    assert 0 < 4 * lost < cut_notes(path)


def taking_turns(score: Score) -> list[Place]:
    """What channels are given out by where nobody looks at the notes."""
    return [
        Place(0, 9 if track.program == DRUMS else channels.MELODIC_CHANNELS[track.program % 15])
        for track in score.tracks
    ]


@pytest.mark.parametrize("score", [band(15, 64), band(40, 8), in_unison(15), score_of()], ids=str)
def test_nothing_is_said_of_a_song_that_every_player_plays_whole(tmp_path, score):
    path = tmp_path / "song.mid"
    assert midi.write(score, path) is None
    assert cut_notes(path, ports=False) == 0
    assert b"\xff\x21" not in path.read_bytes()


def test_where_ports_run_out_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(channels, "PORTS", 2)
    assert "may be cut short by others of their pitch: MIDI has 2 ports" in midi.write(
        in_unison(31), tmp_path / "x.mid"
    )
    assert cut_notes(tmp_path / "x.mid") > 0
    assert midi.read(tmp_path / "x.mid") == in_unison(31)


# ---------------------------------------------------------------- where tracks are


def test_fifteen_instruments_and_drums_have_the_channels_in_order():
    found = channels.places(band(15, 8))
    assert found == [
        Place(0, 9),
        *(Place(0, channel) for channel in (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15)),
    ]


def test_tracks_of_a_program_share_its_channel_unless_they_clash():
    of_two_programs = lambda length: score_of(*((n % 2, [(480 * n, length, 60, 80)]) for n in range(20)))
    assert channels.places(of_two_programs(400)) == [Place(0, n % 2) for n in range(20)]
    apart = channels.places(of_two_programs(1900))
    assert len(set(apart)) > 2 and not any(place.port for place in apart)


def test_instruments_that_never_play_together_share_a_channel_before_others_do():
    """Sixteen instruments, of which two play in turns."""
    all_along = [(program, [(480 * n, 480, 30 + 2 * program, 80) for n in range(8)]) for program in range(14)]
    first, second = (20, [(0, 480, 90, 80)]), (21, [(2880, 480, 95, 80)])
    *others, one, other = channels.places(score_of(*all_along, first, second))
    assert one == other and len({place.channel for place in others}) == 14


def test_mido_hears_a_file_with_ports_as_we_do(tmp_path):
    midi.write(in_unison(40), tmp_path / "ports.mid")
    notes, _, _ = mido_reader.read((tmp_path / "ports.mid").read_bytes())
    score = midi.read(tmp_path / "ports.mid")
    assert notes == sorted((track.program, *note) for track in score.tracks for note in track.notes.tolist())


# ---------------------------------------------------------------- programs


def test_a_track_keeps_its_program_when_one_that_shares_its_channel_enters_late(tmp_path):
    early = (0, [(0, 50, 60, 80), (100, 50, 60, 80)])
    score = score_of(early, *((program, [(5000, 50, 60, 80)]) for program in range(1, 16)))
    midi.write(score, tmp_path / "late.mid")
    assert played(tmp_path / "late.mid") == sounds(score)


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=4, unique=True), min_size=16, max_size=40),
    st.sampled_from((1, 60)),
)
def test_every_player_hears_every_program_whoever_plays_first(tmp_path_factory, beats, pitches):
    """pitches: of one, most need ports."""
    path = tmp_path_factory.getbasetemp() / "shared.mid"
    score = score_of(
        *(
            (i % 33, [(480 * beat, 240, 40 + i % pitches, 80) for beat in sorted(played_on)])
            for i, played_on in enumerate(beats)
        )
    )
    midi.write(score, path)
    assert played(path) == played(path, ports=False) == sounds(score)
    assert cut_notes(path) == 0
    assert midi.read(path) == score


def test_only_drums_play_on_channel_10(tmp_path):
    midi.write(band(40, 8), tmp_path / "many.mid")
    for track in mido.MidiFile(tmp_path / "many.mid").tracks:
        of_track = {message.channel for message in track if message.type == "note_on"}
        assert (9 in of_track) == (track[0].type == "track_name" and track[0].name == "Drums")
