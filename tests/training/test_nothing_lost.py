"""What must not be lost: weights, checkpoints, files of a run; and what trains all the same, with little or nothing."""

import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import InputError, PrepareConfig
from jax_impl.model.museformer import MuseFormer
from jax_impl.training import metrics, resume, rollback, train
from jax_impl.training.checkpoint import Checkpoints
from jax_impl.training.found import CheckpointError
from jax_impl.training.optimizer import optimizer
from jax_impl.training.progress import Diverged
from jax_impl.training.record import Record, plain, versions
from jax_impl.training.step import TrainState
from tests import ROOT
from tests.rows import random_song
from tests.runs import MODEL, config, wait_for
from tests.training.equal_runs import assert_equal_runs, send_after
from tokenizer import vocabulary as vocab
from tokenizer.dataset.files import write_manifest
from tokenizer.dataset.shards import write_batch
from tokenizer.dataset.songs import record_batch, to_row


def steps_of(run: Path) -> list[int]:
    return sorted(int(folder.name) for folder in (run / "checkpoints").iterdir())


def test_imported_weights_are_never_trained_over(dataset, tmp_path):
    parameters = nnx.to_pure_dict(nnx.state(MuseFormer(MODEL, nnx.Rngs(0))))
    imported = TrainState(parameters, optimizer(config(Path(), Path()).as_new(), lambda step: 1e-3).init(parameters), 0)
    about = Record(0, plain(MODEL), {}, 0, {}, "", {}, vocab.FINGERPRINT, versions())
    with Checkpoints(tmp_path, keep_last=1) as checkpoints:
        checkpoints.save(imported._replace(step=jnp.zeros((), jnp.int32)), about, None)
    with pytest.raises(CheckpointError, match=r"imported weights \(step 0\).*--init-from .* another --output-dir"):
        train.train(config(dataset, tmp_path), MODEL)
    assert steps_of(tmp_path) == [0]


def test_the_same_command_goes_back_once_and_then_on(dataset, uninterrupted, tmp_path, monkeypatch, capsys):
    settings = config(dataset, tmp_path, checkpoint_every=2, keep_last=8)
    train.train(settings, MODEL)
    back = dataclasses.replace(settings, resume_from=4)
    send_after(monkeypatch, 6, signal.SIGTERM)
    stopped = train.train(back, MODEL).step
    assert stopped in (6, 7)
    assert "went back to step 4: checkpoints 6, 8 deleted" in capsys.readouterr().out
    assert train.train(back, MODEL).step == 8
    assert f"already went back to step 4; going on from {stopped} (to go back once more, remove" in (
        capsys.readouterr().out
    )
    assert_equal_runs(tmp_path, uninterrupted)


@pytest.mark.parametrize("again", [4, None])
@pytest.mark.parametrize("ends_in", ["write", "delete"])
def test_going_back_that_was_ended_half_way_is_finished(tmp_path, monkeypatch, again, ends_in):
    """Between any two of: saying so, deleting one, deleting the other, saying that it is done."""
    with Checkpoints(tmp_path, keep_last=8) as checkpoints:
        for step in (2, 4, 6, 8):
            checkpoints.save(*small_state(step), None)

    class Ended(Exception):
        pass

    def end_after(function, calls):
        def ended(*arguments):
            calls.append(1)
            if len(calls) == 2:
                raise Ended
            function(*arguments)

        return ended

    with Checkpoints(tmp_path, keep_last=8) as checkpoints:
        if ends_in == "write":
            monkeypatch.setattr(rollback, "write", end_after(rollback.write, []))
        else:
            monkeypatch.setattr(checkpoints._manager, "delete", end_after(checkpoints._manager.delete, []))
        with pytest.raises(Ended):
            resume.go_back(tmp_path, checkpoints, 4)
    monkeypatch.undo()
    with Checkpoints(tmp_path, keep_last=8) as checkpoints:
        assert rollback.begin(tmp_path, checkpoints, again) == (4, True)
        resume.go_back(tmp_path, checkpoints, 4)
        assert rollback.begin(tmp_path, checkpoints, again) == (4, False)
    assert steps_of(tmp_path) == [2, 4]


def small_state(step: int) -> tuple[TrainState, Record]:
    about = Record(step, plain(MODEL), {}, 8, {}, "", {}, vocab.FINGERPRINT, versions())
    return TrainState({"a": jnp.ones(3)}, {"b": jnp.ones(3)}, jnp.asarray(step, jnp.int32)), about


def test_going_back_where_there_is_nothing_makes_nothing(dataset, tmp_path):
    with pytest.raises(CheckpointError, match="--resume-from 3: there are no checkpoints in"):
        train.train(config(dataset, tmp_path / "run", resume_from=3), MODEL)
    assert not (tmp_path / "run").exists()


def test_a_second_run_in_one_folder_is_refused_and_changes_nothing(dataset, tmp_path, monkeypatch):
    run = tmp_path / "run"
    run.mkdir()
    ready, done = tmp_path / "ready", tmp_path / "done"
    hold = (
        "import sys, time; from pathlib import Path; from tokenizer.disk.lock import only_writer\n"
        "with only_writer(Path(sys.argv[1])):\n"
        "    Path(sys.argv[2]).touch()\n"
        "    while not Path(sys.argv[3]).exists(): time.sleep(0.01)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", hold, run, ready, done], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    try:
        wait_for(ready, process, run)
        with pytest.raises(InputError, match=rf"run: process {process.pid} on .* writes there"):
            train.train(config(dataset, run), MODEL)
        assert [path.name for path in run.iterdir()] == [".lock"]
    finally:
        done.touch()
        process.wait()


def test_a_validation_loss_that_is_no_number_stops_the_run_before_its_checkpoint(dataset, tmp_path, monkeypatch):
    measure, measured = train.mean_losses, []

    def poisoned(*arguments):
        measured.append(measure(*arguments))
        return (math.nan, {}) if len(measured) == 4 else measured[-1]  # step 8

    monkeypatch.setattr(train, "mean_losses", poisoned)
    with pytest.raises(Diverged, match="step 8: validation loss nan"):
        train.train(config(dataset, tmp_path), MODEL)
    assert steps_of(tmp_path) == [4]


def test_lines_that_were_cut_are_left_out_with_a_notice(tmp_path, capsys):
    path = tmp_path / metrics.FILE
    good = '{"kind": "train", "step": 2, "loss": 1.0}'
    path.write_bytes(f'{good}\n{{"kind": "tra\n\xff\n3\n{good}\n{good[:9]}'.encode("latin-1"))
    assert len(metrics.read(path)) == 2
    told = capsys.readouterr().err
    assert [f"{path}, line {number}: cut short" in told for number in range(1, 7)] == [
        False,
        True,
        True,
        True,
        False,
        True,
    ]


# ---------------------------------------------------------------- little or nothing to learn from


@pytest.mark.parametrize("rows", [1, 3])
def test_one_song_without_any_for_validation_can_be_trained_on(tmp_path, rows):
    songs = tmp_path / "songs"
    songs.mkdir()
    splits = {
        "train": [write_batch(songs, "train-00000.arrow", record_batch([to_row(random_song(0), "0.mid")]))],
        "validation": [],
    }
    write_manifest(songs, splits, [], PrepareConfig(), "test")
    settings = config(songs, tmp_path / "run", batch_size=rows, steps=None, epochs=6, gradient_accumulation_steps=1)
    settings = dataclasses.replace(settings, warmup_steps=1)
    steps = 6 // rows
    assert train.train(settings, MODEL).step == steps
    kinds = [record["kind"] for record in metrics.read(tmp_path / "run" / metrics.FILE)]
    assert kinds and set(kinds) == {"train"}
    assert (tmp_path / "run" / train.PICTURE_FILE).exists()
    with Checkpoints(tmp_path / "run", keep_last=None) as checkpoints:
        assert checkpoints.choose("best") == steps


def test_what_fits_no_device_is_said_by_flag_before_songs_are_planned(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "Dataset", lambda _: pytest.fail("songs were opened"))
    with pytest.raises(InputError, match=r"100000000 tokens, and .* GB are for it: take a smaller --max-seq-len"):
        train.train(config(dataset, tmp_path, max_seq_len=100_000_000), MODEL)


def test_any_flipped_bit_or_cut_of_a_runs_own_files_is_told_or_harmless(tmp_path, capsys):
    """Lines of metrics.jsonl that cannot be read are left out; where a run went back to is never taken for another."""
    lines = [{"kind": "train", "step": step, "loss": 1 / step} for step in range(1, 9)]
    whole = {metrics.FILE: "".join(json.dumps(line) + "\n" for line in lines).encode()}
    rollback.write(tmp_path, rollback.Rollback(4, [6, 8]))
    whole[rollback.FILE] = (tmp_path / rollback.FILE).read_bytes()
    random = np.random.default_rng(0)
    for name, content in whole.items():
        for number in range(200):
            damaged = bytearray(content)
            place = int(random.integers(len(content)))
            if number % 2:
                damaged[place] ^= 1 << int(random.integers(8))
            else:
                del damaged[place:]
            (tmp_path / name).write_bytes(damaged)
            if name == metrics.FILE:
                assert len(metrics.read(tmp_path / name)) >= damaged.count(b"\n") - (2 if number % 2 else 0)
            else:
                try:
                    assert rollback.read(tmp_path) == rollback.Rollback(4, [6, 8])
                except CheckpointError as error:
                    assert f"{tmp_path / name}: damaged" in str(error)
        (tmp_path / name).write_bytes(content)
    assert f"{tmp_path / metrics.FILE}, line" in capsys.readouterr().err


def test_a_finished_run_whose_checkpoint_is_damaged_is_not_called_complete(dataset, uninterrupted, tmp_path):
    run = shutil.copytree(uninterrupted, tmp_path / "run")
    arrays = (run / "checkpoints" / "8" / "parameters").rglob("*")
    largest = max((path for path in arrays if path.is_file()), key=lambda path: path.stat().st_size)
    largest.write_bytes(bytes(largest.stat().st_size))
    with pytest.raises(CheckpointError, match=r"checkpoints/8: damaged"):
        train.train(config(dataset, run), MODEL)
