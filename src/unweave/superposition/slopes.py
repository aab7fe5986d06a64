"""How much a score of a grid of models moves with decay and with width, and whether that holds for other documents.

    slope = mean over seeds of [ sum (dial - mean dial) (score - mean score) / sum (dial - mean dial)^2 ]

Sums go over models with the other dial held fixed. Where every seed has documents drawn with replacement, the spread
between seeds is that of one estimate over documents: it does not shrink with the number of draws.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `error` | s | scalar | `sd / sqrt(S)` over S seeds; `sd sqrt(1 + 1/S)` where documents are drawn again | Efron and Tibshirani 1993, ch. 6 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unweave.errors import DataError, unknown_name
from unweave.tensors.estimate import Estimate


def slope(
    rows: Sequence[Mapping[str, Any]],
    score: str,
    over: str = "decay",
    *,
    beside: str = "width",
    resampled: bool = False,
) -> Estimate:
    """How much a score moves for one unit of a dial: the least-squares slope within each seed, with the other dial held
    fixed, and its interval over seeds.

    Args:
        rows: A model each, with the dials, `seed` and the score.
        score: Name of the score.
        over: The dial that moves; widths are taken as log2.
        beside: The dial that is held fixed.
        resampled: Whether each seed has documents drawn again (`train_grid(resample=True)`): the interval is then one
            over documents too.

    Returns:
        Mean slope over seeds, Student's interval, p-value of no slope.

    Raises:
        UnknownName: No such column.
        DataError: Fewer than two values of the dial.

    Example:
        >>> dials = [(s, d) for s in range(3) for d in (0, 1, 4)]
        >>> rows = [{"seed": s, "decay": d, "width": 2, "y": 3 * d + s + 0.1 * d * s} for s, d in dials]
        >>> slope(rows, "y")
        Estimate(3.100 [2.852, 3.348], n=9, groups=3, p=0.000347)
    """
    from scipy.stats import t as student

    for name in (score, over, beside, "seed"):
        if rows and name not in rows[0]:
            raise unknown_name("column", name, rows[0])
    used = [row for row in rows if row[score] == row[score]]
    slopes = _of_seeds(used, score, over, beside)
    if not slopes:
        raise DataError(f"{over} has one value only: a slope needs two or more")
    count = len(slopes)
    mean = float(np.mean(slopes))
    if count < 2:
        nan = float("nan")
        return Estimate(
            value=mean, low=nan, high=nan, n=len(used), n_groups=count, null=0.0, warnings=("one seed: no interval",)
        )
    error = float(np.std(slopes, ddof=1)) * (1 + 1 / count if resampled else 1 / count) ** 0.5
    half = float(student.ppf(0.975, count - 1)) * error
    chance = 2 * float(student.sf(abs(mean) / error, count - 1)) if error > 0 else float(mean == 0)
    return Estimate(
        value=mean, low=mean - half, high=mean + half, n=len(used), n_groups=count, null=0.0, p_value=chance
    )


def _of_seeds(used: list[Mapping[str, Any]], score: str, over: str, beside: str) -> list[float]:
    """The slope within each seed."""
    slopes = []
    for seed in dict.fromkeys(row["seed"] for row in used):
        top = bottom = 0.0
        own = [row for row in used if row["seed"] == seed]
        for fixed in dict.fromkeys(row[beside] for row in own):
            here = [row for row in own if row[beside] == fixed]
            at = np.array([float(row[over]) for row in here])
            at = np.log2(at) if over == "width" else at
            value = np.array([float(row[score]) for row in here])
            top += float((at - at.mean()) @ (value - value.mean()))
            bottom += float(np.square(at - at.mean()).sum())
        if bottom > 0:
            slopes.append(top / bottom)
    return slopes
