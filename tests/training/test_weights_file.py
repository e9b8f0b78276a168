"""A model as one file: what comes back is what was written, a file stands for a run, and damage is told."""

import json

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from configs import InputError, SampleConfig
from jax_impl.model.museformer import abstract_model
from jax_impl.sampling.sample import generate
from jax_impl.training import weights_file
from jax_impl.training.checkpoint import export, load_model, parameters_of
from jax_impl.training.found import CheckpointError, find
from jax_impl.training.record import digest_of
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
    both = [find(tmp_path / name, "best").record.checksums for name in ("all.safetensors", "half.safetensors")]
    assert both[0] != both[1]  # it is another model, whose songs are others


def test_the_same_model_is_the_same_file(uninterrupted, tmp_path):
    for name in ("a.safetensors", "b.safetensors"):
        export(uninterrupted, tmp_path / name, "fp16")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_file_that_is_replaced_between_its_record_and_its_weights_is_refused(uninterrupted, tmp_path):
    export(uninterrupted, tmp_path / "a.safetensors", "fp32")
    found = find(tmp_path / "a.safetensors", "best")
    export(uninterrupted, tmp_path / "a.safetensors", "fp16", overwrite=True)
    _, abstract = abstract_model(found.record.model_config)
    with pytest.raises(CheckpointError, match="the checksum of its tensors is wrong; bring"):
        parameters_of(found, abstract)


def test_a_file_that_appeared_meanwhile_is_not_written_over(uninterrupted, tmp_path):
    found, path = find(uninterrupted, "best"), tmp_path / "a.safetensors"
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match="--overwrite"):
        weights_file.write(path, {"a": np.zeros(2, np.float32)}, found.record, "fp32")
    assert path.read_bytes() == b"mine" and list(tmp_path.iterdir()) == [path]


def test_other_programs_read_it_and_it_names_no_folder(uninterrupted, dataset, tmp_path):
    export(uninterrupted, tmp_path / "all.safetensors", "fp32")
    tensors = load_file(tmp_path / "all.safetensors")
    assert tensors["tokens.embedding"].dtype == np.float32 and "layers.regular.qkv.kernel" in tensors
    with safe_open(tmp_path / "all.safetensors", framework="numpy") as file:
        metadata = file.metadata()
    assert json.loads(metadata["hid-museformer"])["model"]["layers"] == MODEL.layers
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
    with pytest.raises(CheckpointError, match="no model of this program"):
        find(bad, "best")
    with pytest.raises(CheckpointError, match=r"none.safetensors: no such file"):
        find(tmp_path / "none.safetensors", "best")
    with pytest.raises(CheckpointError, match="no checkpoint of step 7; it is that of step 8"):
        find(whole, 7)


def rewritten(whole, bad, tensors=lambda name, tensor: tensor, values=lambda values: values, sign=True) -> None:
    """The file with other tensors, or another record."""
    with safe_open(whole, framework="numpy") as file:
        said = json.loads(file.metadata()["hid-museformer"])
    said = {name: value for name, value in values(said).items() if name != "digest"}
    said |= {"digest": digest_of(said)} if sign else {}
    there = {name: np.ascontiguousarray(tensors(name, tensor)) for name, tensor in load_file(whole).items()}
    save_file(there, bad, {"hid-museformer": json.dumps(said)})


def test_what_is_another_model_is_told_by_name(uninterrupted, tmp_path):
    whole, bad = tmp_path / "all.safetensors", tmp_path / "bad.safetensors"
    export(uninterrupted, whole, "fp32")
    rewritten(whole, bad)
    load_model(bad, "best")  # as it was
    of_model = lambda **changes: lambda values: values | {"model": values["model"] | changes}
    for what, changes in (
        ("not those of the model", dict(tensors=lambda name, x: x[:-1] if name == "tokens.embedding" else x)),
        ("must be fp32 or fp16", dict(tensors=lambda name, x: x.astype(np.float64))),
        ("a newer version may", dict(values=of_model(newer=1))),
        ("a newer version may", dict(values=lambda values: values | {"model": {}})),
        ("a newer version may", dict(values=lambda values: values | {"model": 3})),
        ("its record is none", dict(values=lambda values: values | {"newer": 1})),
        ("its record has no digest", dict(sign=False)),
    ):
        rewritten(whole, bad, **changes)
        with pytest.raises(CheckpointError, match=rf"bad.safetensors: .*{what}"):
            load_model(bad, "best")


def test_numbers_that_fp16_cannot_hold_are_not_written(uninterrupted, tmp_path):
    found = find(uninterrupted, "best")
    with pytest.raises(InputError, match="fp16 cannot hold; give --precision fp32"):
        weights_file.write(tmp_path / "x.safetensors", {"a": np.full(2, 1e6, np.float32)}, found.record, "fp16")
    assert not list(tmp_path.iterdir())
