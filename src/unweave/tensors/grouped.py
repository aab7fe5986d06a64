"""One mean or ratio with its 95 % interval over groups: rows of a document are not independent, documents are."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from unweave.tensors.estimate import Estimate
from unweave.tensors.resampling import ratio_intervals


def grouped_ratio(
    sums: Float[np.ndarray, " g"],
    sizes: Float[np.ndarray, " g"],
    *,
    n: int,
    seed: int,
    draws: int = 2000,
    bounds: tuple[float, float] | None = None,
) -> Estimate:
    """`sums.sum() / sizes.sum()`, resampled over groups as `ratio_intervals` does.

    Args:
        sums: One a group.
        sizes: Same shape; for a mean the rows of each group.
        n: Rows, to be told.
        seed: Of the draws.
        draws: Number of bootstrap draws.
        bounds: Range of the ratio.

    Example:
        >>> grouped_ratio(np.full(50, 4.0), np.full(50, 2.0), n=100, seed=0).value
        2.0
    """
    found = ratio_intervals(sums[:, None], sizes[:, None], seed=seed, draws=draws, bounds=bounds)
    return Estimate(
        value=float(found.value[0]),
        low=float(found.low[0]),
        high=float(found.high[0]),
        n=n,
        n_groups=len(sums),
        seed=seed,
        warnings=found.warnings,
    )


def grouped_mean(
    values: Float[np.ndarray, " n"],
    codes: Int[np.ndarray, " n"],
    *,
    seed: int,
    bounds: tuple[float, float] | None = None,
) -> Estimate:
    """The mean over rows; rows without a value, and groups with none, are left out.

    Args:
        values: NaN where there is none.
        codes: The group of each row, numbered from 0.
        seed: Of the draws.
        bounds: Range of the values.

    Example:
        >>> grouped_mean(np.array([1.0, 3.0, np.nan, 2.0]), np.array([0, 0, 1, 2]), seed=0).n_groups
        2
    """
    known = np.isfinite(values)
    sums = np.bincount(codes, weights=np.where(known, values, 0.0))
    sizes = np.bincount(codes, weights=known)
    used = sizes > 0
    return grouped_ratio(sums[used], sizes[used], n=int(known.sum()), seed=seed, bounds=bounds)
