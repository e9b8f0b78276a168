"""One token out of logits: temperature, what is kept of the likeliest tokens, and the penalty on what a track's last bars repeat."""

import jax
import jax.numpy as jnp
import numpy as np

from configs import SampleConfig
from tokenizer import vocabulary as vocab
from tokenizer.grammar import CHORD, CLASS, DURATION, PITCH, POSITION, TRACK, VELOCITY

REPEATABLE = np.isin(CLASS, (POSITION, PITCH, DURATION, VELOCITY))
FORGET = 0.5  # of what the bars before count for, at each bar line


def draw(key: jax.Array, logits: jax.Array, config: SampleConfig) -> jax.Array:
    """One token from logits float32[V], -inf where not allowed. The likeliest token always stays; temperature 0 takes it."""
    if config.temperature == 0:
        return jnp.argmax(logits).astype(jnp.int32)
    logits = logits / config.temperature
    descending = jnp.sort(logits, descending=True)
    if config.top_k:
        logits = jnp.where(logits >= descending[config.top_k - 1], logits, -jnp.inf)
        descending = jnp.sort(logits, descending=True)
    probabilities = jax.nn.softmax(descending)
    kept = jnp.cumsum(probabilities) - probabilities < config.top_p  # up to the one that crosses top_p
    kept &= probabilities >= config.min_p * probabilities[0]
    threshold = jnp.min(jnp.where(kept, descending, jnp.inf))
    return jax.random.categorical(key, jnp.where(logits >= threshold, logits, -jnp.inf)).astype(jnp.int32)


def stand_for(logits: jax.Array, one: jax.Array, kind: np.ndarray) -> jax.Array:
    """Logits [B, V] in which the tokens `one` bool[B, V], at most one of a row, have the probability of all of their kind bool[V].

    For what only one token of its kind can say, such as the next bar of a track, whose chord the first track has said: how likely a bar is
    next is how likely any chord is, else a model that is unsure of chords would end each track after a bar.
    """
    return jnp.where(one, jax.nn.logsumexp(jnp.where(kind, logits, -jnp.inf), axis=-1, keepdims=True), logits)


def penalized(logits: jax.Array, heard: jax.Array, penalty: float) -> jax.Array:
    """Logits [B, V], lower by log(penalty) for each time that a token was heard [B, V] lately."""
    return logits - jnp.log(penalty) * heard if penalty != 1 else logits


def hear(heard: jax.Array, token: jax.Array) -> jax.Array:
    """float32[B, V]: how often each note token was written in the track, older bars counting less, after one more token int32[B]."""
    kind = jnp.asarray(CLASS)[token]
    heard = heard * jnp.where(kind == CHORD, FORGET, jnp.where(kind == TRACK, 0, 1))[:, None]
    return heard + (jnp.arange(vocab.SIZE) == token[:, None]) * jnp.asarray(REPEATABLE)
