"""The same model in both worlds."""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

from configs import ModelConfig
from jax_impl.model.museformer import abstract_model
from jax_impl.model.v121 import from_v121, to_v121
from torch_ref.model import MuseFormer as TorchModel


def magnified(config: ModelConfig, seed: int = 0, scale: float = 4.0) -> dict[str, np.ndarray]:
    """Weights under v1.2.1's names, large enough that a wrong epsilon, projection or rotation shows; norms, biases
    and sums of harmony are not neutral.
    """
    torch.manual_seed(seed)
    model = TorchModel(config, attention="dense", checkpointing=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "harmony" in name or name.endswith("bias"):
                parameter.add_(0.2 * torch.randn_like(parameter))
            elif "embedding" not in name and "lm_head" not in name:
                parameter.mul_(scale)
            else:
                parameter.mul_(20)
    return {name: value.numpy() for name, value in model.state_dict().items()}


def a_thousandth_off(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A fault that comparisons must find: one projection of the first layer."""
    name = "layers.0.attention.reg_q_proj.weight"
    return weights | {name: weights[name] * np.float32(1.001)}


def torch_model(
    weights: dict[str, np.ndarray], config: ModelConfig, attention: str = "dense", checkpointing: bool = False
) -> TorchModel:
    model = TorchModel(config, attention=attention, checkpointing=checkpointing)
    model.load_state_dict({name: torch.as_tensor(np.asarray(value)) for name, value in weights.items()}, strict=True)
    return model.eval()


def jax_model(weights: dict[str, np.ndarray], config: ModelConfig) -> nnx.Module:
    graph, _ = abstract_model(config)
    return nnx.merge(graph, jax.tree.map(jnp.asarray, from_v121(weights, config.mask_rule)[1]))


def jax_weights(model: nnx.Module) -> dict[str, np.ndarray]:
    return to_v121(nnx.to_pure_dict(nnx.state(model)))
