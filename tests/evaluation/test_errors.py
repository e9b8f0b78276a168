"""Errors without the grammar: each by the rule that it breaks."""

from collections import Counter

import pytest

from jax_impl.evaluation.errors import broken_rules, errors
from tests.rows import ids

MAX_BARS = 8
HEADER = "BOS BPM_19 TS_4/4"
FIRST = f"{HEADER} #D SEP Cmaj T0 P36 L1 V25 T8 P38"


@pytest.mark.parametrize(
    ("song", "rules"),
    [
        (f"{FIRST} EOS", {}),
        (f"{FIRST} T4 P40", {"positions rise within a bar": 1}),
        (f"{FIRST} P36", {"the pitches of a position rise": 1}),
        (f"{FIRST.replace('4/4', '3/4')} T12", {"the bar's meter has no such position": 1}),
        (f"{HEADER} #D SEP P36", {"this kind of token cannot stand here": 1}),
        (f"{HEADER} #D SEP Cmaj T0 P36 T4", {"the first note of a track says its duration": 1}),
        (f"{FIRST} #P0 SEP Amin", {"a bar has one chord, that of the first track": 1}),
        (f"{FIRST} #P0 SEP Cmaj T0 P60 L1 V20 Cmaj", {"no track is longer than the first": 1}),
        (f"{FIRST} #P0 SEP Cmaj EOS", {"a track has a note": 1}),
        (f"{FIRST} P36 T4 P37 T4", {"the pitches of a position rise": 1, "positions rise within a bar": 2}),
    ],
)
def test_an_error_is_told_by_the_rule_that_it_breaks(song, rules):
    assert broken_rules([ids(song)], MAX_BARS) == [Counter(rules)]


def test_that_tracks_come_in_another_order_is_no_error_of_a_model_that_has_seen_others():
    song = ids(f"{HEADER} #P0 SEP Cmaj T0 P60 L1 V25 #D SEP Cmaj T0 P36 L1 V25 EOS")
    assert broken_rules([song], MAX_BARS) == [Counter({"tracks come in HID order": 1})]
    assert broken_rules([song], MAX_BARS, any_order=True) == [Counter()]


def test_a_song_is_read_to_its_own_end_beside_a_longer_one():
    short, long = ids(f"{FIRST} EOS"), ids(f"{FIRST} T4 P40 P39 T12 P40 EOS")
    told = errors([short, long], MAX_BARS)
    assert told["by_rule"] == {
        "positions rise within a bar": {"errors": 1, "per_1000_tokens": 1000 / (len(short) + len(long) - 2)},
        "the pitches of a position rise": {"errors": 1, "per_1000_tokens": 1000 / (len(short) + len(long) - 2)},
    }
    assert told["songs_without"] == 1 and told["songs"] == 2


def test_of_no_song_there_is_no_error():
    assert errors([], MAX_BARS)["errors"] == 0
