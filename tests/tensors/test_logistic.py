"""The batched Newton solver against scikit-learn and itself one by one, and its certificate against the truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

import laws_tensors as laws
from unweave.errors import InputError
from unweave.tensors import logistic
from unweave.tensors.logistic import LogisticFits, balanced_weights, fit_many


def planted_fit(**changes: object) -> tuple[Tensor, Tensor, Tensor, Tensor, LogisticFits]:
    rows, signs, weights = laws.planted_problems()
    supports = laws.all_columns(rows, len(signs))
    return rows, signs, weights, supports, fit_many(rows, signs, weights, supports, **changes)  # pyright: ignore


def sklearn_fit(rows: Tensor, signs: Tensor, weights: Tensor, lam: float) -> tuple[np.ndarray, float]:
    """Its objective is C sum of losses + norm^2 / 2 with a free intercept: ours over lam, so C = 1 / lam."""
    model = LogisticRegression(C=1 / lam, tol=1e-10, max_iter=10_000, solver="lbfgs")
    model.fit(rows.numpy(), signs.numpy(), sample_weight=weights.numpy())
    return model.coef_[0], float(model.intercept_[0])


@pytest.mark.parametrize("lam", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_coefficients_equal_scikit_learn(lam: float, weighted: bool) -> None:
    rows, signs, weights, supports, _ = planted_fit()
    weights = weights if weighted else torch.ones_like(weights)
    found = fit_many(rows, signs, weights, supports, lam=lam)
    assert bool(found.converged.all())
    for problem in range(len(signs)):
        coef, bias = sklearn_fit(rows, signs[problem], weights[problem], lam)
        # lbfgs stops at a gradient of 1e-10 a row; our coefficients are good to 1e-9
        np.testing.assert_allclose(found.coef[problem].numpy(), coef, rtol=0, atol=1e-6)
        np.testing.assert_allclose(float(found.bias[problem]), bias, rtol=0, atol=1e-6)


def test_balanced_weights_equal_scikit_learns() -> None:
    rows, signs, _, supports, _ = planted_fit()
    found = fit_many(rows, signs, balanced_weights(signs, torch.ones_like(signs, dtype=torch.bool)), supports)
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000, class_weight="balanced")
    model.fit(rows.numpy(), signs[0].numpy())
    np.testing.assert_allclose(found.coef[0].numpy(), model.coef_[0], rtol=0, atol=1e-6)


def test_balanced_weights_give_each_class_half_of_the_rows_used() -> None:
    signs = torch.tensor([[1.0, 1, 1, -1, -1, 1], [1.0, 1, 1, 1, 1, 1]])
    used = torch.tensor([[True, True, True, True, False, False], [True] * 6])
    weights = balanced_weights(signs, used)
    torch.testing.assert_close(weights[0], torch.tensor([2 / 3, 2 / 3, 2 / 3, 2, 0, 0], dtype=torch.float64))
    torch.testing.assert_close(weights[1], torch.full((6,), 0.5, dtype=torch.float64))


def test_a_weight_of_two_is_the_row_twice() -> None:
    laws.weights_law(fit_many)


def test_a_batch_equals_single_fits() -> None:
    rows, signs, weights, _, _ = planted_fit()
    supports = torch.tensor([[0, 1], [2, 3], [4, 0], [1, 1]])
    together = fit_many(rows, signs, weights, supports)
    for problem in range(4):
        alone = fit_many(rows, signs[[problem]], weights[[problem]], supports[[problem]])
        # the same steps in another summation order
        torch.testing.assert_close(together.coef[[problem]], alone.coef, rtol=0, atol=1e-9)
        torch.testing.assert_close(together.bias[[problem]], alone.bias, rtol=0, atol=1e-9)
        torch.testing.assert_close(together.loss[[problem]], alone.loss, rtol=1e-12, atol=0)


@pytest.mark.parametrize("problems_at_once", [0, 1, 3])
def test_memory_bound_does_not_change_results(problems_at_once: int) -> None:
    rows, signs, weights, supports, whole = planted_fit()
    bytes_a_problem = 8 * len(rows) * (supports.shape[1] + 1)
    found = fit_many(rows, signs, weights, supports, max_bytes=problems_at_once * bytes_a_problem)
    torch.testing.assert_close(found.coef, whole.coef, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.bias, whole.bias, rtol=0, atol=1e-9)
    assert found.converged.shape == found.separable.shape == found.gap.shape == (4,)


def test_the_gap_bounds_the_distance_to_the_optimum() -> None:
    laws.gap_law(logistic._gap)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_fit_that_stops_early_says_so_and_how_far_it_is(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    *_, best = planted_fit()
    monkeypatch.setattr(logistic, "MAX_STEPS", steps)
    _, _, weights, _, cut = planted_fit()
    totals = weights.sum(1)
    assert cut.steps == steps
    short = cut.loss - best.loss
    assert bool((cut.gap >= short - 1e-9 * totals).all())
    assert bool((cut.converged == (cut.gap <= 1e-6 * totals)).all())
    assert not bool(cut.converged[short > 1e-6 * totals].any())
    if steps == 1:
        assert not bool(cut.converged.any())


def test_a_converged_fit_has_its_certificate() -> None:
    _, _, weights, _, found = planted_fit()
    assert bool(found.converged.all())
    assert bool((found.gap >= 0).all())
    assert bool((found.gap <= 1e-6 * weights.sum(1)).all())
    assert not bool(found.separable.any())
    assert found.steps < 15


@pytest.mark.parametrize("lam", [1e-4, 1.0])
def test_separable_data_stay_finite_and_are_flagged(lam: float) -> None:
    rows = torch.linspace(-2, 2, 40, dtype=torch.float64)[:, None].repeat(1, 2)
    signs = torch.where(rows[:, 0] > 0, 1.0, -1.0)[None]
    found = fit_many(rows, signs, torch.ones_like(signs), torch.tensor([[0, 1]]), lam=lam)
    assert bool(found.separable.all())
    assert bool(found.converged.all())
    assert bool(torch.isfinite(found.coef).all())
    # two equal columns share the weight equally
    torch.testing.assert_close(found.coef[:, 0], found.coef[:, 1], rtol=1e-9, atol=0)


def test_rows_without_weight_do_not_hide_that_the_others_are_separable() -> None:
    rows = torch.tensor([[-1.0], [-0.5], [0.5], [1.0], [2.0]])
    signs = torch.tensor([[-1.0, -1, 1, 1, -1]])
    weights = torch.tensor([[1.0, 1, 1, 1, 0]])
    supports = torch.tensor([[0]])
    assert bool(fit_many(rows, signs, weights, supports).separable.all())
    assert not bool(fit_many(rows, signs, torch.ones(1, 5), supports).separable.any())


def test_flipped_labels_flip_the_answer() -> None:
    rows, signs, weights, supports, found = planted_fit()
    flipped = fit_many(rows, -signs, weights, supports)
    torch.testing.assert_close(flipped.coef, -found.coef, rtol=0, atol=1e-9)
    torch.testing.assert_close(flipped.bias, -found.bias, rtol=0, atol=1e-9)
    torch.testing.assert_close(flipped.loss, found.loss, rtol=1e-12, atol=0)


def test_units_of_a_column_do_not_matter_once_standardised() -> None:
    rows, signs, weights, supports, found = planted_fit()
    scaled = 3.0 + rows * torch.tensor([1e-3, 10.0, 1.0, 1e4, 2.0], dtype=torch.float64)
    standard = (scaled - scaled.mean(0)) / scaled.std(0, unbiased=False)
    again = fit_many(standard, signs, weights, supports)
    before, after = rows @ found.coef.T + found.bias, standard @ again.coef.T + again.bias
    # standardising keeps 12 digits of a column of spread 1e-3 about 3
    torch.testing.assert_close(before, after, rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_rows_are_computed_in_float64(dtype: torch.dtype) -> None:
    rows, signs, weights, supports, _ = planted_fit()
    low = rows.to(dtype)
    found = fit_many(low, signs.to(dtype), weights, supports)
    exact = fit_many(low.double(), signs, weights, supports)
    assert torch.equal(found.coef, exact.coef)


def test_inputs_are_not_changed() -> None:
    rows, signs, weights, supports, _ = planted_fit()
    fresh_rows, fresh_signs, fresh_weights = laws.planted_problems()
    assert torch.equal(rows, fresh_rows)
    assert torch.equal(signs, fresh_signs)
    assert torch.equal(weights, fresh_weights)
    assert torch.equal(supports, laws.all_columns(rows, len(signs)))


@pytest.mark.parametrize(
    ("rows", "signs"),
    [
        (torch.ones(6, 1), torch.tensor([1.0, -1, 1, -1, 1, 1])),
        (torch.zeros(2, 3), torch.tensor([1.0, -1])),
        (torch.tensor([[1e6], [-1e6], [2e6], [-2e6]]), torch.tensor([1.0, -1, -1, 1])),
        (torch.full((5, 1), 1.0), torch.ones(5)),
    ],
    ids=["constant column", "n < d", "huge values", "one class"],
)
def test_degenerate_problems_end_with_a_finite_answer(rows: Tensor, signs: Tensor) -> None:
    supports = torch.arange(rows.shape[1])[None]
    found = fit_many(rows, signs[None], torch.ones(1, len(rows)), supports)
    assert bool(torch.isfinite(found.coef).all())
    assert bool(torch.isfinite(found.bias).all())
    assert bool(found.converged.all())


@pytest.mark.parametrize("lam", [0.0, -1.0, float("nan"), float("inf")])
def test_a_penalty_that_is_none_is_refused(lam: float) -> None:
    with pytest.raises(InputError, match=f"lam is {lam}: a positive ridge penalty is needed, it keeps separable"):
        planted_fit(lam=lam)
