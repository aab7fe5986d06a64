"""What a featurizer keeps of the activations, how many units it uses, and what the model loses that sees only its part.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `fvu` | sum norm(h - h_hat)^2 / sum norm(h - h_bar)^2 | scalar | pooled, one global mean; does not change with scale | specs/evaluation.md, E20 and fact 4 |
| `fvu_from_covariance` | tr(K' Sigma K) / tr Sigma, K = I - R W | scalar | of a linear map about the mean | fact 5 |
| `shrinkage` | norm(h_hat)^2 / <h, h_hat> | scalar | 1 for a projection, below 1 where values are shrunk | E20 |
| `effective_rank` | (sum l)^2 / sum l^2 | scalar | l variances of the units | E22 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import DataError, InputError
from unweave.evals.averages import mean_estimate, ratio_estimate
from unweave.features.bases import pca
from unweave.features.featurizer import Featurizer, check_width, units
from unweave.features.neurons import as_affine
from unweave.tensors.arrays import as_matrix, as_tensor, check_finite
from unweave.tensors.estimate import Estimate


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """How well the units alone give back the activations."""

    fvu: Estimate
    """Fraction of variance unexplained; its control is PCA with as many components as units are active in a row."""
    cosine: Estimate
    """Of h and h_hat, mean over rows."""
    length_ratio: Estimate
    """norm(h_hat) / norm(h), mean over rows."""
    shrinkage: Estimate
    """norm(h_hat)^2 / <h, h_hat>, pooled."""

    def __repr__(self) -> str:
        """FVU and its control."""
        return f"Reconstruction(FVU {self.fvu!r}, cosine {self.cosine.value:.3f})"


def reconstruction(featurizer: Featurizer, X: Any, groups: Any = None, seed: int = 0) -> Reconstruction:
    """What the units keep of the rows.

    Args:
        featurizer: Any.
        X: Rows (n, d) at its site, not those it was fitted on.
        groups: (n,) the document of each row.
        seed: Of the bootstrap.

    Raises:
        InputError: Another width.
        DataError: NaN, or rows that are all equal.

    Example:
        >>> X = torch.randn(200, 6, dtype=torch.float64)
        >>> found = reconstruction(pca(X, rank=3), X)
        >>> 0.3 < found.fvu.value < 0.55, abs(found.fvu.value - found.fvu.control) < 1e-9
        (True, True)
    """
    rows, z, rebuilt = _through(featurizer, X)
    missed = (rows - rebuilt).square().sum(1)
    spread = (rows - rows.mean(0)).square().sum(1)
    if not float(spread.sum()) > 0:
        raise DataError("the rows are all equal: there is no variance to explain")
    active = round(float((z != 0).double().sum(1).mean()))
    control = _pca_fvu(rows, active)
    lengths, own = rebuilt.norm(dim=1), rows.norm(dim=1)
    inner = (rows * rebuilt).sum(1)
    tiny = torch.finfo(torch.float64).tiny
    options: dict[str, Any] = {"groups": groups, "seed": seed}
    return Reconstruction(
        fvu=ratio_estimate(missed.numpy(), spread.numpy(), null=1.0, control=control, **options),
        cosine=mean_estimate(inner / (lengths * own).clamp_min(tiny), **options),
        length_ratio=mean_estimate(lengths / own.clamp_min(tiny), **options),
        shrinkage=ratio_estimate(lengths.square().numpy(), inner.numpy(), **options),
    )


def fvu_from_covariance(featurizer: Featurizer, covariance: Any) -> float:
    """The fraction of variance unexplained by a linear featurizer about the mean of the rows, without the rows.

    Args:
        featurizer: Affine without a nonlinearity.
        covariance: (d, d) of the rows.

    Raises:
        InputError: A nonlinearity, or another width.

    Example:
        >>> X = torch.randn(100, 4, dtype=torch.float64)
        >>> f = pca(X, rank=2)
        >>> abs(fvu_from_covariance(f, torch.cov(X.T)) - reconstruction(f, X).fvu.value) < 1e-12
        True
    """
    affine = as_affine(featurizer)
    if affine.act.kind != "identity":
        raise InputError(f"the featurizer has a {affine.act.kind} nonlinearity: a closed form needs a linear one")
    sigma = as_tensor(covariance, name="covariance").double()
    if sigma.shape != (affine.width, affine.width):
        raise InputError(f"covariance has shape {tuple(sigma.shape)}: {(affine.width, affine.width)} is needed")
    left = torch.eye(affine.width, dtype=torch.float64) - affine.read.double() @ affine.write.double()
    return float(torch.trace(left.T @ sigma @ left) / torch.trace(sigma))


@dataclass(frozen=True, kw_only=True)
class Sparsity:
    """How many units speak at once, and how many never do."""

    l0: Estimate
    """Units that are not zero, a row."""
    l1: Estimate
    """Sum of sizes of the units, a row."""
    density: Estimate
    """Share of units that are not zero."""
    dead: float
    """Share of units that are zero in every row."""
    effective_rank: float
    """(sum l)^2 / sum l^2 of the units' variances."""
    units: int

    def __repr__(self) -> str:
        """L0 of how many."""
        return f"Sparsity(L0 {self.l0.value:.1f} of {self.units}, dead {self.dead:.1%})"


def sparsity(featurizer: Featurizer, X: Any, groups: Any = None, seed: int = 0) -> Sparsity:
    """How many units the rows use.

    Args:
        featurizer: Any.
        X: Rows (n, d) at its site.
        groups: (n,) the document of each row.
        seed: Of the bootstrap.

    Raises:
        InputError: Another width.
        DataError: NaN.

    Example:
        >>> from unweave.features.bases import neurons
        >>> found = sparsity(neurons(4), torch.relu(torch.randn(300, 4)))
        >>> 1.6 < found.l0.value < 2.4, found.dead
        (True, 0.0)
    """
    _, z, _ = _through(featurizer, X)
    on = (z != 0).double()
    variances = z.var(0, unbiased=False)
    squares = float(variances.square().sum())
    count = units(featurizer)
    options: dict[str, Any] = {"groups": groups, "seed": seed}
    return Sparsity(
        l0=mean_estimate(on.sum(1), **options),
        l1=mean_estimate(z.abs().sum(1), **options),
        density=mean_estimate(on.mean(1), bounds=(0.0, 1.0), **options),
        dead=float((on.sum(0) == 0).double().mean()),
        effective_rank=float(variances.sum()) ** 2 / squares if squares else 0.0,
        units=count,
    )


def _through(featurizer: Featurizer, X: Any) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n k"], Float[Tensor, "n d"]]:
    rows = as_matrix(X, name="X")
    check_finite(rows, name="X")
    check_width(rows, featurizer.width, featurizer.site)
    exact = rows.double()
    z, residual = featurizer.encode(exact)
    return exact, z, exact - residual


def _pca_fvu(rows: Float[Tensor, "n d"], rank: int) -> float:
    """Of principal components about the mean of the same rows: the least any linear map of that rank can miss."""
    if rank >= min(rows.shape):
        return 0.0
    if rank < 1:
        return 1.0
    _, residual = pca(rows, rank=rank).encode(rows)
    return float(residual.square().sum() / (rows - rows.mean(0)).square().sum())
