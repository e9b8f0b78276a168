"""Attention written out: the definition that the other implementations are tested against.
Memory grows with Tq x Tk.
"""

import jax
import jax.numpy as jnp

from jax_impl.attention.block_mask import BlockMask, unpack


def attention(q: jax.Array, k: jax.Array, v: jax.Array, mask: BlockMask) -> jax.Array:
    """See jax_impl.attention.attention."""
    visible = unpack(mask, q.shape[2], k.shape[2])[:, None]  # [B, 1, Tq, Tk]
    scores = jnp.einsum("BNTH,BNSH->BNTS", q, k, preferred_element_type=jnp.float32) / q.shape[-1] ** 0.5
    weights = jax.nn.softmax(scores, axis=-1, where=visible)  # 0 where not visible, and all 0 where nothing is
    return jnp.einsum("BNTS,BNSH->BNTH", weights.astype(v.dtype), v, preferred_element_type=jnp.float32).astype(q.dtype)
