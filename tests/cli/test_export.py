"""The verb that writes a model as one file, which then stands for the run."""

import shutil

import jax.numpy as jnp
import pytest
from flax import nnx

from configs import ModelConfig
from jax_impl.model.museformer import MuseFormer
from jax_impl.training.checkpoint import Checkpoints
from jax_impl.training.record import Record, plain, versions
from jax_impl.training.step import TrainState
from tokenizer import vocabulary as vocab


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder, config = tmp_path_factory.mktemp("run"), ModelConfig(layers=1, width=64, ffn=64, max_bars=32)
    model = MuseFormer(config, nnx.Rngs(0))
    record = Record(2, plain(config), {}, 10, {}, "", {}, vocab.FINGERPRINT, versions(), {})
    with Checkpoints(folder, keep_last=1) as checkpoints:
        parameters = nnx.to_pure_dict(nnx.state(model))
        checkpoints.save(TrainState(parameters, {"count": jnp.zeros(())}, 2), record, validation_loss=None)
    return folder


def test_the_verb(run, trained, tmp_path):
    out = tmp_path / "given away"
    status, said, _ = run("export", trained, f"{out}/")
    (file,) = out.iterdir()
    assert status == 0 and file.name == f"{trained.name}.safetensors" and "after step 2" in said
    status, _, error = run("export", trained, file)
    assert status == 2 and "--overwrite" in error
    status, _, error = run("export", tmp_path / "nowhere", tmp_path / "x.safetensors")
    assert status == 2 and "nowhere" in error and not (tmp_path / "x.safetensors").exists()
    status, _, error = run("export", trained, tmp_path / "x.pt")
    assert status == 2 and "safetensors" in error
    shutil.copy(file, tmp_path / "weights.SAFETENSORS")
    status, said, error = run("generate", tmp_path / "weights.SAFETENSORS", "-o", tmp_path / "a.mid", "--no-picture",
                              "--max-length", "60")  # fmt: skip
    assert status == 0, error
    assert (tmp_path / "a.mid").exists()
