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

from configs import ComputeConfig, ModelConfig
from jax_impl.attention import KEPT, BlockMask, attention
from jax_impl.batch import Batch
from jax_impl.device.sharding import all_gathered, devices_of_rows
from jax_impl.model import attributes, masks
from jax_impl.model.harmony import Harmony
from jax_impl.model.operations import (
    INIT,
    NORM_EPSILON,
    PRODUCT,
    Linear,
    dropout,
    entering,
    matmul_in_two,
    merge_heads,
    normed,
    product,
    rotate,
    rotation,
    split_heads,
    unstacked,
)
from tokenizer.tokens.fields import BAR_STEPS, NO_INSTRUMENT, OUTSIDE, time

INSTRUMENT_ROWS = NO_INSTRUMENT + 1
# What the backward pass finds kept of each layer, beside the streams that entered it
REMAT_POLICIES = {
    "products": jax.checkpoint_policies.save_only_these_names(KEPT, PRODUCT),
    "attention": jax.checkpoint_policies.save_only_these_names(KEPT),
    "layer": jax.checkpoint_policies.nothing_saveable,
}
# A scan writes what is kept of a layer into an array of all layers, which is filled with zeros first, and copies it out
# again: of "products" that is a third of the time of its products. So there the layers are written out one by one, all
# rows at once, and the compiler drops what the last one's summaries would do. Where little is kept a scan costs little,
# and compiles faster.
WRITTEN_OUT = ("products",)
DTYPES = {"fp32": jnp.float32, "bf16": jnp.bfloat16}


class Streams(NamedTuple):
    """The two residual streams, fp32: summary [B, M, D] and regular [B, T, D]; of all layers, after each, with a
    leading L.
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
    """What all layers share: rotations (cos, sin), each [B, 1, length, H/2], the two masks, and which rows of the batch
    these are.
    """

    summary_rotation: tuple[jax.Array, jax.Array]
    summary_key_rotation: tuple[jax.Array, jax.Array]
    regular_rotation: tuple[jax.Array, jax.Array]
    summarize_mask: BlockMask
    update_mask: BlockMask
    rows: jax.Array  # int32[B]


class Stream(nnx.Module):
    """One stream's own weights in a layer: norms, fused query-key-value projection, output projection, SwiGLU."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        width, ffn = config.width, config.ffn
        norm = lambda: nnx.LayerNorm(width, epsilon=NORM_EPSILON, use_fast_variance=False, rngs=rngs)
        self.attention_norm, self.ffn_norm = norm(), norm()
        self.qkv = Linear(width, 3 * width, rngs)  # columns: q, k, v; each head by head
        self.out = Linear(width, width, rngs)
        self.gate_up = Linear(width, 2 * ffn, rngs, use_bias=False)  # columns: gate, up
        self.down = Linear(ffn, width, rngs, use_bias=False)

    def project(self, x: jax.Array, rotation: tuple[jax.Array, jax.Array]) -> list[jax.Array]:
        """q, k (both rotated) and v, each [B, N, length, H], of the stream as `entering` has it."""
        q, k, v = split_heads(self.qkv(normed(x, self.attention_norm)), parts=3)
        return [product(each.astype(x.dtype)) for each in (rotate(q, rotation), rotate(k, rotation), v)]

    def branches(self, x: jax.Array, attended: jax.Array, dropped: Callable = lambda number, x: x) -> jax.Array:
        """fp32[B, length, D]: what attention [B, length, N * H] and the feed-forward add to the stream x, as `entering`
        has it. dropped(0 or 1, branch): dropout.
        """
        first = dropped(0, self.out(attended))
        middle = product(entering(x.astype(jnp.float32) + first, x.dtype))
        return first + dropped(1, self.feed_forward(middle))

    def feed_forward(self, x: jax.Array) -> jax.Array:
        with jax.named_scope("feed_forward"):
            gate, up = matmul_in_two(normed(x, self.ffn_norm), self.gate_up.kernel[...])
            return self.down((jax.nn.silu(gate.astype(jnp.float32)) * up).astype(x.dtype)).astype(jnp.float32)


class Layer(nnx.Module):
    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.rate = config.dropout
        self.summary = Stream(config, rngs)
        self.regular = Stream(config, rngs)
        self.kv2 = Linear(config.width, 2 * config.width, rngs)  # of a finished summary, as k2, v2

    def second_keys(self, pooled: jax.Array, rotation: tuple[jax.Array, jax.Array]) -> list[jax.Array]:
        """k2 (rotated), v2 [B, N, M, H] of what the summaries gathered, [B, M, D]."""
        k2, v2 = split_heads(self.kv2(pooled), parts=2)
        return [product(each.astype(pooled.dtype)) for each in (rotate(k2, rotation), v2)]

    def __call__(self, entered: Streams, context: Context, impl: str, key: jax.Array | None) -> tuple[Streams, Keys]:
        """What the layer adds to the streams, fp32, of the streams as `entering` has them."""
        s, r = entered
        attend = functools.partial(attention, impl=impl)
        keys = (None,) * 4 if key is None else jax.random.split(key, 4)

        def dropped(first: int) -> Callable:
            return lambda number, x: dropout(x, self.rate, keys[first + 2 * number], context.rows)

        with jax.named_scope("summarize"):  # Q = S over [S; R]
            q_s, k_s, v_s = self.summary.project(s, context.summary_rotation)
            q_r, k_r, v_r = self.regular.project(r, context.regular_rotation)
            pooled = merge_heads(attend(q_s, (k_s, k_r), (v_s, v_r), context.summarize_mask))
        with jax.named_scope("update"):  # Q = R over [S; R], with the summaries' second keys and values
            k2, v2 = self.second_keys(pooled, context.summary_key_rotation)
            updated = merge_heads(attend(q_r, (k2, k_r), (v2, v_r), context.update_mask))
        with jax.named_scope("outputs"):
            added = Streams(self.summary.branches(s, pooled, dropped(0)), self.regular.branches(r, updated, dropped(1)))
        return added, Keys(k_r, v_r, k_s, v_s, k2, v2)


class MuseFormer(nnx.Module):
    """Parameters are stacked over layers, on a leading axis L.

    Precision: fp32, whatever ComputeConfig.precision says, are parameters, the sums of the residual streams, norms,
    rotary angles and tables, softmax, dropout's scale, logits and loss, and the gradients of parameters, summed over
    rows, devices and micro batches. bf16, where it says so, are the operands of products (of weights and of attention)
    and what products return; and each layer reads the streams rounded to bf16 (`entering`), which is all that is kept
    of them for the backward pass, while what it adds is added to the exact ones.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.config = config
        self.tokens = nnx.Embed(
            config.vocab_size, config.width, embedding_init=INIT, rngs=rngs
        )  # the output projection too
        if config.attributes:
            self.attributes = nnx.Embed(attributes.COUNT, config.width, embedding_init=INIT, rngs=rngs)
        if config.places:
            self.places = nnx.Embed(BAR_STEPS, config.width, embedding_init=INIT, rngs=rngs)
        if config.harmony:
            self.harmony = Harmony()
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
        return self.logits(streams.regular, batch.harmony, batch.instrument)

    def logits(self, regular: jax.Array, harmony: jax.Array, instrument: jax.Array) -> jax.Array:
        """float32[B, T, V] of the last layer's stream [B, T, D] and what the tokens' fields say, int32[B, T]."""
        with jax.named_scope("logits"):
            table = self.token_table()
            logits = jnp.einsum("BTD,VD->BTV", normed(regular, self.norm), table)
            return self.harmony(logits, harmony, instrument) if self.config.harmony else logits

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
        with jax.named_scope("masks"):
            data = masks.summaries(batch, self.config.mask_rule, max_spans)
            context = self._context(batch, data)
        embed_keys, layer_keys = self._dropout_keys(dropout_key)
        with jax.named_scope("embed"):
            streams = self._embed(batch, data, embed_keys)
        graph, layers = nnx.split(self.layers)  # layers: parameters with a leading L

        def through_layer(layer: Any, entered: Streams, context: Context, key: jax.Array | None):
            return nnx.merge(graph, layer)(entered, context, compute.attention, key)

        written_out = compute.remat in WRITTEN_OUT
        if compute.remat != "none":  # a scan already keeps the two computations apart
            policy = REMAT_POLICIES[compute.remat]
            through_layer = jax.checkpoint(through_layer, prevent_cse=written_out, policy=policy)

        rows = len(batch.tokens) // devices_of_rows()  # of each device
        groups = 1 if written_out else count_groups(rows, compute.layer_rows)
        streams, context = split_rows(streams, groups), split_rows(context, groups)  # [groups, B / groups, ...]
        dtype = DTYPES[compute.precision]

        def rows_through_layer(streams: Streams, layer_and_key: tuple[Any, jax.Array | None]):
            layer, key = layer_and_key

            def group_through_layer(streams: Streams, context: Context):
                entered = jax.tree.map(lambda stream: entering(stream, dtype), streams)
                added, keys = through_layer(layer, entered, context, key)
                return jax.tree.map(jnp.add, streams, added), keep(streams, keys)

            return map_groups(group_through_layer, (streams, context), groups)

        if written_out:
            of_layers = []
            keys = [None] * self.config.layers if layer_keys is None else layer_keys
            for layer_and_key in zip(unstacked(layers), keys, strict=True):
                streams, of_layer = rows_through_layer(streams, layer_and_key)
                of_layers.append(of_layer)
            kept = jax.tree.map(lambda *values: jnp.stack(values), *of_layers)
        else:
            streams, kept = jax.lax.scan(rows_through_layer, streams, (layers, layer_keys))
        if jax.tree.leaves(kept):  # [L, groups, B / groups, ...]
            kept = jax.vmap(join_rows)(kept)
        return join_rows(streams), kept

    def _context(self, batch: Batch, data: masks.Summaries) -> Context:
        rule = self.config.mask_rule
        return Context(
            summary_rotation=self.rotation(data.position, time(data.bar, 0)),
            summary_key_rotation=self.rotation(data.key_position, time(data.bar, 0)),
            regular_rotation=self.rotation(data.token_position, time(batch.bar, batch.place)),
            summarize_mask=masks.summarize_mask(batch, data, rule),
            update_mask=masks.update_mask(batch, data, rule),
            rows=jnp.arange(len(batch.tokens)),
        )

    def rotation(self, position: jax.Array, time: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Of tokens or summaries at these positions and times, int32[B, length]."""
        return rotation(position, time if self.config.music else None)

    def _dropout_keys(self, key: jax.Array | None) -> tuple[Sequence[jax.Array | None], jax.Array | None]:
        """Those of the two embeddings, summary and regular, and of the layers [L]; without a key, none."""
        if key is None:
            return (None, None), None
        keys = jax.random.split(key, self.config.layers + 2)
        return keys[-2:], keys[:-2]

    def _embed(self, batch: Batch, data: masks.Summaries, keys) -> Streams:
        regular = self.embed_tokens(batch.tokens, batch.instrument, batch.place)
        summary = self.embed_summaries(data.bar, data.instrument)
        rate = self.config.dropout
        return Streams(dropout(summary, rate, keys[0]), dropout(regular, rate, keys[1]))

    def embed_tokens(self, tokens: jax.Array, instrument: jax.Array, place: jax.Array) -> jax.Array:
        """float32[..., D] that a regular token begins with."""
        embedded = self.token_table()[tokens] + self.instrument_table()[instrument]
        if not self.config.places:
            return embedded
        of_place = all_gathered(self.places.embedding[...])[jnp.maximum(place, 0)]
        return embedded + jnp.where((place != OUTSIDE)[..., None], of_place, 0)

    def token_table(self) -> jax.Array:
        """fp32[V, D]: of each token its own row, and those of its attributes."""
        own = all_gathered(self.tokens.embedding[...])
        return own + self._shared(attributes.OF_TOKENS[: len(own)]) if self.config.attributes else own

    def instrument_table(self) -> jax.Array:
        """fp32[130, D] likewise."""
        own = all_gathered(self.instruments.embedding[...])
        return own + self._shared(attributes.OF_INSTRUMENTS) if self.config.attributes else own

    def _shared(self, has: np.ndarray) -> jax.Array:
        """fp32[rows, D]: of bool[rows, attributes.COUNT] the sum of the rows that each has."""
        rows = all_gathered(self.attributes.embedding[...])
        return jnp.dot(has.astype(np.float32), rows, precision=jax.lax.Precision.HIGHEST)

    def embed_summaries(self, bar: jax.Array, instrument: jax.Array) -> jax.Array:
        """float32[..., D] that a summary begins with; instrument NO_TABLE_ROW adds none."""
        has_instrument = (instrument != masks.NO_TABLE_ROW)[..., None]
        return all_gathered(self.bars.embedding[...])[bar] + jnp.where(
            has_instrument, self.instrument_table()[instrument], 0
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


def abstract_model(config: ModelConfig) -> tuple[nnx.GraphDef, Any]:
    """(graph, parameters): the model without memory; nnx.merge(graph, parameters) is a MuseFormer once they are filled
    in.

    parameters: nested dicts of jax.ShapeDtypeStruct.
    """
    graph, state = nnx.split(nnx.eval_shape(lambda: MuseFormer(config, nnx.Rngs(0))))
    return graph, nnx.to_pure_dict(state)
