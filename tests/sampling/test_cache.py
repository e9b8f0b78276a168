"""The cached step says what the full forward says, at every position, whatever closes, changes,
begins or ends there.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import ComputeConfig, ModelConfig
from jax_impl.batch import pack_row, stack_rows
from jax_impl.model.museformer import MuseFormer
from jax_impl.sampling import cache
from jax_impl.sampling import weights as of_model
from tests.rounding import budget, moved
from tests.rows import random_song, short_hidden_song
from tests.runs import with_harmony
from tokenizer import vocabulary as vocab
from tokenizer.music import midi
from tokenizer.tokens import fields
from tokenizer.tokens.crop import crop
from tokenizer.tokens.encode import encode

COMPUTE = ComputeConfig(attention="reference", precision="fp32", remat="none")
CHUNKS = (cache.Chunk(64, 8), cache.Chunk(64, 24), cache.Chunk(128, 32))
SLOTS, SUMMARIES = np.sum(CHUNKS, axis=0).tolist()


@pytest.fixture(scope="module")
def model() -> MuseFormer:
    return model_of(vocab.SIZE, places=True, attributes=True, music=True, harmony=True)


def model_of(tokens: int, **ours) -> MuseFormer:
    config = ModelConfig(layers=2, width=64, ffn=96, max_bars=16, vocab_size=tokens, **ours)
    model = MuseFormer(config, nnx.Rngs(0))
    nnx.update(model, jax.tree.map(lambda x: x * 6 if x.ndim > 1 else x, nnx.state(model, nnx.Param)))
    return with_harmony(model)


@pytest.fixture(scope="module")
def real(songs) -> list[fields.TokenFields]:
    """Windows of three real songs, with several tracks and no more tokens than there are slots."""
    found = []
    for path in songs:
        song = encode(midi.read(path))
        for bars in (4, 2, 1):
            window = crop(song, 0, bars)
            if window.span.max() >= 2 and len(window) <= SLOTS - 64:
                found.append(window)
                break
        if len(found) == 3:
            break
    assert len(found) == 3 and len({len(song) for song in found}) == 3
    return found


@pytest.fixture(scope="module")
def step(model):
    return jax.jit(stepper(model))


def weights_of(model, compute=COMPUTE):
    return jax.device_put(of_model.weights_of(nnx.to_pure_dict(nnx.state(model)), compute))


def stepper(model, close=cache.close):
    weights = weights_of(model)

    def step(past: cache.Cache, token, alive):
        merged, layers = nnx.merge(of_model.shape_of(model.config).model, weights.model), weights.layers
        return cache.append(
            merged, layers, close(merged, layers, past, cache.closing(past, token, alive)), token, alive
        )

    return step


@pytest.fixture(scope="module")
def full(model):
    return forward_of(model)


def forward_of(model):
    """Of songs side by side: logits of the full forward, and how far the cached ones may be away at a position."""
    graph, parameters = nnx.split(model)

    def forward(parameters, batch):
        return nnx.merge(graph, parameters)(batch, max_spans=SUMMARIES, compute=COMPUTE, dropout_key=None)

    compiled = jax.jit(forward)

    def of(songs) -> tuple[np.ndarray, float]:
        batch = stack_rows([pack_row([song], SLOTS) for song in songs])
        want = np.asarray(compiled(parameters, batch))
        rounding = moved(lambda parameters: compiled(parameters, batch), parameters)
        return want, budget(rounding) * float(np.abs(want).max())

    return of


def differences(step, past: cache.Cache, songs, begun, want) -> list[np.ndarray]:
    """Of each song the largest difference of the logits at each position from begun on, the songs side by side."""
    found = [[] for _ in songs]
    at = np.array(begun)
    lengths = np.array([len(song) for song in songs])
    while (at < lengths).any():
        alive = at < lengths
        token = np.array([song.ids[min(i, len(song) - 1)] for song, i in zip(songs, at, strict=True)], np.int32)
        past, logits = step(past, token, alive)
        for row in np.flatnonzero(alive):
            found[row].append(np.abs(np.asarray(logits[row]) - want[row, at[row]]).max())
        at = at + alive
    return [np.array(row) for row in found]


@pytest.mark.parametrize("kind", ["random", "real"])
def test_cached_logits_equal_the_full_forward_at_every_position(model, step, full, real, kind):
    songs = real if kind == "real" else [random_song(0), random_song(2, bars=5), short_hidden_song()]
    past = cache.empty(model.config, COMPUTE, 3, CHUNKS)
    want, allowed = full(songs)
    found = differences(step, past, songs, [0, 0, 0], want)
    assert [len(row) for row in found] == [len(song) for song in songs]
    assert max(row.max() for row in found) <= allowed


def test_a_model_of_v121_s_tokens_is_cached_alike():
    songs = [random_song(seed, bars=3, size=vocab.V121_SIZE) for seed in range(2)]
    model = model_of(vocab.V121_SIZE)
    past = cache.empty(model.config, COMPUTE, 2, CHUNKS)
    want, allowed = forward_of(model)(songs)
    found = differences(jax.jit(stepper(model)), past, songs, [0, 0], want)
    assert want.shape[-1] == vocab.V121_SIZE and max(row.max() for row in found) <= allowed


@pytest.mark.parametrize("shift", [0, 1])
def test_prompts_of_different_lengths_filled_in_at_once_go_on_as_if_written_token_by_token(model, step, full, shift):
    """They end where a span closes, inside one, and where a track begins."""
    songs = [random_song(seed, bars=4) for seed in range(3)]
    chord = np.flatnonzero(vocab.CLASS[songs[0].ids] == vocab.Class.CHORD)[3]
    track = np.flatnonzero(vocab.CLASS[songs[2].ids] == vocab.Class.TRACK)[2]
    begun = [int(chord) + shift, 23 + shift, int(track) + shift]
    prompts = [fields.compute(song.ids[:length]) for song, length in zip(songs, begun, strict=True)]
    batch, state = cache.right_aligned(prompts, 128)
    chunks = (*CHUNKS, cache.Chunk(SLOTS, SUMMARIES))
    past = jax.jit(lambda batch, state: cache.prefill(model, batch, state, COMPUTE, chunks))(batch, state)
    want, allowed = full(songs)
    found = differences(step, past, songs, begun, want)
    assert max(row.max() for row in found) <= allowed


def test_a_cache_that_grew_goes_on(model, step, full):
    song = random_song(0, bars=4)
    past = cache.empty(model.config, COMPUTE, 1, CHUNKS[:1])
    small = jax.jit(stepper(model))
    for token in song.ids[:60]:
        past, _ = small(past, np.array([token]), np.ones(1, bool))
    for chunk in CHUNKS[1:]:
        past = cache.grow(past, chunk)
    want, allowed = full([song])
    (found,) = differences(step, past, [song], [60], want)
    assert len(found) == len(song) - 60 and found.max() <= allowed


def test_rows_that_ended_change_nothing(model, step, full):
    songs = [random_song(0, bars=4), random_song(1, bars=1)]
    past = cache.empty(model.config, COMPUTE, 2, CHUNKS)
    want, allowed = full(songs)
    found = differences(step, past, songs, [0, 0], want)
    assert len(found[0]) > len(found[1]) + 20 and found[0].max() <= allowed


def test_without_the_summaries_of_closed_spans_the_logits_are_others(model, full):
    """The comparison sees a cache that forgets to close spans."""
    song = random_song(0, bars=4)
    forgetful = jax.jit(stepper(model, close=lambda model, layers, past, rows: past))
    past = cache.empty(model.config, COMPUTE, 1, CHUNKS)
    want, allowed = full([song])
    (found,) = differences(forgetful, past, [song], [0], want)
    second = int(np.flatnonzero(song.span == 1)[0])
    assert found[:second].max() <= allowed and found[second:].max() > 100 * allowed


def test_matrices_are_cast_to_bf16_once_and_nothing_else_is(model):
    weights = weights_of(model, ComputeConfig(attention="xla", precision="bf16", remat="none"))
    cast = {path[-1].key: leaf.dtype for path, leaf in jax.tree_util.tree_leaves_with_path(weights.layers)}
    fp32 = jnp.dtype(jnp.float32)
    assert cast == {"kernel": jnp.dtype(jnp.bfloat16), "bias": fp32, "scale": fp32}
