"""What measures of beats count as right, said by beats that are known to be wrong in one way."""

import numpy as np
import pytest

from tests.tokenizer.beat_measures import beats_of, judge
from tests.tokenizer.retime import retimed
from tests.tokenizer.test_retime import song
from tokenizer import align
from tokenizer.music.score import Signature

FOUR, SIX_EIGHT = (Signature(0, 4, 4),), (Signature(0, 6, 8),)


@pytest.fixture(scope="module")
def truth():
    return retimed(song(FOUR, np.arange(0, 100, 0.25)), 0)


def test_true_beats_are_right_in_all(truth):
    found = judge(truth.beats, truth)
    assert found.f == found.f_after == 1 and found.octave and found.level and not found.third
    assert found.notes > 0.98


@pytest.mark.parametrize("step", [2, 3])
def test_every_second_and_third_beat_is_right_but_for_the_octave(truth, step):
    found = judge(truth.beats[1::step], truth)
    assert found.f < 0.7 and not found.octave and (found.level, found.third) == (step == 2, step == 3)
    assert found.f_after > 0.97 and found.notes > 0.95


def test_half_beats_are_right_but_for_the_octave(truth):
    halves = np.sort(np.append(truth.beats, (truth.beats[1:] + truth.beats[:-1]) / 2))
    found = judge(halves, truth)
    assert found.f < 0.7 and not found.octave and found.level
    assert found.f_after > 0.97 and found.notes > 0.95


def test_half_a_beat_late_is_wrong_of_the_right_level(truth):
    found = judge((truth.beats[1:] + truth.beats[:-1]) / 2, truth)
    assert found.octave and found.f < 0.1
    assert found.notes < 0.6


def test_dotted_quarters_are_the_level_of_compound_meters():
    truth = retimed(song(SIX_EIGHT, np.arange(0, 100, 0.5)), 0)
    found = judge(truth.pulse, truth)
    assert found.level and not found.octave and found.f_after == 1 and found.notes > 0.98


def test_beats_of_a_score_are_its_quarter_notes_and_its_bars_begin_with_signatures():
    score = song((Signature(0, 1, 8), Signature(240, 2, 4), Signature(240 + 4 * 480, 3, 4)), [0, 0.5, 6])
    beats, bars = beats_of(score, align(score))
    assert np.allclose(beats[:6], np.array([-1.5, -0.5, 0.5, 1.5, 2.5, 3.5]) / 2)
    assert np.allclose(bars[:4], np.array([-1.5, 0.5, 2.5, 4.5]) / 2)
