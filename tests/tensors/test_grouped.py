"""Means and ratios over groups: against a plain loop, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest

from unweave.tensors.grouped import grouped_mean, grouped_ratio


@pytest.mark.parametrize("groups", [7, 60])
def test_the_mean_is_that_of_all_rows_and_the_interval_holds_when_documents_repeat(groups):
    rng = np.random.default_rng(0)
    values = rng.normal(size=20 * groups)
    codes = rng.integers(0, groups, size=len(values))
    found = grouped_mean(values, codes, seed=3)
    assert found.value == pytest.approx(values.mean())
    assert (found.n, found.n_groups, found.seed) == (len(values), groups, 3)
    doubled = grouped_mean(np.tile(values, 2), np.tile(codes, 2), seed=3)  # twice the rows say nothing new
    assert (doubled.low, doubled.high) == (pytest.approx(found.low), pytest.approx(found.high))


def test_rows_without_a_value_and_groups_with_none_are_left_out():
    values = np.array([1.0, np.nan, 5.0, np.nan, 3.0])
    codes = np.array([0, 0, 2, 1, 2])
    found, kept = grouped_mean(values, codes, seed=0), grouped_mean(values[[0, 2, 4]], np.array([0, 1, 1]), seed=0)
    assert found == kept
    assert (found.value, found.n, found.n_groups) == (3.0, 3, 2)


def test_no_value_at_all_gives_nan_and_says_so():
    found = grouped_mean(np.array([np.nan, np.nan]), np.array([0, 1]), seed=0)
    assert np.isnan(found.value)
    assert (found.n, found.n_groups) == (0, 0)
    assert found.warnings == ("fewer than 2 groups: no interval",)


def test_a_mean_is_the_ratio_of_sums_and_rows():
    rng = np.random.default_rng(1)
    values, codes = rng.random(300), np.arange(300) // 5
    sums = np.array([values[codes == code].sum() for code in range(60)])
    ratio = grouped_ratio(sums, np.full(60, 5.0), n=300, seed=0, bounds=(0.0, 1.0))
    mean = grouped_mean(values, codes, seed=0, bounds=(0.0, 1.0))
    assert [ratio.value, ratio.low, ratio.high] == pytest.approx([mean.value, mean.low, mean.high])
