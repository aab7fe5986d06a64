"""Rows of a store as people read them: the words around a token, with the value of one unit at each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from unweave.activations.store import ActivationStore
from unweave.activations.token_strings import token_strings
from unweave.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Context:
    """A stretch of a document around one token."""

    document: int
    position: int
    """Of the token in its document."""
    tokens: tuple[str, ...]
    values: tuple[float, ...]
    """Of the unit at each token; NaN where the store has no row."""
    focus: int
    """Which of the tokens it is about."""
    label: bool | None = None
    """Whether the token has the feature, None where nothing is said."""


def contexts(
    store: ActivationStore,
    values: Float[np.ndarray, " rows"],
    rows: Sequence[int] | Int[np.ndarray, " n"],
    *,
    before: int = 12,
    after: int = 5,
) -> list[Context]:
    """The context of each of these rows.

    Args:
        store: A store of texts or token ids.
        values: Of one unit at every row of the store.
        rows: Which ones.
        before: Tokens shown in front.
        after: Tokens shown behind.

    Raises:
        InputError: A store of tensors, which has no words.

    Example:
        >>> import unweave as uw, tempfile
        >>> out = tempfile.mkdtemp() + "/store"
        >>> store = uw.collect(uw.load_model("zoo:docs"), ["One text of a few words."], "embed", out)
        >>> (found,) = contexts(store, np.arange(len(store)) * 1.0, [2], before=1, after=0)
        >>> len(found.tokens), found.values, found.focus
        (2, (1.0, 2.0), 1)
    """
    if store.collection.kind == "tensors":
        raise InputError("a store of input tensors has no words to show around a row")
    document_of, position_of = store.rows["document"], store.rows["position"]
    strings: dict[int, list[str]] = {}
    found = []
    for row in np.asarray(rows, dtype=np.int64).tolist():
        document, position = int(document_of[row]), int(position_of[row])
        if document not in strings:
            strings[document] = words_of(store, document)
        own = strings[document]
        first, last = max(0, position - before), min(len(own), position + after + 1)
        here = np.flatnonzero((document_of == document) & (position_of >= first) & (position_of < last))
        shown = np.full(last - first, np.nan)
        shown[position_of[here] - first] = values[here]
        found.append(
            Context(
                document=document,
                position=position,
                tokens=tuple(own[first:last]),
                values=tuple(shown.tolist()),
                focus=position - first,
            )
        )
    return found


def words_of(store: ActivationStore, document: int) -> list[str]:
    """The tokens of a document as text: its own characters where the store has them, else the tokenizer's strings."""
    stored = store.document(document)
    return [
        own if own is not None and stored.offsets is not None else token
        for own, token in zip(
            token_strings(stored) if stored.offsets is not None else stored.tokens, stored.tokens, strict=True
        )
    ]
