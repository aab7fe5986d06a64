"""Every score of a binary probe beyond F1, MCC and AUC: from counts, from the order of its scores, from its
probabilities.

Counts add up over groups (`scores.Confusion`), so those metrics take arrays of any shape. Average precision and the
area under the precision-recall curve are taken from scores, never from hard predictions. Probabilities come from the
calibrated logit: a fit with balanced classes has its zero at equal risk, and `ln(pi / (1 - pi))` moves it back to the
share of positives that the training rows had.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `f_beta` | F_beta = (1 + b^2) TP / ((1 + b^2) TP + b^2 FN + FP) | (...,) | recall counts b times as much as precision | van Rijsbergen 1979 |
| `kappa` | (p_o - p_e) / (1 - p_e) | (...,) | agreement beyond that of independent labels | Cohen 1960 |
| `fowlkes_mallows` | sqrt(P R) | (...,) | geometric mean of precision and recall | Fowlkes and Mallows 1983 |
| `average_precision` | sum_i (R_i - R_{i-1}) P_i | scalar | step sum over distinct scores | specs/probing.md 6 |
| `precision_recall_area` | PR-AUC | scalar | trapezoids between the same points, from (0, 1) | same |
| `calibrated` | s + ln(pi / (1 - pi)) | (n,) | log odds, nats | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float

from unweave.errors import DataError, InputError
from unweave.tensors.scores import Confusion, all_positive_f1, auc, confusion, f1, mcc, precision, ratio, recall

CURVE_POINTS = 100


def accuracy(counts: Confusion) -> np.ndarray:
    """Share of rows that are called what they are, 0 where there are none."""
    return ratio(counts.tp + counts.tn, counts.tp + counts.tn + counts.fp + counts.fn)


def balanced_accuracy(counts: Confusion) -> np.ndarray:
    """Mean of the shares found among positives and among negatives; an empty class counts as 0."""
    return np.asarray((recall(counts) + ratio(counts.tn, counts.tn + counts.fp)) / 2)


def f_beta(counts: Confusion, beta: float) -> np.ndarray:
    """F1 in which recall counts beta times as much as precision; 0 where nothing is positive and nothing predicted."""
    weight = beta * beta
    return ratio((1 + weight) * counts.tp, (1 + weight) * counts.tp + weight * counts.fn + counts.fp)


def fowlkes_mallows(counts: Confusion) -> np.ndarray:
    """Geometric mean of precision and recall."""
    return np.asarray(np.sqrt(precision(counts) * recall(counts)))


def kappa(counts: Confusion) -> np.ndarray:
    """Cohen's kappa, 0 where label and prediction are one and the same constant."""
    tp, fp, fn, tn = (np.asarray(part, dtype=np.float64) for part in (counts.tp, counts.fp, counts.fn, counts.tn))
    return ratio(2 * (tp * tn - fp * fn), (tp + fp) * (fp + tn) + (tp + fn) * (fn + tn))


def guessing_f1(rate: float, share: float) -> float:
    """Expected F1 of calling a random `share` of the rows positive, `2 pi q / (pi + q)`.

    Example:
        >>> round(guessing_f1(0.2, 0.5), 4)  # 2 / 7
        0.2857
    """
    return 2 * rate * share / (rate + share) if rate + share > 0 else 0.0


def precision_recall(
    labels: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " t"], Float[np.ndarray, " t"]]:
    """Precision and recall at every distinct score as threshold, from the highest score down.

    Raises:
        DataError: No positives.
    """
    positives = int(labels.sum())
    if not positives:
        raise DataError("precision and recall over thresholds need positives, got none")
    order = np.argsort(-scores, kind="stable")
    descending = scores[order]
    last = np.append(np.flatnonzero(np.diff(descending)), len(descending) - 1)
    hits = np.cumsum(labels[order])[last]
    return hits / (last + 1), hits / positives


def average_precision(labels: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"]) -> float:
    """Precision averaged over the steps of recall; tied scores are one step.

    Raises:
        DataError: No positives.
    """
    found, reached = precision_recall(labels, scores)
    return float(np.sum(np.diff(reached, prepend=0.0) * found))


def precision_recall_area(labels: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"]) -> float:
    """Area under the precision-recall curve by trapezoids, which starts at recall 0 and precision 1.

    Raises:
        DataError: No positives.
    """
    found, reached = precision_recall(labels, scores)
    return float(np.trapezoid(np.append(1.0, found), np.append(0.0, reached)))


def precision_recall_curve(
    labels: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"], *, points: int = CURVE_POINTS
) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
    """(recall, precision) at evenly spaced recalls, the first at `1 / points`: the best precision that reaches it.

    Raises:
        DataError: No positives.
    """
    found, reached = precision_recall(labels, scores)
    best = np.maximum.accumulate(found[::-1])[::-1]
    wanted = np.arange(1, points + 1) / points
    return wanted, best[np.searchsorted(reached, wanted - 1e-12)]


def calibrated(scores: Float[np.ndarray, " n"], rate: float) -> Float[np.ndarray, " n"]:
    """Log odds of being positive, from the scores of a fit with balanced classes on rows with this share of positives.

    Raises:
        InputError: The share is not strictly between 0 and 1.
    """
    if not 0 < rate < 1:
        raise InputError(f"the share of positives is {rate}: a number between 0 and 1 is needed to calibrate scores")
    return scores + math.log(rate / (1 - rate))


def log_loss(labels: Bool[np.ndarray, " n"], logits: Float[np.ndarray, " n"]) -> float:
    """Mean of minus the log probability of the label, nats a row."""
    return float(np.mean(np.logaddexp(0.0, np.where(labels, -logits, logits))))


def brier(labels: Bool[np.ndarray, " n"], logits: Float[np.ndarray, " n"]) -> float:
    """Mean squared distance of probability and label."""
    from scipy.special import expit

    return float(np.mean(np.square(expit(logits) - labels)))


def all_metrics(
    labels: Bool[np.ndarray, " n"], scores: Float[np.ndarray, " n"], *, training_rate: float
) -> dict[str, float]:
    """Every metric by name; NaN where there is one class only and the metric needs two.

    Args:
        labels: Of the rows that are scored.
        scores: Positive for the positive class; of a fit with balanced classes.
        training_rate: Share of positives among the rows it was fitted on.

    Example:
        >>> found = all_metrics(np.array([True, False]), np.array([1.0, -1.0]), training_rate=0.5)
        >>> found["f1"], found["average_precision"], round(found["log_loss"], 3)
        (1.0, 1.0, 0.313)
    """
    predicted = scores > 0
    counts = confusion(labels, predicted, np.zeros(len(labels), dtype=np.int64), 1).total()
    logits = calibrated(scores, training_rate)
    both, some = 0 < labels.sum() < len(labels), bool(labels.any())
    rate = float(labels.mean())
    return {
        "precision": float(precision(counts)),
        "recall": float(recall(counts)),
        "f1": float(f1(counts)),
        "f0_5": float(f_beta(counts, 0.5)),
        "f2": float(f_beta(counts, 2.0)),
        "mcc": float(mcc(counts)),
        "kappa": float(kappa(counts)),
        "fowlkes_mallows": float(fowlkes_mallows(counts)),
        "accuracy": float(accuracy(counts)),
        "balanced_accuracy": float(balanced_accuracy(counts)),
        "log_loss": log_loss(labels, logits),
        "brier": brier(labels, logits),
        "auc": auc(labels, scores) if both else float("nan"),
        "pr_auc": precision_recall_area(labels, scores) if some else float("nan"),
        "average_precision": average_precision(labels, scores) if some else float("nan"),
        "all_positive_f1": all_positive_f1(rate),
        "guessing_f1": guessing_f1(rate, float(predicted.mean())),
    }
