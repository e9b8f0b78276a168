"""Runs the Hopper kernels on a CPU: JAX's GPU interpreter, with its race detector,
which every call here asserts to be silent.
"""

import jax
import jax.numpy as jnp
from jax._src.pallas.mosaic_gpu.interpret.interpret_pallas_call import get_races
from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams

from jax_impl.attention import BlockMask, pallas

PARAMETERS = InterpretGPUParams(detect_races=True)


def attention(q: jax.Array, k: jax.Array, v: jax.Array, mask: BlockMask) -> jax.Array:
    """Outside of jit only: the races are looked up after the run."""
    out = jax.block_until_ready(pallas.attention(q, k, v, mask, interpret=PARAMETERS))
    assert not get_races().races_found
    return out


def attention_and_gradients(q, k, v, mask: BlockMask, weights: jax.Array) -> tuple[jax.Array, ...]:
    """out, dq, dk, dv of sum(out * weights)."""

    def loss(q, k, v):
        out = pallas.attention(q, k, v, mask, interpret=PARAMETERS)
        return jnp.sum(out.astype(jnp.float32) * weights), out

    gradients, out = jax.block_until_ready(jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(q, k, v))
    assert not get_races().races_found
    return out, *gradients
