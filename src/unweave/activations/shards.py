"""One shard from its unit: the model runs over the windows, the rows land where they belong, the files are written
whole.

Windows of like length run together, whatever their order; each row's place in the shard is known beforehand, so the
order of running leaves no trace. A value that is not finite in the store's dtype stops the collection with its site,
document and position, before anything is written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unweave.activations.layout import Collection, ShardEntry, reading_dtype
from unweave.activations.prepared import reduced
from unweave.activations.windows import Unit, Window
from unweave.activations.writing import ShardContent, made_from, write_shard
from unweave.errors import DataError, InputError
from unweave.models.capture import stream
from unweave.models.model import Model
from unweave.models.points import Point
from unweave.models.tokens import Tokens, pad
from unweave.places import Place
from unweave.site import Site


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Windows that run together, and where their rows go."""

    windows: tuple[Window, ...]
    first_rows: tuple[int, ...]
    """Row of the shard at which each window's rows begin."""
    last_rows: tuple[int, ...]
    """Row of the shard behind each window's rows."""


def make_shard(
    model: Model, collection: Collection, points: Sequence[Point], unit: Unit, folder: Place, special: tuple[int, int]
) -> ShardEntry:
    """Runs the model over the unit, writes the shard's files and returns its entry."""
    content = ShardContent(
        activations=run_unit(model, collection, points, unit, special),
        columns=row_columns(unit, special, collection),
        documents=document_tensors(unit),
        texts=document_texts(unit, model.tokenizer, collection.keep_text),
        excluded=0 if collection.special == "include" else sum(special) * len(unit.windows),
    )
    return write_shard(folder, unit.index, collection, content, made_from(unit, collection))


def run_unit(
    model: Model, collection: Collection, points: Sequence[Point], unit: Unit, special: tuple[int, int]
) -> dict[Site, Tensor]:
    """Site -> (rows, width) in the dtype in which the store gives them out.

    Raises:
        DataError: NaN, infinite or overflowing values; site, document and position are named.
        InputError: Sites that give different numbers of rows for one input.
    """
    dtype = reading_dtype(collection.dtype)
    extra = sum(special) if collection.special == "include" else 0
    counts = [window.rows + extra for window in unit.windows]
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    stored = {point.site: torch.empty(int(starts[-1]), collection.sites[point.site], dtype=dtype) for point in points}
    keep, lead = ((0, 0), special[0]) if collection.special == "include" else (special, 0)
    with torch.no_grad():
        for batch in batches(unit.windows, starts, collection.batch_tokens):
            tokens, mask = _inputs(batch, collection, keep)

            def put(site: Site, value: Tensor, batch: Batch = batch, mask: Tensor | None = mask) -> None:
                _place(stored[site], site, rows_of(value, site), mask, batch, lead)

            stream(model, tokens, points, put)
    return stored


def rows_of(value: Tensor, site: Site) -> Tensor:
    """(batch, rows, width) from what a site gives: heads side by side, channels of an image last, one row an input
    where there is no other axis.
    """
    if value.ndim == 2:
        return value.unsqueeze(1)
    if value.ndim == 3 or (value.ndim == 4 and site.component == "attn_z"):
        return value.flatten(2)
    if value.ndim >= 4:
        return value.movedim(1, -1).flatten(1, -2)
    raise InputError(f"{site} gives a value of shape {tuple(value.shape)}: rows need at least (batch, width)")


def batches(windows: Sequence[Window], starts: np.ndarray, batch_tokens: int) -> Iterator[Batch]:
    """Windows in batches of like length: longest first, so that the peak of memory comes at once."""
    order = sorted(range(len(windows)), key=lambda number: -_length(windows[number]))
    group: list[int] = []
    for number in order:
        if group and (
            _length(windows[group[0]]) * (len(group) + 1) > batch_tokens
            or not _alike(windows[group[0]], windows[number])
        ):
            yield _batch(windows, starts, group)
            group = []
        group.append(number)
    if group:
        yield _batch(windows, starts, group)


def row_columns(unit: Unit, special: tuple[int, int], collection: Collection) -> dict[str, np.ndarray]:
    """The columns of `store.rows` for this shard; special tokens, where they have rows, have position -1."""
    before, after = special if collection.special == "include" else (0, 0)
    parts: dict[str, list[np.ndarray]] = {"document": [], "sequence": [], "position": [], "token_id": []}
    for window in unit.windows:
        count = before + window.rows + after
        inside = window.positions
        parts["document"].append(np.full(count, window.document))
        parts["sequence"].append(np.full(count, window.sequence))
        parts["position"].append(np.concatenate([np.full(before, -1), inside, np.full(after, -1)]))
        parts["token_id"].append(_token_ids(window, special, collection))
    return {
        name: np.concatenate(columns).astype(np.int32) if columns else np.empty(0, np.int32)
        for name, columns in parts.items()
    }


def document_tensors(unit: Unit) -> dict[str, Tensor]:
    """Token ids and character offsets of the documents that begin in the unit, one after the other."""
    lengths = [len(document.ids) for document in unit.documents]
    ids = np.concatenate(
        [np.asarray(document.ids, dtype=np.int32) for document in unit.documents] or [np.empty(0, np.int32)]
    )
    with_offsets = all(document.offsets is not None for document in unit.documents)
    offsets = (
        [pair for document in unit.documents for pair in document.offsets or ()]
        if with_offsets
        else [(-1, -1)] * len(ids)
    )
    return {
        "documents/index": torch.tensor([document.index for document in unit.documents], dtype=torch.int32),
        "documents/ends": torch.from_numpy(np.cumsum(lengths, dtype=np.int64)),
        "documents/ids": torch.from_numpy(ids.astype(np.int32)),
        "documents/offsets": torch.tensor(offsets, dtype=torch.int32).reshape(-1, 2),
    }


def document_texts(unit: Unit, tokenizer: Any, keep_text: bool) -> dict[str, Any]:
    """Texts and ids of the documents that begin in the unit, and the string of every token id among them."""
    used = sorted({token for document in unit.documents for token in document.ids})
    strings = tokenizer.convert_ids_to_tokens(used) if tokenizer is not None and used else [None] * len(used)
    return {
        "documents": [
            {"document": document.index, "id": document.id, "text": document.text if keep_text else None}
            | ({"group": document.group} if document.group is not None else {})
            for document in unit.documents
        ],
        "tokens": {str(token): string for token, string in zip(used, strings, strict=True) if string is not None},
    }


def _length(window: Window) -> int:
    return 1 if isinstance(window.values, Tensor) else len(window.values)


def _alike(first: Window, second: Window) -> bool:
    """Whether two windows may share a batch: tensors of one shape, token windows always."""
    if isinstance(first.values, Tensor):
        return first.values.shape == second.values.shape
    return True


def _batch(windows: Sequence[Window], starts: np.ndarray, group: list[int]) -> Batch:
    chosen = sorted(group)
    return Batch(
        windows=tuple(windows[number] for number in chosen),
        first_rows=tuple(int(starts[number]) for number in chosen),
        last_rows=tuple(int(starts[number + 1]) for number in chosen),
    )


def _inputs(batch: Batch, collection: Collection, drop: tuple[int, int]) -> tuple[Any, Tensor | None]:
    """What the model gets, and which of its positions have rows (None = all)."""
    if collection.kind == "tensors":
        return torch.stack([window.values for window in batch.windows]), None
    ids, mask = pad([window.values for window in batch.windows])
    tokens = Tokens(ids=ids, mask=mask)
    if not tokens.is_padded and drop == (0, 0):
        return tokens, None
    lengths = tokens.lengths()[:, None]
    place = torch.arange(ids.shape[1])
    return tokens, (place >= drop[0]) & (place < lengths - drop[1])


def _place(stored: Tensor, site: Site, rows: Tensor, mask: Tensor | None, batch: Batch, lead: int) -> None:
    """Casts the rows into their places and makes sure that they survived it; the first `lead` rows of a window are
    special tokens.
    """
    if mask is not None and rows.shape[1] != mask.shape[1]:
        raise InputError(
            f"{site} gives {rows.shape[1]} rows for {mask.shape[1]} tokens: it has no axis of tokens; capture shows its"
            " value, a store cannot hold it"
        )
    for number, (first, last) in enumerate(zip(batch.first_rows, batch.last_rows, strict=True)):
        whole = rows[number] if mask is None else rows[number, mask[number]]
        part = reduced(whole, batch.windows[number])
        place = stored[first:last]
        if place.shape != part.shape:
            raise InputError(
                f"{site} gives {len(part)} rows of width {part.shape[-1]} for document"
                f" {batch.windows[number].document}, {tuple(place.shape)} were expected: sites with different numbers"
                " of rows an input belong in stores of their own"
            )
        place.copy_(part)
        # one sum finds any NaN or infinity at a tenth of the cost; it may overflow itself, so it only asks for the look
        if not math.isfinite(float(place.sum(dtype=torch.float32))) and not bool(torch.isfinite(place).all()):
            raise _not_finite(place, part, site, batch.windows[number], lead)


def _not_finite(place: Tensor, part: Tensor, site: Site, window: Window, lead: int) -> DataError:
    row, column = (int(index) for index in torch.nonzero(~torch.isfinite(place))[0])
    value = float(part[row, column])
    position = int(window.positions[row - lead]) if lead <= row < lead + window.rows else -1
    where = (
        f"{site} has {value:.6g} at document {window.document}, position {position} (row {row} of its window), column"
        f" {column}"
    )
    if np.isfinite(value):
        largest = torch.finfo(place.dtype).max
        name = str(place.dtype).removeprefix("torch.")
        return DataError(
            f"{where}: {name} ends at {largest:.6g}; collect with dtype='bfloat16' or 'float32'. Nothing of this shard"
            " was stored"
        )
    return DataError(
        f"{where}: the model itself is not finite there; leave that document out or look at the model. Nothing of this"
        " shard was stored"
    )


def _token_ids(window: Window, special: tuple[int, int], collection: Collection) -> np.ndarray:
    if collection.kind == "tensors":
        return np.full(window.rows, -1)
    ids = np.asarray(window.values)
    own = ids[special[0] : len(ids) - special[1]]
    return ids if collection.special == "include" else own[window.positions - window.start]
