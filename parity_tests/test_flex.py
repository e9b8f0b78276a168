"""FlexAttention and the dense path of torch_ref are one model:
eager and compiled, checkpointed or not, fp32 and bf16.
"""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from configs import MASK_RULES, ModelConfig
from parity_tests.pairs import a_thousandth_off, magnified, torch_model
from tests.rounding import budget
from tests.rows import batch_of, random_song
from torch_ref import train
from torch_ref.rows import Rows, Summaries

SLOTS = 64
CONFIG = ModelConfig(layers=2, width=128, ffn=96, max_bars=16, dropout=0.0)
COMPILER = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="compiling for a CPU needs a C++ compiler"
)
GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]


@pytest.fixture(scope="module")
def batch():
    """Two packed rows with padding, of a length that is no multiple of FlexAttention's blocks."""
    return batch_of([[random_song(1), random_song(2, bars=6)], [random_song(3)]], 333)


def relative_error(got: torch.Tensor, truth: torch.Tensor) -> float:
    return float((got.detach().cpu().double() - truth).abs().max() / truth.abs().max())


@pytest.mark.parametrize(
    ("attention", "rule"), [("flex", "span"), ("flex", "v121"), pytest.param("flex_compiled", "v121", marks=COMPILER)]
)
def test_flexattention_gives_the_logits_of_the_dense_path(batch, attention, rule):
    """Forward only: it has no backward pass on a CPU."""
    config = replace(CONFIG, mask_rule=MASK_RULES[rule])
    weights, rows, real = magnified(config), Rows.of(batch._asdict()), batch.document > 0
    with torch.no_grad():
        truth = torch_model(weights, config).double()(rows, SLOTS).logits[real]
        dense, flex = (torch_model(weights, config, form)(rows, SLOTS).logits for form in ("dense", attention))
        faulty = torch_model(a_thousandth_off(weights), config)(rows, SLOTS).logits
    allowed = budget(relative_error(dense[real], truth))
    assert flex.isfinite().all()
    assert relative_error(flex[real], truth) <= allowed < relative_error(faulty[real], truth) / 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_checkpointing_changes_no_bit_of_a_step_not_even_with_dropout(batch, dtype):
    rows = Rows.of(batch._asdict())
    updated = []
    for checkpointing in (False, True):
        torch.manual_seed(1)
        model = torch_model(magnified(CONFIG), replace(CONFIG, dropout=0.3), checkpointing=checkpointing).train()
        adamw = train.optimizer(model, 1e-3, (0.9, 0.95), 0.1)
        torch.manual_seed(2)
        measured = train.step(model, adamw, [rows], SLOTS, 1e-3, 1.0, dtype)
        updated.append((measured, {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}))
    assert updated[0][0] == updated[1][0]
    for name, parameter in updated[0][1].items():
        np.testing.assert_array_equal(parameter, updated[1][1][name], err_msg=name)


@pytest.mark.parametrize("rule", MASK_RULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("device", [pytest.param("cuda", marks=GPU)])
def test_on_a_gpu_compiled_flexattention_has_the_gradients_of_the_dense_path(batch, rule, dtype, checkpointing, device):
    config = replace(CONFIG, mask_rule=MASK_RULES[rule])
    weights = magnified(config)
    found = []
    for attention in ("dense", "flex_compiled"):
        model = torch_model(weights, config, attention, checkpointing).to(device)
        rows = Rows.of(batch._asdict(), device)
        with torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32):
            logits = model(rows, SLOTS).logits
        train.loss(logits, rows, "all")[0].backward()
        found.append(dict(model.named_parameters()))
    exact = torch_model(weights, config).double()
    rows = Rows.of(batch._asdict())
    train.loss(exact(rows, SLOTS).logits, rows, "all")[0].backward()
    dense, flex = found
    truth = {name: parameter.grad for name, parameter in exact.named_parameters() if parameter.grad is not None}
    worst = max(relative_error(dense[name].grad, gradient) for name, gradient in truth.items())
    for name, gradient in truth.items():
        assert relative_error(flex[name].grad, gradient) <= budget(worst), name


def test_a_row_with_more_summaries_than_slots_is_an_error(batch):
    rows = Rows.of(batch._asdict())
    for rule, needed in (("span", batch.span.max() + 1), ("v121", 9)):
        assert Summaries.of(rows, MASK_RULES[rule], int(needed)).document.shape == (2, needed)
        with pytest.raises(ValueError, match=f"has {needed} summaries, but there is room for {needed - 1}"):
            Summaries.of(rows, MASK_RULES[rule], int(needed) - 1)


def test_an_attention_that_does_not_exist_is_an_error():
    with pytest.raises(ValueError, match="'sdpa' does not exist; choose one of dense, flex, flex_compiled"):
        torch_model(magnified(CONFIG), CONFIG, "sdpa")
