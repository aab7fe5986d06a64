"""Activations in Hugging Face data sets, as SAELens caches them: a row a window, a column (positions, width) a hook,
and `token_ids`. Read into a store, and given as rows to write such a data set.

The format is slow (about 200 MB a CPU-second to write against 1,500 of a store): it is for exchange. As with texts, the
interface of the package is taken and not the package.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from unweave.activations.store import ActivationStore
from unweave.errors import InputError
from unweave.site import lens_name

TOKENS = "token_ids"


@dataclass(frozen=True, kw_only=True, eq=False)
class DatasetColumn:
    """A column of arrays of one shape, read by slices of its rows."""

    dataset: Any
    name: str
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """As which its values are read."""
        return np.dtype(np.float32)

    def __getitem__(self, index: slice) -> np.ndarray:
        """Rows from start to stop."""
        start, stop, _ = index.indices(self.shape[0])
        values = as_array(self.dataset[start : max(start, stop)][self.name], self.name, self.dtype)
        if values.shape[1:] != self.shape[1:]:
            raise InputError(
                f"rows {start}..{stop - 1} of the column {self.name!r} have the shape {values.shape[1:]}, the first row"
                f" {self.shape[1:]}: activations of one shape are needed"
            )
        return values


def is_dataset(source: Any) -> bool:
    """Whether it is a data set in memory: rows by number, and names of columns."""
    return isinstance(getattr(source, "column_names", None), list) and hasattr(source, "__getitem__")


def dataset_columns(dataset: Any) -> dict[str, DatasetColumn]:
    """Name -> column of activations of a data set; columns of numbers of tokens and of text are left out.

    Raises:
        InputError: No rows, or no column of activations.
    """
    if not len(dataset):
        raise InputError("the data set has no rows: there is nothing to import")
    first = dataset[0]
    found = {}
    for name in dataset.column_names:
        if name == TOKENS or isinstance(first[name], str | bytes | int | None):
            continue
        value = as_array(first[name], name, None)
        if value.dtype.kind == "f":
            found[name] = DatasetColumn(dataset=dataset, name=name, shape=(len(dataset), *value.shape))
    if not found:
        raise InputError(
            f"the data set has the columns {', '.join(dataset.column_names[:6])}: none holds activations, collect them"
            " from its texts"
        )
    return found


def dataset_tokens(dataset: Any) -> np.ndarray | None:
    """The token ids (windows, positions) of a cache; None where it has none."""
    return as_array(dataset[:][TOKENS], TOKENS, np.dtype(np.int64)) if TOKENS in dataset.column_names else None


def dataset_rows(store: ActivationStore, *, sites: Any = "*", length: int | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a data set as SAELens caches activations: one a window, for `datasets.Dataset.from_generator`.

    Args:
        store: The activations.
        sites: Which, names or patterns; each is a column by the name that TransformerLens has for it.
        length: Positions of a window; windows of another length are left out. None takes that of the longest.

    Yields:
        `token_ids` (length,) and a column (length, width) a site.

    Raises:
        InputError: A site for which TransformerLens has no name, or no window of that length.

    Example:
        >>> import unweave as uw, tempfile
        >>> model, out = uw.load_model("zoo:docs"), tempfile.mkdtemp() + "/store"
        >>> store = uw.collect(model, ["one two three " * 9], "embed", out, context=8)
        >>> row = next(dataset_rows(store))
        >>> len(row["token_ids"]), row["hook_embed"].shape
        (7, (7, 192))
    """
    named = {lens_name(site): store[site] for site in store.expand(sites)}
    sequence, tokens = store.rows["sequence"], store.rows["token_id"]
    begins = np.flatnonzero(np.concatenate([[True], np.diff(sequence) != 0])) if len(sequence) else np.empty(0, int)
    ends = np.append(begins[1:], len(sequence))
    wanted = int((ends - begins).max(initial=0)) if length is None else length
    whole = np.flatnonzero(ends - begins == wanted)
    if not len(whole) or wanted < 1:
        raise InputError(f"no window of the store has {wanted} rows: leave out length=, or collect with that context")
    for number in whole.tolist():
        rows = slice(int(begins[number]), int(ends[number]))
        yield {TOKENS: tokens[rows].tolist(), **{name: column[rows].numpy() for name, column in named.items()}}


def as_array(values: Any, name: str, dtype: np.dtype[Any] | None) -> np.ndarray:
    """Nested lists, arrays or tensors as one array.

    Raises:
        InputError: They are no numbers, or of several shapes.
    """
    try:
        return np.asarray(values, dtype=dtype)
    except (ValueError, TypeError) as error:
        raise InputError(f"the column {name!r} is no table of numbers of one shape: leave it out") from error
