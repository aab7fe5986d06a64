"""The windows of a store again as token batches, for experiments on the same tokens that were collected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int

from unweave.activations.store import ActivationStore
from unweave.activations.windows import SpecialTokens, special_tokens
from unweave.errors import FingerprintError, InputError
from unweave.models.model import Model
from unweave.models.tokens import Tokens, pad


@dataclass(frozen=True, kw_only=True, eq=False)
class Replay:
    """Windows of some documents, in batches."""

    batches: tuple[Tokens, ...]
    documents: Int[np.ndarray, " windows"]
    """Document of each window."""
    rows: tuple[Int[np.ndarray, " _"], ...]
    """For each window: the row of the store at each of its positions, -1 at special tokens."""

    def row_at(self, window: Int[np.ndarray, " n"], position: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """The rows of the store at these places, -1 where there is none."""
        return np.array(
            [self.rows[w][p] for w, p in zip(window.tolist(), position.tolist(), strict=True)], dtype=np.int64
        )


def replay(
    model: Model, store: ActivationStore, documents: Sequence[int], *, most: int | None = None, batch: int = 8
) -> Replay:
    """The windows of these documents as they were run when the store was made.

    Args:
        model: The model of the store.
        store: A store of texts or token ids, without rows for special tokens.
        documents: Which documents.
        most: Most windows; taken one a document in turn, so that no long document crowds out the others.
        batch: Windows a batch.

    Raises:
        InputError: A store of plain tensors or with rows for special tokens, or no window in these documents.
        FingerprintError: A store of another model.
    """
    if store.collection.kind in ("tensors", "sequences") or store.collection.special == "include":
        raise InputError("only stores of token sequences without rows for special tokens can be replayed")
    if store.collection.model != model.fingerprint:
        raise FingerprintError(
            f"the store is of another model ({store.collection.model_name}, {store.collection.model[:12]}; this one is"
            f" {model.fingerprint[:12]}): replay with the model it was collected from"
        )
    special = special_tokens(model.tokenizer) if store.collection.kind == "text" else SpecialTokens()
    chosen = _in_turn(store, documents)[:most]
    if not chosen:
        raise InputError(f"documents {list(documents)[:8]} have no windows in the store")
    windows = [_window(store, rows, special) for _, rows in chosen]
    batches = [_tokens(windows[first : first + batch]) for first in range(0, len(windows), batch)]
    return Replay(
        batches=tuple(batches),
        documents=np.array([document for document, _ in chosen]),
        rows=tuple(positions for _, positions, _ in windows),
    )


def _in_turn(store: ActivationStore, documents: Sequence[int]) -> list[tuple[int, np.ndarray]]:
    """(document, rows) of every window: the first of each document, then the second of each, and so on."""
    document_of, sequence_of = store.rows["document"], store.rows["sequence"]
    found = []
    for document in documents:
        rows = np.flatnonzero(document_of == document)
        for turn, sequence in enumerate(np.unique(sequence_of[rows])):
            found.append((turn, document, rows[sequence_of[rows] == sequence]))
    return [(document, rows) for _, document, rows in sorted(found, key=lambda item: item[:2])]


def _window(
    store: ActivationStore, rows: np.ndarray, special: SpecialTokens
) -> tuple[list[int], np.ndarray, list[bool]]:
    ids = [*special.before, *store.rows["token_id"][rows].tolist(), *special.after]
    positions = np.concatenate([np.full(len(special.before), -1), rows, np.full(len(special.after), -1)]).astype(
        np.int64
    )
    return ids, positions, [bool(row < 0) for row in positions]


def _tokens(windows: Sequence[tuple[list[int], np.ndarray, list[bool]]]) -> Tokens:
    ids, mask = pad([window[0] for window in windows])
    special = torch.zeros_like(mask)
    special[mask] = torch.tensor([flag for window in windows for flag in window[2]])
    return Tokens(ids=ids, mask=mask, special=special)
