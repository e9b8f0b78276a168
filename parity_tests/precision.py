"""How far logits and gradients are from the truth, PyTorch in fp64, when either program computes them in fp32, or with
matrix products in bf16 (PyTorch: under autocast). For test_precision and benchmarks/precision.py.
"""

import functools
import re
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

from configs import ComputeConfig, ModelConfig
from jax_impl.batch import Batch
from jax_impl.model.museformer import abstract_model
from jax_impl.model.v121 import TIED, from_v121, to_v121
from jax_impl.training.step import cross_entropy
from parity_tests.compare import FULL_FP32
from parity_tests.pairs import magnified, torch_model
from torch_ref import train
from torch_ref.model import MuseFormer as TorchModel
from torch_ref.rows import Rows

LOGITS = "logits"
Values = dict[str, np.ndarray]  # logits [real tokens, V], and each gradient by v1.2.1's name of the parameter


def initial(config: ModelConfig, seed: int) -> dict[str, np.ndarray]:
    """Weights as training begins with them."""
    torch.manual_seed(seed)
    return {name: value.numpy() for name, value in TorchModel(config, "dense", False).state_dict().items()}


# Of the other every term counts: norms and biases are not neutral, tables not small
WEIGHTS = {"initial": initial, "scale 1": functools.partial(magnified, scale=1.0)}


class Problem(NamedTuple):
    """Weights (under v1.2.1's names) and rows, of which logits and gradients of the mean loss are asked."""

    config: ModelConfig
    weights: dict[str, np.ndarray]
    batch: Batch
    slots: int


def torch_values(problem: Problem, precision: Literal["fp64", "fp32", "bf16"]) -> Values:
    config, weights, batch, slots = problem
    model, rows = torch_model(weights, config), Rows.of(batch._asdict())
    if precision == "fp64":
        model = model.double()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        logits = model(rows, slots).logits
    summed, targets = train.loss(logits, rows, "all")
    (summed / targets).backward()
    # What nothing depends on, the last layer's way out of the summaries, has no gradient: 0
    gradients = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}
    return {LOGITS: logits.detach().numpy()[batch.document > 0]} | {name: g.numpy() for name, g in gradients.items()}


def jax_program(config: ModelConfig, slots: int, precision: Literal["fp32", "bf16"]) -> Callable[[Problem], Values]:
    """Compiled once for all problems of one shape."""
    graph, _ = abstract_model(config)
    compute = ComputeConfig(attention="xla", precision=precision, remat="layer")

    @jax.jit
    def logits_and_gradients(parameters: dict, batch: Batch) -> tuple[jax.Array, dict]:
        def loss(parameters: dict) -> tuple[jax.Array, jax.Array]:
            model = nnx.merge(graph, parameters)
            logits = model(batch, max_spans=slots, compute=compute, dropout_key=None)
            return cross_entropy(logits, batch, "all") / batch.weights.sum(), logits

        gradients, logits = jax.grad(loss, has_aux=True)(parameters)
        return logits, gradients

    def values(problem: Problem) -> Values:
        parameters = jax.tree.map(jnp.asarray, from_v121(problem.weights, config.mask_rule)[1])
        with jax.default_matmul_precision(FULL_FP32):
            logits, gradients = logits_and_gradients(parameters, problem.batch)
        assert all(x.dtype == jnp.float32 for x in jax.tree.leaves((logits, gradients)))
        named = {name: x for name, x in to_v121(gradients).items() if name not in TIED and "inv_freq" not in name}
        return {LOGITS: np.asarray(logits)[problem.batch.document > 0]} | named

    return values


def errors(values: Values, truth: Values) -> dict[str, float]:
    """Rms error of each value as a share of the rms of the truth; what is truly 0 must be 0, and is left out."""
    assert values.keys() == truth.keys()
    assert not any(values[name].any() for name in truth if not truth[name].any())
    rms = lambda x: float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))
    return {name: rms(values[name] - true) / rms(true) for name, true in truth.items() if true.any()}


def kind(name: str) -> str:
    """The name without the layer's number: equal parts of all layers. What is outside of the layers is one kind, and
    so are the logits.
    """
    inside = re.fullmatch(r"layers\.\d+\.(.*)", name)
    return inside[1] if inside else LOGITS if name == LOGITS else "outside of the layers"
