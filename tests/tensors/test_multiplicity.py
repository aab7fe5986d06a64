"""Corrections for having looked at many: equal to their slow twins, right where there is nothing to find."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import false_discovery_control
from sklearn.metrics import roc_auc_score

from unweave.errors import DataError
from unweave.tensors.multiplicity import (
    benjamini_hochberg,
    best_of_aucs,
    best_of_ratios,
    max_statistic_p,
    pair_wins,
    rank_p,
)
from unweave.tensors.resampling import multinomial_counts


def test_false_discovery_rates_equal_scipy() -> None:
    p_values = np.random.default_rng(0).random((5, 40)) ** 3
    np.testing.assert_allclose(
        benjamini_hochberg(p_values), false_discovery_control(p_values.reshape(-1)).reshape(5, 40), rtol=1e-12
    )


def test_entries_that_were_not_tested_do_not_count() -> None:
    p_values = np.array([0.01, np.nan, 0.03, 0.9])
    found = benjamini_hochberg(p_values)
    np.testing.assert_allclose(found[[0, 2, 3]], benjamini_hochberg(p_values[[0, 2, 3]]))
    assert np.isnan(found[1])
    assert np.isnan(benjamini_hochberg(np.array([np.nan]))).all()


def test_max_statistic_is_the_share_of_draws_that_do_as_well() -> None:
    maxima = np.array([1.0, 2.0, 2.0, 3.0])
    observed = np.array([0.5, 2.0, 2.5, 9.0])
    twin = [(1 + sum(one >= value for one in maxima)) / 5 for value in observed]
    assert max_statistic_p(observed, maxima).tolist() == twin


def slow_best_of_ratios(top: np.ndarray, bottom: np.ndarray, seed: int, draws: int) -> float:
    """Draw by draw: the groups drawn choose, those left out score."""
    found = []
    for counts in multinomial_counts(len(top), draws, seed):
        inside = [(counts @ top[:, j]) / (counts @ bottom[:, j]) for j in range(top.shape[1])]
        winner, left = int(np.argmax(inside)), counts == 0
        if bottom[left, winner].sum():
            found.append(top[left, winner].sum() / bottom[left, winner].sum())
    return float(np.mean(found))


def test_the_corrected_ratio_equals_draws_one_by_one() -> None:
    rng = np.random.default_rng(1)
    bottom = rng.integers(1, 9, size=(12, 7)).astype(float)
    top = np.floor(bottom * rng.random((12, 7)))
    found = best_of_ratios(top, bottom, seed=3, draws=300)
    assert found.corrected == pytest.approx(slow_best_of_ratios(top, bottom, 3, 300), rel=1e-12)
    assert found.naive == pytest.approx((top.sum(0) / bottom.sum(0)).max())
    assert found.optimism == found.naive - found.corrected


def test_pair_wins_add_up_to_the_auc() -> None:
    rng = np.random.default_rng(2)
    labels, codes = rng.random(120) < 0.4, np.arange(120) // 8
    scores = np.round(rng.normal(size=(120, 3)), 1)  # with ties
    pairs = pair_wins(labels, scores, codes, 15)
    mass = labels.sum() * (~labels).sum()
    for column in range(3):
        assert pairs[:, :, column].sum() / mass == pytest.approx(roc_auc_score(labels, scores[:, column]), rel=1e-12)
    own = labels & (codes == 2), ~labels & (codes == 5)
    slow = sum(
        (one > two) + (one == two) / 2 for one in scores[own[0], 1].tolist() for two in scores[own[1], 1].tolist()
    )
    assert pairs[2, 5, 1] == slow


def slow_best_of_aucs(labels: np.ndarray, scores: np.ndarray, codes: np.ndarray, seed: int, draws: int) -> float:
    found = []
    for counts in multinomial_counts(int(codes.max()) + 1, draws, seed):
        rows = np.repeat(np.arange(len(labels)), counts[codes].astype(int))
        inside = [roc_auc_score(labels[rows], column[rows]) for column in scores.T]
        left = counts[codes] == 0
        found.append(roc_auc_score(labels[left], scores[left, int(np.argmax(inside))]))
    return float(np.mean(found))


def test_the_corrected_auc_equals_draws_one_by_one() -> None:
    rng = np.random.default_rng(3)
    labels, codes = rng.random(150) < 0.4, np.arange(150) // 15
    scores = rng.normal(size=(150, 6))
    found = best_of_aucs(labels, scores, codes, seed=0, draws=60)
    assert found.corrected == pytest.approx(slow_best_of_aucs(labels, scores, codes, 0, 60), rel=1e-10)


def test_a_true_winner_keeps_its_score() -> None:
    """One candidate knows the label, the others nothing: choosing costs nothing, and nothing is taken off."""
    rng = np.random.default_rng(4)
    labels, codes = rng.random(600) < 0.4, np.arange(600) // 15
    scores = rng.normal(size=(600, 200))
    scores[:, 7] += 3 * labels
    found = best_of_aucs(labels, scores, codes, seed=0, draws=200)
    assert found.winner == 7
    assert abs(found.optimism) < 0.01


def test_the_best_of_many_noise_columns_is_flattered_and_corrected() -> None:
    """Law 15 at a smaller size: 500 noise columns on 900 rows."""
    rng = np.random.default_rng(5)
    labels, codes = rng.permutation(np.arange(900) % 5 == 0), np.arange(900) // 20
    found = best_of_aucs(labels, rng.normal(size=(900, 500)), codes, seed=0, draws=200)
    assert found.naive > 0.56
    assert found.low < 0.5 < found.high
    assert abs(found.corrected - 0.5) < 0.03


@pytest.mark.slow
def test_law_15_at_full_size() -> None:
    """Of 3,072 noise columns the best on 1,800 test rows has AUC about .56; the corrected interval covers .5."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(1800) % 5 == 0)
    found = best_of_aucs(labels, rng.normal(size=(1800, 3072)), np.arange(1800) // 20, seed=0)
    assert found.naive == pytest.approx(0.56, abs=0.01)
    assert found.low < 0.5 < found.high


def test_faults_are_named() -> None:
    with pytest.raises(DataError, match="one group only: a winner cannot be scored"):
        best_of_ratios(np.ones((1, 2)), np.ones((1, 2)), seed=0)
    with pytest.raises(DataError, match=r"AUC needs both classes, got 3 positives of 3 rows"):
        best_of_aucs(np.ones(3, dtype=bool), np.ones((3, 1)), np.arange(3), seed=0)
    with pytest.raises(DataError, match="no draw of 2 groups leaves out rows that can be scored"):
        best_of_aucs(np.array([True, False]), np.ones((2, 1)), np.arange(2), seed=0)


def test_a_rank_counts_the_statistic_itself_and_draws_that_differ_by_rounding_alone():
    drawn = np.random.default_rng(0).normal(size=199)
    for value in (-3.0, 0.0, float(drawn[7]), 4.0):
        assert rank_p(value, drawn) == (1 + sum(one >= value for one in drawn)) / 200
    assert rank_p(0.1 + 0.2, [0.3]) == 1.0
    assert rank_p(1.0, []) == 1.0
    assert rank_p(5.0, drawn) == max_statistic_p(np.array(5.0), drawn)
