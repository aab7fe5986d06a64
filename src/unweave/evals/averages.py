"""Means over rows with intervals over groups and a p-value against a null: what most tests of reading come down to.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `sign_flip` | p = (1 + #(T_b >= T)) / (1 + B) | scalar | T = abs(sum of group sums about the null), signs of groups drawn | specs/evaluation.md, section 8 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from unweave.errors import DataError, InputError
from unweave.tensors.arrays import as_tensor
from unweave.tensors.estimate import Estimate
from unweave.tensors.grouped import grouped_ratio
from unweave.tensors.splits import grouping

FLIPS = 2000


def mean_estimate(
    values: Any,
    groups: Any = None,
    *,
    seed: int = 0,
    null: float | None = None,
    control: float | None = None,
    bounds: tuple[float, float] | None = None,
    draws: int = 2000,
) -> Estimate:
    """The mean of one number a row, with a 95 % interval over groups and a two-sided sign-flip test against the null.

    Args:
        values: (n,).
        groups: (n,) the document of each row; None makes every row a group of its own.
        seed: Of bootstrap and flips.
        null: Its value if there were nothing to find; None leaves the p-value out.
        control: The same mean on the control.
        bounds: Range of the values.
        draws: Of the bootstrap.

    Raises:
        DataError: No values, or one that is not finite.

    Example:
        >>> mean_estimate(np.tile([0.0, 1.0, 1.0], 40), np.arange(120) // 3, null=0.5, bounds=(0.0, 1.0)).p_value < 0.01
        True
    """
    numbers = as_tensor(values, name="values").numpy().astype(np.float64)
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all():
        raise DataError(f"values have shape {numbers.shape}: at least one finite number is needed, one a row")
    return ratio_estimate(
        numbers, np.ones_like(numbers), groups, seed=seed, null=null, control=control, bounds=bounds, draws=draws
    )


def ratio_estimate(
    numerator: Float[np.ndarray, " n"],
    denominator: Float[np.ndarray, " n"],
    groups: Any = None,
    *,
    seed: int = 0,
    null: float | None = None,
    control: float | None = None,
    bounds: tuple[float, float] | None = None,
    draws: int = 2000,
) -> Estimate:
    """The ratio of two sums over rows, with its interval over groups; arguments as in `mean_estimate`."""
    if numerator.shape != denominator.shape:
        raise InputError(f"numerator is {numerator.shape} but denominator is {denominator.shape}: one each a row")
    grouped = grouping(groups, len(numerator))
    top, bottom = (np.bincount(grouped.codes, one, grouped.count) for one in (numerator, denominator))
    found = grouped_ratio(top, bottom, n=len(numerator), seed=seed, draws=draws, bounds=bounds)
    return replace(
        found,
        null=null,
        p_value=None if null is None else sign_flip(top - null * bottom, seed=seed),
        control=control,
        warnings=found.warnings + (("no groups: every row counts as independent",) if groups is None else ()),
    )


def sign_flip(sums: Float[np.ndarray, " g"], *, seed: int = 0, flips: int = FLIPS) -> float:
    """The chance of so large a sum of group sums if each had either sign alike, the observed one counted.

    Args:
        sums: One a group, about the null.
        seed: Of the signs.
        flips: Draws of them.

    Example:
        >>> sign_flip(np.ones(40)) < 0.001, sign_flip(np.array([1.0, -1.0, 0.5, -0.5])) > 0.5
        (True, True)
    """
    signs = np.random.default_rng([seed, 11]).choice((-1.0, 1.0), size=(flips, len(sums)))
    drawn = np.abs(signs @ sums)
    observed = abs(float(sums.sum()))
    return float((1 + (drawn >= observed * (1 - 1e-12)).sum()) / (1 + flips))
