"""Intervals of an AUC: the same as draws computed one by one, and as wide as independent documents ask for."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from unweave.errors import DataError
from unweave.tensors import auc_intervals
from unweave.tensors.auc_intervals import auc_estimate
from unweave.tensors.resampling import multinomial_counts


def rows_of(seed: int, *, groups: int, each: int, strength: float = 0.0, own: float = 0.0):
    """Labels, scores and groups; `own` is the spread that the rows of a document share."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(groups), each)
    labels = rng.permutation(np.arange(len(codes)) % 3 == 0)
    scores = rng.normal(size=len(codes)) + strength * labels + own * rng.normal(size=groups)[codes]
    return labels, scores, codes


def test_draws_equal_repeated_rows() -> None:
    labels, scores, codes = rows_of(0, groups=60, each=6, strength=1.0)
    scores = np.round(scores, 1)  # with ties
    found = auc_estimate(labels, scores, codes, seed=4, draws=200)
    repeated = []
    for counts in multinomial_counts(60, 200, 4):
        rows = np.repeat(np.arange(len(labels)), counts[codes].astype(int))
        repeated.append(roc_auc_score(labels[rows], scores[rows]))
    assert found.value == pytest.approx(roc_auc_score(labels, scores), rel=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(repeated, (0.025, 0.975))), rel=1e-10)


@pytest.mark.parametrize("groups", [12, 30, 80])
def test_nothing_to_find_is_covered(groups: int) -> None:
    """Over 120 data sets the 95 % interval misses 1/2 in 5 % of them: standard error .02."""
    missed = []
    for seed in range(120):
        labels, scores, codes = rows_of(seed, groups=groups, each=8, own=1.0)
        found = auc_estimate(labels, scores, codes, seed=seed, draws=200)
        missed.append(not found.low <= 0.5 <= found.high)
    assert np.mean(missed) < 0.05 + 4 * 0.02


def test_documents_of_one_label_widen_the_interval() -> None:
    """Where a document has one label and one score, its rows are one observation."""
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(60), 10)
    labels, scores = (np.arange(60) % 2 == 0)[codes], rng.normal(size=60)[codes]
    by_document = auc_estimate(labels, scores, codes, seed=0)
    by_row = auc_estimate(labels, scores, np.arange(600), seed=0)
    assert (by_document.high - by_document.low) > 2.5 * (by_row.high - by_row.low)  # sqrt(10) is 3.2


def test_separated_classes_end_at_one_and_not_in_a_point() -> None:
    labels, _, codes = rows_of(0, groups=20, each=6)
    found = auc_estimate(labels, labels * 1.0, codes, seed=0)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low < 0.9


def test_few_groups_warn_and_one_has_no_interval() -> None:
    labels, scores, codes = rows_of(1, groups=6, each=12)
    assert auc_estimate(labels, scores, codes, seed=0).warnings == ("only 6 groups: the interval is rough",)
    alone = auc_estimate(labels, scores, np.zeros_like(codes), seed=0)
    assert np.isnan(alone.low)
    assert alone.warnings == ("fewer than 2 groups: no interval",)
    with pytest.raises(DataError, match="AUC needs both classes, got 0 positives of 4 rows"):
        auc_estimate(np.zeros(4, dtype=bool), np.arange(4.0), np.arange(4), seed=0)


def test_very_many_groups_give_the_same_interval_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, scores, codes = rows_of(3, groups=70, each=5, strength=0.5)
    scores = np.round(scores, 1)
    by_pairs = auc_estimate(labels, scores, codes, seed=1)
    monkeypatch.setattr(auc_intervals, "MOST_GROUPS", 10)
    by_rows = auc_estimate(labels, scores, codes, seed=1)
    assert (by_rows.value, by_rows.low, by_rows.high) == pytest.approx((by_pairs.value, by_pairs.low, by_pairs.high))
