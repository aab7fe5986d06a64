"""Geometry of the weights alone: how much of a dimension each word has, and how far a model is from principal
components.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `dimensionality` | D_i | (V,) | `norm(w_i)^4 / sum_j (w_i . w_j)^2`; 1 = a dimension of its own, sums to at most the rank | Elhage et al. 2022; specs/superposition.md, 5.7 |
| `gram` | G | (V, V) | `D W` | same, 5.6 |
| `basis` | U_m | (V, m) | first eigenvectors of the covariance, `P = U_m U_m'` | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from unweave.errors import InputError
from unweave.superposition.autoencoder import Autoencoder
from unweave.superposition.linear import Spectrum
from unweave.tensors.linalg import principal_angles

MARKS = (1.0, 3 / 4, 2 / 3, 1 / 2, 2 / 5, 3 / 8)
"""Dimensionalities of classic polytopes."""


def dimensionality(weight: Any) -> Float[np.ndarray, " v"]:
    """Share of a dimension that each column has: between 0 and 1, free of scale and rotation; 0 for zero columns.

    `D_i = norm(w_i)^2 / sum_j (w_hat_i . w_j)^2`

    Args:
        weight: (m, V).

    Example:
        >>> angles = 2 * np.pi * np.arange(5) / 5
        >>> dimensionality(np.stack([np.cos(angles), np.sin(angles)])).round(3).tolist()
        [0.4, 0.4, 0.4, 0.4, 0.4]
    """
    W = np.asarray(weight, dtype=np.float64)
    if W.ndim != 2:
        raise InputError(f"weight has shape {W.shape}: a matrix (width, words) is needed")
    lengths = np.square(W).sum(0)
    shared = np.einsum("mv,mv->v", W, (W @ W.T) @ W)
    return np.divide(lengths**2, shared, out=np.zeros_like(lengths), where=shared > 0)


@dataclass(frozen=True, kw_only=True)
class PcaDistance:
    """How far a model is from the principal components of its training windows."""

    angle_mean: float
    """Mean principal angle between the rows of W and the first eigenvectors, degrees; 0 = the same space."""
    angle_max: float
    projector: float
    """`norm(G - P)_F / sqrt(m)`: 0 for a projector on them."""
    excess_mse: float
    """Training MSE a word above the bound of linear models; negative where a nonlinearity goes below it."""
    bound: float
    """That bound."""


def pca_distance(model: Autoencoder, found: Spectrum) -> PcaDistance:
    """Distance of a model from "just PCA".

    Args:
        model: Any model of the words.
        found: Spectrum of its training windows, at least as wide as the model.

    Example:
        >>> from unweave.superposition.linear import spectrum
        >>> found = spectrum(np.eye(6)[np.arange(60) % 6] + np.eye(6)[np.arange(60) % 5])
        >>> round(pca_distance(found.model(2), found).projector, 6)
        0.0
    """
    width = min(model.width, len(found.values))
    basis = found.projector(width)
    rows = model.weight.astype(np.float64)
    angles = np.degrees(principal_angles(torch.from_numpy(rows.T.copy()), torch.from_numpy(basis.copy())).numpy())
    products = model.decoder.astype(np.float64).T @ model.decoder
    squares = float(np.einsum("ij,ij->", products, rows @ rows.T))  # norm(D W)_F^2 without words by words
    crossed = float(np.einsum("vk,vk->", basis, model.decoder @ (rows @ basis)))
    distance = max(0.0, squares - 2 * crossed + width)
    bound = found.bound(model.width)
    return PcaDistance(
        angle_mean=float(angles.mean()) if len(angles) else 90.0, angle_max=float(angles.max(initial=0.0)),
        projector=(distance / width) ** 0.5, excess_mse=model.train_mse - bound, bound=bound,
    )  # fmt: skip


def off_diagonal(model: Autoencoder, words: Any) -> float:
    """`norm(G_g - diag G_g)_F` of a group of words: 0 where they are orthogonal to each other.

    Args:
        model: Any model.
        words: Their columns.
    """
    gram = model.gram(words)
    return float(np.linalg.norm(gram - np.diag(np.diag(gram))))
