"""Tests of scores and read-outs: detection, pairs, transfer, erasure, the angle of read and write; planted truth,
laws and wrong input.
"""

from __future__ import annotations

import numpy as np
import pytest

import laws_directions as laws
import unweave as uw
from unweave.errors import DataError, FingerprintError, InputError
from unweave.evals.averages import sign_flip
from unweave.features.featurizer import Provenance

V = uw.evals


def test_a_mean_is_tested_against_its_null_over_groups():
    """Rows of a group that agree are one observation: 200 rows of 4 groups prove nothing."""
    rng = np.random.default_rng(0)
    groups = np.arange(200) // 50
    values = rng.normal(size=4)[groups] + 2
    assert V.mean_estimate(values, groups, null=0.0).p_value > 0.05
    found = V.mean_estimate(values, null=0.0)
    assert found.p_value < 0.001
    assert "every row counts as independent" in found.warnings[-1]
    assert V.mean_estimate(values, groups).p_value is None
    with pytest.raises(DataError, match="at least one finite number is needed"):
        V.mean_estimate([1.0, np.nan])


def test_sign_flips_are_those_of_all_signs():
    """The exact share over the 2^8 signs, within four standard errors of 2000 draws."""
    sums = np.random.default_rng(0).normal(size=8) + 0.5
    signs = np.array(np.meshgrid(*[(-1, 1)] * 8)).reshape(8, -1).T
    exact = float((np.abs(signs @ sums) >= abs(sums.sum()) - 1e-12).mean())
    assert sign_flip(sums) == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 2000) + 1e-3)


def test_detection_is_the_auc_of_the_largest_score():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    y = np.repeat(rng.random(40) < 0.5, 6)
    scores = rng.normal(size=240) + y
    found = V.detection(scores, y, np.arange(240) // 6)
    assert found.value == pytest.approx(roc_auc_score(y[::6], scores.reshape(40, 6).max(1)), abs=1e-12)
    assert (found.n, found.n_groups) == (40, 40)
    assert V.detection(np.exp(scores), y, np.arange(240) // 6).value == found.value  # fact 12
    assert V.detection(scores, y, np.arange(240) // 6, groups=np.arange(240) // 60).n_groups == 4
    with pytest.raises(InputError, match="a document has tokens of both labels"):
        V.detection(scores, rng.random(240) < 0.5, np.arange(240) // 6)


def test_hard_negatives_are_judged_at_the_threshold_of_easy_ones():
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 3, 900)
    hard = V.hard_negatives(rng.normal(size=900) + np.array([0, 6, 6.0])[kinds], kinds)
    assert hard.value == pytest.approx(0.5, abs=0.05)  # all hard negatives are called positive
    assert hard.control > 0.98
    with pytest.raises(DataError, match=r"only the kinds \[0, 1\] occur"):
        V.hard_negatives(np.arange(4.0), [0, 1, 0, 1])
    with pytest.raises(InputError, match="one of 0, 1, 2 a score"):
        V.hard_negatives(np.arange(3.0), [0, 1, 5])


def pairs(gap=1.0, n=120, d=8, seed=0):
    rng = np.random.default_rng(seed)
    base = 2 * rng.normal(size=(n, d))
    plus, minus = (base + rng.normal(size=(n, d)) for _ in range(2))
    plus[:, 0] += gap
    return plus, minus, np.arange(n) // 4


def test_pairs_in_order():
    plus, minus, groups = pairs()
    axis = uw.Direction(vector=np.eye(8)[0])
    found = V.pair_accuracy(axis, plus, minus, groups=groups)
    assert found.value == pytest.approx(np.mean(plus[:, 0] > minus[:, 0]))
    assert found.p_value < 0.01
    assert V.pair_accuracy(-axis, plus, minus, groups=groups).value == pytest.approx(1 - found.value)
    assert V.pair_accuracy(7 * axis, plus, minus, groups=groups) == found
    assert V.pair_accuracy(axis, plus, plus).value == 0.5  # ties
    readout = V.pair_accuracy(uw.Readout(covector=np.eye(8)[0], bias=9.0), plus, minus, groups=groups)
    function = V.pair_accuracy(lambda rows: rows[:, 0], plus, minus, groups=groups)
    assert readout == function == found
    with pytest.raises(InputError, match="row i of both is one pair"):
        V.pair_accuracy(axis, plus, minus[1:])
    with pytest.raises(InputError, match="the scorer is a int"):
        V.pair_accuracy(3, plus, minus)


def test_consistency_of_contrasts():
    """Perfect pairs 0, p = 1/2 throughout 1/4, always true 2."""
    p = np.tile([1.0, 0.0], 20)
    assert V.contrast_consistency(p, 1 - p).value == 0
    assert V.contrast_consistency(np.full(9, 0.5), np.full(9, 0.5)).value == 0.25
    assert V.contrast_consistency(np.ones(9), np.ones(9)).value == 2
    with pytest.raises(InputError, match="one probability a pair is needed"):
        V.contrast_consistency([1.5], [0.0])


def test_transfer_shows_what_a_negation_does_and_leaks_no_group():
    rng = np.random.default_rng(0)
    entities = np.arange(300) // 6
    y = rng.random(300) < 0.5
    X = rng.normal(size=(300, 5))
    plain, turned = X.copy(), X.copy()
    plain[:, 0] += 3 * y
    turned[:, 0] -= 3 * y
    sets = {"plain": (plain, y, entities), "negated": (turned, y, entities)}
    seen = []

    def fit(rows, labels):
        seen.append(set(rows[:, 1].tolist()))
        return uw.directions.mean_difference(rows, labels)

    found = V.transfer(fit, sets)
    assert found.auc["plain", "plain"].low > 0.9
    assert found.auc["plain", "negated"].high < 0.1
    assert seen[0] == seen[1]  # the same entities are fitted on in both sets
    assert len(found.table()) == 4
    assert repr(found).startswith("Transfer(2 sets, AUC 0.9")
    with pytest.raises(InputError, match="plain has 300 rows but groups of shape"):
        V.transfer(fit, {"plain": (plain, y, entities[1:])})


def test_leace_is_sufficient_and_half_an_eraser_is_not():
    X, y = laws.classes(0, n=600, d=6, gap=2.5)
    found = V.erasure_sufficiency(X, y, np.arange(600) // 6)
    assert found.is_sufficient
    assert found.auc.control > 0.9
    assert found.accuracy.value < found.accuracy.null + 0.08
    assert (found.rank, found.distortion.n) == (1, found.auc.n)

    def half(rows, labels):
        whole = uw.directions.leace(rows, labels)
        return uw.Eraser(read=whole.read / 2, write=whole.write, origin=whole.origin)

    left = V.erasure_sufficiency(X, y, np.arange(600) // 6, fit=half)
    assert not left.is_sufficient
    assert left.distortion.value == pytest.approx(found.distortion.value / 4, rel=1e-6)


def test_an_eraser_that_saw_the_scored_rows_is_told():
    """Fitted on all rows, it leaves no covariance in them, so each part leans against the rest: an AUC below 1/2."""
    rng = np.random.default_rng(0)
    y, groups = rng.random(300) < 0.5, np.arange(300) // 3
    X = rng.normal(size=(300, 20)) + y[:, None] * np.eye(20)[0]
    clean = uw.directions.leace(X, y).erase(X)
    seen = V.decodability(clean, y, groups, shuffles=1)
    assert seen.high < 0.5
    assert any("fitted on all of them" in one for one in seen.warnings)
    everything = uw.directions.leace(X, y)
    told = V.erasure_sufficiency(X, y, groups, fit=lambda *_: everything).auc
    assert any("fitted on 300 rows, the training groups have 210" in one for one in told.warnings)
    honest = V.erasure_sufficiency(X, y, groups).auc
    assert honest.low <= 0.5 <= honest.high
    assert not any("fitted on" in one for one in honest.warnings)


def test_the_angle_of_read_and_write_is_the_lda_law():
    """Fact 3 through the test: the pattern of the optimal read-out is the mean difference, the covector is not."""
    X, y = laws.classes(5, n=900, d=6)
    within = X - np.stack([X[y == c].mean(0) for c in (0, 1)])[y]
    readout = uw.directions.lda(X, y, shrinkage=0.0)
    direction = uw.directions.mean_difference(X, y)
    found = V.read_write_angle(readout, direction, within, np.arange(900) // 9)
    assert found.pattern.value == pytest.approx(1, abs=1e-10)
    assert found.pattern.low > 0.9
    assert abs(found.plain.value) < 0.95
    turned = V.read_write_angle(-1 * readout, direction, within, np.arange(900) // 9)
    assert turned.pattern.value == pytest.approx(-found.pattern.value)
    assert turned.pattern.p_value == found.pattern.p_value  # the sign of a direction does not change the verdict
    assert turned.plain.p_value == pytest.approx(found.plain.p_value)


def test_the_null_of_a_random_cosine_is_exact():
    """Uniform in three dimensions; the share of 20000 random directions in eight, within four standard errors."""
    assert V.random_cosine_p(0.3, 3) == pytest.approx(0.7)
    draws = np.random.default_rng(0).normal(size=(20000, 8))
    share = float((np.abs(draws[:, 0]) / np.linalg.norm(draws, axis=1) >= 0.4).mean())
    assert V.random_cosine_p(0.4, 8) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 20000))
    assert V.random_cosine_p(-0.4, 8) == V.random_cosine_p(0.4, 8)


def test_angles_that_mean_nothing_are_refused():
    X = np.random.default_rng(0).normal(size=(40, 3))
    w, v = uw.Readout(covector=np.ones(3), site="fc"), uw.Direction(vector=np.ones(3), site="fc")
    with pytest.raises(InputError, match="the widths are 3, 2 and 3"):
        V.read_write_angle(w, uw.Direction(vector=[1.0, 2.0]), X)
    with pytest.raises(InputError, match="the read-out is at fc, the direction at other"):
        V.read_write_angle(w, uw.Direction(vector=np.ones(3), site="other"), X)
    with pytest.raises(InputError, match="a zero vector has no angle"):
        V.read_write_angle(w, 0 * v, X)
    with pytest.raises(InputError, match="does not vary over these rows"):
        V.read_write_angle(w, v, np.ones((40, 3)))
    models = {"m": w, "o": v}
    first, second = (
        type(one)(**{key: getattr(one, key) for key in ("covector" if name == "m" else "vector", "site")},
                  provenance=Provenance(model=name))
        for name, one in models.items()
    )  # fmt: skip
    with pytest.raises(FingerprintError, match="their angle means nothing"):
        V.read_write_angle(first, second, X)


def test_the_sparse_curve_and_selectivity_are_those_of_probing():
    X, y = laws.classes(0, n=300, d=6, gap=2.0)
    groups = np.arange(300) // 6
    found = V.sparse_curve(X, y, groups, ks=(1, 2, 99))
    plain = uw.probing.sweep(X, y, groups=groups, ks=(1, 2), selector="std_mean_diff", coordinates=0)
    assert {k: one.value for k, one in found.items()} == {probe.k: probe.f1.value for probe in plain.probes}
    with pytest.raises(InputError, match="at least one k must be no larger"):
        V.sparse_curve(X, y, groups, ks=(99,))
    with pytest.raises(InputError, match="more than two classes"):
        V.sparse_curve(X, np.arange(300) % 3, groups)
    types = np.random.default_rng(0).integers(0, 20, 300)
    assert V.selectivity(X, y, types, groups, k=2).control is not None
