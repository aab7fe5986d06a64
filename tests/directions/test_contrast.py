"""Contrast pairs: fact 6 (the centring trap), signs, consistency, and pairs that are none."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

import laws_directions as laws
import unweave as uw
from unweave.errors import DataError, InputError, UnknownName

PCA = uw.directions.contrast_pca


def trap(seed=0, *, n=400, d=64):
    """Fact 6: offset +-1 on axis 0, a nuisance of each side on axis 1, a shared base."""
    rng = np.random.default_rng(seed)
    base = 0.5 * rng.normal(size=(n, d))
    sides = []
    for sign in (1, -1):
        rows = base + 0.05 * rng.normal(size=(n, d))
        rows[:, 0] += sign
        rows[:, 1] += 0.7 * rng.normal(size=n)
        sides.append(rows)
    return sides[0], sides[1]


def test_centring_removes_the_concept_and_the_trap_is_named(caplog):
    plus, minus = trap()
    for center in ("none", "pair"):
        found = PCA(plus, minus, center=center)
        assert found.vector[0] > 0.999
        assert found.provenance.warnings == ()
    with caplog.at_level(logging.WARNING, "unweave"):
        fallen = PCA(plus, minus, center="difference")
    assert abs(float(fallen.vector[0])) <= 0.01
    assert fallen.provenance.warnings[0].startswith("centring trap: the pairs are ordered")
    assert "centring trap" in caplog.text
    y = np.repeat([1, 0], len(plus))
    assert laws.cosine(uw.directions.mean_difference(np.vstack([plus, minus]), y).vector, np.eye(64)[0]) > 0.999


def test_random_order_makes_centring_harmless():
    plus, minus = trap(1)
    flip = np.random.default_rng(0).random(len(plus)) < 0.5
    mixed = np.where(flip[:, None], minus, plus), np.where(flip[:, None], plus, minus)
    found = PCA(*mixed, center="difference")
    assert abs(float(found.vector[0])) > 0.999
    assert found.provenance.warnings == ()
    ordered = [uw.directions.order_of_pairs(torch.from_numpy(a - b)) for a, b in ((plus, minus), mixed)]
    assert ordered[0] > 200
    assert ordered[1] < 9


def test_it_points_to_the_positive_side_and_turns_with_the_sides():
    plus, minus = trap(2, n=30)
    there = PCA(plus, minus)
    assert float((torch.from_numpy(plus - minus) @ there.vector).mean()) > 0
    torch.testing.assert_close(PCA(minus, plus).vector, -there.vector)
    assert there.norm == pytest.approx(1, abs=1e-12)


def test_it_is_the_singular_vector_of_numpy():
    plus, minus = trap(3, n=50, d=7)
    vector = np.linalg.svd(plus - minus)[2][0]
    assert abs(laws.cosine(PCA(plus, minus).vector, vector)) > 1 - 1e-12


def test_lat_finds_the_largest_axis_without_labels():
    X = np.random.default_rng(0).normal(size=(300, 6)) * [1, 1, 1, 8, 1, 1]
    found = uw.directions.lat(X, seed=3)
    assert found.vector[3] > 0.9
    assert torch.equal(found.vector, uw.directions.lat(X, seed=3).vector)


def statements(seed=0, *, n=80, d=6):
    """Statements and negations with a truth on axis 2 and a side on axis 0."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.5
    sides = []
    for sign in (1, -1):
        rows = 0.15 * rng.normal(size=(n, d))
        rows[:, 0] += 3 * sign
        rows[:, 2] += sign * np.where(truth, 1, -1)
        sides.append(rows)
    return sides[0], sides[1], truth


@pytest.fixture(scope="module")
def probe():
    plus, minus, _ = statements()
    return uw.directions.ccs(plus, minus, restarts=3, steps=250, lr=0.03)


def test_consistency_finds_the_truth_up_to_its_sign(probe):
    plus, minus, truth = statements(1)
    p, q = (side.numpy() for side in probe.probabilities(plus, minus))
    accuracy = float(np.mean((p - q > 0) == truth))
    assert max(accuracy, 1 - accuracy) > 0.95
    assert probe.losses == tuple(sorted(probe.losses))
    assert float(uw.directions.consistency(*(torch.from_numpy(one) for one in (p, q)))) < 0.1


def test_new_pairs_are_centred_on_training_means(probe):
    """One pair alone has the probabilities that it has among many: its own mean is not used (trap T10)."""
    plus, minus, _ = statements(2)
    many, one = probe.probabilities(plus, minus), probe.probabilities(plus[:1], minus[:1])
    torch.testing.assert_close(one[0], many[0][:1])
    scores = probe.readout.score(torch.from_numpy(plus))
    middle = torch.logit(many[0]) + probe.covector @ (probe.positive_mean - probe.negative_mean) / 2
    torch.testing.assert_close(scores, middle)


def test_a_probe_is_saved(probe, tmp_path):
    loaded = uw.load(uw.save(probe, tmp_path / "p"))
    assert torch.equal(loaded.covector, probe.covector)
    assert (loaded.losses, loaded.bias, repr(loaded)) == (probe.losses, probe.bias, repr(probe))


PLUS, MINUS = trap(0, n=10, d=4)
WRONG = {
    "unequal": ((PLUS, MINUS[:-1]), InputError, r"positive is \(10, 4\) but negative is \(9, 4\): row i of both"),
    "widths": ((PLUS, MINUS[:, :3]), InputError, "as many rows of one width"),
    "one pair": ((PLUS[:1], MINUS[:1]), DataError, "1 pair: a direction needs at least two"),
    "the same": ((PLUS, PLUS), DataError, "the pairs do not differ"),
    "nan": ((PLUS * np.nan, MINUS), DataError, "positive has nan at row 0, column 0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_pairs_that_are_none_are_refused(name):
    arguments, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        PCA(*arguments)


def test_an_unknown_centre_is_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="unknown center 'diference'; nearest: 'difference'"):
        PCA(PLUS, MINUS, center="diference")
    with pytest.raises(DataError, match="random pairs need at least four"):
        uw.directions.lat(PLUS[:3])
