"""The network: two streams, regular tokens R and bar summaries S, through layers of summarize, update and feed-forward.

Einsum letters: B batch, T query position, S key position, N heads, H head width, D model width, M summaries, L layers, V vocabulary.

    tokens ─ embed ─ R ──┬───────────► R + attend(R over [S'; R]) ─► + ffn ─► ... ─► norm ─ logits
                         │                     ▲ k2, v2
    bars ─── embed ─ S ──┴► a = attend(S over [S; R]) ─► S + out(a) ─► + ffn ─► ...
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from configs import ComputeConfig, ModelConfig
from configs.model import HEAD_DIM
from jax_impl import masks
from jax_impl.attention import BlockMask, attention
from jax_impl.batch import Batch
from jax_impl.sharding import whole
from tokenizer import vocabulary as vocab
from tokenizer.fields import NO_INSTRUMENT

INSTRUMENT_ROWS = NO_INSTRUMENT + 1
ROPE_BASE = 10000.0
NORM_EPSILON = 1e-5
INIT = nnx.initializers.normal(0.02)
DTYPES = {"fp32": jnp.float32, "bf16": jnp.bfloat16}


@jax.custom_vjp
def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x [..., K] times kernel [K, N]. Its own gradient, because JAX's gives the kernel's transposed, which takes a CPU twice as long."""
    return x @ kernel


def _matmul_backward(saved: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    rows = tuple(range(x.ndim - 1))
    return gradient @ kernel.T, jax.lax.dot_general(x, gradient, ((rows, rows), ((), ())))


matmul.defvjp(lambda x, kernel: (matmul(x, kernel), (x, kernel)), _matmul_backward)


def linear(inputs: int, outputs: int, rngs: nnx.Rngs, use_bias: bool = True) -> nnx.Linear:
    return nnx.Linear(
        inputs, outputs, use_bias=use_bias, kernel_init=INIT, dot_general=lambda x, kernel, *_, **__: matmul(x, kernel), rngs=rngs
    )


class Streams(NamedTuple):
    """The two residual streams: summary [B, M, D] and regular [B, T, D]; of all layers, after each, with a leading L."""

    summary: jax.Array
    regular: jax.Array


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
        norm = lambda: nnx.LayerNorm(width, epsilon=NORM_EPSILON, use_fast_variance=False, rngs=rngs)  # noqa: E731
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

    def __call__(self, streams: Streams, context: Context, impl: str, key: jax.Array | None) -> Streams:
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
        return Streams(s, r)


class MuseFormer(nnx.Module):
    """Parameters are fp32; those of the layers are stacked on a leading axis L and scanned: compile time does not grow with depth."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.config = config
        self.tokens = nnx.Embed(vocab.SIZE, config.width, embedding_init=INIT, rngs=rngs)  # also the output projection
        self.instruments = nnx.Embed(INSTRUMENT_ROWS, config.width, embedding_init=INIT, rngs=rngs)
        self.bars = nnx.Embed(config.max_bars, config.width, embedding_init=INIT, rngs=rngs)
        self.layers = nnx.split_rngs(splits=config.layers)(nnx.vmap(lambda rngs: Layer(config, rngs)))(rngs)
        self.norm = nnx.LayerNorm(config.width, epsilon=NORM_EPSILON, use_fast_variance=False, rngs=rngs)

    def __call__(self, batch: Batch, *, max_spans: int, compute: ComputeConfig, dropout_key: jax.Array | None) -> jax.Array:
        """Logits float32[B, T, 643] of the next token.

        max_spans: most summaries any row needs. dropout_key: None for no dropout.
        """
        streams, _ = self._run(batch, max_spans, compute, dropout_key, keep_layers=False)
        with jax.named_scope("logits"):
            dtype = DTYPES[compute.precision]
            table = whole(self.tokens.embedding[...].astype(dtype))
            return jnp.einsum("BTD,VD->BTV", self.norm(streams.regular).astype(dtype), table, preferred_element_type=jnp.float32)

    def layer_streams(self, batch: Batch, *, max_spans: int, compute: ComputeConfig) -> Streams:
        """Both streams after the embedding and after each layer, [L + 1, B, length, D], without dropout: for tests and pictures."""
        _, kept = self._run(batch, max_spans, compute, None, keep_layers=True)
        return kept

    def _run(self, batch, max_spans, compute, dropout_key, *, keep_layers) -> tuple[Streams, Streams | None]:
        dtype, rule = DTYPES[compute.precision], self.config.mask_rule
        with jax.named_scope("masks"):
            data = masks.summaries(batch, rule, max_spans)
            context = Context(
                rotation(data.position, dtype),
                rotation(data.key_position, dtype),
                rotation(data.token_position, dtype),
                masks.summarize_mask(batch, data, rule),
                masks.update_mask(batch, data, rule),
            )
        keys = None if dropout_key is None else jax.random.split(dropout_key, self.config.layers + 2)
        with jax.named_scope("embed"):
            streams = self._embed(batch, data, dtype, (None, None) if keys is None else keys[-2:])
        graph, layers = nnx.split(self.layers)

        def step(streams: Streams, scanned) -> tuple[Streams, Streams | None]:
            layer, key = scanned
            layer = whole(jax.tree.map(lambda parameter: parameter.astype(dtype), layer))
            streams = nnx.merge(graph, layer)(streams, context, compute.attention, key)
            return streams, (streams if keep_layers else None)

        if compute.remat == "layer":
            step = jax.checkpoint(step, prevent_cse=False)  # a scan already keeps the two computations apart
        last, kept = jax.lax.scan(step, streams, (layers, None if keys is None else keys[:-2]))
        if keep_layers:
            kept = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), streams, kept)
        return last, kept

    def _embed(self, batch: Batch, data: masks.Summaries, dtype, keys) -> Streams:
        instruments = whole(self.instruments.embedding[...])
        regular = whole(self.tokens.embedding[...])[batch.tokens] + instruments[batch.instrument]
        has_instrument = (data.instrument != masks.NO_TABLE_ROW)[..., None]
        summary = whole(self.bars.embedding[...])[data.bar] + jnp.where(has_instrument, instruments[data.instrument], 0)
        rate = self.config.dropout
        return Streams(dropout(summary, rate, keys[0]).astype(dtype), dropout(regular, rate, keys[1]).astype(dtype))


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


def rotation(position: jax.Array, dtype) -> tuple[jax.Array, jax.Array]:
    """cos and sin [B, 1, length, H/2] of rotary positions int32[B, length] (Su et al., RoFormer); angles in fp32."""
    frequency = ROPE_BASE ** (-jnp.arange(0, HEAD_DIM, 2, dtype=jnp.float32) / HEAD_DIM)
    angle = position[:, None, :, None].astype(jnp.float32) * frequency
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
