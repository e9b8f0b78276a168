"""One optimizer step and one validation step: the two programs that training compiles."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from configs import ComputeConfig, ModelConfig, TrainConfig
from configs.train import ChordTargets, TrackTargets
from jax_impl.batch import Batch
from jax_impl.model.harmony import CHORDS
from jax_impl.model.museformer import MuseFormer, abstract_model
from jax_impl.training.optimizer import learning_rate, optimizer
from tokenizer import vocabulary as vocab
from tokenizer.music.score import DRUMS
from tokenizer.tokens.example import CUT_END, KNOWN_CHORD

# Folded into a run's key before the step's number, so that no key of dropout is one of the initialization, whose keys
# are the run's with 0, 1, 2, ... folded in
DROPOUT_STREAM = 0x64726F70  # "drop"
TRACKS = slice(vocab.track_token(DRUMS), vocab.track_token(127) + 1)


class TrainState(NamedTuple):
    """What one step turns into the next. parameters: nested dicts of arrays; step: int32[], optimizer steps taken."""

    parameters: Any
    optimizer: Any
    step: jax.Array


class Measured(NamedTuple):
    """Of one step: mean loss in nats per token, gradient norm before clipping, learning rate, real tokens read."""

    loss: jax.Array
    gradient_norm: jax.Array
    learning_rate: jax.Array
    tokens: jax.Array


def initial_state(config: ModelConfig, tx: optax.GradientTransformation, seed: int) -> TrainState:
    """The state before the first step; under jit or jax.eval_shape."""
    parameters = nnx.to_pure_dict(nnx.state(MuseFormer(config, nnx.Rngs(seed))))
    return TrainState(parameters, tx.init(parameters), jnp.zeros((), jnp.int32))


class Made(NamedTuple):
    """What a run's choices make. initialize(): the state before the first step, under jit or jax.eval_shape.
    step(state, batches, compute=...): train_step, to be compiled.
    """

    tx: optax.GradientTransformation
    initialize: Callable[[], TrainState]
    step: Callable[..., tuple[TrainState, Measured]]


def make_step(model: ModelConfig, config: TrainConfig, total_steps: int) -> Made:
    config = config.as_new()
    rate = functools.partial(learning_rate, config=config, total_steps=total_steps)
    tx = optimizer(config, rate)
    settings = dict(graph=abstract_model(model)[0], tx=tx, rate=rate, seed=config.seed, max_spans=config.row_spans)
    settings |= dict(chord_targets=config.chord_targets, chord_weight=config.chord_weight)
    settings |= dict(track_targets=config.track_targets)
    initialize = functools.partial(initial_state, model, tx, config.seed)
    return Made(tx, initialize, functools.partial(train_step, **settings))


def abstract_batches(config: TrainConfig) -> Batch:
    """Shapes of what one step reads."""
    shape = (config.gradient_accumulation_steps, config.batch_size, config.max_seq_len)
    return Batch(
        *(jax.ShapeDtypeStruct(shape, jnp.float32 if name == "weights" else jnp.int32) for name in Batch._fields)
    )


def cross_entropy(
    logits: jax.Array,
    batch: Batch,
    chord_targets: ChordTargets,
    chord_weight: float = 1.0,
    track_targets: TrackTargets = "ended",
) -> jax.Array:
    """float32[]: next-token cross entropy in nats, summed with the batch's weights. logits: float32[B, T, V].

    track_targets "all": and which track comes, or that none does, behind each that only a cut ended:
    -ln P(this | a track or EOS).
    """
    nats = jnp.sum(token_losses(logits, batch, chord_targets, chord_weight) * batch.weights)
    if track_targets == "ended":
        return nats
    each = optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets)
    next_ones = jnp.concatenate([logits[..., TRACKS], logits[..., vocab.EOS : vocab.EOS + 1]], axis=-1)
    any_next = jax.nn.logsumexp(logits, axis=-1) - jax.nn.logsumexp(next_ones, axis=-1)
    return nats + jnp.sum(jnp.where(_cut(batch), each - any_next, 0))


def count_targets(batch: Batch, track_targets: TrackTargets) -> jax.Array:
    """float32[]: over how many `cross_entropy` sums."""
    return jnp.sum(batch.weights) + (jnp.sum(_cut(batch)) if track_targets == "all" else 0)


def _cut(batch: Batch) -> jax.Array:
    return batch.known == CUT_END


def token_losses(logits: jax.Array, batch: Batch, chord_targets: ChordTargets, chord_weight: float = 1.0) -> jax.Array:
    """float32[B, T]: nats of each target, also of those that do not count. chord_targets "first": a chord that the
    first track has said costs what any chord would, for a sampler writes that one (see sampling.draw.bar_is_over).

    chord_weight: a chord that none has said costs -ln P(any chord) and so many times -ln P(this one | any chord). Both
    times as much would be another thing: a model that ends its bars too early.
    """
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets)
    if chord_targets == "all" and chord_weight == 1:
        return nats
    any_chord = jax.nn.logsumexp(logits, axis=-1) - jax.nn.logsumexp(logits[..., CHORDS], axis=-1)
    is_known = batch.known == KNOWN_CHORD
    if chord_weight != 1:
        is_chord = (batch.targets >= CHORDS.start) & (batch.targets < CHORDS.stop) & ~is_known
        nats = nats + jnp.where(is_chord, (chord_weight - 1) * (nats - any_chord), 0)
    return jnp.where(is_known, any_chord, nats) if chord_targets == "first" else nats


def dropout_key(seed: int, step: jax.Array) -> jax.Array:
    """The key of a step's dropout, counted from 0."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), DROPOUT_STREAM), step)


def train_step(
    state: TrainState,
    batches: Batch,
    *,
    graph: nnx.GraphDef,
    tx: optax.GradientTransformation,
    rate: Callable[[jax.Array], jax.Array],
    seed: int,
    max_spans: int,
    chord_targets: ChordTargets,
    chord_weight: float,
    track_targets: TrackTargets,
    compute: ComputeConfig,
) -> tuple[TrainState, Measured]:
    """One update from A micro batches [A, B, T], equal to the update from all their rows at once but for rounding (and
    dropout's draws).

    The loss is the mean over the real targets of all rows, so each micro batch counts by its targets. Dropout is a
    function of (seed, step, micro batch).
    """
    total = jnp.maximum(count_targets(batches, track_targets), 1)  # no target at all: loss 0, no gradient
    key = dropout_key(seed, state.step)

    def loss(parameters: Any, batch: Batch, key: jax.Array) -> jax.Array:
        model = nnx.merge(graph, parameters)
        logits = model(batch, max_spans=max_spans, compute=compute, dropout_key=key)
        return cross_entropy(logits, batch, chord_targets, chord_weight, track_targets) / total

    def accumulate(sums: tuple, micro: tuple[Batch, jax.Array]) -> tuple[tuple, None]:
        return jax.tree.map(jnp.add, sums, jax.value_and_grad(loss)(state.parameters, *micro)), None

    zeros = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, state.parameters))
    keys = jax.random.split(key, len(batches.tokens))
    (mean_loss, gradient), _ = jax.lax.scan(accumulate, zeros, (batches, keys))
    with jax.named_scope("optimizer"):
        updates, moments = tx.update(gradient, state.optimizer, state.parameters)
        parameters = optax.apply_updates(state.parameters, updates)
    measured = Measured(mean_loss, optax.tree.norm(gradient), rate(state.step), jnp.sum(batches.document > 0))
    return TrainState(parameters, moments, state.step + 1), measured


def validation_step(
    parameters: Any,
    batch: Batch,
    *,
    graph: nnx.GraphDef,
    max_spans: int,
    chord_targets: ChordTargets,
    compute: ComputeConfig,
) -> jax.Array:
    """float32[B, T]: nats of each target of one batch, without weights and without dropout."""
    logits = nnx.merge(graph, parameters)(batch, max_spans=max_spans, compute=compute, dropout_key=None)
    return token_losses(logits, batch, chord_targets)
