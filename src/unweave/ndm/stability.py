"""Whether fits from several seeds find the same subspaces: blocks matched by their projectors, beside what chance gives.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `overlap` | norm(R_a' R_b)_F^2 / min(d_s, d_t) | (s, t) | 1 if the smaller block lies in the larger | specs/ndm.md, section 6 |
| `null` | max(d_s, d_t) / d | (s, t) | its mean for random blocks | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from unweave.errors import InputError
from unweave.features.compare import check_comparable
from unweave.features.featurizer import Featurizer, block_slices
from unweave.features.neurons import as_affine


@dataclass(frozen=True, kw_only=True)
class Matched:
    """A block of one partition and the block of another that the best overall matching gives it."""

    first: int
    second: int
    sizes: tuple[int, int]
    overlap: float
    null: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Matching:
    """Two partitions of one space, block by block."""

    blocks: tuple[Matched, ...]
    overlap: Float[np.ndarray, "s t"]

    @property
    def mean_overlap(self) -> float:
        """Mean over matched blocks, weighted by the smaller size."""
        return self._weighted([one.overlap for one in self.blocks])

    @property
    def mean_null(self) -> float:
        """The same of random blocks, before any matching."""
        return self._weighted([one.null for one in self.blocks])

    def _weighted(self, values: list[float]) -> float:
        return float(np.average(values, weights=[min(one.sizes) for one in self.blocks]))

    def __repr__(self) -> str:
        """Mean overlap and null."""
        return f"Matching({len(self.blocks)} blocks, overlap {self.mean_overlap:.3f}, of chance {self.mean_null:.3f})"


def match(first: Featurizer, second: Featurizer) -> Matching:
    """The blocks of two partitions, matched one to one so that the overlap, weighted by the smaller size, is largest.

    Args:
        first: One partition, with orthogonal blocks.
        second: The other.

    Raises:
        InputError: Of other widths or sites, or blocks that are not orthogonal.

    Example:
        >>> f = lambda sizes: uw.AffineFeaturizer(read=np.eye(4), blocks=sizes)
        >>> match(f((2, 2)), f((1, 1, 2))).mean_overlap
        1.0
    """
    from scipy.optimize import linear_sum_assignment

    check_comparable(first, second)
    one, two = _blocks(first), _blocks(second)
    least = np.minimum.outer(np.array(first.blocks), np.array(second.blocks))
    overlap = np.array([[float((a.T @ b).square().sum()) for b in two] for a in one]) / least
    rows, columns = linear_sum_assignment(-overlap * least)
    found = [
        Matched(
            first=int(i),
            second=int(j),
            sizes=(first.blocks[i], second.blocks[j]),
            overlap=float(overlap[i, j]),
            null=max(first.blocks[i], second.blocks[j]) / first.width,
        )
        for i, j in zip(rows, columns, strict=True)
    ]
    return Matching(blocks=tuple(found), overlap=overlap)


def stability(partitions: Sequence[Any]) -> dict[str, Any]:
    """How alike several partitions are: mean overlap of matched blocks over all pairs, beside chance.

    Args:
        partitions: Results or featurizers of fits that differ in seed, data or checkpoint, at least two.

    Raises:
        InputError: Fewer than two.

    Example:
        >>> f = uw.AffineFeaturizer(read=np.eye(4), blocks=(2, 2))
        >>> stability([f, f])["overlap"]
        1.0
    """
    featurizers = [getattr(one, "featurizer", one) for one in partitions]
    if len(featurizers) < 2:
        raise InputError(f"{len(featurizers)} partitions cannot be compared: give two or more")
    found = [match(one, two) for one, two in combinations(featurizers, 2)]
    return {
        "overlap": float(np.mean([one.mean_overlap for one in found])),
        "lowest": float(np.min([one.mean_overlap for one in found])),
        "null": float(np.mean([one.mean_null for one in found])),
        "pairs": len(found),
        "same_sizes": all(one.blocks == featurizers[0].blocks for one in featurizers),
    }


def _blocks(featurizer: Featurizer) -> list[Any]:
    affine = as_affine(featurizer)
    read = affine.read.double()
    found = [read[:, block] for block in block_slices(featurizer)]
    for number, block in enumerate(found):
        off = float((block.T @ block - torch.eye(block.shape[1], dtype=torch.float64)).abs().max())
        if off > 1e-3:
            raise InputError(f"block {number} is not orthonormal (off by {off:.2g}): only rotations are matched")
    return found
