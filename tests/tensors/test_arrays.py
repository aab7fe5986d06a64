"""What users bring becomes a checked tensor, without copies where none is needed and without writing to the input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from unweave.errors import DataError, InputError
from unweave.tensors.arrays import as_matrix, as_tensor, check_finite, computing_dtype


class Table:
    """A table of another library: slices of it are tables again, as of a data frame."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape = values, values.shape

    def __getitem__(self, key: Any) -> Table:
        return Table(self.values[key])

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.values


class LazyColumn:
    """A column of a store: only a slice of it is a tensor."""

    shape = (3, 2)

    def __getitem__(self, key: slice) -> torch.Tensor:
        return torch.arange(6, dtype=torch.bfloat16).reshape(3, 2)[key]


GRID = np.arange(12.0).reshape(4, 3)
READ_ONLY = GRID.copy()
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    "values",
    [
        GRID,
        READ_ONLY,
        GRID.tolist(),
        tuple(map(tuple, GRID.tolist())),
        torch.from_numpy(GRID.copy()),
        GRID[::-1][::-1],
        np.asfortranarray(GRID),
        GRID.astype(">f8"),
        GRID.astype(np.longdouble),
        Table(GRID),
        np.repeat(GRID, 2, axis=1)[:, ::2],
    ],
    ids=[
        "array",
        "read-only",
        "list",
        "tuple",
        "tensor",
        "twice-reversed",
        "fortran",
        "big-endian",
        "long",
        "table",
        "strided",
    ],
)
def test_every_container_gives_the_same_numbers(values: Any) -> None:
    found = as_tensor(values, name="X")
    assert found.dtype == torch.float64
    assert torch.equal(found, torch.from_numpy(GRID.copy()))


@pytest.mark.parametrize("view", [GRID[::-1], GRID[:, ::-1], GRID[::2], GRID.T, np.broadcast_to(GRID[0], (5, 3))])
def test_views_give_their_own_numbers(view: np.ndarray) -> None:
    assert np.array_equal(as_tensor(view, name="X").numpy(), view)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int8", "int64", "uint8", "bool"])
def test_dtypes_are_kept(kind: str) -> None:
    assert as_tensor(np.ones(3, dtype=kind), name="y").numpy().dtype == np.dtype(kind)


def test_writable_memory_is_shared_and_read_only_memory_is_not() -> None:
    free = GRID.copy()
    as_tensor(free, name="X")[0, 0] = 5.0
    assert free[0, 0] == 5.0
    as_tensor(READ_ONLY, name="X")[0, 0] = 5.0
    assert READ_ONLY[0, 0] == 0.0


def test_a_column_of_a_store_is_read_in_its_own_dtype() -> None:
    assert as_matrix(LazyColumn(), name="X").dtype == torch.bfloat16


def test_a_tensor_loses_its_graph_and_nothing_else() -> None:
    leaf = torch.ones(2, 2, requires_grad=True)
    found = as_tensor(leaf * 2, name="X")
    assert not found.requires_grad
    assert torch.equal(found, torch.full((2, 2), 2.0))


@pytest.mark.parametrize("values", [[[1, 2], [3, 4]], np.ones((2, 2), dtype=bool), torch.ones(2, 2, dtype=torch.int32)])
def test_whole_numbers_become_float32_rows(values: Any) -> None:
    assert as_matrix(values, name="X").dtype == torch.float32


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)])
def test_one_row_or_one_column_is_a_matrix(shape: tuple[int, int]) -> None:
    assert as_matrix(np.ones(shape), name="X").shape == shape


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        (np.array([1, None, "a"], dtype=object), InputError, "y holds object values: numbers are needed"),
        (["a", "b"], InputError, "numbers are needed"),
        (np.ones(2, dtype=complex), InputError, "y holds complex128 values: numbers are needed"),
        ([[1.0, 2.0], [3.0]], InputError, "y does not form an array: .* rows of one length are needed"),
    ],
)
def test_what_is_not_numbers_is_refused(values: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        as_tensor(values, name="y")


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        (np.ones(3), InputError, r"X has shape \(3,\): a matrix \(rows, width\) is needed"),
        (np.ones((2, 2, 2)), InputError, r"X has shape \(2, 2, 2\): a matrix"),
        (np.ones((0, 3)), DataError, r"X has shape \(0, 3\): at least one row and one column are needed"),
        (np.ones((3, 0)), DataError, r"X has shape \(3, 0\): at least one row"),
    ],
)
def test_what_is_no_matrix_is_refused(values: np.ndarray, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        as_matrix(values, name="X")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_first_entry_that_is_not_finite_is_named(value: float) -> None:
    matrix = torch.zeros(4, 3)
    matrix[3, 0] = 1.0 / 3
    check_finite(matrix, name="X")
    matrix[2, 1] = value
    matrix[3, 2] = value
    with pytest.raises(DataError, match=rf"X has {value} at row 2, column 1: drop or repair such rows first"):
        check_finite(matrix, name="X")


def test_half_precision_is_for_storage_only() -> None:
    assert computing_dtype(torch.float16) == computing_dtype(torch.bfloat16) == torch.float32
    assert computing_dtype(torch.float64) == torch.float64
    assert computing_dtype(torch.float32) == torch.float32
