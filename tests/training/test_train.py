"""Training: what a step computes, that a run that was stopped goes on bit for bit,
and that what cannot work is said before any work.
"""

import dataclasses
import functools
import itertools
import re
import resource
import shutil
import signal
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import MASK_RULES, ComputeConfig, DataConfig, InputError
from jax_impl.batch import pack_examples, stack_rows
from jax_impl.loading import loader
from jax_impl.model.museformer import MuseFormer, abstract_model
from jax_impl.training import metrics, train
from jax_impl.training.checkpoint import Checkpoints, load_model
from jax_impl.training.found import CheckpointError
from jax_impl.training.optimizer import decayed, learning_rate
from jax_impl.training.progress import Diverged, Progress
from jax_impl.training.step import Measured, count_targets, cross_entropy, dropout_key, make_step, token_losses
from jax_impl.training.train import stack
from tests.rounding import apart, budget, moved
from tests.rows import batch_of, random_song
from tests.runs import (
    MODEL,
    OF_V121,
    UNMOVED,
    assert_begun_with,
    config,
    start,
    wait_for,
    write_dataset,
    write_run_of_v121,
)
from tests.training.equal_runs import assert_equal_runs, lines, send_after
from tokenizer import vocabulary as vocab
from tokenizer.dataset.files import read_manifest, save_manifest
from tokenizer.dataset.songs import Dataset
from tokenizer.tokens.crop import window
from tokenizer.tokens.example import CUT_END, example
from tokenizer.vocabulary import CLASS, Class

COMPUTE = ComputeConfig(attention="reference", precision="fp32", remat="none")


# ---------------------------------------------------------------- going on


@pytest.mark.parametrize(("step", "number"), [(1, signal.SIGTERM), (3, signal.SIGINT)])
def test_a_run_that_was_stopped_by_a_signal_goes_on_bit_for_bit(
    dataset, uninterrupted, tmp_path, monkeypatch, step, number
):
    send_after(monkeypatch, step, number)
    stopped = train.train(config(dataset, tmp_path), MODEL)
    assert stopped.signal == number and step <= stopped.step < 8
    finished = train.train(config(dataset, tmp_path), MODEL)
    assert finished == train.Result(step=8, total_steps=8, signal=None)
    assert_equal_runs(tmp_path, uninterrupted)


def test_a_run_that_was_killed_goes_on_bit_for_bit(dataset, uninterrupted, tmp_path):
    run = tmp_path / "run"
    process = start(dataset, run, "--pause", "0.3")
    wait_for(run / "checkpoints" / "4", process, run)
    process.kill()
    process.wait()
    assert sorted(folder.name for folder in (run / "checkpoints").iterdir()) == ["4"]
    finished = train.train(config(dataset, run), MODEL)
    assert finished.step == 8
    assert_equal_runs(run, uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_was_ended_while_it_wrote_a_checkpoint_goes_on_bit_for_bit(dataset, uninterrupted, tmp_path, number):
    run = tmp_path / "run"
    process = start(dataset, run, "--pause", "0.1", "--changes", '{"checkpoint_every": 2}')
    for step in ("2", "4"):
        wait_for(run / "checkpoints" / step, process, run)
    while process.poll() is None and not list((run / "checkpoints").glob("*tmp*")):
        time.sleep(0.0005)
    process.send_signal(number)
    assert process.wait() in (-number, 0)
    finished = train.train(config(dataset, run), MODEL)
    assert finished.step == 8
    assert_equal_runs(run, uninterrupted)


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_used_only_when_asked_for(
    dataset, tmp_path, uninterrupted
):
    run = tmp_path / "run"
    train.train(config(dataset, run, checkpoint_every=2, keep_last=8), MODEL)
    shutil.rmtree(run / "checkpoints" / "8")
    file = max((run / "checkpoints" / "6" / "optimizer").rglob("*"), key=lambda path: path.stat().st_size)
    file.write_bytes(bytes(file.stat().st_size))
    settings = config(dataset, run, checkpoint_every=2, keep_last=8)
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"checkpoints/6: damaged; .*--resume-from STEP.*there: 2, 4"):
            train.train(settings, MODEL)
    with pytest.raises(CheckpointError, match="no checkpoint of step 5; there are 2, 4, 6"):
        train.train(dataclasses.replace(settings, resume_from=5), MODEL)
    with pytest.raises(CheckpointError, match=r"checkpoints/6: damaged"):
        train.train(dataclasses.replace(settings, resume_from=6), MODEL)
    assert train.train(dataclasses.replace(settings, resume_from=4), MODEL).step == 8
    assert_equal_runs(run, uninterrupted)


def test_a_full_disk_stops_the_run_and_the_last_good_checkpoint_goes_on_bit_for_bit(
    dataset, uninterrupted, tmp_path, monkeypatch
):
    save, unlimited = Checkpoints.save, resource.getrlimit(resource.RLIMIT_FSIZE)

    def full_from_step_8(self, state, record, validation_loss):
        if record.step == 8:  # no file of this process may grow past it
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, unlimited[1]))
        save(self, state, record, validation_loss)

    monkeypatch.setattr(Checkpoints, "save", full_from_step_8)
    try:
        with pytest.raises(
            CheckpointError, match="the checkpoint of step 8 could not be written; the one before it is intact"
        ):
            train.train(config(dataset, tmp_path), MODEL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    monkeypatch.undo()
    with Checkpoints(tmp_path, keep_last=None) as checkpoints:
        assert checkpoints.latest() == 4
    assert train.train(config(dataset, tmp_path), MODEL).step == 8
    assert_equal_runs(tmp_path, uninterrupted)


def test_a_finished_run_says_so_and_changes_nothing(dataset, uninterrupted, capsys):
    before = (uninterrupted / metrics.FILE).read_bytes()
    assert train.train(config(dataset, uninterrupted), MODEL) == train.Result(step=8, total_steps=8, signal=None)
    assert "already complete" in capsys.readouterr().out
    assert (uninterrupted / metrics.FILE).read_bytes() == before


def test_a_run_writes_its_metrics_and_a_picture(uninterrupted):
    records = metrics.read(uninterrupted / metrics.FILE)
    assert [(record["kind"], record["step"]) for record in records] == [
        ("validation", 2), ("train", 3), ("validation", 4), ("train", 6), ("validation", 6), ("train", 8),
        ("validation", 8),
    ]  # fmt: skip
    # The peak of a CPU is not known
    assert all(record["mfu"] is None for record in records if record["kind"] == "train")
    assert records[-1]["unigram"] < records[-1]["uniform"]
    assert np.log(724 / 217) < records[-1]["uniform"] < np.log(724), "a known chord is any of 217"
    assert (uninterrupted / train.PICTURE_FILE).read_bytes().startswith(b"\x89PNG")


def test_lines_say_how_many_tokens_were_read_and_how_often_the_songs(dataset, uninterrupted):
    settings = config(dataset, uninterrupted)
    data = Dataset(dataset)
    tasks = dict(reorder=settings.reorder, fill=settings.fill)
    shape = DataConfig(settings.max_seq_len, settings.row_spans, 1, max_bars=32, seed=0, num_workers=0, **tasks)
    with loader.loader(data, shape, "train") as rows:
        read = [int((batch.document > 0).sum()) for batch in itertools.islice(rows, 2 * 8)]
    told = [record for record in metrics.read(uninterrupted / metrics.FILE) if record["kind"] == "train"]
    assert [record["tokens"] for record in told] == [sum(read[: 2 * record["step"]]) for record in told]
    epochs = [2 * record["step"] / loader.rows_per_epoch(data, shape, "train") for record in told]
    assert [record["epoch"] for record in told] == pytest.approx(epochs, abs=1e-4)


def test_tokens_that_a_run_did_not_count_from_the_start_are_not_made_up():
    settings, measured = config(Path(), Path()), Measured(*map(jnp.float32, (1, 1, 1, 7)))
    for steps, carried, tokens in ((range(1, 9), {}, 7), (range(5, 9), {"tokens": 20}, 27), (range(5, 9), {}, None)):
        progress = Progress(settings, None, steps, carried, epoch_rows=10, needed_flops=1.0, peak_flops=None)
        progress.step(steps[0], measured)
        assert progress.carried()["tokens"] == tokens


# ---------------------------------------------------------------- starting from another run


def test_a_run_starts_with_the_weights_of_another(dataset, uninterrupted, tmp_path, monkeypatch):
    state_from, begun = train.state_from, []

    def watched(*arguments):
        state, told = state_from(*arguments)
        begun.append(jax.tree.map(np.array, state.parameters))  # the state's own are donated to the first step
        return state, told

    monkeypatch.setattr(train, "state_from", watched)
    settings = config(dataset, tmp_path, init_from=uninterrupted, reorder=0.0, fill=0.0)
    assert train.train(settings).step == 8
    with Checkpoints(tmp_path, keep_last=None) as checkpoints:
        assert checkpoints.record(8).tasks == {"reorder": 0.5, "fill": 0.5}, "shown by the run that it began with"
    theirs = nnx.to_pure_dict(nnx.state(load_model(uninterrupted, "best")[0]))
    jax.tree.map(np.testing.assert_array_equal, begun[0], theirs)
    first, their_first, their_last = lines(tmp_path)[0], lines(uninterrupted)[0], lines(uninterrupted)[-1]
    assert first["kind"] == their_first["kind"] == their_last["kind"] == "validation"
    assert first["loss"] < their_last["loss"] < their_first["loss"]


def test_a_run_that_starts_with_another_has_its_shape_and_a_rule_of_its_own(dataset, uninterrupted, tmp_path):
    settings = config(dataset, tmp_path, init_from=uninterrupted, mask_rule="v121", dropout=0.3)
    assert train.model_config(settings) == dataclasses.replace(MODEL, mask_rule=MASK_RULES["v121"], dropout=0.3)


def test_a_model_of_v121_goes_on_with_the_tokens_that_it_lacks_as_a_new_run_would_begin_them(dataset, tmp_path, capsys):
    given = write_run_of_v121(tmp_path / "v121")
    settings = config(dataset, tmp_path / "run", init_from=tmp_path / "v121", **UNMOVED, seed=3)
    assert train.model_config(settings) == OF_V121
    train.train(settings)
    assert_begun_with(tmp_path / "run", given, seed=3)
    said = f"{tmp_path / 'v121'}: a model of 643 tokens; the other 81 of 724 begin untrained"
    assert said in capsys.readouterr().out
    assert load_model(tmp_path / "run", "latest")[1].vocabulary == vocab.FINGERPRINT


def test_a_model_of_v121_cannot_be_trained_on_as_it_is(dataset, tmp_path):
    with pytest.raises(InputError, match=r"songs of a dataset are written in 724 tokens, so a model of 643 cannot"):
        train.train(config(dataset, tmp_path / "run"), dataclasses.replace(MODEL, vocab_size=643))
    write_run_of_v121(tmp_path / "v121", step=4, without=("vocab_size",))
    message = f"v121 holds a run of 643 tokens, .*--init-from {tmp_path / 'v121'} and another --output-dir"
    for changes in ({}, {"resume_from": 4}):
        with pytest.raises(CheckpointError, match=message) as told:
            train.train(config(dataset, tmp_path / "v121", **changes), MODEL)
        assert "\n" not in str(told.value)


def test_a_run_of_another_shape_or_none_at_all_is_refused_by_name(dataset, uninterrupted, tmp_path):
    settings = config(dataset, tmp_path / "run", init_from=uninterrupted)
    with pytest.raises(CheckpointError, match=re.escape(f"{uninterrupted}: a model of another shape")):
        train.train(settings, dataclasses.replace(MODEL, ffn=128))
    with pytest.raises(CheckpointError, match="nowhere: no checkpoints here"):
        train.model_config(config(dataset, tmp_path / "run", init_from=tmp_path / "nowhere"))


# ---------------------------------------------------------------- a step


@functools.cache
def first_step():
    """(the usual state before the first step, the step as a function of state and batches), dropout off."""
    model = dataclasses.replace(MODEL, dropout=0.0)
    _, initialize, step = make_step(model, config(Path(), Path()), total_steps=8)
    return jax.jit(initialize)(), jax.jit(functools.partial(step, compute=COMPUTE))


def test_gradient_accumulation_equals_the_large_batch():
    """As nearly as the step of the large batch equals itself from parameters moved to neighbouring floats: its loss,
    gradient norm, moments and the update of each parameter.
    """
    rows = [[random_song(0)], [random_song(1, bars=1, programs=(0,))]]  # of very different lengths
    large = stack([batch_of(rows, 256)])
    parts = stack([batch_of([row], 256) for row in rows])
    counts = parts.weights.sum((1, 2))
    assert counts[0] > 2 * counts[1]
    state, step = first_step()

    def outcome(parameters, batches):
        """Adam's first step is nearly the gradient's sign, so updates are compared as a whole, not by the element whose
        gradient is nearest to 0.
        """
        after, measured = step(state._replace(parameters=parameters), batches)
        updates = jax.tree.map(lambda x, y: np.linalg.norm(np.float64(x) - np.float64(y)), after.parameters, parameters)
        assert {int(x) for x in jax.tree.leaves(after.optimizer) if x.ndim == 0} == {1}  # one update
        return measured.loss, measured.gradient_norm, after.optimizer, updates

    want = outcome(state.parameters, large)
    allowed = budget(moved(lambda parameters: outcome(parameters, large), state.parameters))
    assert apart(outcome(state.parameters, parts), want) <= allowed
    equal_weights = parts._replace(weights=parts.weights / counts[:, None, None] * counts.mean())
    assert apart(outcome(state.parameters, equal_weights), want) > 100 * allowed  # the mean of two means is another


def test_which_chord_comes_counts_as_often_as_asked_where_no_track_has_said_it():
    """And that a chord comes, which ends a bar, counts once."""
    batch = batch_of([[random_song(0)]], 256)
    logits = np.random.default_rng(0).normal(size=(*batch.tokens.shape, vocab.SIZE)).astype(np.float32)
    chords = np.flatnonzero(CLASS == Class.CHORD)
    is_first = np.isin(batch.targets, chords) & (batch.known == 0)
    assert is_first.sum() == 3 and (batch.known == 1).any()
    log_p = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    of_target = np.take_along_axis(log_p, batch.targets[..., None], -1)[..., 0]
    any_chord = np.logaddexp.reduce(log_p[..., chords], axis=-1)
    for targets in ("first", "all"):
        known = (batch.known > 0) & (targets == "first")
        want = -np.where(known, any_chord, of_target + is_first * 4 * (of_target - any_chord))
        np.testing.assert_allclose(token_losses(logits, batch, targets, 5.0), want, rtol=1e-4)


def test_behind_a_cut_end_the_next_track_counts_among_what_may_come():
    song = random_song(0, bars=6)
    batch = stack_rows([pack_examples([example(window(song, 0, 2))], 256)])
    logits = np.random.default_rng(0).normal(size=(*batch.tokens.shape, vocab.SIZE)).astype(np.float32)
    (behind,) = np.nonzero(batch.known[0] == CUT_END)
    assert len(behind) > 1 and not batch.weights[0, behind].any()
    may_come = np.flatnonzero((CLASS == Class.TRACK) | (CLASS == Class.EOS))
    of_next = np.logaddexp.reduce(logits[0, behind][:, may_come], axis=-1) - logits[0, behind, batch.targets[0, behind]]
    nats = {targets: float(cross_entropy(logits, batch, "first", 1.0, targets)) for targets in ("ended", "all")}
    assert nats["all"] - nats["ended"] == pytest.approx(of_next.sum(), rel=1e-4)
    counts = [float(count_targets(batch, targets)) for targets in ("ended", "all")]
    assert counts == [batch.weights.sum(), batch.weights.sum() + len(behind)]


def test_a_step_weighs_chords_as_its_run_does():
    batches = stack([batch_of([[random_song(0)]], 256)])
    model, usual = dataclasses.replace(MODEL, dropout=0.0), first_step()[1]
    _, initialize, step = make_step(model, config(Path(), Path(), chord_weight=5.0), total_steps=8)
    state = jax.jit(initialize)()
    heavy = jax.jit(functools.partial(step, compute=COMPUTE))(state, batches)[1]
    assert heavy.loss > 1.01 * usual(state, batches)[1].loss


def test_dropout_is_a_function_of_seed_and_step_alone(dataset):
    _, initialize, step = make_step(MODEL, config(dataset, Path()), total_steps=8)
    initialize, step = jax.jit(initialize), jax.jit(functools.partial(step, compute=COMPUTE), donate_argnames="state")
    batches = stack([batch_of([[random_song(row)]], 256) for row in range(2)])

    def loss(number: int) -> float:
        return float(step(initialize()._replace(step=jnp.asarray(number, jnp.int32)), batches)[1].loss)

    assert loss(0) == loss(0) != loss(1)


def test_a_step_without_any_target_changes_nothing_into_no_number():
    state, step = first_step()
    batches = stack([batch_of([[]], 256), batch_of([[]], 256)])
    after, measured = step(state, batches)
    assert (float(measured.loss), float(measured.gradient_norm)) == (0, 0)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(after))


def test_no_key_of_dropout_is_one_of_the_initialization(monkeypatch):
    made = []
    fold = jax.random.fold_in

    def watched(key, data):
        made.append(fold(key, data))
        return made[-1]

    monkeypatch.setattr(jax.random, "fold_in", watched)
    MuseFormer(MODEL, nnx.Rngs(0))
    assert len(made) > 3
    known = [key for key in made if not isinstance(key, jax.core.Tracer)]
    drawn = {bytes(np.asarray(jax.random.key_data(key))) for key in known}
    assert drawn
    monkeypatch.undo()
    dropped = {bytes(np.asarray(jax.random.key_data(dropout_key(0, step)))) for step in range(200)}
    assert len(dropped) == 200 and not drawn & dropped


def test_decay_is_for_matrices_alone():
    _, parameters = abstract_model(MODEL)
    chosen = decayed(parameters)
    assert chosen["layers"]["regular"]["qkv"] == {"kernel": True, "bias": False}
    # [L, D], stacked, are no matrices
    assert chosen["layers"]["regular"]["attention_norm"] == {"scale": False, "bias": False}
    assert chosen["tokens"] == {"embedding": True}
    with pytest.raises(KeyError, match="gain"):
        decayed({"gain": jnp.ones(3)})


def test_the_learning_rate_warms_up_and_falls_on_a_cosine():
    settings = config(Path(), Path(), learning_rate=1.0, warmup_steps=10, final_learning_rate=0.1)
    rates = [float(learning_rate(step, settings, 110)) for step in range(110)]
    expected = [*np.arange(1, 11) / 10, 0.55, 0.1]  # half way down, and at the end
    np.testing.assert_allclose([*rates[:10], rates[59], rates[109]], expected, rtol=0, atol=budget(0))
    assert all(np.diff(rates[9:]) <= 0)


def test_the_loss_falls(uninterrupted):
    losses = [record["loss"] for record in metrics.read(uninterrupted / metrics.FILE) if record["kind"] == "validation"]
    assert all(np.diff(losses) < 0)
    assert losses[-1] < np.log(724) - 0.5


# ---------------------------------------------------------------- what cannot work


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_step(dataset, tmp_path, monkeypatch):
    taken = []

    def poisoned(micro_batches):
        batches = stack(micro_batches)
        taken.append(batches)
        return batches._replace(weights=batches.weights * np.nan) if len(taken) == 3 else batches

    monkeypatch.setattr(train, "stack", poisoned)
    with pytest.raises(Diverged, match="step 3: loss nan"):
        train.train(config(dataset, tmp_path, checkpoint_every=2), MODEL)
    with Checkpoints(tmp_path, keep_last=None) as checkpoints:
        assert checkpoints.latest() == 2


def test_a_run_of_another_configuration_is_refused_by_field(dataset, uninterrupted):
    with pytest.raises(
        CheckpointError, match=r"learning_rate 0.003 there, 0.1 here.*batch_size|batch_size.*learning_rate 0.003 there"
    ):
        train.train(config(dataset, uninterrupted, learning_rate=0.1, batch_size=3), MODEL)
    with pytest.raises(CheckpointError, match="layers 2 there, 3 here"):
        train.train(config(dataset, uninterrupted), dataclasses.replace(MODEL, layers=3))


def test_a_run_on_other_songs_is_refused(uninterrupted, tmp_path):
    with pytest.raises(CheckpointError, match=r"dataset \w+ there, \w+ here"):
        train.train(config(write_dataset(tmp_path / "other", songs=30), uninterrupted), MODEL)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": None, "epochs": 1, "batch_size": 1000}, "--epochs 1 of .* rows do not fill one step"),
        ({"warmup_steps": 8}, "--warmup-steps 8 must be below the 8 steps"),
        ({"data_dir": Path("/nowhere")}, "/nowhere: no such dataset"),
        ({"output_dir": Path("/proc/run")}, "--output-dir /proc/run: cannot be written"),
    ],
)
def test_what_cannot_work_is_said_before_any_work(dataset, tmp_path, monkeypatch, changes, message):
    monkeypatch.setattr(train, "make_step", lambda *_: pytest.fail("work has begun"))
    with pytest.raises(InputError, match=message):
        train.train(dataclasses.replace(config(dataset, tmp_path), **changes), MODEL)


def test_rows_without_room_for_a_bar_are_said_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "Metrics", lambda *_: pytest.fail("work has begun"))
    one_bar_songs = write_dataset(tmp_path / "songs", bars=1)
    with pytest.raises(InputError, match=r"3 bar summaries \(--max-spans\) holds no bar of any song"):
        train.train(config(one_bar_songs, tmp_path, max_spans=3), MODEL)


def test_a_dataset_of_another_vocabulary_is_refused(dataset, tmp_path):
    other = write_dataset(tmp_path / "songs")
    save_manifest(other, read_manifest(other) | {"vocabulary": "0" * 16})
    with pytest.raises(InputError, match=re.escape(str(other)) + ".*another vocabulary"):
        train.train(config(other, tmp_path / "run"), MODEL)
