"""Which places onsets are meant for, and which durations notes: exact music stays, played music comes out as meant."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.grid import divisions, lengths
from tokenizer.grid.divisions import places
from tokenizer.vocabulary import DURATIONS

QUARTER = 480 * 480  # time of a quarter note; a fine step is 9600
STEP = QUARTER // 24
BAR = 96  # fine steps of 4/4
PLACES = [step for step in range(BAR) if step % 3 == 0 or step % 4 == 0]


def snapped(time: np.ndarray, bar_steps: int = BAR) -> np.ndarray:
    """Fine steps from the start of the song, of onsets by time from there; all bars are equally long."""
    bar, inside = np.divmod(np.asarray(time, np.int64), bar_steps * STEP)
    return bar * bar_steps + places(bar, inside, np.full(len(bar), bar_steps), QUARTER)


def played(steps: np.ndarray, milliseconds: float, seed: int = 0) -> np.ndarray:
    """Onsets as a person plays them at 120 bpm, where a quarter note lasts 500 ms."""
    scatter = np.random.default_rng(seed).normal(0, milliseconds, len(steps)) / 500 * QUARTER
    return np.maximum(0, np.asarray(steps) * STEP + np.rint(scatter).astype(np.int64))


def bars(n: int, pattern: list[int]) -> np.ndarray:
    return np.concatenate([BAR * bar + np.array(pattern) for bar in range(n)])


def held(fine_steps: list[float]) -> list[int]:
    time = np.rint(np.multiply(fine_steps, STEP)).astype(np.int64)
    return lengths.durations(time, (np.arange(len(time)),), QUARTER).tolist()


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(PLACES)), min_size=1))
def test_a_track_on_its_places_stays_also_where_a_quarter_has_triplets_and_thirty_seconds(onsets):
    steps = np.array([bar * BAR + step for bar, step in onsets])
    assert np.array_equal(snapped(steps * STEP), steps)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 6 * BAR * STEP), min_size=1, max_size=40), st.sampled_from([6, 18, 30, 42, 72, 96]))
def test_read_twice_is_read_once_and_no_place_is_behind_its_bar_line(times, bar_steps):
    times = np.array(times)
    once = snapped(times, bar_steps)
    assert np.array_equal(snapped(once * STEP, bar_steps), once)
    inside = once - times // (bar_steps * STEP) * bar_steps
    assert ((inside >= 0) & (inside <= bar_steps)).all()
    of_quarter = inside % 24
    assert ((inside == bar_steps) | (of_quarter % 3 == 0) | (of_quarter % 4 == 0)).all()


def test_onsets_are_read_alike_in_any_order_and_doubled():
    time = played(bars(4, [0, 12, 24, 30, 36, 48, 56, 64, 72]), 15)
    order = np.random.default_rng(0).permutation(np.tile(np.arange(len(time)), 2))
    assert np.array_equal(snapped(time[order]), snapped(time)[order])


@pytest.mark.parametrize(("milliseconds", "share"), [(10, 0.999), (15, 0.99), (20, 0.98), (25, 0.96)])
def test_sixteenths_and_triplets_played_by_people_come_out_as_meant(milliseconds, share):
    sixteenths = bars(16, [0, 12, 18, 24, 36, 42, 48, 54, 60, 66, 72, 84])
    triplets = 16 * BAR + bars(8, [0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88])
    steps = np.append(sixteenths, triplets)
    assert (snapped(played(steps, milliseconds)) == steps).mean() >= share


def test_a_loose_drummer_plays_no_thirty_seconds():
    steps = bars(32, [0, 6, 12, 18, 24, 36, 48, 54, 60, 72, 78, 84, 90])
    assert (snapped(played(steps, 25)) % 6 == 0).mean() > 0.99
    nearest = divisions.nearest(np.array(PLACES), played(steps, 25) % (BAR * STEP), QUARTER)
    assert (nearest % 6 == 0).mean() < 0.7  # which is why the whole track is asked


def test_a_shuffle_is_read_in_triplets():
    bar, inside = np.divmod(played(bars(16, [0, 16, 24, 40, 48, 64, 72, 88]), 15), BAR * STEP)
    reading = divisions.explain(bar, inside, np.full(len(bar), BAR), QUARTER)
    assert (reading.division == 1).mean() > 0.95
    assert 1 / 48 < reading.scatter < 1 / 24  # 15 of 500 ms


def test_three_against_four_survives_beside_what_no_division_has():
    both = [0, 6, 8, 12, 16, 18]
    steps = np.concatenate([bars(4, [0, 12, 24, 36]), 4 * BAR + np.array(both), 5 * BAR + bars(4, [0, 24])])
    time = steps * STEP
    five = 6 * BAR * STEP + np.arange(1, 5) * QUARTER // 5
    out = snapped(np.append(time, five))
    assert np.array_equal(out[: len(steps)], steps)  # five in a quarter elsewhere do not bend it
    assert (out[len(steps) :] - 6 * BAR).tolist() == [4, 9, 15, 20]  # of 4.8, 9.6, 14.4, 19.2


def test_of_two_places_equally_near_the_later_is_meant():
    steps = np.array([0, 6, 12, 18, 24])
    assert divisions.nearest(steps, np.array([3, 9, 21]) * STEP, QUARTER).tolist() == [6, 12, 24]
    assert divisions.nearest(steps, np.array([3, 9, 21]) * STEP - 1, QUARTER).tolist() == [0, 6, 18]
    large = 480 * (2**31 - 1)  # the most that a beat can have
    assert divisions.nearest(steps, np.array([large // 8, large // 8 - 1]), large).tolist() == [6, 0]


def test_a_quarter_cut_by_its_bar_line_has_a_place_there_and_none_behind():
    # Bars of 3/16: 18 steps. Triplets would have 16, and 24 behind the line
    assert snapped(np.array([int(17.4 * STEP)]), 18).tolist() == [18]
    # of 7/8: its last quarter is half of one, whose triplets are 72, 80 and then the bar line
    assert snapped(np.array([0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80]) * STEP + 5, 84).tolist()[-2:] == [72, 80]
    assert snapped(np.array([0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 83]) * STEP + 5, 84).tolist()[-1] == 84


def test_a_score_of_any_resolution_is_read_alike():
    time = played(bars(4, [0, 12, 24, 32, 40, 48, 60, 72, 78, 84]), 20)
    for quarter in (QUARTER * 5, QUARTER * 2**20):
        bar, inside = np.divmod(time * (quarter // QUARTER), BAR * quarter // 24)
        assert np.array_equal(bar * BAR + places(bar, inside, np.full(len(bar), BAR), quarter), snapped(time))


@given(st.lists(st.sampled_from(DURATIONS.tolist()), min_size=1))
def test_a_track_whose_lengths_are_durations_keeps_them(steps):
    assert held(steps) == steps


@settings(max_examples=60)
@given(st.lists(st.floats(0, 4000), min_size=1, max_size=40))
def test_lengths_read_twice_are_read_once(steps):
    once = held(steps)
    assert set(once) <= set(DURATIONS.tolist())
    assert held(once) == once


def test_notation_programs_mean_the_written_lengths():
    # 95 % and a tick less, or a tick less: of 480 ticks, 20 to a fine step
    ticks = [455, 455, 227, 227, 113, 911, 683, 1367, 1823, 151, 479, 239, 119, 59, 159, 79, 75, 56] * 3
    written = [24, 24, 12, 12, 6, 48, 36, 72, 96, 8, 24, 12, 6, 3, 8, 4, 4, 3] * 3
    assert held([tick / 20 for tick in ticks]) == written


def test_one_odd_length_bends_no_other():
    exact = [3, 4, 8, 16, 6, 9, 33, 30, 90, 24] * 4
    assert held([*exact, 57.3]) == [*exact, 60]


def test_a_player_needs_no_new_duration_for_each_note():
    times = np.random.default_rng(0).normal(11, 1.2, 200).tolist()
    assert np.count_nonzero(np.diff(held(times))) < 10
    one_by_one = divisions.nearest(DURATIONS, np.rint(np.multiply(times, STEP)).astype(np.int64), QUARTER)
    assert np.count_nonzero(np.diff(one_by_one)) > 50
    assert held([11, 11.4, 10.7, 46, 45.2, 46.9, 12.1]) == [12, 12, 12, 48, 48, 48, 12]  # what does change is heard


def test_the_shortest_and_the_longest_length():
    assert held([0, 0.1, 1, 10**6, 1500.5]) == [3, 3, 3, 1536, 1536]
