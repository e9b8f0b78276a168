"""How much arithmetic the model needs: the numerator of MFU. What an implementation does beyond that does not count."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from configs import ModelConfig
from jax_impl import masks
from jax_impl.attention import visible_pairs
from jax_impl.batch import Batch
from tokenizer import vocabulary as vocab


def per_token(model: ModelConfig, batches: Sequence[Batch], max_spans: int) -> float:
    """FLOPs of training per real token, as these batches have them on average.

    A multiply-add is 2 FLOPs, the backward pass costs twice the forward pass: 6 per weight and token for matrices, and for attention
    3 passes x 2 products x 2 = 12 D per layer and visible (query, key) pair. Counted are real tokens and summaries in use, and the pairs
    that the rule shows, not the padding, nor masked pairs, nor what rematerialization repeats:

        FLOPs = 6 (L (n_R P_R + n_S P_S) + n_R D V) + 12 L D pairs
        P_R = 4 D^2 + 3 D F (q k v o, SwiGLU);  P_S = P_R + 2 D^2 (k2, v2)
    """

    @jax.jit
    def count(batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
        data = masks.summaries(batch, model.mask_rule, max_spans)
        pairs = sum(visible_pairs(rule(batch, data, model.mask_rule)) for rule in (masks.summarize_mask, masks.update_mask))
        return jnp.sum(batch.document > 0), jnp.sum(data.document > 0), pairs

    tokens, summaries, pairs = np.sum([[float(value) for value in count(batch)] for batch in batches], axis=0)
    width, regular = model.width, 4 * model.width**2 + 3 * model.width * model.ffn
    matrices = model.layers * (tokens * regular + summaries * (regular + 2 * width**2)) + tokens * width * vocab.SIZE
    return (6 * matrices + 12 * model.layers * width * pairs) / tokens
