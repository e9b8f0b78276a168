"""Sampling draws what the model says, songs do not depend on their neighbours, and every result is a valid score."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import MASK_RULES, ComputeConfig, InputError, ModelConfig, SampleConfig
from jax_impl.batch import pack_row, stack_rows
from jax_impl.model import MuseFormer
from jax_impl.sample import draw, generate
from tokenizer import fields
from tokenizer import vocabulary as vocab
from tokenizer.quantize import snap

COMPUTE = ComputeConfig(attention="xla", precision="fp32", remat="none")


@pytest.fixture(scope="module")
def model() -> MuseFormer:
    model = MuseFormer(ModelConfig(layers=1, width=64, ffn=64, max_bars=8), nnx.Rngs(0))
    nnx.update(model, jax.tree.map(lambda x: x * 8 if x.ndim > 1 else x, nnx.state(model, nnx.Param)))
    return model


def drawn(logits, config: SampleConfig, times: int = 2000) -> set[int]:
    keys = jax.random.split(jax.random.key(0), times)
    return set(np.unique(jax.vmap(lambda key: draw(key, jnp.asarray(logits), config))(keys)).tolist())


LOGITS = np.log(np.array([0.5, 0.25, 0.15, 0.07, 0.03]))


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        (SampleConfig(temperature=0, top_p=1), {0}),
        (SampleConfig(temperature=1, top_p=1), {0, 1, 2, 3, 4}),
        (SampleConfig(temperature=1, top_k=2, top_p=1), {0, 1}),
        (SampleConfig(temperature=1, top_p=0.7), {0, 1}),
        (SampleConfig(temperature=1, top_p=0.76), {0, 1, 2}),
        (SampleConfig(temperature=1, top_p=0.01), {0}),
        (SampleConfig(temperature=1, top_k=3, top_p=0.5), {0}),
        (SampleConfig(temperature=0.05, top_p=1), {0}),
    ],
)
def test_draws_stay_within_what_is_kept(config, tokens):
    assert drawn(LOGITS, config) == tokens


def test_draws_follow_the_probabilities():
    keys = jax.random.split(jax.random.key(1), 20_000)
    tokens = jax.vmap(lambda key: draw(key, jnp.asarray(LOGITS), SampleConfig(temperature=1, top_p=1)))(keys)
    np.testing.assert_allclose(np.bincount(tokens) / 20_000, np.exp(LOGITS), atol=0.015)


def test_what_is_not_allowed_is_never_drawn():
    assert drawn(np.where(np.arange(5) == 0, -np.inf, LOGITS), SampleConfig(temperature=1)) == {1, 2, 3, 4}


def test_greedy_sampling_takes_the_likeliest_token_of_the_full_forward(model):
    (song,) = generate(model, SampleConfig(temperature=0, max_length=40), COMPUTE)
    batch = stack_rows([pack_row([fields.compute(song.ids)], 256)])
    logits = np.array(model(batch, max_spans=64, compute=COMPUTE, dropout_key=None)[0])
    logits[:, [vocab.PAD, vocab.BOS, vocab.MASK, vocab.UNK]] = -np.inf
    for index in range(len(song.ids) - 1):
        if vocab.CHORD <= logits[index].argmax() < vocab.POSITION:
            continue  # may be forbidden where the bars are used up
        assert song.ids[index + 1] == logits[index].argmax()


def test_a_song_depends_on_seed_and_number_alone(model):
    one = generate(model, SampleConfig(max_length=60, num_samples=1, seed=3), COMPUTE)
    three = generate(model, SampleConfig(max_length=60, num_samples=3, seed=3), COMPUTE)
    other = generate(model, SampleConfig(max_length=60, num_samples=1, seed=4), COMPUTE)
    assert np.array_equal(one[0].ids, three[0].ids)
    assert not np.array_equal(three[0].ids, three[1].ids)
    assert not np.array_equal(one[0].ids, other[0].ids)


@pytest.mark.parametrize("rule", MASK_RULES)
def test_even_random_weights_give_valid_scores_of_the_asked_length(rule):
    model = MuseFormer(ModelConfig(layers=1, width=64, ffn=64, max_bars=8, mask_rule=MASK_RULES[rule]), nnx.Rngs(1))
    for song in generate(model, SampleConfig(temperature=1, top_p=1, max_length=300, num_samples=2), COMPUTE):
        assert song.ids[0] == vocab.BOS and 1 < len(song.ids) <= 300
        assert song.finished == (song.ids[-1] == vocab.EOS)
        assert not song.finished or vocab.EOS not in song.ids[:-1]
        assert snap(song.score()) == song.score()
        assert fields.compute(song.ids).bar.max() < 8


@pytest.mark.parametrize("flag", ["temperature", "top_k", "top_p", "max_length", "num_samples"])
def test_settings_that_make_no_sense_are_refused_by_flag(flag):
    with pytest.raises(InputError, match=f"--{flag.replace('_', '-')}"):
        SampleConfig(**{flag: -1})
