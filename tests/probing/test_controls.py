"""Controls of a probe: what the feature is not owed to. Planted truths, and what is said of inputs that do not fit."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

import unweave as uw
from laws_probing import planted
from unweave.errors import DataError, InputError
from unweave.probing.config import ProbeConfig
from unweave.probing.controls import coordinates_control, fixed_probe, probes_of
from unweave.probing.problem import as_problem
from unweave.probing.rotation import rotations
from unweave.tensors.logistic import balanced_weights, fit_many

QUICK = ProbeConfig(ks=(1, 4), selector="std_mean_diff", bootstrap=500)


def typed(seed=0, *, n=900, types=30, d=40):
    """Rows that know their token type through one unit each, and nothing else; labels of types; documents of ten."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, types, size=n)
    X = 0.3 * rng.normal(size=(n, d))
    X[np.arange(n), kinds] += 3
    return X, kinds, np.arange(n) // 10


def test_the_difference_is_the_probe_minus_the_mean_of_its_stand_ins():
    X, y, groups = planted(units=(2, 11))
    rows, problem = as_problem(X, y, groups, QUICK)
    probes = probes_of(rows, problem, QUICK)
    one, four = coordinates_control(rows, problem, QUICK, draws=6, matched=False)
    for control in (one, four):
        assert control.f1 == probes[control.k].f1.value
        assert control.difference.value == pytest.approx(control.f1 - control.difference.control, abs=1e-12)
        assert control.draws == 6
        assert control.spread > 0
        assert control.difference.low > 0.2
    assert set(one.row()) == {
        "control", "k", "f1", "control_f1", "difference", "low", "high", "spread", "draws", "n_test", "n_groups",
    }  # fmt: skip


def test_random_units_that_are_all_units_do_as_well():
    """With k = d there is nothing to choose: the difference is zero, its interval a point."""
    X, y, groups = planted(d=4, units=(2,))
    (found,) = uw.probing.random_coordinates(X, y, groups=groups, config=QUICK.model_copy(update={"ks": (4,)}), draws=3)
    assert abs(found.difference.value) < 1e-9
    assert abs(found.difference.high - found.difference.low) < 1e-9


def test_units_matched_in_spread_are_as_wide_and_not_chosen_ones():
    rng = np.random.default_rng(0)
    X, y, groups = planted(units=(0,), d=60)
    X *= np.where(np.arange(60) < 30, 10.0, 0.1)
    found = uw.probing.random_coordinates(X, y, groups=groups, config=QUICK, draws=5, matched=True)
    assert [one.name for one in found] == ["coordinates matched in spread"] * 2
    from unweave.probing.controls import _matched

    deviation = X.std(0)
    for _ in range(50):
        (unit,) = _matched([0], deviation, np.arange(60), rng)
        assert 0 < unit < 30


def test_labels_of_types_are_read_as_well_as_labels_without_meaning():
    """Rows that know only the type: the feature is one of many labellings of types, so selectivity is near nothing."""
    X, kinds, groups = typed()
    config = QUICK.model_copy(update={"ks": (16,)})
    (known,) = uw.probing.selectivity(X, np.isin(kinds, range(10)), kinds, groups=groups, config=config)
    assert known.f1 > 0.8
    assert known.difference.control > 0.6
    assert known.difference.low < 0.15
    rng = np.random.default_rng(1)
    y = rng.random(len(X)) < 0.3  # a feature of tokens in context
    X[:, 33] += 3 * y
    (free,) = uw.probing.selectivity(X, y, kinds, groups=groups, config=config.model_copy(update={"ks": (1,)}))
    assert free.difference.low > 0.3


def test_types_that_training_rows_lack_are_left_out():
    X, kinds, groups = typed()
    y = np.isin(kinds, range(10))
    _, problem = as_problem(X, y, groups, QUICK)
    fresh = kinds.copy()
    fresh[np.flatnonzero(problem.held_out)[::2]] = 99  # occurs in held-out rows alone
    (found, _) = uw.probing.selectivity(X, y, fresh, groups=groups, config=QUICK)
    # the estimate counts the rows of the probe and of five tasks
    assert found.difference.n == 6 * (problem.held_out.sum() - len(np.flatnonzero(problem.held_out)[::2]))
    with pytest.raises(DataError, match="no type of the held-out rows occurs in the training rows"):
        uw.probing.selectivity(X, y, np.where(problem.held_out, 1, 0), groups=groups, config=QUICK)
    with pytest.raises(DataError, match="1 types give no control task with both classes"):
        uw.probing.selectivity(X, y, np.zeros(len(X), dtype=int), groups=groups, config=QUICK)


def test_a_rotation_hides_a_unit_but_not_a_subspace():
    """Law 9: sparse scores fall, dense ones do not change."""
    X, y, groups = planted(units=(2,), d=40, n=800)
    found = {one.k: one for one in uw.probing.rotation_gap(X, y, groups=groups, config=QUICK, draws=4)}
    assert found[1].difference.low > 0.1  # the largest of 40 entries of a random direction keeps half of the strength
    assert found[1].f1 > 0.8
    rows, problem = as_problem(X, y, groups, QUICK)
    train = torch.from_numpy(~problem.held_out)
    centred = rows - rows[train].mean(0)
    scores = []
    for matrix in (centred, *rotations(rows, train, draws=2, seed=0)):
        signs = torch.from_numpy(np.where(y[train.numpy()], 1.0, -1.0))[None]
        weights = balanced_weights(signs, torch.ones_like(signs, dtype=torch.bool))
        fits = fit_many(matrix[train], signs, weights, torch.arange(40)[None])
        scores.append(matrix @ fits.coef[0] + fits.bias[0])
    for turned in scores[1:]:
        torch.testing.assert_close(turned, scores[0], atol=1e-6, rtol=0)


def test_a_feature_without_a_basis_has_no_gap():
    """The direction of the feature is random: a rotation is as good a basis as any."""
    rng = np.random.default_rng(3)
    gaps = []
    for seed in range(8):
        y = rng.random(600) < 0.3
        direction = rng.normal(size=30)
        X = rng.normal(size=(600, 30)) + 2 * y[:, None] * direction / np.linalg.norm(direction)
        (found,) = uw.probing.rotation_gap(
            X, y, groups=np.arange(600) // 10, config=QUICK.model_copy(update={"ks": (1,), "seed": seed}), draws=5
        )
        gaps.append(found.difference.value)
    assert abs(np.mean(gaps)) < 4 * np.std(gaps, ddof=1) / np.sqrt(8)


def test_an_offset_shared_by_all_rows_does_not_matter_to_the_rotation():
    X, y, groups = planted(units=(2,), d=30)
    first, second = (uw.probing.rotation_gap(rows, y, groups=groups, config=QUICK, draws=2) for rows in (X, X + 1000.0))
    for one, two in zip(first, second, strict=True):
        assert one.difference.value == pytest.approx(two.difference.value, abs=1e-9)


def test_the_token_baseline_is_a_probe_on_one_hot_columns():
    """Twin: scikit-learn on dense one-hot matrices of the token and of the one before."""
    rng = np.random.default_rng(0)
    ids, before, groups = rng.integers(0, 25, 800), rng.integers(-1, 25, 800), np.arange(800) // 10
    y = (ids < 6) ^ (rng.random(800) < 0.15) ^ ((before < 5) & (ids > 20))
    found = uw.probing.token_baseline(ids, y, previous=before, groups=groups)
    _, problem = as_problem(np.zeros((800, 1)) + np.arange(800)[:, None], y, groups, ProbeConfig())
    train = ~problem.held_out
    columns = np.concatenate([ids[:, None] == np.unique(ids[train]), before[:, None] == np.unique(before[train])], 1)
    model = LogisticRegression(class_weight="balanced", max_iter=5000, tol=1e-8).fit(columns[train], y[train])
    assert found.value == pytest.approx(f1_score(y[~train], model.predict(columns[~train])), abs=0.01)
    assert found.low < found.value < found.high


def test_tokens_that_training_rows_lack_get_the_intercept():
    ids, groups = np.arange(600) // 2, np.arange(600) // 10  # no token occurs in two documents
    y = np.random.default_rng(0).random(600) < 0.5
    assert uw.probing.token_baseline(ids, y, groups=groups).value in (0.0, pytest.approx(2 / 3, abs=0.1))


def test_the_probe_on_given_units_is_the_probe_of_their_columns():
    X, y, groups = planted(units=(2, 11))
    rows, problem = as_problem(X, y, groups, QUICK)
    given = fixed_probe(rows, problem, [11, 2], QUICK)
    swept = uw.probing.sweep(X[:, [11, 2]], y, groups=groups, ks=(2,), selector="std_mean_diff", shuffles=0).probe(2)
    assert given.f1.value == swept.f1.value
    assert given.support == (0, 1)


def test_inputs_that_do_not_fit_are_named():
    X, y, groups = planted()
    with pytest.raises(InputError, match="draws is 0: at least one rotation"):
        uw.probing.rotation_gap(X, y, groups=groups, config=QUICK, draws=0)
    with pytest.raises(InputError, match="draws is 0: at least one set of random units"):
        uw.probing.random_coordinates(X, y, groups=groups, config=QUICK, draws=0)
    with pytest.raises(InputError, match=r"types has shape \(3,\) but there are 400 rows"):
        uw.probing.selectivity(X, y, [1, 2, 3], groups=groups, config=QUICK)
    with pytest.raises(InputError, match=r"tokens are float64 of shape \(400,\): one token id a row"):
        uw.probing.token_baseline(np.zeros(400), y)
    with pytest.raises(InputError, match=r"previous has shape \(2,\) but there are 400 tokens"):
        uw.probing.token_baseline(np.zeros(400, dtype=int), y, previous=[1, 2])
    with pytest.raises(
        DataError, match="every column of X has a NaN or infinite entry, the first is nan at row 0, column 0"
    ):
        uw.probing.rotation_gap(np.full((400, 3), np.nan), y, groups=groups, config=QUICK)


def test_noise_has_no_difference_to_its_controls():
    """Where there is nothing to find, intervals of the differences cover zero about as often as they say."""
    covered = []
    for seed in range(15):
        rng = np.random.default_rng([1, seed])
        y = rng.permutation(np.arange(400) % 3 == 0)
        config = QUICK.model_copy(update={"ks": (2,), "seed": seed})
        X = rng.normal(size=(400, 20))
        groups = np.arange(400) // 10
        both = (
            *uw.probing.rotation_gap(X, y, groups=groups, config=config, draws=3),
            *uw.probing.random_coordinates(X, y, groups=groups, config=config, draws=3),
        )
        covered += [found.difference.low <= 0 <= found.difference.high for found in both]
    # 30 intervals; at a coverage of .9 fewer than this have a chance of 1e-6
    assert np.sum(covered) >= stats.binom.ppf(1e-6, 30, 0.9)
