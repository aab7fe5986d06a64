"""Scores of binary predictions, from counts that add up over groups, so that an interval over documents costs one
matrix product.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `f1_parts` | F1 = 2 TP / (2 TP + FP + FN) | two of (..., ) | numerator and denominator, each a sum over groups | van Rijsbergen 1979 |
| `mcc` | MCC | (...,) | correlation of prediction and label, 0 if a margin is empty | Matthews 1975 |
| `auc` | AUC | scalar | P(score of a positive > score of a negative), ties one half | Mann and Whitney 1947 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from unweave.errors import DataError


@dataclass(frozen=True, eq=False, kw_only=True)
class Confusion:
    """True and false positives and negatives, arrays of one shape (a scalar each, or one a group)."""

    tp: Int[np.ndarray, ...]
    fp: Int[np.ndarray, ...]
    fn: Int[np.ndarray, ...]
    tn: Int[np.ndarray, ...]

    def total(self) -> Confusion:
        """The sums over all groups."""
        tp, fp, fn, tn = (np.asarray(part.sum(0)) for part in (self.tp, self.fp, self.fn, self.tn))
        return Confusion(tp=tp, fp=fp, fn=fn, tn=tn)


def confusion(
    labels: Bool[np.ndarray, " n"], predicted: Bool[np.ndarray, " n"], codes: Int[np.ndarray, " n"], count: int
) -> Confusion:
    """The confusion counts of every group, each (count,)."""
    kinds = codes * 4 + labels * 2 + predicted
    table = np.bincount(kinds, minlength=4 * count).reshape(count, 4)
    return Confusion(tn=table[:, 0], fp=table[:, 1], fn=table[:, 2], tp=table[:, 3])


def f1_parts(counts: Confusion) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator of F1; their sums over groups give F1 of all rows."""
    return np.asarray(2 * counts.tp), np.asarray(2 * counts.tp + counts.fp + counts.fn)


def ratio(numerator: np.ndarray | np.number | float, denominator: np.ndarray | np.number | float) -> np.ndarray:
    """Numerator over denominator, 0 where the denominator is 0."""
    bottom = np.asarray(denominator, dtype=np.float64)
    return np.divide(
        np.asarray(numerator, dtype=np.float64),
        bottom,
        out=np.zeros(np.broadcast(numerator, bottom).shape),
        where=bottom != 0,
    )


def f1(counts: Confusion) -> np.ndarray:
    """2 TP / (2 TP + FP + FN), 0 where nothing is positive and nothing predicted."""
    return ratio(*f1_parts(counts))


def precision(counts: Confusion) -> np.ndarray:
    """TP / (TP + FP), 0 where nothing is predicted."""
    return ratio(counts.tp, counts.tp + counts.fp)


def recall(counts: Confusion) -> np.ndarray:
    """TP / (TP + FN), 0 where nothing is positive."""
    return ratio(counts.tp, counts.tp + counts.fn)


def mcc(counts: Confusion) -> np.ndarray:
    """Matthews' correlation of prediction and label, 0 where one of them is constant."""
    tp, fp, fn, tn = (np.asarray(part, dtype=np.float64) for part in (counts.tp, counts.fp, counts.fn, counts.tn))
    return ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))


def all_positive_f1(rate: float) -> float:
    """F1 of calling every row positive, `2 pi / (1 + pi)`: the floor to print beside an F1."""
    return 2 * rate / (1 + rate)


def auc(labels: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"]) -> float:
    """The chance that a positive scores above a negative, ties counting one half.

    Raises:
        DataError: Only one class.
    """
    from scipy.stats import rankdata

    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        raise DataError(f"AUC needs both classes, got {positives} positives and {negatives} negatives")
    ranks = rankdata(scores)
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))
