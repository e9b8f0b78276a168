"""Songs as if nobody had set a tempo: what is known of their beats stays true."""

import numpy as np
import pytest

from tests.tokenizer.retime import EXTENT, JITTER_SECONDS, retimed, untimed
from tokenizer.grid.tempo_map import seconds_at
from tokenizer.music.score import NOTE, Score, Signature, Tempo, Track

TEMPOS = (Tempo(0, 500_000), Tempo(480 * 20, 700_000))


def song(signatures, quarters, ticks_per_beat: int = 480, tempos=TEMPOS) -> Score:
    notes = np.zeros(len(quarters), NOTE)
    notes["onset_ticks"] = np.rint(np.multiply(quarters, ticks_per_beat))
    notes["duration_ticks"], notes["pitch"], notes["velocity"] = ticks_per_beat // 2, 60, 90
    return Score(ticks_per_beat, (Track(128, notes[:0]), Track(0, notes)), tempos, signatures)


def onsets(score: Score) -> np.ndarray:
    return seconds_at(score.tempos, score.ticks_per_beat, score.tracks[0].notes["onset_ticks"])


def test_notes_on_beats_stay_on_beats_but_for_the_hand():
    made = retimed(song((Signature(0, 3, 4),), np.arange(60)), seed=3)
    beside = onsets(made.score)[: len(made.beats)] - made.beats[: len(onsets(made.score))]
    assert 0.5 * JITTER_SECONDS < beside.std() < 1.5 * JITTER_SECONDS
    assert abs(beside.mean()) < JITTER_SECONDS
    assert np.array_equal(made.in_beats[0], np.arange(60))
    assert np.allclose(made.downbeats, made.beats[::3])


@pytest.mark.parametrize("seed", range(4))
def test_the_tempo_is_a_players_and_the_file_does_not_say_it(seed):
    steady = (Tempo(0, 600_000),)
    made = retimed(song((Signature(0, 4, 4),), np.arange(100), tempos=steady), seed)
    lengths = np.diff(made.beats) / 0.6
    assert 1 - EXTENT <= lengths.min() and lengths.max() <= 1 + EXTENT
    assert np.abs(lengths - 1).max() > 0.9 * EXTENT
    assert np.abs(np.diff(lengths)).max() < 0.06  # slowly
    assert made.score.tempos == (Tempo(0, 500_000),) and made.score.signatures == (Signature(0, 4, 4),)


def test_the_same_seed_is_the_same_performance():
    score = song((Signature(0, 4, 4),), np.arange(30))
    one, two, other = (retimed(score, seed) for seed in (1, 1, 2))
    assert one.score == two.score and np.array_equal(one.beats, two.beats)
    assert one.score != other.score


def test_in_compound_meters_the_felt_beat_is_dotted():
    made = retimed(song((Signature(0, 6, 8),), np.arange(0, 30, 0.5)), 0)
    assert np.allclose(made.pulse[::2][:8], made.beats[::3][:8])
    assert np.allclose(made.downbeats[:8], made.pulse[::2][:8])
    assert np.allclose(made.in_pulses[0], np.arange(60) / 3)


def test_bar_lines_follow_the_pickup_and_a_change_of_meter():
    signatures = (Signature(0, 1, 8), Signature(240, 2, 4), Signature(240 + 4 * 480, 3, 4))
    made = untimed(song(signatures, [0, 0.5, 1.5, 2.5, 4.5, 7.5], tempos=(Tempo(0, 500_000),)), 1.0)
    assert np.allclose(made.beats[:6], [0.25, 0.75, 1.25, 1.75, 2.25, 2.75])
    assert np.allclose(made.downbeats[:4], [0.25, 1.25, 2.25, 3.75])
    assert made.in_beats[0].tolist() == [-0.5, 0, 1, 2, 0, 3]


def test_a_drummers_hits_stay_at_their_seconds():
    score = song((Signature(0, 4, 4),), np.arange(0, 300, 0.5), ticks_per_beat=97)
    made = untimed(score, 0.97)
    true = 0.97 * seconds_at(score.tempos, 97, score.tracks[1].notes["onset_ticks"])
    assert np.allclose(onsets(made.score), true[true < 100], atol=1e-3)
    assert made.beats[-1] > onsets(made.score)[-1] > 99
