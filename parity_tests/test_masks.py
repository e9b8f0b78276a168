"""Loops, JAX predicate, packed bits, PyTorch mask_mods and BlockMasks say the same, clause by clause."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from torch.nn.attention.flex_attention import create_mask

from configs import MASK_RULES, MaskRule
from jax_impl.attention import unpack
from jax_impl.batch import Batch, pack_row, stack_rows
from jax_impl.model import masks as jax_masks
from parity_tests import oracle
from tests.rows import batch_of, long_measures, random_song, short_hidden_song
from tokenizer.grid.meter import Bars
from tokenizer.tokens.encode import bar_maps
from tokenizer.tokens.fields import NO_INSTRUMENT, OUTSIDE, TokenFields
from tokenizer.vocabulary import CLASS, V121_SIZE, Class
from torch_ref import masks as torch_masks
from torch_ref.rows import Rows, Summaries

SLOTS = 64
RULES = {
    **MASK_RULES,
    "span typed": MaskRule(scope="span", typed=True),
    "bar untyped": MaskRule(scope="bar", typed=False),
    "no far": MaskRule(scope="span", typed=False, far_offsets=()),
    "same bar alone": MaskRule(scope="span", typed=False, near_bars=0, far_offsets=()),
    "two far": MaskRule(scope="span", typed=True, near_bars=0, far_offsets=(2, 3)),
}


def of_jax(batch: Batch, rule: MaskRule) -> tuple[np.ndarray, np.ndarray]:
    data = jax_masks.summaries(batch, rule, SLOTS)
    tokens = batch.tokens.shape[1]
    both = (jax_masks.summarize_mask, SLOTS), (jax_masks.update_mask, tokens)
    return tuple(np.asarray(unpack(build(batch, data, rule), queries, SLOTS + tokens)) for build, queries in both)


def of_torch(batch: Batch, rule: MaskRule) -> tuple[np.ndarray, np.ndarray]:
    rows = Rows.of(batch._asdict())
    summaries = Summaries.of(rows, rule, SLOTS)
    size, length = batch.tokens.shape
    mods = torch_masks.summarize_mod(rows, summaries), torch_masks.update_mod(rows, summaries, rule)
    return tuple(
        torch_masks.dense(mod, size, queries, SLOTS + length)[:, 0].numpy()
        for mod, queries in zip(mods, (SLOTS, length), strict=True)
    )


def of_oracle(batch: Batch, rule: MaskRule) -> tuple[np.ndarray, np.ndarray]:
    rows = [{name: field[b].tolist() for name, field in batch._asdict().items()} for b in range(len(batch.tokens))]
    each = [oracle.masks(row, rule, SLOTS) for row in rows]
    return tuple(np.stack(part) for part in zip(*each, strict=True))


def assert_same(got: tuple[np.ndarray, np.ndarray], wanted: tuple[np.ndarray, np.ndarray], name: str) -> None:
    for call, mask, expected in zip(("summarize", "update"), got, wanted, strict=True):
        different = np.argwhere(mask != expected)
        assert not len(different), (
            f"{name} {call}: row, query, key {different[0].tolist()} and {len(different) - 1} more"
        )


@pytest.fixture(scope="module")
def packed() -> Batch:
    """Rows of one, two and three songs, all with padding, and an empty one."""
    songs = [random_song(seed, bars=7 if seed == 0 else 3, programs=(128, 33, 0)) for seed in range(4)]
    return batch_of([[songs[0]], [songs[1], songs[2]], [songs[3], songs[2], songs[1]], []], 340)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_all_three_agree_on_packed_and_padded_rows(packed, rule):
    wanted = of_oracle(packed, rule)
    assert wanted[0].any() and wanted[1].any()
    assert_same(of_jax(packed, rule), wanted, "jax")
    assert_same(of_torch(packed, rule), wanted, "torch")


def layouts(length: int) -> Iterator[list[TokenFields]]:
    """The songs of every row of `length` tokens, padding included, each token of which opens a song, a bar of a track,
    the next bar of it, or continues a bar, or stands outside bars: as a grammar would write them, and stranger.
    """
    for steps in itertools.product(("song", "track", "bar", "inside", "outside"), repeat=length - 1):
        songs: list[list[tuple[int, int, int]]] = []
        bar = span = OUTSIDE
        inside = False
        for step in ("song", *steps):
            if step == "song":
                songs.append([])
                bar = span = OUTSIDE
            if step in ("track", "bar"):
                bar, span = (0 if step == "track" else bar + 1), span + 1
            if step == "inside" and not inside:
                break  # nothing to continue
            inside = step in ("track", "bar", "inside")
            songs[-1].append((bar, 1, span) if inside else (OUTSIDE, NO_INSTRUMENT, OUTSIDE))
        else:
            yield [as_fields(song) for song in songs]


def as_fields(tokens: list[tuple[int, int, int]]) -> TokenFields:
    bar, instrument, span = np.array(tokens, np.int32).T
    return TokenFields(
        np.zeros_like(bar), bar, instrument, np.full_like(bar, OUTSIDE), np.full_like(bar, OUTSIDE), span
    )


@pytest.mark.parametrize("rule", MASK_RULES.values(), ids=MASK_RULES)
def test_summaries_over_every_layout_of_songs_and_bars_in_short_rows(rule):
    rows = [pack_row(songs, 7) for length in range(1, 7) for songs in layouts(length)]
    batch = stack_rows(rows)
    assert len(rows) > 1500
    wanted = of_oracle(batch, rule)
    assert_same(of_jax(batch, rule), wanted, "jax")
    assert_same(of_torch(batch, rule), wanted, "torch")


GRID = tuple(itertools.product((-1, 0, 1, 2, 3, 4, 6), (0, 128, 129), (-1, 0, 1, 2, 3), (-1, 1, 2)))


def grid_row(grid: tuple) -> Batch:
    """A row with one token for every combination of (bar, instrument, kind, onset)."""
    bar, instrument, kind, onset = np.array(grid, np.int32).T
    position = np.arange(len(grid), dtype=np.int32)
    said = dict(bar=bar, instrument=instrument, kind=kind, onset=onset, position=position)
    said |= dict(span=np.full_like(bar, OUTSIDE), document=np.ones_like(bar))
    return Batch(**{name: said.get(name, np.zeros_like(bar)) for name in Batch._fields})


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize("grid", [GRID, GRID[::-1]], ids=["forward", "backward"])
def test_token_to_token_over_every_combination_of_fields(typed, grid):
    """Causal order hides half of the pairs; the row backwards has the others."""
    rule = replace(MASK_RULES["span"], typed=typed)
    row = grid_row(grid)
    lists = {name: field.tolist() for name, field in row._asdict().items()}
    expected = np.array([[oracle.sees(lists, q, k, rule) for k in range(len(grid))] for q in range(len(grid))])
    batch = stack_rows([row])
    assert np.array_equal(of_jax(batch, rule)[1][0, :, SLOTS:], expected)
    assert np.array_equal(of_torch(batch, rule)[1][0, :, SLOTS:], expected)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
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
        blocks = torch_masks.blocks(mod, size, queries, keys)
        padded = np.pad(dense, ((0, 0), (0, -queries % 128), (0, -keys % 128)))
        visible = padded.reshape(size, -(-queries // 128), 128, -(-keys // 128), 128).sum(axis=(2, 4))
        assert np.array_equal(blocks.to_dense()[:, 0].bool().numpy(), visible > 0)
        assert np.array_equal(blocks.full_kv_num_blocks[:, 0].numpy(), (visible == 128 * 128).sum(axis=2))


@pytest.mark.parametrize("rule", MASK_RULES.values(), ids=MASK_RULES)
def test_all_three_agree_on_real_songs(rule, songs):
    rows = [[songs[0]], [songs[1], songs[2]]]
    batch = batch_of(rows, max(sum(map(len, row)) for row in rows) + 3)
    wanted = of_oracle(batch, rule)
    assert_same(of_jax(batch, rule), wanted, "jax")
    assert_same(of_torch(batch, rule), wanted, "torch")


@pytest.mark.parametrize("rule", MASK_RULES.values(), ids=MASK_RULES)
def test_all_three_agree_on_measures_of_two_bars_times_between_sixteenths_and_hidden_bars(rule):
    song = long_measures()
    bars = Bars(bar_maps(song)[0])
    assert (
        bars.part.any()
        and bars.n_measures == 5
        and set(CLASS[song.ids[song.ids >= V121_SIZE]])
        >= {
            Class.POSITION,
            Class.DURATION,
        }
    )
    batch = batch_of([[song], [short_hidden_song()]], len(song) + 3)
    wanted = of_oracle(batch, rule)
    assert_same(of_jax(batch, rule), wanted, "jax")
    assert_same(of_torch(batch, rule), wanted, "torch")


# ---------------------------------------------------------------- one clause changed at a time

SS, SR, RS, RR = jax_masks.ss, jax_masks.sr, jax_masks.rs, jax_masks.rr
REACHABLE, TYPED, SUMMARIES = jax_masks.reachable, jax_masks.typed, jax_masks.summaries


def other(q, k):
    return q.instrument != k.instrument


def same_onset(q, k):
    return (q.onset == k.onset) & (q.onset >= 0)


def moved(name: str, by: int):
    """The same data of summaries, one array of it larger by so much."""

    def faulty(*arguments):
        data = SUMMARIES(*arguments)
        return data._replace(**{name: getattr(data, name) + by})

    return faulty


MUTATIONS = {
    "documents see each other": ("_same_document", lambda q, k: (q.document > 0) & (k.document > 0)),
    "padding sees padding": ("_same_document", lambda q, k: q.document == k.document),
    "ss without itself": ("ss", lambda q, k: SS(q, k) & (k.index != q.index)),
    "ss not causal": ("ss", lambda q, k: jax_masks._same_document(q, k)),
    "sr of the next": ("sr", lambda q, k: SR(q, k._replace(pooled_by=k.pooled_by - 1))),
    "rs one more": ("rs", lambda q, k: RS(q._replace(visible=q.visible + 1), k)),
    "rs one fewer": ("rs", lambda q, k: RS(q._replace(visible=q.visible - 1), k)),
    "rr without itself": ("rr", lambda q, k, rule: RR(q, k, rule) & (q.index != k.index)),
    "rr one ahead": ("rr", lambda q, k, rule: RR(q._replace(index=q.index + 1), k, rule)),
    "no global key": ("reachable", lambda q, k, rule: REACHABLE(q, k, rule) & (k.bar != -1) & (k.instrument != 129)),
    "global by bar alone": (
        "reachable",
        lambda q, k, rule: REACHABLE(q, k, rule) & ((k.bar == -1) | (k.instrument != 129)),
    ),
    "global by instrument alone": (
        "reachable",
        lambda q, k, rule: REACHABLE(q, k._replace(bar=k.bar + 100 * (k.bar == -1)), rule),
    ),
    "own instrument unseen": ("reachable", lambda q, k, rule: REACHABLE(q, k, rule) & (other(q, k) | (k.bar == -1))),
    "others unseen": (
        "reachable",
        lambda q, k, rule: REACHABLE(q, k, rule) & (~other(q, k) | (k.bar == -1) | (k.instrument == 129)),
    ),
    "129 is an instrument": ("reachable", lambda q, k, rule: REACHABLE(q, k, rule) | (q.instrument == 129)),
    "near one wider": ("reachable", lambda q, k, rule: REACHABLE(q, k, replace(rule, near_bars=3))),
    "near one narrower": ("reachable", lambda q, k, rule: REACHABLE(q, k, replace(rule, near_bars=1))),
    "near without its own bar": (
        "reachable",
        lambda q, k, rule: REACHABLE(q, k, rule) & ~((q.bar == k.bar) & other(q, k)),
    ),
    "near one ahead": (
        "reachable",
        lambda q, k, rule: REACHABLE(q, k, rule) | (q.bar - k.bar == -1) & (q.instrument < 129),
    ),
    "far one later": ("reachable", lambda q, k, rule: REACHABLE(q, k, replace(rule, far_offsets=(5,)))),
    "no far": ("reachable", lambda q, k, rule: REACHABLE(q, k, replace(rule, far_offsets=()))),
    "typed without same onset": (
        "typed",
        lambda q, k: TYPED(q, k) & ((q.kind < 2) & (k.kind < 2) | (q.kind == -1) | (k.kind == -1)),
    ),
    "typed with onsets outside": (
        "typed",
        lambda q, k: TYPED(q, k) & ((q.onset != -1) & (k.onset != -1) | (q.kind == -1)),
    ),
    "notes see velocities": ("typed", lambda q, k: TYPED(q, k) | (q.kind <= 1) & (k.kind == 3)),
    "velocities see notes": ("typed", lambda q, k: TYPED(q, k) | (q.kind == 3) & (k.kind <= 1)),
    "lengths see lengths": ("typed", lambda q, k: TYPED(q, k) | (q.kind == 2) & (k.kind == 2)),
    "velocities see none": ("typed", lambda q, k: TYPED(q, k) & ~((q.kind == 3) & (k.kind == 3) & ~same_onset(q, k))),
    "pitches see no positions": (
        "typed",
        lambda q, k: TYPED(q, k) & ~((q.kind == 1) & (k.kind == 0) & ~same_onset(q, k)),
    ),
    "pools are one off": ("summaries", moved("pooled_by", 1)),
    "visible is one off": ("summaries", moved("visible", 1)),
    "documents of summaries are one off": ("summaries", moved("document", 1)),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_changed_clause_is_found(packed, monkeypatch, mutation):
    name, fault = MUTATIONS[mutation]
    monkeypatch.setattr(jax_masks, name, fault)
    for batch in (packed, stack_rows([grid_row(GRID)])):
        for rule in (replace(MASK_RULES["span"], typed=True), MASK_RULES["v121"]):
            if any(not np.array_equal(a, b) for a, b in zip(of_jax(batch, rule), of_torch(batch, rule), strict=True)):
                return
    pytest.fail(f"{mutation} makes no difference")
