"""A song that lies beside its grid comes to it by one shift; one that lies on it stays, and no free one is called
steady.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import SONGS
from tests.tokenizer.retime import retimed
from tests.tokenizer.test_retime import song
from tokenizer import read, snap
from tokenizer.grid.changes import changes
from tokenizer.grid.quantize import on_grid
from tokenizer.grid.shift import Steady, lies_on_grid, shifted, steady
from tokenizer.grid.tempo_map import own_tempos, seconds_at
from tokenizer.music.score import Score, Signature, Tempo
from tokenizer.vocabulary import IS_PLACE

FOUR = (Signature(0, 4, 4),)
SONG_BEATS = 64


def tune(seed: int = 0, places: tuple[float, ...] = (0, 0.5, 0.5, 0.25, 0.75)) -> np.ndarray:
    """Quarters: all beats, and up to two of these places in each."""
    random = np.random.default_rng(seed)
    drawn = np.arange(1, SONG_BEATS)[:, None] + random.choice([0, *places], (SONG_BEATS - 1, 2))
    return np.union1d(np.arange(1, SONG_BEATS), drawn)


def played(quarters: np.ndarray, late: float, scatter: float = 0.0, seed: int = 0) -> Score:
    """So many quarters late, with a player's scatter around that."""
    return song(FOUR, quarters + late + np.random.default_rng(seed).normal(0, scatter, len(quarters)))


def shift_beats(score: Score) -> float:
    found = steady(score)
    assert found is not None
    return found.shift_ticks / score.ticks_per_beat


def moved_ms(score: Score) -> float:
    """That notes are from the grid, in the mean."""
    found = on_grid(score)
    told = changes(score, found, own_tempos(score, found.layout), moved_ms=20)
    return told.moved_ms_sum / told.notes


@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from(np.flatnonzero(IS_PLACE).tolist())), min_size=1))
def test_what_stands_on_the_places_of_the_grid_lies_on_it(onsets):
    assert lies_on_grid(song(FOUR, [quarter + step / 24 for quarter, step in onsets]))


@pytest.mark.parametrize("ticks_per_beat", [24, 32, 96, 100, 480, 960])
def test_a_score_of_any_resolution_lies_on_its_grid(ticks_per_beat):
    assert lies_on_grid(song(FOUR, np.append(tune(), [70 + 1 / 3, 70 + 2 / 3]), ticks_per_beat))


def test_programs_that_write_scores_round_by_a_tick():
    ticks = np.rint(480 * tune())
    random = np.random.default_rng(0).integers(-1, 2, len(ticks))
    assert lies_on_grid(song(FOUR, (ticks + random) / 480))
    assert not lies_on_grid(song(FOUR, (ticks + 2) / 480))


@pytest.mark.parametrize("seed", range(6))
def test_a_free_performance_neither_lies_on_the_grid_nor_is_steady(seed):
    free = retimed(song(FOUR, tune(seed)), seed).score
    assert not lies_on_grid(free) and steady(free) is None


@pytest.mark.parametrize("late", [0.03, 0.06, 0.11, -0.05, -0.1])
@pytest.mark.parametrize("scatter", [0.0, 0.02])
def test_a_song_beside_the_grid_is_brought_to_it(late, scatter):
    score = played(tune(), late, scatter)
    assert not lies_on_grid(score)
    assert shift_beats(score) == pytest.approx(-late, abs=0.002 + scatter / 4)


@pytest.mark.parametrize("seed", range(4))
def test_a_loose_hand_is_brought_to_the_few_places_it_means_though_it_is_near_others(seed):
    score = played(tune(seed), 0.115, 0.03, seed)  # 1/8 is a place too, and so is 1/6
    assert shift_beats(score) == pytest.approx(-0.115, abs=0.01)


def test_the_sixteenth_that_a_shift_leads_to_is_the_nearest():
    assert shift_beats(played(tune(), 0.2)) == pytest.approx(0.05, abs=0.004)
    assert shift_beats(played(tune(), 0.125)) == pytest.approx(0.125)  # of two equally near the later


def test_what_would_change_no_place_is_no_shift():
    assert steady(played(tune(), 0.018)).shift_ticks == 0
    assert steady(played(tune(), 0.024)).shift_ticks != 0


@pytest.mark.parametrize("swing", [0.58, 0.62, 0.66])
def test_swing_does_not_bend_the_shift(swing):
    late = 0.04
    score = played(tune(0, (swing,)), late, 0.01)
    assert shift_beats(score) == pytest.approx(-late, abs=0.006)
    assert steady(played(tune(0, (swing,)), 0.0, 0.01)).shift_ticks == 0


def test_a_tempo_change_that_the_file_tells_hides_nothing():
    score = replace(played(tune(), 0.06), tempos=(Tempo(0, 500_000), Tempo(480 * 20, 800_000)))
    assert shift_beats(score) == pytest.approx(-0.06, abs=0.002)


def test_a_tempo_that_differs_a_little_from_the_files_is_not_its_tempo():
    assert steady(song(FOUR, tune() * 1.02)) is None
    drifting = np.concatenate([tune(), 70 + tune() * 1.03, 140 + tune() * 0.98])
    assert steady(song(FOUR, drifting)).concentration < 0.3  # a third of it is in time


def test_of_few_notes_nobody_knows_that_they_are_free():
    assert steady(song(FOUR, np.random.default_rng(0).uniform(0, 30, 12))) == Steady(0, 1.0)


def test_a_score_without_notes_stays():
    empty = song(FOUR, [])
    assert lies_on_grid(empty) and steady(empty) == Steady(0, 1.0)
    assert lies_on_grid(replace(empty, tracks=()))


def test_times_of_any_size_are_counted():
    far = 3 * 2**59
    score = song((Signature(0, 1, 2**30), Signature(far, 4, 4)), tune())
    late = score.tracks[1].notes.copy()
    late["onset_ticks"][-1] = far
    score = replace(score, tracks=(replace(score.tracks[1], notes=late),))
    assert lies_on_grid(score) and steady(score) is not None


def test_quarters_are_counted_from_the_signature_as_the_grid_counts():
    signatures = (Signature(0, 4, 4), Signature(2489, 2, 4))
    score = song(signatures, 2489 / 480 + tune())
    assert lies_on_grid(score) and moved_ms(score) < 0.01
    short_measure = (Signature(0, 1, 4), Signature(211, 3, 4))
    assert lies_on_grid(song(short_measure, 211 / 480 - np.array([3 / 8, 1 / 3, 1 / 4, 1 / 8])))
    assert not lies_on_grid(song(short_measure, [0, 1 / 8, 1 / 4, 1 / 3]))


def test_a_shift_moves_notes_and_tempos_and_no_bar_line():
    score = replace(
        song((Signature(0, 4, 4), Signature(1920, 3, 4)), [1.1, 5.1, 9.1]),
        tempos=(Tempo(0, 500_000), Tempo(960, 700_000)),
    )
    out, time = shifted(score, -48)
    assert out.tracks[1].notes["onset_ticks"].tolist() == [480, 2400, 4320]
    assert out.signatures == score.signatures and out.tempos == (Tempo(0, 500_000), Tempo(912, 700_000))
    assert time.there(np.array([528])).tolist() == [480] and time.back(np.array([480])).tolist() == [528]
    assert np.array_equal(out.tracks[1].notes["duration_ticks"], score.tracks[1].notes["duration_ticks"])


def test_where_a_note_would_begin_before_the_song_a_measure_of_silence_makes_room():
    score = replace(
        song((Signature(0, 3, 4), Signature(2880, 4, 4)), [0.05, 2.05, 7.05]),
        tempos=(Tempo(0, 500_000), Tempo(20, 600_000), Tempo(1000, 700_000)),
    )
    out, _ = shifted(score, -48)
    assert out.tracks[1].notes["onset_ticks"].tolist() == [1440 - 24, 1440 + 936, 1440 + 3336]
    assert out.signatures == (Signature(0, 3, 4), Signature(4320, 4, 4))
    assert out.tempos == (Tempo(0, 500_000), Tempo(1412, 600_000), Tempo(2392, 700_000))


def test_a_tempo_that_would_begin_before_the_song_is_in_force_from_its_start():
    score = replace(song(FOUR, [4.1]), tempos=(Tempo(0, 500_000), Tempo(10, 600_000), Tempo(40, 700_000)))
    out, _ = shifted(score, -48)
    assert out.tempos == (Tempo(0, 700_000),)


def test_silence_is_whole_measures_also_where_one_ends_between_ticks():
    out, _ = shifted(song((Signature(0, 3, 8), Signature(267, 4, 4)), [0, 5], ticks_per_beat=89), -2)
    assert out.signatures[1].tick == 2 * 267 and out.tracks[1].notes["onset_ticks"][0] == 267 - 2


@pytest.mark.parametrize("late", [0.05, -0.07, 0.11])
def test_notes_keep_their_seconds_from_one_another(late):
    score = played(tune(), late)
    out, _ = shifted(score, steady(score).shift_ticks)
    seconds = [seconds_at(each.tempos, 480, each.tracks[1].notes["onset_ticks"]) for each in (score, out)]
    assert np.allclose(np.diff(seconds[0]), np.diff(seconds[1]), atol=0.001)
    assert lies_on_grid(out) and moved_ms(out) < 1 < 5 < moved_ms(score)
    assert lies_on_grid(snap(out))


def songs_of(folder: str, every: int) -> list[Path]:
    return sorted((SONGS / folder).glob("*.mid"))[::every]


@pytest.mark.skipif(not SONGS.exists(), reason="no real songs here")
def test_real_scores_are_left_alone():
    scores = ("cc0", "easyrpg", "freedoom", "simutrans", "orchestra", "quartets", "lieder")
    every = {"lieder": 60, "easyrpg": 8, "freedoom": 1, "simutrans": 1}  # in the last two some were played in
    moved = []
    for path in (path for folder in scores for path in songs_of(folder, every.get(folder, 5))):
        score = read(path)
        if not lies_on_grid(score) and (found := steady(score)) and found.shift_ticks:
            moved.append(path.name)
    assert moved == []


@pytest.mark.skipif(not (SONGS / "pop909").exists(), reason="no real songs here")
def test_real_songs_beside_their_grid_come_to_it():
    before, after = [], []
    for score in map(read, songs_of("pop909", 10)):
        found = steady(score)
        is_moved = not lies_on_grid(score) and found.shift_ticks
        before.append(moved_ms(score))
        after.append(moved_ms(shifted(score, found.shift_ticks)[0]) if is_moved else before[-1])
    assert np.mean(after) < 5 < 15 < np.mean(before)


@pytest.mark.skipif(not (SONGS / "groove").exists(), reason="no real songs here")
def test_drummers_with_a_click_are_steady_and_without_it_not():
    scores = list(map(read, songs_of("groove", 20)))
    assert all(steady(score) is not None and not lies_on_grid(score) for score in scores)
    assert sum(steady(retimed(score, 0).score) is not None for score in scores) <= 1  # of 15
