"""One token out of logits: how likely a bar is over, temperature, what is kept of the likeliest,
the penalty on what a track repeats. Called by loop.py at each token.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from configs import SampleConfig
from tokenizer.tokens.grammar import CHORD, CLASS, DURATION, ENDS, PITCH, POSITION, TEMPO, TRACK, UNK, VELOCITY

REPEATABLE = np.isin(CLASS, (POSITION, PITCH, DURATION, VELOCITY))
IS_CHORD, IS_END, IS_UNK = CLASS == CHORD, np.isin(CLASS, ENDS), CLASS == UNK
IS_TEMPO = CLASS == TEMPO
FORGET = 0.5  # of what the bars before count for, at each bar line


class Settings(NamedTuple):
    """Of a SampleConfig what a draw hangs on, as arguments of the compiled program: other values need no other one."""

    temperature: Any  # float32[]
    chord_temperature: Any  # float32[]
    top_k: Any  # int32[]
    top_p: Any  # float32[]
    min_p: Any  # float32[]
    repetition_penalty: Any  # float32[]

    @classmethod
    def of(cls, config: SampleConfig) -> "Settings":
        temperature, of_chords = np.float32(config.temperature), np.float32(config.chord_temperature)
        numbers = (config.top_p, config.min_p, config.repetition_penalty)
        return cls(temperature, of_chords, np.int32(config.top_k), *map(np.float32, numbers))


def draw(key: jax.Array, logits: jax.Array, settings: Settings) -> jax.Array:
    """One token from logits float32[V], -inf where not allowed. The likeliest token always stays; temperature 0 takes
    it.
    """
    likeliest = jnp.argmax(logits)
    logits = (logits - logits[likeliest]) / jnp.where(settings.temperature == 0, 1, settings.temperature)
    descending = jnp.sort(logits, descending=True)
    last = jnp.where(settings.top_k == 0, len(logits), jnp.minimum(settings.top_k, len(logits))) - 1
    descending = jnp.where(descending >= descending[last], descending, -jnp.inf)
    probabilities = jax.nn.softmax(descending)
    kept = jnp.cumsum(probabilities) - probabilities < settings.top_p  # up to the one that crosses top_p
    kept |= settings.top_p == 1  # all of them, however the sum was rounded
    kept &= (probabilities >= settings.min_p * probabilities[0]) & (descending > -jnp.inf)
    kept = kept.at[0].set(True)
    threshold = jnp.min(jnp.where(kept, descending, jnp.inf))
    drawn = jax.random.categorical(key, jnp.where(logits >= threshold, logits, -jnp.inf))
    return jnp.where(settings.temperature == 0, likeliest, drawn).astype(jnp.int32)


def bar_is_over(logits: jax.Array, allowed: jax.Array) -> jax.Array:
    """Logits [B, V] in which how likely a bar is to end does not depend on how few of the tokens that end it are
    allowed bool[B, V].

    A chord ends a bar; a track, EOS, or UNK where it may come, ends the track with it. The allowed ones of each group
    share the probability of their group, or of both where none of the other is allowed. Else a model that is unsure
    of chords would end every later track after a bar, for only the first track's chord may come there, and would fill
    the last bar of a song with notes, for no chord may come there.
    """
    is_chord, is_end, is_unk = (mask[: logits.shape[1]] for mask in (IS_CHORD, IS_END, IS_UNK))
    is_end = is_end & (allowed | ~is_unk)  # nothing is hidden in most songs
    goes_on, ends = allowed & is_chord, allowed & is_end
    none = lambda mask: ~mask.any(axis=1, keepdims=True)
    mass = lambda mask: jax.nn.logsumexp(jnp.where(mask, logits, -jnp.inf), axis=1, keepdims=True)
    to_chords = mass(is_chord | (is_end & none(ends))) - mass(goes_on)
    to_ends = mass(is_end | (is_chord & none(goes_on))) - mass(ends)
    return jnp.where(goes_on, logits + to_chords, jnp.where(ends, logits + to_ends, logits))


def surer(logits: jax.Array, allowed: jax.Array, temperature: jax.Array) -> jax.Array:
    """Logits [B, V] in which chords, where they may come, are as likely as before all together, and divided by a
    temperature among themselves; so are tempi. allowed: bool[B, V]. There are few of both, and much hangs on each.
    """
    for group in (IS_CHORD, IS_TEMPO):
        mine = allowed & group[: logits.shape[1]]
        inside = lambda values, mine=mine: jnp.where(mine, values, -jnp.inf)
        mass = lambda values: jax.nn.logsumexp(values, axis=1, keepdims=True)
        divided = inside(logits / temperature)
        other = divided - mass(divided) + mass(inside(logits))
        logits = jnp.where(mine & (temperature != 1), other, logits)
    return logits


def penalized(logits: jax.Array, heard: jax.Array, penalty: jax.Array) -> jax.Array:
    """Logits [B, V], lower by log(penalty) for each time that a token was heard [B, V] lately."""
    return logits - jnp.log(penalty) * heard


def hear(heard: jax.Array, token: jax.Array) -> jax.Array:
    """float32[B, V]: how often each note token was written in the track, older bars counting less, after one more token
    int32[B].
    """
    kind = jnp.asarray(CLASS)[token]
    heard = heard * jnp.where(kind == CHORD, FORGET, jnp.where(kind == TRACK, 0, 1))[:, None]
    size = heard.shape[1]
    return heard + (jnp.arange(size) == token[:, None]) * jnp.asarray(REPEATABLE[:size])
