"""Intervals over groups: equal to loops over draws, right as often as they say, and sane where nothing spreads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student

import laws_tensors as laws
from unweave.tensors.resampling import combination_interval, multinomial_counts, ratio_intervals

DRAWS = 400


def sums(groups: int, ratios: int = 1, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Per-group numerators and denominators of ratios near one half."""
    rng = np.random.default_rng(seed)
    bottom = rng.integers(1, 30, size=(groups, ratios)).astype(float)
    return np.array(rng.binomial(bottom.astype(int), 0.5), dtype=float), bottom


def linear_error(top: np.ndarray, bottom: np.ndarray, times: np.ndarray) -> float:
    """The linearised standard error of a ratio, group by group as it is drawn."""
    groups = len(top)
    drawn = [group for group in range(groups) for _ in range(int(times[group]))]
    total = sum(bottom[group] for group in drawn)
    theta = sum(top[group] for group in drawn) / total
    squares = sum((top[group] - theta * bottom[group]) ** 2 for group in drawn)
    return float(np.sqrt(groups / (groups - 1) * squares) / total)


def slow_interval(top: np.ndarray, bottom: np.ndarray, *, seed: int, level: float) -> tuple[float, float]:
    """The interval by its definition, one draw at a time."""
    groups = len(top)
    value = top.sum() / bottom.sum()
    tails = [(1 - level) / 2, (1 + level) / 2]
    times = multinomial_counts(groups, DRAWS, seed)
    draws = [float(one @ top / (one @ bottom)) for one in times]
    if groups >= 50:
        low, high = np.quantile(draws, tails)
        return float(low), float(high)
    error = linear_error(top, bottom, np.ones(groups))
    pivots = [(draw - value) / linear_error(top, bottom, one) for draw, one in zip(draws, times, strict=True)]
    lower, upper = np.quantile(pivots, tails)
    return value - upper * error, value - lower * error


@pytest.mark.parametrize("level", [0.95, 0.8])
@pytest.mark.parametrize("groups", [8, 20, 49, 50, 80])
def test_intervals_equal_loops_over_draws(groups: int, level: float) -> None:
    top, bottom = sums(groups, 3)
    found = ratio_intervals(top, bottom, seed=7, draws=DRAWS, level=level)
    for column in range(3):
        low, high = slow_interval(top[:, column], bottom[:, column], seed=7, level=level)
        # the same draws in another order of summation
        np.testing.assert_allclose([found.low[column], found.high[column]], [low, high], rtol=1e-10)
        assert found.value[column] == pytest.approx(top[:, column].sum() / bottom[:, column].sum(), rel=1e-14)
    assert found.warnings == (("only 8 groups: the interval is rough",) if groups == 8 else ())


@pytest.mark.parametrize("groups", [2, 3, 8, 20, 60])
def test_one_ratio_is_a_combination_of_one(groups: int) -> None:
    top, bottom = sums(groups)
    one = ratio_intervals(top, bottom, seed=3, draws=DRAWS)
    same = combination_interval(top, bottom, np.ones(1), seed=3, draws=DRAWS)
    np.testing.assert_allclose([same.low[0], same.high[0]], [one.low[0], one.high[0]], rtol=1e-10)
    assert same.value[0] == pytest.approx(one.value[0], rel=1e-14)
    assert same.warnings == one.warnings


def slow_combination(top: np.ndarray, bottom: np.ndarray, weights: np.ndarray, *, seed: int) -> tuple[float, float]:
    """The interval of a weighted sum of ratios, one draw, group and ratio at a time."""
    groups, ratios = top.shape

    def statistic(times: np.ndarray) -> tuple[float, float]:
        totals = [(times @ top[:, j], times @ bottom[:, j]) for j in range(ratios)]
        theta = [a / b if b else 0.0 for a, b in totals]
        squares = 0.0
        for group in range(groups):
            parts = [
                weights[j] * (top[group, j] - theta[j] * bottom[group, j]) / totals[j][1]
                for j in range(ratios)
                if totals[j][1]
            ]
            squares += times[group] * sum(parts) ** 2
        return sum(w * t for w, t in zip(weights, theta, strict=True)), np.sqrt(groups / (groups - 1) * squares)

    value, error = statistic(np.ones(groups))
    draws = [statistic(times) for times in multinomial_counts(groups, DRAWS, seed)]
    if groups >= 50:
        low, high = np.quantile([draw for draw, _ in draws], [0.025, 0.975])
        return float(low), float(high)
    lower, upper = np.quantile([(draw - value) / spread for draw, spread in draws], [0.025, 0.975])
    return value - upper * error, value - lower * error


@pytest.mark.parametrize("groups", [12, 55])
@pytest.mark.parametrize("weights", [[0.25] * 4, [1.0, -1.0, 0.0, 0.0], [2.0, 0.5, -1.0, 3.0]])
def test_combinations_equal_loops_over_draws(groups: int, weights: list[float]) -> None:
    top, bottom = sums(groups, 4)
    bottom[: groups // 2, 2] = top[: groups // 2, 2] = 0  # a ratio that half of the groups know nothing of
    found = combination_interval(top, bottom, np.array(weights), seed=5, draws=DRAWS)
    low, high = slow_combination(top, bottom, np.array(weights), seed=5)
    np.testing.assert_allclose([found.low[0], found.high[0]], [low, high], rtol=1e-9)


def test_a_difference_of_equal_ratios_is_paired() -> None:
    top, bottom = sums(20)
    twice = combination_interval(
        np.repeat(top, 2, axis=1), np.repeat(bottom, 2, axis=1), np.array([1.0, -1.0]), seed=0, draws=DRAWS
    )
    # a column minus itself: rounding is all that is left
    assert abs(twice.value[0]) < 1e-15
    assert max(abs(twice.low[0]), abs(twice.high[0])) < 1e-14


def by_group(rows: np.ndarray, seed: int) -> Any:
    groups, size, worlds = rows.shape
    return ratio_intervals(rows.sum(1), np.full((groups, worlds), float(size)), seed=seed, draws=1000)


def by_row(rows: np.ndarray, seed: int) -> Any:
    flat = rows.reshape(-1, rows.shape[2])
    return ratio_intervals(flat, np.ones_like(flat), seed=seed, draws=200)


def test_intervals_over_groups_cover_as_often_as_they_say() -> None:
    laws.coverage_law(by_group)


def test_intervals_over_rows_cover_far_too_rarely() -> None:
    # fact 16: about 40 %; 600 worlds have a standard error of 2 %
    assert laws.coverage(by_row, 40, worlds=300, batches=2) < 0.5


@pytest.mark.parametrize("groups", [2, 3, 4, 10])
def test_few_groups_cover_as_often_too(groups: int) -> None:
    # 2000 worlds: 4 standard errors are 2 %
    assert 0.92 <= laws.coverage(by_group, groups) <= 0.98


@pytest.mark.parametrize("groups", [12, 30])
@pytest.mark.parametrize("rate", [0.8, 0.95])
def test_rare_errors_are_covered(groups: int, rate: float) -> None:
    # most groups perfect, some wrong throughout: what is left of bootstrap-t alone covers 60 to 80 % here
    rng = np.random.default_rng(0)
    worlds = 2000
    top = (rng.random((groups, worlds)) < rate).astype(float)
    found = ratio_intervals(top, np.ones_like(top), seed=0, draws=1000, bounds=(0.0, 1.0))
    # 95 % less 4 standard errors of 2000 worlds, less what a binomial of 30 rounds off (Student's covers 93 % there)
    assert ((found.low <= rate) & (rate <= found.high)).mean() > 0.91


def test_two_groups_get_students_interval() -> None:
    top, bottom = np.array([[1.0], [3.0]]), np.ones((2, 1))
    found = ratio_intervals(top, bottom, seed=0, draws=DRAWS)
    half = student.ppf(0.975, 1) * 1.0  # standard error of the mean of 1 and 3
    np.testing.assert_allclose([found.low[0], found.high[0]], [2 - half, 2 + half], rtol=1e-12)
    assert found.warnings == ("only 2 groups: the interval is rough",)


@pytest.mark.parametrize("groups", [0, 1])
def test_one_group_has_no_interval(groups: int) -> None:
    top, bottom = np.ones((3, 2)), np.zeros((3, 2))
    bottom[:groups] = 2.0
    found = ratio_intervals(top * (bottom > 0), bottom, seed=0, bounds=(0.0, 1.0))
    assert np.isnan(found.low).all()
    assert np.isnan(found.high).all()
    assert (found.value == 0.5).all() if groups else np.isnan(found.value).all()
    assert found.warnings == ("fewer than 2 groups: no interval",)
    combined = combination_interval(top * (bottom > 0), bottom, np.array([0.5, 0.5]), seed=0)
    assert np.isnan([combined.low[0], combined.high[0]]).all()
    assert combined.value[0] == (0.5 if groups else 0.0)
    assert combined.warnings == found.warnings


@pytest.mark.parametrize("groups", [12, 60])
def test_a_column_without_denominators_is_nan_and_alone_in_it(groups: int) -> None:
    top, bottom = sums(groups, 2)
    alone = ratio_intervals(top[:, :1], bottom[:, :1], seed=0, draws=DRAWS, bounds=(0.0, 1.0))
    top[:, 1] = bottom[:, 1] = 0
    found = ratio_intervals(top, bottom, seed=0, draws=DRAWS, bounds=(0.0, 1.0))
    assert np.isnan([found.value[1], found.low[1], found.high[1]]).all()
    assert (found.low[0], found.high[0]) == (alone.low[0], alone.high[0])


@pytest.mark.parametrize("groups", [2, 5, 12, 60])
@pytest.mark.parametrize("ratio", [0.1, 1 / 3, 0.7])
def test_equal_groups_have_no_spread(groups: int, ratio: float) -> None:
    bottom = np.arange(1.0, groups + 1)[:, None]
    for found in (
        ratio_intervals(ratio * bottom, bottom, seed=0, draws=DRAWS),
        combination_interval(ratio * bottom, bottom, np.ones(1), seed=0, draws=DRAWS),
    ):
        np.testing.assert_allclose([found.value[0], found.low[0], found.high[0]], ratio, rtol=1e-12)


@pytest.mark.parametrize("groups", [2, 12, 60])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_ratio_on_its_bound_gets_the_binomial_limit(groups: int, value: float) -> None:
    bottom = np.full((groups, 1), 4.0)
    found = ratio_intervals(value * bottom, bottom, seed=0, draws=DRAWS, bounds=(0.0, 1.0))
    limit = 0.025 ** (1 / groups)  # the least share under which so many groups all agree in 2.5 % of samples
    expected = [limit, 1.0] if value else [0.0, 1 - limit]
    np.testing.assert_allclose([found.low[0], found.high[0]], expected, rtol=1e-12)


@pytest.mark.parametrize("groups", [3, 12, 60])
def test_intervals_stay_within_bounds_and_around_the_value(groups: int) -> None:
    bottom = np.full((groups, 1), 10.0)
    top = bottom.copy()
    top[0] = 0.0
    found = ratio_intervals(top, bottom, seed=0, draws=DRAWS, bounds=(0.0, 1.0))
    assert 0 <= found.low[0] < found.value[0] <= found.high[0] <= 1


def test_the_seed_decides_the_draws() -> None:
    top, bottom = sums(20)
    one, same, other = (ratio_intervals(top, bottom, seed=seed, draws=DRAWS) for seed in (1, 1, 2))
    assert one.low[0] == same.low[0]
    assert one.low[0] != other.low[0]
    counts = multinomial_counts(7, 50, 0)
    assert counts.shape == (50, 7)
    assert (counts.sum(1) == 7).all()
    assert (counts == counts.round()).all()


def test_shift_and_scale_move_the_interval_along() -> None:
    top, bottom = sums(20)
    plain = ratio_intervals(top, bottom, seed=0, draws=DRAWS)
    moved = ratio_intervals(3 * top + 1e6 * bottom, bottom, seed=0, draws=DRAWS)
    # a million on top of the ratio leaves ten digits of it
    np.testing.assert_allclose(moved.low, 3 * plain.low + 1e6, rtol=0, atol=1e-7)
    np.testing.assert_allclose(moved.high, 3 * plain.high + 1e6, rtol=0, atol=1e-7)
