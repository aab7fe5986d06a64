"""Erasers: affine maps after which no linear read-out finds the concept, with the least change (LEACE) or by an
orthogonal projection.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `leace` | r(x) = x - W^+ P W (x - mu), P onto colsp(W Sigma_xz) | (d, d) | W = Sigma_xx^-1/2 | Belrose et al. 2023 (arXiv 2306.03819), theorem 4.3 |
| `correlations` | singular values of W Sigma_xz Sigma_zz^-1/2 | (m,) | canonical correlations, 0 to 1 | Hotelling 1936 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.directions.labelled import LabelledMoments, as_labelled
from unweave.directions.rows import source_of
from unweave.errors import InputError
from unweave.features.eraser import Eraser
from unweave.tensors.linalg import symmetric_eigen


def leace(
    X: Any,
    y: Any = None,
    *,
    shrinkage: float = 0.0,
    tolerance: float = 1e-7,
    site: Any = None,
    model: str | None = None,
) -> Eraser:
    """The eraser after which activations and concept are uncorrelated, so that no linear read-out beats a constant,
    with the smallest mean squared change among all affine ones.

    That holds to the last digit of the rows it is fitted on. Score a read-out afterwards on rows of other groups:
    inside the fitted rows the held-out part of a split leans against the rest, and its AUC falls below 1/2.

    Args:
        X: Rows (n, d), or `LabelledMoments` gathered from a stream.
        y: (n,) labels, or numbers (n,) or (n, m); None with moments.
        shrinkage: Share of a sphere mixed into the covariance; the correlation is 0 all the same, the change a
            little larger on these rows and steadier on others.
        tolerance: Canonical correlations below this are not erased; authors' code stops at 0.01.
        site: Where the rows come from.
        model: Fingerprint of the model they come from.

    Raises:
        InputError: Shapes that do not fit, shrinkage outside 0..1.
        DataError: NaN, or one class only.

    Source:
        Belrose et al. 2023 (arXiv 2306.03819), theorem 4.3.

    Example:
        >>> X = torch.randn(300, 4, dtype=torch.float64); y = np.arange(300) % 2; X[:, 1] += torch.tensor(y)
        >>> clean = leace(X, y).erase(X)
        >>> leace(X, y).rank, bool((clean[y == 1].mean(0) - clean[y == 0].mean(0)).abs().max() < 1e-12)
        (1, True)
    """
    if not 0 <= shrinkage < 1:
        raise InputError(f"shrinkage is {shrinkage}: a share from 0 to below 1 is needed")
    source = source_of(X, site, model)
    found = as_labelled(X, y)
    covariance = found.covariance
    if shrinkage:
        sphere = torch.eye(found.width, dtype=torch.float64) * float(torch.trace(covariance)) / found.width
        covariance = (1 - shrinkage) * covariance + shrinkage * sphere
    eigen = symmetric_eigen(covariance)
    vectors, sizes = eigen.vectors[:, : eigen.rank], eigen.values[: eigen.rank].sqrt()
    whitened = (vectors.T @ _standardised_cross(found)) / sizes[:, None]
    left, correlations, _ = torch.linalg.svd(whitened, full_matrices=False)
    kept = left[:, correlations > tolerance]
    return Eraser(
        read=vectors @ (kept / sizes[:, None]),
        write=(kept * sizes[:, None]).T @ vectors.T,
        origin=found.mean,
        site=source.site,
        provenance=source.provenance("leace", found.count),
    )


def orthogonal_erasure(X: Any, y: Any = None, *, site: Any = None, model: str | None = None) -> Eraser:
    """The eraser that projects out the span of the covariance with the concept, about the mean: simpler than LEACE,
    and a larger change.

    Args:
        X: Rows (n, d), or `LabelledMoments`.
        y: (n,) labels, or numbers (n,) or (n, m); None with moments.
        site: Where the rows come from.
        model: Fingerprint of the model they come from.

    Raises:
        InputError: Shapes that do not fit.
        DataError: NaN, or one class only.

    Source:
        Belrose et al. 2023, section 4 (the special case W = I).

    Example:
        >>> X = torch.randn(300, 4, dtype=torch.float64); y = np.arange(300) % 2; X[:, 1] += torch.tensor(y)
        >>> orthogonal_erasure(X, y).rank
        1
    """
    source = source_of(X, site, model)
    found = as_labelled(X, y)
    left, sizes, _ = torch.linalg.svd(_standardised_cross(found), full_matrices=False)
    basis = left[:, sizes > 1e-9 * found.covariance.diagonal().sum().sqrt()]
    return Eraser(
        read=basis,
        write=basis.T,
        origin=found.mean,
        site=source.site,
        provenance=source.provenance("orthogonal erasure", found.count),
    )


def _standardised_cross(found: LabelledMoments) -> Float[Tensor, "d r"]:
    """Covariance of the activations with the concept in uncorrelated units of variance 1; the same span, and constant
    or redundant columns of the concept (one of k classes) drop out exactly.
    """
    concept = symmetric_eigen(found.concept_covariance)
    return found.cross @ (concept.vectors[:, : concept.rank] / concept.values[: concept.rank].sqrt())
