"""A score that no music can have is refused where it is made, with what is wrong in it."""

import numpy as np
import pytest

from configs import InputError
from tests.scores import score_of
from tokenizer.grid.meter import ScoreTooLong
from tokenizer.music.score import NOTE, ImpossibleScore, Score, Signature, Tempo, Track
from tokenizer.tokens.encode import encode

NO_NOTES = np.zeros(0, NOTE)
PLAIN = ((Tempo(0, 500_000),), (Signature(0, 4, 4),))
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
        (lambda: Track(True, NO_NOTES), "program True is not a whole number"),
        (lambda: score_of((0, GOOD), ticks_per_beat=480.0), "ticks_per_beat 480.0 is not a whole number"),
        (lambda: score_of((0, GOOD), ticks_per_beat=10**30), "ticks_per_beat 1000000000000000000000000000000, at most"),
        (lambda: score_of((0, [(2**62, 1, 60, 80)])), f"onset_ticks {2**62}, 0 to {2**62 - 1}"),
        (lambda: Tempo(2**62, 500_000), f"tempo: tick {2**62}, at most {2**62 - 1}"),
        (lambda: Tempo(0, 2**31), f"tempo: microseconds_per_beat {2**31}, at most"),
        (lambda: Signature(0, 2**16, 4), "signature: numerator 65536, at most 65535"),
        (lambda: Signature(0, 4, 2**31), f"signature: denominator {2**31}, at most"),
        (lambda: Score(480, None, *PLAIN), "tracks must be a tuple of Track, got None"),
        (lambda: Score(480, Track(0, NO_NOTES), *PLAIN), "tracks must be a tuple of Track, got Track"),
        (lambda: Score(480, (1,), *PLAIN), "tracks must be a tuple of Track, but one in it is 1"),
        (lambda: Score(480, (), (120,), PLAIN[1]), "tempos must be a tuple of Tempo, but one in it is 120"),
        (
            lambda: Score(480, (), PLAIN[0], ((0, 4, 4),)),
            "signatures must be a tuple of Signature, but one in it is (0",
        ),
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


def test_lists_are_as_good_as_tuples():
    track = Track(0, np.array(GOOD, NOTE))
    assert Score(480, [track], list(PLAIN[0]), list(PLAIN[1])) == Score(480, (track,), *PLAIN)


def test_what_is_just_possible_is_no_overflow():
    """It is too long for the grid, or takes a bar of its own; nothing else is said of it."""
    for onset, duration in ((2**62 - 1, 2**62 - 1), (0, 2**62 - 1)):
        score = score_of((0, [(onset, duration, 60, 80)]), tempos=((0, 120), (2**62 - 1, 90)))
        assert onset or len(encode(score)) > 0
        if onset:
            with pytest.raises(ScoreTooLong):
                encode(score)
