"""The Hopper kernels in JAX's GPU interpreter, where test_attention.py does not reach:
masks of real songs, slots that are used again. All of one shape, so that the kernels are compiled once.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import MASK_RULES
from jax_impl.attention import attention, block_mask, pallas, pallas_backward, pallas_forward, unpack
from jax_impl.model import masks
from tests.attention import gpu_interpreter
from tests.rounding import apart, budget
from tests.rows import batch_of, window_of

pack_dense = jax.jit(block_mask.pack_dense)
QUERIES, KEYS = 512, 2 * 512  # as many tokens as summaries


def random_case() -> list[jax.Array]:
    """bf16 q, k, v and an output weighting, one head."""
    random = np.random.default_rng(0)
    lengths = (QUERIES, KEYS, KEYS, QUERIES)
    return [jnp.asarray(random.normal(size=(1, 1, n, 64)), jnp.bfloat16) for n in lengths]


@functools.partial(jax.jit, static_argnames="dtype")
def reference(mask, dtype, q, k, v, weights) -> tuple[jax.Array, ...]:
    """out, dq, dk, dv of the definition."""
    run = lambda *qkv: attention(*qkv, mask, impl="reference")
    out, derivative = jax.vjp(run, *(x.astype(dtype) for x in (q, k, v)))
    return out, *derivative(weights.astype(dtype))


def beyond_budget(mask, got, case) -> list[str]:
    """Which of out, dq, dk, dv are further from the fp32 reference than bf16 explains."""
    values = zip(got, reference(mask, jnp.bfloat16, *case), reference(mask, jnp.float32, *case), strict=True)
    named = zip(("out", "dq", "dk", "dv"), values, strict=True)
    return [name for name, (x, rounded, exact) in named if apart(x, exact) > budget(apart(rounded, exact))]


def assert_agrees(mask) -> None:
    q, k, v, weights = case = random_case()
    ours = gpu_interpreter.attention_and_gradients(q, k, v, mask, weights.astype(jnp.float32))
    assert beyond_budget(mask, ours, case) == []


def test_a_block_left_out_is_beyond_the_budget():
    """What a wrong list or a step too few would do, at rows that see six blocks."""
    visible = np.tril(np.ones((1, QUERIES, KEYS), bool))
    less = visible.copy()
    less[:, 320:384, 64:128] = False
    case = random_case()
    faulty = reference(pack_dense(less), jnp.bfloat16, *case)
    assert beyond_budget(pack_dense(visible), faulty, case) == ["out", "dq", "dk", "dv"]


@pytest.mark.parametrize(("rule", "call"), [("span", "update"), ("v121", "summarize")])
def test_masks_of_a_real_song_give_what_the_reference_gives(songs, rule, call):
    build = {"summarize": masks.summarize_mask, "update": masks.update_mask}[call]

    @jax.jit
    def mask_of(batch):
        return build(batch, masks.summaries(batch, MASK_RULES[rule], QUERIES), MASK_RULES[rule])

    assert_agrees(mask_of(batch_of([[window_of(songs[0], 250)]], QUERIES)))


def test_slots_are_used_again_in_both_loops():
    """11 full and 5 partial blocks of keys: more steps than slots in each loop, and a step that is half beyond the
    list.
    """
    visible = np.zeros((1, QUERIES, KEYS), bool)
    visible[:, :128, : 64 * 11] = True
    visible[:, :128, 64 * 11 :] = np.random.default_rng(1).random((1, 128, 64 * 5)) < 0.2
    mask = pack_dense(visible)
    assert mask.key_lists[0, 0, :3].tolist() == [0, 11, 16]
    assert 11 // pallas_forward.BF16.blocks_per_step > pallas_forward.BF16.stages < 11 > pallas_backward.BF16.stages
    assert_agrees(mask)


def test_keys_have_slots_that_are_used_again_too():
    visible = np.zeros((1, QUERIES, KEYS), bool)
    visible[:, :, :128] = np.tril(np.ones((QUERIES, 128), bool), -100)
    mask = pack_dense(visible)
    assert mask.query_lists[0, 0, :3].tolist() == [0, 4, 7] and pallas_backward.BF16.stages < 7
    assert np.array_equal(unpack(mask, QUERIES, KEYS), visible)
    assert_agrees(mask)


def test_what_the_kernels_are_not_written_for_is_refused():
    mask = pack_dense(np.ones((1, 4, 4), bool))
    narrow, half = jnp.zeros((1, 1, 4, 32)), jnp.zeros((1, 1, 4, 64), jnp.float16)
    with pytest.raises(ValueError, match="head width of 64, not 32"):
        pallas.attention(narrow, (narrow,), (narrow,), mask)
    with pytest.raises(ValueError, match="must all be bf16 or all fp32, got float16"):
        pallas.attention(half, (half,), (half,), mask)
