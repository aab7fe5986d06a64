"""Intervals of an AUC that resample groups: rows are sorted once, a draw only changes their weights.

From 50 groups on the percentile interval; below, the studentised one, whose standard error in each draw comes from the
placements of the rows summed by group, so that no group counts as more than one observation.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `weights` | N_g(i) | (B, n) | how often the group of the row is drawn | Efron and Tibshirani 1993, chapter 6 |
| `placement` | V10, V01 | (B, n) | weighted share of the other class that the row is in order with, ties one half | DeLong, DeLong, Clarke-Pearson 1988, eq. 3 |
| `errors` | se(AUC) | (B,) | placements minus AUC, summed by group, then squared | Obuchowski 1997, eq. 3 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from unweave.errors import DataError
from unweave.tensors.estimate import Estimate
from unweave.tensors.resampling import PERCENTILE_FROM, WARN_BELOW, bounded, multinomial_counts, pivots

BLOCK_BYTES = 1 << 25
"""Bound on one array of draws times rows."""


@dataclass(frozen=True, eq=False, kw_only=True)
class _Sorted:
    """Rows by falling score, as what a draw needs of them."""

    labels: Bool[np.ndarray, " n"]
    codes: Int[np.ndarray, " n"]
    first: Int[np.ndarray, " n"]
    """Place of the first row with the same score."""
    last: Int[np.ndarray, " n"]
    """One past the place of the last."""


def auc_estimate(
    labels: Bool[np.ndarray, " n"],
    scores: Float[np.ndarray, " n"],
    codes: Int[np.ndarray, " n"],
    *,
    seed: int,
    draws: int = 2000,
) -> Estimate:
    """The AUC with a 95 % interval over groups; its null is 1/2.

    Args:
        labels: One a row.
        scores: Larger = more positive.
        codes: Group of each row, 0 to G - 1.
        seed: Of the draws.
        draws: Number of bootstrap draws of groups.

    Raises:
        DataError: One class only.

    Example:
        >>> y = np.arange(400) % 4 == 0
        >>> found = auc_estimate(y, y + np.random.default_rng(0).normal(size=400), np.arange(400) // 5, seed=0)
        >>> found.low < found.value < found.high, found.n_groups
        (True, 80)
    """
    if not 0 < labels.sum() < len(labels):
        raise DataError(f"AUC needs both classes, got {int(labels.sum())} positives of {len(labels)} rows")
    groups = int(codes.max()) + 1
    rows = _sorted(labels, scores, codes)
    value, error = _aucs(rows, np.ones((1, groups)), with_errors=True)
    if groups < 2:
        return _estimate(
            value, (float("nan"), float("nan")), len(labels), groups, seed, "fewer than 2 groups: no interval"
        )
    counts = multinomial_counts(groups, draws, seed)
    few = groups < PERCENTILE_FROM
    block = max(1, BLOCK_BYTES // (8 * len(labels)))
    parts = [_aucs(rows, counts[start : start + block], with_errors=few) for start in range(0, draws, block)]
    samples, errors = (np.concatenate(column) for column in zip(*parts, strict=True))
    tails = (0.025, 0.975)
    if few:
        lower, upper = pivots((samples - value)[:, None], error, errors[:, None], tails, groups)
        low, high = value - upper * error, value - lower * error
    else:
        low, high = (np.array([end]) for end in np.nanquantile(samples, tails))
    low, high = bounded(value, low, high, (0.0, 1.0), groups, tails[0])
    warning = f"only {groups} groups: the interval is rough" if groups < WARN_BELOW else ""
    return _estimate(value, (float(low[0]), float(high[0])), len(labels), groups, seed, warning)


def _estimate(
    value: np.ndarray, ends: tuple[float, float], rows: int, groups: int, seed: int, warning: str
) -> Estimate:
    return Estimate(
        value=float(value[0]),
        low=ends[0],
        high=ends[1],
        n=rows,
        n_groups=groups,
        null=0.5,
        seed=seed,
        warnings=(warning,) if warning else (),
    )


def _sorted(labels: np.ndarray, scores: np.ndarray, codes: np.ndarray) -> _Sorted:
    order = np.argsort(scores, kind="stable")
    ascending = scores[order]
    return _Sorted(
        labels=labels[order],
        codes=codes[order],
        first=np.searchsorted(ascending, ascending, side="left"),
        last=np.searchsorted(ascending, ascending, side="right"),
    )


def _aucs(rows: _Sorted, counts: np.ndarray, *, with_errors: bool) -> tuple[np.ndarray, np.ndarray]:
    """AUC of each draw, NaN where it has one class only, and its standard error (zeros if not wanted)."""
    weights = counts[:, rows.codes]
    masses = [(weights * kind).sum(1) for kind in (rows.labels, ~rows.labels)]
    with np.errstate(divide="ignore", invalid="ignore"):
        below = _mass_below(weights * ~rows.labels, rows) / masses[1][:, None]
        found = (weights * rows.labels * below).sum(1) / masses[0]
        if not with_errors:
            return found, np.zeros(len(counts))
        above = 1 - _mass_below(weights * rows.labels, rows) / masses[0][:, None]
        placement = np.where(rows.labels, below / masses[0][:, None], above / masses[1][:, None])
        share = np.where(rows.labels, 1 / masses[0][:, None], 1 / masses[1][:, None])
        own = np.zeros((len(rows.codes), counts.shape[1]))
        own[np.arange(len(rows.codes)), rows.codes] = 1.0
        influence = (placement - share * found[:, None]) @ own
        groups = counts.shape[1]
        errors = np.sqrt((counts * np.square(influence)).sum(1) * groups / max(1, groups - 1))
    return found, errors


def _mass_below(weights: np.ndarray, rows: _Sorted) -> np.ndarray:
    """For every row, the weight of rows with a lower score and half of that with an equal one."""
    running = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(weights, axis=1)], axis=1)
    return (running[:, rows.first] + running[:, rows.last]) / 2
