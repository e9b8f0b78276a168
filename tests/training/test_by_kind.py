"""Validation says what kind of token it loses at: when it was asked to, as evaluation finds it, without touching the
run.
"""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from jax_impl.evaluation.losses import losses
from jax_impl.training import metrics, resume, train
from jax_impl.training.by_kind import KINDS, mean_nats
from jax_impl.training.found import find
from jax_impl.training.record import plain
from tests.rows import batch_of, random_song
from tests.runs import MODEL, config
from tests.training.equal_runs import arrays


def by_kind(run) -> dict[int, dict]:
    """Of each validation, by its step."""
    lines = metrics.read(run / metrics.FILE)
    return {line["step"]: line.get("by_kind") for line in lines if line["kind"] == "validation"}


def test_each_validation_is_by_kind_and_says_what_evaluation_finds(uninterrupted):
    said = by_kind(uninterrupted)
    assert list(said) == [2, 4, 6, 8] and all(list(kinds) == list(KINDS) for kinds in said.values())
    record = find(uninterrupted, "best").record
    found = losses(uninterrupted, max_batches=record.train["validation_batches"])
    assert record.train["chord_targets"] == "first"
    assert found.nats_per_token_as_sampled == pytest.approx(record.validation_loss, rel=1e-5)
    of_kinds = {name: group["as_sampled"] for name, group in found.by_kind.items()}
    assert of_kinds == pytest.approx(said[record.step], rel=1e-5)


def test_losses_by_kind_come_at_the_steps_asked_for_and_a_run_that_goes_on_may_ask(dataset, uninterrupted, tmp_path):
    run = shutil.copytree(uninterrupted, tmp_path / "run")
    settings = config(dataset, run, eval_every=3, validate_every=7, checkpoint_every=4, resume_from=4)
    assert train.train(settings, MODEL).step == 8
    asked = {step: kinds is not None for step, kinds in by_kind(run).items() if step > 4}
    assert asked == {6: True, 7: False, 8: True}, "at a multiple, not at another validation, and at the end"
    for mine, theirs in zip(arrays(run, 8), arrays(uninterrupted, 8), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert by_kind(run)[8] == by_kind(uninterrupted)[8]


def test_a_run_from_before_there_was_the_flag_goes_on_with_it(tmp_path):
    settings = config(tmp_path, tmp_path, optimizer="adamw", chord_targets="all", track_targets="ended")
    described = {name: value for name, value in plain(settings).items() if name != "eval_every"}
    before = SimpleNamespace(step=4, train=described, model=plain(MODEL), dataset="songs", total_steps=8, tasks={})
    before.model_config = MODEL
    songs = SimpleNamespace(fingerprint="songs")
    resume.check_agreement(before, replace(settings, eval_every=5), MODEL, 8, songs)


def test_targets_that_do_not_count_are_no_part_of_a_mean_and_kinds_without_any_are_not_said():
    batch = batch_of([[random_song(0)]], 200)
    nats = np.full(batch.tokens.shape, np.nan, np.float32)
    nats[batch.weights > 0] = 1
    mean, kinds = mean_nats([nats], [batch])
    assert mean == 1 and kinds == dict.fromkeys(KINDS, 1.0)
    batch.weights[:, 4:] = 0
    assert mean_nats([nats], [batch]) == (1.0, {"structure": 1.0})


def test_a_tracker_gets_one_number_by_one_name(tmp_path, monkeypatch):
    got = []
    tracker = SimpleNamespace(write=lambda *values: got.append(values), close=lambda: None)
    monkeypatch.setattr(metrics, "tracker", lambda *_: tracker)
    writer = metrics.Metrics(config(tmp_path, tmp_path), 0, {})
    writer.write("validation", 2, {"loss": 1.5, "mfu": None, "by_kind": {"pitch": 2.5}})
    writer.close()
    assert got == [("validation", 2, {"loss": 1.5, "by_kind/pitch": 2.5})]
    line = {"kind": "validation", "step": 2, "loss": 1.5, "mfu": None, "by_kind": {"pitch": 2.5}}
    assert json.loads((tmp_path / metrics.FILE).read_text(encoding="utf-8")) == line
