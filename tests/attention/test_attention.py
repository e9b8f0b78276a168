"""Every implementation of attention computes what `reference` defines:
outputs, gradients, rows that see nothing, odd lengths.

The Hopper kernels run in JAX's GPU interpreter, so their cases are small.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_impl.attention import IMPLEMENTATIONS, attention, block_mask, visible_pairs, xla
from tests.attention import gpu_interpreter
from tests.rounding import apart, budget

OTHERS = sorted(set(IMPLEMENTATIONS) - {"reference"})
ATTENTION = {impl: jax.jit(functools.partial(attention, impl=impl)) for impl in IMPLEMENTATIONS} | {
    "pallas": gpu_interpreter.attention
}
pack_dense = jax.jit(block_mask.pack_dense)
LENGTHS = [(1, 1), (64, 96), (257, 130), (600, 700)]
INTERPRETED_LENGTHS = [(1, 1), (130, 250)]
FORWARD_CASES = [
    (impl, *lengths) for impl in IMPLEMENTATIONS for lengths in (INTERPRETED_LENGTHS if impl == "pallas" else LENGTHS)
]


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


def in_fp64(q, k, v, weights, visible) -> list[np.ndarray]:
    """out, dq, dk, dv of sum(out * weights), written out."""
    q, k, v, weights = (np.asarray(x, np.float64) for x in (q, k, v, weights))
    scores = np.where(visible[:, None], q @ k.swapaxes(2, 3) / 8, -np.inf)
    exponentials = np.exp(scores - np.maximum(scores.max(-1, keepdims=True), -1e30))
    shares = exponentials / np.maximum(exponentials.sum(-1, keepdims=True), 1e-300)
    out = shares @ v
    d_scores = shares * (weights @ v.swapaxes(2, 3) - (out * weights).sum(-1, keepdims=True)) / 8
    return [out, d_scores @ k, d_scores.swapaxes(2, 3) @ q, shares.swapaxes(2, 3) @ weights]


def as_multiplied(impl: str, x: jax.Array) -> jax.Array:
    """x as an implementation multiplies it: fp32 products of the Hopper kernels have two bf16 halves, 16 bits."""
    if impl != "pallas":
        return x
    high = x.astype(jnp.bfloat16)
    low = (x - high).astype(jnp.bfloat16)
    return high.astype(x.dtype) + low.astype(x.dtype)


def budgets(impl: str, q, k, v, weights, visible) -> list[float]:
    """Of out, dq, dk, dv: from the error of the reference with operands of the precision that impl multiplies in."""
    rounded = (as_multiplied(impl, x) for x in (q, k, v, weights))
    values = out_and_gradients("reference", *rounded, visible)
    truths = in_fp64(q, k, v, weights, visible)
    return [budget(apart(value, truth)) for value, truth in zip(values, truths, strict=True)]


def out_and_gradients(impl, q, k, v, weights, visible):
    """out, dq, dk, dv of sum(out * weights)."""
    mask = pack_dense(visible)
    if impl == "pallas":
        return gpu_interpreter.attention_and_gradients(q, k, v, mask, weights)
    return attention_and_gradients(q, k, v, mask, weights, impl)


@functools.partial(jax.jit, static_argnames="impl")
def attention_and_gradients(q, k, v, mask, weights, impl):
    out, derivative = jax.vjp(lambda *qkv: attention(*qkv, mask, impl=impl), q, k, v)
    return out, *derivative(weights)


@pytest.mark.parametrize(("impl", "num_queries", "num_keys"), FORWARD_CASES)
def test_attention_is_the_masked_softmax_for_any_lengths(impl, num_queries, num_keys):
    case = random_case(num_queries, num_keys, heads=1 if impl == "pallas" else 3)
    q, k, v, _, visible = case
    out = ATTENTION[impl](q, k, v, pack_dense(visible))
    assert apart(out, in_fp64(*case)[0]) <= budgets(impl, *case)[0]


@pytest.mark.parametrize(("impl", "num_queries"), [("xla", 96), ("xla", 300), ("pallas", 96)])
def test_outputs_and_gradients_are_right_by_name(impl, num_queries):
    case = random_case(num_queries, 120, heads=1)
    names = ("out", "dq", "dk", "dv")
    for name, got, truth, allowed in zip(
        names, out_and_gradients(impl, *case), in_fp64(*case), budgets(impl, *case), strict=True
    ):
        assert apart(got, truth) <= allowed, name


@pytest.mark.parametrize(("impl", "num_keys"), [("xla", 210), ("pallas", 130)])
def test_keys_in_groups_are_keys_side_by_side(impl, num_keys):
    """A group ends inside of what 128 keys of a program of dk and dv are: 64 keys, then the rest."""
    q, k, v, weights, visible = random_case(96, num_keys, heads=1)
    in_groups = lambda x: (x[:, :, :64], x[:, :, 64:])
    joined = lambda groups: jnp.concatenate(groups, axis=2)
    out, dq, dk, dv = out_and_gradients(impl, q, in_groups(k), in_groups(v), weights, visible)
    assert [group.shape[2] for group in (*dk, *dv)] == [64, num_keys - 64] * 2
    values, case = (out, dq, joined(dk), joined(dv)), (q, k, v, weights, visible)
    for name, got, truth, allowed in zip(
        ("out", "dq", "dk", "dv"), values, in_fp64(*case), budgets(impl, *case), strict=True
    ):
        assert apart(got, truth) <= allowed, name


@pytest.mark.parametrize("impl", OTHERS)
def test_in_bf16_the_gradients_of_queries_and_keys_are_as_exact_as_those_of_values(impl):
    """Their delta, a sum over a row, is made of the output before it is rounded. Keys have a mean, as real ones do: a
    row's wrong delta is multiplied by it.
    """
    q, k, v, weights, visible = random_case(96, 120, heads=1)
    case = [x.astype(jnp.bfloat16) for x in (q, k + 1, v, weights)]
    _, dq, _, dv = out_and_gradients(impl, *case, visible)
    _, true_dq, _, true_dv = in_fp64(*case, visible)
    rms = lambda got, true: float(np.sqrt(np.mean((np.asarray(got, np.float64) - true) ** 2) / np.mean(true**2)))
    assert rms(dq, true_dq) <= 1.5 * rms(dv, true_dv)


@pytest.mark.parametrize("name", ["out", "dq", "dk", "dv"])
def test_a_key_too_many_and_a_scale_a_thousandth_off_are_beyond_the_budgets(name):
    """So an implementation that read its mask or its scale wrongly would be found, the kernels' 16 bits included."""
    case = random_case(96, 120, heads=1)
    q, k, v, weights, visible = case
    more = visible.copy()
    more[0, 3, np.flatnonzero(~visible[0, 3])[0]] = True
    which = ("out", "dq", "dk", "dv").index(name)
    truth = in_fp64(*case)[which]
    for impl in OTHERS:
        allowed = budgets(impl, *case)[which]
        assert apart(in_fp64(q, k, v, weights, more)[which], truth) > 10 * allowed
        assert apart(in_fp64(q * 1.001, k, v, weights, visible)[which], truth) > 2 * allowed


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_query_that_sees_nothing_gives_zeros_and_zero_gradients(impl):
    q, k, v, weights, visible = random_case(96, 120, heads=1)
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
def test_bf16_is_as_near_to_the_truth_as_the_bf16_reference(impl):
    q, k, v, weights, visible = random_case(128, 256, heads=1)
    q, k, v = (x.astype(jnp.bfloat16) for x in (q, k, v))
    truth, mask = in_fp64(q, k, v, weights, visible)[0], pack_dense(visible)
    out = ATTENTION[impl](q, k, v, mask)
    assert apart(out, truth) <= budget(apart(ATTENTION["reference"](q, k, v, mask), truth))
    assert out.dtype == jnp.bfloat16


@pytest.mark.parametrize("sizes", [xla.OTHER_TILES, (3, 2), (2, 3), (1, 50)])
def test_blocks_and_chunks_of_any_size_give_the_same(sizes):
    """Also where they divide neither the queries nor the keys, and where there are fewer keys than one chunk has."""
    q, k, v, weights, visible = case = random_case(330, 450, heads=1)
    mask = pack_dense(visible)
    out, derivative = jax.vjp(lambda *qkv: xla.in_blocks_of(*sizes, *qkv, mask), q, k, v)
    for got, truth, allowed in zip([out, *derivative(weights)], in_fp64(*case), budgets("xla", *case), strict=True):
        assert apart(got, truth) <= allowed


def poisoned(attend) -> jax.Array:
    """Output [256, 64] where queries and keys see each other within their 64, and values 64..127 are no numbers."""
    q, k, v, _, _ = random_case(256, 256, heads=1)
    group = jnp.arange(256) // 64
    mask = pack_dense(jnp.broadcast_to(group[:, None] == group, (2, 256, 256)))
    return attend(q, k, v.at[:, :, 64:128].set(jnp.nan), mask)[0, 0]


def test_a_cpu_multiplies_no_tile_that_the_mask_hides():
    """What is multiplied, if only by a weight of 0, would bring its NaN along."""
    out = jnp.isnan(poisoned(functools.partial(attention, impl="xla"))).any(axis=1)
    np.testing.assert_array_equal(out, np.arange(256) // 64 == 1)
    assert jnp.isnan(poisoned(functools.partial(xla.in_blocks_of, 1, 2))[:64]).all()  # larger chunks would be found
    assert jnp.isnan(poisoned(functools.partial(xla.in_blocks_of, 2, 1))[:64]).all()


def visited_per_visible(sizes: tuple[int, int]) -> float:
    """Pairs that are multiplied, of each that is seen, where 2048 queries see the 384 keys before them."""
    back = jnp.arange(2048)[:, None] - jnp.arange(2048)
    mask = pack_dense(((back >= 0) & (back < 384))[None])
    block, chunk = (tiles * block_mask.TILE for tiles in sizes)
    _, counts = xla._visits(mask.tiles, block, chunk)
    return float(counts.sum() * block * chunk / visible_pairs(mask))


def test_a_cpu_works_on_few_pairs_more_than_the_mask_shows():
    assert visited_per_visible(xla.CPU_TILES) < 1.2
    assert visited_per_visible((1, 16)) > 2.5


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
