"""Other splits, other documents, unions of supports, compound words: planted truths."""

import numpy as np
import pytest

import unweave as uw
from laws_probing import planted
from unweave.errors import DataError, InputError
from unweave.probing.compound import d_prime
from unweave.probing.config import ProbeConfig

QUICK = ProbeConfig(ks=(1, 2), selector="std_mean_diff", bootstrap=200)


def test_reseeds_are_sweeps_of_other_seeds():
    X, y, groups = planted(units=(7,), strength=1.0)
    found = uw.probing.reseeds(X, y, groups=groups, config=QUICK, repeats=3)
    options = {"ks": (1, 2), "selector": "std_mean_diff", "shuffles": 0, "coordinates": 0}
    sweeps = [uw.probing.sweep(X, y, groups=groups, seed=seed, **options) for seed in range(3)]
    for one in found.ks:
        twins = [sweep.probe(one.k) for sweep in sweeps]
        assert one.f1 == tuple(twin.f1.value for twin in twins)
        assert one.mean == pytest.approx(np.mean(one.f1))
        assert one.sd == pytest.approx(np.std(one.f1, ddof=1))
        sets = [set(twin.support) for twin in twins]
        overlap = [len(a & b) / len(a | b) for a, b in ((sets[0], sets[1]), (sets[0], sets[2]), (sets[1], sets[2]))]
        assert one.jaccard == pytest.approx(np.mean(overlap))
    assert found.rank_correlation is None


def test_a_plain_feature_is_stable_and_noise_is_not():
    X, y, groups = planted(units=(7,), d=40)
    plain = uw.probing.stability(X, y, groups=groups, config=QUICK, draws=8)
    assert plain.ks[0].frequency == {7: 1.0}
    assert plain.ks[0].jaccard == 1.0
    noise = uw.probing.stability(np.random.default_rng(5).normal(size=X.shape), y, groups=groups, config=QUICK, draws=8)
    assert noise.ks[0].jaccard < 0.6
    assert noise.rank_correlation < 0.9
    assert plain.table()[0]["always"] == [7]


def test_the_union_has_what_any_split_chose_and_says_who_is_missed():
    X, y, groups = planted(units=(2, 11), d=30, strength=2.0)
    found = uw.probing.union_support(X, y, groups=groups, config=QUICK)
    assert {2, 11} <= set(found.units)
    assert found.frequency[found.units[0]] >= found.frequency[found.units[-1]]
    assert found.redundancy.low > 0.1
    assert found.without[2].low > 0 or found.without[11].low > 0
    assert [row["unit"] for row in found.table()] == list(found.units)


def test_a_redundant_feature_is_in_the_complement_too():
    """Twelve units carry the same signal with noise of their own: those that were not chosen do as well."""
    X, y, groups = planted(units=tuple(range(12)), d=30, strength=2.0)
    found = uw.probing.union_support(X, y, groups=groups, config=QUICK, repeats=1)
    assert found.redundancy.low < 0.05
    with pytest.raises(InputError, match="screen is 1: the union has"):
        uw.probing.union_support(X[:, :3], y, groups=groups, config=QUICK, screen=1)


def compound_rows(*, dedicated, seed=0, n=2400):
    """`living room`: unit 3 fires for the first half and 8 for the second, unit 5 for the whole if `dedicated`."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(["bigram", "missing_first", "missing_second"], p=[0.2, 0.4, 0.4], size=n)
    X = rng.normal(size=(n, 30))
    for unit in (3, 4):
        X[:, unit] += 2.5 * (kind != "missing_first")
    for unit in (8, 9):
        X[:, unit] += 2.5 * (kind != "missing_second")
    if dedicated:
        X[:, 5] += 8 * (kind == "bigram")
    return X, kind, np.arange(n) // 10


def test_halves_that_sum_to_the_word_are_superposition():
    X, kind, groups = compound_rows(dedicated=False)
    (found,) = uw.probing.compound(X, {"living-room": kind}, groups=groups, config=QUICK, units=4)
    assert set(found.together.units) == {3, 4, 8, 9}
    assert all(one.precision < 0.75 for one in found.singles)
    assert found.together.f1.low > max(one.f1.value for one in found.singles) + 0.1
    assert found.together.d_prime > max(one.d_prime for one in found.singles)
    strata = found.singles[0].strata
    assert set(strata) == {"bigram", "missing_first", "missing_second"}
    assert found.together.fired["bigram"] > 0.85
    assert max(found.together.fired[name] for name in ("missing_first", "missing_second")) < 0.15


def test_a_dedicated_unit_is_no_superposition():
    X, kind, groups = compound_rows(dedicated=True)
    (found,) = uw.probing.compound(X, {"living-room": kind}, groups=groups, config=QUICK, units=3)
    assert found.singles[0].units == (5,)
    assert found.singles[0].precision > 0.95
    assert found.singles[0].above > 0.9
    assert not found.is_superposed


def test_a_sum_that_is_specific_of_units_that_are_not_is_claimed():
    X, kind, groups = compound_rows(dedicated=False)
    X[:, [3, 4, 8, 9]] *= 1  # each half twice, so that the sum tells with four units
    X[:, [3, 4]] += 2.5 * (kind != "missing_first")[:, None]
    X[:, [8, 9]] += 2.5 * (kind != "missing_second")[:, None]
    other = np.where(kind == "bigram", "other", kind)
    (found,) = uw.probing.compound(X, {"living-room": kind}, groups=groups, config=QUICK, units=4)
    assert found.is_superposed
    assert found.row()["sum_precision"] > 0.9
    with pytest.raises(DataError, match="the strata of 'living-room' have no 'bigram'"):
        uw.probing.compound(X, {"living-room": other}, groups=groups)


def test_a_unit_that_tells_two_words_names_the_other():
    X, kind, groups = compound_rows(dedicated=True)
    rng = np.random.default_rng(1)
    second = np.where(rng.random(len(kind)) < 0.2, "bigram", "missing_first")
    X[:, 5] += 8 * ((second == "bigram") & (kind != "bigram"))
    found = uw.probing.compound(X, {"one": kind, "two": second}, groups=groups, config=QUICK, units=1)
    assert [one.singles[0].words for one in found] == [("two",), ("one",)]


def test_d_prime_is_the_distance_in_standard_deviations():
    rng = np.random.default_rng(0)
    assert d_prime(rng.normal(2, 1, 100_000), rng.normal(0, 1, 100_000)) == pytest.approx(2, abs=4 * 0.006)
    assert d_prime(np.ones(3), np.zeros(3)) == np.inf
    assert d_prime(np.zeros(3), np.zeros(3)) == 0


def test_inputs_that_do_not_fit_are_named():
    X, y, groups = planted()
    with pytest.raises(InputError, match="repeats is 1: at least 2 splits"):
        uw.probing.reseeds(X, y, groups=groups, repeats=1)
    with pytest.raises(InputError, match="draws is 1: at least 2"):
        uw.probing.stability(X, y, groups=groups, draws=1)
    with pytest.raises(InputError, match="strata is empty"):
        uw.probing.compound(X, {})
    with pytest.raises(InputError, match=r"the strata of 'a' are int64 of shape \(400,\)"):
        uw.probing.compound(X, {"a": np.zeros(400, dtype=int)})
    with pytest.raises(DataError, match="no unit varies over the training rows"):
        uw.probing.union_support(np.ones_like(X), y, groups=groups)
