"""Overlap, divergence and intervals, against scipy and by hand."""

import numpy as np
import pytest
from scipy import special, stats

from jax_impl.evaluation.distributions import mean_interval, overlap_and_divergence

RANDOM = np.random.default_rng(0)
REAL = RANDOM.normal(0, 1, 40)


@pytest.mark.parametrize("samples", [RANDOM.normal(0, 1, 30), RANDOM.normal(1, 2, 30), RANDOM.gamma(1, 1, 30)])
def test_densities_are_those_of_scipy(samples):
    intra = np.abs(REAL[:, None] - REAL)[~np.eye(len(REAL), dtype=bool)]
    inter = np.abs(samples[:, None] - REAL).ravel()
    x = np.linspace(-3, 10, 1001)
    p, q = stats.gaussian_kde(intra)(x), stats.gaussian_kde(inter)(x)
    overlap, kl = overlap_and_divergence(samples, REAL)
    assert overlap == pytest.approx(np.trapezoid(np.minimum(p, q), x), abs=2e-3)
    assert kl == pytest.approx(np.trapezoid(special.rel_entr(p, np.maximum(q, 1e-12)), x), abs=5e-3)


def test_equal_songs_overlap_wholly_and_far_ones_not_at_all():
    ones = np.ones(5)
    assert overlap_and_divergence(ones, ones) == (1, 0)
    overlap, kl = overlap_and_divergence(ones + 3, ones)
    assert overlap == pytest.approx(0, abs=1e-6) and 10 < kl < 24
    overlap, kl = overlap_and_divergence(REAL + 100, REAL)
    assert overlap == pytest.approx(0, abs=1e-3) and 10 < kl < 24


def test_samples_as_scattered_as_real_songs_overlap_more_than_samples_that_are_all_alike():
    alike = np.full(40, REAL.mean())
    assert overlap_and_divergence(RANDOM.normal(0, 1, 40), REAL)[0] > 0.9 > overlap_and_divergence(alike, REAL)[0]


def test_the_interval_of_a_mean_is_as_wide_as_statistics_say():
    values = RANDOM.normal(5, 2, 400)
    mean, low, high = mean_interval(values, seed=1)
    assert mean == values.mean() and low < mean < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert mean_interval(values, seed=1) == (mean, low, high) != mean_interval(values, seed=2)
    assert mean_interval(np.array([3.0]), seed=0) == (3, 3, 3)
