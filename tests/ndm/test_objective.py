"""The objective and its closed-form gradient against autograd and central differences."""

from __future__ import annotations

import pytest
import torch

from unweave.ndm.objective import OBJECTIVES, cosine, euclidean
from unweave.tensors.linalg import random_orthogonal
from unweave.tensors.neighbors import SearchOptions, block_columns, nearest_in_blocks

SIZES = [(3, 3, 2), (2, 2, 2, 2), (8,), (5, 2, 1)]


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain(metric: str, queries, neighbors, rotation, sizes):
    """The formula of the specification, differentiable."""
    total = torch.zeros((), dtype=torch.float64)
    for s, block in enumerate(block_columns(sizes)):
        one, two = queries @ rotation[:, block], neighbors[s] @ rotation[:, block]
        if metric == "euclidean":
            squares = (one - two).square().sum(1)
            total = total + torch.where(squares > 0, squares, 1).sqrt().mul(squares > 0).mean() / len(sizes)
        else:
            lengths = one.norm(dim=1).clamp_min(1e-8) * two.norm(dim=1).clamp_min(1e-3)
            total = total - sizes[s] / rotation.shape[0] * ((one * two).sum(1) / lengths).mean()
    return total


@pytest.mark.parametrize("metric", OBJECTIVES)
@pytest.mark.parametrize("sizes", SIZES)
def test_value_and_gradient_are_those_of_the_formula(metric, sizes) -> None:
    queries, neighbors = gaussian(20, 8), gaussian(len(sizes), 20, 8, seed=1)
    neighbors[:, :5] = queries[:5]  # duplicates: distance 0
    rotation = random_orthogonal(8, seed=2).requires_grad_()
    value = plain(metric, queries, neighbors, rotation, sizes)
    value.backward()
    found = OBJECTIVES[metric](queries, neighbors, rotation.detach(), sizes)
    assert abs(found.loss - value.item()) < 1e-12
    assert rotation.grad is not None
    torch.testing.assert_close(found.gradient, rotation.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("metric", OBJECTIVES)
def test_the_gradient_is_the_slope(metric) -> None:
    queries, neighbors, rotation = gaussian(12, 5), gaussian(2, 12, 5, seed=1), random_orthogonal(5, seed=2)
    gradient = OBJECTIVES[metric](queries, neighbors, rotation, (3, 2)).gradient
    for i, j in [(0, 0), (2, 4), (4, 1)]:
        shift = torch.zeros_like(rotation)
        shift[i, j] = 1e-6
        both = [
            OBJECTIVES[metric](queries, neighbors, rotation + sign * shift, (3, 2), with_gradient=False).loss
            for sign in (1, -1)
        ]
        assert abs((both[0] - both[1]) / 2e-6 - float(gradient[i, j])) < 1e-8


@pytest.mark.parametrize("metric", OBJECTIVES)
def test_turning_blocks_and_permuting_them_changes_nothing(metric) -> None:
    queries, keys, rotation, sizes = gaussian(30, 8), gaussian(200, 8, seed=1), random_orthogonal(8, seed=2), (3, 3, 2)

    def loss(R, parts):
        found = nearest_in_blocks(queries, keys, R, parts, options=SearchOptions(metric=metric))
        return OBJECTIVES[metric](queries, keys[found], R, parts, with_gradient=False).loss

    turned = rotation.clone()
    for number, block in enumerate(block_columns(sizes)):
        turned[:, block] = rotation[:, block] @ random_orthogonal(sizes[number], seed=10 + number)
    swapped = torch.cat([rotation[:, 3:6], rotation[:, :3], rotation[:, 6:]], 1)
    assert abs(loss(turned, sizes) - loss(rotation, sizes)) < 1e-12
    assert abs(loss(swapped, sizes) - loss(rotation, sizes)) < 1e-12
    with pytest.raises(AssertionError):  # mixing blocks does change it
        assert abs(loss(rotation.roll(1, 1), sizes) - loss(rotation, sizes)) < 1e-12


def test_rotating_the_data_and_scaling_it() -> None:
    queries, keys, rotation, sizes = gaussian(30, 6), gaussian(200, 6, seed=1), random_orthogonal(6, seed=2), (4, 2)
    turn = random_orthogonal(6, seed=3)

    def loss(Q, K, R):
        return euclidean(Q, K[nearest_in_blocks(Q, K, R, sizes)], R, sizes).loss

    assert abs(loss(queries @ turn, keys @ turn, turn.T @ rotation) - loss(queries, keys, rotation)) < 1e-12
    assert abs(loss(3 * queries, 3 * keys, rotation) - 3 * loss(queries, keys, rotation)) < 1e-12


def test_one_block_does_not_see_the_rotation() -> None:
    queries, keys = gaussian(30, 6), gaussian(200, 6, seed=1)
    values = []
    for seed in range(3):
        R = random_orthogonal(6, seed=seed)
        values.append(euclidean(queries, keys[nearest_in_blocks(queries, keys, R, (6,))], R, (6,)).loss)
    assert max(values) - min(values) < 1e-12


def test_squares_over_blocks_add_up_to_the_whole() -> None:
    queries, one, rotation = gaussian(10, 6), gaussian(10, 6, seed=1), random_orthogonal(6, seed=2)
    parts = euclidean(queries[:1], one[None, :1].expand(3, 1, 6), rotation, (2, 2, 2)).distances.square().sum()
    assert abs(float(parts) - float((queries[0] - one[0]).square().sum())) < 1e-12


def test_cosine_floors() -> None:
    queries, neighbors = torch.zeros(2, 4, dtype=torch.float64), torch.full((1, 2, 4), 1e-6, dtype=torch.float64)
    found = cosine(queries, neighbors, torch.eye(4, dtype=torch.float64), (4,))
    assert found.loss == 0
    assert bool(torch.isfinite(found.gradient).all())
