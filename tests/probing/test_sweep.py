"""Planted units are found, the slow pipeline finds the same, results predict, print and save."""

import functools

import numpy as np
import pytest
import torch

import unweave as uw
from laws_probing import planted
from twins_probing import held_out_rows, slow_probe

quick = functools.partial(uw.probing.sweep, coordinates=1)
"""With one set of random units for the control instead of twenty, which cost four fifths of a small sweep."""
KEYS = {
    "k", "support", "coef", "bias", "f1", "f1_low", "f1_high", "mcc", "auc", "precision", "recall", "control_f1",
    "all_positive_f1", "converged", "gap", "n_train", "n_test", "n_groups",
}  # fmt: skip


def test_the_table_has_the_contract_keys():
    X, y, groups = planted()
    table = uw.probing.sweep(X, y, groups=groups, ks=(1, 2), seed=0).table()
    assert [row["k"] for row in table] == [1, 2]
    for row in table:
        assert set(row) >= KEYS
        assert row["f1_low"] <= row["f1"] <= row["f1_high"]
        assert row["n_train"] + row["n_test"] == len(X)
        assert row["n_groups"] == 12


def test_one_dedicated_unit_is_found_with_one_unit():
    X, y, groups = planted(units=(7,), strength=6.0)
    probe = uw.probing.sweep(X, y, groups=groups, ks=(1, 2)).probe(1)
    assert probe.support == (7,)
    # two Gaussians six deviations apart: the balanced threshold errs on 0.13 % of rows, F1 of 120 rows is near 1
    assert probe.f1.value > 0.95
    assert probe.f1.control < 0.5
    assert probe.f1.p_value == pytest.approx(1 / 21)  # no shuffle of 20 does as well


@pytest.mark.parametrize("units", [(2, 11), (0, 5, 19), (3, 4, 8, 15)])
def test_a_feature_over_several_units_is_found_with_as_many(units):
    X, y, groups = planted(units=units, strength=1.8, n=800)
    found = quick(X, y, groups=groups, ks=tuple(range(1, len(units) + 1)))
    assert set(found.probe(len(units)).support) == set(units)
    assert found.probe(len(units)).f1.value > found.probe(1).f1.value


@pytest.mark.parametrize("selector", ["std_mean_diff", "mean_diff"])
@pytest.mark.parametrize("lam", [1.0, 100.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_slow_pipeline_finds_the_same(selector, lam, seed):
    X, y, groups = planted(units=(1, 9, 12), strength=1.2, seed=seed)
    X = X * np.exp(np.random.default_rng(seed).normal(size=20))  # so that the two selectors rank differently
    found = quick(X, y, groups=groups, ks=(1, 2, 4, 8, 16), lam=lam, selector=selector, seed=seed)
    held_out = held_out_rows(found, groups)
    for probe in found.probes:
        slow = slow_probe(X, y, held_out, probe.k, lam=lam, selector=selector)
        assert probe.support == slow.support
        np.testing.assert_allclose(found.scores(X, probe.k), slow.scores, atol=1e-5)  # lbfgs stops at 1e-6 or so
        for name in ("auc", "mcc", "precision", "recall"):
            assert getattr(probe, name) == pytest.approx(getattr(slow, name), abs=1e-12)
        assert probe.f1.value == pytest.approx(slow.f1, abs=1e-12)


def test_the_split_holds_out_the_share_asked_for_and_keeps_class_shares():
    X, y, groups = planted(n=2000)
    for share in (0.2, 0.5):
        held_out = held_out_rows(
            uw.probing.sweep(X, y, groups=groups, ks=(1,), test=share, shuffles=0, coordinates=0), groups
        )
        assert abs(held_out.mean() - share) < 0.02
        assert abs(y[held_out].mean() - y[~held_out].mean()) < 0.02


@pytest.mark.parametrize(
    ("negative", "positive", "dtype"),
    [(0, 1, np.int64), (-1, 1, np.int64), (0, 1, np.int8), (False, True, bool), (0.0, 1.0, np.float32), (-1, 1, float)],
)
def test_predictions_are_spelt_like_the_labels(negative, positive, dtype):
    X, y, groups = planted(strength=6.0)
    labels = np.where(y, positive, negative).astype(dtype)
    found = quick(X, labels, groups=groups, ks=(1,))
    predicted = found.predict(X, 1)
    assert set(np.unique(predicted).tolist()) == {negative, positive}
    assert (predicted == labels).mean() > 0.97
    assert predicted.dtype.kind == np.dtype(dtype).kind
    plain = quick(X, y, groups=groups, ks=(1,))
    assert found.table() == plain.table()


def _plain(rows):
    return rows.detach().clone().numpy() if isinstance(rows, torch.Tensor) else np.array(rows)


def _read_only(X):
    frozen = X.copy()
    frozen.flags.writeable = False
    return frozen


FORMS = {
    "read-only": _read_only,
    "list": lambda X: X.tolist(),
    "torch": lambda X: torch.from_numpy(X.copy()),
    "fortran order": np.asfortranarray,
    "every second row of a wider array": lambda X: np.repeat(np.repeat(X, 2, 0), 3, 1)[::2, ::3],
    "reversed twice": lambda X: X[::-1].copy()[::-1],
    "a tensor that wants a gradient": lambda X: torch.from_numpy(X.copy()).requires_grad_(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_rows_in_any_form_give_the_same_table_and_are_not_written_to(form):
    X, y, groups = planted()
    rows, labels = form(X), list(y)
    before = _plain(rows)
    found = quick(rows, labels, groups=groups.tolist(), ks=(1, 4))
    assert found.table() == quick(X, y, groups=groups, ks=(1, 4)).table()
    assert np.array_equal(before, _plain(rows))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64, torch.float16, torch.bfloat16])
def test_other_dtypes_are_read_exactly(dtype):
    X, y, groups = planted()
    whole = np.round(X * 4)  # small whole numbers are the same in every dtype
    rows = torch.from_numpy(whole).to(dtype) if isinstance(dtype, torch.dtype) else whole.astype(dtype)
    found = quick(rows, y, groups=groups, ks=(1, 4))
    assert found.table() == quick(whole, y, groups=groups, ks=(1, 4)).table()


def test_groups_may_have_any_names_and_none_means_every_row_by_itself():
    X, y, groups = planted()
    names = np.array([f"document {group:03d}" for group in groups])
    assert quick(X, y, groups=names, ks=(1,)).table() == quick(X, y, groups=groups, ks=(1,)).table()
    alone = quick(X, y, ks=(1,)).table()
    assert alone == quick(X, y, groups=np.arange(len(X)), ks=(1,)).table()
    assert alone[0]["n_groups"] == alone[0]["n_test"]


def test_one_column_and_fewer_rows_than_columns():
    X, y, groups = planted(units=(0,), d=1, strength=6.0)
    assert uw.probing.sweep(X, y, groups=groups, ks=(1,)).probe(1).support == (0,)
    X, y, _ = planted(n=60, d=300, units=(250,), strength=6.0)
    assert quick(X, y, ks=(1,)).probe(1).support == (250,)


def test_columns_that_tell_nothing_still_count_as_units():
    """A column whose class means agree exactly scores 0; it comes last, but a probe may use it."""
    y = np.arange(400) % 2 == 0
    X = np.stack([np.where(y, 1.0, -1.0), np.arange(400) // 2 % 2], 1)
    found = uw.probing.sweep(X, y, groups=np.arange(400) // 20, ks=(1, 2))
    assert [probe.support for probe in found.probes] == [(0,), (0, 1)]
    assert not found.warnings


def test_separable_rows_have_finite_coefficients_and_say_so():
    X, y, groups = planted(strength=60.0)
    probe = uw.probing.sweep(X, y, groups=groups, ks=(1,)).probe(1)
    assert probe.separable
    assert probe.converged
    assert np.isfinite(probe.coef).all()
    assert probe.f1.value == 1.0
    assert probe.f1.low < 1.0  # 12 documents without an error do not prove that there is none


def test_rotation_leaves_the_full_probe_and_spoils_the_sparse_one():
    """With white columns a probe on all of them does not see an orthogonal rotation; a probe on one does."""
    X, y, groups = planted(strength=4.0, n=1200, d=24)
    held_out = held_out_rows(uw.probing.sweep(X, y, groups=groups, ks=(1,)), groups)
    centred = X - X[~held_out].mean(0)
    values, vectors = np.linalg.eigh(centred[~held_out].T @ centred[~held_out] / (~held_out).sum())
    white = centred @ vectors / np.sqrt(values) @ vectors.T  # the square root that moves the columns least
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(24, 24)))[0]
    plain, turned = (quick(rows, y, groups=groups, ks=(1, 24)) for rows in (white, white @ rotation))
    np.testing.assert_allclose(plain.scores(white, 24), turned.scores(white @ rotation, 24), atol=1e-6)
    assert plain.probe(24).f1.value == turned.probe(24).f1.value
    assert plain.probe(1).f1.low > turned.probe(1).f1.high


def test_saved_and_loaded_it_predicts_the_same(tmp_path):
    X, y, groups = planted()
    found = uw.probing.sweep(X, np.where(y, 1, -1), groups=groups, ks=(1, 4))
    uw.save(found, tmp_path / "sweep")
    again = uw.load(tmp_path / "sweep")
    assert again.table() == found.table()
    assert (again.config, again.labels, again.width, again.seconds) == (
        found.config, found.labels, found.width, found.seconds,
    )  # fmt: skip
    for k in (1, 4):
        assert np.array_equal(again.scores(X, k), found.scores(X, k))
        assert np.array_equal(again.predict(X, k), found.predict(X, k))


def test_it_prints_in_one_line():
    X, y, groups = planted(strength=60.0)
    # 11 held-out documents have positives: (1 - low) is the error share that 11 clean ones exclude, 1 - 0.025^(1/11)
    assert repr(uw.probing.sweep(X, y, groups=groups, ks=(1,))) == "ProbeSweep(F1 k=1: 1.000 [0.715, 1.000])"


def test_a_probe_is_a_readout_and_a_block_of_units():
    X, y, groups = planted()
    found = uw.probing.sweep(X, y, groups=groups, ks=(3,), shuffles=0)
    reads = found.readout(3, site="blocks.0.mlp_act")
    np.testing.assert_allclose(reads.score(torch.from_numpy(X)), found.scores(X, 3), rtol=1e-10)
    assert sorted(torch.nonzero(reads.covector).flatten().tolist()) == sorted(found.probe(3).support)
    units = found.featurizer(3, site="blocks.0.mlp_act")
    assert (units.blocks, units.index.tolist()) == ((3,), list(found.probe(3).support))
    assert units.site == reads.site == "blocks.0.mlp_act"
    assert units.provenance.method == "sparse probe"
