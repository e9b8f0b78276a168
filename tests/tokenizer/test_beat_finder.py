"""The parts of the beat finder, each against its definition: features, convolutions, the chain of beats, the least
squares, the measures.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizer.band import band
from tokenizer.grid import beats, downbeats, performance, pulse, refine
from tokenizer.grid.hearing import FEATURES, FPS, features, heard
from tokenizer.music.score import DRUMS


def test_the_learned_numbers_are_a_small_file_of_arrays():
    path = pulse.files(pulse.__package__).joinpath(pulse.WEIGHTS)
    assert path.stat().st_size <= 100_000
    with np.load(path, allow_pickle=False) as stored:
        assert stored["confidence"].shape == (performance.CLUES,)


def test_features_are_of_their_time_alone():
    notes = heard(band(8))
    whole = features(notes)
    assert whole.shape == (int(np.ceil(notes.begin[-1] * FPS)) + FPS, len(FEATURES))
    onsets = np.zeros(len(whole), bool)
    for near in (-1, 0, 1):
        onsets[np.clip(np.round(notes.begin * FPS).astype(int) + near, 0, len(whole) - 1)] = True
    without_ends = [name != "ends" for name in FEATURES]
    assert not whole[~onsets][:, without_ends].any()


def test_strokes_of_drums_are_heard_as_drums_and_tones_as_tones():
    n_drums = FEATURES.index("bass")
    alone = band(8)
    strokes, tones = (
        features(heard(replace(alone, tracks=tuple(t for t in alone.tracks if (t.program == DRUMS) == are_drums))))
        for are_drums in (True, False)
    )
    assert strokes[:, :n_drums].any() and not strokes[:, n_drums:].any()
    assert tones[:, n_drums:].any() and not tones[:, :n_drums].any()


def test_features_are_the_same_half_a_second_later_when_the_music_is():
    notes = heard(band(8))
    later = type(notes)(notes.begin + 0.5, notes.end + 0.5, *list(vars(notes).values())[2:])
    np.testing.assert_allclose(features(later)[FPS // 2 :], features(notes), atol=1e-5)


@pytest.mark.parametrize("apart", [1, 2, 8])
def test_a_convolution_sees_frames_that_far_apart_and_nothing_beyond_the_ends(apart):
    rng = np.random.default_rng(0)
    x, weight, bias = rng.normal(size=(20, 3)), rng.normal(size=(5 * 3, 2)), rng.normal(size=2)
    expected = np.tile(bias, (20, 1))
    for frame, tap in itertools.product(range(20), range(5)):
        seen = frame + (tap - 2) * apart
        if 0 <= seen < 20:
            expected[frame] += x[seen] @ weight[3 * tap : 3 * tap + 3]
    np.testing.assert_allclose(pulse._convolved(x, weight, bias, apart), expected, atol=1e-9)


def chains(n: int, lengths: np.ndarray):
    """All chains of beats on n moments, the first not later than the longest length, the last as late as that."""

    def longer(chain):
        yield chain
        for length in lengths.tolist():
            if chain[-1] + length < n:
                yield from longer([*chain, chain[-1] + length])

    longest = int(lengths[-1])
    firsts = [longer([first]) for first in range(longest)]
    return [chain for chain in itertools.chain(*firsts) if chain[-1] >= n - longest]


def worth(chain: list[int], odds: np.ndarray, lengths: np.ndarray) -> float:
    """Of the best length before the first beat, of those that could lie before the start."""
    gain, cost = beats._of_length(lengths), beats._cost_of_change(lengths)
    kind = {int(length): number for number, length in enumerate(lengths)}
    kinds = [kind[length] for length in np.diff(chain).tolist()]

    def change(before: int, after: int) -> float:
        return cost[before - after + beats.MOST_CHANGE, after]

    body = (
        sum(odds[chain])
        + sum(gain[number] for number in kinds)
        - sum(change(*pair) for pair in itertools.pairwise(kinds))
    )
    first = [
        gain[number] - (change(number, kinds[0]) if kinds else 0)
        for number, length in enumerate(lengths.tolist())
        if length > chain[0]
    ]
    return body + max(first)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_chain_of_beats_is_the_best_of_all(seed):
    odds = np.random.default_rng(seed).normal(0, 3, 26).astype(np.float32)
    lengths = np.arange(5, 9)
    found = beats._viterbi(odds, lengths).tolist()
    best = max(worth(chain, odds, lengths) for chain in chains(26, lengths))
    assert worth(found, odds, lengths) == pytest.approx(best, abs=1e-4)


def odds_of(seconds: np.ndarray, noise: float, seed: int = 0) -> np.ndarray:
    out = np.random.default_rng(seed).normal(-4, noise, int(seconds[-1] * FPS) + FPS)
    out[np.round(seconds * FPS).astype(int)] += 6
    return out.astype(np.float32)


def test_beats_are_found_through_a_change_of_tempo():
    lengths = 0.5 * (1 + 0.15 * np.sin(np.arange(120) / 12))
    true = 0.3 + np.cumsum(lengths)
    found = beats.chain(odds_of(true, noise=1.0))
    inside = found[(found > true[0] - 0.1) & (found < true[-1] + 0.1)]
    assert len(inside) == len(true)
    assert np.abs(inside - true).max() <= 0.021


def test_beats_move_to_where_the_onsets_say():
    rng = np.random.default_rng(1)
    true = np.cumsum(0.5 * (1 + 0.1 * np.sin(np.arange(100) / 15)))
    places = np.interp(np.arange(0, 99, 0.25), np.arange(100), true)
    onsets = places[rng.random(len(places)) < 0.6]
    onsets = np.sort(onsets + rng.normal(0, 0.008, len(onsets)))
    rough = true + rng.normal(0, 0.012, 100)
    found = refine.refined(rough, onsets)
    assert np.abs(found - true).mean() < np.abs(rough - true).mean() / 3


def test_beats_that_no_onset_is_near_stay_beats():
    rough = np.arange(0, 50, 0.5)
    found = refine.refined(rough, np.array([1.0, 1.1]))
    assert (np.diff(found) > 0.3).all() and len(found) == len(rough)


def lines(measures: list[int], rest: int = 0) -> np.ndarray:
    """Log odds of bar lines at the beats of these measures."""
    begins = np.cumsum([rest, *measures])
    out = np.full(begins[-1], -3.0)
    out[begins[:-1]] = 3.0
    return out


@pytest.mark.parametrize("meter", [2, 3, 4])
@pytest.mark.parametrize("rest", [0, 1])
def test_measures_begin_where_bar_lines_are_heard(meter, rest):
    found = downbeats.measures(lines([meter] * 12, rest))
    assert np.flatnonzero(found).tolist() == list(range(rest, rest + 12 * meter, meter))
    assert set(found[found > 0].tolist()) == {meter}


def test_a_bar_of_two_in_between_is_heard_where_much_follows():
    found = downbeats.measures(lines([4] * 8 + [2] + [4] * 8))
    assert found[found > 0].tolist() == [4] * 8 + [2] + [4] * 8


@pytest.mark.parametrize("beats_", [1, 2, 3])
def test_fewer_beats_than_a_measure_are_one(beats_):
    found = downbeats.measures(np.full(beats_, -3.0))
    assert (found > 0).sum() >= 1


def test_one_line_that_is_missed_moves_no_other():
    odds = lines([4] * 12)
    odds[20] = -3.0
    assert np.flatnonzero(downbeats.measures(odds)).tolist() == list(range(0, 48, 4))
