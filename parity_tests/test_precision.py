"""In deep models, with matrix products in bf16, JAX is as near to the truth, PyTorch in fp64, as PyTorch under autocast
is; in fp32 it is as near as PyTorch in fp32.

Both round as many numbers, but others, so that one gradient of one batch is now nearer in the one, now in the other, by
up to a factor of two for the queries and keys of summaries. What is asserted does not depend on that luck:

    each kind of parameter    over all layers and draws, the geometric mean of the ratio of the two errors <= MARGIN
    each single parameter     over the draws the same, but for what the scatter of the ratio explains, measured here

A draw is other weights and other songs.
"""

import functools
from dataclasses import replace

import jax
import numpy as np
import pytest
import torch

from configs import ModelConfig
from jax_impl.model import museformer as jax_module
from parity_tests.compare import compare, table
from parity_tests.precision import LOGITS, WEIGHTS, Problem, Values, errors, jax_program, kind, torch_values
from tests.rows import batch_of, random_song

MARGIN = 1.1  # our error, at most, times PyTorch's
STANDARD_ERRORS = 4.0  # of the mean over the draws; chance takes one in 30 000 that far
DRAWS = 3
DEPTHS = (16, 24)
LENGTH, SLOTS = 192, 64
NARROW = ModelConfig(layers=16, width=128, ffn=96, max_bars=16, dropout=0.0)


@functools.cache
def problem(layers: int, weights: str, draw: int) -> Problem:
    config = replace(NARROW, layers=layers)
    songs = [random_song(2 * draw + 1, bars=2), random_song(2 * draw + 2, bars=2)]
    return Problem(config, WEIGHTS[weights](config, draw), batch_of([songs], LENGTH), SLOTS)


@functools.cache
def truth(layers: int, weights: str, draw: int) -> Values:
    return torch_values(problem(layers, weights, draw), "fp64")


@functools.cache
def torch_errors(layers: int, weights: str, draw: int) -> dict[str, float]:
    return errors(torch_values(problem(layers, weights, draw), "bf16"), truth(layers, weights, draw))


@functools.cache
def sound_program(layers: int):
    return jax_program(replace(NARROW, layers=layers), SLOTS, "bf16")


def further(program, layers: int, weights: str) -> list[str]:
    """What the program has further from the truth than PyTorch has."""
    ours = [errors(program(problem(layers, weights, n)), truth(layers, weights, n)) for n in range(DRAWS)]
    theirs = [torch_errors(layers, weights, n) for n in range(DRAWS)]
    names = [name for name in theirs[0] if all(name in of_draw for of_draw in theirs)]
    ratios = {name: np.log([x[name] / y[name] for x, y in zip(ours, theirs, strict=True)]) for name in names}
    found = []
    for one in dict.fromkeys(map(kind, names)):
        of_kind = {name: ratio for name, ratio in ratios.items() if kind(name) == one}
        mean = np.mean(list(of_kind.values()))
        if not mean <= np.log(MARGIN):
            found.append(f"{one}: {np.exp(mean):.2f} times PyTorch's error")
        standard_error = np.sqrt(np.mean([ratio.var(ddof=1) for ratio in of_kind.values()]) / DRAWS)
        allowed = np.log(MARGIN) + STANDARD_ERRORS * standard_error
        for name, ratio in of_kind.items():
            if not ratio.mean() <= allowed:
                found.append(f"{name}: {np.exp(ratio.mean()):.2f} times, scatter explains {np.exp(allowed):.2f}")
    return found


def on_the_grid(values: Values) -> list[str]:
    """Gradients whose elements bf16 can mostly hold: rounded at the end. In fp32 one in 65536 is such by chance."""
    found = []
    for name, gradient in values.items():
        bits = gradient[gradient != 0].view(np.uint32)
        if name != LOGITS and len(bits) and np.mean(bits & 0xFFFF == 0) > 0.5:
            found.append(name)
    return found


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("layers", DEPTHS)
def test_in_bf16_logits_and_every_gradient_are_as_near_to_the_truth_as_pytorchs(layers, weights):
    found = further(sound_program(layers), layers, weights)
    assert not found, "\n".join(found)


def test_no_gradient_is_rounded_to_bf16():
    assert on_the_grid(sound_program(16)(problem(16, "scale 1", 0))) == []


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("layers", DEPTHS)
def test_in_fp32_deep_models_agree_within_rounding(layers, weights):
    config, values, batch, slots = problem(layers, weights, 0)
    lines = compare(values, config, batch, slots, "xla")
    assert len(lines) > 30 * layers
    assert all(line.holds for line in lines), "\n" + table(lines)


# ---------------------------------------------------------------- faults that must be found


def to_bf16(x: jax.Array) -> jax.Array:
    """Rounded, in fp32; unlike a conversion there and back, which a compiler may leave out."""
    return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)


@jax.custom_vjp
def backward_in_bf16(x: jax.Array) -> jax.Array:
    return x


backward_in_bf16.defvjp(lambda x: (x, None), lambda _, gradient: (to_bf16(gradient),))
MAP_GROUPS = jax_module.map_groups


def between_layers(change):
    def after_layer(*arguments):
        streams, kept = MAP_GROUPS(*arguments)
        return jax.tree.map(change, streams), kept

    return lambda m: m.setattr(jax_module, "map_groups", after_layer)


FAULTS = {
    "residual streams in bf16": between_layers(to_bf16),
    "gradients of residual streams in bf16": between_layers(backward_in_bf16),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_further_from_the_truth_than_pytorch(monkeypatch, fault):
    FAULTS[fault](monkeypatch)
    found = further(jax_program(replace(NARROW, layers=16), SLOTS, "bf16"), 16, "scale 1")
    assert found, f"{fault} makes no difference"


def test_a_gradient_that_is_rounded_to_bf16_is_found():
    """Or summed in bf16: such a sum ends there."""
    exact = sound_program(16)(problem(16, "scale 1", 0))
    for name in ("layers.7.attention.reg_out_proj.weight", "layers.7.attention.reg_out_proj.bias"):
        rounded = torch.tensor(exact[name]).bfloat16().float().numpy()
        assert on_the_grid(exact | {name: rounded}) == [name]


def test_a_single_gradient_that_is_far_off_is_found():
    name = "layers.7.attention.reg_q_proj.weight"
    sound = sound_program(16)

    def faulty(problem: Problem) -> Values:
        values = sound(problem)
        return values | {name: values[name] * np.float32(1.02)}

    assert any(line.startswith(name) for line in further(faulty, 16, "scale 1"))
