"""Chords and keys of songs that were written with them."""

import numpy as np
import pytest

from jax_impl.evaluation import harmony
from tests.evaluation.songs import SCALE, chord_song, line, notes, song_of
from tokenizer.grid.chords import bar_chords
from tokenizer.grid.meter import Bars
from tokenizer.music.score import DRUMS
from tokenizer.vocabulary import SIGNATURES

C, A_MINOR, F, G = (48, 52, 55), (45, 48, 52), (41, 45, 48), (43, 47, 50)
FOUR = [C, A_MINOR, F, G]


def of(*numbers: int, meter: tuple[int, int] = (4, 4)) -> tuple[Bars, np.ndarray]:
    """Bars of one meter with these chords."""
    return Bars(np.full(len(numbers), SIGNATURES.index(meter), np.int32)), np.array(numbers, np.int32)


def test_chords_are_counted_in_windows_of_sixteen_measures():
    four, six = [1, 2, 3, 4] * 4, [1, 2, 3, 4, 5, 6, 0, 0] * 2
    assert harmony.distinct_chords(*of(*four)) == 4
    assert harmony.distinct_chords(*of(*four, *four, *six)) == 4, "the median"
    assert harmony.distinct_chords(*of(*six)) == 6, "no chord is none"
    assert harmony.distinct_chords(*of(*four, 7, 8, 9)) == 4, "three bars are no window"
    assert harmony.distinct_chords(*of(1, 2, 3)) is None
    assert harmony.distinct_chords(*of(*[0] * 16)) is None


def test_chords_of_a_long_measure_are_counted_in_whole_ones():
    sixteen_measures = of(*[1, 2] * 15, 3, 4, meter=(5, 4))
    assert harmony.distinct_chords(*sixteen_measures) == 4


def test_a_progression_of_four_chords_returns_after_four_bars():
    bars, chords = of(*[1, 2, 3, 4] * 3)
    assert [harmony.repeated_chords(bars, chords, distance) for distance in (1, 4, 8)] == [0, 1, 1]
    chords[6] = 9  # and bar 2 and bar 10 differ from it
    assert harmony.repeated_chords(bars, chords, 4) == pytest.approx(6 / 8)
    assert harmony.repeated_chords(bars, chords, 12) is None


def test_bars_without_a_chord_do_not_return():
    assert harmony.repeated_chords(*of(0, 0, 0, 1, 1), 1) == pytest.approx(1 / 2)
    assert harmony.repeated_chords(*of(0, 0), 1) is None


def test_of_a_long_measure_the_same_part_is_compared():
    assert harmony.repeated_chords(*of(1, 2, 1, 2, 1, 2, meter=(5, 4)), 1) == 1
    bars = Bars(np.array([SIGNATURES.index(meter) for meter in ((4, 4), (5, 4), (5, 4))], np.int32))
    assert harmony.repeated_chords(bars, np.array([1, 1, 2], np.int32), 1) == 1, "4/4 has no second part"


def test_labels_are_heard_where_they_are_played():
    song = chord_song([*FOUR, C])
    chords = bar_chords(song.to_score(), song.bars.start_ticks)
    assert harmony.heard_chords(song, chords) == 1
    assert harmony.heard_chords(song, np.roll(chords, 1)) == pytest.approx(1 / 5), "C after C"


def test_silent_bars_without_a_label_are_not_heard():
    song = song_of((0, [(1920, 1920, pitch) for pitch in C]), (DRUMS, line([36] * 12)))
    chords = bar_chords(song.to_score(), song.bars.start_ticks)
    assert chords.tolist() == [0, 1, 0] and harmony.heard_chords(song, chords) == 1
    assert harmony.heard_chords(song, np.array([0, 2, 0])) == 0
    assert harmony.heard_chords(song, np.array([2, 1, 0])) == pytest.approx(1 / 2)
    assert harmony.heard_chords(song_of((DRUMS, line([36] * 4))), np.zeros(1)) is None


@pytest.mark.parametrize("tonic", range(12))
def test_a_key_is_found_from_its_cadence(tonic):
    major = [(bar, 1, pitch + tonic) for bar, chord in enumerate((C, F, G, C)) for pitch in chord]
    minor = [
        (bar, 1, pitch + tonic)
        for bar, chord in enumerate(((48, 51, 55), (41, 44, 48), (43, 46, 50), (48, 51, 55)))
        for pitch in chord
    ]
    for chords, key in ((major, tonic), (minor, 12 + tonic)):
        song = notes((0, [(480 * at, 480 * length, pitch) for at, length, pitch in chords]))
        assert harmony.key_of(song) == key


def test_a_key_is_heard_in_long_notes_more_than_in_many():
    held = [(0, 8 * 1920, pitch) for pitch in C]
    passing = [(60 * number, 60, pitch) for number, pitch in enumerate([66, 70, 73] * 8)]  # F sharp major
    assert harmony.key_of(notes((0, held), (73, passing))) == 0


def test_notes_outside_of_the_key_are_told_and_drums_are_not():
    song = [*line([60, 64, 67, 72, 65, 69, 67, 71, 60]), (9 * 480, 120, 61)]
    assert harmony.out_of_key(notes((0, song), (DRUMS, line([37] * 30)))) == pytest.approx(1 / 10)
    assert harmony.out_of_key(notes((0, line([*SCALE, 60])))) == 0
    assert harmony.out_of_key(notes((DRUMS, line([37])))) is None
