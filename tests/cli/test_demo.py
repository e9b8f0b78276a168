"""Four songs at once: each is what its command says, of whatever is given, and no file of the user's is lost."""

import json
import os
import shlex
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from configs import Constraints, InputError, SampleConfig
from jax_impl.cli import demo, demo_folder, demo_training
from jax_impl.sampling import compose, outputs
from jax_impl.sampling.sample import Sample
from jax_impl.training.record import plain
from tests import ROOT
from tokenizer.grid.quantize import snap
from tokenizer.music import composer, midi
from tokenizer.music.score import DRUMS, NOTE, Score, Signature, Tempo, Track
from tokenizer.tokens.encode import encode

BAR = 4 * 480


def song(*parts: tuple[int, int, list[int]]) -> Score:
    """Of each part the program, the pitch, and the bars (from 0) on whose four beats it plays."""
    tracks = []
    for program, pitch, bars in parts:
        rows = [(bar * BAR + beat * 480, 240, pitch + beat % 2, 80) for bar in bars for beat in range(4)]
        tracks.append(Track(program, np.array(rows, NOTE)))
    return Score(480, tuple(tracks), (Tempo(0, 500_000),), (Signature(0, 4, 4),))


def planned(score: Score, tmp_path) -> dict[str, Constraints]:
    """What is asked of the songs, by file."""
    midi.write(score, tmp_path / "a.mid")
    file, given = demo._read(tmp_path / "a.mid")
    return {song.path.name: song.wanted for song in demo.planned(file, given, tmp_path)}


SAMPLE = Sample(encode(composer.compose(0)).ids, True, 0, 0)
ORIGIN = outputs.Origin(None, 5, "00", plain(SampleConfig()), plain(Constraints()), None, {}, [], None, None)


@pytest.fixture
def quick(monkeypatch):
    """Every song is one that is there, and pictures show nothing; how they are written is as always."""
    ready = SimpleNamespace(origin=ORIGIN, sampler=lambda: None)
    monkeypatch.setattr(compose.Request, "ready", lambda request: ready)
    monkeypatch.setattr(compose, "sampled", lambda *_: [SAMPLE])
    monkeypatch.setattr(outputs, "_draw", lambda sample, path: path.write_bytes(b"a picture"))
    monkeypatch.setattr("jax_impl.cli.process.keep_programs", lambda: None)


# ---------------------------------------------------------------- the songs


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a demo, and what it said."""
    folder = tmp_path_factory.mktemp("made")
    command = [sys.executable, "-m", "jax_impl.cli", "demo", "--out", "demo"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HID_CACHE": str(folder / "kept")}
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", env=environment)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_there_are_four_songs_with_their_pictures_and_nothing_else(made):
    folder, done = made
    of_songs = {name.replace(".mid", suffix) for name in demo.SONGS for suffix in (".mid", ".png", ".json")}
    names = {path.name for path in (folder / "demo").iterdir()}
    assert names == of_songs | {"given.mid", "melody.mid", "summary.json"}
    assert "the model that comes with this program" in done.stdout and "demo --train" in done.stdout
    for name in demo.SONGS:
        assert str(ROOT) not in (folder / "demo" / name).with_suffix(".json").read_text(encoding="utf-8")


def test_each_song_is_what_it_is_said_to_be(made):
    folder, _ = made
    fresh, continued, accompanied, filled, given, melody = (
        midi.read(folder / "demo" / name) for name in (*demo.SONGS, "given.mid", "melody.mid")
    )
    assert snap(given) == snap(composer.compose(16))
    assert [track.program for track in fresh.tracks] == [DRUMS, 33, 0, 48]
    assert max(track.notes["onset_ticks"].max() for track in fresh.tracks) // BAR < 16
    begun = lambda score, bars: [
        (track.program, track.notes[track.notes["onset_ticks"] < bars * BAR].tolist()) for track in score.tracks
    ]
    kept = begun(given, 8)
    assert [pair for pair in begun(continued, 8) if pair[1]] == [pair for pair in kept if pair[1]]
    assert 8 <= max(track.notes["onset_ticks"].max() for track in continued.tracks) // BAR < 16
    assert [track.program for track in melody.tracks] == [40], "its violin"
    assert sorted(track.program for track in accompanied.tracks) == [33, 40, DRUMS]
    assert begun(melody, 16)[0] in begun(accompanied, 16)
    same = [before == after for before, after in zip(begun(given, 99), begun(filled, 99), strict=True)]
    violin = [track.program for track in given.tracks].index(40)
    assert [number for number, is_same in enumerate(same) if not is_same] == [violin]
    outside = lambda notes: notes[(notes["onset_ticks"] < 4 * BAR) | (notes["onset_ticks"] >= 8 * BAR)].tolist()
    assert outside(given.tracks[violin].notes) == outside(filled.tracks[violin].notes)


def test_the_commands_that_are_printed_write_the_same_songs(made, tmp_path, monkeypatch, run):
    """Of fresh.mid and filled.mid, which share a compiled program."""
    folder, done = made
    commands = [line.strip() for line in done.stdout.splitlines() if line.startswith("  hid-museformer generate ")]
    assert len(commands) == 4
    monkeypatch.setenv("HID_CACHE", str(folder / "kept"))
    monkeypatch.chdir(folder)
    for name in (demo.FRESH, demo.FILLED):
        (command,) = [words for words in map(shlex.split, commands) if f"demo/{name}" in words]
        words = [str(tmp_path / name) if word == f"demo/{name}" else word for word in command]
        status, _, error = run(*words[1:], "--no-picture")
        assert status == 0, error
        assert (tmp_path / name).read_bytes() == (folder / "demo" / name).read_bytes()


@pytest.mark.parametrize("number", range(4))
def test_a_command_says_all_that_is_asked(made, number, tmp_path, monkeypatch, run):
    """Parsed as the command line parses it."""
    folder, _ = made
    file, given = demo._read(folder / "demo" / "given.mid")
    song = demo.planned(file, given, folder / "demo")[number]
    asked = []
    monkeypatch.setattr(compose, "write_songs", lambda request, *rest: asked.append((request, *rest)) or 0)
    words = shlex.split(demo.command(song, wav=False))
    assert run(*words[1:])[0] == 0
    request, path, formats, *_ = asked[0]
    assert request == compose.Request(None, SampleConfig(), song.wanted, song.given)
    assert path == str(song.path) and formats.picture and formats.soundfont is None
    assert demo.command(song, wav=True).split() == [*demo.command(song, wav=False).split(), "--wav"]


# ---------------------------------------------------------------- what is given


def test_of_drums_alone_two_songs_are_made_and_the_others_are_told(run, tmp_path, quick):
    midi.write(song((DRUMS, 36, [0, 1])), tmp_path / "a.mid")
    status, out, error = run("demo", "--midi", tmp_path / "a.mid", "--out", tmp_path / "demo")
    assert status == 0, error
    assert "accompanied.mid and filled.mid left out: the given song has drums alone" in out
    assert sorted(path.name for path in (tmp_path / "demo").glob("*.mid")) == ["continued.mid", "fresh.mid"]


@pytest.mark.parametrize(
    ("parts", "kept", "bars", "fill"),
    [
        ([(DRUMS, 36, range(20)), (0, 60, range(20))], 8, 16, "#2:5-8"),
        ([(0, 60, [0])], 1, 16, "#1:1-1"),
        ([(0, 60, range(6))], 6, 16, "#1:3-6"),
        ([(DRUMS, 36, range(20)), (0, 60, [12, 13, 19])], 8, 16, "#2:13-16"),
        ([(0, 60, [*range(2), *range(17, 20)])], 8, 16, "#1:1-4"),
        ([(0, 60, [11, 12])], 12, 20, "#1:12-13"),
        ([(32, 30, range(8)), (40, 76, range(8)), (0, 60, range(8)), (48, 90, [4])], 8, 16, "#3:5-8"),
    ],
    ids=["long", "one bar", "six bars", "late", "a hole", "silent before", "a melody over few high notes"],
)
def test_what_is_asked_hangs_on_what_there_is(tmp_path, parts, kept, bars, fill):
    """Kept are bars with a note at least, new ones are those of the highest track that plays much, where it plays."""
    wanted = planned(song(*((program, pitch, list(played)) for program, pitch, played in parts)), tmp_path)
    assert wanted == {
        "fresh.mid": Constraints(instruments="drums,bass,piano,strings", bars=16),
        "continued.mid": Constraints(keep_bars=kept, bars=bars),
        "accompanied.mid": Constraints(add="drums,bass"),
        "filled.mid": Constraints(fill=fill),
    }


def test_a_melody_is_of_the_first_bars_in_which_one_sounds(tmp_path):
    midi.write(song((DRUMS, 36, list(range(40))), (40, 76, list(range(10, 40)))), tmp_path / "a.mid")
    tune = demo.melody(demo._read(tmp_path / "a.mid")[1])
    (track,) = tune.tracks
    assert track.program == 40 and len(track.notes) == 16 * 4 and track.notes["onset_ticks"].min() == 0


def test_a_folder_gives_its_first_song_that_can_be_read(tmp_path, capsys):
    with pytest.raises(InputError, match="no MIDI files in it"):
        demo._read(tmp_path)
    (tmp_path / "a.mid").write_bytes(b"no song")
    with pytest.raises(InputError, match="none of its MIDI files can be read"):
        demo._read(tmp_path)
    with pytest.raises(InputError, match=r"a\.mid: "):
        demo._read(tmp_path / "a.mid")
    for name in ("b.mid", "c.mid"):
        midi.write(song((0, 60, [0])), tmp_path / name)
    capsys.readouterr()
    assert demo._read(tmp_path)[0] == tmp_path / "b.mid"
    said = capsys.readouterr().out
    assert said.startswith(f"notice: {tmp_path / 'a.mid'}: ") and said.endswith("passed over\n")


def test_nothing_is_begun_where_no_song_can_be_given(run, tmp_path):
    (tmp_path / "songs").mkdir()
    midi.write(Score(480, (), (Tempo(0, 500_000),), (Signature(0, 4, 4),)), tmp_path / "silent.mid")
    (tmp_path / "text.mid").write_text("no MIDI", encoding="utf-8")
    for name, message in (("songs", "no MIDI files"), ("silent.mid", "has no notes"), ("text.mid", "text.mid: ")):
        status, _, error = run("demo", "--midi", tmp_path / name, "--out", tmp_path / "demo")
        assert status == 2 and message in error and error.count("\n") == 1
    assert not (tmp_path / "demo").exists()


# ---------------------------------------------------------------- its folder


def test_a_demo_takes_no_folder_that_is_not_its_own(run, tmp_path, quick):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "mine").touch()
    for flags in ([], ["--train"]):
        status, _, error = run("demo", "--out", tmp_path, *flags)
        assert status == 2 and "is not the folder of a demo" in error and "--overwrite" in error
        assert [path.name for path in tmp_path.rglob("*")] == ["dataset", "mine"]
    assert run("demo", "--out", tmp_path, "--overwrite")[0] == 0
    assert (tmp_path / "dataset" / "mine").exists() and (tmp_path / "fresh.mid").exists()
    status, _, error = run("demo", "--out", tmp_path / "dataset" / "mine")
    assert status == 2 and "mine: cannot be written" in error


def test_what_was_given_is_written_over_unless_it_was_changed(run, tmp_path):
    with demo_folder.claimed(tmp_path, False):
        one, other = (song((0, pitch, [0])) for pitch in (60, 62))
        path = tmp_path / "melody.mid"
        for score in (one, other, other):  # of another given song; the same again
            demo_folder.write_score(score, path, None, False)
        assert midi.read(path) == other
        midi.write(one, path)
        with pytest.raises(InputError, match=r"melody\.mid: exists already, .* was changed since"):
            demo_folder.write_score(other, path, None, False)
        assert midi.read(path) == one
        demo_folder.write_score(other, path, None, True)
        with pytest.raises(InputError, match=r"melody\.mid: is the file that is read"):
            demo_folder.write_score(one, path, path, False)
        assert midi.read(path) == other
        assert not [file for file in tmp_path.iterdir() if file.name.startswith(".tmp")]


def test_a_song_of_the_user_s_stops_the_demo_before_it_writes_any(run, tmp_path, quick):
    with demo_folder.claimed(tmp_path, False):
        (tmp_path / "filled.mid").write_bytes(b"the user's")
    status, _, error = run("demo", "--out", tmp_path)
    assert status == 2 and "filled.mid: exists already" in error and error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["filled.mid", "summary.json"]
    midi.write(song((0, 60, [0])), tmp_path / "filled.mid")
    status, _, error = run("demo", "--out", tmp_path, "--midi", tmp_path / "filled.mid")
    assert status == 2 and "filled.mid: is the file that is read" in error


def test_a_second_demo_is_told_who_writes_there(run, tmp_path, quick):
    with demo_folder.claimed(tmp_path, False):
        status, _, error = run("demo", "--out", tmp_path)
        assert status == 2 and f"process {os.getpid()} " in error and "writes there" in error
    assert run("demo", "--out", tmp_path)[0] == 0


def test_a_demo_that_was_stopped_begins_again_and_writes_over_its_own_songs(run, tmp_path, quick, monkeypatch):
    sampled, stops = compose.sampled, iter([False, False, True])

    def stopped(*arguments):
        if next(stops):
            raise KeyboardInterrupt
        return sampled(*arguments)

    monkeypatch.setattr(compose, "sampled", stopped)
    with pytest.raises(KeyboardInterrupt):
        demo.demo(None, tmp_path / "demo", overwrite=False, wav=False)
    there = {path.name for path in (tmp_path / "demo").iterdir()}
    assert {"fresh.mid", "continued.mid"} <= there and not there & {"accompanied.mid", "filled.mid", ".lock"}
    monkeypatch.setattr(compose, "sampled", sampled)
    for _ in range(2):
        status, _, error = run("demo", "--out", tmp_path / "demo")
        assert status == 0, error
    (tmp_path / "demo" / "fresh.png").write_bytes(b"drawn over")
    status, _, error = run("demo", "--out", tmp_path / "demo")
    assert status == 2 and "fresh.png: exists already" in error
    assert run("demo", "--out", tmp_path / "demo", "--overwrite")[0] == 0


def test_what_was_trained_and_what_was_not_go_into_one_folder(run, tmp_path, quick, monkeypatch):
    monkeypatch.setattr(demo_training, "_demo", lambda *_: 0)
    assert run("demo", "--out", tmp_path)[0] == 0
    noted = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["files"]
    assert set(noted) == {"given.mid", "melody.mid"}
    assert run("demo", "--train", "--out", tmp_path)[0] == 0
    summary = {"made_by": demo_folder.MADE_BY, "step": 5, "files": noted | {"song.mid": "0"}}
    (tmp_path / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    assert run("demo", "--out", tmp_path)[0] == 0
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8")) == summary


def test_what_a_training_demo_made_and_the_user_changed_stays(run, tmp_path, monkeypatch):
    monkeypatch.setattr(demo_training, "_demo", lambda *_: 0)
    train = ("demo", "--train", "--out", tmp_path)
    assert run(*train)[0] == 0  # begun
    assert run(*train)[0] == 0  # goes on
    (tmp_path / "song.mid").write_bytes(b"edited")
    status, _, error = run(*train)
    assert status == 2 and "song.mid: exists already" in error
    (tmp_path / "dataset").mkdir()
    status, out, _ = run(*train, "--overwrite")
    assert status == 0 and "moved to" in out and (tmp_path / "dataset.old").is_dir()
    (tmp_path / "midi").mkdir()
    (tmp_path / "midi" / "000.mid").write_bytes(b"a song of the user's")
    with pytest.raises(InputError, match=r"000.mid: exists already"):
        demo_training._compose(tmp_path / "midi", 1, overwrite=False)
    assert [path.name for path in (tmp_path / "midi").iterdir()] == ["000.mid"]
    demo_training._compose(tmp_path / "midi", 2, overwrite=True)
    demo_training._compose(tmp_path / "midi", 2, overwrite=False)  # the same songs again
