"""Documents cut into sequences, and tables over all their tokens that builders label.

All tokens of a collection stand one after the other in a `TokenTable`; a builder marks tokens there, draws rows from
one random order that all its features share, and the table turns token numbers into (sequence, position).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from unweave.activations.haystack.built import TokenFeature, start_tokens
from unweave.activations.labels import own_characters
from unweave.activations.prepared import Prepared
from unweave.activations.windows import TOKENIZE_TOGETHER, SpecialTokens
from unweave.errors import InputError
from unweave.models.tokens import Encoded, encode_all

Spans = Sequence[tuple[int, int]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Encodings:
    """A document with its tokens and their characters."""

    text: str
    ids: Int[np.ndarray, " tokens"]
    offsets: Int[np.ndarray, "tokens 2"]
    id: str | None = None
    group: str | None = None

    @cached_property
    def characters(self) -> tuple[np.ndarray, np.ndarray]:
        """First and one-past-last character of each token, without the white space in front."""
        return own_characters(self.text, self.offsets)

    def inside(self, spans: Spans) -> Bool[np.ndarray, " tokens"]:
        """Which tokens overlap one of the spans."""
        begins, ends = self.characters
        found = np.zeros(len(self.ids), dtype=bool)
        for start, end in spans:
            first, last = np.searchsorted(ends, start, side="right"), np.searchsorted(begins, end, side="left")
            found[first:last] |= ends[first:last] > begins[first:last]
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenTable:
    """The tokens of all sequences, one after the other."""

    sequences: tuple[Prepared, ...]
    sequence: Int[np.ndarray, " n"]
    position: Int[np.ndarray, " n"]
    document: Int[np.ndarray, " n"]
    """Number of the document that was cut."""
    token: Int[np.ndarray, " n"]
    """Number of the token in that document."""

    def __len__(self) -> int:
        return len(self.sequence)

    def gathered(self, per_document: Sequence[np.ndarray], dtype: Any = None) -> np.ndarray:
        """Values of the tokens of each document, in the order of the table."""
        sizes = np.array([len(values) for values in per_document], dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(sizes)])
        flat = np.concatenate(list(per_document)) if len(per_document) else np.empty(0)
        found = flat[starts[self.document] + self.token]
        return found if dtype is None else found.astype(dtype)

    def feature(self, name: str, rows: np.ndarray, values: np.ndarray, *, note: str = "") -> TokenFeature:
        """The feature of these tokens of the table."""
        return TokenFeature(
            name=name, sequence=self.sequence[rows], position=self.position[rows], values=values, note=note
        )


def encoded(texts: Iterable[tuple[str, str | None, str | None]], tokenizer: Any) -> list[Encodings]:
    """(text, id, group) of each document with its tokens; without a group a document is one of its own.

    Raises:
        InputError: A tokenizer that does not say which characters a token covers.
    """
    given = [(text, name, group or f"document {number}") for number, (text, name, group) in enumerate(texts)]
    found: list[Encodings] = []
    for first in range(0, len(given), TOKENIZE_TOGETHER):
        part = given[first : first + TOKENIZE_TOGETHER]
        rows = encode_all(tokenizer, [text for text, _, _ in part], special_tokens=False)
        found += [_encodings(one, row) for one, row in zip(part, rows, strict=True)]
    return found


def _encodings(given: tuple[str, str | None, str | None], row: Encoded) -> Encodings:
    if row.offsets is None:
        raise InputError(
            "the tokenizer does not say which characters a token covers: a fast tokenizer (tokenizer.json) is needed"
        )
    text, name, group = given
    return Encodings(
        text=text,
        ids=np.array(row.ids, dtype=np.int64),
        offsets=np.array(row.offsets, dtype=np.int64).reshape(-1, 2),
        id=name,
        group=group,
    )


def room_for(context: int, special: SpecialTokens) -> int:
    """Tokens of its own that a sequence of the context may have.

    Raises:
        InputError: None at all.
    """
    room = context - special.count
    if room < 1:
        raise InputError(f"context is {context}: at least {special.count + 1} are needed with the special tokens")
    return room


def token_table(
    documents: Sequence[Encodings],
    tokenizer: Any,
    *,
    context: int,
    ends: Callable[[int], Sequence[int]] | None = None,
) -> TokenTable:
    """All documents cut into sequences of at most `context` tokens, special ones included.

    Args:
        documents: With tokens.
        tokenizer: Says which special tokens go around a sequence.
        context: Most tokens of a sequence.
        ends: Document -> numbers of the tokens at which a sequence may begin; None lets them begin anywhere.
    """
    special = start_tokens(tokenizer)
    room = room_for(context, special)
    sequences: list[Prepared] = []
    places: list[tuple[int, int, int]] = []
    for number, document in enumerate(documents):
        for first, last in _pieces(len(document.ids), room, None if ends is None else ends(number)):
            places.append((number, first, last - first))
            sequences.append(prepared(document, first, last, special))
    documents_of, firsts, counts = np.array(places, dtype=np.int64).reshape(-1, 3).T
    starts = np.cumsum(counts) - counts
    position = np.arange(int(counts.sum())) - np.repeat(starts, counts)
    return TokenTable(
        sequences=tuple(sequences),
        sequence=np.repeat(np.arange(len(sequences)), counts),
        position=position,
        document=np.repeat(documents_of, counts),
        token=np.repeat(firsts, counts) + position,
    )


def prepared(document: Encodings, first: int, last: int, special: SpecialTokens) -> Prepared:
    """The tokens `first` to `last` of a document as a sequence, with their part of the text."""
    offsets = document.offsets[first:last]
    start, end = (int(offsets[:, 0].min()), int(offsets[:, 1].max())) if len(offsets) else (0, 0)
    return Prepared(
        ids=tuple(document.ids[first:last].tolist()),
        before=special.before,
        after=special.after,
        text=document.text[start:end],
        offsets=tuple((begin - start, stop - start) for begin, stop in offsets.tolist()),
        id=document.id,
        group=document.group,
    )


def _pieces(count: int, room: int, ends: Sequence[int] | None) -> Iterable[tuple[int, int]]:
    """(first, one past last) of each sequence; where a stretch between two ends is too long, it is cut at the room."""
    if ends is None:
        yield from ((first, min(first + room, count)) for first in range(0, count, room))
        return
    allowed = sorted({*ends, count} - {0})
    first = 0
    while first < count:
        reach = bisect_right(allowed, first + room) - 1
        last = allowed[reach] if reach >= 0 and allowed[reach] > first else min(first + room, count)
        yield first, last
        first = last


def drawn(
    positive: Bool[np.ndarray, " n"],
    negative: Bool[np.ndarray, " n"],
    priority: Int[np.ndarray, " n"],
    *,
    rows: int,
    share: float,
) -> Int[np.ndarray, " m"]:
    """At most `rows` tokens with at least a share `share` of positives, those of the highest priority of each class.

    Args:
        positive: Tokens that have the feature.
        negative: Tokens that are known not to have it.
        priority: One random order of all tokens, shared by all features, so that they share rows.
        rows: Most rows.
        share: Share of positives; larger only where negatives run out.
    """
    wanted = min(int(positive.sum()), round(rows * share))
    most = min(rows - wanted, round(wanted * (1 - share) / share))
    return np.sort(np.concatenate([first_of(positive, priority, wanted), first_of(negative, priority, most)]))


def first_of(chosen: Bool[np.ndarray, " n"], priority: Int[np.ndarray, " n"], count: int) -> Int[np.ndarray, " m"]:
    """The `count` chosen tokens of the highest priority."""
    rows = np.flatnonzero(chosen)
    return rows[np.argsort(priority[rows], kind="stable")[:count]]


def priorities(count: int, seed: int) -> Int[np.ndarray, " n"]:
    """A random order of so many tokens."""
    return np.random.default_rng([seed, 3]).permutation(count)
