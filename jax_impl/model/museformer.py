"""The network: two streams, regular tokens R and bar summaries S, through layers of summarize, update and feed-forward.
Called by training.step and by sampling.

Einsum letters: B batch, T query position, S key position, N heads, H head width, D model width, M summaries, L layers,
V tokens of the vocabulary that the model has.

    tokens ─ embed ─ R ──┬───────────► R + attend(R over [S'; R]) ─► + ffn ─► ... ─► norm ─ logits
                         │                     ▲ k2, v2
    bars ─── embed ─ S ──┴► a = attend(S over [S; R]) ─► S + out(a) ─► + ffn ─► ...
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from configs import ComputeConfig, ModelConfig
from configs.model import HEAD_DIM
from jax_impl.attention import KEPT, BlockMask, attention
from jax_impl.batch import Batch
from jax_impl.device.sharding import all_gathered
from jax_impl.model import masks
from tokenizer.tokens.fields import NO_INSTRUMENT

INSTRUMENT_ROWS = NO_INSTRUMENT + 1
ROPE_BASE = 10000.0
NORM_EPSILON = 1e-5
INIT = nnx.initializers.normal(0.02)
PRODUCT = "product"  # name, for jax.checkpoint policies, of what a matrix product returns
REMAT_POLICIES = {
    "products": jax.checkpoint_policies.save_only_these_names(KEPT, PRODUCT),
    "attention": jax.checkpoint_policies.save_only_these_names(KEPT),
    "layer": jax.checkpoint_policies.nothing_saveable,
}
DTYPES = {"fp32": jnp.float32, "bf16": jnp.bfloat16}


@jax.custom_vjp
def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x [..., K] times kernel [K, N]. Its own gradient, because JAX's gives the kernel's transposed, which takes a CPU
    twice as long.
    """
    return x @ kernel


def _matmul_backward(saved: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    rows = tuple(range(x.ndim - 1))
    return gradient @ kernel.T, jax.lax.dot_general(x, gradient, ((rows, rows), ((), ())))


matmul.defvjp(lambda x, kernel: (matmul(x, kernel), (x, kernel)), _matmul_backward)


def linear(inputs: int, outputs: int, rngs: nnx.Rngs, use_bias: bool = True) -> nnx.Linear:
    product = lambda x, kernel, *_, **__: checkpoint_name(matmul(x, kernel), PRODUCT)
    return nnx.Linear(inputs, outputs, use_bias=use_bias, kernel_init=INIT, dot_general=product, rngs=rngs)


class Streams(NamedTuple):
    """The two residual streams: summary [B, M, D] and regular [B, T, D];
    of all layers, after each, with a leading L.
    """

    summary: jax.Array
    regular: jax.Array


class Keys(NamedTuple):
    """Keys (rotated) and values of a layer, [B, N, length, H] each; of all layers with a leading L. What a sampler
    keeps.
    """

    k: jax.Array  # regular tokens, T
    v: jax.Array
    summary_k: jax.Array  # summaries, M, as other summaries see them
    summary_v: jax.Array
    k2: jax.Array  # finished summaries, M, as regular tokens see them
    v2: jax.Array


class Context(NamedTuple):
    """What all layers share: rotations (cos, sin), each [B, 1, length, H/2], and the two masks."""

    summary_rotation: tuple[jax.Array, jax.Array]
    summary_key_rotation: tuple[jax.Array, jax.Array]
    regular_rotation: tuple[jax.Array, jax.Array]
    summarize_mask: BlockMask
    update_mask: BlockMask


class Stream(nnx.Module):
    """One stream's own weights in a layer: norms, fused query-key-value projection, output projection, SwiGLU."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        width, ffn = config.width, config.ffn
        norm = lambda: nnx.LayerNorm(width, epsilon=NORM_EPSILON, use_fast_variance=False, rngs=rngs)
        self.attention_norm, self.ffn_norm = norm(), norm()
        self.qkv = linear(width, 3 * width, rngs)  # columns: q, k, v; each head by head
        self.out = linear(width, width, rngs)
        self.gate_up = linear(width, 2 * ffn, rngs, use_bias=False)  # columns: gate, up
        self.down = linear(ffn, width, rngs, use_bias=False)

    def project(self, x: jax.Array) -> list[jax.Array]:
        """q, k, v, each [B, N, length, H], of the normed stream."""
        return split_heads(self.qkv(self.attention_norm(x)), parts=3)

    def feed_forward(self, x: jax.Array) -> jax.Array:
        gate, up = jnp.split(self.gate_up(self.ffn_norm(x)), 2, axis=-1)
        return self.down(jax.nn.silu(gate) * up)


class Layer(nnx.Module):
    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.rate = config.dropout
        self.summary = Stream(config, rngs)
        self.regular = Stream(config, rngs)
        self.kv2 = linear(config.width, 2 * config.width, rngs)  # of a finished summary, as k2, v2

    def __call__(self, streams: Streams, context: Context, impl: str, key: jax.Array | None) -> tuple[Streams, Keys]:
        s, r = streams
        keys = (None,) * 4 if key is None else jax.random.split(key, 4)
        with jax.named_scope("summarize"):  # Q = S over [S; R]
            q_s, k_s, v_s = self.summary.project(s)
            q_r, k_r, v_r = self.regular.project(r)
            k_r = rotate(k_r, context.regular_rotation)
            q_s, k_s = rotate(q_s, context.summary_rotation), rotate(k_s, context.summary_rotation)
            pooled = attention(q_s, concat(k_s, k_r), concat(v_s, v_r), context.summarize_mask, impl=impl)
            pooled = merge_heads(pooled)
        with jax.named_scope("update"):  # Q = R over [S; R], with the summaries' second keys and values
            k2, v2 = split_heads(self.kv2(pooled), parts=2)
            q_r, k2 = rotate(q_r, context.regular_rotation), rotate(k2, context.summary_key_rotation)
            updated = attention(q_r, concat(k2, k_r), concat(v2, v_r), context.update_mask, impl=impl)
        s = s + dropout(self.summary.out(pooled), self.rate, keys[0])
        r = r + dropout(self.regular.out(merge_heads(updated)), self.rate, keys[1])
        with jax.named_scope("feed_forward"):
            s = s + dropout(self.summary.feed_forward(s), self.rate, keys[2])
            r = r + dropout(self.regular.feed_forward(r), self.rate, keys[3])
        return Streams(s, r), Keys(k_r, v_r, k_s, v_s, k2, v2)


class MuseFormer(nnx.Module):
    """Parameters are fp32; those of the layers are stacked on a leading axis L and scanned: compile time does not grow
    with depth.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.config = config
        self.tokens = nnx.Embed(
            config.vocab_size, config.width, embedding_init=INIT, rngs=rngs
        )  # the output projection too
        self.instruments = nnx.Embed(INSTRUMENT_ROWS, config.width, embedding_init=INIT, rngs=rngs)
        self.bars = nnx.Embed(config.max_bars, config.width, embedding_init=INIT, rngs=rngs)
        self.layers = nnx.split_rngs(splits=config.layers)(nnx.vmap(lambda rngs: Layer(config, rngs)))(rngs)
        self.norm = nnx.LayerNorm(config.width, epsilon=NORM_EPSILON, use_fast_variance=False, rngs=rngs)

    def __call__(
        self, batch: Batch, *, max_spans: int | None = None, compute: ComputeConfig, dropout_key: jax.Array | None
    ) -> jax.Array:
        """Logits float32[B, T, V] of the next token.

        max_spans: most summaries any row needs (None: what these need; under jit it must be given).
        dropout_key: None for no dropout.
        """
        streams, _ = self._run(batch, max_spans, compute, dropout_key, keep=lambda streams, keys: None)
        return self.logits(streams.regular)

    def logits(self, regular: jax.Array) -> jax.Array:
        """float32[B, T, V] of the last layer's stream [B, T, D], computed in its dtype."""
        with jax.named_scope("logits"):
            table = all_gathered(self.tokens.embedding[...].astype(regular.dtype))
            normed = self.norm(regular).astype(regular.dtype)
            return jnp.einsum("BTD,VD->BTV", normed, table, preferred_element_type=jnp.float32)

    def layer_streams(self, batch: Batch, *, max_spans: int | None = None, compute: ComputeConfig) -> Streams:
        """Both streams after the embedding and after each layer, [L + 1, B, length, D], without dropout: for tests and
        pictures.
        """
        last, kept = self._run(batch, max_spans, compute, None, keep=lambda streams, keys: streams)
        return jax.tree.map(lambda inputs, last: jnp.concatenate([inputs, last[None]]), kept, last)

    def keys(self, batch: Batch, *, max_spans: int | None = None, compute: ComputeConfig) -> Keys:
        """What all layers hold of a batch, [L, B, N, length, H] each: for sampling on from there."""
        return self._run(batch, max_spans, compute, None, keep=lambda streams, keys: keys)[1]

    def _run(
        self, batch, max_spans, compute, dropout_key, *, keep: Callable[[Streams, Keys], Any]
    ) -> tuple[Streams, Any]:
        """The streams after the last layer, and of each layer, stacked, what keep(streams that entered it, its keys)
        returns.
        """
        dtype = DTYPES[compute.precision]
        with jax.named_scope("masks"):
            data = masks.summaries(batch, self.config.mask_rule, max_spans)
            context = self._context(batch, data, dtype)
        embed_keys, layer_keys = self._dropout_keys(dropout_key)
        with jax.named_scope("embed"):
            streams = self._embed(batch, data, dtype, embed_keys)

        graph, layers = nnx.split(self.layers)  # layers: parameters with a leading L

        def group_through_layer(layer: Any, streams: Streams, context: Context, key: jax.Array | None):
            layer = all_gathered(jax.tree.map(lambda parameter: parameter.astype(dtype), layer))
            after, keys = nnx.merge(graph, layer)(streams, context, compute.attention, key)
            return after, keep(streams, keys)

        if compute.remat != "none":  # a scan already keeps the two computations apart
            group_through_layer = jax.checkpoint(
                group_through_layer, prevent_cse=False, policy=REMAT_POLICIES[compute.remat]
            )

        groups = count_groups(len(batch.tokens), compute.layer_rows)
        streams, context = split_rows(streams, groups), split_rows(context, groups)  # [groups, B / groups, ...]

        def rows_through_layer(streams: Streams, scanned: tuple[Any, jax.Array | None]):
            layer, key = scanned
            group_keys = None if key is None else jax.random.split(key, groups)
            through_layer = functools.partial(group_through_layer, layer)
            return map_groups(through_layer, (streams, context, group_keys), groups)

        last, kept = jax.lax.scan(rows_through_layer, streams, (layers, layer_keys))
        if jax.tree.leaves(kept):  # [L, groups, B / groups, ...]
            kept = jax.vmap(join_rows)(kept)
        return join_rows(last), kept

    def _context(self, batch: Batch, data: masks.Summaries, dtype) -> Context:
        rule = self.config.mask_rule
        return Context(
            summary_rotation=rotation(data.position, dtype),
            summary_key_rotation=rotation(data.key_position, dtype),
            regular_rotation=rotation(data.token_position, dtype),
            summarize_mask=masks.summarize_mask(batch, data, rule),
            update_mask=masks.update_mask(batch, data, rule),
        )

    def _dropout_keys(self, key: jax.Array | None) -> tuple[Sequence[jax.Array | None], jax.Array | None]:
        """Those of the two embeddings, summary and regular, and of the layers [L]; without a key, none."""
        if key is None:
            return (None, None), None
        keys = jax.random.split(key, self.config.layers + 2)
        return keys[-2:], keys[:-2]

    def _embed(self, batch: Batch, data: masks.Summaries, dtype, keys) -> Streams:
        regular = self.embed_tokens(batch.tokens, batch.instrument)
        summary = self.embed_summaries(data.bar, data.instrument)
        rate = self.config.dropout
        return Streams(dropout(summary, rate, keys[0]).astype(dtype), dropout(regular, rate, keys[1]).astype(dtype))

    def embed_tokens(self, tokens: jax.Array, instrument: jax.Array) -> jax.Array:
        """float32[..., D] that a regular token begins with."""
        return (
            all_gathered(self.tokens.embedding[...])[tokens] + all_gathered(self.instruments.embedding[...])[instrument]
        )

    def embed_summaries(self, bar: jax.Array, instrument: jax.Array) -> jax.Array:
        """float32[..., D] that a summary begins with; instrument NO_TABLE_ROW adds none."""
        has_instrument = (instrument != masks.NO_TABLE_ROW)[..., None]
        return all_gathered(self.bars.embedding[...])[bar] + jnp.where(
            has_instrument, all_gathered(self.instruments.embedding[...])[instrument], 0
        )


def count_groups(rows: int, most: int) -> int:
    """Fewest equal groups of at most `most` rows each (0: one group)."""
    return next(groups for groups in range(1, rows + 1) if rows % groups == 0 and (not most or rows <= groups * most))


def map_groups(function: Callable, inputs: tuple, groups: int) -> Any:
    """function(*inputs of a group) of each group, one after another, stacked as the inputs are."""
    if groups > 1:
        return jax.lax.map(lambda group: function(*group), inputs)
    only = jax.tree.map(lambda x: x[0], inputs)  # a loop of one would copy what its backward pass needs
    return jax.tree.map(lambda x: x[None], function(*only))


def split_rows(tree: Any, groups: int) -> Any:
    """[B, ...] to [groups, B / groups, ...]. Group g holds rows g, g + groups, ...: of each device's rows where they
    are spread.
    """
    return jax.tree.map(lambda x: x.reshape(-1, groups, *x.shape[1:]).swapaxes(0, 1), tree)


def join_rows(tree: Any) -> Any:
    """Inverse of split_rows."""
    return jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), tree)


def split_heads(x: jax.Array, parts: int) -> list[jax.Array]:
    """[B, length, parts * N * H] to `parts` arrays [B, N, length, H]."""
    x = x.reshape(*x.shape[:2], parts, -1, HEAD_DIM)
    return [x[:, :, part].transpose(0, 2, 1, 3) for part in range(parts)]


def merge_heads(x: jax.Array) -> jax.Array:
    """[B, N, length, H] to [B, length, N * H]."""
    return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)


def concat(summary: jax.Array, regular: jax.Array) -> jax.Array:
    """Keys or values [S; R]: [B, N, M + T, H]."""
    return jnp.concatenate([summary, regular], axis=2)


def rotary_frequencies() -> np.ndarray:
    """float32[H/2] radians per position: v1.2.1's to the bit, since a last bit is 5e-4 radians at position 8192."""
    return (1 / (ROPE_BASE ** (np.arange(0, HEAD_DIM, 2) / HEAD_DIM)).astype(np.float32)).astype(np.float32)


def rotation(position: jax.Array, dtype) -> tuple[jax.Array, jax.Array]:
    """cos and sin [B, 1, length, H/2] of rotary positions int32[B, length] (Su et al., RoFormer); angles in fp32."""
    angle = position[:, None, :, None].astype(jnp.float32) * rotary_frequencies()
    return jnp.cos(angle).astype(dtype), jnp.sin(angle).astype(dtype)


def rotate(x: jax.Array, rotation: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Rotates pair i of a head, (x[i], x[i + H/2]): the half-split form."""
    cos, sin = rotation
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Zeroes a share `rate` of x and scales the rest up; key None keeps all."""
    if key is None or rate == 0:
        return x
    keep = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(keep, x / (1 - rate), 0)


def abstract_model(config: ModelConfig) -> tuple[nnx.GraphDef, Any]:
    """(graph, parameters): the model without memory; nnx.merge(graph, parameters) is a MuseFormer once they are filled
    in.

    parameters: nested dicts of jax.ShapeDtypeStruct.
    """
    graph, state = nnx.split(nnx.eval_shape(lambda: MuseFormer(config, nnx.Rngs(0))))
    return graph, nnx.to_pure_dict(state)
