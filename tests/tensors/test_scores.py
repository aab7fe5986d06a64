"""Scores from counts equal scikit-learn's, and sums over groups equal the counts of all rows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from unweave.errors import DataError
from unweave.tensors.scores import (
    Confusion,
    all_positive_f1,
    auc,
    confusion,
    f1,
    f1_parts,
    mcc,
    precision,
    ratio,
    recall,
)

CASES = [
    "random",
    "rare",
    "perfect",
    "wrong",
    "all predicted",
    "none predicted",
    "all positive",
    "none positive",
    "one row",
]


def case(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions."""
    rng = np.random.default_rng(0)
    labels = rng.random(200) < (0.02 if name == "rare" else 0.4)
    chance = rng.random(200) < 0.3
    every, none = np.ones(200, dtype=bool), np.zeros(200, dtype=bool)
    return {
        "random": (labels, chance),
        "rare": (labels, chance),
        "perfect": (labels, labels),
        "wrong": (labels, ~labels),
        "all predicted": (labels, every),
        "none predicted": (labels, none),
        "all positive": (every, chance),
        "none positive": (none, chance),
        "one row": (every[:1], every[:1]),
    }[name]


@pytest.mark.parametrize("name", [*CASES, "one row"])
def test_scores_equal_scikit_learn(name: str) -> None:
    labels, predicted = case(name)
    counts = confusion(labels, predicted, np.zeros(len(labels), dtype=np.int64), 1).total()
    for ours, theirs in ((f1, metrics.f1_score), (precision, metrics.precision_score), (recall, metrics.recall_score)):
        assert float(ours(counts)) == pytest.approx(theirs(labels, predicted, zero_division=0), rel=1e-14)
    if len(labels) > 1:
        assert float(mcc(counts)) == pytest.approx(metrics.matthews_corrcoef(labels, predicted), rel=1e-12, abs=1e-14)
    table = metrics.confusion_matrix(labels, predicted, labels=[False, True])
    assert [[int(counts.tn), int(counts.fp)], [int(counts.fn), int(counts.tp)]] == table.tolist()


def test_groups_add_up_to_all_rows() -> None:
    labels, predicted = case("random")
    codes = np.random.default_rng(1).integers(0, 7, 200)
    parts = confusion(labels, predicted, codes, 9)  # the last two groups are empty
    whole = confusion(labels, predicted, np.zeros(200, dtype=np.int64), 1)
    for name in ("tp", "fp", "fn", "tn"):
        per_group = getattr(parts, name)
        assert per_group.shape == (9,)
        assert per_group[7:].sum() == 0
        assert per_group.sum() == getattr(whole, name)[0] == getattr(parts.total(), name)
    for group in range(7):
        one = confusion(labels[codes == group], predicted[codes == group], np.zeros((codes == group).sum(), int), 1)
        assert [getattr(one, name)[0] for name in ("tp", "fp", "fn", "tn")] == [
            getattr(parts, name)[group] for name in ("tp", "fp", "fn", "tn")
        ]
    top, bottom = f1_parts(parts)
    assert top.sum() / bottom.sum() == pytest.approx(metrics.f1_score(labels, predicted), rel=1e-14)


def test_large_counts_do_not_overflow() -> None:
    million = np.array(10**6)
    counts = Confusion(tp=million, fp=million, fn=million, tn=3 * million)
    # (3 - 1) / sqrt(2 * 2 * 4 * 4), whose square has 24 digits more than int64 holds
    assert float(mcc(counts)) == pytest.approx(2 / 8, rel=1e-14)


def test_nothing_over_nothing_is_zero() -> None:
    nothing = Confusion(tp=np.array(0), fp=np.array(0), fn=np.array(0), tn=np.array(5))
    assert [float(score(nothing)) for score in (f1, precision, recall, mcc)] == [0, 0, 0, 0]
    np.testing.assert_array_equal(ratio(np.array([1.0, 2.0]), np.array([0.0, 4.0])), [0.0, 0.5])
    assert ratio(1.0, 2.0).shape == ()


@pytest.mark.parametrize("rate", [0.01, 0.3, 1.0])
def test_calling_everything_positive_has_its_floor(rate: float) -> None:
    labels = np.arange(1000) < 1000 * rate
    assert all_positive_f1(rate) == pytest.approx(metrics.f1_score(labels, np.ones(1000, dtype=bool)), rel=1e-12)
    assert all_positive_f1(0.0) == 0


def pairs(labels: np.ndarray, scores: np.ndarray) -> float:
    """Mann and Whitney's count over all pairs, a tie one half."""
    wins = [
        1.0 if positive > negative else 0.5 if positive == negative else 0.0
        for positive in scores[labels]
        for negative in scores[~labels]
    ]
    return sum(wins) / len(wins)


@pytest.mark.parametrize("levels", [0, 1, 2, 5])
def test_auc_equals_scikit_learn_and_all_pairs(levels: int) -> None:
    rng = np.random.default_rng(levels)
    labels = rng.random(80) < 0.3
    scores = rng.normal(size=80) + labels
    scores = np.round(scores * levels) if levels else scores
    assert auc(labels, scores) == pytest.approx(metrics.roc_auc_score(labels, scores), rel=1e-13)
    assert auc(labels, scores) == pytest.approx(pairs(labels, scores), rel=1e-13)


def test_auc_knows_order_only() -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.random(60) < 0.5, rng.normal(size=60)
    assert auc(labels, np.exp(3 * scores)) == auc(labels, scores)
    assert auc(labels, -scores) == pytest.approx(1 - auc(labels, scores), rel=1e-13)
    assert auc(~labels, scores) == pytest.approx(1 - auc(labels, scores), rel=1e-13)
    assert auc(labels, np.zeros(60)) == 0.5


def test_auc_of_one_class_is_refused() -> None:
    with pytest.raises(DataError, match="AUC needs both classes, got 3 positives and 0 negatives"):
        auc(np.ones(3, dtype=bool), np.arange(3.0))
    with pytest.raises(DataError, match="got 0 positives and 2 negatives"):
        auc(np.zeros(2, dtype=bool), np.arange(2.0))
