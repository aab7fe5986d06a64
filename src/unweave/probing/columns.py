"""Columns that no probe may use: those that are not finite, and those that repeat an earlier one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import DataError
from unweave.tensors.arrays import as_matrix, computing_dtype

WHOLE: Mapping[int, torch.dtype] = MappingProxyType({2: torch.int16, 4: torch.int32, 8: torch.int64})
CHUNK = 256


def usable_rows(X: Any) -> tuple[Float[Tensor, "n d"], tuple[int, ...]]:
    """X as a matrix in which every column with a NaN or infinite entry is zero, so that no selector takes it, and which
    columns those are.

    Raises:
        InputError: Not two axes.
        DataError: Empty, or no column is finite.
    """
    matrix = as_matrix(X, name="X")
    sums = matrix.sum(0, dtype=computing_dtype(matrix.dtype))
    suspect = torch.nonzero(~torch.isfinite(sums)).flatten()
    if not len(suspect):  # whatever is not finite leaves its mark on a sum
        return matrix, ()
    bad = suspect[~torch.isfinite(matrix[:, suspect]).all(0)]
    if len(bad) == matrix.shape[1]:
        row, column = torch.nonzero(~torch.isfinite(matrix))[0].tolist()
        raise DataError(
            f"every column of X has a NaN or infinite entry, the first is {float(matrix[row, column])} at row {row},"
            f" column {column}: drop or repair such rows first"
        )
    matrix = matrix.clone()
    matrix[:, bad] = 0
    return matrix, tuple(bad.tolist())


def repeated_columns(rows: Float[Tensor, "n d"]) -> dict[int, int]:
    """Columns whose bits are those of an earlier one, and which; columns of one value throughout are none.

    Each column is reduced to one whole number, the sum of its bit patterns times odd numbers, which does not depend on
    the order of addition; columns that agree in it are compared in full.
    """
    bits = rows.contiguous().view(WHOLE[rows.element_size()])
    odd = torch.from_numpy(np.random.default_rng(0).integers(0, 2**62, len(rows)) * 2 + 1)
    total = torch.zeros(rows.shape[1], dtype=torch.int64)
    for first in range(0, len(rows), CHUNK):
        total += (bits[first : first + CHUNK].to(torch.int64) * odd[first : first + CHUNK, None]).sum(0)
    order = torch.argsort(total, stable=True).tolist()
    found: dict[int, int] = {}
    first = order[0]
    for column in order[1:]:
        if total[column] != total[first]:
            first = column
        elif torch.equal(bits[:, first], bits[:, column]) and bool((bits[:, first] != bits[0, first]).any()):
            found[column] = first
    return dict(sorted(found.items()))
