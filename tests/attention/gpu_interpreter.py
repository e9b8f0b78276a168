"""Runs the Hopper kernels on a CPU: JAX's GPU interpreter, with its race detector,
which every call here asserts to be silent.

The interpreter runs a kernel's programs one after another, each with a thread for every warpgroup. JAX 0.10 compiles
the same code again for each thread of each program (0.11 does not); here it is compiled once a kernel, and a kernel
once for all calls of equal shapes, so that tests that agree on a shape share what takes most of their time.
"""

import threading
import weakref
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax._src.pallas.mosaic.interpret import thread_map
from jax._src.pallas.mosaic_gpu.interpret.interpret_pallas_call import get_races
from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams

from jax_impl.attention import BlockMask, pallas

PARAMETERS = InterpretGPUParams(detect_races=True)
_COMPILED, _LOCK = weakref.WeakKeyDictionary(), threading.Lock()


def _run_compiled(jaxpr, consts, *arguments) -> None:
    """In place of the interpreter's own, in one of its threads: runs what a warpgroup does, for its effects."""
    with _LOCK:
        if jaxpr not in _COMPILED:
            run = jax.jit(lambda *values: jax.core.eval_jaxpr(jaxpr, *values))
            _COMPILED[jaxpr] = run.lower(consts, *arguments).compile()
    _COMPILED[jaxpr](consts, *arguments)


assert callable(thread_map._run_jaxpr)
thread_map._run_jaxpr = _run_compiled


def _one_at_a_time(kernel: Callable) -> Callable:
    """Compiled by itself, and waited for: two that run at once would wait for each other in the interpreter's one
    memory, for ever.
    """
    compiled = jax.jit(kernel, static_argnames="interpret")
    return lambda *arguments, interpret: jax.block_until_ready(compiled(*arguments, interpret=interpret))


for name in ("forward", "dq_kernel", "dkv_kernel"):
    setattr(pallas, name, _one_at_a_time(getattr(pallas, name)))


def grouped(x: jax.Array | tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    return x if isinstance(x, tuple) else (x,)


def attention(q: jax.Array, k, v, mask: BlockMask) -> jax.Array:
    """Outside of jit only: the races are looked up after the run. k, v: arrays or tuples of them, the groups."""
    out = jax.block_until_ready(pallas.attention(q, grouped(k), grouped(v), mask, interpret=PARAMETERS))
    assert not get_races().races_found
    return out


def attention_and_gradients(q, k, v, mask: BlockMask, weights: jax.Array) -> tuple[jax.Array, ...]:
    """out, dq, dk, dv of sum(out * weights)."""

    def loss(q, k, v):
        out = pallas.attention(q, grouped(k), grouped(v), mask, interpret=PARAMETERS)
        return jnp.sum(out.astype(jnp.float32) * weights), out

    gradients, out = jax.block_until_ready(jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(q, k, v))
    assert not get_races().races_found
    return out, *gradients
