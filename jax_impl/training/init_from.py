"""The state before the first step of a run that starts with the weights of another."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from configs import ModelConfig
from jax_impl.device import sharding
from jax_impl.training.checkpoint import parameters_of
from jax_impl.training.found import CheckpointError, find
from jax_impl.training.record import plain
from jax_impl.training.step import TrainState


def state_from(
    run: Path,
    model: ModelConfig,
    tx: optax.GradientTransformation,
    initialize: Callable[[], TrainState],
    abstract: TrainState,
) -> tuple[TrainState, str | None]:
    """The state before the first step, laid out as `abstract`, with the weights of another run's best checkpoint; and
    what is to be told of it. Every parameter has the same shape under all mask rules. Raises CheckpointError where the
    shapes differ.

    initialize: as make_step has it. Of a model of v1.2.1's tokens, the rows of ours are taken from what it makes:

        token table     643 rows of the run
                         81 rows of initialize(), which would stand there in a new run
    """
    found = find(run, "best")
    given = found.record.model_config
    own = dict(mask_rule=model.mask_rule, dropout=model.dropout, vocab_size=model.vocab_size)
    if dataclasses.replace(given, **own) != model:
        raise CheckpointError(f"{run}: a model of another shape ({plain(given)}); it can start none of {plain(model)}")
    parameters = parameters_of(found, _of_tokens(given.vocab_size, abstract.parameters))
    told = None
    if given.vocab_size != model.vocab_size:
        parameters = _with_new_tokens(parameters, initialize, abstract.parameters)
        told = (
            f"{run}: a model of {given.vocab_size} tokens; the other {model.vocab_size - given.vocab_size} of "
            f"{model.vocab_size} begin untrained"
        )
    places = jax.tree.map(lambda leaf: leaf.sharding, (abstract.optimizer, abstract.step))
    moments, step = jax.jit(lambda parameters: (tx.init(parameters), jnp.zeros((), jnp.int32)), out_shardings=places)(
        parameters
    )
    return TrainState(parameters, moments, step), told


def _of_tokens(tokens: int, abstract: Any) -> Any:
    """The shapes and places of the parameters of a model of so many tokens."""
    table = abstract["tokens"]["embedding"]
    shape = jax.ShapeDtypeStruct((tokens, table.shape[1]), table.dtype)
    return abstract | {
        "tokens": {"embedding": sharding.laid_out(shape, sharding.state_layout(shape, table.sharding.mesh))}
    }


def _with_new_tokens(parameters: Any, initialize: Callable[[], TrainState], abstract: Any) -> Any:
    """The parameters with the rows of `initialize`'s token table behind those of their own, laid out as `abstract`."""

    @functools.partial(jax.jit, out_shardings=abstract["tokens"]["embedding"].sharding)
    def lengthened(table: jax.Array) -> jax.Array:
        return jnp.concatenate([table, initialize().parameters["tokens"]["embedding"][len(table) :]])

    return parameters | {"tokens": {"embedding": lengthened(parameters["tokens"]["embedding"])}}
