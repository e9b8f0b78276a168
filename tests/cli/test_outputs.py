"""What -o may name: one rule for every verb, and where something was written, a line that says where."""

import dataclasses
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from configs import Constraints, InputError, SampleConfig
from jax_impl import cli
from jax_impl.cli import songs, v121
from jax_impl.sampling import asked, compose, outputs
from jax_impl.sampling.sample import Sample
from jax_impl.training.record import plain
from tests.runs import write_dataset
from tests.tokenizer.given_file import FILES
from tokenizer.disk import destination
from tokenizer.music import midi
from tokenizer.music.composer import compose as compose_song
from tokenizer.tokens import text
from tokenizer.tokens.encode import encode
from tokenizer.tokens.given import given_song
from tokenizer.tokens.whole import whole_song

VERBS = ("decode", "text", "generate", "again")
MIDI_NAMES = (  # what is typed, and what is written
    ("take.mid", "take.mid"),
    ("take.MID", "take.MID"),
    ("take.midi", "take.midi"),
    ("take.kar", "take.kar"),
    ("take.rmi", "take.rmi"),
    ("v1.2 take.mid", "v1.2 take.mid"),
    ("new/folder/take.mid", "new/folder/take.mid"),
    ("there", "there/{own}"),
    ("there.mid", "there.mid/{own}"),
    ("new/", "new/{own}"),
    ("new.mid/", "new.mid/{own}"),
    ("new", "new/{own}"),
    ("v1.2 take", "v1.2 take/{own}"),
)
OTHER_NAMES = (
    ("take.txt", "is the name of a text file; a MIDI file ends in .mid, .midi, .kar or .rmi"),
    ("take.WAV", "is the name of a sound file; a MIDI file ends"),
    ("take.mp3", "is the name of a sound file"),
    ("take.png", "is the name of a PNG picture"),
    ("take.json", "is the name of a JSON file"),
    ("takes/.MID", "nothing stands before .mid: give the file a name"),
    ("takes/.png", "is the name of a PNG picture"),
    ("a file", "is there and is no folder"),
    ("", "--out is empty"),
)


SONG = Sample(encode(compose_song(0)).ids, True, 0, 0)
ORIGIN = outputs.Origin("run", 5, "00", plain(SampleConfig()), plain(Constraints()), None, {}, [], None, None)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A MIDI file, its text, a dataset, and the JSON of a sample."""
    folder = tmp_path_factory.mktemp("sources")
    midi.write(compose_song(0), folder / "song.mid")
    (folder / "song.txt").write_text(text.to_text(compose_song(0), lossless=True), encoding="utf-8")
    write_dataset(folder / "songs", songs=8)
    outputs.write(SONG, ORIGIN, folder / "sample.mid", outputs.Formats(picture=False, soundfont=None))
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there.mid").mkdir()
    (tmp_path / "a file").write_bytes(b"the user's")
    return tmp_path


@pytest.fixture(autouse=True)
def no_model(monkeypatch):
    """Sampling costs none: every song is SONG."""
    ready = SimpleNamespace(origin=ORIGIN, sampler=lambda: None)
    monkeypatch.setattr(compose.Request, "ready", lambda request: ready)
    monkeypatch.setattr(
        compose, "sampled", lambda _, numbers, *__: [dataclasses.replace(SONG, number=i) for i in numbers]
    )
    monkeypatch.setattr(compose, "_same_sample", lambda *_: SONG)


def command(verb: str, sources) -> tuple[list, str]:
    """All of it but -o, and the name that the verb gives a file in a folder."""
    return {
        "decode": (["decode", sources / "songs", "--index", 2], "train-2.mid"),
        "text": (["text", sources / "song.txt"], "song.mid"),
        "generate": (["generate", "run", "--no-picture"], "0000.mid"),
        "again": (["generate", "run", "--no-picture", "--again", sources / "sample.json"], "sample.mid"),
    }[verb]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(("typed", "written"), MIDI_NAMES)
def test_a_name_says_what_is_written_and_a_line_says_where(run, here, sources, verb, typed, written):
    words, own = command(verb, sources)
    path = here / written.format(own=own)
    status, out, error = run(*words, "-o", typed)
    assert (status, error) == (0, "")
    told = path.parent if verb == "generate" and "{own}" in written else path
    assert out.startswith(f"{told.relative_to(here)}: ") and out.count("\n") == 1
    assert midi.read(path).tracks
    there = {file for file in here.rglob("*") if file.is_file()}
    assert there - {path.with_suffix(".json")} == {path, here / "a file"}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(("typed", "message"), OTHER_NAMES)
def test_a_name_of_something_else_is_refused_before_any_work(run, here, sources, verb, typed, message):
    before = sorted(here.rglob("*"))
    status, _, error = run(*command(verb, sources)[0], "-o", typed)
    assert status == 2 and message in error and error.count("\n") == 1
    assert sorted(here.rglob("*")) == before and (here / "a file").read_bytes() == b"the user's"


@pytest.mark.parametrize("verb", VERBS)
def test_standard_output_gets_the_midi_file_alone(here, sources, verb, monkeypatch, capfdbinary):
    words = [str(word) for word in command(verb, sources)[0] if word != "--no-picture"]
    monkeypatch.setattr(sys, "argv", ["hid-museformer", *words, "-o", "-"])
    before = sorted(here.rglob("*"))
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    out, messages = capfdbinary.readouterr()
    assert not exit_.value.code and out.startswith(b"MThd")
    assert verb == "text" or messages.startswith(b"standard output: ")
    assert sorted(here.rglob("*")) == before
    (here / "out.mid").write_bytes(out)
    assert midi.read(here / "out.mid").tracks


def test_a_midi_file_is_not_thrown_onto_a_terminal(run, sources, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    status, out, error = run("text", sources / "song.txt", "-o", "-")
    assert status == 2 and not out and "standard output is a terminal" in error


@pytest.mark.parametrize("suffix", [".mid", ".MIDI", ".kar", ".rmi"])
def test_text_of_a_midi_file_is_no_midi_file(run, here, sources, suffix):
    """Whatever suffix of MIDI the one that is read has."""
    source = here / f"song{suffix}"
    midi.write(compose_song(0), source)
    status, _, error = run("text", source, "-o", f"other{suffix}")
    assert status == 2 and "is the name of a MIDI file; a text file ends in .txt" in error
    for typed, written in (("a.txt", "a.txt"), ("texts", "texts/song.txt"), ("v1.2", "v1.2/song.txt")):
        status, out, error = run("text", source, "-o", typed)
        assert (status, error) == (0, "") and out.startswith(f"{written}: ")
        assert (here / written).read_text(encoding="utf-8").startswith("H ")
    assert run("text", source, "-o", "-") == run("text", source)


def test_a_rmi_file_is_midi_in_a_riff_wrapper(tmp_path):
    midi.write(compose_song(0), tmp_path / "song.mid")
    midi.write(compose_song(0), tmp_path / "song.RMI")
    content, wrapped = ((tmp_path / name).read_bytes() for name in ("song.mid", "song.RMI"))
    length = len(content).to_bytes(4, "little")
    assert wrapped[8:] == b"RMIDdata" + length + content + bytes(len(content) % 2)
    assert wrapped[:8] == b"RIFF" + (len(wrapped) - 8).to_bytes(4, "little")


@pytest.mark.parametrize("name", ["a.mid", "a.rmi"])
def test_the_json_of_a_song_holds_the_given_file_from_which_the_same_song_is_made(tmp_path, name):
    """Read once: what becomes of it later changes nothing."""
    raw = FILES["type 0"]
    (tmp_path / "given.mid").write_bytes(raw)
    wanted = Constraints(add="48")
    prompt, _ = asked.given(tmp_path / "given.mid", wanted.pedal, wanted.align)
    (tmp_path / "given.mid").write_bytes(b"another")
    found = SimpleNamespace(run="run", record=SimpleNamespace(step=5, checksums={}))
    origin = outputs.Origin.of(found, SampleConfig(), wanted, prompt)
    whole = whole_song(given_song(prompt, wanted), 0, wanted)
    bare = outputs.Formats(picture=False, soundfont=None)
    song = dataclasses.replace(SONG, ids=prompt.ids, whole=whole)
    outputs.write(song, origin, tmp_path / name, bare)
    written = (tmp_path / name).read_bytes()
    assert written.startswith(b"RIFF" if name.endswith(".rmi") else b"MThd") and b"My song" in written
    again = outputs.read(tmp_path / "a.json").origin
    assert again == origin and again.given().own.file.raw == raw
    whole = whole_song(given_song(again.given(), wanted), 0, wanted)
    assert whole.midi(prompt.ids) == song.midi()
    values = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    for damaged in ("????", "AAAA", values["prompt_file"][:-8]):
        (tmp_path / "b.json").write_text(json.dumps(values | {"prompt_file": damaged}), encoding="utf-8")
        with pytest.raises(InputError, match=r"b\.json: not the JSON of a sample"):
            outputs.read(tmp_path / "b.json")


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("x.png", "x.png"),
        ("x.PNG", "x.PNG"),
        ("pictures", "pictures/masks.png"),
        ("new/a/x.png", "new/a/x.png"),
        ("x.mid", None),
    ],
)
def test_a_picture_of_masks_goes_by_the_same_rule(here, monkeypatch, typed, written):
    class Report:
        def parity(checkpoint, size, plot, overwrite):
            plot.write_bytes(b"a picture")
            return True

    monkeypatch.setattr(v121, "_with_torch", lambda _: Report)
    if written:
        assert v121.parity(plot=typed) == 0 and (here / written).exists()
    else:
        with pytest.raises(destination.InputError, match=r"--plot x.mid: is the name of a MIDI file; a PNG picture"):
            v121.parity(plot=typed)


@pytest.mark.parametrize(
    ("typed", "written"), [("new.pt", "new.pt"), ("new/new.CKPT", "new/new.CKPT"), ("there", "there/run.pt")]
)
def test_an_exported_checkpoint_goes_by_the_same_rule(run, here, monkeypatch, typed, written):
    class Convert:
        def export_torch(run, path):
            path.write_bytes(b"a checkpoint")

    monkeypatch.setattr(v121, "_with_torch", lambda _: Convert)
    status, out, error = run("export-torch", "run", typed)
    assert (status, error) == (0, "") and out.startswith(f"{written}: ") and (here / written).exists()
    status, _, error = run("export-torch", "run", "-")
    assert status == 2 and "a PyTorch file does not go to standard output" in error


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("typed", ["/dev/null/x.mid", "a file/b/x.mid", "x" * 300 + ".mid"])
def test_what_cannot_be_written_is_said_before_any_work(run, here, sources, verb, typed, monkeypatch):
    for module, name in ((compose.Request, "ready"), (compose, "_same_sample"), (text, "read"), (songs, "_song")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("worked first"))
    before = sorted(here.rglob("*"))
    status, _, error = run(*command(verb, sources)[0], "-o", typed, "--overwrite")
    said = (
        f"--out {Path(typed).parent}: cannot be a folder, a file is in the way"
        if "/" in typed
        else "File name too long"
    )
    assert status == 2 and said in error and error.count("\n") == 1
    assert sorted(here.rglob("*")) == before


def test_folders_that_nothing_was_written_in_go_again(here):
    with destination.folder_for([here / "new" / "folder" / "x.mid"], "--out"):
        assert (here / "new" / "folder").is_dir()
    assert not (here / "new").exists() and (here / "there").exists()
