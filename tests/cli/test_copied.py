"""A line of `generate` says what a new song has of training songs, once the song is there, and harms nothing."""

import dataclasses
import json
import sys
from types import SimpleNamespace

import pytest

from configs import Constraints, SampleConfig
from jax_impl import cli
from jax_impl.cli import copied
from jax_impl.evaluation import copies, known
from jax_impl.evaluation.copies import Copies, Known
from jax_impl.sampling import compose, outputs
from jax_impl.sampling.sample import Sample
from jax_impl.training.record import Record, plain
from tests.runs import write_dataset
from tokenizer import vocabulary as vocab
from tokenizer.dataset.songs import Dataset
from tokenizer.grid.quantize import snap
from tokenizer.music import midi
from tokenizer.music.composer import compose as composed
from tokenizer.tokens.decode import decode
from tokenizer.tokens.encode import encode
from tokenizer.tokens.given import given_song, prompt_of
from tokenizer.tokens.whole import whole_song

ORIGIN = outputs.Origin("run", 5, "00", plain(SampleConfig()), plain(Constraints()), None, {}, [], None, None)
SAID = "longest passage known from training: "


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data") / "songs", songs=8, bars=8)


@pytest.fixture(autouse=True)
def run_of_these(songs, tmp_path, monkeypatch):
    """A run that was trained on these songs, the first of which is all that it writes."""
    dataset = Dataset(songs)
    record = Record(5, {}, {"data_dir": str(songs)}, 8, {}, dataset.fingerprint, {}, vocab.FINGERPRINT, {})
    found = SimpleNamespace(record=record)
    monkeypatch.setattr(copied, "find", lambda run, step: found)
    sample = Sample(dataset["train"][0].ids, True, 0, 0)
    ready = SimpleNamespace(origin=ORIGIN, sampler=lambda: None)
    monkeypatch.setattr(compose.Request, "ready", lambda request: ready)
    written = lambda _, numbers, *__: [dataclasses.replace(sample, number=number) for number in numbers]
    monkeypatch.setattr(compose, "sampled", written)
    monkeypatch.setattr(compose, "_same_sample", lambda *_: sample)
    monkeypatch.setenv("HID_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr("jax_impl.cli.process.keep_programs", lambda: None)
    monkeypatch.chdir(tmp_path)
    return found


def generate(run, *words: str) -> tuple[int, str, str]:
    return run("generate", "run", "--no-picture", *words)


def test_a_line_says_what_is_known_and_so_does_the_json(run, tmp_path, songs):
    status, out, _ = generate(run, "-o", "new.mid")
    first, notice, line = out.splitlines()
    assert not status and first.startswith("new.mid: ") and notice.startswith("notice: an index of the notes of 7")
    assert line.startswith(f"new.mid: {SAID}") and " = song 1.mid bar" in line and "semitones" not in line
    assert line.endswith("; 100% of its bars occur there")
    found = json.loads((tmp_path / "new.json").read_text(encoding="utf-8"))["copies"]
    assert found == copies.open_index(songs).copies(Dataset(songs)["train"][0]).plain()
    assert outputs.beside(tmp_path / "new.mid").origin == ORIGIN
    _, again, _ = generate(run, "-o", "again.mid", "--again", "new.json")
    assert again.splitlines()[1] == line.replace("new.mid", "again.mid")


def test_songs_are_there_before_anything_is_compared(run, tmp_path, monkeypatch):
    there = []

    def look(*_):
        there.extend(sorted(path.name for path in (tmp_path / "many").iterdir()))
        return open_index(*_)

    open_index = copies.open_index
    monkeypatch.setattr(copies, "open_index", look)
    _, out, _ = generate(run, "-o", "many", "--num-samples", "2")
    assert {"0000.json", "0000.mid", "0001.json", "0001.mid"} <= set(there)
    assert [line.partition(": ")[0] for line in out.splitlines()] == [
        "many",
        "notice",
        "many/0000.mid",
        "many/0001.mid",
    ]
    assert generate(run, "-o", "many", "--num-samples", "2")[1].count(SAID) == 0  # none was written


def test_standard_output_has_the_midi_file_alone(tmp_path, monkeypatch, capfdbinary):
    monkeypatch.setattr(sys, "argv", ["hid-museformer", "generate", "run", "-o", "-"])
    with pytest.raises(SystemExit):
        cli.main()
    out, messages = capfdbinary.readouterr()
    (tmp_path / "out.mid").write_bytes(out)
    assert midi.read(tmp_path / "out.mid").tracks
    assert f"the song: {SAID}".encode() in messages


@pytest.mark.parametrize("why", ["not asked for", "other songs", "no songs", "no checkpoint"])
def test_nothing_is_said_where_the_songs_are_not_at_hand(run, run_of_these, tmp_path, monkeypatch, why):
    if why == "other songs":
        run_of_these.record = dataclasses.replace(run_of_these.record, dataset="another")
    if why == "no songs":
        nowhere = {"data_dir": str(tmp_path / "nowhere")}
        run_of_these.record = dataclasses.replace(run_of_these.record, train=nowhere)
    if why == "no checkpoint":
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        assert copied.tell(tmp_path, 5, [compose.Done(None, None)]) is None
        return
    status, out, error = generate(run, "-o", "new.mid", *["--no-copies"] * (why == "not asked for"))
    assert (status, out.count("\n"), error) == (0, 1, "") and not (tmp_path / "kept").exists()
    assert "copies" not in json.loads((tmp_path / "new.json").read_text(encoding="utf-8"))


def test_what_is_against_it_is_a_notice(run, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HID_CACHE", str(tmp_path / "file"))
    status, out, _ = generate(run, "-o", "new.mid")
    assert status == 0 and (tmp_path / "new.mid").exists()
    *_, last = out.splitlines()
    assert last.startswith("notice: no word on what is known from training: ") and "cannot be written" in last


def test_given_notes_are_the_users():
    """Of a song that is gone on with only what is new is compared."""
    end, score = 4 * 4 * 480, snap(composed(0))
    playing = [track for track in score.tracks if track.notes["onset_ticks"].min() < end]
    ids = encode(dataclasses.replace(score, tracks=tuple(playing))).ids
    wanted = Constraints(keep_bars=4)
    given = given_song(prompt_of(ids), wanted)
    sample = Sample(ids, True, 0, 0, whole=whole_song(given, 0, wanted))
    is_new = lambda track: track.notes[track.notes["onset_ticks"] >= end]
    new = [is_new(track) for track in decode(ids).tracks]
    compared = known.new_of(sample)
    assert [track.notes.tolist() for track in compared.tracks] == [notes.tolist() for notes in new if len(notes)]
    assert 0 < sum(map(len, new)) < sum(len(track.notes) for track in decode(ids).tracks)
    alone = Sample(ids, True, 0, 0)
    assert known.new_of(alone) == decode(ids)


def test_drums_are_told_of_where_there_is_nothing_else():
    drums = copies.Passage(16, 12, "Drums", (1, 2), "beat.mid", (5, 6), 0)
    found = Copies(None, drums, Known(0, 0), Known(1, 3))
    assert known.line("x.mid", found) == (
        f"x.mid: {SAID}16 notes, 12 without what it says again (Drums, bars 1-2) = song beat.mid bars 5-6; 33% of its "
        "bars occur there"
    )
    nothing = Copies(None, None, Known(0, 0), Known(0, 0))
    assert known.line("x.mid", nothing) == "x.mid: no passage is known from training"
