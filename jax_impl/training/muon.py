"""Muon: a matrix moves by its momentum made orthogonal, in which no direction is larger than another (Jordan et al.
2024, https://kellerjordan.github.io/posts/muon). Called by optimizer.

A kernel holds the matrices of all layers, some of them side by side; each is made orthogonal on its own:

    qkv [L, D, 3 D]     q | k | v      layer 0: three matrices [D, D]
                        q | k | v      layer 1

The numbers are those of optax.contrib.muon with Nesterov's momentum, consistent_rms=0.2 and these matrices as arrays of
their own. What differs: the momentum has its kernel's shape, so that it is laid out over devices as the kernel is; and
layers are worked on one by one, which takes a CPU a fifth less time than all at once, and of many devices, each of
which does the whole work, the memory of one layer.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jax_impl.device.sharding import all_gathered

MOMENTUM = 0.95
ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of X, of (X X^T) X and of (X X^T)^2 X
EPSILON = 1e-8
# An element's root mean square is 1 / sqrt(longer side) where a matrix is orthogonal; AdamW's updates have 0.2 to 0.4,
# so with this one learning rate and one weight decay fit both (Liu et al. 2025, arXiv:2502.16982, section 2.2)
ROOT_MEAN_SQUARE = 0.2
# Matrices side by side in the columns of a kernel, by the name of its module (model.museformer.Stream, Layer)
PARTS = {"qkv": 3, "out": 1, "kv2": 2, "gate_up": 2, "down": 1}


class MuonState(NamedTuple):
    """momentum: fp32, each shaped as its kernel; count: int32[], updates so far."""

    momentum: Any
    count: jax.Array


def scale_by_muon() -> optax.GradientTransformation:
    """Of gradients of kernels [L, K, N] the directions in which these move, of AdamW's size. Raises KeyError for a
    kernel of another module than PARTS names.
    """

    def initialize(kernels: Any) -> MuonState:
        return MuonState(jax.tree.map(jnp.zeros_like, kernels), jnp.zeros((), jnp.int32))

    def update(gradients: Any, state: MuonState, kernels: Any = None) -> tuple[Any, MuonState]:
        count = state.count + 1
        momentum = jax.tree.map(lambda m, g: MOMENTUM * m + (1 - MOMENTUM) * g, state.momentum, gradients)
        seen, seen_next = 1 - MOMENTUM**count, 1 - MOMENTUM ** (count + 1)  # weights of all gradients so far

        def direction(path: tuple, m: jax.Array, g: jax.Array) -> jax.Array:
            ahead = MOMENTUM * m / seen_next + (1 - MOMENTUM) * g / seen
            return of_layers(ahead, PARTS[path[-2].key])

        return jax.tree_util.tree_map_with_path(direction, momentum, gradients), MuonState(momentum, count)

    return optax.GradientTransformation(initialize, update)


def of_layers(momentum: jax.Array, parts: int) -> jax.Array:
    """fp32[L, K, N]: of each layer, `parts` matrices [K, N / parts] made orthogonal, times what gives their elements
    AdamW's size.
    """

    def of_layer(matrix: jax.Array) -> jax.Array:
        directions = [orthogonal(all_gathered(part)) for part in jnp.split(all_gathered(matrix), parts, axis=1)]
        longer = max(directions[0].shape)
        return ROOT_MEAN_SQUARE * longer**0.5 * all_gathered(jnp.concatenate(directions, axis=1))

    return jax.lax.map(of_layer, momentum)


def orthogonal(matrix: jax.Array) -> jax.Array:
    """U S' V^T of a matrix U S V^T [K, N], with S' about 0.7 to 1.2 where S is at least 1/500 of its norm: by a
    Newton-Schulz iteration of degree 5, on the side of the fewer rows.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T).T
    of_x, of_cube, of_fifth = COEFFICIENTS

    def iterate(_: int, x: jax.Array) -> jax.Array:
        square = x @ x.T
        # Whole on each device, or the compiler would split each product over them, and send much more
        return all_gathered(of_x * x + (of_cube * square + of_fifth * square @ square) @ x)

    return jax.lax.fori_loop(0, ITERATIONS, iterate, matrix / (jnp.linalg.norm(matrix) + EPSILON))
