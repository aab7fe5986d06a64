"""Directions from contrast pairs: the first component of their differences, and the trap that centring sets.

Differences of ordered pairs (positive minus negative) all share the concept, so their mean *is* the concept: a PCA that
centres them takes it away and returns the largest nuisance (trap T3). Uncentred, centred within each pair, or with the
order of each pair drawn at random, the concept stays. The sign is that of most pairs.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `differences` | d_i = x+_i - x-_i | (n, d) | one a pair | Zou et al. 2023 (arXiv 2310.01405), section 3 |
| `ordered` | n norm(mean d)^2 / mean norm(d)^2 | scalar | about 1 if the order of pairs is random, n at most | fact 6 of specs/evaluation.md |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.directions.rows import finite_rows, paired, source_of
from unweave.errors import DataError, unknown_name
from unweave.features.direction import Direction

CENTERS = ("none", "pair", "difference")
ORDERED_ABOVE = 9.0
"""`ordered` of random order is about a chi-squared number over its degrees of freedom: above 9 in 3 of 1000 cases at
most.
"""
TRAP = (
    "centring trap: the pairs are ordered, so centring their differences removes the concept itself; take"
    " center='none' or 'pair', or draw the order of each pair at random"
)


def contrast_pca(
    positive: Any, negative: Any, *, center: str = "none", site: Any = None, model: str | None = None
) -> Direction:
    """The first principal component of the differences of contrast pairs, of length 1, pointing to the positive side of
    most pairs.

    Args:
        positive: Rows (n, d); row i is the positive side of pair i.
        negative: Rows (n, d); row i is its negative side.
        center: `none`: first right singular vector of the differences as they are. `pair`: components of both sides
            about the middle of their pair, the same vector. `difference`: about the mean difference, which is only
            right where the order within each pair is random; a warning in `.provenance.warnings` names the trap.
        site: Where the rows come from.
        model: Fingerprint of the model they come from.

    Raises:
        UnknownName: An unknown `center`.
        InputError: Not as many rows on both sides, or not as wide.
        DataError: Fewer than two pairs, NaN, or pairs without any difference.

    Source:
        Zou et al. 2023 (arXiv 2310.01405); specs/evaluation.md 5 and fact 6.

    Example:
        >>> base = torch.randn(50, 3, dtype=torch.float64)
        >>> found = contrast_pca(base + torch.tensor([0.0, 2.0, 0.0]), base)
        >>> found.vector.round(decimals=6).abs().tolist(), bool(found.vector[1] > 0)
        ([0.0, 1.0, 0.0], True)
    """
    if center not in CENTERS:
        raise unknown_name("center", center, CENTERS)
    source = source_of(positive, site, model)
    plus, minus = paired(positive, negative)
    differences = plus - minus
    warnings = ()
    if center == "difference" and order_of_pairs(differences) > ORDERED_ABOVE:
        warnings = (TRAP,)
    centred = differences - differences.mean(0) if center == "difference" else differences
    vector = _first_component(centred)
    return Direction(
        vector=vector * _sign(differences @ vector),
        site=source.site,
        provenance=source.provenance(f"contrast pca, center {center}", len(differences), warnings=warnings),
    )


def lat(X: Any, *, seed: int = 0, site: Any = None, model: str | None = None) -> Direction:
    """The first component of length-normalised differences of random pairs of rows, of length 1; its sign is arbitrary
    (the largest entry is positive).

    Args:
        X: Rows (n, d), without labels.
        seed: Of the pairs.
        site: Where the rows come from.
        model: Fingerprint of the model they come from.

    Raises:
        DataError: Fewer than four rows, NaN, or rows that are all equal.

    Source:
        Zou et al. 2023 (arXiv 2310.01405), linear artificial tomography without labels.

    Example:
        >>> X = torch.randn(200, 3, dtype=torch.float64); X[:, 2] *= 9
        >>> lat(X).vector.abs().argmax()
        tensor(2)
    """
    source = source_of(X, site, model)
    rows = finite_rows(X).double()
    if len(rows) < 4:
        raise DataError(f"{len(rows)} rows: random pairs need at least four")
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    half = len(rows) // 2
    differences = rows[order[:half]] - rows[order[half : 2 * half]]
    lengths = differences.norm(dim=1, keepdim=True)
    units = differences / lengths.clamp_min(torch.finfo(torch.float64).tiny)
    vector = _first_component(units)
    return Direction(
        vector=vector * torch.sign(vector[vector.abs().argmax()]),
        site=source.site,
        provenance=source.provenance("lat", len(rows), seed=seed),
    )


def order_of_pairs(differences: Float[Tensor, "n d"]) -> float:
    """How ordered the pairs are: about 1 if the order within each was drawn at random, up to n if all agree.

    Example:
        >>> order_of_pairs(torch.ones(7, 2))
        7.0
    """
    energy = float(differences.square().sum(1).mean())
    return len(differences) * float(differences.mean(0).square().sum()) / energy if energy else 0.0


def _first_component(rows: Float[Tensor, "n d"]) -> Float[Tensor, " d"]:
    """The first right singular vector, from the smaller Gram matrix."""
    if not bool(rows.abs().max() > 0):
        raise DataError("the pairs do not differ: there is no direction between their sides")
    return torch.linalg.svd(rows, full_matrices=False).Vh[0]


def _sign(scores: Float[Tensor, " n"]) -> float:
    """That of most pairs; of their mean where as many say the one as the other."""
    votes = int((scores > 0).sum()) - int((scores < 0).sum())
    return -1.0 if votes < 0 or (votes == 0 and float(scores.mean()) < 0) else 1.0
