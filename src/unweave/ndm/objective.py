"""The objective of NDM and its gradient in closed form, from the rows that the search found.

Only the difference of a query and its nearest key matters to the Euclidean objective, so neither end is rotated again:
with `delta` the difference of the raw rows, a block costs one product to the left and one back. Nothing flows through
the choice of the neighbour.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `delta` | h_b - h_n*(b,s) | (s, b, d) | difference of the raw rows | NDM, objective |
| `moved` | Delta_s R_s | (b, d_s) | the same in the coordinates of the block | specs/ndm.md, section 8 item 5 |
| `unit` | u_s | (b, d_s) | rows of `moved` over their length; 0 where the length is 0 (a subgradient) | same |
| `euclidean` | L(R) = (1/S) sum_s mean_b norm(Delta_s R_s) | scalar | unweighted over blocks | NDM, objective |
| `cosine` | L(R) = -(1/d) sum_s d_s mean_b cos_s | scalar | weighted by size; floors 1e-8 (query) and 1e-3 (key) | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.tensors.neighbors import KEY_FLOOR, block_columns

QUERY_FLOOR = 1e-8


@dataclass(frozen=True, eq=False, kw_only=True)
class Evaluated:
    """The objective at one rotation on one batch."""

    loss: float
    distances: Float[Tensor, " s"]
    """Mean over the batch in each block: the distance, or minus the cosine."""
    gradient: Float[Tensor, "d d"] | None
    """Derivative by the entries of the rotation; None if it was not asked for."""


def euclidean(
    queries: Float[Tensor, "b d"],
    neighbors: Float[Tensor, "s b d"],
    rotation: Float[Tensor, "d d"],
    sizes: tuple[int, ...],
    *,
    with_gradient: bool = True,
) -> Evaluated:
    """The mean over blocks of the mean distance to the neighbour.

    Args:
        queries: Raw rows.
        neighbors: For each block the raw rows that are nearest in it.
        rotation: Columns in the order of the blocks.
        sizes: Of the blocks.
        with_gradient: Whether the derivative is computed.

    Example:
        >>> rows = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
        >>> euclidean(rows[:1], rows[None, 1:], torch.eye(2), (2,)).loss
        5.0
    """
    gradient = torch.empty_like(rotation) if with_gradient else None
    scale = 1 / (len(sizes) * len(queries))
    distances = rotation.new_empty(len(sizes))
    for first, last, columns in _runs(sizes):
        delta = queries - neighbors[first:last]
        part = _stacked(rotation[:, columns], last - first)
        moved = delta @ part
        lengths = torch.linalg.vector_norm(moved, dim=2, keepdim=True)
        distances[first:last] = lengths.mean((1, 2))
        if gradient is not None:
            unit = torch.where(lengths > 0, moved / lengths, 0).mul_(scale)
            gradient[:, columns] = _flat(delta.transpose(1, 2) @ unit)
    return Evaluated(loss=float(distances.double().mean()), distances=distances, gradient=gradient)


def cosine(
    queries: Float[Tensor, "b d"],
    neighbors: Float[Tensor, "s b d"],
    rotation: Float[Tensor, "d d"],
    sizes: tuple[int, ...],
    *,
    with_gradient: bool = True,
) -> Evaluated:
    """Minus the mean cosine to the neighbour, blocks weighted by their size; arguments as in `euclidean`."""
    gradient = torch.empty_like(rotation) if with_gradient else None
    width, count = rotation.shape[0], len(queries)
    distances = rotation.new_empty(len(sizes))
    for first, last, columns in _runs(sizes):
        part = _stacked(rotation[:, columns], last - first)
        one, two = queries @ part, neighbors[first:last] @ part
        unit1, free1, length1 = _direction(one, QUERY_FLOOR)
        unit2, free2, length2 = _direction(two, KEY_FLOOR)
        cosines = (unit1 * unit2).sum(2, keepdim=True)
        distances[first:last] = -cosines.mean((1, 2))
        if gradient is not None:
            scale = -sizes[first] / (width * count)
            pull1 = (unit2 - torch.where(free1, cosines * unit1, 0)) / length1 * scale
            pull2 = (unit1 - torch.where(free2, cosines * unit2, 0)) / length2 * scale
            gradient[:, columns] = _flat(queries.T @ pull1 + neighbors[first:last].transpose(1, 2) @ pull2)
    weights = torch.tensor(sizes, dtype=torch.float64) / width
    loss = float((distances.double().cpu() * weights).sum())
    return Evaluated(loss=loss, distances=distances, gradient=gradient)


OBJECTIVES: Mapping[str, Callable[..., Evaluated]] = MappingProxyType({"euclidean": euclidean, "cosine": cosine})
"""Metric -> the objective."""


def off_blocks(matrix: Float[Tensor, "d d"], sizes: tuple[int, ...]) -> Float[Tensor, "d d"]:
    """The matrix with zeros where both coordinates are of one block: there a rotation changes nothing, and what a
    gradient shows is rounding that Adam would make large. The matrix itself is changed.
    """
    for block in block_columns(sizes):
        matrix[block, block] = 0
    return matrix


def _runs(sizes: tuple[int, ...]) -> list[tuple[int, int, slice]]:
    """(first block, one past the last, columns) of every run of blocks of one size."""
    found, start = [], 0
    slices = block_columns(sizes)
    for end in range(1, len(sizes) + 1):
        if end == len(sizes) or sizes[end] != sizes[start]:
            found.append((start, end, slice(slices[start].start, slices[end - 1].stop)))
            start = end
    return found


def _stacked(columns: Tensor, count: int) -> Tensor:
    """(count, d, size) from the columns of a run."""
    return columns.unflatten(1, (count, -1)).transpose(0, 1)


def _flat(stacked: Tensor) -> Tensor:
    return stacked.transpose(0, 1).flatten(1)


def _direction(vectors: Tensor, floor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vectors, whether the length is above the floor, and the length or the floor."""
    lengths = torch.linalg.vector_norm(vectors, dim=2, keepdim=True)
    floored = lengths.clamp_min(floor)
    return vectors / floored, lengths > floor, floored
