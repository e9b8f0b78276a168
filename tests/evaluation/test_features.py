"""Features of a song by hand, and two sets of songs side by side."""

import json

import numpy as np
import pytest

from jax_impl.evaluation.comparison import _feature, compare, cut
from jax_impl.evaluation.features import FEATURES, song_features
from tests.evaluation.songs import BAR, SCALE, line
from tests.rows import ids, long_measures, random_song
from tests.scores import score_of
from tokenizer.music.composer import compose
from tokenizer.music.score import DRUMS
from tokenizer.tokens import fields
from tokenizer.tokens.encode import encode

EMPTY = fields.compute(ids("BOS BPM_19 TS_4/4 EOS"))
COMPOSED = [encode(compose(seed)) for seed in range(20)]


def song(*tracks, **more):
    return encode(score_of(*((program, [(*row, 80) for row in rows]) for program, rows in tracks), **more))


def test_what_is_counted_of_a_song_is_what_it_has():
    found = song_features(
        song(
            (0, line(SCALE, 480, 240)),
            (0, [(0, 960, 48)]),
            (DRUMS, line([36] * 4, 960, 120)),
            signatures=((0, 4, 4), (BAR, 3, 4)),
            tempos=((0, 80), (BAR, 160)),
        )
    )
    assert found["bars"] == 2 and found["instruments"] == 2 and found["notes_per_bar"] == 12 / 2
    assert found["drum_share"] == pytest.approx(4 / 12) and found["note_length"] == pytest.approx((7 * 2 + 8) / 8)
    assert found["meters"] == found["tempi"] == 2 and found["common_time"] == 1 / 2
    slow, fast = 80, 160
    assert found["tempo"] == pytest.approx((4 * slow + 3 * fast) / 7, rel=0.03), "in the tokens' tempi"
    assert found["pitch_class_entropy"] == pytest.approx(-(2 / 8 * np.log2(2 / 8) + 6 * (1 / 8) * np.log2(1 / 8)))
    assert found["scale_consistency"] == 1 and found["out_of_key"] == 0 and found["chords_heard"] == 1


def test_every_feature_is_explained_and_a_real_song_has_them_all():
    assert set(FEATURES) == set(song_features(COMPOSED[0]))
    assert all(len(text) < 100 for text in FEATURES.values())


def test_what_is_not_defined_is_absent_and_nothing_is_nan():
    odd = [EMPTY, song((DRUMS, line([36] * 9))), song((0, [(0, 120, 60)])), long_measures(), random_song(5)]
    found = [song_features(tokens) for tokens in odd]
    assert all(np.isfinite(value) and isinstance(value, float) for song in found for value in song.values())
    assert set(found[0]) == {"bars", "instruments", "notes_per_bar", "tempo", "tempi", "meters", "common_time"}
    assert "pitch_range" not in found[1] and "drum_pattern_consistency" in found[1]
    assert "groove_consistency" not in found[2] and found[2]["polyphony"] == 1
    assert found[3]["bars"] == 5 and found[3]["meters"] == 2


def test_songs_are_compared_in_windows_of_as_many_measures_as_samples_have():
    long = song((0, line([60] * 160)))  # 40 measures
    shown = [cut(long, 6, np.random.default_rng(seed)) for seed in range(4)]
    assert {window.bars.n_measures for window, _ in shown} == {6}
    assert all(len(chords) == 6 for _, chords in shown)
    assert cut(long, 40, np.random.default_rng(0))[0].bars.n_measures == 40
    fives = cut(long_measures(), 2, np.random.default_rng(0))[0].bars
    assert fives.n_measures == 2 and len(fives) == 4, "measures are not cut"
    assert compare([song((0, line([60] * 4 * bars))) for bars in (2, 4, 9)], [long])["bars"] == 4


def test_songs_of_one_kind_are_alike_and_noise_is_not():
    like = compare(COMPOSED[:8], COMPOSED[8:])
    noise = compare([random_song(seed, bars=16) for seed in range(8)], COMPOSED[8:])
    names = ("pitch_class_entropy", "scale_consistency", "out_of_key", "chords_heard")
    for name in names:
        assert not like["features"][name]["outside"], name
        assert noise["features"][name]["outside"], name
        assert noise["features"][name]["overlap"] < like["features"][name]["overlap"], name
    assert noise["similarity"]["error"] > 2 * max(like["similarity"]["error"], like["similarity"]["floor"])
    assert like["songs"] == {"samples": 8, "real": 12} and list(like["features"]) == list(FEATURES)
    mean = noise["features"]["out_of_key"]["samples"]
    assert mean["songs"] == 8 and mean["low"] < mean["mean"] < mean["high"]


def test_samples_differ_by_their_mean_or_by_their_scatter():
    random = np.random.default_rng(0)
    real = random.normal(0, 1, 60)
    alike, moved, narrow = random.normal(0, 1, 40), random.normal(0, 1, 40) + 0.9, np.full(40, real.mean())
    assert [_feature(samples, real, seed=0)["outside"] for samples in (alike, moved, narrow)] == [False, True, True]


def test_a_feature_that_only_real_songs_have_is_outside():
    found = compare([EMPTY, EMPTY], COMPOSED[:6], bars=8)["features"]["pitch_range"]
    assert found["samples"] == {"songs": 0, "mean": None, "low": None, "high": None}
    assert found["outside"] and found["overlap"] is None and found["real"]["mean"] > 0


def test_the_same_seed_gives_the_same_numbers_which_json_can_say():
    one, again, other = (compare(COMPOSED[:2], COMPOSED[2:6], seed, bars=4) for seed in (1, 1, 2))
    assert json.loads(json.dumps(one, allow_nan=False)) == one == again != other


@pytest.mark.parametrize(("samples", "real"), [([], COMPOSED[:5]), (COMPOSED[:1], []), ([EMPTY], [EMPTY]), ([], [])])
def test_few_or_no_songs_give_what_is_there(samples, real):
    found = compare(samples, real)
    json.dumps(found, allow_nan=False)
    assert found["songs"] == {"samples": len(samples), "real": len(real)}
    assert found["similarity"]["error"] is None and found["similarity"]["distances"] == []
