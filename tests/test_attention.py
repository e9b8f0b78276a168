"""Every implementation of attention computes what `reference` defines: outputs, gradients, rows that see nothing, odd lengths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_impl.attention import IMPLEMENTATIONS, attention, pack, pack_dense, unpack

OTHERS = sorted(set(IMPLEMENTATIONS) - {"reference"})


def random_case(num_queries: int, num_keys: int, seed: int = 0):
    """q, k, v, an output weighting and a random mask with a row that sees nothing."""
    random = np.random.default_rng(seed)
    q, k, v, weights = (
        jnp.asarray(random.normal(size=(2, 3, length, 64)), jnp.float32) for length in (num_queries, num_keys, num_keys, num_queries)
    )
    visible = random.random((2, num_queries, num_keys)) < 0.3
    visible[:, num_queries // 2] = False
    return q, k, v, weights, visible


def in_fp64(q, k, v, visible):
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    scores = np.where(visible[:, None], q @ k.swapaxes(2, 3) / 8, -np.inf)
    exponentials = np.exp(scores - np.maximum(scores.max(-1, keepdims=True), -1e30))
    return exponentials / np.maximum(exponentials.sum(-1, keepdims=True), 1e-300) @ v


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize(("num_queries", "num_keys"), [(1, 1), (64, 96), (257, 130), (600, 700)])
def test_attention_is_the_masked_softmax_for_any_lengths(impl, num_queries, num_keys):
    q, k, v, _, visible = random_case(num_queries, num_keys)
    out = attention(q, k, v, pack_dense(visible), impl=impl)
    np.testing.assert_allclose(out, in_fp64(q, k, v, visible), atol=1.3e-6)  # twice what was measured


@pytest.mark.parametrize("impl", OTHERS)
@pytest.mark.parametrize("num_queries", [96, 300])
def test_gradients_agree_with_the_reference_by_name(impl, num_queries):
    q, k, v, weights, visible = random_case(num_queries, 160)

    def gradients(impl):
        return jax.grad(lambda q, k, v: (attention(q, k, v, pack_dense(visible), impl=impl) * weights).sum(), argnums=(0, 1, 2))(q, k, v)

    for name, got, want in zip("qkv", gradients(impl), gradients("reference"), strict=True):
        np.testing.assert_allclose(got, want, atol=1.5e-6, err_msg=f"d{name}")  # twice what was measured


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_query_that_sees_nothing_gives_zeros_and_zero_gradients(impl):
    q, k, v, weights, visible = random_case(64, 64)
    visible[:] = False
    visible[0, :32, :5] = True
    run = lambda q, k, v: (attention(q, k, v, pack_dense(visible), impl=impl) * weights).sum()  # noqa: E731
    out = attention(q, k, v, pack_dense(visible), impl=impl)
    assert not out[0, :, 32:].any() and not out[1].any()
    assert out[0, :, :32].any()
    dq, dk, dv = jax.grad(run, argnums=(0, 1, 2))(q, k, v)
    assert not dq[1].any() and not dk[1].any() and not dv[1].any()
    assert not dk[0, :, 5:].any()
    assert all(bool(jnp.isfinite(g).all()) for g in (dq, dk, dv))


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_bf16_stays_within_twice_the_error_of_the_bf16_reference(impl):
    q, k, v, _, visible = random_case(128, 256)
    q, k, v = (x.astype(jnp.bfloat16) for x in (q, k, v))
    want = in_fp64(q, k, v, visible)
    error = lambda name: np.abs(np.asarray(attention(q, k, v, pack_dense(visible), impl=name), np.float64) - want).max()  # noqa: E731
    assert error(impl) <= 2 * error("reference")
    assert attention(q, k, v, pack_dense(visible), impl=impl).dtype == jnp.bfloat16


def test_an_unknown_implementation_is_an_error():
    q, k, v, _, visible = random_case(8, 8)
    with pytest.raises(ValueError, match="reference"):
        attention(q, k, v, pack_dense(visible), impl="fast")


def test_pack_draws_its_predicate_and_pads_with_zeros():
    keys = [jnp.arange(32)[None], jnp.arange(40)[None]]
    queries = jnp.arange(3)[None, :, None, None]
    mask = pack([lambda key: key == queries, lambda key: (key > 37) & (queries == 2)], keys)
    assert mask.words.shape == (1, 3, 3)
    dense = np.asarray(unpack(mask.words, 72))[0]
    assert [np.flatnonzero(row).tolist() for row in dense] == [[0], [1], [2, 70, 71]]
    assert int(mask.words[0, 2, 2]) == 0b11 << 6  # keys 70 and 71 are bits 6 and 7 of word 2; nothing past the last key


def test_the_blockwise_implementation_keeps_memory_linear_in_the_keys():
    def temporaries(length):
        shape = jax.ShapeDtypeStruct((1, 2, length, 64), jnp.float32)
        words = BlockMask(jax.ShapeDtypeStruct((1, length, length // 32), jnp.uint32))
        run = jax.jit(jax.grad(lambda q, k, v, mask: attention(q, k, v, mask, impl="xla").sum(), argnums=(0, 1, 2)))
        return run.lower(shape, shape, shape, words).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(8192) < 2.5 * temporaries(4096)
