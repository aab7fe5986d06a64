"""Intervals that resample groups, not rows, for ratios of sums: F1, precision, a mean per token.

A statistic theta = sum_g a_g / sum_g b_g needs only two numbers a group, so all draws together are a matrix product of
multinomial counts with `a` and `b`. From 50 groups on the percentile interval is used; below, the studentised one
(bootstrap-t), whose standard error is the linearised one of a ratio, itself a matrix product, because percentile
intervals of few groups are too short. A draw that repeats equal groups has no standard error: with 2 or 3 groups, and
where all groups but one or two have one value (F1 = 1 in most documents), many draws do, and what is left of them says
too little of the tails; the interval then reaches at least as far as Student's.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `draws` | N | (B, G) | how often each group is drawn, rows sum to G | Efron and Tibshirani 1993, chapter 6 |
| `errors` | se(theta) | (B, p) | sqrt(G/(G-1) sum_g N_g (a_g - theta b_g)^2) / sum_g N_g b_g | Cochran 1977, eq. 2.39; Efron and Tibshirani 12.5 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

PERCENTILE_FROM = 50
WARN_BELOW = 10
KEPT_NUMBERS = 500_000
"""Draws of at most so many numbers are kept for the next call, eight tables of them: 32 MB."""
NO_SPREAD = 1e-6
"""A draw whose standard error is below this times that of the data repeats equal groups: what is left is rounding."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Intervals:
    """95 % intervals of p ratios."""

    value: Float[np.ndarray, " p"]
    low: Float[np.ndarray, " p"]
    high: Float[np.ndarray, " p"]
    warnings: tuple[str, ...]


def ratio_intervals(
    numerator: Float[np.ndarray, "g p"],
    denominator: Float[np.ndarray, "g p"],
    *,
    seed: int,
    draws: int = 2000,
    level: float = 0.95,
    bounds: tuple[float, float] | None = None,
) -> Intervals:
    """Cluster-bootstrap intervals of `numerator.sum(0) / denominator.sum(0)`.

    Args:
        numerator: One row a group, one column a ratio.
        denominator: Same shape; not all zero in a column, else that column is NaN.
        seed: Of the draws; all columns share them, so differences between columns are paired.
        draws: Number of bootstrap draws.
        level: Coverage aimed at.
        bounds: Range of the ratio, for example (0, 1) for F1; intervals are clipped to it, and a ratio that sits on a
            bound in every group gets the one-sided binomial limit over groups instead of an interval of width 0.
    """
    top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    used = int((bottom != 0).any(1).sum())
    warnings = (f"only {used} groups: the interval is rough",) if used < WARN_BELOW else ()
    with np.errstate(divide="ignore", invalid="ignore"):
        value = top.sum(0) / bottom.sum(0)
        if used < 2:
            nothing = np.full_like(value, np.nan)
            return Intervals(value=value, low=nothing, high=nothing, warnings=("fewer than 2 groups: no interval",))
        counts = multinomial_counts(len(top), draws, seed)
        samples = (counts @ top) / (counts @ bottom)
        tails = ((1 - level) / 2, (1 + level) / 2)
        if used >= PERCENTILE_FROM:
            low, high = _quantiles(samples, tails)
        else:
            low, high = _studentised(top, bottom, value, samples, counts, tails, used)
    low, high = (low, high) if bounds is None else bounded(value, low, high, bounds, used, tails[0])
    return Intervals(value=value, low=low, high=high, warnings=warnings)


def combination_interval(
    numerator: Float[np.ndarray, "g p"],
    denominator: Float[np.ndarray, "g p"],
    weights: Float[np.ndarray, " p"],
    *,
    seed: int,
    draws: int = 2000,
    level: float = 0.95,
) -> Intervals:
    """The interval of `sum_p weights_p * ratio_p`, for example a mean of F1 over features or a difference of two such
    means, paired by group.

    Arguments as in `ratio_intervals`; a ratio whose denominator is 0 in a draw counts as 0 there.
    """
    top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    groups = len(top)
    used = int((bottom != 0).any(1).sum())
    value = float(_ratios(top.sum(0), bottom.sum(0)) @ weights)
    if used < 2:
        return Intervals(
            value=np.array([value]),
            low=np.array([np.nan]),
            high=np.array([np.nan]),
            warnings=("fewer than 2 groups: no interval",),
        )
    warnings = (f"only {used} groups: the interval is rough",) if used < WARN_BELOW else ()
    counts = multinomial_counts(groups, draws, seed)
    samples = _ratios(counts @ top, counts @ bottom) @ weights
    tails = ((1 - level) / 2, (1 + level) / 2)
    if used >= PERCENTILE_FROM:
        low, high = np.quantile(samples, tails)
    else:
        error = _combined_error(top, bottom, weights, np.ones((1, groups)))
        errors = _combined_error(top, bottom, weights, counts)
        lower, upper = pivots((samples - value)[:, None], error, errors[:, None], tails, used)
        low, high = float((value - upper * error)[0]), float((value - lower * error)[0])
    return Intervals(value=np.array([value]), low=np.array([low]), high=np.array([high]), warnings=warnings)


def multinomial_counts(groups: int, draws: int, seed: int) -> Float[np.ndarray, "b g"]:
    """How often each group is drawn in each of the draws of G groups with replacement; not to be written to."""
    make = _kept_counts if groups * draws <= KEPT_NUMBERS else _counts
    return make(groups, draws, seed)


def _counts(groups: int, draws: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(groups, np.full(groups, 1 / groups), size=draws).astype(np.float64)
    counts.flags.writeable = False
    return counts


_kept_counts = lru_cache(maxsize=8)(_counts)
"""A table of tests asks for the same draws at every entry."""


def _studentised(
    top: np.ndarray,
    bottom: np.ndarray,
    value: np.ndarray,
    samples: np.ndarray,
    counts: np.ndarray,
    tails: tuple[float, float],
    used: int,
) -> tuple[np.ndarray, np.ndarray]:
    error = _linearised(top, bottom, value, value[None], np.ones((1, len(top))))[0]
    errors = _linearised(top, bottom, value, samples, counts)
    lower, upper = pivots(samples - value, error, errors, tails, used)
    return value - upper * error, value - lower * error


def pivots(
    shifts: np.ndarray, error: np.ndarray, errors: np.ndarray, tails: tuple[float, float], used: int
) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of the studentised draws, widened to Student's where a tail's share of the draws has no spread."""
    from scipy.special import stdtrit

    spread = np.isfinite(errors) & (errors > NO_SPREAD * error)
    studentised = np.divide(shifts, errors, out=np.full(shifts.shape, np.nan), where=spread)
    lower, upper = _quantiles(studentised, tails)
    short = spread.mean(0) < 1 - tails[0]
    return (
        np.where(short, np.fmin(lower, stdtrit(used - 1, tails[0])), lower),
        np.where(short, np.fmax(upper, stdtrit(used - 1, tails[1])), upper),
    )


def _quantiles(draws: np.ndarray, tails: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles over the draws that have a value; NaN for a column where none has."""
    known = ~np.isnan(draws).all(0)
    low, high = np.nanquantile(np.where(known, draws, 0.0), tails, axis=0)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def _linearised(
    top: np.ndarray, bottom: np.ndarray, centre: np.ndarray, value: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """The standard error in each draw, from the residuals about `centre`: sums of squares of the numerators themselves
    would lose the digits of a small spread.
    """
    rest, shift = top - centre * bottom, value - centre
    squares = (
        counts @ np.square(rest)
        - 2 * shift * (counts @ (rest * bottom))
        + np.square(shift) * (counts @ np.square(bottom))
    )
    groups = len(top)
    return np.sqrt(np.maximum(squares, 0) * groups / (groups - 1)) / np.abs(counts @ bottom)


def _ratios(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom != 0)


def _combined_error(top: np.ndarray, bottom: np.ndarray, weights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Linearised standard error of the combination in each draw: groups contribute to all ratios at once, so their
    parts are added before squaring.
    """
    sums = counts @ bottom
    scale = np.divide(weights, sums, out=np.zeros_like(sums), where=sums != 0)
    influence = scale @ top.T - (scale * _ratios(counts @ top, sums)) @ bottom.T
    groups = len(top)
    return np.sqrt((counts * np.square(influence)).sum(1) * groups / (groups - 1))


def bounded(
    value: np.ndarray, low: np.ndarray, high: np.ndarray, bounds: tuple[float, float], groups: int, tail: float
) -> tuple[np.ndarray, np.ndarray]:
    """The interval clipped to the range of the statistic; a value on a bound gets the one-sided binomial limit over
    groups on its other side.
    """
    least, most = bounds
    span = (most - least) * (1 - tail ** (1 / groups))
    low = np.where(value >= most, most - span, low)
    high = np.where(value <= least, least + span, high)
    return np.clip(low, least, value), np.clip(high, value, most)
