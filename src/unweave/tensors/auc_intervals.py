"""Intervals of an AUC that resample groups.

An AUC is a sum over pairs of groups, so all draws together are two matrix products with the table of pairs won. From 50
groups on the percentile interval; below, the studentised one, whose standard error in each draw comes from the
placements of the rows summed by group, so that no group counts as more than one observation. With very many groups the
table would be too large: rows are sorted once then, and a draw only changes their weights.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `pairs` | W | (G, G) | pairs (positive of the first group, negative of the second) in order, ties one half | Mann and Whitney 1947 |
| `counts` | N | (B, G) | how often each group is drawn | Efron and Tibshirani 1993, chapter 6 |
| `influence` | V10 - AUC, V01 - AUC | (B, G) | placements minus AUC, summed by group | DeLong, DeLong, Clarke-Pearson 1988, eq. 3; Obuchowski 1997, eq. 3 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from unweave.errors import DataError
from unweave.tensors.estimate import Estimate
from unweave.tensors.multiplicity import pair_wins
from unweave.tensors.resampling import NO_SPREAD, PERCENTILE_FROM, WARN_BELOW, bounded, multinomial_counts, pivots
from unweave.tensors.scores import auc

BLOCK_BYTES = 1 << 25
"""Bound on one array of draws times rows."""
MOST_GROUPS = 1024
"""Up to so many groups the table of pairs is used."""


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
    found = _sampled(labels, scores, codes, seed, draws)
    return _estimate(found, _ends(found), len(labels), seed)


def auc_tested(
    labels: Bool[np.ndarray, " n"],
    scores: Float[np.ndarray, " n"],
    codes: Int[np.ndarray, " n"],
    *,
    seed: int,
    draws: int = 2000,
) -> Estimate:
    """`auc_estimate` with the chance of so large an AUC where scores say nothing: the share of draws that its interval
    would have to leave out to reach 1/2, at least `2^-G` for G groups.

    Args:
        labels: One a row.
        scores: Larger = more positive; its sign must not come from these rows.
        codes: Group of each row, 0 to G - 1.
        seed: Of the draws.
        draws: Number of bootstrap draws of groups.

    Raises:
        DataError: One class only.

    Example:
        >>> y, noise = np.arange(400) % 4 == 0, np.random.default_rng(0).normal(size=400)
        >>> auc_tested(y, noise, np.arange(400) // 5, seed=0).p_value > 0.05
        True
        >>> auc_tested(y, noise + 2 * y, np.arange(400) // 5, seed=0).p_value < 0.001
        True
    """
    found = _sampled(labels, scores, codes, seed, draws)
    return replace(_estimate(found, _ends(found), len(labels), seed), p_value=_chance(found))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sampled:
    """An AUC, its value in every draw of groups, and the standard errors of both (0 where there are many groups)."""

    value: Float[np.ndarray, " 1"]
    error: Float[np.ndarray, " 1"]
    samples: Float[np.ndarray, " b"]
    errors: Float[np.ndarray, " b"]
    groups: int

    @property
    def few(self) -> bool:
        """Whether the interval is the studentised one."""
        return self.groups < PERCENTILE_FROM


def _sampled(labels: np.ndarray, scores: np.ndarray, codes: np.ndarray, seed: int, draws: int) -> _Sampled:
    if not 0 < labels.sum() < len(labels):
        raise DataError(f"AUC needs both classes, got {int(labels.sum())} positives of {len(labels)} rows")
    groups = int(codes.max()) + 1
    if groups < 2:
        value = np.array([auc(labels, scores)])
        return _Sampled(value=value, error=np.zeros(1), samples=np.empty(0), errors=np.empty(0), groups=groups)
    counts = multinomial_counts(groups, draws, seed)
    if groups <= MOST_GROUPS:
        masses = [np.bincount(codes[kind], minlength=groups).astype(float) for kind in (labels, ~labels)]
        pairs = pair_wins(labels, scores[:, None], codes, groups)[:, :, 0]
        value, error = _by_pairs(pairs, masses, np.ones((1, groups)))
        samples, errors = _by_pairs(pairs, masses, counts)
    else:
        value, error = np.array([auc(labels, scores)]), np.zeros(1)
        samples, errors = _by_rows(labels, scores, codes, counts), np.zeros(draws)
    return _Sampled(value=value, error=error, samples=samples, errors=errors, groups=groups)


def _ends(found: _Sampled) -> tuple[float, float]:
    if found.groups < 2:
        return float("nan"), float("nan")
    tails = (0.025, 0.975)
    if found.few:
        shifts = (found.samples - found.value)[:, None]
        lower, upper = pivots(shifts, found.error, found.errors[:, None], tails, found.groups)
        low, high = found.value - upper * found.error, found.value - lower * found.error
    else:
        low, high = (np.array([end]) for end in np.nanquantile(found.samples, tails))
    low, high = bounded(found.value, low, high, (0.0, 1.0), found.groups, tails[0])
    return float(low[0]), float(high[0])


def _chance(found: _Sampled) -> float:
    least = 0.5**found.groups
    if found.groups < 2:
        return 1.0
    known = ~np.isnan(found.samples)
    if found.few:
        spread = known & (found.errors > NO_SPREAD * found.error)
        if not found.error[0] or not spread.any():
            return least if found.value[0] > 0.5 else 1.0
        pivot = (found.samples[spread] - found.value[0]) / found.errors[spread]
        beyond, count = int((pivot >= (found.value[0] - 0.5) / found.error[0]).sum()), int(spread.sum())
    else:
        beyond, count = int((found.samples[known] <= 0.5).sum()), int(known.sum())
    least = max(least, (1 + beyond) / (1 + count))
    # Student's says a little more where groups are few: 500 nulls a number of groups, .045 to .058 at .05 by the larger
    return max(least, _student(found)) if found.error[0] else least


def _student(found: _Sampled) -> float:
    from scipy.stats import t as student

    return float(student.sf((found.value[0] - 0.5) / found.error[0], found.groups - 1))


def _estimate(found: _Sampled, ends: tuple[float, float], rows: int, seed: int) -> Estimate:
    warnings = ()
    if found.groups < WARN_BELOW:
        rough = f"only {found.groups} groups: the interval is rough"
        warnings = (rough if found.groups > 1 else "fewer than 2 groups: no interval",)
    return Estimate(
        value=float(found.value[0]),
        low=ends[0],
        high=ends[1],
        n=rows,
        n_groups=found.groups,
        null=0.5,
        seed=seed,
        warnings=warnings,
    )


def _by_pairs(pairs: np.ndarray, masses: list[np.ndarray], counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUC of each draw, NaN where it has one class only, and its standard error."""
    won, lost = counts @ pairs.T, counts @ pairs  # by group of the positive, by group of the negative
    positives, negatives = ((counts @ mass)[:, None] for mass in masses)
    groups = counts.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (counts * won).sum(1, keepdims=True) / (positives * negatives)
        influence = (won / negatives - found * masses[0]) / positives + (
            lost / positives - found * masses[1]
        ) / negatives
        errors = np.sqrt((counts * np.square(influence)).sum(1) * groups / (groups - 1))
    return found[:, 0], errors


def _by_rows(
    labels: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"], codes: Int[np.ndarray, " n"], counts: np.ndarray
) -> np.ndarray:
    """AUC of each draw from the rows in order of their scores."""
    order = np.argsort(scores, kind="stable")
    truth, group, ascending = labels[order], codes[order], scores[order]
    first, last = (np.searchsorted(ascending, ascending[truth], side=side) for side in ("left", "right"))
    block = max(1, BLOCK_BYTES // (8 * len(labels)))
    parts = []
    for start in range(0, len(counts), block):
        weights = counts[start : start + block][:, group]
        running = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(weights * ~truth, axis=1)], axis=1)
        below = (running[:, first] + running[:, last]) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            parts.append((weights[:, truth] * below).sum(1) / (weights[:, truth].sum(1) * running[:, -1]))
    return np.concatenate(parts)
