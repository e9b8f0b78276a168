"""Every implementation of attention computes what `reference` defines:
outputs, gradients, rows that see nothing, odd lengths.

The Hopper kernels run in JAX's GPU interpreter, so their cases are small.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_impl.attention import IMPLEMENTATIONS, attention, pack_dense
from tests.attention import gpu_interpreter

OTHERS = sorted(set(IMPLEMENTATIONS) - {"reference"})
ATTENTION = {impl: functools.partial(attention, impl=impl) for impl in IMPLEMENTATIONS} | {
    "pallas": gpu_interpreter.attention
}
LENGTHS = [(1, 1), (64, 96), (257, 130), (600, 700)]
INTERPRETED_LENGTHS = [(1, 1), (130, 250)]
FORWARD_CASES = [
    (impl, *lengths) for impl in IMPLEMENTATIONS for lengths in (INTERPRETED_LENGTHS if impl == "pallas" else LENGTHS)
]
# Twice what was measured. fp32 products of the Hopper kernels have 16 bits of mantissa, those of a CPU 24.
FORWARD_TOLERANCE = {"reference": 1.3e-6, "xla": 1.3e-6, "pallas": 1.1e-5}
GRADIENT_TOLERANCE = {"xla": 1.5e-6, "pallas": 2e-5}


def random_case(num_queries: int, num_keys: int, seed: int = 0, heads: int = 3):
    """q, k, v, an output weighting and a random mask with a row that sees nothing."""
    random = np.random.default_rng(seed)
    q, k, v, weights = (
        jnp.asarray(random.normal(size=(2, heads, length, 64)), jnp.float32)
        for length in (num_queries, num_keys, num_keys, num_queries)
    )
    visible = random.random((2, num_queries, num_keys)) < 0.3
    visible[:, num_queries // 2] = False
    return q, k, v, weights, visible


def in_fp64(q, k, v, visible):
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    scores = np.where(visible[:, None], q @ k.swapaxes(2, 3) / 8, -np.inf)
    exponentials = np.exp(scores - np.maximum(scores.max(-1, keepdims=True), -1e30))
    return exponentials / np.maximum(exponentials.sum(-1, keepdims=True), 1e-300) @ v


def out_and_gradients(impl, q, k, v, weights, visible):
    """out, dq, dk, dv of sum(out * weights)."""
    if impl == "pallas":
        return gpu_interpreter.attention_and_gradients(q, k, v, pack_dense(visible), weights)
    out, derivative = jax.vjp(lambda *qkv: attention(*qkv, pack_dense(visible), impl=impl), q, k, v)
    return out, *derivative(weights)


@pytest.mark.parametrize(("impl", "num_queries", "num_keys"), FORWARD_CASES)
@pytest.mark.timeout(120)
def test_attention_is_the_masked_softmax_for_any_lengths(impl, num_queries, num_keys):
    q, k, v, _, visible = random_case(num_queries, num_keys, heads=1 if impl == "pallas" else 3)
    out = ATTENTION[impl](q, k, v, pack_dense(visible))
    np.testing.assert_allclose(out, in_fp64(q, k, v, visible), atol=FORWARD_TOLERANCE[impl])


@pytest.mark.parametrize(("impl", "num_queries"), [("xla", 96), ("xla", 300), ("pallas", 96)])
@pytest.mark.timeout(180)
def test_gradients_agree_with_the_reference_by_name(impl, num_queries):
    case = [x[:1] for x in random_case(num_queries, 120, heads=2)]
    for name, got, want in zip(
        "qkv", out_and_gradients(impl, *case)[1:], out_and_gradients("reference", *case)[1:], strict=True
    ):
        np.testing.assert_allclose(got, want, atol=GRADIENT_TOLERANCE[impl], err_msg=f"d{name}")


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.timeout(180)
def test_a_query_that_sees_nothing_gives_zeros_and_zero_gradients(impl):
    q, k, v, weights, visible = random_case(64, 64, heads=1)
    visible[:] = False
    visible[0, :32, :5] = True
    out, dq, dk, dv = out_and_gradients(impl, q, k, v, weights, visible)
    assert not out[0, :, 32:].any() and not out[1].any()
    assert out[0, :, :32].any()
    assert not dq[1].any() and not dk[1].any() and not dv[1].any()
    assert not dq[0, :, 32:].any() and not dk[0, :, 5:].any() and not dv[0, :, 5:].any()
    assert dq[0, :, :32].any() and dk[0, :, :5].any() and dv[0, :, :5].any()
    assert all(bool(jnp.isfinite(g).all()) for g in (dq, dk, dv))


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.timeout(120)
def test_bf16_stays_within_twice_the_error_of_the_bf16_reference(impl):
    q, k, v, _, visible = random_case(128, 256, heads=1)
    q, k, v = (x.astype(jnp.bfloat16) for x in (q, k, v))
    want, mask = in_fp64(q, k, v, visible), pack_dense(visible)
    error = lambda out: np.abs(np.asarray(out, np.float64) - want).max()
    out = ATTENTION[impl](q, k, v, mask)
    assert error(out) <= 2 * error(ATTENTION["reference"](q, k, v, mask))
    assert out.dtype == jnp.bfloat16


def test_an_unknown_implementation_is_an_error():
    q, k, v, _, visible = random_case(8, 8)
    with pytest.raises(ValueError, match="reference"):
        attention(q, k, v, pack_dense(visible), impl="fast")


def test_the_blockwise_implementation_keeps_memory_linear_in_the_keys():
    def temporaries(length):
        shape = jax.ShapeDtypeStruct((1, 2, length, 64), jnp.float32)
        mask = jax.eval_shape(pack_dense, jax.ShapeDtypeStruct((1, length, length), bool))
        run = jax.jit(jax.grad(lambda q, k, v, mask: attention(q, k, v, mask, impl="xla").sum(), argnums=(0, 1, 2)))
        return run.lower(shape, shape, shape, mask).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(8192) < 2.5 * temporaries(4096)
