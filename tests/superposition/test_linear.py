"""Closed forms: the bound is reached, gradient descent ends there, and what they must obey."""

import numpy as np
import pytest
import torch

from unweave.errors import InputError, UnknownName
from unweave.superposition.bags import bags
from unweave.superposition.dataset import Matrix
from unweave.superposition.geometry import geometry
from unweave.superposition.linear import closed_form, spectrum
from unweave.superposition.structure import dimensionality, pca_distance

RNG = np.random.default_rng(0)
X = (RNG.random((400, 1)) * RNG.random((1, 30)) + 0.3 * RNG.random((400, 30)) > 0.4).astype(float)


def objective(W, b, x, l2):
    rest = x - (x @ W.T @ W + b)
    return rest.square().sum(1).mean() + l2 * W.square().sum()


@pytest.mark.parametrize("l2", [0.0, 0.05, 0.3])
def test_gradient_descent_ends_at_the_closed_form(l2):
    found = spectrum(X).model(5, l2)
    x = torch.from_numpy(X)
    torch.manual_seed(0)
    W = torch.from_numpy(found.weight + 0.1 * np.random.default_rng(1).normal(size=(5, 30))).requires_grad_()
    b = torch.zeros(30, dtype=torch.float64, requires_grad=True)
    step = torch.optim.LBFGS(
        [W, b], max_iter=400, tolerance_grad=1e-10, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def closure():
        step.zero_grad()
        loss = objective(W, b, x, l2)
        loss.backward()
        return loss.detach()

    step.step(closure)
    reached = float(objective(W, b, x, l2).detach())
    own = float(objective(torch.from_numpy(found.weight), torch.from_numpy(found.bias), x, l2))
    assert own == pytest.approx(found.objective, rel=1e-10)
    assert reached == pytest.approx(own, rel=1e-6)
    assert reached >= own - 1e-9


def test_error_and_rank_are_those_of_the_eigenvalues():
    found = spectrum(X)
    values = np.linalg.eigvalsh(np.cov(X.T, bias=True))[::-1]
    for width in (1, 7, 29):
        model = found.model(width)
        assert model.train_mse == pytest.approx(values[width:].sum() / 30, abs=1e-12)
        assert model.train_mse == pytest.approx(np.square(X - model.reconstruct(X)).mean(), abs=1e-12)
        assert model.norm2 == pytest.approx(min(width, (values > 1e-9).sum()))
    l2 = 2 * values[4] * 0.999
    assert found.model(30, l2).rank == 5
    tied, untied = found.model(5, 0.2), found.model(5, 0.1, kind="untied")
    assert np.allclose(tied.gram(), untied.gram(), atol=1e-12)
    assert found.model(30).train_mse < 1e-12


def test_weighted_models_are_pca_of_scaled_columns():
    importance = np.linspace(0.5, 2, 30)
    model = spectrum(X, importance=importance).model(4, kind="untied")
    rest = np.square(X - model.reconstruct(X)).mean(0) @ importance
    scaled = np.cov((X * np.sqrt(importance)).T, bias=True)
    assert rest == pytest.approx(np.linalg.eigvalsh(scaled)[::-1][4:].sum(), rel=1e-9)
    with pytest.raises(InputError, match="only untied models without l2"):
        spectrum(X, importance=importance).model(4)


def test_without_bias_second_moments_count():
    model = spectrum(X, bias=False).model(3)
    assert np.abs(model.bias).max() == 0
    assert model.train_mse == pytest.approx(np.linalg.eigvalsh(X.T @ X / 400)[::-1][3:].sum() / 30, rel=1e-9)


def test_permuting_words_permutes_and_permuting_rows_changes_nothing():
    order = np.random.default_rng(3).permutation(30)
    one, two = spectrum(X).model(6), spectrum(X[::-1][:, order]).model(6)
    assert np.allclose(one.gram()[np.ix_(order, order)], two.gram(), atol=1e-9)
    assert np.allclose(one.bias[order], two.bias)
    table = geometry(one, X, controls=False).columns
    again = geometry(two, X[:, order], controls=False).columns
    for name in ("p", "r2_context", "r2_onehot", "r2_linear", "lift", "dprime", "dimensionality", "lift_length"):
        assert np.allclose(table[name][order], again[name], atol=1e-6, equal_nan=True), name


def test_constant_words_and_equal_eigenvalues():
    x = np.concatenate([X[:, :6], np.ones((400, 1)), np.zeros((400, 1))], axis=1)
    model = closed_form(x, width=4)
    assert np.abs(model.weight[:, 6:]).max() < 1e-9
    assert np.allclose(model.reconstruct(x)[:, 6:], [1, 0])
    table = geometry(model, x).table()
    assert [row["regime"] for row in table[6:]] == ["constant", "constant"]
    assert all(np.isnan(row["r2_context"]) and np.isnan(row["lift"]) for row in table[6:])
    equal = closed_form(np.eye(4)[np.arange(40) % 4], width=1)
    assert "arbitrary" in equal.warnings[0]
    wide = closed_form(X[:, :5], width=9)
    assert wide.weight.shape == (9, 5)
    assert "the other rows are zero" in wide.warnings[0]
    ones = closed_form(np.ones((10, 3)), width=2)
    assert np.allclose(ones.reconstruct(np.ones((2, 3))), 1)


@pytest.mark.parametrize(
    ("options", "words"), [({"width": 0}, "width is 0"), ({"l2": -1.0}, "l2 is -1.0"), ({"l2": np.inf}, "l2 is inf")]
)
def test_dials_out_of_range(options, words):
    with pytest.raises(InputError, match=words):
        closed_form(X, **options)
    with pytest.raises(UnknownName, match="tide"):
        closed_form(X, kind="tide")


def test_dimensionality_obeys_its_law():
    rng = np.random.default_rng(5)
    for _ in range(20):
        W = rng.normal(size=(4, 9)) * rng.random(9)
        W[:, 2], W[:, 3] = 0, W[:, 4]
        found = dimensionality(W)
        assert found.sum() <= 4 + 1e-9
        assert found[2] == 0
        turned, _ = np.linalg.qr(rng.normal(size=(4, 4)))
        assert np.allclose(dimensionality(7 * turned @ W), found)
    square = np.concatenate([np.eye(3), np.eye(3)], 1)
    assert np.allclose(dimensionality(square), 0.5)


def test_distance_from_principal_components():
    found = spectrum(X)
    away = pca_distance(found.model(5), found)
    assert away.projector < 1e-6
    assert away.angle_max < 1e-4
    assert abs(away.excess_mse) < 1e-12
    other = found.model(5)
    shuffled = Matrix(x=X[:, ::-1].copy(), vocab=[str(n) for n in range(30)])
    assert pca_distance(other, spectrum(shuffled)).projector > 0.3


LINES = [" ".join(f"q{letter}" for letter in np.array(list("abcdefgh"))[np.random.default_rng(n).random(8) < 0.5]) for n in range(200)]  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(("bias", "weighted"), [(True, False), (False, False), (True, True)])
def test_eigenpairs_without_words_by_words_are_the_dense_ones(monkeypatch, bias, weighted):
    for rows, words in ((X * np.arange(1, 31), 30), (bags(LINES, vocab=8, window=2, split=None), 8)):
        options = {"bias": bias, "importance": np.linspace(0.5, 2, words) if weighted else None}
        dense = spectrum(rows, 3, **options)
        monkeypatch.setattr("unweave.superposition.linear.WORDS", 5)
        found = spectrum(rows, 3, **options)
        monkeypatch.undo()
        assert np.allclose(found.values, dense.values, rtol=1e-9)
        assert np.allclose(found.vectors[:, :3], dense.vectors[:, :3], atol=1e-6)
        assert found.trace == pytest.approx(dense.trace, rel=1e-12)
        assert found.bound(2) == pytest.approx(dense.bound(2), rel=1e-9)
        assert found.length_variance == pytest.approx(dense.length_variance, rel=1e-9)


def test_all_eigenpairs_of_too_many_words_are_refused(monkeypatch):
    monkeypatch.setattr("unweave.superposition.linear.WORDS", 5)
    with pytest.raises(InputError, match="30 words are too many for all eigenpairs"):
        spectrum(X)


def test_how_far_a_component_is_plain_length():
    rows = RNG.random((400, 6)) < RNG.choice([0.1, 0.9], size=(400, 1))
    found = spectrum(rows.astype(float))
    scores, length = rows @ found.vectors, rows.sum(1)
    for k in (0, 1, 5):
        assert found.length_correlation(k) == pytest.approx(abs(np.corrcoef(scores[:, k], length)[0, 1]), abs=1e-9)
    assert found.length_correlation() > 0.95
