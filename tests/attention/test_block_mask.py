"""The mask as tiles of bits with lists of blocks: exact cover, full means full, nothing dense in memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import MASK_RULES
from jax_impl.attention import block_mask, pack, unpack, visible_pairs
from jax_impl.attention.block_mask import LISTED, NUMBER
from jax_impl.batch import Batch
from jax_impl.model import masks
from tests.rows import batch_of, window_of

pack_dense = jax.jit(block_mask.pack_dense)


def covered(lists: np.ndarray, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """bool[B, rows, columns] of what the lists say: some, full."""
    some, full = np.zeros(shape, bool), np.zeros(shape, bool)
    for row in range(shape[0]):
        assert sorted(lists[row, :, NUMBER]) == list(range(shape[1]))
        assert np.all(np.diff(lists[row, :, LISTED]) <= 0)  # the longest first
        for number, num_full, num_some, *blocks in lists[row].tolist():
            # A permutation: whatever the mask, it fits
            assert sorted(blocks[: shape[2]]) == list(range(shape[2]))
            some[row, number, blocks[:num_some]] = True
            full[row, number, blocks[:num_full]] = True
    return some, full


def assert_exact(visible: np.ndarray, mask) -> None:
    batch, num_queries, num_keys = visible.shape
    assert np.array_equal(unpack(mask, num_queries, num_keys), visible)
    padded = np.pad(visible, ((0, 0), (0, -num_queries % 128), (0, -num_keys % 128)))
    pairs, tiles = padded.shape[1] // 128, padded.shape[2] // 64
    by_key_block = padded.reshape(batch, pairs, 128, tiles, 64)
    some, full = covered(np.asarray(mask.key_lists), (batch, pairs, tiles))
    assert np.array_equal(some, by_key_block.any((2, 4))) and np.array_equal(full, by_key_block.all((2, 4)))
    pairs, tiles = padded.shape[2] // 128, padded.shape[1] // 64
    by_query_block = padded.reshape(batch, tiles, 64, pairs, 128).transpose(0, 3, 1, 2, 4)
    some, full = covered(np.asarray(mask.query_lists), (batch, pairs, tiles))
    assert np.array_equal(some, by_query_block.any((3, 4))) and np.array_equal(full, by_query_block.all((3, 4)))
    assert float(visible_pairs(mask)) == visible.sum()


@given(st.sampled_from([(1, 1), (64, 130), (257, 400)]), st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_the_lists_cover_exactly_what_is_visible(lengths, seed):
    num_queries, num_keys = lengths
    random = np.random.default_rng(seed)
    visible = random.random((2, num_queries, num_keys)) < random.random()
    kind = np.repeat(np.repeat(random.integers(3, size=(2, 7, 7)), 64, 1), 64, 2)[:, :num_queries, :num_keys]
    assert_exact((visible & (kind == 1)) | (kind == 2), pack_dense(visible & (kind == 1) | (kind == 2)))


@pytest.mark.parametrize("rule", MASK_RULES.values(), ids=MASK_RULES)
def test_a_real_songs_masks_are_covered_exactly(songs, rule):
    batch = batch_of([[window_of(songs[0], 768)]], 768)

    @jax.jit
    def both(batch):
        data = masks.summaries(batch, rule, 128)
        return masks.summarize_mask(batch, data, rule), masks.update_mask(batch, data, rule)

    for mask, queries in zip(both(batch), (128, 768), strict=True):
        visible = np.asarray(unpack(mask, queries, 128 + 768))
        assert visible.any()
        assert_exact(visible, mask)


def test_bits_lie_as_drawn():
    visible = np.zeros((1, 200, 200), bool)
    visible[0, 64 + 3, 128 + 32 + 5] = True
    tiles = np.asarray(pack_dense(visible).tiles)
    assert tiles.shape == (1, 4, 4, 2, 64)
    assert tiles[0, 1, 2, 1, 3] == 1 << 5
    assert np.count_nonzero(tiles) == 1


def test_lists_are_as_drawn():
    visible = np.zeros((1, 128, 192), bool)
    visible[0, :, :64] = True
    visible[0, 10, 70] = True
    mask = pack_dense(visible)
    assert mask.key_lists[0, :, :7].tolist() == [[0, 1, 2, 0, 1, 2, 3]]
    assert mask.query_lists[0, :, :5].tolist() == [[0, 0, 2, 0, 1], [1, 0, 0, 0, 1]]


def test_the_longest_lists_come_first():
    visible = np.tril(np.ones((2, 384, 384), bool))
    visible[1, 256:] = False
    mask = pack_dense(visible)
    assert mask.key_lists[..., :3].tolist() == [[[2, 4, 6], [1, 2, 4], [0, 0, 2]], [[1, 2, 4], [0, 0, 2], [2, 0, 0]]]
    assert mask.query_lists[0, :, :3].tolist() == [[0, 4, 6], [1, 2, 4], [2, 0, 2]]


def test_pack_evaluates_its_predicates_and_pads_with_zeros():
    key_fields = jnp.arange(64)[None] + 1, jnp.arange(40)[None] + 1
    groups = [
        (lambda query, key: (key == query) & (query > 0), key_fields[0]),
        (lambda query, key: (key > 38) & (query == 3), key_fields[1]),
    ]
    mask = pack(jnp.arange(3)[None] + 1, groups)
    dense = np.asarray(unpack(mask, 128, 128))[0]
    assert [np.flatnonzero(row).tolist() for row in dense[:3]] == [[0], [1], [2, 64 + 38, 64 + 39]]
    assert not dense[3:].any()


def test_a_group_that_ends_inside_a_tile_is_refused():
    predicate = lambda query, key: query == key
    with pytest.raises(ValueError, match="65 keys"):
        pack(jnp.ones((1, 3)), [(predicate, jnp.ones((1, 65))), (predicate, jnp.ones((1, 64)))])


@pytest.mark.parametrize("rule", MASK_RULES.values(), ids=MASK_RULES)
def test_building_the_masks_of_24576_tokens_holds_no_dense_mask(rule):
    length, max_spans = 24576, 24576 // 8
    shapes = (
        jax.ShapeDtypeStruct((2, length), jnp.float32 if name == "weights" else jnp.int32) for name in Batch._fields
    )

    def build(batch):
        data = masks.summaries(batch, rule, max_spans)
        return masks.summarize_mask(batch, data, rule), masks.update_mask(batch, data, rule)

    memory = jax.jit(build).lower(Batch(*shapes)).compile().memory_analysis()
    bits = 2 * (length + max_spans) ** 2 // 8
    assert memory.output_size_in_bytes < 1.1 * bits  # lists and all
    assert memory.temp_size_in_bytes < 1.1 * bits  # booleans would be eight times as many
