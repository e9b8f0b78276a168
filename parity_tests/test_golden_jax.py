"""Rule v121 in JAX is v1.2.1: its masks bit for bit, its streams, logits and gradients within rounding."""

import jax
import numpy as np
import pytest
from flax import nnx

from configs import MASK_RULES, ComputeConfig
from jax_impl.attention import unpack
from jax_impl.batch import pack_row, stack_rows
from jax_impl.model import masks
from jax_impl.model.museformer import abstract_model
from jax_impl.model.v121 import WeightsError, from_v121, to_v121
from jax_impl.training.step import cross_entropy
from parity_tests import golden
from tests.rounding import apart, budget, moved

V121 = MASK_RULES["v121"]
pytestmark = pytest.mark.skipif(not golden.GOLDEN.exists(), reason="v1.2.1's outputs lie beside the project")


@pytest.fixture(scope="module")
def song():
    return golden.load(golden.SONG)


@pytest.fixture(scope="module")
def batch(song):
    fields = golden.fields(song)
    return stack_rows([pack_row([fields], len(fields) + 21)])


@pytest.fixture(scope="module")
def weights():
    return golden.load(f"{golden.NAME}_weights")


def test_both_masks_are_v121s_bit_for_bit(song, batch):
    bars, length = int(song["num_bars"]), len(song["token_ids"])
    data = masks.summaries(batch, V121, bars)
    slots, tokens = data.document.shape[1], batch.tokens.shape[1]
    summarize = np.asarray(unpack(masks.summarize_mask(batch, data, V121), slots, slots + tokens))[0]
    update = np.asarray(unpack(masks.update_mask(batch, data, V121), tokens, slots + tokens))[0]
    theirs = np.r_[0:bars, slots : slots + length]
    assert np.array_equal(summarize[:bars, theirs], song["summarize_mask"])
    assert np.array_equal(update[:length, theirs], song["updating_mask"])
    everything_else = np.ones(slots + tokens, bool)
    everything_else[theirs] = False
    assert not summarize[:, everything_else].any() and not update[:, everything_else].any()


@pytest.mark.parametrize("impl", ["reference", "xla"])
def test_streams_and_logits_are_v121s(song, batch, weights, impl):
    config, parameters = from_v121(weights, V121)
    graph, _ = abstract_model(config)
    compute = ComputeConfig(attention=impl, precision="fp32", remat="none")
    bars, length = int(song["num_bars"]), len(song["token_ids"])

    @jax.jit
    def forward(parameters):
        model = nnx.merge(graph, parameters)
        streams = model.layer_streams(batch, max_spans=bars, compute=compute)
        return {
            "summary streams": streams.summary[:, 0, :bars],
            "regular streams": streams.regular[:, 0, :length],
            "logits": model(batch, max_spans=bars, compute=compute, dropout_key=None)[0, :length],
        }

    got, allowed = forward(parameters), budget(moved(forward, parameters))
    for name, theirs in golden.forward_values(song).items():
        assert apart(got[name], theirs) <= allowed, name
    faulty = forward(parameters | {"norm": {**parameters["norm"], "scale": parameters["norm"]["scale"] * 1.001}})
    assert apart(faulty["logits"], song["logits"]) > allowed


def test_loss_and_every_gradient_are_v121s(song, batch, weights):
    config, parameters = from_v121(weights, V121)
    graph, _ = abstract_model(config)
    compute = ComputeConfig(attention="xla", precision="fp32", remat="layer")

    def loss(parameters):
        logits = nnx.merge(graph, parameters)(batch, max_spans=int(song["num_bars"]), compute=compute, dropout_key=None)
        return cross_entropy(logits, batch, "all") / batch.weights.sum()

    of = jax.jit(jax.value_and_grad(loss))
    value, gradient = of(parameters)
    allowed = budget(moved(of, parameters))
    expected_loss, expected = golden.gradients(golden.SONG)
    assert apart(value, expected_loss) <= allowed
    ours = to_v121(gradient)
    assert len(expected) >= 60
    for name, theirs in expected.items():
        assert apart(ours[name], theirs) <= allowed, name


def test_weights_come_back_under_their_own_names(weights):
    _, parameters = from_v121(weights, V121)
    again = to_v121(parameters)
    assert again.keys() == weights.keys()
    for name in weights:
        np.testing.assert_array_equal(again[name], weights[name], err_msg=name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("layers.1.reg_ffn_up.weight"), r"layers\.1\.reg_ffn_up\.weight is missing"),
        (lambda w: w.update({"adapter.weight": np.zeros(3)}), "adapter.weight"),
        (lambda w: w.update({"lm_head.weight": w["lm_head.weight"] + 1}), "not tied"),
        (
            lambda w: w.update(
                {"token_embedding.weight": np.zeros((500, 128)), "lm_head.weight": np.zeros((500, 128))}
            ),
            "token_embedding",
        ),
        (lambda w: w.update({"layers.0.attention.rope.inv_freq": np.zeros(16)}), "32 wide"),
        (lambda w: w.update({"layers.7.reg_ffn_up.weight": np.zeros(3)}), r"layers \[0, 1, 7\]"),
    ],
)
def test_other_weights_are_refused_by_name(weights, change, message):
    changed = dict(weights)
    change(changed)
    with pytest.raises(WeightsError, match=message):
        from_v121(changed, V121)
