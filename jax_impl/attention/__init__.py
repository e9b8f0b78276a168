"""Masked attention: one definition (reference.py), implementations beside it, one way in: the model calls it.

    attention(q, k, v, mask, impl="xla")

knows nothing of music: the mask is bits (block_mask.py draws them). Implementations do not import each other, and an
unknown one is an error, never a fallback.

    reference   dense, the definition            xla   blockwise over queries, any device
    pallas      Hopper GPUs: pallas.py (padding, derivative, devices), pallas_forward.py, pallas_backward.py, hopper.py
"""

import jax

from jax_impl.attention import reference, xla
from jax_impl.attention.block_mask import KEPT, BlockMask, pack, pack_dense, unpack, visible_pairs


def _pallas(q: jax.Array, k: jax.Array, v: jax.Array, mask: BlockMask) -> jax.Array:
    from jax_impl.attention import pallas  # what writes kernels takes long to import, and only Hopper GPUs run them

    return pallas.attention(q, k, v, mask)


IMPLEMENTATIONS = {"reference": reference.attention, "xla": xla.attention, "pallas": _pallas}

__all__ = ["IMPLEMENTATIONS", "KEPT", "BlockMask", "attention", "pack", "pack_dense", "unpack", "visible_pairs"]


def attention(q: jax.Array, k: jax.Array, v: jax.Array, mask: BlockMask, *, impl: str) -> jax.Array:
    """softmax(q k^T / sqrt(H)) v over the keys that the mask shows, the same for all heads; a query that sees nothing
    gives zeros.

    q: [B, N, Tq, H]; k, v: [B, N, Tk, H], fp32 or bf16; softmax and sums in fp32. Returns [B, N, Tq, H] in q's dtype.
    Raises ValueError for an implementation that does not exist.
    """
    if impl not in IMPLEMENTATIONS:
        raise ValueError(f"attention {impl!r} does not exist; choose one of {', '.join(IMPLEMENTATIONS)}")
    with jax.named_scope("attention"):
        return IMPLEMENTATIONS[impl](q, k, v, mask)
