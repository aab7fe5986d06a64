"""What users bring (numpy, torch, lists, a store's column) as checked torch tensors on the CPU or where they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweave.errors import DataError, InputError


def as_tensor(values: Any, *, name: str) -> Tensor:
    """A tensor that shares memory with the input where it can; read-only arrays are copied, since torch cannot promise
    not to write.

    Raises:
        InputError: Not numbers, or rows of different lengths.
    """
    if isinstance(values, Tensor):
        return values.detach()
    if not isinstance(values, np.ndarray) and hasattr(values, "__getitem__") and hasattr(values, "shape"):
        content = values[:]  # a store's column reads itself; a table of another library gives one of its own again
        return as_tensor(content if isinstance(content, Tensor) else np.asarray(content), name=name)
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name} does not form an array: {error}; rows of one length are needed") from error
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} holds {array.dtype} values: numbers are needed")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)  # torch has nothing longer
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)


def as_matrix(values: Any, *, name: str) -> Float[Tensor, "n d"]:
    """Rows of activations as a floating-point matrix, at least one row and one column.

    Raises:
        InputError: Not two axes.
        DataError: Empty.
    """
    matrix = as_tensor(values, name=name)
    if matrix.ndim != 2:
        raise InputError(f"{name} has shape {tuple(matrix.shape)}: a matrix (rows, width) is needed")
    if 0 in matrix.shape:
        raise DataError(f"{name} has shape {tuple(matrix.shape)}: at least one row and one column are needed")
    return matrix if matrix.is_floating_point() else matrix.to(torch.float32)


def check_finite(matrix: Float[Tensor, "n d"], *, name: str) -> None:
    """Raises `DataError` that names the first row and column that is NaN or infinite."""
    if bool(torch.isfinite(matrix.sum(dtype=computing_dtype(matrix.dtype)))):
        return  # whatever is not finite leaves its mark on a sum, which is several times faster than a look at each
    finite: Bool[Tensor, "n d"] = torch.isfinite(matrix)
    if not bool(finite.all()):
        row, column = (int(index) for index in torch.nonzero(~finite)[0])
        value = float(matrix[row, column])
        raise DataError(f"{name} has {value} at row {row}, column {column}: drop or repair such rows first")


def computing_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype to compute in: half precision is for storage only."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
