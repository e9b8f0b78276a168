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


def forward(weights, config, song, rows, attention: str) -> dict[str, np.ndarray]:
    """Streams and logits, by the names of golden.forward_values."""
    with torch.no_grad():
        output = pairs.torch_model(weights, config, attention)(rows, int(song["num_bars"]), keep_streams=True)
    streams = {f"{name} streams": torch.stack(getattr(output, name))[:, 0] for name in ("summary", "regular")}
    return {name: value.numpy() for name, value in (streams | {"logits": output.logits[0]}).items()}


def loss_and_gradients(weights, config, song, rows, checkpointing: bool) -> tuple[float, dict[str, np.ndarray]]:
    model = pairs.torch_model(weights, config, checkpointing=checkpointing)
    summed, targets = train.loss(model(rows, int(song["num_bars"])).logits, rows, "all")
    (summed / targets).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return float((summed / targets).detach()), {name: value.numpy() for name, value in gradients.items()}


@pytest.mark.parametrize("attention", ["dense", "flex"])
def test_streams_and_logits_are_v121s(song, rows, config_and_weights, attention):
    config, weights = config_and_weights
    run = lambda weights: forward(weights, config, song, rows, attention)
    theirs = golden.forward_values(song)
    got, faulty, allowed = run(weights), run(pairs.a_thousandth_off(weights)), budget(moved(run, weights))
    for name, values in theirs.items():
        assert apart(got[name], values) <= allowed, name
    assert apart(faulty["logits"], theirs["logits"]) > 2 * allowed


@pytest.mark.parametrize("checkpointing", [False, True])
def test_loss_and_every_gradient_are_v121s(song, rows, config_and_weights, checkpointing):
    config, weights = config_and_weights
    run = lambda weights: loss_and_gradients(weights, config, song, rows, checkpointing)
    theirs = golden.gradients(golden.SONG)
    (value, ours), allowed = run(weights), budget(moved(run, weights))
    assert apart(value, theirs[0]) <= allowed
    for name, gradient in theirs[1].items():
        assert apart(ours[name], gradient) <= allowed, name
    _, faulty = run(pairs.a_thousandth_off(weights))
    assert max(apart(faulty[name], gradient) for name, gradient in theirs[1].items()) > 2 * allowed
