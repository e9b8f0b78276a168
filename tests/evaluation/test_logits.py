"""What score_logits says of a song is what the model computes of it, however long it is, and of it alone."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import MASK_RULES, ComputeConfig, InputError, ModelConfig
from jax_impl import score_logits
from jax_impl.batch import pack_row, stack_rows
from jax_impl.evaluation.logits import _logits
from jax_impl.model.museformer import MuseFormer
from jax_impl.training.checkpoint import Checkpoints
from jax_impl.training.found import CheckpointError
from jax_impl.training.record import Record, plain, versions
from jax_impl.training.step import TrainState
from tests.rounding import apart, budget, moved
from tests.rows import ids, random_song
from tokenizer import vocabulary as vocab
from tokenizer.tokens import fields
from tokenizer.tokens.decode import decode
from tokenizer.tokens.encode import encode

CONFIG = ModelConfig(layers=1, width=64, ffn=64, max_bars=32)
REFERENCE = ComputeConfig(attention="reference", precision="fp32", remat="none")


def model_of(rule: str) -> MuseFormer:
    """A small model with weights magnified until attention matters."""
    model = MuseFormer(replace(CONFIG, mask_rule=MASK_RULES[rule]), nnx.Rngs(0))
    nnx.update(model, jax.tree.map(lambda x: x * 8 if x.ndim > 1 else x, nnx.state(model, nnx.Param)))
    return model


@pytest.mark.parametrize("rule", ["span", "v121"])
def test_the_logits_of_a_song_are_those_of_the_definition(rule):
    model, song = model_of(rule), random_song(1, bars=24)
    assert 256 < len(song) < 512, "more than the smallest program, and less than a program's size"
    graph, weights = nnx.split(model)
    row = stack_rows([pack_row([song], len(song))])

    @jax.jit
    def definition(weights):
        return nnx.merge(graph, weights)(row, compute=REFERENCE, dropout_key=None)[0]

    tokens, logits = score_logits(model, song)
    assert tokens is song and logits.shape == (len(song), vocab.SIZE) and logits.dtype == np.float32
    assert apart(logits, definition(weights)) <= budget(moved(definition, weights, draws=1))


def test_a_run_and_a_score_are_enough_and_nothing_is_warned_of(tmp_path, caplog):
    model, score = model_of("span"), decode(random_song(0).ids)
    record = Record(5, plain(CONFIG), {}, 10, {}, "", {}, vocab.FINGERPRINT, versions(), {})
    with Checkpoints(tmp_path, keep_last=1) as checkpoints:
        checkpoints.save(TrainState(nnx.to_pure_dict(nnx.state(model)), {"count": jnp.zeros(())}, 5), record, 1.0)
    caplog.clear()
    tokens, logits = score_logits(str(tmp_path), score)
    assert tokens == encode(score) and caplog.messages == []
    assert np.array_equal(logits, score_logits(model, score)[1])
    programs = _logits._cache_size()
    assert np.array_equal(logits, score_logits(tmp_path, score, checkpoint="5")[1])
    assert _logits._cache_size() == programs, "one run read twice is compiled for once"
    for arguments, named in (
        ((5, score), "run"),
        ((model, "song.mid"), "song"),
        ((tmp_path, score, 5.0), "checkpoint"),
    ):
        with pytest.raises(InputError, match=f"{named} must be"):
            score_logits(*arguments)
    with pytest.raises(CheckpointError, match="no checkpoint of step 6; there are 5"):
        score_logits(tmp_path, score, checkpoint=6)


def test_songs_in_tokens_that_a_model_of_v121_does_not_know_are_refused():
    model = MuseFormer(replace(CONFIG, vocab_size=643), nnx.Rngs(0))
    assert score_logits(model, random_song(0, size=643))[1].shape[1] == 643
    for names, foreign in (("BOS BPM_0 TS_4/4 #D SEP N T1/2 P36", "T1/2"), ("BOS BPM_0 TS_5/4 #D SEP N T0", "TS_5/4")):
        with pytest.raises(InputError, match=f"token {foreign}, which a model of v1.2.1's 643 tokens does not know"):
            score_logits(model, fields.compute(ids(names)))


def test_a_song_of_more_bars_than_the_model_numbers_is_refused():
    with pytest.raises(InputError, match="a song of 33 bars: this model numbers 32; cut it"):
        score_logits(model_of("span"), random_song(0, bars=33))
