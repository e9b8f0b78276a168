"""A model's parameters as the loop of a sampler reads them."""

import functools
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from configs import ComputeConfig, ModelConfig
from jax_impl.model import attributes
from jax_impl.model.museformer import DTYPES, abstract_model


class Weights(NamedTuple):
    """A model's parameters as the step reads them: layers apart (a stack of them would be copied slice by slice), their
    matrices in compute dtype, and what tokens have in common added to each one's own row.
    """

    model: Any  # of the whole model, fp32; the step uses its tables and last norm
    layers: tuple[Any, ...]


def weights_of(parameters: Any, compute: ComputeConfig) -> Weights:
    """Of nested dicts of a model's arrays, on the host, or of jax.ShapeDtypeStruct, of which it makes the same; those
    are of shape_of, without attributes.
    """
    dtype = np.dtype(DTYPES[compute.precision])

    def of_layer(layer: int, path: tuple, stacked: Any) -> Any:
        as_read = dtype if path[-1].key == "kernel" else stacked.dtype
        if isinstance(stacked, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(stacked.shape[1:], as_read)
        return stacked[layer].astype(as_read, copy=False)

    is_abstract = isinstance(jax.tree.leaves(parameters)[0], jax.ShapeDtypeStruct)
    model = parameters if is_abstract else _with_whole_tables(jax.tree.map(np.asarray, parameters))
    stacked, count = model["layers"], jax.tree.leaves(model["layers"])[0].shape[0]
    apart = (jax.tree_util.tree_map_with_path(functools.partial(of_layer, layer), stacked) for layer in range(count))
    return Weights(model, tuple(apart))


def _with_whole_tables(parameters: Any) -> Any:
    """A model's arrays without attributes, which are in its tables: its logits are the same but for rounding."""
    whole = dict(parameters)
    if (shared := whole.pop("attributes", None)) is not None:
        for name, has in (("tokens", attributes.OF_TOKENS), ("instruments", attributes.OF_INSTRUMENTS)):
            own = parameters[name]["embedding"]
            whole[name] = {"embedding": own + has[: len(own)].astype(np.float32) @ shared["embedding"]}
    return whole


class Shape(NamedTuple):
    """Of a model without memory: what, merged with Weights.model and with one of Weights.layers, is the model and the
    layer; and its parameters, as abstract_model says them of a model without attributes.
    """

    model: nnx.GraphDef
    layer: nnx.GraphDef
    parameters: Any


@functools.cache
def shape_of(config: ModelConfig) -> Shape:
    graph, parameters = abstract_model(replace(config, attributes=False))
    return Shape(graph, nnx.graphdef(nnx.merge(graph, parameters).layers), parameters)
