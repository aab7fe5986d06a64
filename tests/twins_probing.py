"""Slow obvious twins of sparse probing: one labelling, one k, one column at a time; refits by scikit-learn."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class SlowProbe:
    """What the slow pipeline finds."""

    support: tuple[int, ...]
    scores: np.ndarray
    f1: float
    auc: float
    mcc: float
    precision: float
    recall: float


def slow_score(values: np.ndarray, y: np.ndarray, selector: str) -> float:
    """A selector's score of one column by its textbook definition."""
    from scipy import stats
    from sklearn import metrics

    ones, others = values[y], values[~y]
    if selector in ("mean_diff", "std_mean_diff"):
        return abs(ones.mean() - others.mean()) / (values.std() if selector == "std_mean_diff" else 1)
    if selector == "f_stat":
        return float(stats.f_oneway(ones, others).statistic)
    if selector == "welch_t":
        return abs(float(stats.ttest_ind(ones, others, equal_var=False).statistic))
    if selector == "auc":
        return abs(float(metrics.roc_auc_score(y, values)) - 0.5)
    if selector != "mutual_info":
        raise NotImplementedError(selector)
    n, ordered = len(values), np.sort(values)
    edges = [ordered[min(n - 1, int(np.ceil(n * cut / 16)))] for cut in range(1, 16)]
    bins = np.array([sum(value >= edge for edge in edges) for value in values])
    cells = len({*zip(bins.tolist(), y.tolist(), strict=True)})
    bias = (cells - len(np.unique(bins)) - len(np.unique(y)) + 1) / (2 * n)
    return max(0.0, float(metrics.mutual_info_score(bins, y)) - bias)


def slow_ranking(X: np.ndarray, y: np.ndarray, *, selector: str = "std_mean_diff") -> list[int]:
    """Columns by their score, column by column; ties go to the lower index."""
    columns = X.astype(np.float64).T
    strength = [-1.0 if values.std() < 1e-6 else slow_score(values, y, selector) for values in columns]
    return sorted(range(X.shape[1]), key=lambda column: -strength[column])


def slow_probe(
    X: np.ndarray, y: np.ndarray, held_out: np.ndarray, k: int, *, lam: float = 1.0, selector: str = "std_mean_diff"
) -> SlowProbe:
    """Rank on the training rows, standardise on them, refit with scikit-learn, score on the others."""
    from sklearn import metrics
    from sklearn.linear_model import LogisticRegression

    train = ~held_out
    support = slow_ranking(X[train], y[train], selector=selector)[:k]
    columns = X[:, support].astype(np.float64)
    standard = (columns - columns[train].mean(0)) / columns[train].std(0)
    model = LogisticRegression(class_weight="balanced", C=1 / lam, tol=1e-12, max_iter=100_000)
    model.fit(standard[train], y[train])
    scores = model.decision_function(standard)
    predicted, truth = scores[held_out] > 0, y[held_out]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns where a class is never predicted
        return SlowProbe(
            support=tuple(support),
            scores=scores,
            f1=metrics.f1_score(truth, predicted),
            auc=metrics.roc_auc_score(truth, scores[held_out]),
            mcc=metrics.matthews_corrcoef(truth, predicted),
            precision=metrics.precision_score(truth, predicted),
            recall=metrics.recall_score(truth, predicted),
        )


def held_out_rows(sweep: Any, groups: np.ndarray) -> np.ndarray:
    """Which rows a sweep held out, from the groups that its probes name."""
    codes = np.unique(groups, return_inverse=True)[1].reshape(-1)
    return np.isin(codes, sweep.probes[0].groups)
