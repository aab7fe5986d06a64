"""`import_rows`: activations that another tool made, in a store like any other: rows, shards, checksums, resumable.

Where a cache has the axes (batch, position), each sequence is a document. Arrays (n, d) say with `documents` which rows
belong together; without it each row stands alone, and every split may part them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from unweave.activations.arrays_in import as_rows, open_arrays
from unweave.activations.collect import default_shard_rows
from unweave.activations.dataset_rows import dataset_columns, dataset_tokens, is_dataset
from unweave.activations.layout import Collection, Dtype, ShardEntry, reading_dtype
from unweave.activations.store import ActivationStore
from unweave.activations.writing import ShardContent, Task, made_from, write_shard, write_store
from unweave.config import Config, config_from
from unweave.errors import DataError, InputError
from unweave.log import SILENT, Progress
from unweave.models.exchange import Exchanged
from unweave.models.fingerprints import bytes_of
from unweave.places import Remote, place_of
from unweave.site import Site, expand_sites


class ImportOptions(Config):
    """How arrays become a store; see `import_rows`."""

    dtype: Dtype = "float16"
    shard_rows: Annotated[int, Field(ge=1)] | None = None
    model: str = ""
    model_name: str = "imported"


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """Arrays with equally many rows, and what each row is."""

    arrays: Mapping[Site, Any]
    positions: int
    """Length of the second axis, 1 for arrays (n, d)."""
    kept: np.ndarray
    """The rows that are taken, increasing."""
    document: np.ndarray
    """Of each kept row, 0-based, never decreasing."""
    position: np.ndarray
    token_id: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        """First kept row of each document."""
        return np.searchsorted(self.document, np.arange(self.document[-1] + 1 if len(self.document) else 0))


@dataclass(frozen=True, kw_only=True, eq=False)
class Span:
    """The rows of one shard."""

    index: int
    start: int
    stop: int
    table: Table

    def inputs_sha256(self) -> str:
        """sha256 over the values and what the rows are."""
        total, table = hashlib.sha256(), self.table
        for site in table.arrays:
            values = self.values(site)
            total.update(f"{site} {tuple(values.shape)} {values.dtype}".encode())
            total.update(bytes_of(values))
        for column in (table.document, table.position, table.token_id):
            total.update(column[self.start : self.stop].astype(np.int64).tobytes())
        return total.hexdigest()

    def values(self, site: Site) -> Tensor:
        """Its rows at a site, as they were given."""
        table = self.table
        rows = table.kept[self.start : self.stop]
        first, last = int(rows[0]), int(rows[-1]) + 1
        read = as_rows(table.arrays[site], positions=table.positions, start=first, stop=last)
        return read if len(read) == len(rows) else read[torch.from_numpy(rows - first)]

    def span(self) -> str:
        """First and last document, for messages."""
        return f"{self.table.document[self.start]}..{self.table.document[self.stop - 1]}"


def import_rows(
    source: Any,
    out: str | Path | Remote,
    *,
    sites: Any = None,
    documents: Any = None,
    token_ids: Any = None,
    mask: Any = None,
    dtype: str = "float16",
    model: str = "",
    model_name: str = "imported",
    shard_rows: int | None = None,
    resume: bool = True,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> ActivationStore:
    """A store with the rows of arrays that are there already.

    Args:
        source: What `open_arrays` takes, what `lens_values` and `module_values` give, or a Hugging Face data set as
            SAELens caches activations. Arrays are (n, d) or (batch, position, ...), axes behind the position side by
            side; all have the same leading axes.
        out: Directory of the store, or a URL.
        sites: Which arrays: names or patterns; None takes all, and refuses what is no activation.
        documents: (n,) which document each row of arrays (n, d) belongs to, rows of one document together; None makes
            each row its own. Arrays with positions have a document a sequence.
        token_ids: Token of each row, in the shape of the leading axes.
        mask: Which rows are real, in the same shape; rows of padding are left out.
        dtype: As in `collect`.
        model: Fingerprint of the model they came from, where it is known.
        model_name: What it is called.
        shard_rows: Rows of a shard; None makes shards of about 64 MB.
        resume: As in `collect`.
        workers: As in `collect`.
        progress: As in `collect`.

    Raises:
        InputError: Arrays that do not belong together, or columns that do not fit them.
        DataError: NaN or overflow, with site and row.
        FingerprintError: `out` holds other rows.
        StoreError: `out` is in use, is something else, or cannot be written.
        Interrupted: Ctrl-C; finished shards are kept.

    Example:
        >>> import tempfile
        >>> rows = np.arange(12.0).reshape(6, 2)
        >>> store = import_rows({"embed": rows}, tempfile.mkdtemp() + "/s", documents=[0, 0, 1, 1, 1, 5])
        >>> store["embed"][2:4].tolist(), store.rows["document"].tolist()
        ([[4.0, 5.0], [6.0, 7.0]], [0, 0, 1, 1, 1, 2])
    """
    given = {"dtype": dtype, "shard_rows": shard_rows, "model": model, "model_name": model_name}
    if isinstance(source, Exchanged):
        given |= {"model": model or source.model_fingerprint, "model_name": source.model_name}
        source = source.values
    options = config_from(ImportOptions, given, source="options")
    place = place_of(out)
    if is_dataset(source):
        token_ids = dataset_tokens(source) if token_ids is None else token_ids
        source = dataset_columns(source)
    table = table_of(open_arrays(source), sites, documents=documents, token_ids=token_ids, mask=mask)
    widths = {
        str(site): math.prod(array.shape[1 if len(array.shape) == 2 else 2 :]) for site, array in table.arrays.items()
    }
    values = {
        "kind": "rows", "sites": widths, "context": None, "dtype": options.dtype,
        "shard_rows": options.shard_rows or default_shard_rows(widths, options.dtype), "batch_tokens": 1,
        "special": "exclude", "keep_text": False, "model": options.model, "model_name": options.model_name,
        "tokenizer": None,
    }  # fmt: skip
    collection = config_from(Collection, values, source="options")
    count = len(table.kept)
    task = Task(
        title=f"import {options.model_name}",
        expected_rows=count,
        progress=progress,
        if_empty="the arrays have no rows: there is nothing to import",
    )

    def make(span: Span) -> ShardEntry:
        content = content_of(span, collection)
        return write_shard(place, span.index, collection, content, made_from(span, collection))

    spans = _spans(table, collection.shard_rows)
    return write_store(place, collection, spans, make, task=task, resume=resume, workers=workers).store


def table_of(arrays: Mapping[str, Any], sites: Any, *, documents: Any, token_ids: Any, mask: Any) -> Table:
    """The arrays as one table of rows.

    Raises:
        InputError: They do not belong together, or the columns do not fit.
    """
    chosen = _chosen(arrays, sites)
    name, first = next(iter(chosen.items()))
    lead = _lead(name, first)
    for other, array in chosen.items():
        if _lead(other, array) != lead:
            raise InputError(
                f"{other} has the shape {tuple(array.shape)} but {name} {tuple(first.shape)}: rows must be the same,"
                " import the others into a store of their own"
            )
    real = np.ones(lead, dtype=bool) if mask is None else _column("mask", mask, lead).astype(bool)
    kept = np.flatnonzero(real)
    tokens = np.full(lead, -1) if token_ids is None else _column("token_ids", token_ids, lead)
    if len(lead) == 2:
        if documents is not None:
            raise InputError("documents is for arrays (n, d): these have an axis of positions, a document a sequence")
        given = np.repeat(np.arange(lead[0]), lead[1])
    else:
        given = np.arange(lead[0]) if documents is None else _column("documents", documents, lead)
    document = _numbered(given[kept])
    starts = np.searchsorted(document, document)
    return Table(
        arrays=chosen,
        positions=lead[1] if len(lead) == 2 else 1,
        kept=kept,
        document=document,
        position=np.arange(len(kept)) - starts,
        token_id=tokens.reshape(-1)[kept],
    )


def content_of(span: Span, collection: Collection) -> ShardContent:
    """What goes into the shard of a span.

    Raises:
        DataError: A value that is not finite in the store's dtype.
    """
    table, rows = span.table, slice(span.start, span.stop)
    document = table.document[rows]
    starts = table.starts
    begun = np.flatnonzero((starts >= span.start) & (starts < span.stop))
    ends = [*starts[1:].tolist(), len(table.kept)]
    own = [table.token_id[starts[one] : ends[one]] for one in begun.tolist()]
    with_tokens = [ids if len(ids) and ids.min() >= 0 else ids[:0] for ids in own]
    ids = np.concatenate([*with_tokens, np.empty(0, np.int64)]).astype(np.int32)
    return ShardContent(
        activations={site: _cast(span.values(site), site, span, collection.dtype) for site in table.arrays},
        columns={
            "document": document.astype(np.int32),
            "sequence": document.astype(np.int32),
            "position": table.position[rows].astype(np.int32),
            "token_id": table.token_id[rows].astype(np.int32),
        },
        documents={
            "documents/index": torch.from_numpy(begun.astype(np.int32)),
            "documents/ends": torch.from_numpy(np.cumsum([len(one) for one in with_tokens], dtype=np.int64)),
            "documents/ids": torch.from_numpy(ids),
            "documents/offsets": torch.full((len(ids), 2), -1, dtype=torch.int32),
        },
        texts={"documents": [{"document": one, "id": None, "text": None} for one in begun.tolist()], "tokens": {}},
    )


def _chosen(arrays: Mapping[str, Any], sites: Any) -> dict[Site, Any]:
    by_site: dict[Site, Any] = {}
    for name, array in arrays.items():
        site = Site(name)
        if site in by_site:
            raise InputError(f"two arrays are named {site}: leave out {name!r} or the other one")
        by_site[site] = array
    if sites is not None:
        by_site = {site: by_site[site] for site in expand_sites(sites, list(by_site))}
    if not by_site:
        raise InputError("there are no arrays: give at least one")
    for site, array in by_site.items():
        if not _is_float(array):
            raise InputError(
                f"{site} holds {getattr(array, 'dtype', type(array).__name__)}: activations are float16, bfloat16,"
                " float32 or float64; name the arrays that are with sites="
            )
    return by_site


def _is_float(array: Any) -> bool:
    dtype = getattr(array, "dtype", None)
    return dtype.is_floating_point if isinstance(dtype, torch.dtype) else getattr(dtype, "kind", "") == "f"


def _lead(name: str, array: Any) -> tuple[int, ...]:
    if len(array.shape) < 2 or math.prod(array.shape[1:]) < 1:
        raise InputError(f"{name} has the shape {tuple(array.shape)}: rows (n, d) or (batch, position, ...) are needed")
    return tuple(array.shape[:1] if len(array.shape) == 2 else array.shape[:2])


def _column(name: str, values: Any, lead: tuple[int, ...]) -> np.ndarray:
    column = np.asarray(values)
    if column.shape != lead or column.dtype.kind not in "biu":
        raise InputError(
            f"{name} is {column.dtype} of shape {column.shape} but the arrays have {lead} rows: a whole number a row"
            " is needed"
        )
    return column


def _numbered(documents: np.ndarray) -> np.ndarray:
    """0, 1, 2, ... in the order in which documents begin."""
    if not len(documents):
        return documents.astype(np.int64)
    begins = np.flatnonzero(np.concatenate([[True], documents[1:] != documents[:-1]]))
    if len(np.unique(documents[begins])) != len(begins):
        again = next(
            one for number, one in enumerate(documents[begins].tolist()) if one in documents[begins][:number].tolist()
        )
        raise InputError(
            f"rows of document {again} lie apart: sort the rows so that those of a document follow each other"
        )
    return np.cumsum(np.isin(np.arange(len(documents)), begins)) - 1


def _cast(values: Tensor, site: Site, span: Span, dtype: str) -> Tensor:
    cast = values.to(reading_dtype(dtype), copy=True)  # two names may share memory, which safetensors refuses
    if not bool(torch.isfinite(cast).all()):
        row, column = (int(number) for number in torch.nonzero(~torch.isfinite(cast))[0])
        raise DataError(
            f"{site} has {float(values[row, column]):.6g} at row {int(span.table.kept[span.start + row])}, column"
            f" {column}, which {'float32' if dtype == 'uint8' else dtype} cannot hold: leave the row out or choose"
            " another dtype. Nothing of this shard was stored"
        )
    return cast


def _spans(table: Table, shard_rows: int) -> Iterator[Span]:
    count = len(table.kept)
    for index, start in enumerate(range(0, count, shard_rows)):
        yield Span(index=index, start=start, stop=min(count, start + shard_rows), table=table)
