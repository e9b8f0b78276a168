"""A small model of random weights, a run of it, and a song that is given."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jax_impl.model.museformer import MuseFormer
from jax_impl.training.checkpoint import Checkpoints
from jax_impl.training.record import Record, plain, versions
from jax_impl.training.step import TrainState
from tests.rows import ids
from tests.sampling.small import CONFIG
from tokenizer import vocabulary as vocab
from tokenizer.tokens import grammar
from tokenizer.tokens.decode import decode


@pytest.fixture(scope="module")
def model() -> MuseFormer:
    model = MuseFormer(CONFIG, nnx.Rngs(0))
    nnx.update(model, jax.tree.map(lambda x: x * 8 if x.ndim > 1 else x, nnx.state(model, nnx.Param)))
    return model


@pytest.fixture(scope="module")
def run_dir(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    record = Record(5, plain(CONFIG), {}, 10, {}, "", {}, vocab.FINGERPRINT, versions(), {})
    with Checkpoints(folder, keep_last=1) as checkpoints:
        checkpoints.save(TrainState(nnx.to_pure_dict(nnx.state(model)), {"count": jnp.zeros(())}, 5), record, 1.0)
    return folder


@pytest.fixture(scope="module")
def given():
    """A song of four bars in 4/4 with drums, bass and piano, on the grid."""
    drums = "#D SEP Cmaj T0 P36 L1 V25 T8 P38 Amin T0 P36 Fmaj T0 P36 G7 T0 P36 T12 P38"
    bass = "#P33 SEP Cmaj T0 P36 L8 V20 Amin T0 P45 Fmaj T0 P41 T8 P41 G7 T0 P43"
    piano = "#P0 SEP Cmaj T4 P60 L2 V22 P64 P67 Amin T4 P57 V24 Fmaj G7 T0 P55 L16"
    song = ids(f"BOS BPM_19 TS_4/4 {drums} {bass} {piano} EOS")
    assert grammar.errors([song]) == [None]
    return decode(song)
