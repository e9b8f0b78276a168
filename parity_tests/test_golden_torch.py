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
from tests.rounding import apart, budget, moved
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

    @torch.no_grad()
    def forward(weights):
        output = pairs.torch_model(weights, config, attention)(rows, int(song["num_bars"]), keep_streams=True)
        streams = {name: torch.stack(getattr(output, name))[:, 0] for name in ("summary", "regular")}
        return {f"{name} streams": stream.numpy() for name, stream in streams.items()} | {
            "logits": output.logits[0].numpy()
        }

    got, allowed = forward(weights), budget(moved(forward, weights))
    for name, theirs in golden.forward_values(song).items():
        assert apart(got[name], theirs) <= allowed, name


@pytest.mark.parametrize("checkpointing", [False, True])
def test_loss_and_every_gradient_are_v121s(song, rows, config_and_weights, checkpointing):
    config, weights = config_and_weights

    def of(weights):
        model = pairs.torch_model(weights, config, checkpointing=checkpointing)
        summed, targets = train.loss(model(rows, int(song["num_bars"])).logits, rows)
        (summed / targets).backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
        return float((summed / targets).detach()), {name: value.numpy() for name, value in gradients.items()}

    (value, ours), allowed = of(weights), budget(moved(of, weights))
    expected_loss, expected = golden.gradients(golden.SONG)
    assert apart(value, expected_loss) <= allowed
    for name, theirs in expected.items():
        assert apart(ours[name], theirs) <= allowed, name
