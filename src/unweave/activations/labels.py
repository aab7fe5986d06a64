"""Labels for the rows of a store: from a labels file with character spans or token positions, or over whole documents.

A feature says of some rows that they have it and of others that they do not; rows it says nothing about are left out of
every computation with it. A label with neither span nor position is about the whole document, and goes with the mean of
the document's rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeGuard

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unweave.activations.store import ActivationStore, Column, StoredDocument
from unweave.errors import InputError, nearest
from unweave.places import Place, place_of

KEYS = ("feature", "label", "document", "start", "end", "position")


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledFeature:
    """A binary feature of tokens or documents.

    `index` are rows of the store for tokens, numbers of documents for documents; `values[i]` says whether `index[i]`
    has the feature.
    """

    name: str
    level: Literal["token", "document"]
    index: Int[np.ndarray, " n"]
    values: Bool[np.ndarray, " n"]
    note: str = ""
    """What a reader must know: for example that the tokenizer hides the feature."""

    @property
    def positives(self) -> int:
        """How many have it."""
        return int(self.values.sum())

    def __repr__(self) -> str:
        """Name, labels, positives."""
        return f"LabelledFeature({self.name}, {len(self.index)} {self.level}s, {self.positives} positive)"


def read_labels(source: Any, store: ActivationStore) -> list[LabelledFeature]:
    """The features of a labels file, matched to the rows of a store.

    Args:
        source: A `.jsonl` file or an iterable of mappings. Keys: `feature` (a name); `label` (0, 1, false, true, -1;
            any other value makes a feature `NAME=VALUE` against the others); `document` (0-based input index or the
            `id` of an input); `start` and `end` (characters) or `position` (0-based token of the document, special
            tokens not counted) for tokens, neither for the whole document.
        store: The rows.

    Returns:
        The features in order of their first line. A token belongs to a span if its own characters overlap it.

    Raises:
        InputError: A line that is no such record, an unknown document, a span outside the text, one token labelled both
            ways.

    Example:
        >>> import unweave as uw, tempfile
        >>> out = tempfile.mkdtemp() + "/store"
        >>> store = uw.collect(uw.load_model("zoo:docs"), ["One text.", "And 2 more."], "embed", out)
        >>> uw.read_labels([{"feature": "has a digit", "label": n, "document": n} for n in (0, 1)], store)
        [LabelledFeature(has a digit, 2 documents, 1 positive)]
    """
    name = f"{source}" if isinstance(source, str | Path) else "the iterable"
    return matched(_records(source), name, store)


def matched(records: Iterable[tuple[str, dict[str, Any]]], name: str, store: ActivationStore) -> list[LabelledFeature]:
    """As `read_labels`, from records that each know where they stand.

    Args:
        records: (where, record) in order.
        name: What all of them come from, for messages.
        store: The rows.

    Raises:
        InputError: As `read_labels`.
    """
    documents = _Documents(store)
    found: dict[tuple[str, str], dict[int, Any]] = {}
    for where, record in records:
        _check_keys(record, where)
        document = documents.find(record["document"], where)
        level = "document" if record.get("start") is None and record.get("position") is None else "token"
        rows = [document.index] if level == "document" else documents.rows(document, record, where)
        known = found.setdefault((record["feature"], level), {})
        for row in rows:
            if known.setdefault(row, record["label"]) != record["label"]:
                raise InputError(
                    f"{where}: feature {record['feature']!r} has two labels for one {level} of document"
                    f" {document.index}: keep one"
                )
    if not found:
        raise InputError(f"{name} has no labels: at least one is needed")
    return [feature for (name, level), labels in found.items() for feature in _features(name, level, labels)]


def pooled(column: Column, documents: Int[np.ndarray, " n"]) -> Float[Tensor, "n d"]:
    """The mean of the rows of each of these documents, in float32.

    Raises:
        InputError: A document without rows.
    """
    of_row = torch.from_numpy(column.store.rows["document"].astype(np.int64))
    count = int(max(of_row.max(), int(documents.max()))) + 1
    sums = torch.zeros(count, column.shape[1], dtype=torch.float64)
    first = 0
    for chunk in column.chunks():
        sums.index_add_(0, of_row[first : first + len(chunk)], chunk.to(torch.float64))
        first += len(chunk)
    sizes = torch.bincount(of_row, minlength=count)
    empty = [int(document) for document in documents if not sizes[document]]
    if empty:
        raise InputError(f"document {empty[0]} has no rows: it cannot be labelled as a whole")
    return (sums / sizes.clamp_min(1)[:, None])[torch.from_numpy(documents)].float()


def groups_of(feature: LabelledFeature, store: ActivationStore) -> Int[np.ndarray, " n"]:
    """The group of each labelled row: its document, or the first document of those it belongs to."""
    return store.groups[store.rows["document"][feature.index] if feature.level == "token" else feature.index]


class _Documents:
    """Finds documents by index or id, and rows by document and position, reading each shard at most once in a row."""

    def __init__(self, store: ActivationStore) -> None:
        """Reads ids and row numbers, not texts."""
        self.by_index: dict[int, StoredDocument] = {document.index: document for document in store.documents()}
        self.by_id: dict[str, list[StoredDocument]] = {}
        for one in self.by_index.values():
            if one.id is not None:
                self.by_id.setdefault(one.id, []).append(one)
        document, position = store.rows["document"], store.rows["position"]
        order = np.lexsort((position, document))
        self.order, self.sorted_document, self.sorted_position = order, document[order], position[order]

    def find(self, name: Any, where: str) -> StoredDocument:
        """The document of this index or id."""
        if _is_integer(name) and int(name) in self.by_index:
            return self.by_index[int(name)]
        if isinstance(name, str) and name in self.by_id:
            first, *others = self.by_id[name]
            if others:
                raise InputError(
                    f"{where}: documents {first.index} and {others[0].index} both have the id {name!r}: name the"
                    " document by its index"
                )
            return first
        close = nearest(str(name), self.by_id)
        hint = (
            f"nearest ids: {', '.join(close)}"
            if close
            else f"the store has documents 0..{max(self.by_index, default=-1)}"
        )
        raise InputError(f"{where}: unknown document {name!r}; {hint}")

    def rows(self, document: StoredDocument, record: Mapping[str, Any], where: str) -> list[int]:
        """Rows of the tokens that a record is about."""
        first = np.searchsorted(self.sorted_document, document.index)
        last = np.searchsorted(self.sorted_document, document.index, side="right")
        if record.get("position") is not None:
            positions = np.array([record["position"]])
            count = int((self.sorted_position[first:last] >= 0).sum())  # special tokens have -1
            if not 0 <= record["position"] < count:
                raise InputError(
                    f"{where}: position {record['position']} is outside document {document.index}, which has {count}"
                    " tokens"
                )
        else:
            positions = _positions_in_span(document, record, where)
        found = np.searchsorted(self.sorted_position[first:last], positions)
        return self.order[first + found].tolist()


def _positions_in_span(document: StoredDocument, record: Mapping[str, Any], where: str) -> np.ndarray:
    start, end = record.get("start"), record.get("end")
    if document.offsets is None or document.text is None:
        raise InputError(
            f"{where}: the store has no characters for document {document.index}: give `position` instead of `start`"
            " and `end`"
        )
    if not _is_integer(start) or not _is_integer(end) or not 0 <= start < end <= len(document.text):
        raise InputError(
            f"{where}: span {start}..{end} is outside document {document.index}, which has {len(document.text)}"
            " characters"
        )
    begins, ends = own_characters(document.text, document.offsets)
    chosen = np.flatnonzero((begins < end) & (ends > start) & (begins < ends))
    if not len(chosen):
        raise InputError(
            f"{where}: no token of document {document.index} lies in {start}..{end} ({document.text[start:end]!r}):"
            " label characters that belong to a token"
        )
    return chosen


def own_characters(text: str, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and one-past-last character of each token without the white space some tokenizers put in front of a piece;
    all-space pieces keep theirs.
    """
    begins, ends = offsets[:, 0].astype(np.int64).copy(), offsets[:, 1].astype(np.int64)
    for number, (begin, end) in enumerate(zip(begins.tolist(), ends.tolist(), strict=True)):
        piece = text[begin:end]
        if piece and piece[0].isspace() and piece.strip():
            begins[number] = begin + len(piece) - len(piece.lstrip())
    return begins, ends


def _records(source: Any) -> Iterable[tuple[str, dict[str, Any]]]:
    if not isinstance(source, str | Path):
        if not isinstance(source, Iterable):
            raise InputError(
                f"labels are a {type(source).__name__}: a .jsonl file or an iterable of mappings is needed"
            )
        return ((f"label {number}", _as_record(record, f"label {number}")) for number, record in enumerate(source))
    path = place_of(source)
    if not path.is_file():
        raise InputError(f"no labels file at {path}: give a .jsonl file")
    return _lines(path)


def _lines(path: Place) -> Iterable[tuple[str, dict[str, Any]]]:
    try:
        lines = path.read_text(encoding="utf-8").removeprefix("\ufeff").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 at byte {error.start}: save it as UTF-8") from error
    for number, line in enumerate(lines, 1):  # not splitlines: JSON strings may hold U+2028 and the like
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            told = getattr(error, "msg", str(error))
            raise InputError(f"{path} line {number} is not JSON ({told}): one object a line is needed") from error
        yield f"{path} line {number}", _as_record(record, f"{path} line {number}")


def _as_record(record: Any, where: str) -> dict[str, Any]:
    if not isinstance(record, Mapping):
        raise InputError(f"{where} is a {type(record).__name__}: an object with {', '.join(KEYS[:3])} is needed")
    return dict(record)


def _check_keys(record: Mapping[str, Any], where: str) -> None:
    missing = [key for key in KEYS[:3] if record.get(key) is None]
    if missing:
        raise InputError(f"{where} lacks {', '.join(missing)}: every label needs {', '.join(KEYS[:3])}")
    if not isinstance(record["feature"], str):
        raise InputError(f"{where}: feature is {record['feature']!r}: a name is needed")
    unknown = [key for key in record if key not in (*KEYS, "group")]
    if unknown:
        close = nearest(unknown[0], KEYS)
        raise InputError(
            f"{where}: unknown key {unknown[0]!r}; {'nearest: ' + close[0] if close else 'valid: ' + ', '.join(KEYS)}"
        )
    if (record.get("start") is None) != (record.get("end") is None):
        raise InputError(f"{where}: `start` and `end` come together")
    if record.get("position") is not None and (record.get("start") is not None or not _is_integer(record["position"])):
        raise InputError(f"{where}: give either `start` and `end` or one integer `position`")


def _features(name: str, level: Any, labels: Mapping[int, Any]) -> list[LabelledFeature]:
    index = np.array(sorted(labels), dtype=np.int64)
    values = [labels[row] for row in index.tolist()]
    if all(_is_binary(value) for value in values):
        return [
            LabelledFeature(
                name=name, level=level, index=index, values=np.array([value in (1, True) for value in values])
            )
        ]
    kinds = sorted({str(value) for value in values})
    return [
        LabelledFeature(
            name=f"{name}={kind}", level=level, index=index, values=np.array([str(value) == kind for value in values])
        )
        for kind in kinds
    ]


def _is_binary(value: Any) -> bool:
    return isinstance(value, bool | np.bool_) or (_is_integer(value) and value in (0, 1, -1))


def _is_integer(value: Any) -> TypeGuard[int]:
    """Whether it is a whole number, of Python or of numpy as tables hold them."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
