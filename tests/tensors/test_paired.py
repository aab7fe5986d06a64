"""Intervals of an effect and of its difference to a control: those of the two parts, and those of SciPy."""

import numpy as np
import pytest
from scipy.stats import binomtest

from unweave.tensors.grouped import grouped_mean
from unweave.tensors.paired import binomial, effective, exact, resampled

RIGHT = np.r_[np.ones(12), np.zeros(3)]


@pytest.mark.parametrize("groups", [12, 60])
def test_resampled_means_are_those_of_each_part_alone(groups):
    rng = np.random.default_rng(groups)
    values, controls, codes = rng.normal(size=200), rng.normal(size=200), np.arange(200) % groups
    values[3] = np.nan
    found = resampled(values, controls, codes, seed=4)
    for one, alone in zip(found, (values, values - controls), strict=True):
        expected = grouped_mean(alone, codes, seed=4)
        assert (one.n, one.n_groups) == (expected.n, expected.n_groups) == (199, groups)
        assert [one.value, one.low, one.high] == pytest.approx([expected.value, expected.low, expected.high], rel=1e-9)


def test_the_exact_interval_is_that_of_scipy():
    for hits, count in ((0, 10), (3, 50), (10, 10), (12, 15)):
        expected = binomtest(hits, count).proportion_ci(method="exact")
        assert exact(hits / count, count) == pytest.approx([expected.low, expected.high], abs=1e-9)


def test_groups_that_agree_are_worth_no_more_items_than_groups():
    one, _ = binomial(RIGHT, np.zeros(15), np.arange(15), seed=0)
    same, _ = binomial(np.repeat(RIGHT, 20), np.zeros(300), np.repeat(np.arange(15), 20), seed=0)
    assert (same.low, same.high) == pytest.approx((one.low, one.high))
    rng = np.random.default_rng(0)
    apart, _ = binomial(rng.permutation(np.repeat(RIGHT, 20)), np.zeros(300), np.repeat(np.arange(15), 20), seed=0)
    assert apart.high - apart.low < 0.5 * (one.high - one.low)  # shuffled rows of a group know more
    assert effective(1.0, 0.0, 15) == effective(0.5, 0.0, 15) < 15


def test_a_share_of_few_items_keeps_an_interval_that_resampling_loses():
    """12 of 15 right, a control that is right for one item in thirty: the truth that the test found at -2.2."""
    controls = np.random.default_rng(1).random(15) * 0.06
    _, lost = resampled(RIGHT, controls, np.arange(15), seed=0)
    _, found = binomial(RIGHT, controls, np.arange(15), seed=0)
    assert lost.low < 0 < 0.4 < found.low < found.value < found.high <= 1
    flipped = binomial(1 - RIGHT, 1 - controls, np.arange(15), seed=0)[1]
    assert (-flipped.high, -flipped.low) == pytest.approx((found.low, found.high))


@pytest.mark.parametrize(("share", "control"), [(0.05, 0.05), (0.5, 0.1), (0.95, 0.05)])
def test_the_difference_is_covered(share, control):
    """At least 95 % of 200 seeded samples less 4 standard errors; exact intervals are wider than they need be."""
    rng = np.random.default_rng(2)
    inside = 0
    for _ in range(200):
        values, controls = (rng.random(15) < share).astype(float), (rng.random((15, 39)) < control).mean(1)
        found = binomial(values, controls, np.arange(15), seed=0)[1]
        inside += found.low <= share - control <= found.high
    assert inside / 200 > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 200)


def test_one_group_has_no_interval():
    for pair in (binomial, resampled):
        effect, difference = pair(np.ones(4), np.zeros(4), np.zeros(4, int), seed=0)
        assert np.isnan([effect.low, effect.high, difference.low]).all()
        assert (effect.value, difference.value) == (1.0, 1.0)
        assert effect.warnings == ("fewer than 2 groups: no interval",)
