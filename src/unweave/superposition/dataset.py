"""What a model of superposition can be fitted to: bags of words, or any table of rows with names for its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int, Num

from unweave.errors import DataError, InputError
from unweave.superposition.bags import Bags
from unweave.superposition.moments import BagMoments, moments_of


@runtime_checkable
class Dataset(Protocol):
    """Rows of features with names, parts and groups."""

    @property
    def vocab(self) -> list[str]:
        """Names of the columns."""
        ...

    @property
    def n_windows(self) -> int:
        """Rows."""
        ...

    def split(self, name: str) -> Int[np.ndarray, " k"]:
        """Numbers of the rows of a part."""
        ...

    def held_out(self) -> str:
        """The part that scores are of."""
        ...

    def take(self, indices: Any, dtype: str = ...) -> Any:
        """Some rows as an array."""
        ...

    def moments(self, split: str = ...) -> BagMoments:
        """Means and products."""
        ...

    def groups(self, indices: Any) -> Int[np.ndarray, " b"]:
        """Which rows resemble each other."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Matrix:
    """Any table of rows as a data set: of a synthetic world, or weighted counts of a user."""

    x: Num[np.ndarray, "n v"]
    vocab: list[str]
    train: Int[np.ndarray, " k"] | None = None
    """Rows that are fitted; the others are held out. None fits and scores on all."""
    group: Int[np.ndarray, " n"] | None = None
    """Which rows resemble each other; None makes each its own group."""

    @property
    def n_windows(self) -> int:
        """Rows."""
        return len(self.x)

    def split(self, name: str) -> Int[np.ndarray, " k"]:
        """Numbers of the rows of `train`, `validation` (none), `test` or `all`."""
        everything = np.arange(len(self.x))
        if self.train is None or name == "all":
            return everything
        if name == "train":
            return self.train
        return np.setdiff1d(everything, self.train) if name == "test" else everything[:0]

    def held_out(self) -> str:
        """The part that scores are of."""
        return "test" if len(self.split("test")) else "all"

    def take(self, indices: Any, dtype: str = "float32") -> Any:
        """Some rows."""
        return self.x[indices].astype(dtype)

    @cached_property
    def _moments(self) -> dict[str, BagMoments]:
        return {}

    def moments(self, split: str = "train") -> BagMoments:
        """Means and products of a part; kept."""
        if split not in self._moments:
            self._moments[split] = moments_of(self, self.split(split))
        return self._moments[split]

    def groups(self, indices: Any) -> Int[np.ndarray, " b"]:
        """Which rows resemble each other."""
        own = np.arange(len(self.x)) if self.group is None else self.group
        return np.unique(own[np.asarray(indices)], return_inverse=True)[1]


@dataclass(frozen=True, eq=False, kw_only=True)
class Redrawn:
    """A data set whose documents (or stretches) were drawn with replacement: rows are repeated by number only."""

    data: Bags | Matrix
    parts: Mapping[str, Int[np.ndarray, " k"]]
    """Numbers of the rows of the parts that were drawn again; other parts are those of the data."""

    @property
    def vocab(self) -> list[str]:
        """Names of the columns."""
        return self.data.vocab

    @property
    def n_windows(self) -> int:
        """Rows of the data."""
        return self.data.n_windows

    def split(self, name: str) -> Int[np.ndarray, " k"]:
        """Numbers of the rows of a part, with repetitions."""
        return self.parts[name] if name in self.parts else self.data.split(name)

    def held_out(self) -> str:
        """The part that scores are of."""
        return self.data.held_out()

    def take(self, indices: Any, dtype: str = "float32") -> Any:
        """Some rows."""
        return self.data.take(indices, dtype)

    def moments(self, split: str = "train") -> BagMoments:
        """Means and products of a part."""
        return moments_of(self, self.split(split))

    def groups(self, indices: Any) -> Int[np.ndarray, " b"]:
        """Which rows resemble each other."""
        return self.data.groups(indices)


def drawn_again(data: Bags | Matrix, seed: int) -> Redrawn:
    """Training and held-out windows of documents (or stretches) that are drawn with replacement.

    Args:
        data: Bags, or a matrix.
        seed: Of the draw.
    """
    rng = np.random.default_rng([23, seed])
    parts = {}
    for name in dict.fromkeys(("train", data.held_out())):
        indices = data.split(name)
        code = data.groups(indices)
        count = int(code.max()) + 1
        order = np.argsort(code, kind="stable")
        first = np.searchsorted(code[order], np.arange(count + 1))
        chosen = np.concatenate([order[first[one] : first[one + 1]] for one in rng.integers(0, count, count)])
        parts[name] = indices[chosen]
    return Redrawn(data=data, parts=parts)


def bags_in(data: Dataset) -> Bags | None:
    """The bags that a data set is, or that were drawn again; None for a matrix."""
    inner = data.data if isinstance(data, Redrawn) else data
    return inner if isinstance(inner, Bags) else None


def as_dataset(rows: Any, names: Sequence[str] | None = None) -> Dataset:
    """Bags as they are; an array or scipy sparse matrix as a table whose rows are all fitted and scored.

    Raises:
        InputError: Something else, or not a name a column.
        DataError: NaN or infinite entries.
    """
    if isinstance(rows, Bags | Matrix | Redrawn):
        return rows
    if hasattr(rows, "toarray"):
        rows = rows.toarray()
    if isinstance(rows, torch.Tensor):
        rows = rows.numpy()
    table = np.asarray(rows)
    if table.ndim != 2 or table.dtype.kind not in "biuf" or 0 in table.shape:
        raise InputError(
            f"rows are {type(rows).__name__} of shape {table.shape}: bags, or a matrix (windows, words) of numbers, is"
            " needed"
        )
    table = table.astype(np.float64)
    if not np.isfinite(table).all():
        row, column = np.argwhere(~np.isfinite(table))[0]
        raise DataError(f"rows hold {table[row, column]} at row {row}, column {column}: repair it first")
    words = [str(number) for number in range(table.shape[1])] if names is None else [str(name) for name in names]
    if len(words) != table.shape[1]:
        raise InputError(f"{len(words)} names for {table.shape[1]} columns: one name a column is needed")
    return Matrix(x=table, vocab=words)


def is_binary(rows: Dataset) -> bool:
    """Whether every entry is 0 or 1."""
    return bags_in(rows) is not None or bool(np.isin(rows.take(np.arange(rows.n_windows)), (0, 1)).all())
