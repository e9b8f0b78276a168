"""A model as one file: what comes back is what was written, a file stands for a run, and damage is told."""

import json

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from configs import InputError, SampleConfig
from jax_impl.sampling.sample import generate
from jax_impl.training import weights_file
from jax_impl.training.checkpoint import export, load_model
from jax_impl.training.found import CheckpointError, find
from jax_impl.training.train import model_config, tasks_seen, train
from tests.runs import MODEL, config
from tokenizer.music.score import Score


def arrays(model) -> dict[str, np.ndarray]:
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves(nnx.state(model))}


leaves = jax.tree_util.tree_leaves_with_path


def test_fp32_is_the_run_bit_for_bit(uninterrupted, tmp_path):
    found = export(uninterrupted, tmp_path / "all.safetensors", "fp32")
    (model, record), (again, told) = load_model(uninterrupted, "best"), load_model(tmp_path / "all.safetensors", "best")
    ours, theirs = arrays(model), arrays(again)
    assert ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert told.model_config == record.model_config and told.step == record.step == found.record.step
    assert told.vocabulary == record.vocabulary and told.tasks == record.tasks
    songs = [
        generate(run, sampler=SampleConfig(max_length=60)) for run in (uninterrupted, tmp_path / "all.safetensors")
    ]
    assert songs[0] == songs[1] and isinstance(songs[0][0], Score)


def test_fp16_is_rounded_and_half_as_large(uninterrupted, tmp_path):
    export(uninterrupted, tmp_path / "all.safetensors", "fp32")
    export(tmp_path / "all.safetensors", tmp_path / "half.safetensors", "fp16")  # a file stands for a run here too
    ours, theirs = (arrays(load_model(run, "best")[0]) for run in (uninterrupted, tmp_path / "half.safetensors"))
    assert all(np.array_equal(ours[name].astype(np.float16), theirs[name]) for name in ours)
    whole, half = ((tmp_path / name).stat().st_size for name in ("all.safetensors", "half.safetensors"))
    assert half < 0.51 * whole + 10_000


def test_other_programs_read_it_and_it_names_no_folder(uninterrupted, dataset, tmp_path):
    export(uninterrupted, tmp_path / "all.safetensors", "fp32")
    tensors = load_file(tmp_path / "all.safetensors")
    assert tensors["tokens.embedding"].dtype == np.float32 and "layers.regular.qkv.kernel" in tensors
    with safe_open(tmp_path / "all.safetensors", framework="numpy") as file:
        metadata = file.metadata()
    assert json.loads(metadata["record"])["model"]["layers"] == MODEL.layers
    content = (tmp_path / "all.safetensors").read_bytes()
    assert str(uninterrupted).encode() not in content and str(dataset).encode() not in content


def test_training_begins_with_it(uninterrupted, dataset, tmp_path):
    export(uninterrupted, tmp_path / "all.safetensors", "fp32")
    runs = [config(dataset, tmp_path / name, steps=3, init_from=run)
            for name, run in (("a", uninterrupted), ("b", tmp_path / "all.safetensors"))]  # fmt: skip
    assert model_config(runs[0]) == model_config(runs[1]) and tasks_seen(runs[0], None) == tasks_seen(runs[1], None)
    for settings in runs:
        train(settings)
    ours, theirs = (arrays(load_model(settings.output_dir, "latest")[0]) for settings in runs)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_what_is_no_such_file_is_told_by_name(uninterrupted, tmp_path):
    whole, bad = tmp_path / "all.safetensors", tmp_path / "bad.safetensors"
    export(uninterrupted, whole, "fp32")
    content = whole.read_bytes()
    for damaged in (b"", content[:1000], content[:-1], b"x" * 1000):
        bad.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"bad.safetensors: cannot be read as a model"):
            load_model(bad, "best")
    bad.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"bad.safetensors: .*the checksum of its tensors is wrong"):
        load_model(bad, "best")
    save_file({"a": np.zeros(3)}, bad)
    with pytest.raises(CheckpointError, match="no model of hid-museformer"):
        find(bad, "best")
    with pytest.raises(CheckpointError, match=r"none.safetensors: no such file"):
        find(tmp_path / "none.safetensors", "best")
    with pytest.raises(CheckpointError, match="no checkpoint of step 7; it is that of step 8"):
        find(whole, 7)


def test_tensors_of_another_model_are_refused(uninterrupted, tmp_path):
    whole = tmp_path / "all.safetensors"
    export(uninterrupted, whole, "fp32")
    tensors = load_file(whole)
    with safe_open(whole, framework="numpy") as file:
        metadata = file.metadata()
    tensors["tokens.embedding"] = tensors["tokens.embedding"][:-1].copy()
    save_file(tensors, whole, metadata | {"checksum": weights_file.digest.checksum(tensors)})
    with pytest.raises(CheckpointError, match="not those of the model"):
        load_model(whole, "best")


def test_numbers_that_fp16_cannot_hold_are_not_written(uninterrupted, tmp_path):
    found = find(uninterrupted, "best")
    with pytest.raises(InputError, match="fp16 cannot hold; give --precision fp32"):
        weights_file.write(tmp_path / "x.safetensors", {"a": np.full(2, 1e6, np.float32)}, found.record, "fp16")
    assert not list(tmp_path.iterdir())
