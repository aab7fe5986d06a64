"""What a statistic is worth among null draws, and a p-value or a best score after many have been looked at.

Answers to different questions. Benjamini-Hochberg: of those called found, what share is false. Holm: the chance that
any of those called found is false. Max-statistic: the
chance that the best of everything searched is as good with nothing to find. Best-of correction: what the winner scores
on groups that did not choose it (BBC: a bootstrap draw of groups chooses, the groups left out score).

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `benjamini_hochberg` | min over j >= i of p_(j) m / j | shape of p | false discovery rate at which the entry would still be found | Benjamini and Hochberg 1995 |
| `holm` | max over j <= i of min(1, (m - j + 1) p_(j)) | (m,) | family-wise p-value | Holm 1979 |
| `rank_p` | (1 + #(T_b >= T)) / (1 + B) | scalar | p-value of one statistic among B null draws | North, Curtis and Sham 2002 |
| `max_statistic_p` | (1 + #(max_b >= t)) / (1 + B) | shape of t | family-wise p-value | Westfall and Young 1993 |
| `corrected` | BBC | scalar | mean over draws of the out-of-bag score of the in-bag winner | Tsamardinos, Greasidou, Borboudakis 2018, algorithm 5 |
| `pairs` | W | (G, G, m) | for each pair of groups, how often a positive of the first beats a negative of the second | Mann and Whitney 1947 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from unweave.errors import DataError
from unweave.tensors.resampling import multinomial_counts

BLOCK = 256
"""Draws worked on at once: bounds memory at `BLOCK` times the number of candidates."""
ROUNDING = 1e-12
"""A draw that is less than this below a statistic is as large."""


@dataclass(frozen=True, kw_only=True)
class BestOf:
    """The best of many candidates by one test set, and what that is worth."""

    winner: int
    candidates: int
    naive: float
    """Its score on the very groups that chose it."""
    corrected: float
    """Mean score of in-bag winners on the groups their draw left out."""
    low: float
    """2.5 % quantile over draws."""
    high: float
    """97.5 % quantile over draws."""
    draws: int
    """Draws whose left-out groups had a score."""

    @property
    def optimism(self) -> float:
        """How much choosing by the test set flatters."""
        return self.naive - self.corrected


def benjamini_hochberg(p_values: Float[np.ndarray, ...]) -> Float[np.ndarray, ...]:
    """The false discovery rate at which each entry would still be found; NaN entries were not tested and stay NaN.

    Example:
        >>> benjamini_hochberg(np.array([0.01, 0.02, 0.9])).round(3).tolist()
        [0.03, 0.03, 0.9]
    """
    flat = np.asarray(p_values, dtype=np.float64).reshape(-1)
    tested = np.flatnonzero(~np.isnan(flat))
    order = tested[np.argsort(flat[tested], kind="stable")]
    steps = flat[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted = np.full(flat.shape, np.nan)
    adjusted[order] = np.minimum(np.minimum.accumulate(steps[::-1])[::-1], 1.0)
    return adjusted.reshape(np.shape(p_values))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's family-wise p-values.

    Args:
        p_values: One a hypothesis.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(np.minimum(1.0, values[order] * np.arange(len(values), 0, -1)))
    adjusted = np.empty_like(values)
    adjusted[order] = steps
    return adjusted.tolist()


def max_statistic_p(observed: Float[np.ndarray, ...], maxima: Float[np.ndarray, " b"]) -> Float[np.ndarray, ...]:
    """The share of null draws whose maximum over everything searched is at least as large, the observed one counted.

    Args:
        observed: Statistics, larger = further from the null.
        maxima: The largest statistic of each null draw, over the same search.

    Example:
        >>> max_statistic_p(np.array([5.0, 1.0]), np.array([2.0, 3.0, 4.0])).tolist()
        [0.25, 1.0]
    """
    ordered = np.sort(maxima)
    at_least = len(ordered) - np.searchsorted(ordered, observed, side="left")
    return (1 + at_least) / (1 + len(ordered))


def rank_p(observed: float, drawn: Sequence[float] | Float[np.ndarray, " b"]) -> float:
    """The share of null draws at least as large, the observed one counted: `(1 + #(T_b >= T)) / (1 + B)`.

    Draws that are equal up to rounding count.

    Args:
        observed: A statistic, larger = further from the null.
        drawn: The same statistic of each null draw.

    Example:
        >>> rank_p(3.0, [1.0, 3.0, 4.0, 0.5])
        0.6
    """
    return float((1 + np.count_nonzero(np.asarray(drawn, dtype=np.float64) >= observed - ROUNDING)) / (1 + len(drawn)))


def best_of_ratios(
    numerator: Float[np.ndarray, "g m"], denominator: Float[np.ndarray, "g m"], *, seed: int, draws: int = 2000
) -> BestOf:
    """The best of m candidates by a ratio of sums over groups, such as F1, corrected for the choice.

    Args:
        numerator: One row a group, one column a candidate.
        denominator: Same shape.
        seed: Of the draws of groups.
        draws: Number of them.

    Raises:
        DataError: Fewer than two groups, or no draw leaves a group with a score out.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> found = best_of_ratios(rng.random((40, 500)), np.ones((40, 500)), seed=0)
        >>> found.naive > 0.6, abs(found.corrected - 0.5) < 0.05  # every candidate has mean 1/2
        (True, True)
    """
    top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    whole = _ratio(top.sum(0), bottom.sum(0))

    def out_of_bag(counts: np.ndarray) -> np.ndarray:
        winners = np.argmax(np.nan_to_num(_ratio(counts @ top, counts @ bottom), nan=-np.inf), axis=1)
        left = counts == 0
        return _ratio((left * top[:, winners].T).sum(1), (left * bottom[:, winners].T).sum(1))

    return _best_of(whole, len(top), out_of_bag, seed=seed, draws=draws)


def best_of_aucs(
    labels: Bool[np.ndarray, " n"],
    scores: Float[np.ndarray, "n m"],
    codes: Int[np.ndarray, " n"],
    *,
    seed: int,
    draws: int = 400,
) -> BestOf:
    """The best of m candidates by AUC, corrected for the choice; memory `8 G^2 m` bytes.

    Args:
        labels: One a row.
        scores: One column a candidate.
        codes: Group of each row, 0 to G - 1.
        seed: Of the draws of groups.
        draws: Number of them.

    Raises:
        DataError: One class only, fewer than two groups, or no draw leaves both classes out.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y, noise = np.arange(200) % 2 == 0, rng.normal(size=(200, 50))
        >>> found = best_of_aucs(y, noise, np.arange(200) // 10, seed=0)
        >>> found.naive > 0.57, found.low < 0.5 < found.high
        (True, True)
    """
    if not 0 < labels.sum() < len(labels):
        raise DataError(f"AUC needs both classes, got {int(labels.sum())} positives of {len(labels)} rows")
    groups = int(codes.max()) + 1
    pairs = pair_wins(labels, scores, codes, groups)
    positives, negatives = (np.bincount(codes[kind], minlength=groups).astype(float) for kind in (labels, ~labels))
    whole = pairs.sum((0, 1)) / (positives.sum() * negatives.sum())

    def out_of_bag(counts: np.ndarray) -> np.ndarray:
        half = (counts @ pairs.reshape(groups, -1)).reshape(len(counts), groups, -1)
        wins = np.einsum("bgm,bg->bm", half, counts)
        mass = (counts @ positives) * (counts @ negatives)
        winners = np.argmax(np.where(mass[:, None] > 0, wins, -np.inf), axis=1)
        left = (counts == 0).astype(float)
        rest = np.einsum("bg,ghb,bh->b", left, pairs[:, :, winners], left)
        return _ratio(rest, (left @ positives) * (left @ negatives))

    return _best_of(whole, groups, out_of_bag, seed=seed, draws=draws)


def pair_wins(
    labels: Bool[np.ndarray, " n"], scores: Float[np.ndarray, "n m"], codes: Int[np.ndarray, " n"], groups: int
) -> Float[np.ndarray, "g g m"]:
    """For every candidate and pair of groups, how many pairs (positive of the first, negative of the second) are in
    order, ties one half.
    """
    found = np.empty((groups, groups, scores.shape[1]))
    own = np.zeros((groups, int(labels.sum())))
    own[codes[labels], np.arange(own.shape[1])] = 1.0
    positive, negative, group = scores[labels], scores[~labels], codes[~labels]
    for candidate in range(scores.shape[1]):
        order = np.argsort(negative[:, candidate], kind="stable")
        below = np.zeros((len(order) + 1, groups))
        below[np.arange(1, len(order) + 1), group[order]] = 1.0
        np.cumsum(below, axis=0, out=below)
        ordered, values = negative[order, candidate], positive[:, candidate]
        wins = (below[np.searchsorted(ordered, values)] + below[np.searchsorted(ordered, values, side="right")]) / 2
        found[:, :, candidate] = own @ wins
    return found


def _best_of(
    whole: np.ndarray, groups: int, out_of_bag: Callable[[np.ndarray], np.ndarray], *, seed: int, draws: int
) -> BestOf:
    if groups < 2:
        raise DataError("one group only: a winner cannot be scored on groups that did not choose it")
    counts = multinomial_counts(groups, draws, seed)
    found = np.concatenate([out_of_bag(counts[first : first + BLOCK]) for first in range(0, draws, BLOCK)])
    found = found[~np.isnan(found)]
    if not len(found):
        raise DataError(f"no draw of {groups} groups leaves out rows that can be scored: more groups are needed")
    winner = int(np.nanargmax(whole))
    low, high = np.quantile(found, (0.025, 0.975))
    return BestOf(
        winner=winner,
        candidates=len(whole),
        naive=float(whole[winner]),
        corrected=float(found.mean()),
        low=float(low),
        high=float(high),
        draws=len(found),
    )


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """NaN where there is nothing to divide by."""
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom != 0)
