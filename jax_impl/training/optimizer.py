"""AdamW with decay on matrices only, global-norm clipping, and the learning rate over the run."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from configs import TrainConfig

# Weight decay, by name: stacked biases have rank 2 but are no matrices
DECAYED = {"kernel": True, "embedding": True, "bias": False, "scale": False}


def learning_rate(step: jax.Array, config: TrainConfig, total_steps: int) -> jax.Array:
    """float32[]: rate of optimizer step `step`, counted from 0.

    Grows linearly to the peak, which step warmup_steps - 1 has; then half a cosine, to final_learning_rate times the
    peak at total_steps.
    """
    step = jnp.asarray(step, jnp.float32)
    warmup = (step + 1) / max(config.warmup_steps, 1)
    progress = (step + 1 - config.warmup_steps) / max(total_steps - config.warmup_steps, 1)
    final = config.final_learning_rate
    cosine = final + (1 - final) * 0.5 * (1 + jnp.cos(jnp.pi * progress))
    return config.learning_rate * jnp.where(step < config.warmup_steps, warmup, cosine)


def optimizer(config: TrainConfig, rate: Callable[[jax.Array], jax.Array]) -> optax.GradientTransformation:
    """Clip, then AdamW (Loshchilov & Hutter 2019) with rate(step);
    its moments are fp32 and shaped like the parameters.
    """
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(
            rate,
            b1=config.beta1,
            b2=config.beta2,
            weight_decay=config.weight_decay,
            mask=decayed,
        ),
    )


def decayed(parameters: Any) -> Any:
    """Which parameters are matrices: a tree of bools. Raises KeyError for a parameter whose name says nothing."""
    return jax.tree_util.tree_map_with_path(lambda path, _: DECAYED[path[-1].key], parameters)
