"""The rows of a fit: whatever the user has, looked through once, then drawn by index as float32.

An array in memory, a memory map and a column of a store stay where they are; a stream is read until the memory it may
take is full. Centring and scaling are applied to what is drawn. Euclidean distances do not see a shift, so the mean is
always taken off there: small differences of large numbers would lose digits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unweave.errors import DataError, InputError
from unweave.ndm.config import NDMConfig, bytes_of
from unweave.tensors.arrays import as_matrix, as_tensor

PIECE_BYTES = 4 << 20
"""Of float64 that is looked at together: small, since a process keeps what its allocator once had."""
"""Rows that are looked through at once."""
TABLE = {"document": "document", "token": "token_id"}


@runtime_checkable
class Drawable(Protocol):
    """What a fit needs of its rows: those of a site, or their coordinates in one block."""

    @property
    def live(self) -> Int[Tensor, " k"]:
        """Columns that vary."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """In which rows are drawn."""
        ...

    @property
    def groups(self) -> Int[np.ndarray, " n"] | None:
        """Document or token of each row, if neighbours of the same one do not count."""
        ...

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def take(self, index: Int[np.ndarray, " m"]) -> Float[Tensor, "m k"]:
        """Rows by number."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Rows:
    """Rows of one site, checked."""

    source: Any
    """(n, d): a tensor, a memory map or a column; indexed by arrays of row numbers."""
    kept: Int[np.ndarray, " n"] | None
    """Rows of the source that are used; None is all."""
    live: Int[Tensor, " k"]
    """Columns that vary."""
    width: int
    """Columns of the source."""
    mean: Float[Tensor, " k"]
    """Of the live columns."""
    scale: Float[Tensor, " k"]
    """What they are divided by; ones unless asked."""
    shift: Float[Tensor, " k"]
    """What is subtracted when rows are drawn: the mean, or zero for cosines that were not centred."""
    groups: Int[np.ndarray, " n"] | None
    """Document or token of each used row, if neighbours of the same one do not count."""
    documents: Int[np.ndarray, " n"] | None = None
    tokens: Int[np.ndarray, " n"] | None = None
    site: Any = None
    model: str | None = None
    """Fingerprint of the model."""
    data: str | None = None
    """Fingerprint of the store."""
    dtype: torch.dtype = torch.float32
    """In which rows are drawn."""
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of used rows."""
        return len(self.source) if self.kept is None else len(self.kept)

    def take(self, index: Int[np.ndarray, " m"]) -> Float[Tensor, "m k"]:
        """Used rows by number, shifted and scaled."""
        chosen = np.asarray(index) if self.kept is None else self.kept[index]
        raw = self.source[torch.from_numpy(chosen)] if isinstance(self.source, Tensor) else self.source[chosen]
        rows = as_tensor(raw, name="X").to(self.dtype)
        rows = rows if len(self.live) == self.width else rows[:, self.live]
        # in place, which halves the memory: what an array of row numbers picks is a copy already
        return rows.sub_(self.shift.to(self.dtype)).div_(self.scale.to(self.dtype))


def open_rows(X: Any, config: NDMConfig, table: Mapping[str, Any] | None = None) -> Rows:
    """The rows of a matrix, memory map, column, store with one site, or stream of matrices.

    Args:
        X: What the user has.
        config: Of the fit.
        table: Columns `document`, `position`, `token_id` beside the rows; a column of a store brings its own.

    Raises:
        InputError: Not two axes, or an option that needs a table of rows.
        DataError: Fewer than two distinct rows, or rows that are not finite.
    """
    source, warnings = _source(X, config)
    store = getattr(source, "store", None)
    known = _table(table if table is not None else getattr(store, "rows", None), len(source))
    options = config.rows
    kept = _kept(known, options.drop_first)
    mean, deviation = _looked_through(source, kept)
    if options.drop_outliers is not None:
        kept, dropped = _without_outliers(source, kept, mean, options.drop_outliers)
        warnings = (*warnings, f"{dropped} outliers left out") if dropped else warnings
        mean, deviation = _looked_through(source, kept)
    live = torch.nonzero(deviation > 0).flatten()
    if not len(live):
        raise DataError("all rows are equal: there is nothing to part, rows that differ are needed")
    constant = len(deviation) - len(live)
    if constant:
        warnings = (*warnings, f"{constant} of {len(deviation)} columns are constant: they stand in the last block")
    mean, deviation = mean[live], deviation[live]
    ones = torch.ones_like(deviation)
    scale = {None: ones, "column": deviation, "global": ones * deviation.square().mean().sqrt()}[options.standardize]
    return Rows(
        source=source,
        kept=kept,
        live=live,
        width=source.shape[1],
        mean=mean,
        scale=scale,
        shift=mean if options.center or config.metric == "euclidean" else torch.zeros_like(mean),
        groups=_column(known, TABLE[options.exclude_same], kept) if options.exclude_same else None,
        documents=_column(known, "document", kept) if "document" in known else None,
        tokens=_column(known, "token_id", kept) if "token_id" in known else None,
        site=getattr(source, "site", None),
        model=None if store is None else store.collection.model,
        data=None if store is None else store.fingerprint,
        dtype=torch.float64 if config.search.dtype == "float64" else torch.float32,
        warnings=warnings,
    )


def _source(X: Any, config: NDMConfig) -> tuple[Any, tuple[str, ...]]:
    """Something with a shape that arrays of row numbers index."""
    if hasattr(X, "sites") and hasattr(X, "rows"):  # a store
        if len(X.sites) != 1:
            raise InputError(f"the store has {len(X.sites)} sites: give one of them, store[site]")
        return X[X.sites[0]], ()
    if hasattr(X, "shape") and hasattr(X, "__getitem__"):
        if len(X.shape) != 2 or 0 in tuple(X.shape):
            raise InputError(f"X has shape {tuple(X.shape)}: a matrix (rows, width) with rows is needed")
        return (as_matrix(X, name="X") if isinstance(X, Tensor) else X), ()
    if isinstance(X, Iterable) and not isinstance(X, list | tuple | str | bytes | Mapping):
        return _read_stream(X, bytes_of(config.search.memory) // 2)
    return as_matrix(X, name="X"), ()


def _read_stream(parts: Iterable[Any], most: int) -> tuple[Tensor, tuple[str, ...]]:
    """The rows of a stream, as many as the memory takes."""
    held: list[Tensor] = []
    total = 0
    for part in parts:
        rows = as_matrix(part, name="X").detach().to("cpu")
        if held and rows.shape[1] != held[0].shape[1]:
            raise InputError(f"the stream has widths {held[0].shape[1]} and {rows.shape[1]}: one site is needed")
        size = rows.element_size() * rows.numel()
        if total + size > most:
            room = max(0, most - total) // (rows.element_size() * rows.shape[1])
            held.append(rows[:room].clone())
            total = most
            break
        held.append(rows.clone())
        total += size
    if not held or not sum(map(len, held)):
        raise DataError("the stream gave no rows: at least two distinct ones are needed")
    matrix = torch.cat(held)
    cut = (f"the stream was read up to {len(matrix)} rows, which memory= allows",) if total == most else ()
    return matrix, cut


def _table(table: Mapping[str, Any] | None, count: int) -> dict[str, np.ndarray]:
    known = {name: np.asarray(values) for name, values in (table or {}).items()}
    for name, values in known.items():
        if len(values) != count:
            raise InputError(f"rows[{name!r}] has {len(values)} entries but X has {count} rows: one a row is needed")
    return known


def _column(known: Mapping[str, np.ndarray], name: str, kept: np.ndarray | None) -> np.ndarray:
    if name not in known:
        raise InputError(f"there is no column {name!r} beside the rows: give rows= or a column of a store")
    return known[name] if kept is None else known[name][kept]


def _kept(known: Mapping[str, np.ndarray], drop_first: int) -> np.ndarray | None:
    if not drop_first:
        return None
    return np.flatnonzero(_column(known, "position", None) >= drop_first)


def pieces(count: int, width: int) -> list[slice]:
    """Rows that are worked on together, in order.

    Example:
        >>> pieces(5, 1 << 18)
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(1, PIECE_BYTES // (8 * width))
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def _chunks(source: Any, kept: np.ndarray | None) -> Iterable[tuple[np.ndarray, Tensor]]:
    """(row numbers, rows in float64) in order."""
    for part in pieces(len(source) if kept is None else len(kept), source.shape[1]):
        start, stop = part.start, part.stop
        if kept is None:
            yield np.arange(start, stop), as_tensor(source[start:stop], name="X").to(torch.float64)
        else:
            chosen = kept[start:stop]
            raw = source[torch.from_numpy(chosen)] if isinstance(source, Tensor) else source[chosen]
            yield chosen, as_tensor(raw, name="X").to(torch.float64)


def _looked_through(source: Any, kept: np.ndarray | None) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every column; a column that never changes has deviation 0."""
    count = len(source) if kept is None else len(kept)
    if count < 2:
        raise DataError(f"X has {count} rows to use: at least two distinct ones are needed")
    bad: list[int] = []
    sums = squares = first = changes = None
    for numbers, rows in _chunks(source, kept):
        finite: Bool[Tensor, " m"] = torch.isfinite(rows).all(1)
        if not bool(finite.all()):
            bad += numbers[~finite.numpy()].tolist()
            continue
        if first is None or sums is None or squares is None or changes is None:
            first, sums, squares = rows[0].clone(), torch.zeros_like(rows[0]), torch.zeros_like(rows[0])
            changes = torch.zeros_like(first, dtype=torch.bool)
        shifted = rows - first
        sums, squares = sums + shifted.sum(0), squares + torch.linalg.vector_norm(shifted, dim=0).square()
        changes = changes | (shifted != 0).any(0)
    if bad:
        raise DataError(
            f"{len(bad)} rows of X are NaN or infinite, the first is row {bad[0]}: drop or repair such rows first"
        )
    if first is None or sums is None or squares is None or changes is None:
        raise RuntimeError("no rows were looked through")
    mean = sums / count
    variance = (squares / count - mean.square()).clamp_min(0)
    return first + mean, torch.where(changes, variance.sqrt().clamp_min(torch.finfo(torch.float64).tiny), 0)


def _without_outliers(source: Any, kept: np.ndarray | None, mean: Tensor, factor: float) -> tuple[np.ndarray, int]:
    numbers, lengths = [], []
    for index, rows in _chunks(source, kept):
        numbers.append(index)
        lengths.append(torch.linalg.vector_norm(rows - mean, dim=1).numpy())
    chosen, length = np.concatenate(numbers), np.concatenate(lengths)
    near = length <= factor * np.median(length)
    return chosen[near], int((~near).sum())
