"""Means and covariances of bags of words, from one pass over the windows.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `products` | X'X | (V, V) | windows that hold both words, whole numbers | specs/superposition.md, 2.4 |
| `covariance` | Sigma | (V, V) | `X'X/n - p p'`, divided by n | same, symbols |
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float

from unweave.errors import DataError

CHUNK = 1024
EXACT = 2**24
"""Whole numbers up to here are exact in float32."""


@runtime_checkable
class Rows(Protocol):
    """What gives rows by number."""

    def take(self, indices: Any, dtype: str = ...) -> Any:
        """Some rows as an array."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class BagMoments:
    """Counts of words and of pairs of words."""

    n: int
    sums: Float[np.ndarray, " v"]
    products: Float[np.ndarray, "v v"]

    @cached_property
    def mean(self) -> Float[np.ndarray, " v"]:
        """Share of windows with each word."""
        return self.sums / self.n

    @cached_property
    def covariance(self) -> Float[np.ndarray, "v v"]:
        """Population covariance."""
        return self.products / self.n - np.outer(self.mean, self.mean)


def chunks(rows: Rows, indices: np.ndarray, size: int = CHUNK, dtype: str = "float32") -> Iterator[tuple[slice, Any]]:
    """(place among the indices, rows) in pieces of bounded memory."""
    for first in range(0, len(indices), size):
        place = slice(first, min(first + size, len(indices)))
        yield place, rows.take(indices[place], dtype)


def moments_of(rows: Rows, indices: np.ndarray) -> BagMoments:
    """Moments of some rows; products of 0 and 1 are exact in float32 up to 2^24 windows, then go over to float64.

    Raises:
        DataError: No rows.
    """
    if not len(indices):
        raise DataError("there are no windows to take moments of: give more text or another split")
    total: Any = None
    sums: Any = 0.0
    recent, held = None, 0
    for _, part in chunks(rows, indices):
        X = torch.from_numpy(part)
        exact = X if bool(((X == 0) | (X == 1)).all()) else X.double()
        product = exact.T @ exact
        recent = product if recent is None else recent + product
        sums = sums + exact.double().sum(0).numpy()
        held += len(part)
        if held >= EXACT - CHUNK:
            total = recent.double() if total is None else total + recent.double()
            recent, held = None, 0
    if recent is not None:
        total = recent.double() if total is None else total + recent.double()
    return BagMoments(n=len(indices), sums=sums, products=total.numpy())


def covariance_of(rows: Rows, indices: np.ndarray, columns: Any) -> Float[np.ndarray, "k k"]:
    """Population covariance of some columns, from one pass.

    Args:
        rows: What gives rows.
        indices: Rows that count.
        columns: The columns.
    """
    chosen = np.asarray(columns)
    sums, products = np.zeros(len(chosen)), np.zeros((len(chosen), len(chosen)))
    for _, part in chunks(rows, indices):
        x = part[:, chosen].astype(np.float64)
        sums, products = sums + x.sum(0), products + x.T @ x
    mean = sums / len(indices)
    return products / len(indices) - np.outer(mean, mean)
