"""Masked attention: one definition (reference.py), implementations beside it, one way in: the model calls it.

    attention(q, k, v, mask, impl="xla")

knows nothing of music: the mask is bits (block_mask.py draws them). Implementations do not import each other, and an
unknown one is an error, never a fallback.

    reference   dense, the definition            xla   blockwise over queries, any device
    pallas      Hopper GPUs: pallas.py (padding, derivative, devices), pallas_forward.py, pallas_backward.py, hopper.py
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jax_impl.attention import reference, xla
from jax_impl.attention.block_mask import KEPT, BlockMask, pack, pack_dense, unpack, visible_pairs

Groups = Sequence[jax.Array]


def _reference(q: jax.Array, k: Groups, v: Groups, mask: BlockMask) -> jax.Array:
    return reference.attention(q, _joined(k), _joined(v), mask)


def _xla(q: jax.Array, k: Groups, v: Groups, mask: BlockMask) -> jax.Array:
    return xla.attention(q, _joined(k), _joined(v), mask)


def _pallas(q: jax.Array, k: Groups, v: Groups, mask: BlockMask) -> jax.Array:
    from jax_impl.attention import pallas  # what writes kernels takes long to import, and only Hopper GPUs run them

    return pallas.attention(q, k, v, mask)


def _joined(groups: Groups) -> jax.Array:
    return jnp.concatenate(groups, axis=2) if len(groups) > 1 else groups[0]


IMPLEMENTATIONS = {"reference": _reference, "xla": _xla, "pallas": _pallas}

__all__ = ["IMPLEMENTATIONS", "KEPT", "BlockMask", "attention", "pack", "pack_dense", "unpack", "visible_pairs"]


def attention(q: jax.Array, k: jax.Array | Groups, v: jax.Array | Groups, mask: BlockMask, *, impl: str) -> jax.Array:
    """softmax(q k^T / sqrt(H)) v over the keys that the mask shows, the same for all heads; a query that sees nothing
    gives zeros.

    q: [B, N, Tq, H]; k, v: [B, N, Tk, H], or groups of keys that lie one after another under the mask, [B, N, Tk_g, H]
    each, as pack has them (the kernels read them where they are). fp32 or bf16; softmax and sums in fp32. Returns
    [B, N, Tq, H] in q's dtype. Raises ValueError for an implementation that does not exist.
    """
    if impl not in IMPLEMENTATIONS:
        raise ValueError(f"attention {impl!r} does not exist; choose one of {', '.join(IMPLEMENTATIONS)}")
    groups = lambda x: (x,) if isinstance(x, jax.Array | np.ndarray) else tuple(x)
    with jax.named_scope("attention"):
        return IMPLEMENTATIONS[impl](q, groups(k), groups(v), mask)
