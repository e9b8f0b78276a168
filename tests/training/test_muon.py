"""Muon: its directions, against the loop as it is written down and against optax; what else moves; its checkpoints."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_impl.training import muon
from jax_impl.training.checkpoint import Checkpoints, on_default_device
from jax_impl.training.optimizer import optimizer
from jax_impl.training.record import Record, plain, versions
from jax_impl.training.step import TrainState
from tests.rounding import EPSILON, apart, budget, moved
from tests.runs import MODEL, config
from tokenizer import vocabulary as vocab


def newton_schulz(matrix: np.ndarray) -> np.ndarray:
    """Five times X <- a X + b (X X^T) X + c (X X^T)^2 X of a matrix of norm 1, in fp64, as it is written down in
    https://kellerjordan.github.io/posts/muon.
    """
    x = np.float64(matrix) / np.linalg.norm(np.float64(matrix))
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * (x @ x.T) @ x + 2.0315 * (x @ x.T) @ (x @ x.T) @ x
    return x


def random_like(tree, seed: int):
    """Of a normal distribution: far from orthogonal."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape), jnp.float32), tree)


def shapes_of_kernels() -> dict:
    """Of a layer's modules, two layers, width 8, hidden width 12."""
    columns = {"qkv": (8, 24), "out": (8, 8), "kv2": (8, 16), "gate_up": (8, 24), "down": (12, 8)}
    return {name: {"kernel": jax.ShapeDtypeStruct((2, *shape), jnp.float32)} for name, shape in columns.items()}


def separate(kernels: dict) -> dict:
    """Each matrix of each layer as an array of its own: out[0], q[0], k[0], ..."""
    parts = {"qkv": ("q", "k", "v"), "out": ("out",), "kv2": ("k2", "v2"), "gate_up": ("gate", "up"), "down": ("down",)}
    found = {}
    for module, names in parts.items():
        for layer, kernel in enumerate(np.asarray(kernels[module]["kernel"])):
            found |= {
                f"{name}[{layer}]": x for name, x in zip(names, np.split(kernel, len(names), axis=1), strict=True)
            }
    return found


# ---------------------------------------------------------------- directions


@pytest.mark.parametrize("shape", [(8, 8), (8, 20), (20, 8)])
def test_a_matrix_is_made_orthogonal_as_the_paper_says(shape):
    matrix = np.asarray(random_like(jax.ShapeDtypeStruct(shape, jnp.float32), seed=1))
    allowed = budget(moved(muon.orthogonal, matrix))
    assert apart(muon.orthogonal(matrix), newton_schulz(matrix)) <= allowed < 1e-3
    lengths = np.linalg.svd(muon.orthogonal(matrix), compute_uv=False)
    assert lengths.min() > 0.6 and lengths.max() < 1.3


def test_updates_are_those_of_optax_for_each_layer_and_each_part_on_its_own():
    """Three updates, so that momentum counts. The measure is how far the last moves when its gradient weighs as much
    more as 1 - 0.95, from which its weight comes, may be rounded.
    """
    ours, theirs = muon.scale_by_muon(), optax.contrib.muon(-1.0, consistent_rms=0.2)

    def last(tx, gradients):
        state = tx.init(gradients[0])
        for gradient in gradients:
            updates, state = tx.update(gradient, state, gradient)
        return updates

    gradients = [random_like(shapes_of_kernels(), seed) for seed in range(3)]
    last_of_ours = jax.jit(functools.partial(last, ours))
    expected = jax.jit(functools.partial(last, theirs))([separate(gradient) for gradient in gradients])
    *before, gradient = gradients
    heavier = jax.tree.map(lambda leaf: leaf * (1 + EPSILON / (1 - muon.MOMENTUM)), gradient)
    updates = last_of_ours(gradients)
    allowed = budget(apart(last_of_ours([*before, heavier]), updates))
    assert apart(separate(updates), expected) <= allowed < 1e-3


def test_the_first_step_is_the_rate_times_the_direction_and_the_decay():
    tx = optimizer(config(Path(), Path(), optimizer="muon", weight_decay=0.1, clip_norm=1e9), lambda step: 0.01)
    gradients, kernels = random_like(shapes_of_kernels(), seed=0), random_like(shapes_of_kernels(), seed=1)
    updates = separate(jax.jit(tx.update)(gradients, tx.init(kernels), kernels)[0])
    weights = separate(kernels)
    for name, gradient in separate(gradients).items():
        direction = 0.2 * np.sqrt(max(gradient.shape)) * newton_schulz(gradient)
        np.testing.assert_allclose(updates[name], -0.01 * (direction + 0.1 * weights[name]), rtol=1e-3, atol=1e-6)


def test_tables_norms_and_biases_move_as_adamw_moves_them():
    of_all = {name: config(Path(), Path(), optimizer=name) for name in ("adamw", "muon")}
    parameters = {"layers": shapes_of_kernels(), "tokens": {"embedding": jax.ShapeDtypeStruct((5, 8), jnp.float32)}}
    parameters["layers"]["norm"] = {name: jax.ShapeDtypeStruct((2, 8), jnp.float32) for name in ("scale", "bias")}
    parameters, gradients = random_like(parameters, seed=0), random_like(parameters, seed=1)
    updates = {}
    for name, settings in of_all.items():
        tx = optimizer(settings, lambda step: 0.01)
        updates[name] = jax.jit(tx.update)(gradients, tx.init(parameters), parameters)[0]
    same = jax.tree_util.tree_map_with_path(
        lambda path, x, y: bool((x == y).all()) == (path[-1].key != "kernel"), updates["adamw"], updates["muon"]
    )
    assert jax.tree.all(same), same


def test_a_kernel_of_a_module_without_known_parts_is_refused():
    kernels = {"unheard_of": {"kernel": jnp.ones((1, 4, 4))}}
    tx = muon.scale_by_muon()
    with pytest.raises(KeyError, match="unheard_of"):
        tx.update(kernels, tx.init(kernels))


def test_a_checkpoint_holds_the_momentum_and_goes_on_bit_for_bit(tmp_path):
    tx = optimizer(config(Path(), Path(), optimizer="muon"), lambda step: 0.01)
    kernels, gradients = random_like(shapes_of_kernels(), seed=0), random_like(shapes_of_kernels(), seed=1)
    update = jax.jit(tx.update)
    state = TrainState(kernels, update(gradients, tx.init(kernels), kernels)[1], jnp.ones((), jnp.int32))
    about = Record(1, plain(MODEL), {}, 8, {}, "songs", {}, vocab.FINGERPRINT, versions())
    with Checkpoints(tmp_path, keep_last=1) as checkpoints:
        checkpoints.save(state, about, validation_loss=None)
        checkpoints.finish()
        restored = checkpoints.restore(1, on_default_device(jax.eval_shape(lambda: state)))
    outcomes = [update(gradients, each.optimizer, each.parameters) for each in (state, restored)]
    assert sum(leaf.ndim == 3 for leaf in jax.tree.leaves(restored.optimizer)) == len(kernels)
    jax.tree.map(np.testing.assert_array_equal, *outcomes)
