"""The attention rule, drawn: what each phase sees, for both scopes, in packed and padded rows."""

import jax
import numpy as np
import pytest

from configs import MASK_RULES, MaskRule
from jax_impl.attention import unpack
from jax_impl.model import masks
from tests.rows import batch_of, ids, random_song
from tokenizer.tokens import fields

SPAN, V121 = MASK_RULES["span"], MASK_RULES["v121"]
TWO_TRACKS = "BOS BPM_19 TS_4/4 #D SEP Cmaj T0 P36 Gmaj T0 P0 #P0 SEP Cmaj T0 P60 EOS"


def song(names: str):
    return fields.compute(ids(names))


def dense(batch, rule: MaskRule, max_spans: int = 64):
    """The two masks as bool [B, M, M + T], [B, T, M + T], and the data they came from."""

    @jax.jit
    def build(batch):
        data = masks.summaries(batch, rule, max_spans)
        slots, tokens = data.document.shape[1], batch.tokens.shape[1]
        both = (masks.summarize_mask(batch, data, rule), slots), (masks.update_mask(batch, data, rule), tokens)
        return *(unpack(mask, queries, slots + tokens) for mask, queries in both), data

    return jax.tree.map(np.asarray, build(batch))


def test_span_summaries_are_as_drawn():
    _, _, data = dense(batch_of([[song(TWO_TRACKS)]], 18), SPAN)
    assert data.pooled_by[0].tolist() == [-1] * 5 + [0] * 3 + [1] * 3 + [-1, -1] + [2] * 3 + [-1, -1]
    assert data.visible[0, :17].tolist() == [0] * 5 + [0] * 3 + [1] * 3 + [2, 2] + [2] * 3 + [3]
    # Of summaries three are used; token 17 is padding.
    assert data.document[0, :4].tolist() == [1, 1, 1, 0]
    assert data.bar[0, :3].tolist() == [0, 1, 0]
    assert data.instrument[0, :3].tolist() == [128, 128, 0]
    assert data.position[0, :3].tolist() == data.key_position[0, :3].tolist() == [7, 10, 15]
    assert data.token_position[0, :17].tolist() == list(range(17))


def test_bar_summaries_are_those_of_v121():
    _, _, data = dense(batch_of([[song(TWO_TRACKS)]], 18), V121)
    assert data.pooled_by[0].tolist() == [0] * 5 + [0] * 3 + [1] * 3 + [0, 0] + [0] * 3 + [0, -1]
    assert data.visible[0, :17].tolist() == data.pooled_by[0, :17].tolist()
    assert data.document[0, :3].tolist() == [1, 1, 0]
    assert data.position[0, :2].tolist() == data.bar[0, :2].tolist() == [0, 1]
    assert not data.key_position.any()
    assert (data.instrument == masks.NO_TABLE_ROW).all()
    assert data.token_position[0, :17].tolist() == [2 + i for i in range(17)]


def test_the_phases_are_as_drawn_under_the_span_rule():
    """Rows of the picture are queries; # is seen. S: 3 spans; R: BOS #D SEP C T0 P36 | #P0 SEP C T0 P60."""
    summarize, update, _ = dense(batch_of([[song("BOS #D SEP Cmaj T0 P36 Gmaj #P0 SEP Cmaj T0 EOS")]], 12), SPAN)
    picture = lambda mask, keys: ["".join(".#"[int(x)] for x in row) for row in mask[:, keys]]
    slots, tokens = slice(0, 3), slice(64, 76)
    assert picture(summarize[0, :4], slots) == ["#..", "##.", "###", "..."]
    assert picture(summarize[0, :4], tokens) == ["...###......", "......#.....", ".........##.", "............"]
    assert picture(update[0], slots) == ["..."] * 3 + ["..."] * 3 + ["#.."] + ["##."] * 2 + ["##."] * 2 + ["###"]
    assert picture(update[0], tokens) == [
        "#...........",  # BOS
        "##..........",  # #D
        "###.........",  # SEP
        "####........",  # Cmaj: its own track and every structure token
        "#####.......",
        "######......",
        "#######.....",
        "###....#....",  # #P0, outside bars: bar_q = -1 is before every bar of the drums
        "###....##...",
        "######.###..",  # Cmaj of bar 0: bar 0 of the drums is near, their bar 1 is not yet played
        "######.####.",
        "###....##..#",  # EOS plays no instrument
    ]


@pytest.mark.parametrize("bars_back", range(7))
def test_another_instrument_is_seen_in_near_bars_and_at_the_far_offset(bars_back):
    drums = " ".join(["Cmaj T0 P36"] * 7)
    piano = " ".join(["Cmaj"] * 6 + ["Gmaj"])
    row = batch_of([[song(f"BOS #D SEP {drums} #P0 SEP {piano} EOS")]], 40)
    _, update, _ = dense(row, SPAN)
    query = 3 + 21 + 2 + 6  # the piano's chord of bar 6
    key = 64 + 3 + 3 * (6 - bars_back)
    assert row.bar[0, query] - row.bar[0, key - 64] == bars_back
    assert bool(update[0, query, key]) == (bars_back in (0, 1, 2, 4))


def test_the_typed_rule_hides_durations_and_velocities_of_other_onsets():
    row = batch_of([[song("BOS #D SEP Cmaj T0 P36 L2 V3 T4 P38 L1 V9 EOS")]], 13)
    _, update, _ = dense(row, V121)
    seen = {
        name: "".join(".#"[int(x)] for x in update[0, query, 64:])
        for query, name in ((9, "P38"), (10, "L1"), (11, "V9"))
    }
    assert seen["P38"] == "######..##..."
    assert seen["L1"] == "####....###.."
    assert seen["V9"] == "####...#####."


@pytest.mark.parametrize("rule", MASK_RULES.values(), ids=MASK_RULES)
def test_songs_packed_in_a_row_see_only_themselves(rule):
    first, second = random_song(1), random_song(2)
    length = len(first) + len(second) + 13
    summarize, update, data = dense(batch_of([[first, second]], length), rule)
    document = np.concatenate([data.document[0], np.r_[np.ones(len(first)), 2 * np.ones(len(second)), np.zeros(13)]])
    for mask, queries in ((summarize[0], data.document[0]), (update[0], document[data.document.shape[1] :])):
        different = np.asarray(queries)[:, None] != document[None]
        assert not (mask & different).any()
        assert not mask[np.asarray(queries) == 0].any() and not mask[:, document == 0].any()
        assert mask.any()


@pytest.mark.parametrize("rule", MASK_RULES.values(), ids=MASK_RULES)
def test_a_songs_masks_are_the_same_wherever_it_is_packed(rule):
    alone, stranger = random_song(3), random_song(4)
    summarize, update, data = dense(batch_of([[alone]], len(alone)), rule)
    packed = dense(batch_of([[stranger, alone]], len(stranger) + len(alone) + 5), rule)
    used = int((data.document[0] > 0).sum())
    slot = int((packed[2].document[0] == 1).sum())
    keys = np.r_[0:used, 64 : 64 + len(alone)]
    packed_keys = np.r_[slot : slot + used, 64 + len(stranger) : 64 + len(stranger) + len(alone)]
    assert np.array_equal(summarize[0, :used][:, keys], packed[0][0, slot : slot + used][:, packed_keys])
    assert np.array_equal(update[0][:, keys], packed[1][0, len(stranger) : len(stranger) + len(alone)][:, packed_keys])


# ---------------------------------------------------------------- room for summaries


@pytest.mark.parametrize("name", ["span", "v121"])
def test_too_little_room_for_summaries_is_an_error_and_none_takes_what_is_needed(name):
    rule = MASK_RULES[name]
    batch = batch_of([[random_song(seed, bars=20) for seed in range(6)]], 4096)
    needed = masks.most_summaries(batch, rule)
    assert needed > 64
    chosen, given = masks.summaries(batch, rule, None), masks.summaries(batch, rule, needed)
    assert all(bool((a == b).all()) for a, b in zip(chosen, given, strict=True))
    assert int((chosen.document > 0).sum()) == needed
    with pytest.raises(ValueError, match=f"a row needs {needed} summaries, more than max_spans 64"):
        masks.summaries(batch, rule, 64)
    with pytest.raises(ValueError, match="in a compiled program max_spans must be given"):
        jax.jit(lambda batch: masks.summaries(batch, rule, None))(batch)
