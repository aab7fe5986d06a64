"""Labels with several values: planted classes are found; the joint probe is scikit-learn's on the same columns."""

import numpy as np
import pytest

import unweave as uw


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 900) * 4 - 1  # -1, 3, 7
    X = rng.normal(size=(900, 15))
    for unit, name in ((2, -1), (9, 3), (13, 7)):
        X[:, unit] += 3 * (y == name)
    return X, y, np.arange(900) // 10


@pytest.fixture(scope="module")
def found(world):
    X, y, groups = world
    return uw.probing.sweep(X, y, groups=groups, ks=(1, 3), selector="std_mean_diff", shuffles=5, bootstrap=300)


def test_planted_units_are_found_for_each_class_and_for_all(found):
    assert {name: sweep.probe(1).support for name, sweep in found.one_vs_rest.items()} == {-1: (2,), 3: (9,), 7: (13,)}
    assert set(found.probe(3).support) == {2, 9, 13}
    assert found.probe(3).f1.low > 0.85
    assert 0.2 < found.probe(3).f1.control < 0.45  # three classes at chance
    assert found.probe(1).f1.value < found.probe(3).f1.value


def test_the_table_has_the_contract_keys(found):
    for row in found.table():
        assert {"k", "support", "f1", "f1_low", "f1_high", "mcc", "auc", "control_f1"} <= set(row)
        assert row["f1_low"] <= row["f1"] <= row["f1_high"]


def test_the_joint_probe_is_scikit_learns_on_the_same_columns(world, found):
    from sklearn import metrics
    from sklearn.linear_model import LogisticRegression

    X, y, groups = world
    held_out = np.isin(groups, found.one_vs_rest[3].probes[0].groups)
    probe = found.probe(3)
    columns = X[:, list(probe.support)]
    standard = (columns - columns[~held_out].mean(0)) / columns[~held_out].std(0)
    scores = np.stack(
        [
            LogisticRegression(class_weight="balanced", tol=1e-10, max_iter=10_000)
            .fit(standard[~held_out], y[~held_out] == name)
            .decision_function(standard)
            for name in found.classes
        ],
        axis=1,
    )
    np.testing.assert_allclose(found.scores(X, 3), scores, atol=1e-5)
    predicted = np.array(found.classes)[scores.argmax(1)]
    assert np.array_equal(found.predict(X, 3), predicted)
    truth, called = y[held_out], predicted[held_out]
    assert probe.f1.value == pytest.approx(metrics.f1_score(truth, called, average="macro"), abs=1e-12)
    assert probe.accuracy == pytest.approx(metrics.accuracy_score(truth, called), abs=1e-12)
    assert probe.f1_by_class == pytest.approx(metrics.f1_score(truth, called, average=None), abs=1e-12)


def test_columns_are_ranked_by_scikit_learns_anova(world):
    import torch
    from sklearn.feature_selection import f_classif

    from unweave.probing.classes import anova

    X, y, _ = world
    strength, live = anova(torch.from_numpy(X), np.unique(y, return_inverse=True)[1].reshape(1, -1), 3)
    np.testing.assert_allclose(strength[0], f_classif(X, y)[0], rtol=1e-9)
    assert bool(live.all())


def test_saved_and_loaded_it_predicts_the_same(world, found, tmp_path):
    uw.save(found, tmp_path / "classes")
    again = uw.load(tmp_path / "classes")
    assert again.table() == found.table()
    assert np.array_equal(again.predict(world[0], 3), found.predict(world[0], 3))
    assert repr(again) == repr(found)
