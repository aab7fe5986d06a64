"""Small linear algebra against SciPy and planted truth: ranks, uniform rotations, angles down to rounding."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

import laws_tensors as laws
from unweave.errors import DataError
from unweave.tensors.linalg import (
    angles_between,
    fixed_signs,
    orthonormal_basis,
    principal_angles,
    random_orthogonal,
    symmetric_eigen,
)


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_random_rotations_are_uniform() -> None:
    laws.rotation_law(random_orthogonal)


def test_rotations_come_in_the_dtype_asked_for() -> None:
    assert random_orthogonal(3, seed=0, dtype=torch.float32).dtype == torch.float32
    assert random_orthogonal(1, seed=0).abs().item() == 1.0


def test_random_subspaces_overlap_as_theory_says() -> None:
    # fact 8: norm(Q1' Q2)_F^2 averages k1 k2 / d
    d, k1, k2 = 20, 3, 5
    overlaps = []
    for seed in range(400):
        one, two = random_orthogonal(d, seed=seed)[:, :k1], random_orthogonal(d, seed=10_000 + seed)[:, :k2]
        overlaps.append(float((one.T @ two).square().sum()))
    error = np.std(overlaps) / 20
    assert abs(np.mean(overlaps) - k1 * k2 / d) < 4 * error


@pytest.mark.parametrize(("k1", "k2"), [(2, 2), (1, 4), (4, 3)])
def test_projector_distance_follows_from_the_overlap(k1: int, k2: int) -> None:
    # fact 8: norm(P1 - P2)_F^2 = k1 + k2 - 2 norm(Q1' Q2)_F^2
    one, two = orthonormal_basis(gaussian(9, k1)), orthonormal_basis(gaussian(9, k2, seed=1))
    direct = (one @ one.T - two @ two.T).square().sum()
    by_overlap = k1 + k2 - 2 * (one.T @ two).square().sum()
    torch.testing.assert_close(direct, by_overlap, rtol=1e-13, atol=0)
    by_angles = abs(k1 - k2) + 2 * angles_between(one, two).sin().square().sum()
    torch.testing.assert_close(direct, by_angles, rtol=1e-13, atol=0)


def test_planted_angles_come_back() -> None:
    laws.angles_law(principal_angles)


@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (3, 3), (2, 5), (5, 2), (4, 8), (8, 8)])
def test_angles_equal_scipy(k1: int, k2: int) -> None:
    first, second = gaussian(8, k1), gaussian(8, k2, seed=1)
    expected = np.sort(scipy.linalg.subspace_angles(first.numpy(), second.numpy()))
    # rounding of an orthonormalisation of well-conditioned 8 x k matrices
    np.testing.assert_allclose(principal_angles(first, second).numpy(), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("angle", [1e-12, 1e-9, 1e-6, 1e-3, np.pi / 4, np.pi / 2 - 1e-9, np.pi / 2])
def test_tiny_angles_come_back_beside_large_ones(angle: float) -> None:
    first, second = laws.planted_pair([angle, 1.0])
    found = principal_angles(first, second).numpy()
    np.testing.assert_allclose(found, sorted([angle, 1.0]), rtol=0, atol=1e-13)
    expected = np.sort(scipy.linalg.subspace_angles(first.numpy(), second.numpy()))
    # SciPy 1.17 takes a small angle that stands beside a large one from its cosine, which knows it to sqrt(2 eps)
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-8)


@pytest.mark.parametrize("angle", [1e-12, 1e-8, 1e-4, 0.7])
def test_small_angles_alone_equal_scipy(angle: float) -> None:
    first, second = laws.planted_pair([angle, angle / 2])
    expected = np.sort(scipy.linalg.subspace_angles(first.numpy(), second.numpy()))
    np.testing.assert_allclose(principal_angles(first, second).numpy(), expected, rtol=0, atol=1e-13)


def test_the_same_span_in_other_columns_has_no_angle() -> None:
    columns = gaussian(10, 3)
    mixed = columns @ torch.tensor([[2.0, 0, 0], [1, -3, 0], [0, 1, 1]], dtype=torch.float64)
    assert float(principal_angles(columns, mixed).max()) < 1e-14


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_rank_is_that_of_the_span(rank: int, dtype: torch.dtype) -> None:
    span = gaussian(12, rank)
    columns = (span @ gaussian(rank, 5, seed=2)).to(dtype)
    basis = orthonormal_basis(columns)
    assert basis.shape == (12, rank)
    assert basis.dtype == torch.float64
    torch.testing.assert_close(basis.T @ basis, torch.eye(rank, dtype=torch.float64), rtol=0, atol=1e-14)
    # float32 columns leave the span by their rounding
    tolerance = 1e-13 if dtype == torch.float64 else 1e-5
    assert float(principal_angles(basis, span).max()) < tolerance


@pytest.mark.parametrize(
    ("columns", "rank"),
    [
        (torch.zeros(4, 2), 0),
        (torch.ones(4, 1), 1),
        (torch.ones(4, 3), 1),
        (torch.ones(1, 3), 1),
        (torch.eye(4)[:, :0], 0),
        (gaussian(3, 7), 3),
        (torch.eye(4, dtype=torch.float16)[:, [0, 0, 2]], 2),
    ],
    ids=["zero", "one", "equal", "one row", "none", "wide", "half"],
)
def test_degenerate_columns_have_a_basis(columns: Tensor, rank: int) -> None:
    basis = orthonormal_basis(columns)
    assert basis.shape == (len(columns), rank)
    assert principal_angles(columns, torch.ones(len(columns), 1)).shape == (min(rank, 1),)


def test_orthonormal_columns_stay_where_they_are() -> None:
    columns = random_orthogonal(6, seed=0)[:, :4]
    assert torch.equal(orthonormal_basis(columns), columns)
    rounded = orthonormal_basis(columns.float())
    torch.testing.assert_close(rounded.T @ rounded, torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-14)
    # float32 rounding of entries below 1
    torch.testing.assert_close(rounded, columns, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_columns_are_made_orthonormal(dtype: torch.dtype) -> None:
    basis = orthonormal_basis(random_orthogonal(8, seed=1)[:, :5].to(dtype))
    torch.testing.assert_close(basis.T @ basis, torch.eye(5, dtype=torch.float64), rtol=0, atol=1e-14)


def test_a_basis_that_is_not_finite_is_refused() -> None:
    with pytest.raises(
        DataError, match="a basis with NaN or infinite entries spans nothing: check where it was fitted"
    ):
        orthonormal_basis(torch.tensor([[1.0], [float("nan")]]))


def test_eigen_gives_the_matrix_back_with_its_rank() -> None:
    factor = gaussian(6, 3)
    matrix = factor @ factor.T
    found = symmetric_eigen(matrix)
    assert found.rank == 3
    assert bool((found.values[:-1] >= found.values[1:]).all())
    assert float(found.values[3:].abs().max()) <= found.floor
    rebuilt = found.vectors * found.values @ found.vectors.T
    torch.testing.assert_close(rebuilt, matrix, rtol=0, atol=1e-14 * float(matrix.abs().max()) * 6)
    np.testing.assert_allclose(
        found.values.numpy(), scipy.linalg.eigvalsh(matrix.numpy())[::-1], rtol=0, atol=found.floor
    )


@pytest.mark.parametrize(("matrix", "rank"), [(torch.zeros(3, 3), 0), (torch.eye(1), 1), (torch.ones(3, 3), 1)])
def test_degenerate_matrices_have_a_rank(matrix: Tensor, rank: int) -> None:
    assert symmetric_eigen(matrix).rank == rank


def test_signs_are_fixed_by_the_largest_entry() -> None:
    columns = gaussian(5, 4)
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)
    assert torch.equal(fixed_signs(columns), fixed_signs(columns * signs))
    largest = fixed_signs(columns).gather(0, columns.abs().argmax(0, keepdim=True))
    assert bool((largest > 0).all())
    assert torch.equal(fixed_signs(torch.zeros(3, 2)), torch.zeros(3, 2))
    vectors = symmetric_eigen(columns @ columns.T).vectors
    assert torch.equal(fixed_signs(vectors), vectors)
