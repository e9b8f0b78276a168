"""AdamW, or Muon beside it; decay on matrices only, global-norm clipping, and the learning rate over the run."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from configs import TrainConfig
from jax_impl.training.muon import scale_by_muon

# Weight decay, by name: stacked biases have rank 2 but are no matrices
DECAYED = {"kernel": True, "embedding": True, "bias": False, "scale": False}


def learning_rate(step: jax.Array, config: TrainConfig, total_steps: int) -> jax.Array:
    """float32[]: rate of optimizer step `step`, counted from 0.

    Grows linearly to the peak, which step warmup - 1 has; then, by config.schedule, half a cosine down or a plateau and
    a straight line down, to final_learning_rate times the peak, which the last step has.
    """
    taken = jnp.asarray(step, jnp.float32) + 1  # steps with this one: none has the rate 0
    warmup, final = config.warmup(total_steps), config.final_learning_rate
    if config.schedule == "cosine":
        # Not optax.warmup_cosine_decay_schedule: its warm-up rounds otherwise, up to 1e-5 of the rate, and runs that
        # were begun with this one go on bit for bit
        parts = [optax.cosine_decay_schedule(1.0, max(total_steps - warmup, 1), alpha=final)]
        ends = [warmup]
    else:
        plateau_end = config.plateau_end(total_steps)
        parts = [optax.constant_schedule(1.0), optax.linear_schedule(1.0, final, total_steps - plateau_end)]
        ends = [warmup, plateau_end]
    share_of_peak = optax.join_schedules([lambda taken: taken / max(warmup, 1), *parts], ends)
    return config.learning_rate * share_of_peak(taken)


def optimizer(config: TrainConfig, rate: Callable[[jax.Array], jax.Array]) -> optax.GradientTransformation:
    """Clip, then AdamW (Loshchilov & Hutter 2019), or Muon for the layers' matrices and AdamW for all else, with
    rate(step); moments are fp32 and shaped like the parameters.
    """
    adam = optax.scale_by_adam(config.beta1, config.beta2)
    moved = {"adamw": adam, "muon": optax.partition({"muon": scale_by_muon(), "adam": adam}, _labels)}
    decay = optax.add_decayed_weights(config.weight_decay, decayed)
    # Nested as optax.adamw is: so a checkpoint has the optimizer's state
    steps = optax.chain(moved[config.optimizer], decay, optax.scale_by_learning_rate(rate))
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), steps)


def decayed(parameters: Any) -> Any:
    """Which parameters are matrices: a tree of bools. Raises KeyError for a parameter whose name says nothing."""
    return jax.tree_util.tree_map_with_path(lambda path, _: DECAYED[path[-1].key], parameters)


def _labels(parameters: Any) -> Any:
    """What moves each parameter beside the decay: a tree of "muon" and "adam"."""
    return jax.tree_util.tree_map_with_path(lambda path, _: "muon" if path[-1].key == "kernel" else "adam", parameters)
