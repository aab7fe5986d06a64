"""Searches over all units of all sites: what is planted is found, what is noise is not believed."""

import numpy as np
import pytest
from scipy import stats

import unweave as uw
from laws_probing import planted
from unweave.errors import InputError
from unweave.probing.config import ProbeConfig
from unweave.tensors.auc_intervals import auc_estimate


def test_the_planted_units_are_found_at_their_sites():
    X, y, groups = planted(units=(7,), d=30)
    noise = np.random.default_rng(9).normal(size=(400, 50))
    found = uw.probing.search({"noise": noise, "layer": X}, y, groups=groups, shuffles=99, most=3)
    first, second, _ = found.best
    assert (first.site, first.unit, first.p_adjusted) == ("layer", 7, 0.01)
    assert first.q_value < 1e-6
    assert first.difference == pytest.approx(3, abs=0.6)
    assert second.p_adjusted > 0.05
    assert found.searched == {"": 80}
    assert 1 <= found.significant[""] <= 4
    assert found.of("layer", 7) == [first]
    assert found.of("layer", 3) == []


def test_the_family_is_everything_searched():
    """The same column is worth less the more columns were looked at beside it."""
    X, y, groups = planted(units=(0,), d=1, strength=0.45)
    noise = np.random.default_rng(3).normal(size=(400, 2000))
    alone = uw.probing.search({"a": X}, y, groups=groups, shuffles=99).best[0]
    among = uw.probing.search({"a": X, "b": noise}, y, groups=groups, shuffles=99, most=2001)
    same = next(one for one in among.best if (one.site, one.unit) == ("a", 0))
    assert same.t == pytest.approx(alone.t)
    assert same.p_value == pytest.approx(alone.p_value)
    assert same.p_adjusted > alone.p_adjusted
    assert same.q_value > alone.q_value


def test_only_training_rows_are_looked_at():
    X, y, groups = planted(units=(7,))
    plain = uw.probing.search({"a": X}, y, groups=groups, shuffles=9)
    from unweave.probing.problem import as_problem

    held_out = as_problem(X, y, groups, ProbeConfig())[1].held_out
    other = X.copy()
    other[held_out] = 50 * np.random.default_rng(0).normal(size=other[held_out].shape)
    assert uw.probing.search({"a": other}, y, groups=groups, shuffles=9).table() == plain.table()


def test_without_shuffles_there_is_a_false_discovery_rate_and_no_maximum():
    X, y, groups = planted(units=(7,))
    found = uw.probing.search({"a": X}, y, groups=groups, shuffles=0)
    assert found.best[0].p_adjusted is None
    assert found.best[0].q_value < 1e-6
    assert found.shuffles == 0


def test_constant_units_are_not_counted():
    X, y, groups = planted(units=(7,))
    X[:, 3] = 5.0
    found = uw.probing.search({"a": X}, y, groups=groups, shuffles=9, most=20)
    assert found.searched == {"": 19}
    assert 3 not in {one.unit for one in found.best}


def test_no_sites_are_refused():
    with pytest.raises(InputError, match="sites is empty: give at least one matrix"):
        uw.probing.search({}, [0, 1])


def null_p_values(count, *, d, n, shuffles):
    found = []
    for seed in range(count):
        rng = np.random.default_rng([4, seed])
        groups = np.arange(n) // 10
        X = rng.normal(size=(n, d)) + rng.normal(size=(n // 10, d))[groups]
        y = rng.random(n) < 0.3
        config = ProbeConfig(seed=seed)
        best = uw.probing.search({"a": X}, y, groups=groups, shuffles=shuffles, config=config, most=1).best[0]
        found.append(best.p_adjusted)
    return np.array(found)


def test_the_best_of_noise_is_significant_as_rarely_as_it_should_be():
    p_values = null_p_values(60, d=40, n=300, shuffles=19)
    # 60 draws at .1: standard error .039
    assert np.mean(p_values <= 0.1) < 0.1 + 4 * 0.039
    assert abs(np.mean(p_values) - 0.525) < 4 * 0.29 / np.sqrt(60)


PLAIN = {"selector": "std_mean_diff", "shuffles": 0, "bootstrap": 100, "coordinates": 0}


@pytest.mark.slow
def test_law_14_whole_pipeline_on_shuffled_labels():
    """Over 200 shuffles of planted labels the 95 % AUC intervals cover .5 in .92-.98, and max-statistic p-values are
    uniform.
    """
    rng = np.random.default_rng(0)
    n, d, groups = 3000, 200, np.arange(3000) // 20
    X = rng.normal(size=(n, d)) + 0.3 * rng.normal(size=(n // 20, d))[groups]
    y = X[:, :8].sum(1) + 2 * rng.normal(size=n) > 2.5
    covered, p_values = [], []
    for seed in range(200):
        order = np.lexsort((np.random.default_rng([5, seed]).random(n), groups))
        shuffled = y[order]  # within documents, which are contiguous
        found = uw.probing.sweep(
            X,
            shuffled,
            groups=groups,
            ks=(4,),
            selector="std_mean_diff",
            shuffles=0,
            bootstrap=100,
            coordinates=0,
            seed=seed,
        )
        test = np.isin(groups, found.probes[0].groups)
        codes = np.unique(groups[test], return_inverse=True)[1]
        auc = auc_estimate(shuffled[test], found.scores(X[test], 4), codes, seed=seed, draws=1000)
        covered.append(auc.low <= 0.5 <= auc.high)
        best = uw.probing.search(
            {"a": X}, shuffled, groups=groups, shuffles=99, config=ProbeConfig(seed=seed), most=1
        ).best[0]
        p_values.append(best.p_adjusted)
    assert 0.92 <= np.mean(covered) <= 0.98
    # p-values are multiples of 1/100: a uniform number of the same cell makes them continuous
    spread = np.array(p_values) - np.random.default_rng(1).random(200) / 100
    assert stats.kstest(spread, "uniform").pvalue > 0.01


def test_law_14_small():
    """The same over 40 shuffles: at least 32 cover, which a coverage of .95 misses with a chance below 1e-4."""
    rng = np.random.default_rng(0)
    n, groups = 1200, np.arange(1200) // 10
    X = rng.normal(size=(n, 40))
    y = X[:, :4].sum(1) + rng.normal(size=n) > 1.5
    covered = 0
    for seed in range(40):
        shuffled = y[np.lexsort((np.random.default_rng([6, seed]).random(n), groups))]
        found = uw.probing.sweep(
            X,
            shuffled,
            groups=groups,
            ks=(2,),
            selector="std_mean_diff",
            shuffles=0,
            bootstrap=100,
            coordinates=0,
            seed=seed,
        )
        test = np.isin(groups, found.probes[0].groups)
        codes = np.unique(groups[test], return_inverse=True)[1]
        auc = auc_estimate(shuffled[test], found.scores(X[test], 2), codes, seed=seed, draws=400)
        covered += auc.low <= 0.5 <= auc.high
    assert covered >= 32
