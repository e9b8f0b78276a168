"""A score that no music can have is refused where it is made, with what is wrong in it."""

import numpy as np
import pytest

from configs import InputError
from tests.scores import score_of
from tokenizer.music.score import NOTE, ImpossibleScore, Score, Signature, Tempo, Track
from tokenizer.tokens.encode import encode

GOOD = [(0, 240, 60, 80), (240, 240, 62, 80)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: score_of((0, GOOD), (5, [*GOOD, (0, 1, 200, 80)])), "track 1, note 2: pitch 200, 0 to 127"),
        (lambda: score_of((0, [(0, 1, -1, 80)])), "track 0, note 0: pitch -1, 0 to 127"),
        (lambda: score_of((0, [(0, 1, 60, 0)])), "track 0, note 0: velocity 0, 1 to 127"),
        (lambda: score_of((0, [(0, 1, 60, 128)])), "track 0, note 0: velocity 128, 1 to 127"),
        (lambda: score_of((0, [(-1, 1, 60, 80)])), "track 0, note 0: onset_ticks -1, at least 0"),
        (lambda: score_of((0, [(0, -1, 60, 80)])), "track 0, note 0: duration_ticks -1, at least 0"),
        (lambda: score_of((129, GOOD)), "track 0: program 129, 0 to 128"),
        (lambda: score_of((0.5, GOOD)), "program 0.5 is not a whole number"),
        (lambda: score_of((0, GOOD), ticks_per_beat=0), "ticks_per_beat: 0, at least 1"),
        (lambda: score_of(tempos=()), "the first tempo is not at tick 0"),
        (lambda: score_of(tempos=((1, 120),)), "the first tempo is not at tick 0"),
        (lambda: score_of(tempos=((0, 120), (9, 60), (9, 70))), "tempo 2: at tick 9, not after the one at 9"),
        (lambda: score_of(signatures=((0, 4, 4), (-9, 3, 4))), "signature 1: at tick -9, not after the one at 0"),
        (lambda: score_of(signatures=((0, 4, 3),)), "signature 0: 4/3;"),
        (lambda: score_of(signatures=((0, 0, 4),)), "signature 0: 0/4;"),
        (lambda: score_of(signatures=((0, 4, 4.5),)), "signature: denominator 4.5 is not a whole number"),
        (lambda: Score(480, (), (Tempo(0, 0),), (Signature(0, 4, 4),)), "tempo 0: 0 microseconds a beat, at least 1"),
        (lambda: Score(480, (Track(0, np.zeros((1, 4))),), (Tempo(0, 9),), (Signature(0, 4, 4),)), "an array of NOTE"),
    ],
)
def test_what_no_music_has_is_refused_with_its_place_and_value(make, message):
    with pytest.raises(ImpossibleScore) as error:
        make()
    assert message in str(error.value) and isinstance(error.value, InputError)


def test_whole_numbers_of_numpy_are_as_good_as_python_s():
    one, four = np.int8(1), np.uint8(4)
    signatures = (Signature(np.int16(0), four, four), Signature(np.int16(30_000), np.int8(3), four))
    notes = np.array([(0, 240, 60, 80), (60_000, 240, 60, 80)], NOTE)
    score = Score(np.int16(480), (Track(one, notes),), (Tempo(np.int64(0), np.int32(500_000)),), signatures)
    plain = score_of((1, notes), signatures=((0, 4, 4), (30_000, 3, 4)))
    assert score == plain and encode(score) == encode(plain)
    assert type(score.signatures[1].numerator) is type(score.tracks[0].program) is type(score.ticks_per_beat) is int
