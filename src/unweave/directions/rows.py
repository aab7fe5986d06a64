"""What an extractor is given, settled: rows of activations with the site and the model they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import DataError, InputError
from unweave.features.featurizer import Provenance, Sites, as_sites
from unweave.log import logger
from unweave.tensors.arrays import as_matrix, check_finite, computing_dtype
from unweave.tensors.labels import binary_labels


@dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """Where rows come from."""

    site: Any = None
    model: str | None = None
    """Fingerprint."""

    def provenance(
        self, method: str, rows: int, *, seed: int | None = None, warnings: tuple[str, ...] = ()
    ) -> Provenance:
        """What the result carries; warnings go to the log too."""
        for warning in warnings:
            logger.warning("%s: %s", method, warning)
        return Provenance(method=method, model=self.model, rows=rows, seed=seed, warnings=warnings)


def source_of(X: Any, site: Any, model: str | None) -> Source:
    """What the caller says, else what a store's column knows of itself."""
    where: Sites = as_sites(getattr(X, "site", None) if site is None else site)
    if model is None:
        collection = getattr(getattr(X, "store", None), "collection", None)
        model = getattr(collection, "model", None)
    return Source(site=where, model=model)


def finite_rows(X: Any, *, name: str = "X") -> Float[Tensor, "n d"]:
    """Rows that can be computed with.

    Raises:
        InputError: Not two axes.
        DataError: Empty, or a NaN or infinite entry (the first is named).
    """
    matrix = as_matrix(X, name=name)
    check_finite(matrix, name=name)
    return matrix.to(computing_dtype(matrix.dtype))


def two_classes(X: Any, y: Any) -> tuple[Float[Tensor, "n d"], Tensor]:
    """Rows and which of them are positive.

    Raises:
        InputError: Not one label a row, or labels that are not binary.
        DataError: One class only.
    """
    rows = finite_rows(X)
    labels, _ = binary_labels(y, tuple(rows.shape))
    return rows, torch.from_numpy(labels)


def paired(positive: Any, negative: Any) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
    """Both sides of contrast pairs, row i of one with row i of the other.

    Raises:
        InputError: Not as many rows, or not as wide.
        DataError: Fewer than two pairs.
    """
    plus, minus = finite_rows(positive, name="positive"), finite_rows(negative, name="negative")
    if plus.shape != minus.shape:
        raise InputError(
            f"positive is {tuple(plus.shape)} but negative is {tuple(minus.shape)}: row i of both is one pair, so both"
            " need as many rows of one width"
        )
    if len(plus) < 2:
        raise DataError(f"{len(plus)} pair: a direction needs at least two")
    return plus.double(), minus.double()
