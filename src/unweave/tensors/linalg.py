"""Small linear algebra with the rank it found: eigendecomposition, orthonormal bases, random rotations, angles between
subspaces.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `cosines` | cos theta_i | (min(k1, k2),) | singular values of `Q1' Q2`, descending | Bjorck and Golub 1973 |
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import DataError
from unweave.tensors.arrays import computing_dtype


@dataclass(frozen=True, eq=False, kw_only=True)
class Eigen:
    """Eigenvalues, largest first, and where they stop being more than rounding."""

    values: Float[Tensor, " d"]
    vectors: Float[Tensor, "d d"]
    """Column i belongs to value i; the sign makes the largest entry of each column positive."""
    rank: int
    """How many values exceed `floor`."""
    floor: float
    """`10 d eps` times the largest value: below it a value of a symmetric matrix is rounding."""


def symmetric_eigen(matrix: Float[Tensor, "d d"]) -> Eigen:
    """The eigendecomposition of a symmetric matrix in float64, with its numerical rank."""
    symmetric = matrix.to(torch.float64)
    values, vectors = torch.linalg.eigh((symmetric + symmetric.T) / 2)
    values, vectors = values.flip(0), vectors.flip(1)
    floor = 10 * len(values) * torch.finfo(torch.float64).eps * float(values.abs().max())
    return Eigen(values=values, vectors=fixed_signs(vectors), rank=int((values > floor).sum()), floor=floor)


def fixed_signs(columns: Float[Tensor, "d k"]) -> Float[Tensor, "d k"]:
    """The columns, each with the sign that makes its entry of largest size positive: two runs give the same answer."""
    largest = columns.gather(0, columns.abs().argmax(0, keepdim=True)).squeeze(0)
    return columns * torch.where(largest < 0, -1.0, 1.0).to(columns)


def orthonormal_basis(columns: Float[Tensor, "d k"]) -> Float[Tensor, "d r"]:
    """An orthonormal basis of the span of the columns; r is their numerical rank (singular values above `max(d, k) eps`
    of the largest, eps of the dtype that the columns come in, at most that of float32).

    Columns that are orthonormal already are given back as they are, or with the rounding of their dtype taken out.
    """
    exact = columns.to(torch.float64)
    if not bool(torch.isfinite(exact).all()):
        raise DataError("a basis with NaN or infinite entries spans nothing: check where it was fitted")
    epsilon = torch.finfo(computing_dtype(columns.dtype)).eps
    if 0 < columns.shape[1] <= columns.shape[0]:
        deviation = float((exact.T @ exact - torch.eye(columns.shape[1], dtype=torch.float64)).abs().max())
        if deviation < 100 * torch.finfo(torch.float64).eps:
            return exact
        if deviation < 100 * epsilon:  # cheaper than singular values, and the columns stay where they are
            factor, upper = torch.linalg.qr(exact)
            return factor * torch.sign(torch.diagonal(upper))
    left, sizes, _ = torch.linalg.svd(exact, full_matrices=False)
    return left[:, sizes > max(columns.shape) * epsilon * sizes[:1]]


def random_orthogonal(width: int, *, seed: int, dtype: torch.dtype = torch.float64) -> Float[Tensor, "d d"]:
    """An orthogonal matrix from the uniform (Haar) distribution: QR of a Gaussian with the signs of R's diagonal moved
    into Q (Mezzadri 2007).
    """
    generator = torch.Generator().manual_seed(seed)
    gaussian = torch.randn(width, width, generator=generator, dtype=torch.float64)
    factor, upper = torch.linalg.qr(gaussian)
    return (factor * torch.sign(torch.diagonal(upper))).to(dtype)


def principal_angles(first: Float[Tensor, "d k1"], second: Float[Tensor, "d k2"]) -> Float[Tensor, " k"]:
    """Angles in radians, ascending, between the column spans of two matrices."""
    return angles_between(orthonormal_basis(first), orthonormal_basis(second))


def angles_between(first: Float[Tensor, "d k1"], second: Float[Tensor, "d k2"]) -> Float[Tensor, " k"]:
    """Principal angles of two orthonormal bases; small ones are taken from the sine, which keeps their digits."""
    one, two = (first, second) if first.shape[1] <= second.shape[1] else (second, first)
    if two.shape[1] == two.shape[0]:
        return torch.zeros(one.shape[1], dtype=torch.float64)  # the larger one is the whole space
    cross = two.T @ one
    cosines = torch.linalg.svdvals(cross).clamp(0, 1)
    sines = torch.linalg.svdvals(one - two @ cross).flip(0).clamp(0, 1)
    return torch.where(cosines**2 > 0.5, torch.asin(sines), torch.acos(cosines))
