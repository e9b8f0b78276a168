"""Rule v121 in torch_ref is v1.2.1: masks bit for bit, streams, logits and gradients within rounding,
dense and through FlexAttention.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from configs import MASK_RULES
from jax_impl.batch import pack_row, stack_rows
from jax_impl.model.v121 import from_v121
from parity_tests import golden, pairs
from torch_ref import masks, train
from torch_ref.rows import Rows, Summaries

pytestmark = pytest.mark.skipif(not golden.GOLDEN.exists(), reason="v1.2.1's outputs lie beside the project")


@pytest.fixture(scope="module")
def song():
    return golden.load(golden.SONG)


@pytest.fixture(scope="module")
def rows(song):
    fields = golden.fields(song)
    return Rows.of(stack_rows([pack_row([fields], len(fields))])._asdict())


@pytest.fixture(scope="module")
def config_and_weights():
    weights = golden.load(f"{golden.NAME}_weights")
    config, _ = from_v121(weights, MASK_RULES["v121"])
    return replace(config, dropout=0.0), weights


def test_both_masks_are_v121s_bit_for_bit(song, rows):
    bars, length = int(song["num_bars"]), len(song["token_ids"])
    summaries = Summaries.of(rows, MASK_RULES["v121"], bars)
    summarize = masks.dense(masks.summarize_mod(rows, summaries), 1, bars, bars + length)[0, 0]
    update = masks.dense(masks.update_mod(rows, summaries, MASK_RULES["v121"]), 1, length, bars + length)[0, 0]
    assert np.array_equal(summarize.numpy(), song["summarize_mask"])
    assert np.array_equal(update.numpy(), song["updating_mask"])


@pytest.mark.parametrize("attention", ["dense", "flex"])
def test_streams_and_logits_are_v121s(song, rows, config_and_weights, attention):
    config, weights = config_and_weights
    with torch.no_grad():
        output = pairs.torch_model(weights, config, attention)(rows, int(song["num_bars"]), keep_streams=True)
    for layer in range(config.layers + 1):
        regular = song["x0"] if layer == 0 else song["x_layers"][layer - 1]
        summary = song["sum_x0"] if layer == 0 else song["sum_x_layers"][layer - 1]
        np.testing.assert_allclose(
            output.regular[layer][0], regular, atol=1e-4, err_msg=f"regular stream after layer {layer}"
        )
        np.testing.assert_allclose(
            output.summary[layer][0], summary, atol=1e-4, err_msg=f"summary stream after layer {layer}"
        )
    np.testing.assert_allclose(output.logits[0], song["logits"], atol=1e-4)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_loss_and_every_gradient_are_v121s(song, rows, config_and_weights, checkpointing):
    config, weights = config_and_weights
    model = pairs.torch_model(weights, config, checkpointing=checkpointing)
    summed, targets = train.loss(model(rows, int(song["num_bars"])).logits, rows)
    (summed / targets).backward()
    theirs = golden.load(f"{golden.SONG}_grads")
    assert float((summed / targets).detach()) == pytest.approx(float(theirs.pop("loss")), rel=1e-5)
    ours = dict(model.named_parameters())
    for name, expected in theirs.items():
        scale = max(float(np.abs(expected).max()), 1e-6)
        assert float(np.abs(ours[name].grad.numpy() - expected).max()) <= 1e-4 * scale, name
