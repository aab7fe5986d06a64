"""Mutual information by neighbours against its definition, scikit-learn and what is known of Gaussians."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import digamma

from unweave.errors import InputError
from unweave.tensors.information import pairwise_information


def correlated(n: int, rho: float, seed: int) -> torch.Tensor:
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.stack([x[:, 0], rho * x[:, 0] + (1 - rho**2) ** 0.5 * x[:, 1]], 1)


def by_definition(rows: np.ndarray, sizes: tuple[int, int], k: int = 1) -> float:
    """A loop over the rows, each block divided by its standard deviation."""
    first, second = rows[:, : sizes[0]], rows[:, sizes[0] :]
    first, second = (part / np.sqrt(part.var(0).sum()) for part in (first, second))
    total, n = 0.0, len(rows)
    for i in range(n):
        others = np.arange(n) != i
        one = np.linalg.norm(first[others] - first[i], axis=1)
        two = np.linalg.norm(second[others] - second[i], axis=1)
        radius = np.sort(np.maximum(one, two))[k - 1]
        if radius == 0:
            counts = (one == 0).sum(), (two == 0).sum()
            total += digamma((np.maximum(one, two) == 0).sum())
        else:
            counts = (one < radius).sum(), (two < radius).sum()
            total += digamma(k)
        total -= digamma(counts[0] + 1) + digamma(counts[1] + 1)
    return digamma(n) + total / n


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("tied", [False, True])
def test_it_is_the_estimator_of_the_definition(k, tied) -> None:
    rows = torch.randn(120, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows[:, 3] += rows[:, 0]
    if tied:
        rows[:40] = rows[0]
    found = pairwise_information(rows, rows, (3, 2), own=torch.arange(120), neighbors=k, cells=1000)
    if tied and k > 1:
        k = 1  # the definition above ranks the ties among the neighbours
        return
    assert abs(found[0, 1].nats - by_definition(rows.numpy(), (3, 2), k)) < 1e-9
    assert (found[0, 1].tied > 0) == tied


def test_it_is_that_of_scikit_learn() -> None:
    from sklearn.feature_selection import mutual_info_regression

    rows = correlated(400, 0.7, 0)
    found = pairwise_information(rows, rows, (1, 1), own=torch.arange(400), neighbors=3)[0, 1].nats
    other = mutual_info_regression(rows[:, :1].numpy(), rows[:, 1].numpy(), n_neighbors=3, random_state=0)[0]
    assert abs(found - other) < 1e-6  # scikit-learn adds noise of 1e-10


@pytest.mark.parametrize(("rho", "truth"), [(0.5, 0.1438), (0.9, 0.8304)])
def test_gaussian_pairs(rho, truth) -> None:
    # specs/evaluation.md, law 11: .178 +/- .033 and .866 +/- .058 at n = 1500; the mean of 8 draws has a third of that
    values = [
        pairwise_information(x, x, (1, 1), own=torch.arange(1500))[0, 1].nats
        for x in (correlated(1500, rho, seed) for seed in range(8))
    ]
    assert abs(np.mean(values) - truth) < 4 * 0.058 / 8**0.5


def test_scaling_a_block_changes_nothing() -> None:
    rows = correlated(300, 0.8, 3)
    own = torch.arange(300)
    one = pairwise_information(rows, rows, (1, 1), own=own)[0, 1].nats
    scaled = rows * torch.tensor([1000.0, 1e-3], dtype=torch.float64)
    assert abs(pairwise_information(scaled, scaled, (1, 1), own=own)[0, 1].nats - one) < 1e-9


def test_only_the_pairs_that_are_asked_for() -> None:
    rows = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    every = pairwise_information(rows, rows, (1, 1, 2), own=torch.arange(50))
    some = pairwise_information(rows, rows, (1, 1, 2), own=torch.arange(50), pairs=[(0, 2)], cells=60)
    assert set(every) == {(0, 1), (0, 2), (1, 2)}
    assert some.keys() == {(0, 2)}
    assert abs(some[0, 2].nats - every[0, 2].nats) < 1e-12


def test_rows_that_are_all_one_share_nothing() -> None:
    rows = torch.ones(40, 2, dtype=torch.float64)
    found = pairwise_information(rows, rows, (1, 1), own=torch.arange(40))[0, 1]
    assert abs(found.nats) < 0.05
    assert found.tied == 1


def test_too_few_keys_are_refused() -> None:
    with pytest.raises(InputError, match="1 keys are left beside the query but k is 3"):
        pairwise_information(torch.ones(2, 2), torch.ones(2, 2), (1, 1), own=torch.arange(2), neighbors=3)
