"""How concentrated a set of effects is: Gini's coefficient, plain or against what size alone would give.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `shares` | x_s = e_s / w_s | (s,) | effect, normalised to sum 1, over its weight | specs/evaluation.md, 4.1 |
| `gini` | G = sum_ij abs(x_i - x_j) / (2 n sum_i x_i) | scalar | 0 for equal shares, 1 - 1/n for one | same |
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unweave.errors import DataError, InputError


def gini(effects: Any, weights: Any = None) -> float:
    """Gini's coefficient of the sizes of effects, without a correction for small samples: at most 1 - 1/n.

    Args:
        effects: One number a unit; signs do not count.
        weights: What size alone would give each: sizes or variances; None weighs all alike.

    Raises:
        InputError: Fewer than two units, or weights that are not positive or of another number.
        DataError: All effects are 0, or one is not finite.

    Example:
        >>> gini([0, 0, 0, 1]), gini([1, 2], weights=[10, 20])
        (0.75, 0.0)
    """
    sizes = np.abs(np.asarray(effects, dtype=np.float64))
    if sizes.ndim != 1 or len(sizes) < 2:
        raise InputError(f"effects have shape {sizes.shape}: at least two units in one axis are needed")
    if not np.isfinite(sizes).all() or not sizes.sum():
        raise DataError("effects are all 0 or not finite: there is nothing to be concentrated")
    shares = sizes / sizes.sum()
    if weights is not None:
        masses = np.asarray(weights, dtype=np.float64)
        if masses.shape != sizes.shape or not (masses > 0).all():
            raise InputError(f"weights have shape {masses.shape}: {sizes.shape} positive numbers are needed")
        shares = shares / (masses / masses.sum())
    return float(np.abs(shares[:, None] - shares[None]).sum() / (2 * len(shares) * shares.sum()))
