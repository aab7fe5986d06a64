"""The basis of one node layer from two moments: a PCA step, a gradient step, a right rotation, a scale and two cuts.

LIB = covariance + pulled-back metric + two eigenproblems. The whitened metric `M` is diagonalised; its eigenvalue is
the mean square of the coordinate that it scales. What the layer before needs is formed without the whitening, so that
small variances do not amplify rounding.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `variances` | D | (k,) | eigenvalues of the covariance, descending | arXiv 2405.10928, section 3; specs/lib.md 3 |
| `directions` | U | (d, k) | their eigenvectors; PCA map on centred activations | same, step 2 |
| `pulled` | M' | (d, d) | `1/(N S) sum J K J'`, rows of J are inputs | same, step 4 |
| `lambdas` | Lam | (r,) | eigenvalues of `M = D^(1/2) U' M' U D^(1/2)`; mean square of a coordinate | same, step 5 |
| `read` | C | (d, r) | `U D^(-1/2) V Lam^(1/2)` | same, step 6 |
| `write` | C+ | (r, d) | `Lam^(-1/2) V' D^(1/2) U'` | same |
| `metric` | K | (d, d) | `C C'` before the cut of Lam, without `D^(-1/2)` | specs/lib.md 3, K recursion |
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import DataError
from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import Capacity, Gauge, Provenance, Within
from unweave.interaction.config import BasisConfig
from unweave.tensors.linalg import fixed_signs, random_orthogonal
from unweave.tensors.moments import Moments

EPSILON = torch.finfo(torch.float64).eps
GAP = 10
"""Eigenvalues nearer than this many times the noise are one block: their directions are arbitrary."""


@dataclass(frozen=True, kw_only=True)
class LayerRank:
    """What was kept of a layer, and why no more."""

    width: int
    """Of the node layer."""
    variances: int
    """Directions whose variance is above its floor."""
    kept: int
    """Directions whose importance is above its floor too."""
    floor_variance: float
    """Below it a variance is rounding (or below the threshold that was asked for)."""
    floor_lambda: float
    """The same for importances."""
    lowest: float = 0.0
    """The most negative importance before it was set to 0: rounding, if it is not far below the floor."""
    dead: tuple[int, ...] = ()
    """Coordinates that do not vary."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Principal:
    """The directions in which a layer varies."""

    mean: Float[Tensor, " d"]
    variances: Float[Tensor, " k"]
    directions: Float[Tensor, "d k"]
    protected: int
    """Leading coordinates that stay directions of their own, first among the directions."""
    rank: LayerRank
    spectrum: Float[Tensor, " d"]
    """All eigenvalues of the covariance, descending, the protected coordinates' own among them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerBasis:
    """A basis, and what the layer before it needs to know."""

    featurizer: Any
    lambdas: Float[Tensor, " r"]
    metric: Float[Tensor, "d d"]
    rank: LayerRank
    degenerate: tuple[int, ...]
    """Sizes of the blocks of equal importance, in order; 1 for a direction of its own."""
    spectrum: Tensor | None = None
    """Of the covariance, where the basis was made from it."""


def principal(sums: Moments, name: str, config: BasisConfig, *, protected: int = 0) -> Principal:
    """The directions of variance above the floor.

    Raises:
        DataError: Nothing varies.
    """
    covariance = sums.scatter / sums.count
    mean = sums.mean if config.center else torch.zeros_like(sums.mean)
    if not config.center:
        covariance = covariance + torch.outer(sums.mean, sums.mean)
    own = protected if config.isolate_norm else 0
    width = len(mean)
    values, vectors = torch.linalg.eigh(covariance[own:, own:])
    values, vectors = values.flip(0), fixed_signs(vectors.flip(1))
    scale = float(values.abs().max()) if len(values) else 0.0
    floor = _floor(scale, width, config.rel_variance, config.abs_threshold)
    kept = values > floor
    if not bool(kept.any()) and 0 < scale <= floor:
        raise DataError(f"no variance at {name} is above the cut {floor:.3g}, the largest is {scale:.3g}: cut lower")
    if not bool(kept.any()):
        raise DataError(f"{name} is the same for all {sums.count} rows: nothing varies there, leave the layer out")
    directions = torch.zeros(width, own + int(kept.sum()), dtype=torch.float64)
    directions[:own, :own] = torch.eye(own, dtype=torch.float64)
    directions[own:, own:] = vectors[:, kept]
    variances = torch.cat([covariance.diagonal()[:own], values[kept]])
    dead = tuple((covariance.diagonal() <= floor).nonzero()[:, 0].tolist())
    rank = LayerRank(
        width=width, variances=len(variances), kept=len(variances), floor_variance=floor, floor_lambda=0.0, dead=dead
    )
    spectrum = torch.cat([covariance.diagonal()[:own], values]).sort(descending=True).values
    return Principal(mean=mean, variances=variances, directions=directions, protected=own, rank=rank, spectrum=spectrum)


def interaction_basis(
    found: Principal, pulled: Float[Tensor, "d d"], config: BasisConfig, provenance: Provenance
) -> LayerBasis:
    """The basis aligned with what the next layer uses."""
    own = found.protected
    inside = _isolated(found.directions.T @ ((pulled + pulled.T) / 2) @ found.directions, own)
    roots = found.variances.sqrt()
    whitened = roots[:, None] * inside * roots
    values, vectors = torch.linalg.eigh(whitened[own:, own:])
    values, vectors = values.flip(0), vectors.flip(1)
    lowest = float(values.min().clamp_max(0)) if len(values) else 0.0
    floor = _floor(float(values.max()), len(pulled), config.rel_lambda, config.abs_threshold)
    kept = values > floor
    lambdas = torch.cat([whitened.diagonal()[:own].clamp_min(floor), values[kept]])
    rotation = torch.zeros(len(roots), own + int(kept.sum()), dtype=torch.float64)
    rotation[:own, :own] = torch.eye(own, dtype=torch.float64)
    rotation[own:, own:] = vectors[:, kept]
    if not len(lambdas):
        raise DataError("the next layer uses nothing of what varies here: every importance is 0, leave the layer out")
    read = (found.directions / roots) @ rotation * lambdas.sqrt()
    write = (rotation.T * roots) @ found.directions.T / lambdas.sqrt()[:, None]
    signs = torch.where(read.gather(0, read.abs().argmax(0, keepdim=True))[0] < 0, -1.0, 1.0).double()
    blocks = _degenerate(lambdas, own, GAP * max(floor, 10 * len(pulled) * EPSILON * float(lambdas.max())))
    return LayerBasis(
        featurizer=_featurizer(read * signs, write * signs[:, None], found.mean, blocks, provenance),
        lambdas=lambdas,
        metric=found.directions @ inside @ found.directions.T,
        rank=replace(found.rank, kept=len(lambdas), floor_lambda=floor, lowest=lowest),
        degenerate=blocks,
        spectrum=found.spectrum,
    )


def pca_basis(found: Principal, provenance: Provenance) -> LayerBasis:
    """Principal components; importance is variance."""
    blocks = (1,) * len(found.variances)
    return LayerBasis(
        featurizer=_featurizer(found.directions, found.directions.T, found.mean, blocks, provenance),
        lambdas=found.variances,
        metric=found.directions @ found.directions.T,
        rank=found.rank,
        degenerate=blocks,
        spectrum=found.spectrum,
    )


def random_basis(found: Principal, provenance: Provenance, *, seed: int, whitened: bool) -> LayerBasis:
    """A random rotation of the kept subspace, of the components as they are or of whitened ones."""
    turn = random_orthogonal(len(found.variances), seed=seed)
    roots = found.variances.sqrt() if whitened else torch.ones_like(found.variances)
    read, write = (found.directions / roots) @ turn, (turn.T * roots) @ found.directions.T
    squares = (turn.square() * (found.variances / roots.square())[:, None]).sum(0)
    blocks = (1,) * len(squares)
    return LayerBasis(
        featurizer=_featurizer(read, write, found.mean, blocks, provenance),
        lambdas=squares,
        metric=read @ read.T,
        rank=found.rank,
        degenerate=blocks,
        spectrum=found.spectrum,
    )


def _featurizer(
    read: Tensor, write: Tensor, mean: Tensor, blocks: tuple[int, ...], provenance: Provenance
) -> AffineFeaturizer:
    arbitrary = Within.ROTATION if any(size > 1 for size in blocks) else Within.SIGN
    return AffineFeaturizer(
        read=read,
        write=write,
        origin=mean,
        blocks=blocks,
        gauge=Gauge(within=arbitrary),
        capacity=Capacity(parameters=read.numel() + len(mean)),
        provenance=provenance,
    )


def _isolated(metric: Tensor, own: int) -> Tensor:
    """The metric without what links protected directions to any other."""
    out = metric.clone()
    if own:
        out[:own] = out[:, :own] = 0
        out[range(own), range(own)] = metric.diagonal()[:own]
    return out


def _floor(scale: float, width: int, relative: float | None, absolute: float | None) -> float:
    if absolute is not None:
        return absolute
    return scale * (10 * width * EPSILON if relative is None else relative)


def _degenerate(lambdas: Tensor, own: int, gap: float) -> tuple[int, ...]:
    """Sizes of runs of importances that differ by less than the gap; protected ones stand alone."""
    sizes = [1] * own
    values = lambdas[own:].tolist()
    for place, value in enumerate(values):
        if place and values[place - 1] - value < gap:
            sizes[-1] += 1
        else:
            sizes.append(1)
    return tuple(sizes)
