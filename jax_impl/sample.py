"""Sampling: songs from a trained model, token by token.

Each token costs one forward pass over the song so far, in a program of static size (the smallest of SIZES that holds it), so there are as
many compilations as sizes. What a token means for the next ones (bar, instrument, ...) comes from the state machine that made the training
data, one step at a time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from configs import ComputeConfig, SampleConfig
from jax_impl.batch import Batch, pack_row, stack_rows
from jax_impl.model import MuseFormer
from tokenizer import fields
from tokenizer import vocabulary as vocab
from tokenizer.decode import decode
from tokenizer.fields import FieldState
from tokenizer.score import Score

SMALLEST_SIZE = 256  # program sizes double from here up to max_length
TOKENS_PER_SUMMARY = 4  # sampled songs get this many summary slots; a bar of all tracks holds more tokens on average
ROWS = 8  # songs sampled side by side
NEVER = (vocab.PAD, vocab.BOS, vocab.MASK, vocab.UNK)  # no song holds these after its start


@dataclass(frozen=True)
class Sample:
    """ids: int32[T], from BOS on. finished: the model ended the song itself, before max_length. Decoded by score()."""

    ids: np.ndarray
    finished: bool

    def score(self) -> Score:
        return decode(self.ids)


def generate(
    model: MuseFormer, config: SampleConfig, compute: ComputeConfig, on_token: Callable[[int], None] = lambda _: None
) -> list[Sample]:
    """config.num_samples songs. Song number i depends on (model, config, i) alone, not on how many are drawn.

    on_token: called with the length so far after each step, for progress.
    """
    samples = []
    for start in range(0, config.num_samples, ROWS):
        samples += _generate_rows(model, range(start, min(start + ROWS, config.num_samples)), config, compute, on_token)
    return samples


def _generate_rows(model, numbers: Sequence[int], config, compute, on_token) -> list[Sample]:
    graph, params = nnx.split(model)
    keys = jax.vmap(lambda number: jax.random.fold_in(jax.random.key(config.seed), number))(jnp.asarray(numbers))
    songs = [[vocab.BOS] for _ in numbers]
    states = [fields.START.push(vocab.BOS) for _ in numbers]
    length = 1
    for size in _sizes(config.max_length):
        max_spans = size // TOKENS_PER_SUMMARY
        next_tokens = _program(graph, max_spans, config, compute)
        batch = stack_rows([pack_row([fields.compute(np.array(song))], size) for song in songs])
        while length < size:
            allowed = np.stack([_allowed(state, max_spans, model.config.max_bars) for state in states])
            drawn = np.asarray(next_tokens(params, batch, length - 1, keys, allowed))
            for row, token in enumerate(drawn.tolist()):
                if songs[row][-1] == vocab.EOS:
                    continue
                songs[row].append(token)
                states[row] = states[row].push(token)
                _write(batch, row, length, token, states[row])
            length += 1
            on_token(length)
            if all(song[-1] == vocab.EOS for song in songs):
                return [Sample(np.array(song, np.int32), finished=True) for song in songs]
    return [Sample(np.array(song, np.int32), finished=song[-1] == vocab.EOS) for song in songs]


def _sizes(max_length: int) -> list[int]:
    sizes = [SMALLEST_SIZE]
    while sizes[-1] < max_length:
        sizes.append(2 * sizes[-1])
    return [*sizes[:-1], max_length]


def _allowed(state: FieldState, max_spans: int, max_bars: int) -> np.ndarray:
    """bool[643]: no tokens that no song holds, and no bar that the model has no room for."""
    allowed = np.ones(vocab.SIZE, bool)
    allowed[list(NEVER)] = False
    if state.spans >= max_spans or state.bars >= max_bars:
        allowed[vocab.CHORD : vocab.POSITION] = False
    return allowed


def _write(batch: Batch, row: int, index: int, token: int, state: FieldState) -> None:
    """One more token of a song into its row."""
    batch.tokens[row, index] = token
    for name in ("bar", "instrument", "kind", "onset", "span"):
        getattr(batch, name)[row, index] = getattr(state, name)
    batch.document[row, index] = 1
    batch.position[row, index] = index


def _program(graph, max_spans: int, config: SampleConfig, compute: ComputeConfig):
    """The compiled step: the next token of each row, int32[B], after the one at `index`."""

    @jax.jit
    def next_tokens(params, batch: Batch, index: jax.Array, keys: jax.Array, allowed: jax.Array) -> jax.Array:
        logits = nnx.merge(graph, params)(batch, max_spans=max_spans, compute=compute, dropout_key=None)
        logits = jnp.where(allowed, logits[:, index], -jnp.inf)
        return jax.vmap(lambda key, row: draw(jax.random.fold_in(key, index), row, config))(keys, logits)

    return next_tokens


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
    threshold = jnp.min(jnp.where(kept, descending, jnp.inf))
    return jax.random.categorical(key, jnp.where(logits >= threshold, logits, -jnp.inf)).astype(jnp.int32)
