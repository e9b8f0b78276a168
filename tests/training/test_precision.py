"""Three hundred steps with matrix products in bf16 lead where those in fp32 do.

Runs of other seeds (weights and order of the songs) end with other losses. Their scatter is the measure: products in
bf16 may move the loss of a seed by no more than another seed would.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import ComputeConfig, ModelConfig, TrainConfig
from jax_impl.batch import Batch, pack_row, stack_rows
from jax_impl.training.step import TrainState, initial_state, make_step
from tests.rows import random_song

STEPS, LAST = 300, 20  # the loss of a run: the mean of its last steps
SEEDS = 3
SONGS = 32
LENGTH = 96
OPTIMIZED = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}  # many steps: it pays
MODEL = ModelConfig(layers=2, width=64, ffn=64, max_bars=16, dropout=0.0)
SETTINGS = TrainConfig(Path(), Path(), max_seq_len=LENGTH, max_spans=64, learning_rate=2e-3, warmup_steps=20)
TX, _, STEP = make_step(MODEL, SETTINGS, STEPS)


@pytest.fixture(scope="module")
def songs() -> Batch:
    """[SONGS, 1, 1, LENGTH]: micro batches of one row."""
    rows = [pack_row([random_song(seed, bars=1, programs=(33, 0))], LENGTH) for seed in range(SONGS)]
    return jax.tree.map(jnp.asarray, stack_rows([stack_rows([stack_rows([row])]) for row in rows]))


def to_bf16(x: jax.Array) -> jax.Array:
    return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)


@functools.cache
def program(precision: str) -> Callable[..., jax.Array]:
    """losses(state, songs, order, rounded) float32[STEPS] of a run from a state, over songs in an order; rounded: after
    each step its parameters are.
    """
    compute = ComputeConfig(attention="reference", precision=precision, remat="none")

    @functools.partial(jax.jit, compiler_options=OPTIMIZED)
    def losses(state: TrainState, songs: Batch, order: jax.Array, rounded: jax.Array) -> jax.Array:
        def one(state: TrainState, at: jax.Array) -> tuple[TrainState, jax.Array]:
            state, measured = STEP(state, jax.tree.map(lambda x: x[at], songs), compute=compute)
            kept = jax.tree.map(lambda x: jnp.where(rounded, to_bf16(x), x), state.parameters)
            return state._replace(parameters=kept), measured.loss

        return jax.lax.scan(one, state, order)[1]

    return losses


def last_losses(songs: Batch, precision: str, rounded: bool = False) -> np.ndarray:
    """float[SEEDS]"""
    found = []
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permuted(np.tile(np.arange(SONGS), (-(-STEPS // SONGS), 1)), axis=1)
        curve = program(precision)(initial_state(MODEL, TX, seed), songs, order.ravel()[:STEPS], rounded)
        assert np.mean(curve[-LAST:]) < 0.8 * np.mean(curve[:LAST])
        found.append(float(np.mean(curve[-LAST:])))
    return np.array(found)


@pytest.fixture(scope="module")
def fp32(songs) -> np.ndarray:
    return last_losses(songs, "fp32")


def test_products_in_bf16_move_the_loss_less_than_another_seed_does(songs, fp32):
    moved = last_losses(songs, "bf16") - fp32
    assert moved.any()
    assert np.abs(moved).max() <= fp32.std(ddof=1), (moved, fp32)


def test_parameters_in_bf16_would_move_it_further(songs, fp32):
    """Most updates are lost to rounding."""
    moved = last_losses(songs, "bf16", rounded=True) - fp32
    assert np.abs(moved).min() > fp32.std(ddof=1), (moved, fp32)
