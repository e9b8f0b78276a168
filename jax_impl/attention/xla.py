"""Attention a block of queries at a time, in plain XLA: any device, memory linear in Tk; scores are recomputed for the backward pass."""

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from jax_impl.attention.block_mask import KEPT, TILE, BlockMask, unpack_tiles

BLOCK_QUERIES = 256  # scores of a block stay near the cache of a CPU core; larger brings nothing, smaller costs loop overhead
MASKED = -1e30  # finite, so that a row that sees nothing stays free of NaN


def attention(q: jax.Array, k: jax.Array, v: jax.Array, mask: BlockMask) -> jax.Array:
    """See jax_impl.attention.attention."""
    batch, heads, num_queries, width = q.shape
    block = min(BLOCK_QUERIES, -(-num_queries // TILE) * TILE)
    blocks = -(-num_queries // block)
    padding = blocks * block - num_queries
    q_blocks = jnp.pad(q, ((0, 0), (0, 0), (0, padding), (0, 0))).reshape(batch, heads, blocks, block, width)
    rows = blocks * block // TILE
    tiles = jnp.pad(mask.tiles[:, :rows], ((0, 0), (0, max(0, rows - mask.tiles.shape[1])), (0, 0), (0, 0), (0, 0)))
    tiles = tiles.reshape(batch, blocks, block // TILE, *tiles.shape[2:])

    @jax.checkpoint
    def one_block(block_inputs: tuple[jax.Array, jax.Array]) -> jax.Array:
        q_block, tiles_block = block_inputs  # [B, N, Tb, H], [B, Tb / 64, j, 2, 64]
        visible = unpack_tiles(tiles_block)[:, None, :, : k.shape[2]]
        scores = jnp.einsum("BNTH,BNSH->BNTS", q_block * width**-0.5, k, preferred_element_type=jnp.float32)
        scores = jnp.where(visible, scores, MASKED)
        maximum = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
        exponentials = jnp.where(visible, jnp.exp(scores - maximum), 0.0)
        total = exponentials.sum(axis=-1, keepdims=True)
        out = jnp.einsum("BNTS,BNSH->BNTH", exponentials.astype(v.dtype), v, preferred_element_type=jnp.float32)
        return (out / jnp.where(total > 0, total, 1.0)).astype(q.dtype)

    out = jax.lax.map(one_block, (q_blocks.transpose(2, 0, 1, 3, 4), tiles.swapaxes(0, 1)))  # [blocks, B, N, Tb, H]
    out = out.transpose(1, 2, 0, 3, 4).reshape(batch, heads, blocks * block, width)[:, :, :num_queries]
    return checkpoint_name(out, KEPT)
