"""The certified best subset: equal to looking at all of them, right about its proof, and the published optimum."""

from itertools import combinations

import numpy as np
import pytest
import torch

import unweave as uw
from unweave.errors import DataError, InputError
from unweave.probing import best_subset
from unweave.probing.exact import _Tree
from unweave.tensors.logistic import balanced_weights, fit_many
from unweave.worlds import planted


def problem(seed, n=150, d=9, k=3):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) + 0.8 * rng.normal(size=(n, 1))
    y = X[:, :k] @ rng.choice([-1, 1], k) + rng.normal(size=n) > 0.4
    return X, y


def losses(X, y, k, lam=1.0):
    """The loss of every support of size k."""
    standard = torch.from_numpy((X - X.mean(0)) / X.std(0))
    supports = list(combinations(range(X.shape[1]), k))
    signs = torch.from_numpy(np.where(y, 1.0, -1.0)).expand(len(supports), -1)
    weights = balanced_weights(signs, torch.ones_like(signs, dtype=torch.bool))
    return supports, fit_many(standard, signs, weights, torch.tensor(supports), lam=lam).loss


@pytest.mark.parametrize(("k", "lam"), [(1, 1.0), (2, 0.1), (2, 50.0), (3, 1.0), (4, 1.0)])
def test_the_best_of_all_supports_is_found_and_proven(k, lam):
    X, y = problem(k)
    supports, loss = losses(X, y, k, lam)
    found = best_subset(X, y, k, lam=lam)
    best = int(loss.argmin())
    assert found.proven
    assert found.support == supports[best]
    assert found.upper == pytest.approx(float(loss[best]), rel=1e-9)
    assert found.lower <= float(loss[best]) * (1 + 1e-9)


def test_larger_supports_are_never_worse():
    X, y = problem(5)
    values = [best_subset(X, y, k).upper for k in (1, 2, 4)]
    assert values == sorted(values, reverse=True)


def test_without_time_nothing_is_claimed_and_the_bound_holds():
    X, y = problem(3, d=12)
    _, loss = losses(X, y, 4)
    found = best_subset(X, y, 4, time_limit=0.0)
    assert not found.proven
    assert found.gap == pytest.approx((found.upper - found.lower) / found.upper)
    assert found.lower <= float(loss.min()) <= found.upper * (1 + 1e-9)
    assert "gap" in repr(found)


def test_weak_duality_holds_for_any_dual_point():
    """200 random scores, feasible after the heavier class is scaled down: never above the best of all pairs."""
    rng = np.random.default_rng(0)
    X, y = problem(7, n=500, d=20, k=2)
    _, loss = losses(X, y, 2)
    tree = _Tree(torch.from_numpy((X - X.mean(0)) / X.std(0)).T.contiguous(), y, 2, 1.0, np.inf)
    scores = torch.from_numpy(rng.normal(size=(200, 500)) * np.exp(rng.normal(size=(200, 1))))
    entropy, pulls = tree._dual(scores)
    bound = entropy - pulls.topk(2, dim=1).values.sum(1) / 2
    assert float(bound.max()) <= float(loss.min()) * (1 + 1e-9)
    assert float(bound.std()) > 0


@pytest.fixture(scope="module")
def golden():
    world = planted("easy", seed=0)
    train = ~world.held_out
    return world.sites[0][train], world.labels[train, 0]


@pytest.mark.parametrize(("k", "support", "loss"), [(1, (84,), 2539.39), (2, (84, 2189), 2311.90)])
def test_the_optimum_of_the_specification(golden, k, support, loss):
    found = best_subset(*golden, k)
    assert (found.support, found.proven, found.scope) == (support, True, "within 50 of 3072 columns")
    assert found.upper == pytest.approx(loss, abs=0.01)


@pytest.mark.slow
def test_the_optimum_of_three_is_planted_where_the_optimum_of_two_is_not(golden):
    found = best_subset(*golden, 3, time_limit=600.0)
    assert (found.support, found.proven) == ((1545, 2156, 2516), True)
    assert found.upper == pytest.approx(2143.94, abs=0.01)


def test_as_a_selector_it_is_exact_where_it_can_be():
    X, y = problem(1)
    found = uw.probing.sweep(X, y, ks=(1, 2, 6), selector="exact", shuffles=1, bootstrap=100)
    assert [probe.selector for probe in found.probes] == ["exact", "exact", "swap"]


def test_what_has_no_best_subset_is_refused(tmp_path):
    X, y = problem(0)
    with pytest.raises(InputError, match="k is 10: 1 to 9 is possible"):
        best_subset(X, y, 10)
    with pytest.raises(InputError, match=r"lam is 0\.0: a positive ridge penalty is needed"):
        best_subset(X, y, 1, lam=0.0)
    with pytest.raises(DataError, match="no column of X varies"):
        best_subset(np.ones((20, 3)), np.arange(20) % 2, 1)
    found = best_subset(X, y, 2)
    uw.save(found, tmp_path / "subset")
    assert uw.load(tmp_path / "subset").support == found.support
