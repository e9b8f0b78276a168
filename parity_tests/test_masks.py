"""Loops, JAX predicate, packed bits, PyTorch mask_mods and BlockMasks say the same, clause by clause."""

import itertools
from dataclasses import replace

import jax
import numpy as np
import pytest
from rows import batch_of, random_song
from torch.nn.attention.flex_attention import create_mask

from configs import MASK_RULES, MaskRule
from jax_impl import masks as jax_masks
from jax_impl.attention import unpack
from jax_impl.batch import Batch
from parity_tests import oracle
from torch_ref import masks as torch_masks
from torch_ref.rows import Rows, Summaries

SLOTS = 64
RULES = {
    **MASK_RULES,
    "span typed": MaskRule(scope="span", typed=True),
    "bar untyped": MaskRule(scope="bar", typed=False),
    "no far": MaskRule(scope="span", typed=False, far_offsets=()),
    "no near": MaskRule(scope="span", typed=False, near_bars=-1),
    "two far": MaskRule(scope="span", typed=True, near_bars=0, far_offsets=(2, 3)),
}


def of_jax(batch: Batch, rule: MaskRule) -> tuple[np.ndarray, np.ndarray]:
    data = jax_masks.summaries(batch, rule, SLOTS)
    keys = SLOTS + batch.tokens.shape[1]
    return tuple(np.asarray(unpack(build(batch, data, rule).words, keys)) for build in (jax_masks.summarize_mask, jax_masks.update_mask))


def of_torch(batch: Batch, rule: MaskRule) -> tuple[np.ndarray, np.ndarray]:
    rows = Rows.of(batch._asdict())
    summaries = Summaries.of(rows, rule, SLOTS)
    size, length = batch.tokens.shape
    mods = torch_masks.summarize_mod(rows, summaries), torch_masks.update_mod(rows, summaries, rule)
    return tuple(
        torch_masks.dense(mod, size, queries, SLOTS + length)[:, 0].numpy() for mod, queries in zip(mods, (SLOTS, length), strict=True)
    )


def of_oracle(batch: Batch, rule: MaskRule) -> tuple[np.ndarray, np.ndarray]:
    rows = [{name: field[b].tolist() for name, field in batch._asdict().items()} for b in range(len(batch.tokens))]
    each = [oracle.masks(row, rule, SLOTS) for row in rows]
    return tuple(np.stack(part) for part in zip(*each, strict=True))


@pytest.fixture(scope="module")
def packed() -> Batch:
    """Rows of one, two and three songs, with padding, and one that is empty."""
    songs = [random_song(seed, bars=7 if seed == 0 else 3, programs=(128, 33, 0)) for seed in range(4)]
    return batch_of([[songs[0]], [songs[1], songs[2]], [songs[3], songs[2], songs[1]], [songs[1]]], 340)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_all_three_agree_on_packed_and_padded_rows(packed, rule):
    wanted = of_oracle(packed, rule)
    for name, got in (("jax", of_jax(packed, rule)), ("torch", of_torch(packed, rule))):
        for call, mask, expected in zip(("summarize", "update"), got, wanted, strict=True):
            assert mask.any()
            different = np.argwhere(mask != expected)
            assert not len(different), f"{name} {call}: row, query, key {different[0].tolist()} and {len(different) - 1} more"


@pytest.mark.parametrize("typed", [False, True])
def test_token_to_token_over_every_combination_of_fields(typed):
    """Every pair of (bar, instrument, kind, onset) from a small grid, in one row that holds each combination once."""
    rule = replace(MASK_RULES["span"], typed=typed)
    grid = list(itertools.product((-1, 0, 1, 2, 3, 4, 6), (0, 128, 129), (-1, 0, 1, 2, 3), (-1, 1, 2)))
    fields = np.array(grid, np.int32).T
    length = len(grid)
    zeros, ones = np.zeros(length, np.int32), np.ones(length, np.int32)
    for order in (np.arange(length), np.arange(length)[::-1]):
        bar, instrument, kind, onset = (field[order] for field in fields)
        position = np.arange(length, dtype=np.int32)
        row = Batch(zeros, bar, instrument, kind, onset, zeros - 1, ones, position, zeros, zeros.astype(np.float32))
        batch = Batch(*(field[None] for field in row))
        lists = {name: field.tolist() for name, field in row._asdict().items()}
        expected = np.array([[oracle.sees(lists, q, k, rule) for k in range(length)] for q in range(length)])
        assert np.array_equal(of_jax(batch, rule)[1][0, :, SLOTS:], expected)
        assert np.array_equal(of_torch(batch, rule)[1][0, :, SLOTS:], expected)


@pytest.mark.parametrize("rule", MASK_RULES.values(), ids=MASK_RULES)
def test_flexattentions_own_evaluation_and_blocks_are_the_dense_mask(packed, rule):
    rows = Rows.of(packed._asdict())
    summaries = Summaries.of(rows, rule, SLOTS)
    size, length = packed.tokens.shape
    for mod, queries, dense in zip(
        (torch_masks.summarize_mod(rows, summaries), torch_masks.update_mod(rows, summaries, rule)),
        (SLOTS, length),
        of_jax(packed, rule),
        strict=True,
    ):
        keys = SLOTS + length
        evaluated = create_mask(mod, size, None, queries, keys, device="cpu")[:, 0]
        assert np.array_equal(evaluated.numpy(), dense)
        blocks = torch_masks.blocks(mod, size, queries, keys).to_dense()[:, 0].bool().numpy()
        padded = np.pad(dense, ((0, 0), (0, -queries % 128), (0, -keys % 128)))
        any_visible = padded.reshape(size, -(-queries // 128), 128, -(-keys // 128), 128).any(axis=(2, 4))
        assert np.array_equal(blocks, any_visible)


def test_on_real_fields_both_frameworks_agree_at_length():
    """Longer rows than the loops can take."""
    songs = [random_song(seed, bars=12, programs=(128, 33, 0, 0, 73)) for seed in range(6)]
    length = max(len(song) for song in songs) + 50
    batch = batch_of([[song] for song in songs], length)
    for rule in MASK_RULES.values():
        if batch.span.max() >= SLOTS and rule.scope == "span":
            continue
        for ours, theirs in zip(of_jax(batch, rule), of_torch(batch, rule), strict=True):
            assert np.array_equal(ours, theirs)


MUTATIONS = {
    "same_document": ("_same_document", lambda q, k: (q.document > 0) & (k.document > 0)),
    "ss is strict": ("ss", lambda q, k: jax_masks._same_document(q, k) & (k.index < q.index)),
    "sr pools the next": ("sr", lambda q, k: jax_masks._same_document(q, k) & (k.pooled_by == q.index + 1)),
    "rs sees one more": ("rs", lambda q, k: jax_masks._same_document(q, k) & (k.index <= q.visible)),
    "typed table": ("typed", lambda q, k: q.kind == k.kind),
    "near is wider": ("reachable", lambda q, k, rule: REACHABLE(q, k, replace(rule, near_bars=3))),
    "far is elsewhere": ("reachable", lambda q, k, rule: REACHABLE(q, k, replace(rule, far_offsets=(5,)))),
}
REACHABLE = jax_masks.reachable


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_changed_clause_is_found(packed, monkeypatch, mutation):
    rule = replace(MASK_RULES["span"], typed=True)
    name, fault = MUTATIONS[mutation]
    monkeypatch.setattr(jax_masks, name, fault)
    jax.clear_caches()
    changed, expected = of_jax(packed, rule), of_torch(packed, rule)
    assert any(not np.array_equal(a, b) for a, b in zip(changed, expected, strict=True))
