"""The probe on all units: scikit-learn's own, the penalty chosen on training groups, the ceiling of the sparse ones."""

import numpy as np
import pytest

import unweave as uw
from laws_probing import planted
from unweave.probing.problem import as_problem


def spread(seed=0, n=800, d=30):
    """A label that all columns tell a little of."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X, X.sum(1) + 2 * rng.normal(size=n) > 3, np.arange(n) // 10


def test_it_is_the_fit_of_scikit_learn_at_the_penalty_it_names():
    from sklearn.linear_model import LogisticRegression

    X, y, groups = spread()
    found = uw.probing.dense_probe(X, y, groups=groups)
    held_out = as_problem(X, y, groups, uw.probing.ProbeConfig())[1].held_out
    standard = (X - X[~held_out].mean(0)) / X[~held_out].std(0)
    model = LogisticRegression(C=1 / found.lam, class_weight="balanced", tol=1e-8, max_iter=5000)
    scores = model.fit(standard[~held_out], y[~held_out]).decision_function(standard[held_out])
    from sklearn import metrics

    assert found.metrics["auc"] == pytest.approx(metrics.roc_auc_score(y[held_out], scores), abs=2e-4)
    assert found.f1.value == pytest.approx(metrics.f1_score(y[held_out], scores > 0), abs=0.01)
    assert found.losses[found.lam] == min(found.losses.values())
    assert found.converged


def test_it_is_above_sparse_probes_of_a_spread_feature_and_no_better_than_chance_on_noise():
    X, y, groups = spread()
    found = uw.probing.dense_probe(X, y, groups=groups)
    assert found.f1.low > uw.probing.sweep(X, y, groups=groups, ks=(4,), shuffles=0).probe(4).f1.high
    rng = np.random.default_rng(3)
    noise = uw.probing.dense_probe(rng.normal(size=X.shape), y, groups=groups)
    assert noise.auc.low < 0.5 < noise.auc.high
    assert noise.lam >= 100  # the inner folds see that there is nothing


def test_held_out_rows_do_not_choose_the_penalty():
    X, y, groups = spread()
    held_out = as_problem(X, y, groups, uw.probing.ProbeConfig())[1].held_out
    other = X.copy()
    other[held_out] = 0.0
    first, second = (uw.probing.dense_probe(rows, y, groups=groups) for rows in (X, other))
    assert first.losses == second.losses
    assert second.auc.value == 0.5


def test_columns_that_cannot_be_used_are_left_out():
    X, y, groups = planted()
    X[:, 0], X[3, 1] = 1.0, np.nan
    assert uw.probing.dense_probe(X, y, groups=groups).units == 18
