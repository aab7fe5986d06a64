"""Means and covariances from one pass over data that does not fit in memory, mergeable over chunks, shards and
machines.

Sums of squares about zero lose all digits when the mean is large, so every part is centred on its own mean and parts
are merged by the exact update of Chan, Golub and LeVeque; everything is float64, whatever the rows are.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `scatter` | S | (d, d) | sum of (x - mean)'(x - mean) over the rows | Chan, Golub, LeVeque 1983, eq. 2.1 |
| `squares` | S_jj | (m, d) | weighted sum of squares about the weighted mean, each column by itself | same, diagonal |
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import DataError, InputError
from unweave.tensors.arrays import as_matrix, check_finite, computing_dtype

CHUNK = 128
"""Rows that are converted at once."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Moments:
    """Count, mean and scatter of rows."""

    count: int
    mean: Float[Tensor, " d"]
    scatter: Float[Tensor, "d d"]

    def covariance(self, *, ddof: int = 1) -> Float[Tensor, "d d"]:
        """`scatter / (count - ddof)`."""
        if self.count <= ddof:
            raise DataError(f"a covariance needs more than {ddof} rows, got {self.count}")
        return self.scatter / (self.count - ddof)

    def __repr__(self) -> str:
        """Count and width."""
        return f"Moments({self.count} rows, width {len(self.mean)})"


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassMoments:
    """Count, mean and variance of every column under each of m weightings of the rows (classes, features, shuffles)."""

    count: Float[Tensor, " m"]
    """Sum of the weights."""
    mean: Float[Tensor, "m d"]
    squares: Float[Tensor, "m d"]

    def variance(self) -> Float[Tensor, "m d"]:
        """`squares / count`, the population variance; NaN where the count is 0."""
        return self.squares / self.count[:, None]

    def __repr__(self) -> str:
        """Number of weightings and width."""
        return f"ClassMoments({len(self.count)} weightings, width {self.mean.shape[1]})"


def moments(rows: Float[Tensor, "n d"] | Iterable[Tensor]) -> Moments:
    """The moments of a matrix, or of a stream of matrices of one width; empty ones in a stream add nothing.

    Raises:
        DataError: No rows, or NaN or infinite entries (the first one is named).

    Example:
        >>> X = torch.randn(100, 3, dtype=torch.float64)
        >>> bool(torch.allclose(moments([X[:40], X[40:]]).covariance(), torch.cov(X.T)))
        True
    """
    parts = [rows] if isinstance(rows, Tensor) else (part for part in rows if len(part))
    total = reduce(_merge_optional, (_moments_of(part) for part in parts), None)
    if total is None:
        raise DataError("moments of no rows: the stream was empty")
    return total


def merge_moments(first: Moments, second: Moments) -> Moments:
    """The moments of the rows of both."""
    if first.mean.shape != second.mean.shape:
        raise InputError(
            f"cannot merge moments of width {len(first.mean)} and {len(second.mean)}: they come from different sites"
        )
    count = first.count + second.count
    shift = second.mean - first.mean
    share = second.count / count
    scatter = first.scatter + second.scatter + torch.outer(shift, shift) * (first.count * share)
    return Moments(count=count, mean=first.mean + shift * share, scatter=scatter)


def class_moments(rows: Float[Tensor, "n d"], weights: Float[Tensor, "n m"]) -> ClassMoments:
    """The moments of every column under each column of `weights`, by two matrix products.

    Weights are 0/1 masks of classes or any non-negative numbers; one call serves all features and all label shuffles of
    a site.
    """
    matrix, masses = as_matrix(rows, name="rows"), weights.to(torch.float64)
    if len(masses) != len(matrix):
        raise InputError(
            f"rows is {tuple(matrix.shape)} but weights is {tuple(masses.shape)}: one weight a row is needed"
        )
    centre, sums, squares = class_sums(matrix, masses, squared=masses)
    count = masses.sum(0)
    shift = sums / count.clamp_min(torch.finfo(torch.float64).tiny)[:, None]
    squares = (squares - shift.square() * count[:, None]).clamp_min(0)
    return ClassMoments(count=count, mean=centre + shift, squares=squares)


def merge_class_moments(first: ClassMoments, second: ClassMoments) -> ClassMoments:
    """The class moments of the rows of both."""
    count = first.count + second.count
    share = (second.count / count.clamp_min(torch.finfo(torch.float64).tiny))[:, None]
    shift = second.mean - first.mean
    squares = first.squares + second.squares + shift.square() * first.count[:, None] * share
    return ClassMoments(count=count, mean=first.mean + shift * share, squares=squares)


def moments_by_class(rows: Float[Tensor, "n d"], labels: Tensor) -> dict[int, Moments]:
    """The full moments of the rows of each label."""
    return {int(label): _moments_of(rows[labels == label]) for label in torch.unique(labels)}


def class_sums(
    rows: Float[Tensor, "n d"], weights: Float[Tensor, "n m"], *, squared: Float[Tensor, "n q"] | None = None
) -> tuple[Float[Tensor, " d"], Float[Tensor, "m d"], Float[Tensor, "q d"]]:
    """The first row, and about it the sums of every column under `weights` and the sums of squares under `squared`.

    Rows that are stored in half or single precision are added up in single precision a chunk of rows at a time, and the
    chunks in double precision: the error is that of a sum of 128 numbers. Double precision stays what it is.
    """
    dtype = computing_dtype(rows.dtype)
    centre = rows[0].to(dtype)
    masses, heavy = weights.to(dtype), None if squared is None else squared.to(dtype)
    sums = torch.zeros(masses.shape[1], rows.shape[1], dtype=torch.float64)
    squares = torch.zeros(0 if heavy is None else heavy.shape[1], rows.shape[1], dtype=torch.float64)
    for first in range(0, len(rows), CHUNK):
        part = rows[first : first + CHUNK].to(dtype) - centre
        sums += masses[first : first + CHUNK].T @ part
        if heavy is not None:
            squares += heavy[first : first + CHUNK].T @ part.square_()
    return centre.double(), sums, squares


def _moments_of(rows: Tensor) -> Moments:
    matrix = as_matrix(rows, name="rows")
    check_finite(matrix, name="rows")
    exact = matrix.to(torch.float64)
    mean = exact.mean(0)
    centred = exact - mean
    return Moments(count=len(exact), mean=mean, scatter=centred.T @ centred)


def _merge_optional(total: Moments | None, part: Moments) -> Moments:
    return part if total is None else merge_moments(total, part)
