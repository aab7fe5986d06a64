"""What a featurizer says about itself, measured: is it orthogonal, lossless, of which rank, and does it give back what
it was given?
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from unweave.features.featurizer import Featurizer, units
from unweave.features.neurons import as_affine


@dataclass(frozen=True, kw_only=True)
class FeaturizerChecks:
    """Deviations of one featurizer; 0 is perfect."""

    round_trip: float
    """Largest |decode(encode(h)) - h| over random rows, relative to the largest |h|."""
    batch: float
    """Largest difference between encoding one row and the same row among many, relative to the largest |z|."""
    orthogonal: float
    """Largest |read' read - I|: 0 for orthonormal covectors."""
    lossless: float
    """Largest |read @ write - I|: 0 if the units keep everything and the residual is 0 (for an identity
    nonlinearity).
    """
    rank: int
    """Numerical rank of `read`."""
    units: int
    width: int

    def is_orthogonal(self, tolerance: float = 1e-5) -> bool:
        """Whether the covectors are orthonormal."""
        return self.orthogonal <= tolerance

    def is_lossless(self, tolerance: float = 1e-5) -> bool:
        """Whether the residual is always zero."""
        return self.lossless <= tolerance


def check(featurizer: Featurizer, *, rows: int = 64, seed: int = 0) -> FeaturizerChecks:
    """The featurizer's checks on random rows about its origin, in float64.

    Args:
        featurizer: Affine, or neurons.
        rows: How many rows it is tried on.
        seed: Of the rows.

    Example:
        >>> from unweave.features.bases import random_rotation
        >>> result = check(random_rotation(8))
        >>> result.is_orthogonal(), result.is_lossless(), result.rank
        (True, True, 8)
    """
    affine = as_affine(featurizer)
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(rows, featurizer.width, generator=generator, dtype=torch.float64) + affine.origin.double()
    z, residual = featurizer.encode(h)
    alone = torch.cat([featurizer.encode(row.unsqueeze(0))[0] for row in h])
    read, write = affine.read.double(), affine.write.double()
    return FeaturizerChecks(
        round_trip=_relative(featurizer.decode(z, residual) - h, h),
        batch=_relative(alone - z, z),
        orthogonal=float((read.T @ read - torch.eye(read.shape[1])).abs().max()),
        lossless=float((read @ write - torch.eye(read.shape[0])).abs().max()),
        rank=int(torch.linalg.matrix_rank(read)),
        units=units(featurizer),
        width=featurizer.width,
    )


def _relative(difference: torch.Tensor, scale: torch.Tensor) -> float:
    largest = float(scale.abs().max())
    return float(difference.abs().max()) / largest if largest else float(difference.abs().max())
