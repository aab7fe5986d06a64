"""The mean of an effect and of its difference to a control, item by item, each with its interval over groups: by
resampling for effects of any size, from the binomial distribution for shares.

A share of few items resamples badly. Where 12 of 15 items are right, draws that hold nearly all right ones have hardly
any spread, their studentised values are huge, and the interval of a difference that cannot leave -1 .. 1 reaches -2.
The exact interval of a share has no such draws; for a difference the sides of the two are put together.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `effective` | n* = p (1 - p) / se^2 (z / t_(G-1))^2 | scalar | items that would be as sure if they were independent | Korn and Graubard 1998 |
| `exact` | quantiles of Beta(n* p, n* (1 - p) + 1) and Beta(n* p + 1, n* (1 - p)) | 2 | share | Clopper and Pearson 1934; with n*: Korn and Graubard 1998 |
| `low` | d - sqrt((p1 - l1)^2 + (u2 - p2)^2 - 2 rho (p1 - l1)(u2 - p2)) | scalar | difference of shares; rho above 0 counts as 0 | Newcombe 1998, method 10 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np
from jaxtyping import Float, Int

from unweave.tensors.estimate import Estimate
from unweave.tensors.resampling import WARN_BELOW, ratio_intervals

Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""

Paired = Callable[..., tuple[Estimate, Estimate]]
"""(values, controls, codes, seed=) -> (the mean, the mean difference)."""


def resampled(
    values: Float[np.ndarray, " n"], controls: Float[np.ndarray, " n"], codes: Int[np.ndarray, " n"], *, seed: int
) -> tuple[Estimate, Estimate]:
    """Means by the bootstrap over groups, both from the same draws.

    Args:
        values: One an item; NaN where there is none.
        controls: The same measurement on the control.
        codes: The group of each item, numbered from 0.
        seed: Of the draws.

    Example:
        >>> effect, difference = resampled(np.array([1.0, 2.0]), np.array([0.0, 1.0]), np.arange(2), seed=0)
        >>> effect.value, difference.value
        (1.5, 1.0)
    """
    columns = np.stack([values, values - controls], 1)
    top, bottom, counts = _sums(columns, codes)
    found = ratio_intervals(top, bottom, seed=seed)
    effect, difference = (
        Estimate(
            value=float(found.value[one]), low=float(found.low[one]), high=float(found.high[one]), n=counts[one],
            n_groups=len(top), seed=seed, warnings=found.warnings,
        )
        for one in range(2)
    )  # fmt: skip
    return effect, difference


def binomial(
    values: Float[np.ndarray, " n"], controls: Float[np.ndarray, " n"], codes: Int[np.ndarray, " n"], *, seed: int
) -> tuple[Estimate, Estimate]:
    """Means of shares by exact intervals over as many items as the groups are worth, without draws.

    Args:
        values: Shares, one an item, whose mean lies in 0 .. 1; NaN where there is none.
        controls: The same measurement on the control.
        codes: The group of each item, numbered from 0.
        seed: Of the test that they belong to; nothing is drawn here.

    Example:
        >>> effect, difference = binomial(np.r_[np.ones(12), np.zeros(3)], np.full(15, 0.03), np.arange(15), seed=0)
        >>> round(difference.value, 2), difference.low > 0.4
        (0.77, True)
    """
    top, bottom, counts = _sums(np.stack([values, controls, values - controls], 1), codes)
    groups = len(top)
    warnings = (f"only {groups} groups: the interval is rough",) if groups < WARN_BELOW else ()
    means = top.sum(0) / bottom.sum(0)
    options = {"n_groups": groups, "seed": seed}
    if groups < 2:
        lost, said = float("nan"), ("fewer than 2 groups: no interval",)
        one, two = (
            Estimate(value=float(means[place]), low=lost, high=lost, n=counts[place], **options, warnings=said)
            for place in (0, 2)
        )
        return one, two
    errors = np.sqrt(np.square(top - means * bottom).sum(0) * groups / (groups - 1)) / bottom.sum(0)
    own, control = (exact(means[place], effective(means[place], errors[place], groups)) for place in (0, 1))
    product = errors[0] * errors[1]
    rho = (errors[0] ** 2 + errors[1] ** 2 - errors[2] ** 2) / (2 * product) if product > 0 else 0.0
    rho = float(np.clip(rho, -1.0, 0.0))
    down, up = (means[0] - own[0], own[1] - means[0]), (control[1] - means[1], means[1] - control[0])
    half = [sqrt(max(0.0, a * a + b * b - 2 * rho * a * b)) for a, b in zip(down, up, strict=True)]
    effect = Estimate(value=float(means[0]), low=own[0], high=own[1], n=counts[0], **options, warnings=warnings)
    difference = Estimate(
        value=float(means[2]), low=max(-1.0, float(means[2] - half[0])), high=min(1.0, float(means[2] + half[1])),
        n=counts[2], **options, warnings=warnings,
    )  # fmt: skip
    return effect, difference


def exact(share: float, count: float | int) -> tuple[float, float]:
    """The exact 95 % interval of a share of so many independent items, which need not be a whole number.

    Args:
        share: In 0 .. 1.
        count: Above 0.

    Example:
        >>> [round(one, 3) for one in exact(0.8, 15)]
        [0.519, 0.957]
    """
    from scipy.stats import beta

    hits = share * count
    low = float(beta.ppf(0.025, hits, count - hits + 1)) if share > 0 else 0.0
    high = float(beta.ppf(0.975, hits + 1, count - hits)) if share < 1 else 1.0
    return low, high


def effective(share: float, error: float, groups: int) -> float:
    """Independent items that a share with this standard error over groups is worth; groups where nothing varies.

    Args:
        share: Of the items.
        error: Its standard error over groups.
        groups: Two or more.
    """
    from scipy.stats import t as student

    count = share * (1 - share) / error**2 if error > 0 and 0 < share < 1 else float(groups)
    return float(count * (Z / student.ppf(0.975, groups - 1)) ** 2)


def _sums(columns: Float[np.ndarray, "n p"], codes: Int[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Sums and sizes of each group, and how many items there are; groups and items without a value are left out."""
    known = np.isfinite(columns)
    given = np.where(known, columns, 0.0)
    groups = int(codes.max()) + 1
    top, bottom = (
        np.stack([np.bincount(codes, one[:, place], groups) for place in range(columns.shape[1])], 1)
        for one in (given, known.astype(np.float64))
    )
    used = (bottom > 0).any(1)
    return top[used], bottom[used], known.sum(0).tolist()
