"""Similarity of bars as sets of notes, against sets of notes."""

import numpy as np
import pytest

from jax_impl.evaluation.notes import notes_of
from jax_impl.evaluation.similarity import curve, similarity_error, song_similarity
from tests.evaluation.songs import BAR, notes
from tokenizer.grid.quantize import quantize
from tokenizer.music.composer import compose
from tokenizer.music.score import DRUMS


def bars_of(*bars: str) -> list[tuple[int, int, int]]:
    """Quarter notes: a letter is a pitch, its place in the word the beat, a dot silence."""
    return [
        (bar * BAR + beat * 480, 480, 60 + ord(letter) - ord("a"))
        for bar, word in enumerate(bars)
        for beat, letter in enumerate(word)
        if letter != "."
    ]


def similar(*tracks, **more) -> list[float]:
    """L(t) of one song, as far as it has pairs."""
    found = curve(*(part[None] for part in song_similarity(notes(*tracks, **more))))
    return found[~np.isnan(found)].tolist()


def test_bars_share_the_notes_of_which_pitch_duration_and_place_are_the_same():
    # Of 2 and 4 notes 2 are shared: 2 / 4; of a..b and ab.. one: 1 / 3
    assert similar((0, bars_of("ab", "abcd"))) == pytest.approx([1 / 2])
    assert similar((0, bars_of("a..b", "ab.."))) == pytest.approx([1 / 3])
    shorter = [*bars_of("ab"), (BAR, 240, 60), (BAR + 480, 480, 61)]
    assert similar((0, shorter)) == pytest.approx([1 / 3])


def test_a_song_of_two_bars_in_turn_is_like_itself_at_even_distances():
    assert similar((0, bars_of("abcd", "efgh", "abcd", "efgh", "abcd"))) == [0, 1, 0, 1]


def test_silent_bars_are_like_none_and_pairs_of_them_do_not_count():
    assert similar((0, bars_of("a", "a", "", "", "a")))[0] == pytest.approx(1 / 3), "of four pairs one is 0 / 0"


def test_tracks_sound_together_and_a_drum_is_no_pitch():
    assert similar((0, bars_of("a", "")), (40, bars_of("", "a"))) == [1]
    assert similar((0, bars_of("a", "")), (DRUMS, bars_of("", "a"))) == [0]


def test_measures_are_compared_whole():
    five_four = [(start + at, 480, 60) for start in (0, 2400) for at in (0, 1920)]
    assert similar((0, five_four), signatures=((0, 5, 4),)) == [1]


def test_a_song_compares_as_its_bars_do_as_sets():
    song = notes_of(quantize(compose(3)))
    bar = np.searchsorted(song.lines, song.onset, side="right") - 1
    sets = [set() for _ in range(len(song.lines) - 1)]
    for at, onset, end, pitch, drum in zip(bar, song.onset, song.end, song.pitch, song.is_drum, strict=True):
        sets[at].add((bool(drum), int(pitch), int(end - onset), int(onset - song.lines[at])))
    sums, counts = song_similarity(song)
    for distance in range(1, 41):
        pairs = [(a, b) for a, b in zip(sets, sets[distance:], strict=False) if a | b]
        assert counts[distance - 1] == len(pairs)
        assert sums[distance - 1] == pytest.approx(sum(len(a & b) / len(a | b) for a, b in pairs))


def test_the_error_is_the_mean_distance_of_two_curves_where_both_are():
    one, other = np.full(40, np.nan), np.full(40, np.nan)
    one[:3], other[:2] = (0.5, 0.1, 0.9), (0.3, 0.2)
    assert similarity_error(one, other) == pytest.approx(0.15)
    assert similarity_error(one, np.full(40, np.nan)) is None


def test_the_pairs_of_all_songs_count_alike():
    sums, counts = np.zeros((2, 40)), np.zeros((2, 40), int)
    sums[:, 0], counts[:, 0] = (1, 1), (1, 3)
    assert curve(sums, counts)[0] == pytest.approx(2 / 4)
