"""Our three attention kernels, each a program of its own that is compiled once for each shape: one that is wrong, or
hangs, leaves the others to be seen. And what they should give, in fp64.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_impl.attention import BlockMask, pallas_backward, pallas_forward

GIVES = {"forward": ("out", "lse"), "dq": ("dq",), "dkv": ("dk", "dv")}  # by kernel
# Products of queries x keys x 64 in each: scores and weights v; scores, dp and dq; scores, dp, dv and dk
PRODUCTS = {"forward": 2, "dq": 3, "dkv": 4}


class Kernels:
    """interpret: None on a GPU, else parameters of JAX's GPU interpreter, whose threads wait for each other inside of
    jit where a machine has two cores.
    """

    def __init__(self, interpret: Any):
        compiled = jax.jit if interpret is None else lambda run: run

        @compiled
        def forward(q, k, v, mask):
            return pallas_forward.forward(q, k, v, mask, interpret=interpret)

        @compiled
        def dq(q, k, v, d_out, lse, delta, mask):
            return (pallas_backward.dq_kernel(q, k, v, d_out, lse, delta, mask, interpret=interpret),)

        @compiled
        def dkv(q, k, v, d_out, lse, delta, mask):
            return pallas_backward.dkv_kernel(q, k, v, d_out, lse, delta, mask, interpret=interpret)

        self._forward, self._backward = forward, {"dq": dq, "dkv": dkv}

    def calls(self, q, k, v, mask: BlockMask, d_out, lse, delta) -> Iterator[tuple[str, Callable]]:
        """Each kernel and a function of nothing that runs it once; GIVES says what it returns. lse, delta: what the
        backward kernels are given, fp32[B, N, Tq].
        """
        yield "forward", lambda: self._forward(q, k, v, mask)
        for name, run in self._backward.items():
            yield name, lambda run=run: run(q, k, v, d_out, lse, delta, mask)


def in_fp64(q, k, v, d_out, visible: np.ndarray) -> dict[str, np.ndarray]:
    """What the kernels should give: out, lse (base 2), delta, dq, dk, dv. q, k, v, d_out: [B, N, length, 64]; visible:
    bool[B, queries, keys].
    """
    q, k, v, d_out = (np.asarray(x, np.float64) for x in (q, k, v, d_out))
    scores = np.where(visible[:, None], q @ k.swapaxes(2, 3) / 8, -np.inf)
    highest = np.maximum(scores.max(-1, keepdims=True), -1e30)
    shares = np.exp(scores - highest)
    total = shares.sum(-1, keepdims=True)
    lse = np.where(total > 0, (highest + np.log(np.maximum(total, 1e-300))) / np.log(2), 0)[..., 0]
    shares /= np.maximum(total, 1e-300)
    out = shares @ v
    delta = (out * d_out).sum(-1)
    d_scores = shares * (d_out @ v.swapaxes(2, 3) - delta[..., None]) / 8
    dk, dv = d_scores.swapaxes(2, 3) @ q, shares.swapaxes(2, 3) @ d_out
    return {"out": out, "lse": lse, "delta": delta, "dq": d_scores @ k, "dk": dk, "dv": dv}


def delta_of(out: jax.Array, d_out: jax.Array) -> jax.Array:
    """fp32[B, N, T] of [B, N, T, 64]."""
    return jnp.einsum("BNTH,BNTH->BNT", out, d_out, preferred_element_type=jnp.float32, precision="highest")
