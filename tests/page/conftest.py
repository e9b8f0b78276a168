"""A run of a small model of random weights that has seen fills, a server of it, and songs."""

import base64

import jax.numpy as jnp
import pytest
from flax import nnx

from configs import ModelConfig
from jax_impl.model.museformer import MuseFormer
from jax_impl.page import warming
from jax_impl.page.song import Song
from jax_impl.training.checkpoint import Checkpoints
from jax_impl.training.record import Record, plain, versions
from jax_impl.training.step import TrainState
from tests.cli.conftest import run  # noqa: F401
from tests.page.served import serving
from tokenizer import vocabulary as vocab
from tokenizer.music import midi
from tokenizer.music.composer import compose

CONFIG = ModelConfig(layers=1, width=64, ffn=64, max_bars=64)


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    model = MuseFormer(CONFIG, nnx.Rngs(0))
    train = {"max_seq_len": 512}
    record = Record(
        5, plain(CONFIG), train, 10, {}, "", {}, vocab.FINGERPRINT, versions(), tasks={"fill": 0.5, "reorder": 0.5}
    )
    with Checkpoints(folder, keep_last=1) as checkpoints:
        checkpoints.save(TrainState(nnx.to_pure_dict(nnx.state(model)), {"count": jnp.zeros(())}, 5), record, 1.0)
    return folder


@pytest.fixture(scope="module")
def server(run_dir):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warming, "ASKED", ())
        with serving(run_dir) as address:
            yield address


@pytest.fixture(scope="session")
def raw() -> bytes:
    """A song of a few bars and tracks."""
    return midi.to_bytes(compose(1), "a song")[0]


@pytest.fixture
def song(raw) -> Song:
    return Song.of_file(raw)


def as_text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
