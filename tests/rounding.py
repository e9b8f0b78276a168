"""Numeric budgets, measured where the test runs.

Two right programs round in other places. How much that comes to depends on the processor (the width of its vectors
decides the order of sums), on the depth and on the weights; so no test holds a number that one machine gave. It takes
one of two measures on the spot,

    the error of the definition against fp64, in the precision of the program under test   (one operation: attention)
    how far the definition moves when each of its inputs moves to a neighbouring float     (whole models, whole steps)

and a right program stays within FACTOR of it. Why a factor: the definition is one of the right programs and its error
one draw of many; inputs move once, while a program rounds in each operation. That a wrong program does not stay there
is shown beside most budgets, by a fault planted on purpose.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

FACTOR = 4.0
EPSILON = float(np.finfo(np.float32).eps)  # what is stored in fp32 is itself rounded


def budget(measured: float) -> float:
    """How far a right program may be away, given one of the two measures of this file."""
    return FACTOR * max(measured, EPSILON)


def apart(got: Any, want: Any) -> float:
    """Largest difference between the arrays of two trees, each relative to the largest value of its array of want."""
    differences = []
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        assert x.shape == y.shape
        differences.append(np.abs(x - y).max(initial=0) / max(np.abs(y).max(initial=0), np.finfo(np.float32).tiny))
    assert np.isfinite(differences).all()
    return float(max(differences))


def neighbours(tree: Any, seed: int) -> Any:
    """The tree with every element of its fp32 arrays moved to the next float, up or down at random."""
    leaves, structure = jax.tree.flatten(tree)

    def move(number: int, x: Any) -> Any:
        if x.dtype != np.float32:
            return x
        upwards = np.random.default_rng((seed, number)).random(x.shape) < 0.5
        towards = np.where(upwards, np.float32(np.inf), np.float32(-np.inf))
        return jnp.nextafter(x, towards) if isinstance(x, jax.core.Tracer) else np.nextafter(np.asarray(x), towards)

    return structure.unflatten(move(number, x) for number, x in enumerate(leaves))


def moved(function: Callable, inputs: Any, draws: int = 3) -> float:
    """How far function(inputs) moves, at most, when inputs move to neighbouring floats; so many times."""
    want = function(inputs)
    return max(apart(function(neighbours(inputs, seed)), want) for seed in range(draws))
