"""Held-out AUC of a linear read-out: planted signal, chance, groups, and wrong input."""

from __future__ import annotations

import numpy as np
import pytest

import unweave as uw
from unweave.errors import DataError, InputError
from unweave.tensors.auc_intervals import auc_estimate, auc_tested

DECODABILITY = uw.evals.decodability


def planted(seed=0, *, n=480, d=10, gap=1.0):
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.4
    X = rng.normal(size=(n, d))
    X[:, 3] += gap * y
    return X, y, np.arange(n) // 8


def test_a_planted_feature_is_found_at_its_auc():
    from scipy.stats import norm

    found = DECODABILITY(*planted(gap=1.5), seed=1)
    truth = norm.cdf(1.5 / np.sqrt(2))
    assert found.low < truth < found.high
    assert found.p_value < 0.001
    assert abs(found.control - 0.5) < 0.1
    assert (found.null, found.n_groups, found.seed) == (0.5, 18, 1)


def test_nothing_is_found_where_there_is_nothing():
    """15 nulls: at most 4 at .05 is what a binomial of .05 gives in 99.94 % of cases."""
    hits = 0
    for seed in range(15):
        X, y, groups = planted(seed, n=160, d=4, gap=0.0)
        hits += DECODABILITY(X, y, groups, seed, shuffles=0, bootstrap=200).p_value <= 0.05
    assert hits <= 4


def test_a_document_is_not_a_feature():
    """Labels and rows that both follow the document, and nothing else, tell nothing of other documents."""
    rng = np.random.default_rng(0)
    groups = np.arange(400) // 10
    X = rng.normal(size=(40, 30))[groups] + 0.1 * rng.normal(size=(400, 30))
    y = (rng.random(40) < 0.5)[groups]
    assert DECODABILITY(X, y, groups).low < 0.5 < DECODABILITY(X, y).low  # without groups it is the documents


def test_equal_seeds_give_equal_numbers_and_labels_may_be_spelt_otherwise():
    X, y, groups = planted()
    first = DECODABILITY(X, y, groups)
    assert first == DECODABILITY(X, np.where(y, 1, -1), groups)
    assert first != DECODABILITY(X, y, groups, seed=1)


def test_scores_do_not_depend_on_sign_and_scale_of_columns():
    X, y, groups = planted()
    first, second = DECODABILITY(X, y, groups), DECODABILITY(-1000 * X + 5, y, groups)
    assert first.value == pytest.approx(second.value, abs=2e-3)


def test_what_is_wrong_is_said():
    X, y, groups = planted(n=80)
    with pytest.raises(DataError, match="y has only the label 0"):
        DECODABILITY(X, np.zeros(80), groups)
    with pytest.raises(InputError, match=r"groups has shape \(79,\)"):
        DECODABILITY(X, y, groups[1:])
    with pytest.raises(DataError, match="all rows are of one group"):
        DECODABILITY(X, y, np.zeros(80))
    with pytest.raises(InputError, match="seed: input should be greater than or equal to 0, got -1"):
        DECODABILITY(X, y, seed=-1)
    assert "every row counts as independent" in DECODABILITY(X, y, shuffles=0).warnings[-1]


def test_the_p_value_belongs_to_the_interval():
    """One-sided: it is below .025 exactly where the interval lies above 1/2, but for Student's tails of few groups."""
    rng = np.random.default_rng(0)
    for groups in (12, 60):
        for shift in (0.0, 0.3, 0.6, 1.0):
            codes = np.repeat(np.arange(groups), 6)
            y = rng.random(len(codes)) < 0.5
            scores = rng.normal(size=len(codes)) + shift * y
            tested, plain = (auc(y, scores, codes, seed=0, draws=500) for auc in (auc_tested, auc_estimate))
            assert (tested.value, tested.low, tested.high) == (plain.value, plain.low, plain.high)
            if tested.p_value < 0.02:
                assert tested.low > 0.5
            if tested.p_value > 0.04:
                assert tested.low <= 0.5


def test_perfect_scores_of_few_groups_are_no_more_than_few_groups():
    y = np.arange(12) % 2 == 0
    found = auc_tested(y, y * 1.0, np.arange(12) // 3, seed=0)
    assert found.p_value == 0.5**4
    assert auc_tested(y, -1.0 * y, np.arange(12) // 3, seed=0).p_value == 1.0
    assert auc_tested(y, y * 1.0, np.zeros(12, dtype=int), seed=0).p_value == 1.0


@pytest.mark.parametrize("verb", ["erasure_sufficiency", "absorption", "code_length", "sparse_curve"])
def test_a_negative_seed_is_told_by_all_that_split(verb):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), rng.random(60) < 0.5
    first = [uw.features.neurons(4)] if verb == "absorption" else []
    with pytest.raises(InputError, match="seed: input should be greater than or equal to 0, got -1"):
        getattr(uw.evals, verb)(*first, X, y, seed=-1)
