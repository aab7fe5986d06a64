"""Probes of a number: the planted is found, fits are scikit-learn's, the best support is the best of all."""

from itertools import combinations

import numpy as np
import pytest
import torch

import unweave as uw
from unweave.errors import DataError, InputError, UnknownName
from unweave.probing.values import SELECTORS


def planted(seed=0, n=600, d=24):
    """A number that is a sum of three columns, beside four that each know more of it than one of them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    y = (X[:, 3] + X[:, 9] - X[:, 17]) / np.sqrt(3)
    X[:, 18:22] = y[:, None] + 0.9 * rng.normal(size=(n, 4))
    return X, 10 * y + rng.normal(size=n) + 40, np.arange(n) // 10


def sweep(X, y, groups, **options):
    return uw.probing.sweep_values(X, y, groups=groups, **({"shuffles": 2, "bootstrap": 200} | options))


@pytest.mark.parametrize("selector", ["auto", "telescope", "exact"])
def test_columns_that_only_together_tell_the_number_are_found(selector):
    X, y, groups = planted()
    found = sweep(X, y, groups, ks=(1, 3), selector=selector)
    assert set(found.probe(3).support) == {3, 9, 17}
    assert found.probe(1).support[0] in range(18, 22)
    assert found.probe(3).r2.low > 0.98 > 0.9 > found.probe(1).r2.high
    assert found.probe(3).r2.control < 0.1
    assert not {3, 9, 17} & set(sweep(X, y, groups, ks=(3,), selector="correlation").probe(3).support)


def test_fits_and_scores_are_those_of_scikit_learn():
    from sklearn import linear_model, metrics

    X, y, groups = planted()
    probe = sweep(X, y, groups, ks=(5,), lam=7.0).probe(5)
    held_out = np.isin(groups, np.unique(groups)[np.isin(np.unique(groups), _held_out(X, y, groups))])
    train, support = ~held_out, list(probe.support)
    assert probe.n_train == train.sum()
    standard = (X[:, support] - X[train][:, support].mean(0)) / X[train][:, support].std(0)
    model = linear_model.Ridge(alpha=7.0).fit(standard[train], y[train])
    np.testing.assert_allclose(probe.coef, model.coef_, rtol=1e-8)
    assert probe.bias == pytest.approx(model.intercept_, rel=1e-10)
    said, truth = model.predict(standard[held_out]), y[held_out]
    for name, score in (
        ("explained_variance", metrics.explained_variance_score),
        ("mean_abs_error", metrics.mean_absolute_error),
        ("median_abs_error", metrics.median_absolute_error),
        ("max_abs_error", metrics.max_error),
        ("d2", metrics.d2_absolute_error_score),
    ):
        assert getattr(probe, name) == pytest.approx(score(truth, said), rel=1e-8), name
    assert probe.r2.value == pytest.approx(metrics.r2_score(truth, said), rel=1e-8)


def _held_out(X, y, groups):
    """The held-out documents: those whose rows do not move the fit."""
    moved = []
    base = sweep(X, y, groups, ks=(1,), selector="correlation", shuffles=0).probe(1)
    for group in np.unique(groups):
        changed = y.copy()
        changed[groups == group] += 1e-3
        other = sweep(X, changed, groups, ks=(1,), selector="correlation", shuffles=0).probe(1)
        moved.append(other.bias != base.bias)
    return np.unique(groups)[~np.array(moved)]


def test_exact_is_the_best_of_all_supports():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(200, 9)) @ rng.normal(size=(9, 9))
    y = X @ rng.normal(size=9) + rng.normal(size=200)
    standard = (X - X.mean(0)) / X.std(0)
    for k in (1, 2, 3, 4):
        gram, slope = torch.from_numpy(standard.T @ standard + np.eye(9)), torch.from_numpy(standard.T @ (y - y.mean()))

        def fall(support, gram=gram, slope=slope):
            chosen = list(support)
            return float(slope[chosen] @ torch.linalg.solve(gram[chosen][:, chosen], slope[chosen]))

        best = max(combinations(range(9), k), key=fall)
        assert sorted(SELECTORS["exact"](gram, slope, [k])[k].tolist()) == list(best)
        for name in SELECTORS:
            assert fall(SELECTORS[name](gram, slope, [k])[k].tolist()) <= fall(best) * (1 + 1e-12)


def test_units_of_the_number_and_of_the_columns_do_not_matter():
    X, y, groups = planted()
    first = sweep(X, y, groups, ks=(2, 4))
    other = sweep(X * np.arange(1, 25) - 7, 3 * y + 5, groups, ks=(2, 4))
    for one, two in zip(first.probes, other.probes, strict=True):
        assert one.support == two.support
        assert two.r2.value == pytest.approx(one.r2.value, rel=1e-9)
        assert two.mean_abs_error == pytest.approx(3 * one.mean_abs_error, rel=1e-9)
    np.testing.assert_allclose(other.predict(X * np.arange(1, 25) - 7, 4), 3 * first.predict(X, 4) + 5, rtol=1e-9)


def test_values_of_no_column_have_no_r2():
    """Over 30 draws of noise the held-out R2 of the best single column is not above zero, p-values are not small."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(30):
        X, y = rng.normal(size=(300, 20)), rng.normal(size=300)
        found.append(sweep(X, y, np.arange(300) // 5, ks=(1,), shuffles=19).probe(1).r2)
    assert np.mean([one.value for one in found]) < 0.01
    assert np.mean([one.p_value <= 0.05 for one in found]) <= 0.2


def test_what_does_not_fit_is_named(tmp_path):
    X, y, groups = planted()
    with pytest.raises(InputError, match=r"X is \(600, 24\) but y is \(3,\): one number a row is needed"):
        sweep(X, y[:3], groups)
    with pytest.raises(InputError, match="y has nan: finite numbers are needed"):
        sweep(X, np.where(np.arange(600) == 4, np.nan, y), groups)
    with pytest.raises(InputError, match=r"y is 2\.0 throughout: a probe needs numbers that vary"):
        sweep(X, np.full(600, 2.0), groups)
    with pytest.raises(UnknownName, match="unknown selector 'forwards'; nearest: 'forward'"):
        sweep(X, y, groups, selector="forwards")
    with pytest.raises(DataError, match="all rows are of one group"):
        sweep(X, y, np.zeros(600))
    X[5, 3] = np.nan
    found = sweep(X, y, groups, ks=(1, 30))
    assert found.warnings == (
        "1 of 24 columns have a NaN or infinite entry, never chosen",
        "no probe for k = 30: fewer columns vary",
    )
    with pytest.raises(InputError, match=r"no probe with k = 2: the sweep has \[1\]"):
        found.probe(2)
    with pytest.raises(InputError, match="but the probes were fitted on width 24"):
        found.predict(X[:, :4], 1)
    uw.save(found, tmp_path / "values")
    assert uw.load(tmp_path / "values").table() == found.table()
