"""Checkpoints: complete, the right ones kept, damage noticed, the model restored from them alone."""

import json
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
from jax_impl.training import digest
from jax_impl.training.checkpoint import Checkpoints, load_model, on_default_device
from jax_impl.training.found import CheckpointError
from jax_impl.training.record import Record, plain, versions
from jax_impl.training.step import TrainState
from tests.runs import write_run_of_v121
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
    assert replace(again, checksums={}, shapes={}, validation_loss=None) == record(2)
    assert again.validation_loss == 2.0
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


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("one flipped bit", "damaged"),
        ("cut short", "damaged: a file of it is cut short"),
        ("gone", "damaged: .* or missing"),
    ],
)
def test_a_damaged_checkpoint_is_named(tmp_path, damage, said):
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
        with pytest.raises(CheckpointError, match=r"checkpoints/2: " + said):
            checkpoints.restore(2, on_default_device(state(0)))
        checkpoints.restore(1, on_default_device(state(0)))


def test_a_checkpoint_with_wrong_contents_is_refused_by_its_checksum(tmp_path, monkeypatch):
    monkeypatch.setattr(digest, "checksum", lambda tree: "7")
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
    with pytest.raises(CheckpointError, match="vocabulary another, whose 724 tokens are"):
        load_model(tmp_path, "latest")


@pytest.mark.parametrize("without", [(), ("vocab_size",)])
def test_models_of_v121s_tokens_come_back_also_from_before_models_said_how_many(tmp_path, without):
    saved = write_run_of_v121(tmp_path, without=without)
    restored, about = load_model(tmp_path, "best")
    assert restored.config.vocab_size == about.model_config.vocab_size == 643
    jax.tree.map(np.testing.assert_array_equal, nnx.to_pure_dict(nnx.state(restored)), saved)


@pytest.mark.parametrize("tokens", [643, 724])
def test_a_record_has_the_vocabulary_of_its_model(tmp_path, tokens):
    other = {643: vocab.FINGERPRINT, 724: vocab.V121_FINGERPRINT}[tokens]
    about = replace(record(1), model=plain(replace(MODEL, vocab_size=tokens)), vocabulary=other)
    with Checkpoints(tmp_path, keep_last=1) as checkpoints:
        checkpoints.save(state(1), about, None)
        checkpoints.finish()
        with pytest.raises(CheckpointError, match=f"trained with vocabulary {other}, whose {tokens} tokens are"):
            checkpoints.record(1)


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


# ---------------------------------------------------------------- which is best


def test_a_loss_that_is_no_number_is_never_the_best(tmp_path):
    save(tmp_path, [2.0, float("nan"), 3.0, float("-inf")], keep_last=1)
    assert steps(tmp_path) == {1, 4}
    with Checkpoints(tmp_path, keep_last=None) as checkpoints:
        assert checkpoints.choose("best") == 1


def test_of_equal_losses_the_last_is_the_best(tmp_path):
    save(tmp_path, [2.0, 2.0, 3.0], keep_last=3)
    with Checkpoints(tmp_path, keep_last=None) as checkpoints:
        assert checkpoints.choose("best") == 2


# ---------------------------------------------------------------- the digest


ARRAYS = {"a": np.arange(100, dtype=np.float32), "b": np.arange(12, dtype=np.int32).reshape(3, 4)}


def test_every_bit_is_in_the_digest():
    for word, bit in ((0, 0), (7, 15), (99, 31)):
        changed = ARRAYS["a"].copy()
        changed.view(np.uint32)[word] ^= np.uint32(1 << bit)
        assert digest.checksum(ARRAYS | {"a": changed}) != digest.checksum(ARRAYS)


@pytest.mark.parametrize(
    "moved",
    [
        {"a": ARRAYS["a"][::-1].copy()},  # the same words in another order
        {"a": np.roll(ARRAYS["a"], 1)},
        {"b": ARRAYS["b"].T.copy()},
        {"b": ARRAYS["b"].reshape(4, 3)},
        {"b": ARRAYS["b"].view(np.float32)},
        {"a": ARRAYS["b"], "b": ARRAYS["a"]},  # the same arrays in each other's place
        {"c": np.zeros(3, np.float32)},
    ],
)
def test_where_words_and_arrays_stand_is_in_the_digest(moved):
    assert digest.checksum(ARRAYS | moved) != digest.checksum(ARRAYS)


def test_the_digest_of_given_arrays_stays():
    for arrays in (ARRAYS, jax.tree.map(jnp.asarray, ARRAYS)):  # on the host, and on a device
        assert digest.checksum(arrays) == "8f74174cefe241dafa4bff03e2a3e685"


def test_the_checksum_is_the_same_on_the_host(monkeypatch):
    """Of every kind of array, whole and in parts."""
    large = {"large": np.arange(3 * 5 * 7, dtype=np.float32).reshape(3, 5, 7), "none": np.zeros((0, 2), np.int32)}
    arrays = jax.tree.map(np.asarray, ARRAYS) | large
    on_device = digest.checksum(jax.tree.map(jnp.asarray, arrays))
    assert digest.checksum(arrays) == on_device
    monkeypatch.setattr(digest, "AT_ONCE", 8)
    assert digest.checksum(arrays) == on_device
    arrays["large"].flat[-1] += 1
    assert digest.checksum(arrays) != on_device


# ---------------------------------------------------------------- what is so


def test_a_record_with_a_changed_digit_is_damaged(tmp_path):
    save(tmp_path, [1.25])
    path = tmp_path / "checkpoints" / "1" / "run" / "metadata"
    path.write_text(path.read_text(encoding="utf-8").replace("1.25", "1.26"), encoding="utf-8")
    with (
        Checkpoints(tmp_path, keep_last=None) as checkpoints,
        pytest.raises(CheckpointError, match=r"checkpoints/1: damaged; .*the digest of its record is wrong"),
    ):
        checkpoints.choose("best")


def test_a_checkpoint_that_was_written_before_there_were_digests_is_read(tmp_path):
    save(tmp_path, [1.0, 2.0])
    for step, loss in ((1, 7.0), (2, 6.0)):
        folder = tmp_path / "checkpoints" / str(step)
        path = folder / "run" / "metadata"
        values = json.loads(path.read_text(encoding="utf-8"))
        for name in ("digest", "shapes", "validation_loss"):
            del values[name]
        arrays = {"parameters": state(step).parameters, "optimizer": state(step).optimizer}
        values["checksums"] = {name: int(digest.plain_sum(tree)) for name, tree in arrays.items()}
        path.write_text(json.dumps(values), encoding="utf-8")
        (folder / "metrics").mkdir()
        (folder / "metrics" / "metrics").write_text(json.dumps({"validation_loss": loss}), encoding="utf-8")
    with Checkpoints(tmp_path, keep_last=None) as checkpoints:
        assert checkpoints.choose("best") == 2
        checkpoints.restore(2, on_default_device(state(0)))


def test_another_model_is_told_as_such_by_the_array_that_differs(tmp_path):
    save(tmp_path, [1.0])
    other = state(0, {"a": jnp.zeros((64, 32)), "b": {"c": jnp.arange(3)}})
    with Checkpoints(tmp_path, keep_last=None) as checkpoints, pytest.raises(CheckpointError) as told:
        checkpoints.restore(1, on_default_device(other))
    assert "holds another model: ['a'] is float32[64,64] there, and float32[64,32] is wanted" in str(told.value)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes"), "does not fit into memory"),
        (MemoryError(), "does not fit into memory"),
        (PermissionError(13, "Permission denied", "d/1"), "may not be read"),
        (ValueError("PERMISSION_DENIED: Error opening d/1"), "may not be read"),
        (FileNotFoundError(2, "No such file", "d/1"), "a file of it is missing"),
        (ValueError("DATA_LOSS: d/1"), "damaged"),
        (KeyError("who knows {x}"), r"could not be restored; use another .*KeyError: 'who knows \{x\}'"),
    ],
)
def test_an_error_of_the_storage_is_told_as_what_it_is(tmp_path, monkeypatch, error, said):
    save(tmp_path, [1.0])

    def fails(*_, **__):
        raise RuntimeError("reading failed") from error  # as deep as orbax has them

    with Checkpoints(tmp_path, keep_last=None) as checkpoints:
        monkeypatch.setattr(checkpoints._manager, "restore", fails)
        with pytest.raises(CheckpointError, match=rf"checkpoints/1: {said}"):
            checkpoints.restore(1, on_default_device(state(0)))


def test_an_error_that_nobody_understands_names_the_versions_that_wrote_it(tmp_path, monkeypatch):
    older = replace(record(1), versions=versions() | {"orbax-checkpoint": "0.1"})
    with Checkpoints(tmp_path, keep_last=1) as checkpoints:
        checkpoints.save(state(1), older, None)

    def fails(*_, **__):
        raise KeyError("who knows")

    with Checkpoints(tmp_path, keep_last=None) as checkpoints:
        monkeypatch.setattr(checkpoints._manager, "restore", fails)
        with pytest.raises(CheckpointError, match=r"not be restored; it was written with orbax-checkpoint 0\.1"):
            checkpoints.restore(1, on_default_device(state(0)))


def test_a_full_disk_is_named_with_the_bytes_that_were_wanted(tmp_path, monkeypatch):
    save(tmp_path, [1.0])

    def full(*_, **__):
        raise ValueError("INTERNAL: " + 500 * "long story " + "[OS error 28: No space left on device]")

    message = (
        r"checkpoints: the checkpoint of step 2 .*no space left on the disk: 16,\d{3} bytes wanted, [\d,]+ bytes free"
    )
    with pytest.raises(CheckpointError, match=message), Checkpoints(tmp_path, keep_last=2) as checkpoints:
        monkeypatch.setattr(checkpoints._manager, "save", full)
        checkpoints.save(state(2), record(2), None)


# ---------------------------------------------------------------- damage of any file


def test_any_flipped_bit_or_cut_of_any_file_is_found_or_harmless(tmp_path):
    """Equal values, or one error that names the folder of the step; 2 x 100 of them, drawn over files, not bytes."""
    save(tmp_path, [2.0])
    random = np.random.default_rng(0)
    files = sorted(path for path in (tmp_path / "checkpoints" / "1").rglob("*") if path.is_file())
    want, about = state(1), None
    for trial in range(200):
        file = files[trial % len(files)]
        content = file.read_bytes()
        harmed = bytearray(content)
        place = int(random.integers(len(content)))
        if trial // len(files) % 2:
            del harmed[place:]
        else:
            harmed[place] ^= 1 << int(random.integers(8))
        file.write_bytes(harmed)
        try:
            with Checkpoints(tmp_path, keep_last=None) as checkpoints:
                assert checkpoints.choose("best") == 1
                about = about or checkpoints.record(1)
                assert checkpoints.record(1) == about
                restored = checkpoints.restore(1, on_default_device(state(0)))
            jax.tree.map(np.testing.assert_array_equal, restored, want)
        except CheckpointError as error:
            assert f"{tmp_path}/checkpoints/1: " in str(error), (file, error)
        finally:
            file.write_bytes(content)
