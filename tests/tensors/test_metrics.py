"""Metrics of a probe equal scikit-learn's, and calibration undoes the balancing of classes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as theirs

from unweave.errors import DataError, InputError
from unweave.tensors import metrics as ours
from unweave.tensors.scores import Confusion, confusion


def case(seed: int, *, rate: float = 0.3, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and scores that know something of them."""
    rng = np.random.default_rng(seed)
    labels = rng.random(300) < rate
    scores = rng.normal(size=300) + labels
    return labels, np.round(scores) if ties else scores


def counts_of(labels: np.ndarray, predicted: np.ndarray) -> Confusion:
    return confusion(labels, predicted, np.zeros(len(labels), dtype=np.int64), 1).total()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ties", [False, True])
def test_metrics_equal_scikit_learn(seed: int, ties: bool) -> None:
    labels, scores = case(seed, ties=ties)
    predicted = scores > 0
    found = ours.all_metrics(labels, scores, training_rate=0.3)
    logits = scores + np.log(0.3 / 0.7)
    chances = 1 / (1 + np.exp(-logits))
    precisions, recalls, _ = theirs.precision_recall_curve(labels, scores)
    expected = {
        "precision": theirs.precision_score(labels, predicted),
        "recall": theirs.recall_score(labels, predicted),
        "f1": theirs.f1_score(labels, predicted),
        "f0_5": theirs.fbeta_score(labels, predicted, beta=0.5),
        "f2": theirs.fbeta_score(labels, predicted, beta=2),
        "mcc": theirs.matthews_corrcoef(labels, predicted),
        "kappa": theirs.cohen_kappa_score(labels, predicted),
        "accuracy": theirs.accuracy_score(labels, predicted),
        "balanced_accuracy": theirs.balanced_accuracy_score(labels, predicted),
        "log_loss": theirs.log_loss(labels, chances),
        "brier": theirs.brier_score_loss(labels, chances),
        "auc": theirs.roc_auc_score(labels, scores),
        "average_precision": theirs.average_precision_score(labels, scores),
        "pr_auc": theirs.auc(recalls, precisions),
        "fowlkes_mallows": np.sqrt(theirs.precision_score(labels, predicted) * theirs.recall_score(labels, predicted)),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-12), name
    assert set(found) - set(expected) == {"all_positive_f1", "guessing_f1"}


def test_average_precision_is_of_scores_not_of_predictions() -> None:
    """The reference feeds hard predictions, which throws the order of the scores away."""
    labels, scores = case(0)
    assert ours.average_precision(labels, scores) - ours.average_precision(labels, (scores > 0) * 1.0) > 0.05


def test_guessing_has_the_stated_f1() -> None:
    assert ours.guessing_f1(0.2, 1.0) == pytest.approx(1 / 3)
    assert ours.guessing_f1(0.2, 0.5) == pytest.approx(2 / 7)
    assert ours.guessing_f1(0.0, 0.0) == 0.0
    rng = np.random.default_rng(0)
    labels = rng.random(400_000) < 0.2
    guessed = theirs.f1_score(labels, rng.random(400_000) < 0.5)
    assert guessed == pytest.approx(2 / 7, abs=4 * 0.0012)  # the standard error of F1 at this n


def test_calibration_undoes_the_balance_of_classes() -> None:
    """A balanced fit on a fifth of positives calls the average row a coin toss; the calibrated logit calls it a
    fifth.
    """
    logits = ours.calibrated(np.zeros(1), 0.2)
    assert 1 / (1 + np.exp(-logits[0])) == pytest.approx(0.2)
    with pytest.raises(InputError, match=r"the share of positives is 1\.0: a number between 0 and 1"):
        ours.calibrated(np.zeros(1), 1.0)


def test_losses_are_finite_for_certain_scores() -> None:
    labels = np.array([True, False])
    assert ours.log_loss(labels, np.array([800.0, -800.0])) == 0.0
    assert ours.log_loss(labels, np.array([-800.0, 800.0])) == 800.0
    assert ours.brier(labels, np.array([-800.0, 800.0])) == 1.0


def test_the_curve_is_the_best_precision_at_each_recall() -> None:
    labels, scores = case(1)
    recalls, best = ours.precision_recall_curve(labels, scores, points=20)
    precisions, reached, _ = theirs.precision_recall_curve(labels, scores)
    for recall, precision in zip(recalls, best, strict=True):
        assert precision == pytest.approx(precisions[:-1][reached[:-1] >= recall - 1e-12].max())
    assert (np.diff(best) <= 0).all()
    assert recalls[-1] == 1.0


@pytest.mark.parametrize("kind", ["none positive", "all positive"])
def test_one_class_gives_what_it_can(kind: str) -> None:
    labels = np.full(10, kind == "all positive")
    found = ours.all_metrics(labels, np.linspace(-1, 1, 10), training_rate=0.5)
    assert np.isnan(found["auc"])
    assert np.isnan(found["average_precision"]) == (kind == "none positive")
    assert found["accuracy"] == 0.5
    with pytest.raises(DataError, match="need positives, got none"):
        ours.precision_recall(np.zeros(3, dtype=bool), np.zeros(3))


def test_margins_that_are_empty_score_zero() -> None:
    nothing = counts_of(np.zeros(4, dtype=bool), np.zeros(4, dtype=bool))
    assert [float(score(nothing)) for score in (ours.kappa, ours.fowlkes_mallows)] == [0.0, 0.0]
    assert float(ours.balanced_accuracy(nothing)) == 0.5
    assert float(ours.f_beta(nothing, 2.0)) == 0.0


def test_metrics_take_one_table_a_group() -> None:
    labels, scores = case(2)
    codes = np.arange(300) // 30
    table = confusion(labels, scores > 0, codes, 10)
    for metric in (ours.accuracy, ours.kappa, ours.balanced_accuracy, ours.fowlkes_mallows):
        one = [float(metric(counts_of(labels[codes == g], scores[codes == g] > 0))) for g in range(10)]
        np.testing.assert_allclose(metric(table), one)
