"""How much arithmetic the model needs: the numerator of MFU, for training and the verb `memory`. What an implementation
does beyond that does not count.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from configs import ModelConfig
from jax_impl.attention import visible_pairs
from jax_impl.batch import Batch
from jax_impl.model import masks


def repeated(model: ModelConfig, remat: str, summaries: float, pairs: float) -> float:
    """What rematerialization does again of a layer, as a share of the FLOPs of a forward pass (which are a third of a
    step's).

    summaries, pairs: of a token, in the mean. Its backward pass needs all of a layer but what the down projection
    returns. Norms, rotations, dropout and the like are no FLOPs here, though they take time.
    """
    down = (1 + summaries) * model.width * model.ffn
    products = _matrices(model, 1, summaries)
    attention = 2 * model.width * pairs
    again = {"none": 0.0, "products": 0.0, "attention": products - down, "layer": products - down + attention}[remat]
    return model.layers * again / (model.layers * (products + attention) + model.width * model.vocab_size)


def _matrices(model: ModelConfig, tokens: float, summaries: float) -> float:
    """Multiply-adds of a layer's matrix products in a forward pass."""
    regular = 4 * model.width**2 + 3 * model.width * model.ffn
    return tokens * regular + summaries * (regular + 2 * model.width**2)


def per_token(model: ModelConfig, batches: Sequence[Batch], max_spans: int) -> float:
    """FLOPs of training per real token, as these batches have them on average.

    A multiply-add is 2 FLOPs, the backward pass costs twice the forward pass: 6 per weight and token for matrices, and
    for attention 3 passes x 2 products x 2 = 12 D per layer and visible (query, key) pair. Counted are real tokens and
    summaries in use, and the pairs that the rule shows, not the padding, nor masked pairs, nor what rematerialization
    repeats, nor the last layer's way out of the summaries, which nothing reads:

        FLOPs = 6 (L (n_R P_R + n_S P_S) - n_S (D^2 + 3 D F) + n_R D V) + 12 L D pairs
        P_R = 4 D^2 + 3 D F (q k v o, SwiGLU);  P_S = P_R + 2 D^2 (k2, v2)
    """

    @jax.jit
    def count(batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
        data = masks.summaries(batch, model.mask_rule, max_spans)
        pairs = sum(
            visible_pairs(rule(batch, data, model.mask_rule)) for rule in (masks.summarize_mask, masks.update_mask)
        )
        return jnp.sum(batch.document > 0), jnp.sum(data.document > 0), pairs

    tokens, summaries, pairs = np.sum([[float(value) for value in count(batch)] for batch in batches], axis=0)
    unread = summaries * (model.width**2 + 3 * model.width * model.ffn)
    matrices = model.layers * _matrices(model, tokens, summaries) - unread + tokens * model.width * model.vocab_size
    return (6 * matrices + 12 * model.layers * model.width * pairs) / tokens
