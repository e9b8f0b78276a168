"""What sampling leaves behind: files that can be made again, folders that go on where they stopped, nothing of the
user's written over, and the bars of a song as they are finished.
"""

import dataclasses
import json
import re
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import numpy as np
import pytest

from configs import Constraints, InputError, SampleConfig
from jax_impl.sampling import asked, compose, outputs
from jax_impl.sampling.sample import Sample, Sampler
from jax_impl.training.record import plain
from tests import ROOT
from tests.played import BEAT, aligned_as, played
from tests.processes import environment
from tests.rows import ids
from tests.sampling.small import HOT
from tests.tokenizer.test_whole import BAR, scale
from tokenizer.disk.lock import only_writer
from tokenizer.grid.time_map import TimeMap
from tokenizer.music import midi

PLAIN = outputs.Formats(picture=False, soundfont=None)


def write(run_dir, out, wanted=Constraints(), given=None, formats=PLAIN, overwrite=False, **settings):  # noqa: B008
    request = compose.Request(run_dir, SampleConfig(**HOT | settings), wanted, given)
    return compose.write_songs(request, out, formats, overwrite=overwrite)


def test_a_continued_song_is_written_whole_and_made_again_bit_for_bit_from_its_json(run_dir, tmp_path, capsys):
    """Though the model sees only the last of the bars that are kept."""
    given = scale(20, tempos=((0, 101), (5 * BAR, 77)))
    midi.write(given, tmp_path / "given.mid")
    wanted = Constraints(keep_bars=16, bars=18)
    write(
        run_dir,
        tmp_path / "x.mid",
        wanted,
        tmp_path / "given.mid",
        outputs.Formats(picture=True, soundfont=None),
        num_samples=3,
        max_length=120,  # for one program
    )
    assert (tmp_path / "x-3.png").stat().st_size > 5000
    told = capsys.readouterr().out
    assert re.search(
        r"notice: the model saw the last \d+ of 16 bars \(--max-length 120\); the file holds all of them", told
    )
    song = midi.read(tmp_path / "x-2.mid")
    for before, after in zip(given.tracks, song.tracks, strict=True):  # in the order of the file
        kept = before.notes[before.notes["onset_ticks"] < 16 * BAR]
        assert after.program == before.program and np.array_equal(after.notes[: len(kept)], kept)
    assert max(track.notes["onset_ticks"].max() for track in song.tracks) // BAR == 17
    assert [tempo for tempo in song.tempos if tempo.tick < 16 * BAR] == list(given.tempos)
    compose.make_again(run_dir, tmp_path / "y.mid", tmp_path / "x-2.json", PLAIN, overwrite=False)
    assert (tmp_path / "y.mid").read_bytes() == (tmp_path / "x-2.mid").read_bytes() != (tmp_path / "x.mid").read_bytes()
    values = json.loads((tmp_path / "x-2.json").read_text(encoding="utf-8"))
    assert values["number"] == 1 and values["step"] == 5 and values["sampler"]["seed"] == 0
    (tmp_path / "x-2.json").write_text(json.dumps(values | {"tokens": values["tokens"][:-1]}), encoding="utf-8")
    with pytest.raises(InputError, match="became another song"):
        compose.make_again(run_dir, tmp_path / "y.mid", tmp_path / "x-2.json", PLAIN, overwrite=False)


def test_a_song_that_was_played_freely_is_continued_in_its_own_time_and_made_again_from_its_json(
    run_dir, tmp_path, capsys, monkeypatch
):
    """The picture is of the grid; the same beats are needed to go on in a folder."""
    score, aligned = played(0)
    midi.write(score, tmp_path / "given.mid")
    monkeypatch.setattr(asked, "align", lambda score: aligned_as(score, "beats", aligned.time, BEAT))
    wanted, many = Constraints(keep_bars=3, bars=5), tmp_path / "many"
    drawn, draw = [], outputs.pianoroll.piano_roll
    monkeypatch.setattr(
        outputs.pianoroll, "piano_roll", lambda score, *rest, **more: drawn.append(score) or draw(score, *rest, **more)
    )
    picture = outputs.Formats(picture=True, soundfont=None)
    write(run_dir, tmp_path / "x.mid", wanted, tmp_path / "given.mid", picture)
    assert "given.mid: its beats were found, at about 120 BPM" in capsys.readouterr().out
    song, there = midi.read(tmp_path / "x.mid"), midi.read(tmp_path / "given.mid")
    end = aligned.time.source[12] - 25
    before = lambda score: sorted(
        (track.program, note) for track in score.tracks for note in track.notes.tolist() if note[0] < end
    )
    assert song.ticks_per_beat == 384 and before(song) == before(there) != []
    assert max(track.notes["onset_ticks"].max() for track in song.tracks) > aligned.time.source[12]
    assert [on_grid.ticks_per_beat for on_grid in drawn] == [480]
    assert max(track.notes["onset_ticks"].max() for track in drawn[0].tracks) // BAR == 4
    monkeypatch.setattr(asked, "align", lambda score: pytest.fail("aligned again"))
    compose.make_again(run_dir, tmp_path / "y.mid", tmp_path / "x.json", PLAIN, overwrite=False)
    assert (tmp_path / "y.mid").read_bytes() == (tmp_path / "x.mid").read_bytes()
    assert outputs.read(tmp_path / "y.json").origin == outputs.read(tmp_path / "x.json").origin

    origin = outputs.read(tmp_path / "x.json").origin
    many.mkdir()
    (many / "0000.json").write_bytes((tmp_path / "x.json").read_bytes())
    outputs.refuse_other_settings(many, origin)
    time = TimeMap(aligned.time.source - 1, aligned.time.aligned)
    monkeypatch.setattr(asked, "align", lambda score: aligned_as(score, "beats", time, BEAT))
    with pytest.raises(InputError, match=r"other settings \(other beats of the given song\)"):
        write(run_dir, many, wanted, tmp_path / "given.mid")


@pytest.mark.parametrize(
    ("part", "change"),
    [("sampler", {"temperature": "hot"}), ("constraints", {"bars": None}), ("sampler", {"num_samples": 1.5})],
)
def test_the_json_of_a_sample_that_was_edited_wrongly_is_told_as_such(tmp_path, part, change):
    origin = outputs.Origin("run", 5, "00", plain(SampleConfig()), plain(Constraints()), None, {}, [], None, None)
    values = dataclasses.asdict(origin) | {"number": 0, "finished": True, "errors": 0, "tokens": [1, 2]}
    (tmp_path / "x.json").write_text(json.dumps(values), encoding="utf-8")
    assert outputs.read(tmp_path / "x.json")[0] == origin
    del values["prompt_tempos"], values["prompt_own_time"], values["prompt_file"]
    del values["constraints"]["pedal"], values["constraints"]["align"]
    (tmp_path / "older.json").write_text(json.dumps(values), encoding="utf-8")
    assert outputs.read(tmp_path / "older.json")[0] == origin
    values[part] |= change
    (tmp_path / "x.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(InputError, match=rf"x\.json: not the JSON of a sample .*{next(iter(change))}"):
        outputs.read(tmp_path / "x.json")


def test_many_samples_go_on_where_they_stopped(run_dir, tmp_path, monkeypatch, capsys):
    write_one, written = outputs.write, []

    def stops(sample, *arguments):
        if len(written) == 4:
            raise KeyboardInterrupt
        written.append(sample.number)
        write_one(sample, *arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(outputs, "write", stops)
        write(run_dir, tmp_path / "many", num_samples=6, batch=3)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "many").glob("000[0123].mid")}
    write(run_dir, tmp_path / "many", num_samples=6, batch=3)
    assert "4 of 6 songs are there already" in capsys.readouterr().out
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "many").glob("000[0123].mid")} == before
    assert len(list((tmp_path / "many").glob("*.mid"))) == len(list((tmp_path / "many").glob("*.json"))) == 6
    with pytest.raises(InputError, match=r"other settings \(--seed 0 there, 1 here\)"):
        write(run_dir, tmp_path / "many", num_samples=6, batch=3, seed=1)


def test_a_song_is_made_when_all_its_files_are_there_as_they_were_written(run_dir, tmp_path, monkeypatch, capsys):
    """What is missing is written from the JSON, not sampled again, and what was asked for later too."""
    many, settings = tmp_path / "many", {"num_samples": 3, "batch": 3}
    write(run_dir, many, **settings)
    before = {path.name: path.read_bytes() for path in many.iterdir()}
    assert sorted(before) == [f"000{number}.{suffix}" for number in range(3) for suffix in ("json", "mid")]
    capsys.readouterr()
    monkeypatch.setattr(compose.Ready, "sampler", lambda *_: pytest.fail("sampled again"))
    (many / "0001.mid").unlink()
    write(run_dir, many, **settings)
    assert "2 of 3 songs are there already" in capsys.readouterr().out
    write(run_dir, many, formats=outputs.Formats(picture=True, soundfont=None), **settings)
    assert {name: (many / name).read_bytes() for name in before if name.endswith(".mid")} == {
        name: content for name, content in before.items() if name.endswith(".mid")
    }
    assert len(list(many.glob("*.png"))) == 3
    (many / "0002.mid").write_bytes(b"edited since")
    with pytest.raises(InputError, match=r"0002.mid: exists already.*--overwrite"):
        write(run_dir, many, **settings)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Constraints(keep_bars=9), "--keep-bars 9: the given song has 4 bars"),
        (Constraints(bars=4), "--bars 4: the given song takes 4"),
        (Constraints(add="bass", bars=3), "--bars 3: the given song has 4 bars, which it keeps"),
        (Constraints(transpose=-48), "moves notes out of the MIDI range"),
        (Constraints(bars=40), "this model has room for 32 in all"),
        (Constraints(strict=True), r"would see only the last .* \(--max-length 90\)"),
    ],
)
def test_what_cannot_be_is_said_before_the_model_is_loaded(run_dir, given, tmp_path, monkeypatch, wanted, message):
    midi.write(given, tmp_path / "given.mid")
    monkeypatch.setattr(compose.Ready, "sampler", lambda *_: pytest.fail("loaded first"))
    with pytest.raises(InputError, match=message):
        write(run_dir, tmp_path / "new" / "x.mid", wanted, tmp_path / "given.mid", max_length=90)
    assert not (tmp_path / "new").exists()


def test_two_commands_do_not_write_into_one_folder(run_dir, tmp_path):
    (tmp_path / "many").mkdir()
    with only_writer(tmp_path / "many"), pytest.raises(InputError, match=r"many: process .* writes there"):
        write(run_dir, tmp_path / "many", num_samples=3, batch=3)


def test_no_file_of_the_user_s_is_written_over(run_dir, given, tmp_path):
    """Neither the song that is given, nor a picture or JSON beside it, nor a song changed since it was made."""
    song = tmp_path / "song.mid"
    midi.write(given, song)
    wanted, content = Constraints(bars=5), song.read_bytes()
    with pytest.raises(InputError, match=r"song.mid: is the file that is read; .*--overwrite"):
        write(run_dir, song, wanted, song)
    with pytest.raises(InputError, match=r"song.mid: exists already"):
        write(run_dir, song)
    (tmp_path / "new.png").write_bytes(b"a photograph")
    with pytest.raises(InputError, match=r"new.png: exists already"):
        write(run_dir, tmp_path / "new.mid", formats=outputs.Formats(picture=True, soundfont=None))
    (tmp_path / "new.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"new.json: exists already"):
        write(run_dir, tmp_path / "new.mid")
    assert song.read_bytes() == content and sorted(path.name for path in tmp_path.iterdir()) == [
        "new.json",
        "new.png",
        "song.mid",
    ]
    write(run_dir, song, overwrite=True)
    assert song.read_bytes() != content
    write(run_dir, song)  # its own, as it was written
    song.write_bytes(content)
    with pytest.raises(InputError, match=r"song.mid: exists already"):
        write(run_dir, song)


# ---------------------------------------------------------------- where it goes and what is said


SONG = Sample(ids("BOS BPM_19 TS_4/4 #P0 SEP Cmaj T0 P60 L4 V20 T8 P64 Gmaj T0 P67 EOS"), True, 0, 0)


@pytest.fixture
def made(monkeypatch):
    """Asking for songs costs no model: every one is SONG. The list of what was asked for."""
    asked = []

    class Ready:
        task = SimpleNamespace(whole=SONG.whole, parts=None)

        def __init__(self, config):
            self.config = config

        groups = Sampler.groups

        def group(self, numbers, on_token):
            return [dataclasses.replace(SONG, number=number, cut_short=number == 1) for number in numbers]

        def steps(self, numbers, stride):
            yield [SONG]

    def ready(request):
        asked.append(request)
        origin = outputs.Origin("run", 5, "00", plain(request.config), plain(request.wanted), None, {}, [], None, None)
        task = SimpleNamespace(whole=SONG.whole, parts=None)
        return SimpleNamespace(origin=origin, task=task, sampler=lambda: Ready(request.config))

    monkeypatch.setattr(compose.Request, "ready", ready)
    return asked


SHORT = "brought to an end for want of room (--bars or --max-length gives more)"


def made_of(**settings) -> compose.Request:
    return compose.Request("run", SampleConfig(**settings), Constraints())


def test_what_was_written_is_told_by_its_path(made, tmp_path, capsys):
    folder, file = tmp_path / "v1.2 take", tmp_path / "new" / "take.MID"
    assert compose.write_songs(made_of(num_samples=3), f"{file}", PLAIN, overwrite=False) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{file}: 16 tokens (checkpoint of step 5)",
        f"{file.with_stem('take-2')}: 16 tokens, {SHORT} (checkpoint of step 5)",
        f"{file.with_stem('take-3')}: 16 tokens (checkpoint of step 5)",
    ]
    assert sorted(path.name for path in file.parent.glob("*.MID")) == ["take-2.MID", "take-3.MID", "take.MID"]
    compose.write_songs(made_of(num_samples=3), folder, PLAIN, overwrite=False)
    line = f"{folder}: 3 songs written, 48 tokens, 1 song {SHORT} (checkpoint of step 5)\n"
    assert capsys.readouterr().out == line
    kept = [outputs.read(folder / f"000{number}.json").sample.cut_short for number in range(3)]
    assert kept == [False, True, False]
    compose.write_songs(made_of(num_samples=3), folder, PLAIN, overwrite=False)
    assert capsys.readouterr().out == f"{folder}: 3 of 3 songs are there already\n"


def test_a_song_goes_to_standard_output_as_nothing_but_a_midi_file(made, capfdbinary, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert compose.write_to_standard_output(made_of(), bars=True) == 0
    out, messages = capfdbinary.readouterr()
    (tmp_path / "x.mid").write_bytes(out)
    assert midi.read(tmp_path / "x.mid") == SONG.score()
    assert b"bar 2: Gmaj, 1 notes" in messages and b"standard output: 16 tokens" in messages
    assert [path.name for path in tmp_path.iterdir()] == ["x.mid"]


@pytest.mark.parametrize("name", ["x.json", "x.png", "x.wav", "x-2.json"])
def test_a_folder_in_the_place_of_a_file_is_found_before_sampling(made, tmp_path, name):
    (tmp_path / name).mkdir()
    formats = outputs.Formats(picture=True, soundfont=tmp_path / "font.sf2")
    with pytest.raises(InputError, match=rf"--out .*{name}: is a folder"):
        compose.write_songs(made_of(num_samples=2), tmp_path / "x.mid", formats, overwrite=True)
    assert not made


@pytest.mark.parametrize("name", ["song.mid", "many/", "new/many"])
def test_a_folder_that_takes_no_files_is_found_before_sampling(made, tmp_path, monkeypatch, name):
    def refuse(dir):
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(InputError, match=r"--out .*: cannot be written \(Permission denied\)"):
        compose.write_songs(made_of(), f"{tmp_path}/{name}", PLAIN, overwrite=True)
    assert not made and not list(tmp_path.iterdir())


def test_what_makes_a_song_again_has_the_length_that_nobody_asked_for(run_dir):
    """It may be another one elsewhere, where there is more memory."""
    ready = compose.Request(run_dir, SampleConfig(), Constraints()).ready()
    assert ready.origin.sampler["max_length"] == ready.task.config.max_length > 0


def test_a_song_is_made_again_where_asked(run_dir, tmp_path, capfdbinary):
    """Into a folder under the name of its JSON, and to standard output."""
    write(run_dir, tmp_path / "x.mid", max_length=48)
    compose.make_again(run_dir, tmp_path / "v1.2 takes", tmp_path / "x.json", PLAIN, overwrite=False)
    capfdbinary.readouterr()
    compose.make_again(run_dir, "-", tmp_path / "x.json", PLAIN, overwrite=False)
    out, messages = capfdbinary.readouterr()
    assert out == (tmp_path / "v1.2 takes" / "x.mid").read_bytes() == (tmp_path / "x.mid").read_bytes()
    assert b"standard output: the same" in messages


TRACED = """
import sys, jax
from jax_impl.cli import main
traced = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **more: traced.append(more.get("fun_name")) if "trace" in event else None
)
try:
    main()
except SystemExit as end:
    print(end.code, sum("go_on" in str(name) for name in traced))
"""


def test_the_next_process_writes_the_same_songs_and_traces_no_program(run_dir, tmp_path):
    midi.write(scale(8), tmp_path / "given.mid")
    variables = environment(HID_CACHE=str(tmp_path / "programs"))
    wanted = (["--bars", "3"], ["--continue", str(tmp_path / "given.mid")], ["--temperature", "0.5", "--bars", "2"])
    for name, traced in (("first", [1, 0, 0]), ("second", [0, 0, 0])):
        for number, words in enumerate(wanted):
            out = ["-o", str(tmp_path / f"{name}{number}.mid"), "--no-picture", "--max-length", "250"]
            program = [sys.executable, "-c", TRACED, "generate", str(run_dir), *out, *words]
            done = subprocess.run(program, cwd=ROOT, env=variables, capture_output=True, encoding="utf-8")
            assert done.stdout.splitlines()[-1] == f"0 {traced[number]}", done.stderr
    for number in range(len(wanted)):
        first, second = (tmp_path / f"{name}{number}.mid" for name in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()
