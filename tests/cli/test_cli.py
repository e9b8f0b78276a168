"""The command line: what each verb does, what it refuses and how it says so, and that light verbs stay light."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import pytest
from flax import nnx

from configs import ModelConfig
from jax_impl.model.museformer import MuseFormer
from jax_impl.training.checkpoint import Checkpoints
from jax_impl.training.record import Record, plain, versions
from jax_impl.training.step import TrainState
from tests import ROOT
from tests.runs import write_dataset
from tokenizer import vocabulary as vocab
from tokenizer.dataset.songs import Dataset
from tokenizer.disk.lock import only_writer
from tokenizer.grid.quantize import snap
from tokenizer.music import midi
from tokenizer.music.composer import compose
from tokenizer.tokens.decode import decode

VERBS = (
    "demo",
    "prepare",
    "check",
    "decode",
    "train",
    "generate",
    "evaluate",
    "export",
    "parity",
    "import-torch",
    "export-torch",
    "import-shards",
    "text",
)
V121_FLAGS = (
    "model-size",
    "batch-size",
    "max-seq-len",
    "gradient-accumulation-steps",
    "num-workers",
    "epochs",
    "learning-rate",
)


@pytest.fixture(scope="module")
def midi_dir(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("midi")
    for seed in range(4):
        midi.write(compose(seed), folder / f"{seed}.mid")
    return folder


def test_help_teaches_the_verbs_and_the_flags(run):
    status, out, _ = run("--help")
    assert status == 0
    for verb in VERBS:
        assert re.search(rf"• {verb} +\w+", out), verb
    status, out, _ = run("train", "--help")
    assert status == 0
    for flag in (*V121_FLAGS, "steps", "data-dir", "output-dir", "seed"):
        assert re.search(rf"--{flag} .*\n?.*\w", out), flag


def test_light_verbs_do_not_load_jax(midi_dir, tmp_path):
    verbs = [
        ["--help"],
        ["train", "--help"],
        ["check", midi_dir / "0.mid"],
        ["prepare", midi_dir, tmp_path / "songs", "--workers", 1],
    ]
    verbs.append(["decode", tmp_path / "songs", "--index", 0, "-o", tmp_path / "x.mid"])
    verbs.append(["text", tmp_path / "x.mid", "-o", tmp_path / "x.txt"])
    program = f"""
import sys
from jax_impl.cli import main
for arguments in {[[str(word) for word in verb] for verb in verbs]}:
    sys.argv = ["hid-museformer", *arguments]
    try:
        main()
    except SystemExit as exit_:
        assert not exit_.code, arguments
heavy = {{"jax", "flax", "torch", "orbax", "grain"}} & set(sys.modules)
assert not heavy, heavy
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, stdout=subprocess.DEVNULL)
    assert (tmp_path / "x.mid").exists()


def test_check_tells_exact_files_from_others_by_its_exit_status(run, midi_dir, tmp_path):
    status, out, _ = run("check", midi_dir / "0.mid", midi_dir / "1.mid")
    assert status == 0
    assert len(re.findall(r"^faithful +yes +\d+ +\d+ ", out, re.MULTILINE)) == 2
    broken = tmp_path / "broken.mid"
    broken.write_bytes(b"MThd but not really")
    status, out, _ = run("check", midi_dir / "0.mid", broken)
    assert status == 1
    assert re.search(f"^unreadable +{broken}\n    ", out, re.MULTILINE)
    assert "2 files: 1 faithful, 1 unreadable; 1 exact" in out
    status, out, _ = run("check", midi_dir)
    assert status == 0 and out.count(" yes ") == 4, "a folder stands for the files in it"
    (tmp_path / "void").mkdir()
    status, _, error = run("check", tmp_path / "void")
    assert status == 2 and "neither a dataset (no manifest.json) nor a folder with MIDI files" in error


def test_check_looks_at_every_dataset_of_a_mixture_and_goes_on_after_one_that_cannot_be_opened(run, midi_dir, tmp_path):
    for name in ("one", "other"):
        assert run("prepare", midi_dir, tmp_path / name, "--workers", 1)[0] == 0
    (tmp_path / "mixture.json").write_text('{"datasets": {"one": 1, "other": 0.5}}', encoding="utf-8")
    status, out, _ = run("check", tmp_path)
    assert status == 0 and out.count("nothing wrong") == 2
    (tmp_path / "one" / "manifest.json").write_text("{", encoding="utf-8")
    status, out, _ = run("check", tmp_path)
    assert status == 1 and "damaged" in out and out.count("nothing wrong") == 1


def test_a_prepared_song_decodes_to_the_file_it_came_from(run, midi_dir, tmp_path):
    songs, path = tmp_path / "songs", tmp_path / "again.mid"
    assert run("prepare", midi_dir, songs, "--workers", 1)[0] == 0
    status, out, _ = run("decode", songs, "--index", 1, "-o", path)
    assert status == 0
    source = midi_dir / Path(Dataset(songs)["train"].source(1)).name
    assert source.name in out
    assert snap(midi.read(path)) == snap(midi.read(source))


def test_text_goes_from_midi_and_back(run, midi_dir, tmp_path):
    status, out, _ = run("text", midi_dir / "0.mid", "--lossless")
    assert status == 0 and out.startswith("H ") and "CHORDS 0:" in out
    (tmp_path / "a.txt").write_text(out, encoding="utf-8")
    assert run("text", tmp_path / "a.txt", "-o", tmp_path / "a.mid")[0] == 0
    assert snap(midi.read(tmp_path / "a.mid")) == snap(midi.read(midi_dir / "0.mid"))
    for words, message in (
        (["text", tmp_path / "a.txt"], "name it with -o x.mid"),
        (["text", tmp_path / "a.txt", "--lossless", "-o", tmp_path / "b.mid"], "leave the flag out"),
        (["text", tmp_path / "nothing.txt", "-o", tmp_path / "b.mid"], "nothing.txt: no such file"),
        (["text", tmp_path / "nothing"], "nothing: no such file"),
    ):
        status, _, error = run(*words)
        assert status == 2 and message in error and error.count("\n") == 1
    assert not (tmp_path / "b.mid").exists()


@pytest.mark.parametrize("name", ["song.mid", "SONG.MIDI", "song.kar", "song.rmi", "song", "song.txt"])
def test_text_takes_a_midi_file_for_what_it_is_whatever_its_name(run, midi_dir, tmp_path, name):
    midi.write(midi.read(midi_dir / "0.mid"), tmp_path / name)
    assert run("text", tmp_path / name) == run("text", midi_dir / "0.mid")


@pytest.mark.parametrize("verb", ["MIDI to text", "text to MIDI", "decode", "export-torch", "parity"])
def test_a_file_that_is_there_is_written_over_only_when_that_is_said(run, midi_dir, tmp_path, verb):
    """Before any work: what else these verbs need is not even there."""
    (tmp_path / "a.txt").write_text("H 0 480 Q\n", encoding="utf-8")
    names = {"MIDI to text": "x.txt", "export-torch": "x.pt", "parity": "masks.png"}
    there = tmp_path / names.get(verb, "x.mid")
    there.write_bytes(b"the user's")
    words = {
        "MIDI to text": ["text", midi_dir / "0.mid", "-o", there],
        "text to MIDI": ["text", tmp_path / "a.txt", "-o", there],
        "decode": ["decode", tmp_path / "nowhere", "--index", 0, "-o", there],
        "export-torch": ["export-torch", tmp_path / "nowhere", there],
        "parity": ["parity", "--checkpoint", tmp_path / "nowhere", "--plot", there],
    }[verb]
    status, _, error = run(*words)
    assert status == 2 and str(there) in error and "--overwrite" in error and error.count("\n") == 1
    assert there.read_bytes() == b"the user's"
    status, _, error = run(*words, "--overwrite")
    assert "to write over it" not in error  # the flag is known and allows it


def test_text_does_not_write_over_the_file_that_it_reads(run, tmp_path):
    (tmp_path / "a.txt").write_text("H 0 480 Q\n", encoding="utf-8")
    os.link(tmp_path / "a.txt", tmp_path / "a.mid")  # another name of the same file
    status, _, error = run("text", tmp_path / "a.txt", "-o", tmp_path / "a.mid")
    assert status == 2 and "a.mid: is the file that is read" in error
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "H 0 480 Q\n"


@pytest.mark.parametrize(("number", "status", "said"), [(signal.SIGTERM, -15, ""), (signal.SIGINT, 130, "stopped\n")])
def test_a_verb_that_is_stopped_leaves_no_lock_that_holds(tmp_path, number, status, said):
    program = (
        f"import os, sys\nfrom jax_impl.cli import main\nfrom tokenizer.disk import lock\n"
        "from tokenizer.dataset import prepare\n"
        "def stopped(folders, out, config):\n"
        f"    with lock.only_writer(folders[0]):\n        os.kill(os.getpid(), {int(number)})\n"
        "prepare.prepare = stopped\nmain()"
    )
    command = [sys.executable, "-c", program, "prepare", tmp_path, tmp_path / "out"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stderr) == (status, said)
    with only_writer(tmp_path):
        pass


@pytest.mark.parametrize(
    "what", ["import loading", "import gc, hooked; gc.callbacks.append(hooked.hook); gc.collect()"]
)
def test_ctrl_c_waits_for_the_end_of_an_import_and_of_a_hook_that_would_lose_it(tmp_path, what):
    meanwhile = "os.kill(os.getpid(), signal.SIGINT)\n{indent}time.sleep(0.1)\n{indent}print('to its end')\n"
    (tmp_path / "loading.py").write_text("import os, signal, time\n" + meanwhile.format(indent=""), encoding="utf-8")
    (tmp_path / "hooked.py").write_text(
        "import os, signal, time\ndef hook(phase, _):\n    if phase == 'stop': return\n    "
        + meanwhile.format(indent=" " * 4),
        encoding="utf-8",
    )
    program = (
        "import time\nfrom jax_impl.cli import main\nfrom tokenizer.dataset import prepare\n"
        f"def waits(*_):\n    {what}\n    time.sleep(60)\n"
        "prepare.prepare = waits\nmain()"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    command = [sys.executable, "-c", program, "prepare", tmp_path, tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (130, "to its end\n", "stopped\n")


def test_generate_needs_nothing_but_the_checkpoint(run, tmp_path):
    model = ModelConfig(layers=1, width=64, ffn=64, max_bars=32)
    parameters = nnx.to_pure_dict(nnx.state(MuseFormer(model, nnx.Rngs(0))))
    record = Record(5, plain(model), {}, 10, {}, "", {}, vocab.FINGERPRINT, versions(), {})
    with Checkpoints(tmp_path / "run", keep_last=1) as checkpoints:
        checkpoints.save(TrainState(parameters, {"count": jnp.zeros(())}, 5), record, 1.0)
    status, out, _ = run(
        "generate", tmp_path / "run", "-o", tmp_path / "x.mid", "--max-length", 48, "--num-samples", 2, "--seed", 1
    )
    assert status == 0 and "step 5" in out
    assert midi.read(tmp_path / "x.mid") is not None and midi.read(tmp_path / "x-2.mid") is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data-dir", "/nowhere", "--output-dir", "run"], "/nowhere: no such dataset"),
        (
            ["train", "--data-dir", "a", "--output-dir", "run", "--batch-size", "0"],
            "--batch-size must be at least 1, got 0",
        ),
        (["generate", "/nowhere", "-o", "x.mid"], "/nowhere: no checkpoints here"),
        (["generate", "run", "-o", "x.mid", "--top-p", "2"], "--top-p must be above 0 and at most 1"),
        (["generate", "/nowhere"], "--out is missing"),
        (["generate", "/nowhere", "-o", "x.mid", "--accompany", "a.mid"], "--accompany needs --add"),
        (["generate", "/nowhere", "-o", "x.mid", "--continue", "a.mid", "--add", "bass"], "give one of the two"),
        (["generate", "/nowhere", "-o", "x.mid", "--continue", "/nowhere.mid"], "/nowhere.mid: cannot be read"),
        (["generate", "run", "--again", "x.json", "-o", "y.mid", "--seed", "1"], "--seed does not go with it"),
        (
            ["generate", "run", "--again", "x.json", "-o", "y", "--bars", "8", "--no-grammar", "--num-samples", "2"],
            "--again makes the song of x.json as it was made: --no-grammar, --num-samples, --bars do not go with it",
        ),
        (["generate", "run", "--again", "x.json", "-o", "y.mid", "--continue", "a.mid"], "--continue does not go"),
        (["generate", "run", "--again", "x.json", "--stream"], "--stream does not go with it"),
        (["generate", "run", "--again", "x.json", "-o", "y.mid", "--checkpoint", "5"], "--checkpoint does not go"),
        (["generate", "run", "--stream", "--num-samples", "2"], "--stream plays one song: --num-samples does not go"),
        (["generate", "run", "-o", "x.mid", "--strict"], "--strict needs a given song"),
        (["generate", "run", "-o", "x.mid", "--pedal", "ignore"], "--pedal is that of a given song"),
        (["generate", "run", "-o", "x.mid", "--align", "keep"], "--align is for a given song"),
        (["generate", "run", "--stream", "--wav"], "--stream without --out writes no file: --wav does not go"),
        (["generate", "run", "--stream", "--no-picture", "--overwrite"], "--no-picture, --overwrite do not go"),
        (["generate", "run", "-o", "-", "--num-samples", "2", "--wav"], "standard output: --num-samples, --wav do not"),
        (["generate", "run", "-o", "-", "--overwrite"], "--overwrite does not go with it"),
        (["evaluate", "/nowhere"], "/nowhere: no checkpoints here"),
        (
            ["evaluate", "run", "--samples", "-1"],
            "--samples must be from 1 to 1000000, or 0 (the losses alone), got -1",
        ),
        (["evaluate", "run", "--split", "train"], "--split"),
        (["decode", "/nowhere", "--index", "0", "-o", "x.mid"], "/nowhere: no such dataset"),
        (["decode", "/nowhere", "--index", "0", "-o", "new/folder/x.mid"], "/nowhere: no such dataset"),
        (["prepare", "/nowhere", "songs"], "/nowhere: no such file or folder"),
        (["prepare", "songs"], "name at least one folder of MIDI files"),
        (["check"], "name at least one MIDI file"),
        (["check", "x.mid", "--workers", "-3"], "--workers must be from 1 to 4096, or 0"),
        (["merge", "a", "b", "--workers", "-3"], "--workers must be from 1 to 4096, or 0"),
        (["demo", "--midi", "/nowhere", "--out", "demo"], "/nowhere: no such file or folder"),
        (["demo", "--train", "--midi", "/nowhere", "--out", "demo"], "/nowhere: no such file or folder"),
        (["demo", "--train", "--wav"], "--train writes one song and its picture: --wav does not go with it"),
    ],
)
def test_what_cannot_be_is_one_line_and_status_2(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, _, err = run(*arguments)
    assert status == 2
    assert err.startswith("error: ") and message in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())  # nothing was begun


def test_an_index_that_is_not_there_names_those_that_are(run, tmp_path):
    songs = write_dataset(tmp_path / "songs", songs=16)
    status, _, err = run("decode", songs, "--index", 14, "-o", tmp_path / "x.mid")
    assert status == 2 and "has the train songs 0 to 13" in err


def test_sigterm_ends_training_with_a_checkpoint_and_status_143(tmp_path):
    songs, output = write_dataset(tmp_path / "songs"), tmp_path / "run"
    flags = dict(
        data_dir=songs,
        output_dir=output,
        model_size="tiny",
        max_seq_len=64,
        max_spans=32,
        batch_size=1,
        dropout=0,
        attention="reference",
        remat="none",
        num_workers=1,
        log_every=1,
    )
    flags |= dict(steps=100_000, validate_every=100_000, checkpoint_every=100_000, validation_batches=1)
    words = [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    program = [sys.executable, "-m", "jax_impl.cli", "train", *words]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, encoding="utf-8")
    while not (output / "metrics.jsonl").exists() or not (output / "metrics.jsonl").read_text(encoding="utf-8"):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate()
    assert process.returncode == 143
    step = int(re.search(r"stopped by SIGTERM after step (\d+), saved", out).group(1))
    with Checkpoints(output, keep_last=None) as checkpoints:
        assert checkpoints.choose("latest") == step
        assert checkpoints.record(step).data["batches"] == step


def test_decoding_writes_what_the_dataset_holds(tmp_path, run):
    songs = write_dataset(tmp_path / "songs", songs=8)
    assert run("decode", songs, "--index", 0, "--split", "validation", "-o", tmp_path / "x.mid")[0] == 0
    assert snap(midi.read(tmp_path / "x.mid")) == decode(Dataset(songs)["validation"][0].ids)
