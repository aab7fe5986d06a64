"""Documents cut into windows, windows dealt out to shards: the plan of a collection, made as a stream and the same for
any number of workers.

A window is at most `context` tokens with the tokenizer's special tokens around it; `position` counts a document's own
tokens through all its windows. A shard is a run of whole windows with at least `shard_rows` rows (the last one may have
fewer), so which rows a shard holds depends on the texts and the settings alone.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int

from unweave.activations.texts import Text
from unweave.errors import InputError
from unweave.models.fingerprints import bytes_of
from unweave.models.tokens import Encoded, encode_all

TOKENIZE_TOGETHER = 64
"""Documents given to the tokenizer in one call: enough to be fast, few enough to stay small."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SpecialTokens:
    """What the tokenizer puts around a text."""

    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """Tokens of a window that are not the document's."""
        return len(self.before) + len(self.after)


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """Consecutive inputs of one document that run through the model together."""

    document: int
    sequence: int
    """Number of the window in the collection."""
    start: int
    """Position of its first row in the document."""
    values: Any
    """Token ids with special tokens, or one input tensor of a plain module."""
    rows: int
    """Rows it gives."""
    keep: tuple[int, ...] | None = None
    """Positions of its own tokens that have rows or are pooled; None = all have rows."""
    pool: Literal["each", "mean", "max"] = "each"
    """What becomes of the kept positions."""

    @property
    def positions(self) -> Int[np.ndarray, " rows"]:
        """Position in the document of each row."""
        if self.keep is None:
            return np.arange(self.start, self.start + self.rows)
        return self.start + np.array(self.keep if self.pool == "each" else self.keep[-1:], dtype=np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Document:
    """What the store keeps of a document besides activations."""

    index: int
    id: str | None
    text: str | None
    ids: Sequence[int]
    offsets: Sequence[tuple[int, int]] | None
    group: str | None = None
    """Documents of one group stay together in every split."""


@dataclass(kw_only=True, eq=False)
class Unit:
    """What one shard holds."""

    index: int
    windows: list[Window] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    """Documents that begin in this shard."""

    @property
    def rows(self) -> int:
        """Rows of the shard."""
        return sum(window.rows for window in self.windows)

    def inputs_sha256(self) -> str:
        """sha256 over everything that the model and the store get: a resumed run must have the same."""
        total = hashlib.sha256()
        for window in self.windows:
            total.update(f"{window.document} {window.sequence} {window.start} {window.rows}".encode())
            if window.keep is not None:
                total.update(f"{window.keep} {window.pool}".encode())
            values = torch.as_tensor(window.values)
            total.update(f"{tuple(values.shape)} {values.dtype}".encode())
            total.update(bytes_of(values))
        for document in self.documents:
            told = (document.index, document.id, document.text, *([document.group] if document.group else []))
            total.update(repr(told).encode("utf-8", "surrogatepass"))
        return total.hexdigest()

    def span(self) -> str:
        """First and last document of the shard, for messages."""
        numbers = [window.document for window in self.windows] or [document.index for document in self.documents]
        return f"{min(numbers)}..{max(numbers)}"


def special_tokens(tokenizer: Any) -> SpecialTokens:
    """What the tokenizer adds before and after a text."""
    for text in ("a", *tokenizer.get_vocab()):  # a tokenizer of few words may have nothing for most texts
        with_them = encode_all(tokenizer, [text], special_tokens=True)[0]
        own = [number for number, flag in enumerate(with_them.special) if not flag]
        if own:
            return SpecialTokens(before=tuple(with_them.ids[: own[0]]), after=tuple(with_them.ids[own[-1] + 1 :]))
    return SpecialTokens()


def text_windows(
    texts: Iterable[Text], tokenizer: Any, *, context: int, special: SpecialTokens
) -> Iterator[tuple[Document, list[Window]]]:
    """Each document with its windows, as a stream; a document without tokens has none."""
    room = context - special.count
    if room < 1:
        raise InputError(
            f"context is {context} but the tokenizer adds {special.count} special tokens to each window: at least"
            f" {special.count + 1} are needed"
        )
    sequence = 0
    for index, (text, encoded) in enumerate(_encoded(texts, tokenizer)):
        document = Document(index=index, id=text.id, text=text.text, ids=encoded.ids, offsets=encoded.offsets)
        windows = []
        for start in range(0, len(encoded.ids), room):
            piece = encoded.ids[start : start + room]
            values = (*special.before, *piece, *special.after)
            windows.append(Window(document=index, sequence=sequence, start=start, values=values, rows=len(piece)))
            sequence += 1
        yield document, windows


def id_windows(inputs: Iterable[Any], *, context: int) -> Iterator[tuple[Document, list[Window]]]:
    """Each sequence of token ids, without special tokens, cut like a text."""
    sequence = 0
    for index, item in enumerate(inputs):
        ids = torch.as_tensor(item)
        if ids.ndim != 1 or (len(ids) and (ids.is_floating_point() or ids.dtype is torch.bool)):
            raise InputError(
                f"input {index} has shape {tuple(ids.shape)} and dtype {ids.dtype}: a sequence of token ids is needed"
            )
        values = ids.tolist()
        windows = []
        for start in range(0, len(values), context):
            piece = tuple(values[start : start + context])
            windows.append(Window(document=index, sequence=sequence, start=start, values=piece, rows=len(piece)))
            sequence += 1
        yield Document(index=index, id=None, text=None, ids=values, offsets=None), windows


def tensor_windows(inputs: Iterable[Any], rows_of: Any) -> Iterator[tuple[Document, list[Window]]]:
    """Each input tensor of a plain module as one window; `rows_of(tensor)` says how many rows it gives."""
    for index, item in enumerate(inputs):
        values = torch.as_tensor(item)
        window = Window(document=index, sequence=index, start=0, values=values, rows=rows_of(values))
        yield Document(index=index, id=None, text=None, ids=(), offsets=None), [window]


def units(documents: Iterable[tuple[Document, list[Window]]], *, shard_rows: int) -> Iterator[Unit]:
    """The shards, each complete before it is given out."""
    unit = Unit(index=0)
    rows = 0
    for document, windows in documents:
        for number, window in enumerate(windows or [None]):
            if rows >= shard_rows:
                yield unit
                unit, rows = Unit(index=unit.index + 1), 0
            if number == 0:
                unit.documents.append(document)
            if window is not None:
                unit.windows.append(window)
                rows += window.rows
    if unit.windows or unit.documents:
        yield unit


def _encoded(texts: Iterable[Text], tokenizer: Any) -> Iterator[tuple[Text, Encoded]]:
    stream = iter(texts)
    while group := list(itertools.islice(stream, TOKENIZE_TOGETHER)):
        yield from zip(group, encode_all(tokenizer, [text.text for text in group], special_tokens=False), strict=True)
