"""What a collection runs over: texts through a tokenizer, sequences of token ids or prepared ones, or input tensors of
a plain module.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from unweave.activations.datasets_in import HUB, DatasetTexts, named_texts
from unweave.activations.prepared import Prepared, prepared_windows
from unweave.activations.shards import rows_of
from unweave.activations.texts import Text, read_texts
from unweave.activations.windows import (
    SpecialTokens,
    Unit,
    id_windows,
    special_tokens,
    tensor_windows,
    text_windows,
    units,
)
from unweave.artifact import fingerprint
from unweave.errors import InputError
from unweave.models.fingerprints import tokenizer_fingerprint
from unweave.models.model import Model
from unweave.site import Site


@dataclass(kw_only=True, eq=False)
class Source:
    """Inputs of a collection, to be gone through once."""

    model: Model
    kind: Literal["text", "ids", "tensors", "sequences"]
    items: Iterable[Any]
    context: int
    special: SpecialTokens = field(default_factory=SpecialTokens)
    tokenizer_fingerprint: str | None = None
    expected_rows: int | None = None
    """For the progress bar, where it is known beforehand."""
    first: Tensor | None = None
    """The first input of a plain module: it shows widths and numbers of rows."""
    counted: dict[tuple[int, ...], int] = field(default_factory=dict)

    def width(self, site: Site) -> int:
        """Width of a row at the site."""
        if self.kind != "tensors" or self.first is None:
            try:
                return self.model.width(site)
            except InputError:  # a module whose weights do not tell
                return rows_of(self.model.capture([[0]], [site])[site], site).shape[2]
        rows = rows_of(self.model.capture(self.first.unsqueeze(0), [site])[site], site)
        self.counted.setdefault(tuple(self.first.shape), rows.shape[1])
        return rows.shape[2]

    def units(self, shard_rows: int) -> Iterator[Unit]:
        """The shards to make, as a stream."""
        if self.kind == "text":
            documents = text_windows(self.items, self.model.tokenizer, context=self.context, special=self.special)
        elif self.kind == "sequences":
            documents = prepared_windows(self.items, context=self.context, special=self.special)
        elif self.kind == "ids":
            documents = id_windows(self.items, context=self.context)
        else:
            documents = tensor_windows(self.items, self._rows_of_input)
        return units(documents, shard_rows=shard_rows)

    def _rows_of_input(self, values: Tensor) -> int:
        shape = tuple(values.shape)
        if shape not in self.counted:
            raise InputError(
                f"inputs have shapes {next(iter(self.counted))} and {shape}: one store takes inputs of one shape,"
                " collect the others apart"
            )
        return self.counted[shape]


def open_source(model: Model, inputs: Any, context: int) -> Source:
    """The inputs of a collection, of the kind that their first item shows.

    Raises:
        InputError: Text for a model without a tokenizer, or no inputs.
    """
    if isinstance(inputs, str) and inputs.startswith(HUB):
        inputs = named_texts(inputs)
    if isinstance(inputs, str | Path):
        return _text_source(model, _begun(read_texts(inputs)), context)
    if isinstance(inputs, Mapping) or hasattr(inputs, "column_names"):
        inputs = DatasetTexts(dataset=inputs)
    if not isinstance(inputs, Iterable):
        raise InputError(
            f"inputs are a {type(inputs).__name__}: a path, or an iterable of texts, token ids or tensors is needed"
        )
    stream = iter(inputs)
    head = next(stream, None)
    if head is None:
        raise InputError("there are no inputs: give at least one text or tensor")
    items = itertools.chain([head], stream)
    if isinstance(head, Prepared):
        special = SpecialTokens(before=head.before, after=head.after)
        return Source(model=model, kind="sequences", items=items, context=context, special=special)
    if not _is_numbers(head):
        return _text_source(model, _begun(read_texts(items)), context)
    if model.family is not None:
        return Source(model=model, kind="ids", items=items, context=context)
    return Source(model=model, kind="tensors", items=items, context=context, first=torch.as_tensor(head))


def _text_source(model: Model, texts: Iterable[Any], context: int) -> Source:
    if model.tokenizer is None:
        raise InputError(
            "this model has no tokenizer, so it cannot read text: give one to load_model(..., tokenizer=...), or give"
            " token ids"
        )
    special = special_tokens(model.tokenizer)
    identity = fingerprint(
        {
            "tokenizer": tokenizer_fingerprint(model.tokenizer),
            "before": list(special.before),
            "after": list(special.after),
        }
    )
    return Source(
        model=model, kind="text", items=texts, context=context, special=special, tokenizer_fingerprint=identity
    )


def _begun(texts: Iterator[Text]) -> Iterator[Text]:
    """The same texts with the first one read, so that a missing or empty file is told before anything is written."""
    return itertools.chain([next(texts)], texts)


def _is_numbers(item: Any) -> bool:
    return not isinstance(item, str) and (
        isinstance(item, Tensor)
        or hasattr(item, "__array__")
        or (isinstance(item, list | tuple) and bool(item) and isinstance(item[0], int))
    )
