"""Where a fit starts: the units as they are, a random rotation, or independent components that were grouped by the
dependence of their energies.

Whitening keeps the subspace of every independent group, independent components then lie inside single groups, and
features that exclude one another make the squares of their components depend. Where that holds the groups are found
without any descent; where everything depends on everything, as in a language model, the components only give an order
of the columns.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `sources` | y | (n, r) | independent components, unit variance | Hyvarinen 1999, symmetric FastICA with tanh |
| `mixing` | A | (r, d) | rows of h-space: h - mean = y A | same |
| `energies` | M_ij | (r, r) | larger of abs corr(y_i^2, y_j^2) and abs corr(abs y_i, abs y_j) | specs/ndm.md, section 8.1 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from unweave.ndm.rows import Drawable
from unweave.tensors.linalg import random_orthogonal, symmetric_eigen
from unweave.tensors.neighbors import has_matrix_units
from unweave.tensors.orthogonal import polar

ICA_ROWS = 20_000
MANY_ROWS = 50_000
"""For more than 24 components."""
FEW_BLOCKS = 64
"""Groups are taken as found up to so many blocks, or twice as many as there are units: where most components stay alone
the links are noise, and the information between thousands of pairs would take hours.
"""
COPIES = 5
"""Of the rows that are drawn, at most as many are held at once."""
ICA_STEPS = 200
ICA_TOLERANCE, FAST_TOLERANCE = 1e-4, 3e-3
EIGENVALUE_FLOOR = 1e-3
"""Directions with less than this share of the largest variance are not whitened: they are the unused rest."""
LINK = 6.0
"""Two components are linked if their energies correlate by more than this over the square root of the rows, of at most
`ICA_ROWS`: the tails of energies are heavy, and one false link joins two groups.
"""


@dataclass(frozen=True, eq=False, kw_only=True)
class Start:
    """A rotation to start from and how it is cut."""

    rotation: Float[Tensor, "d d"]
    sizes: tuple[int, ...]
    name: str


def unit_sizes(width: int, unit_size: int) -> tuple[int, ...]:
    """Units of one size, and a smaller one behind them where the width is no multiple."""
    rest = width % unit_size
    return (unit_size,) * (width // unit_size) + ((rest,) if rest else ())


def plain_start(width: int, unit_size: int, dtype: torch.dtype, *, seed: int | None = None) -> Start:
    """The identity, or with a seed a random rotation."""
    sizes = unit_sizes(width, unit_size)
    if seed is None:
        return Start(rotation=torch.eye(width, dtype=dtype), sizes=sizes, name="identity")
    rotation = random_orthogonal(width, seed=seed, dtype=dtype)
    if torch.det(rotation.double()) < 0:
        rotation[:, 0] *= -1
    return Start(rotation=rotation, sizes=sizes, name="random")


def ica_start(rows: Drawable, unit_size: int, seed: int, *, keep_units: bool, memory: int = 2 * 10**9) -> Start:
    """Independent components, grouped by the dependence of their energies and cut into units.

    Args:
        rows: Of the fit.
        unit_size: Largest size of a unit.
        seed: Of the rows that are drawn and of the first directions.
        keep_units: Whether all units must have the unit size, as for a fit that never merges; else units do not cross
            groups and may be smaller.
        memory: Bytes that it may hold, which bound the rows that are drawn.
    """
    width = len(rows.live)
    most = ICA_ROWS if width <= 24 else MANY_ROWS
    exact = torch.float64 if width <= 128 else torch.float32
    most = max(2, min(most, memory // (COPIES * width * exact.itemsize)))
    index = np.sort(np.random.default_rng([seed, 7]).permutation(len(rows))[:most])
    sources, mixing, rest = independent_components(rows.take(index).to(exact), seed)
    together, count = energies(sources), len(sources)
    del sources
    groups = grouped(together, count)
    dtype = rows.dtype
    cuts: list[int] = []
    for group in groups:  # in one dimension neighbours are always near: units of 1 would drift out of their groups
        cuts += unit_sizes(len(group), max(2, unit_size))
    many = len(cuts) > max(FEW_BLOCKS, 2 * len(unit_sizes(width, unit_size)))
    if keep_units or many or len(groups) + bool(rest.shape[1]) < 2:
        order = _ordered(together)
        rotation = polar(torch.cat([mixing[order].T, rest], 1).double()).to(dtype)
        return Start(rotation=rotation, sizes=unit_sizes(width, unit_size), name="ica")
    bases = [_basis(mixing[group]) for group in groups]
    rotation = polar(torch.cat([*bases, rest.double()], 1)).to(dtype)
    cuts += [rest.shape[1]] if rest.shape[1] else []
    return sorted_start(rotation, cuts, "ica groups")


def sorted_start(rotation: Tensor, cuts: list[int], name: str) -> Start:
    """The start with its blocks sorted by size, largest first."""
    ends = np.cumsum(cuts).tolist()
    order = sorted(range(len(cuts)), key=lambda block: -cuts[block])
    columns = torch.cat([torch.arange(ends[block] - cuts[block], ends[block]) for block in order])
    return Start(rotation=rotation[:, columns].contiguous(), sizes=tuple(cuts[block] for block in order), name=name)


def independent_components(
    rows: Float[Tensor, "n d"], seed: int
) -> tuple[Float[Tensor, "n r"], Float[Tensor, "r d"], Float[Tensor, "d e"]]:
    """Sources of unit variance, the rows of the mixing matrix, and a basis of what has hardly any variance.

    Example:
        >>> y = torch.rand(4000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        >>> sources, mixing, rest = independent_components(y @ torch.tensor([[2.0, 1.0], [0.0, 1.0]]).double(), 0)
        >>> found = torch.corrcoef(torch.cat([y, sources], 1).T)[:2, 2:].abs().amax(1)
        >>> bool((found > 0.99).all()), rest.shape[1]
        (True, 0)
    """
    centred = rows - rows.mean(0)
    found = symmetric_eigen((centred.T @ centred) / len(rows))
    count = int((found.values > EIGENVALUE_FLOOR * found.values[0]).sum())
    vectors, deviations = found.vectors[:, :count].to(rows.dtype), found.values[:count].sqrt().to(rows.dtype)
    white = centred @ (vectors / deviations)
    turn = _turned(white, seed)
    return white @ turn, (turn.T * deviations) @ vectors.T, found.vectors[:, count:].to(rows.dtype)


def _turned(white: Float[Tensor, "n r"], seed: int) -> Float[Tensor, "r r"]:
    """The rotation of whitened rows to independent components; products in bfloat16 where rows are float32 and the
    processor has matrix units, as only the subspaces of groups must be right.
    """
    count = white.shape[1]
    generator = torch.Generator().manual_seed(seed)
    turn = polar(torch.randn(count, count, generator=generator, dtype=torch.float64))
    fast = white.dtype is torch.float32 and has_matrix_units()
    given = white.to(torch.bfloat16) if fast else white
    flat = given.T.contiguous()
    for _ in range(ICA_STEPS):
        values = (given @ turn.to(given.dtype)).tanh_()
        slopes = 1 - torch.linalg.vector_norm(values, dim=0, dtype=white.dtype).square() / len(white)
        moved = _decorrelated((flat @ values).double() / len(white) - turn * slopes)
        change = float((1 - (moved * turn).sum(0).abs()).max())
        turn = moved
        if change < (FAST_TOLERANCE if fast else ICA_TOLERANCE):
            break
    return turn.to(white.dtype)


def _decorrelated(matrix: Float[Tensor, "r r"]) -> Float[Tensor, "r r"]:
    """The nearest orthogonal matrix, by the eigenvalues of its square: half the cost of singular values."""
    values, vectors = torch.linalg.eigh(matrix.T @ matrix)
    return matrix @ (vectors / values.clamp_min(1e-300).sqrt()) @ vectors.T


def energies(sources: Float[Tensor, "n r"]) -> Float[Tensor, "r r"]:
    """How far the sizes of two components go together; 0 on the diagonal."""
    found = torch.maximum(_correlation(sources.square()), _correlation(sources.abs()))
    return found.fill_diagonal_(0)


def grouped(matrix: Float[Tensor, "r r"], rows: int) -> list[Int[Tensor, " g"]]:
    """The connected components of the graph that links components whose energies go together."""
    from scipy.sparse.csgraph import connected_components

    count, label = connected_components((matrix > LINK / min(rows, ICA_ROWS) ** 0.5).numpy(), directed=False)
    return [torch.from_numpy(np.flatnonzero(label == group)) for group in range(count)]


def _ordered(matrix: Tensor) -> Tensor:
    """The components in an order that puts those with common energy side by side."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(matrix) < 3:
        return torch.arange(len(matrix))
    far = 1 - matrix.double().clamp(0, 1)
    far.fill_diagonal_(0)
    tree = linkage(squareform(((far + far.T) / 2).numpy(), checks=False), "average")
    return torch.from_numpy(leaves_list(tree).astype(np.int64))


def _basis(mixing: Tensor) -> Tensor:
    """An orthonormal basis, as columns, of the rows of a part of the mixing matrix."""
    return torch.linalg.svd(mixing.double().T, full_matrices=False).U


def _correlation(values: Tensor) -> Tensor:
    unit = values.sub_(values.mean(0))
    unit /= torch.linalg.vector_norm(unit, dim=0).clamp_min(1e-30)
    return (unit.T @ unit).abs_()
