"""Time goes there and back, and moves nothing past another."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tokenizer.grid.time_map import TimeMap

steps = st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), min_size=1, max_size=20)


def map_of(first: int, drawn: list[tuple[int, int]]) -> TimeMap:
    source, aligned = np.array(drawn, np.int64).T
    return TimeMap(np.append(first, first + np.cumsum(source)), np.append(0, np.cumsum(aligned)))


@given(st.integers(-1000, 1000), steps, st.lists(st.integers(-5000, 120_000), min_size=2))
def test_order_is_kept_and_what_is_together_stays_together(first, drawn, ticks):
    ticks = np.sort(np.array(ticks))
    moved = map_of(first, drawn).there(ticks)
    assert (np.diff(moved) >= 0).all()
    assert (np.diff(moved)[np.diff(ticks) == 0] == 0).all()


@given(st.integers(-1000, 1000), steps, st.lists(st.integers(-5000, 120_000), min_size=1))
def test_back_is_where_it_was_as_near_as_ticks_are(first, drawn, ticks):
    time, ticks = map_of(first, drawn), np.array(ticks)
    coarsest = max(1.0, max(source / aligned for source, aligned in drawn))
    assert (np.abs(time.back(time.there(ticks)) - ticks) <= (coarsest + 1) / 2 + 1e-9).all()


@given(st.integers(-1000, 1000), steps)
def test_knots_are_met_exactly(first, drawn):
    time = map_of(first, drawn)
    assert np.array_equal(time.there(time.source), time.aligned)
    assert np.array_equal(time.back(time.aligned), time.source)


@given(st.integers(-10_000, 10_000), st.integers(0, 2**40))
def test_a_shift_is_exact(ticks, tick):
    time = TimeMap.shifted(ticks)
    assert time.there(np.array([tick])) == tick + ticks and time.back(np.array([tick + ticks])) == tick


def test_time_goes_on_outside_as_between_the_nearest_knots():
    time = TimeMap(np.array([0, 100, 300]), np.array([0, 50, 250]))
    assert time.there(np.array([-10, 310])).tolist() == [-5, 260]
    assert time.back(np.array([-5, 260])).tolist() == [-10, 310]
