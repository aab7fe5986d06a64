"""Description length: its formula on codes whose entropy is known, its laws, and what it says of lossy units."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import unweave as uw
from unweave.errors import DataError, InputError
from unweave.evals.reading.description import description_length
from unweave.features.bases import neurons, pca, random_rotation
from unweave.tensors.linalg import random_orthogonal


def binary_entropy(p):
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))


def sparse_rows(count=400, units=12, seed=0, rate=0.1):
    """Rows that few of some known directions make up."""
    generator = torch.Generator().manual_seed(seed)
    on = torch.rand(count, units, generator=generator) < rate
    amounts = on * (1 + torch.rand(count, units, generator=generator))
    return amounts.double() @ random_orthogonal(units, seed=seed + 1), random_orthogonal(units, seed=seed + 1)


def test_a_one_hot_code_costs_its_entropy():
    """Which of five: every unit is on or off, so each costs the entropy of its rate and nothing for its value."""
    which = np.repeat(np.arange(5), [80, 40, 20, 40, 20])
    X = np.eye(5)[which]
    found = description_length(neurons(5), X, tolerance=1e-6, test=None)
    rates = X.mean(0)
    assert found.bits.value == pytest.approx(sum(binary_entropy(rate) for rate in rates), abs=1e-9)
    assert (found.active, found.error) == (1.0, pytest.approx(0, abs=1e-9))


def test_held_out_rows_cost_no_less_than_the_entropy_and_little_more():
    rates = np.full(6, 0.2)
    X = (np.random.default_rng(0).random((4000, 6)) < rates).astype(float)
    cost = description_length(neurons(6), X, tolerance=1e-6).bits
    assert cost.low < sum(binary_entropy(rates)) < cost.high
    assert cost.high - cost.low < 0.3


def test_it_is_the_formula_written_out():
    """sum_f H(active_f) + p_f H(value_f given active), term by term, at the step that was chosen."""
    X, basis = sparse_rows()
    truth = uw.AffineFeaturizer(read=basis.T, write=basis)
    found = description_length(truth, X, tolerance=0.05, test=None)
    steps = np.round((X @ basis.T).numpy() / found.step)
    total = 0.0
    for column in steps.T:
        active = (column != 0).mean()
        total += 0.0 if active in (0, 1) else binary_entropy(active)
        shares = np.unique(column[column != 0], return_counts=True)[1] / max((column != 0).sum(), 1)
        total += active * float(-(shares * np.log2(shares)).sum())
    assert found.bits.value == pytest.approx(total, rel=1e-9)
    rebuilt = steps * found.step @ basis.numpy()
    centred = X.numpy() - X.numpy().mean(0)
    assert found.error == pytest.approx(((X.numpy() - rebuilt) ** 2).sum() / (centred**2).sum(), rel=1e-9)
    assert found.error <= 0.05


@pytest.fixture(scope="module")
def rows():
    return sparse_rows()


def test_order_sign_and_length_of_units_change_nothing(rows):
    X, basis = rows
    plain = description_length(uw.AffineFeaturizer(read=basis.T, write=basis), X)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    sizes = torch.linspace(-3, 2.4, 12).double()[:, None]  # no zero among them
    other = uw.AffineFeaturizer(read=(basis / sizes).T[:, order], write=(basis * sizes)[order])
    found = description_length(other, X)
    assert (found.bits.value, found.active) == pytest.approx((plain.bits.value, plain.active))
    scaled = description_length(uw.AffineFeaturizer(read=basis.T, write=basis), 1000 * X)
    assert scaled.bits.value == pytest.approx(plain.bits.value)


def test_a_rotation_inside_a_block_changes_nothing(rows):
    X, basis = rows
    turn = torch.block_diag(random_orthogonal(4, seed=5), random_orthogonal(8, seed=6))
    one = uw.AffineFeaturizer(read=basis.T, write=basis, blocks=(4, 8), gauge="rotation")
    two = replace(one, read=basis.T @ turn, write=turn.T @ basis)
    assert description_length(one, X).bits.value == pytest.approx(description_length(two, X).bits.value, rel=1e-6)


def test_less_error_costs_more(rows):
    X, _ = rows
    costs = [description_length(random_rotation(12, seed=3), X, tolerance=one).bits.value for one in (0.3, 0.1, 0.01)]
    assert costs[0] < costs[1] < costs[2]


def test_the_directions_that_made_the_rows_cost_least(rows):
    """Principal components are the best of rotations for rows of a Gaussian, not for sparse ones."""
    X, basis = rows
    truth = description_length(uw.AffineFeaturizer(read=basis.T, write=basis), X)
    assert truth.saved.low > 0 < truth.bits.control - truth.bits.high
    assert truth.saved.p_value < 0.01
    own = description_length(pca(X), X)
    assert abs(own.saved.value) < 0.3 * truth.saved.value


def test_a_dictionary_that_misses_too_much_is_told(rows):
    X, _ = rows
    with pytest.raises(DataError, match=r"the units alone miss 0\.[4-9]\d\d of the variance and the tolerance is 0\.1"):
        description_length(pca(X, rank=4), X)
    assert description_length(pca(X, rank=4), X, tolerance=0.9).bits.value > 0
    with pytest.raises(InputError, match="tolerance is 1"):
        description_length(neurons(12), X, tolerance=1.0)
    with pytest.raises(DataError, match="all equal"):
        description_length(neurons(3), np.ones((20, 3)))
