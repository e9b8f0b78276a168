"""Checkpoints: complete, the right ones kept, damage noticed, the model restored from them alone."""

import resource
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import MASK_RULES, ModelConfig
from jax_impl.model.museformer import MuseFormer
from jax_impl.training.checkpoint import (
    CheckpointError,
    Checkpoints,
    Record,
    checksum,
    load_model,
    on_default_device,
    plain,
    versions,
)
from jax_impl.training.step import TrainState
from tokenizer import vocabulary as vocab

MODEL = ModelConfig(layers=1, width=64, ffn=64, mask_rule=replace(MASK_RULES["v121"], near_bars=1), max_bars=32)


def state(step: int, parameters=None) -> TrainState:
    parameters = (
        {"a": jax.random.normal(jax.random.key(step), (64, 64)), "b": {"c": jnp.arange(3) + step}}
        if parameters is None
        else parameters
    )
    return TrainState(parameters, {"mu": jnp.full(5, float(step))}, jnp.asarray(step, jnp.int32))


def record(step: int) -> Record:
    return Record(
        step=step,
        model=plain(MODEL),
        train={},
        total_steps=10,
        data={"batches": 2 * step},
        dataset="songs",
        window={"losses": [1 / 3]},
        vocabulary=vocab.FINGERPRINT,
        versions=versions(),
        checksums={},
    )


def save(run: Path, losses: list[float | None], keep_last: int = 2) -> None:
    """Checkpoints of steps 1, 2, ... with these validation losses."""
    with Checkpoints(run, keep_last) as checkpoints:
        for step, loss in enumerate(losses, start=1):
            checkpoints.save(state(step), record(step), loss)


def steps(run: Path) -> set[int]:
    return {int(folder.name) for folder in (run / "checkpoints").iterdir()}


def largest_file(folder: Path) -> Path:
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def test_a_state_comes_back_as_it_was_saved_with_its_record(tmp_path):
    save(tmp_path, [None, 2.0])
    with Checkpoints(tmp_path, keep_last=None) as checkpoints:
        restored = checkpoints.restore(2, on_default_device(state(0)))
        again = checkpoints.record(2)
    assert jax.tree.all(jax.tree.map(lambda a, b: a.dtype == b.dtype and bool((a == b).all()), restored, state(2)))
    assert replace(again, checksums={}) == record(2)
    assert again.model_config == MODEL


def test_the_best_and_the_last_ones_are_kept(tmp_path):
    save(tmp_path, [5.0, 1.0, 3.0, None, 2.0, 4.0], keep_last=2)
    assert steps(tmp_path) == {2, 5, 6}
    with Checkpoints(tmp_path, keep_last=None) as checkpoints:
        assert (checkpoints.choose("best"), checkpoints.choose("latest"), checkpoints.choose(5)) == (2, 6, 5)
        with pytest.raises(CheckpointError, match="no checkpoint of step 3; there are 2, 5, 6"):
            checkpoints.choose(3)


def test_without_any_validation_the_best_is_the_latest(tmp_path):
    save(tmp_path, [None, None])
    with Checkpoints(tmp_path, keep_last=None) as checkpoints:
        assert checkpoints.choose("best") == 2


def test_a_half_written_checkpoint_is_not_seen_and_is_cleared_away(tmp_path):
    save(tmp_path, [1.0, 2.0])
    half = tmp_path / "checkpoints" / "3.orbax-checkpoint-tmp"
    (half / "parameters").mkdir(parents=True)
    with Checkpoints(tmp_path, keep_last=None) as checkpoints:
        assert checkpoints.choose("latest") == 2
    assert half.exists()  # reading changes nothing
    with Checkpoints(tmp_path, keep_last=2) as checkpoints:
        assert checkpoints.latest() == 2
        checkpoints.save(state(3), record(3), None)
    assert steps(tmp_path) == {1, 2, 3}


@pytest.mark.parametrize("damage", ["one flipped bit", "cut short", "gone"])
def test_a_damaged_checkpoint_is_named(tmp_path, damage):
    save(tmp_path, [1.0, 2.0])
    file = largest_file(tmp_path / "checkpoints" / "2" / "parameters")
    content = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    elif damage == "cut short":
        file.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    with Checkpoints(tmp_path, keep_last=None) as checkpoints:
        with pytest.raises(CheckpointError, match=r"checkpoints/2: damaged"):
            checkpoints.restore(2, on_default_device(state(0)))
        checkpoints.restore(1, on_default_device(state(0)))


def test_a_single_bit_changes_the_checksum():
    values = np.arange(100, dtype=np.float32)
    for bit in (0, 15, 31):
        changed = values.copy()
        changed.view(np.uint32)[7] ^= np.uint32(1 << bit)
        assert int(checksum({"a": changed})) != int(checksum({"a": values}))


def test_a_checkpoint_with_wrong_contents_is_refused_by_its_checksum(tmp_path, monkeypatch):
    monkeypatch.setattr("jax_impl.training.checkpoint.checksum", lambda tree: 7)
    save(tmp_path, [1.0])
    monkeypatch.undo()
    with (
        Checkpoints(tmp_path, keep_last=None) as checkpoints,
        pytest.raises(CheckpointError, match="the checksum of parameters is wrong"),
    ):
        checkpoints.restore(1, on_default_device(state(0)))


def test_another_vocabulary_is_refused(tmp_path):
    with Checkpoints(tmp_path, keep_last=1) as checkpoints:
        checkpoints.save(state(1), replace(record(1), vocabulary="another"), None)
    with pytest.raises(CheckpointError, match="vocabulary another, this program has"):
        load_model(tmp_path, "latest")


def test_a_folder_without_checkpoints_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=f"{tmp_path}: no checkpoints here"):
        load_model(tmp_path, "best")
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        load_model(tmp_path, "best")


def test_a_full_disk_is_an_error_and_the_checkpoint_before_stays(tmp_path):
    save(tmp_path, [1.0])
    large = {"a": jax.random.normal(jax.random.key(0), (512, 512))}
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, unlimited[1]))  # no file of this process may grow past it
        message = "step 2 could not be written; the one before it is intact"
        with pytest.raises(CheckpointError, match=message), Checkpoints(tmp_path, keep_last=2) as checkpoints:
            checkpoints.save(state(2, large), record(2), None)
            checkpoints.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    with Checkpoints(tmp_path, keep_last=2) as checkpoints:
        assert checkpoints.latest() == 1
        checkpoints.restore(1, on_default_device(state(0)))


def test_the_model_comes_back_from_the_checkpoint_alone(tmp_path):
    model = MuseFormer(MODEL, nnx.Rngs(3))
    parameters = nnx.to_pure_dict(nnx.state(model))
    with Checkpoints(tmp_path, keep_last=1) as checkpoints:
        checkpoints.save(state(1, parameters), record(1), 1.0)
    restored, about = load_model(tmp_path, "best")
    assert (about.step, restored.config) == (1, MODEL)
    for actual, saved in zip(
        jax.tree.leaves(nnx.to_pure_dict(nnx.state(restored))), jax.tree.leaves(parameters), strict=True
    ):
        np.testing.assert_array_equal(actual, saved)
