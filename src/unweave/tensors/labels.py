"""Binary labels as users spell them, as booleans and the two spellings."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from unweave.errors import DataError, InputError
from unweave.tensors.arrays import as_tensor


def binary_labels(y: Any, shape: tuple[int, ...]) -> tuple[Bool[np.ndarray, " n"], tuple[Any, Any]]:
    """Labels as booleans, and how the caller spells negative and positive.

    Args:
        y: One label a row.
        shape: Of the rows.

    Raises:
        InputError: Not one label a row, or not binary.
        DataError: Only one class.
    """
    values = as_tensor(y, name="y").numpy()
    if values.shape != shape[:1]:
        raise InputError(f"X is {shape} but y is {tuple(values.shape)}: one label a row is needed")
    kinds = np.unique(values)
    for negative, positive in ((0, 1), (-1, 1)):
        if set(kinds.tolist()) <= {negative, positive}:
            if len(kinds) < 2:
                raise DataError(f"y has only the label {kinds[0]}: a probe needs rows of both classes")
            cast = values.dtype.type
            return values == positive, (cast(negative).item(), cast(positive).item())
    raise InputError(
        f"y has the labels {kinds[:6].tolist()}{' ...' if len(kinds) > 6 else ''}: binary labels in {{0, 1}}, {{-1, 1}}"
        " or booleans are needed"
    )


def several_classes(y: Any, shape: tuple[int, ...]) -> Int[np.ndarray, " n"] | None:
    """Labels as integers if they are more than two whole numbers and each of them comes twice at least; None if not."""
    values = as_tensor(y, name="y").numpy()
    if values.dtype.kind not in "iu" or values.shape != shape[:1]:
        return None
    _, counts = np.unique(values, return_counts=True)
    return values.astype(np.int64) if len(counts) > 2 and counts.min() > 1 else None
