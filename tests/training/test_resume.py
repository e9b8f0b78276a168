"""Runs of another length: a plateau that is made longer, bit for bit; lengths that follow; what is refused."""

import functools
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import InputError, TrainConfig
from configs.model import AS_V121
from configs.train import PROJECT
from jax_impl.training import metrics, resume, train
from jax_impl.training.checkpoint import Checkpoints, load_model
from jax_impl.training.found import CheckpointError
from jax_impl.training.optimizer import learning_rate
from jax_impl.training.record import Record, plain, versions
from jax_impl.training.step import TrainState
from tests.runs import MODEL, config
from tests.training.equal_runs import assert_equal_runs, lines
from tokenizer import vocabulary as vocab

SONGS = SimpleNamespace(fingerprint="songs")
WSD = dict(schedule="wsd", decay_steps=2, checkpoint_every=2, keep_last=1)


def steps_of(run: Path) -> list[int]:
    return sorted(int(folder.name) for folder in (run / "checkpoints").iterdir())


# ---------------------------------------------------------------- the rate


def rates(settings: TrainConfig, total_steps: int) -> np.ndarray:
    """float32[steps], computed as in a compiled step."""
    rate = functools.partial(learning_rate, config=settings, total_steps=total_steps)
    return np.asarray(jax.jit(jax.vmap(rate))(jnp.arange(total_steps, dtype=jnp.int32)))


@pytest.mark.parametrize(("warmup", "total"), [(0, 100), (200, 1000), (1000, 20_000)])
def test_the_rate_on_a_cosine_is_that_of_earlier_runs_to_the_bit(warmup, total):
    def before(step):
        step = jnp.asarray(step, jnp.float32)
        progress = (step + 1 - warmup) / max(total - warmup, 1)
        cosine = 0.1 + (1 - 0.1) * 0.5 * (1 + jnp.cos(jnp.pi * progress))
        return 3e-4 * jnp.where(step < warmup, (step + 1) / max(warmup, 1), cosine)

    expected = np.asarray(jax.jit(jax.vmap(before))(jnp.arange(total, dtype=jnp.int32)))
    settings = TrainConfig(Path(), Path(), warmup_steps=warmup, learning_rate=3e-4, final_learning_rate=0.1)
    np.testing.assert_array_equal(rates(settings, total), expected)


def test_the_rate_stays_at_the_peak_and_then_falls_in_a_line():
    settings = config(Path(), Path(), schedule="wsd", warmup_steps=3, decay_steps=4, learning_rate=1.0)
    drawn = [1 / 3, 2 / 3, 1, 1, 1, 1, 0.775, 0.55, 0.325, 0.1]
    np.testing.assert_allclose(rates(settings, 10), drawn, rtol=1e-6)
    longer = rates(settings, 14)
    np.testing.assert_array_equal(longer[:6], rates(settings, 10)[:6])
    np.testing.assert_allclose(longer[6:], [1, 1, 1, 1, 0.775, 0.55, 0.325, 0.1], rtol=1e-6)


def test_the_lengths_of_warm_up_and_decay_follow_the_run():
    settings = TrainConfig(Path(), Path(), schedule="wsd")
    assert [settings.warmup(steps) for steps in (1, 100, 5000)] == [0, 10, 200]
    assert [settings.plateau_end(steps) for steps in (1, 100, 5000)] == [0, 90, 4500]
    for steps in (1, 2, 100, 5000):
        resume.check_schedule(settings, steps)
        resume.check_schedule(replace(settings, schedule="cosine"), steps)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warmup_steps": 100}, "--warmup-steps 100 must be below the 100 steps"),
        ({"decay_steps": 10}, "--decay-steps is for --schedule wsd"),
        (
            {"schedule": "wsd", "warmup_steps": 60, "decay_steps": 50},
            "60 and --decay-steps 50 together must be at most",
        ),
    ],
)
def test_a_run_without_room_for_its_schedule_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        resume.check_schedule(TrainConfig(Path(), Path(), **changes), 100)


# ---------------------------------------------------------------- where a run goes on


def checkpoints_of(run: Path, settings: TrainConfig, total_steps: int, *steps: int, **without) -> None:
    """As a run of these settings leaves them; without: fields of its record that were not there then."""
    described = plain(resume.as_begun(settings, None, total_steps))
    strip = lambda values: {name: value for name, value in values.items() if name not in without.get("without", ())}
    described, model = strip(described), strip(plain(MODEL))
    with Checkpoints(run, keep_last=99) as checkpoints:
        for step in steps:
            about = Record(step, model, described, total_steps, {}, "songs", {}, vocab.FINGERPRINT, versions())
            arrays = TrainState({"a": jnp.full(3, float(step))}, {"b": jnp.ones(3)}, jnp.asarray(step, jnp.int32))
            checkpoints.save(arrays, about, None)


def start_of(settings: TrainConfig, total_steps: int) -> resume.Start:
    with Checkpoints(settings.output_dir, keep_last=99) as checkpoints:
        return resume.find_start(checkpoints, settings, MODEL, total_steps, SONGS)


def test_a_run_goes_on_with_its_own_optimizer_and_one_that_named_none_with_adamw(tmp_path):
    adamw, muon = (config(Path(), tmp_path / name, optimizer=name) for name in ("adamw", "muon"))
    checkpoints_of(adamw.output_dir, adamw, 8, 4, without=("optimizer",))
    checkpoints_of(muon.output_dir, muon, 8, 4)
    assert start_of(adamw, 8).record.step == start_of(muon, 8).record.step == 4
    with pytest.raises(CheckpointError, match="another configuration: optimizer adamw there, muon here"):
        start_of(replace(muon, output_dir=adamw.output_dir), 8)
    with pytest.raises(CheckpointError, match="another configuration: optimizer muon there, adamw here"):
        start_of(replace(adamw, output_dir=muon.output_dir), 8)


def test_a_run_that_was_begun_before_there_were_schedules_goes_on(tmp_path):
    before = config(Path(), tmp_path, warmup_steps=200)
    checkpoints_of(tmp_path, before, 1000, 500, without=("schedule", "decay_steps", "tracker_project"))
    for settings in (before, replace(before, warmup_steps=None)):
        start = start_of(settings, 1000)
        assert (start.record.step, start.back, start.aside) == (500, False, None)
        assert resume.as_begun(settings, start.record, 1000).warmup_steps == 200
    with pytest.raises(CheckpointError, match="warmup_steps 200 there, 100 here"):
        start_of(replace(before, warmup_steps=100), 1000)
    with pytest.raises(CheckpointError, match="schedule cosine there, wsd here"):
        start_of(replace(before, schedule="wsd"), 1000)


IS_NEW = ("places", "attributes", "music", "harmony")  # of models


def test_a_run_that_was_begun_before_there_was_places_goes_on_without_it(tmp_path):
    settings = config(Path(), tmp_path)
    checkpoints_of(tmp_path, settings, 8, 4, without=(*IS_NEW, "chord_targets", "track_targets"))
    before = replace(MODEL, **AS_V121)
    for asked in (settings, replace(settings, chord_targets="all")):
        model = train.model_config(asked)
        assert (model.places, model.attributes, model.music, model.harmony) == (False,) * 4
        with Checkpoints(tmp_path, keep_last=99) as checkpoints:
            start = resume.find_start(checkpoints, asked, before, 8, SONGS)
        begun = resume.as_begun(asked, start.record, 8)
        assert (begun.chord_targets, begun.track_targets) == ("all", "ended")
    with pytest.raises(
        CheckpointError,
        match="places False there, True here; attributes False there, True here; music False there, True here; "
        "harmony False there, True here",
    ):
        start_of(settings, 8)
    with pytest.raises(CheckpointError, match="chord_targets all there, first here"):
        start_of(replace(settings, chord_targets="first"), 8)


def test_a_new_run_has_places_but_under_the_rule_of_v121(tmp_path):
    for rule, is_ours, chords, tracks in (("span", True, "first", "all"), ("v121", False, "all", "ended")):
        settings = config(Path(), tmp_path, mask_rule=rule)
        model = train.model_config(settings)
        assert (model.places, model.attributes, model.music, model.harmony) == (is_ours,) * 4
        begun = resume.as_begun(settings, None, 8)
        assert (begun.chord_targets, begun.track_targets) == (chords, tracks)


def test_a_cosine_says_why_it_cannot_be_made_longer_and_what_to_do(tmp_path):
    settings = config(Path(), tmp_path)
    checkpoints_of(tmp_path, settings, 8, 4, 8)
    with pytest.raises(CheckpointError) as told:
        start_of(settings, 12)
    for part in ("depends on the last step, which is 8 there and 12 here", f"--init-from {tmp_path}", "--schedule wsd"):
        assert part in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("there", "total_steps", "decay_steps", "goes_on_from", "aside"),
    [
        ((4,), 8, 2, 4, None),  # not finished: the same run
        ((4, 6), 12, 2, 6, None),  # the plateau, made longer
        ((4,), 6, 2, 4, None),  # decayed earlier
        ((4, 6, 8), 12, 2, 6, "decayed-8"),  # finished
        ((4, 6, 7), 12, 2, 6, "decayed-8"),  # stopped in its decay
        ((4, 8), 12, 2, 4, "decayed-8"),
        ((2, 4, 6, 8), 8, 4, 4, "decayed-8"),  # decayed once more, more slowly
        ((4, 6, 8), 8, 2, 8, None),  # finished, asked for again
    ],
)
def test_a_plateau_goes_on_from_the_last_step_that_both_lengths_share(
    tmp_path, there, total_steps, decay_steps, goes_on_from, aside
):
    settings = config(Path(), tmp_path, schedule="wsd", decay_steps=2)
    checkpoints_of(tmp_path, settings, 8, *there)
    start = start_of(replace(settings, decay_steps=decay_steps), total_steps)
    assert (start.record.step, start.back, start.aside) == (goes_on_from, False, aside)


def test_what_is_left_of_a_decayed_run_alone_cannot_go_on(tmp_path):
    settings = config(Path(), tmp_path, schedule="wsd", decay_steps=2)
    checkpoints_of(tmp_path, settings, 8, 7, 8)
    with pytest.raises(CheckpointError, match=r"up to step 6 .* step 8 is past it; there is no checkpoint from before"):
        start_of(settings, 12)
    checkpoints_of(tmp_path / "other", settings, 8, 4, 8)
    with pytest.raises(CheckpointError, match="step 8 is past it; --resume-from 4 goes back"):
        start_of(replace(settings, output_dir=tmp_path / "other", resume_from=8), 12)
    with pytest.raises(CheckpointError, match=r"up to step 4 .* --resume-from 4 goes back"):  # not moved by a slip
        start_of(replace(settings, output_dir=tmp_path / "other"), 6)


def test_moving_a_decayed_model_aside_that_was_ended_half_way_is_finished(tmp_path, monkeypatch):
    settings = config(Path(), tmp_path, schedule="wsd", decay_steps=2)
    checkpoints_of(tmp_path, settings, 8, 4, 6, 7, 8)
    (tmp_path / metrics.FILE).write_text("{}\n", encoding="utf-8")
    move, moved = resume.os.replace, []

    def ended(*places):
        if "checkpoints" in str(places[0]):
            if moved:
                raise KeyboardInterrupt
            moved.append(places)
        move(*places)

    with monkeypatch.context() as patched, Checkpoints(tmp_path, keep_last=99) as checkpoints:
        patched.setattr(resume.os, "replace", ended)
        start = resume.find_start(checkpoints, settings, MODEL, 12, SONGS)
        with pytest.raises(KeyboardInterrupt):
            resume.leave_behind(tmp_path, checkpoints, start)
    assert steps_of(tmp_path) == [4, 6, 7]
    with Checkpoints(tmp_path, keep_last=99) as checkpoints:
        start = resume.find_start(checkpoints, settings, MODEL, 12, SONGS)
        said = resume.leave_behind(tmp_path, checkpoints, start)
        assert checkpoints.latest() == 6
    assert steps_of(tmp_path) == [4, 6] and steps_of(tmp_path / "decayed-8") == [7, 8]
    assert f"goes on from step 6; the decayed model is kept as {tmp_path / 'decayed-8'}" in said


def test_a_decayed_model_is_never_moved_onto_another(tmp_path):
    settings = config(Path(), tmp_path, schedule="wsd", decay_steps=2)
    checkpoints_of(tmp_path, settings, 8, 4, 8)
    shutil.copytree(tmp_path / "checkpoints" / "8", tmp_path / "decayed-8" / "checkpoints" / "8")
    with Checkpoints(tmp_path, keep_last=99) as checkpoints:
        resume.leave_behind(tmp_path, checkpoints, resume.find_start(checkpoints, settings, MODEL, 12, SONGS))
    assert steps_of(tmp_path / "decayed-8") == steps_of(tmp_path / "decayed-8-2") == [8]


# ---------------------------------------------------------------- bit for bit


@pytest.fixture(scope="module")
def long_run(dataset, tmp_path_factory) -> Path:
    """Twelve steps, never interrupted."""
    run = tmp_path_factory.mktemp("long")
    assert train.train(config(dataset, run, steps=12, **WSD), MODEL).step == 12
    return run


def test_a_finished_run_goes_on_longer_and_equals_one_that_was_as_long_from_the_start(
    dataset, long_run, tmp_path, capsys
):
    settings = config(dataset, tmp_path, **WSD)
    assert train.train(settings, MODEL).step == 8
    assert steps_of(tmp_path) == [6, 8]  # the last one before the decay is kept
    before = [line for line in lines(tmp_path) if line["step"] <= 6]
    assert before == [line for line in lines(long_run) if line["step"] <= 6]
    decayed = lines(tmp_path)
    assert decayed != lines(long_run)[: len(decayed)]

    capsys.readouterr()
    assert train.train(settings, MODEL).step == 8
    assert "already complete after 8 steps; to train longer, give a larger --steps" in capsys.readouterr().out

    assert train.train(replace(settings, steps=12), MODEL) == train.Result(12, 12, signal=None)
    said = capsys.readouterr().out
    assert "the plateau goes on from step 6" in said and said.count("decayed-8") == 1
    assert_equal_runs(tmp_path, long_run, step=12)
    assert json.loads((tmp_path / train.CONFIG_FILE).read_text(encoding="utf-8"))["total_steps"] == 12
    assert load_model(tmp_path / "decayed-8", "latest")[1].step == 8
    assert lines(tmp_path / "decayed-8") == decayed
    assert json.loads((tmp_path / "decayed-8" / train.CONFIG_FILE).read_text(encoding="utf-8"))["total_steps"] == 8


# ---------------------------------------------------------------- what a run says of itself


def test_a_run_says_what_it_is_beside_its_checkpoints(uninterrupted, dataset):
    about = json.loads((uninterrupted / train.CONFIG_FILE).read_text(encoding="utf-8"))
    with Checkpoints(uninterrupted, keep_last=None) as checkpoints:
        record = checkpoints.record(8)
    for name in ("train", "model", "total_steps", "dataset", "vocabulary", "versions"):
        assert about[name] == getattr(record, name)
    assert about["train"]["data_dir"] == str(dataset)
    assert about["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(train.abstract_model(MODEL)[1]))


def test_the_run_s_config_goes_to_the_tracker_and_its_project(tmp_path, monkeypatch):
    begun, about = {}, {"train": {"steps": 8}, "model": {}}
    fake = SimpleNamespace(init=lambda **how: begun.update(how) or SimpleNamespace(finish=lambda: None))
    monkeypatch.setitem(metrics.sys.modules, "wandb", fake)
    settings = config(Path(), tmp_path, tracker="wandb", tracker_project="mine")
    metrics.Metrics(settings, 0, about).close()
    assert begun["project"] == "mine" and begun["config"] == about and begun["allow_val_change"]

    texts = {}
    writer = SimpleNamespace(add_text=texts.__setitem__, close=lambda: None)
    monkeypatch.setitem(metrics.sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=lambda folder: writer))
    metrics.Metrics(replace(settings, tracker="tensorboard", tracker_project=PROJECT), 0, about).close()
    assert re.sub(r"\s", "", texts["config"]) == json.dumps(about, separators=(",", ":"))


# ---------------------------------------------------------------- tasks


def test_a_checkpoint_says_what_its_model_was_shown_in_all_runs(tmp_path):
    """In the run that it goes on from and in the one that it began with; none in one from before there were any."""
    before = Record(4, plain(MODEL), {}, 8, {}, "songs", {}, vocab.FINGERPRINT, versions())
    now = replace(before, tasks={"reorder": 0.1, "fill": 0.3})
    for name, record in (("old", before), ("shown", now)):
        with Checkpoints(tmp_path / name, keep_last=1) as checkpoints:
            checkpoints.save(TrainState({"w": jnp.zeros(2)}, {"m": jnp.zeros(2)}, 4), record, validation_loss=None)
    with Checkpoints(tmp_path / "shown", keep_last=None) as checkpoints:
        assert checkpoints.record(4).has_seen_fills and not before.has_seen_fills
    seen = lambda record=None, **changes: train.tasks_seen(config(Path(), Path(), **changes), record)
    assert seen(reorder=0.2, fill=0.0) == seen(before, reorder=0.2, fill=0.0) == {"reorder": 0.2, "fill": 0.0}
    assert seen(init_from=tmp_path / "old", reorder=0.0, fill=0.2) == {"reorder": 0.0, "fill": 0.2}
    both = {"reorder": 0.2, "fill": 0.3}
    assert seen(init_from=tmp_path / "shown", reorder=0.2, fill=0.0) == seen(now, reorder=0.2, fill=0.0) == both


def test_a_run_from_before_there_were_tasks_goes_on_without_and_is_refused_with_any(tmp_path):
    settings = config(Path(), tmp_path, reorder=0.0, fill=0.0).as_new()
    described = {name: value for name, value in plain(settings).items() if name not in ("reorder", "fill")}
    about = Record(4, plain(MODEL), described, 8, {}, "songs", {}, vocab.FINGERPRINT, versions())
    resume.check_agreement(about, settings, MODEL, 8, SONGS)
    with pytest.raises(CheckpointError, match=r"fill 0\.0 there, 0\.5 here"):
        resume.check_agreement(about, replace(settings, fill=0.5), MODEL, 8, SONGS)
