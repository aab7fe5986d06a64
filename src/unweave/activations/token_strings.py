"""The eleven token-string features that any text gives: what the characters of a token look like.

The string of a token is the source text at its characters, with one white-space character before it if there is one, so
that an uncased tokenizer keeps the case of the text. What such a tokenizer hides from the model is marked: a probe that
finds it there finds it in the context, not in the letters (specs/probing.md 2.1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from unweave.activations.labels import LabelledFeature
from unweave.activations.store import ActivationStore, StoredDocument
from unweave.errors import InputError

SKIPPED_POSITIONS = 10
"""First positions of a document that get no label: there is too little context before them."""

_ALL_DIGITS = re.compile(r"\s?[0-9]+")
_ALL_CAPITALS = re.compile(r"\s?[A-Z]+")
_NO_WORD_CHARACTER = re.compile(r"\W+")

PREDICATES: Mapping[str, Callable[[str], bool]] = MappingProxyType(
    {
        "contains_digit": lambda s: any(c in "0123456789" for c in s),
        "all_digits": lambda s: _ALL_DIGITS.fullmatch(s) is not None,
        "contains_capital": lambda s: any("A" <= c <= "Z" for c in s),
        "leading_capital": lambda s: s[0].isupper() or (s[0] == " " and s[1:2].isupper()),
        "all_capitals": lambda s: _ALL_CAPITALS.fullmatch(s) is not None and s.strip() not in ("I", "A"),
        "contains_whitespace": lambda s: any(c.isspace() for c in s),
        "has_leading_space": lambda s: s[0] == " ",
        "no_leading_space_and_loweralpha": lambda s: s.isalpha() and s.islower(),
        "contains_all_whitespace": str.isspace,
        "is_not_alphanumeric": lambda s: _NO_WORD_CHARACTER.fullmatch(s) is not None,
        "is_not_ascii": lambda s: not s.isascii(),
    }
)
"""Feature -> what it says of a token's string, which is never empty."""

HIDDEN = "hidden by the tokenizer: what a probe finds comes from context, not from the letters"


def token_string_features(store: ActivationStore, tokenizer: Any) -> list[LabelledFeature]:
    """All eleven features for the rows of a store, in the order of `PREDICATES`; one may have no positives.

    Tokens that are no valid text alone (part of a character) are labelled only for `is_not_ascii`.
    """
    strings = row_strings(store, tokenizer)
    rows = np.array([row for row, _ in strings], dtype=np.int64)
    return [
        LabelledFeature(name=name, level="token", index=rows[labelled], values=values, note=note)
        for name, labelled, values, note in string_labels([string for _, string in strings], tokenizer)
    ]


def string_labels(
    strings: Sequence[str | None], tokenizer: Any
) -> list[tuple[str, Int[np.ndarray, " n"], Bool[np.ndarray, " n"], str]]:
    """(feature, which strings it labels, whether they have it, note) for all eleven features; a string that is None is
    part of a character, which only `is_not_ascii` labels.
    """
    known = np.array([number for number, string in enumerate(strings) if string is not None], dtype=np.int64)
    distinct = sorted({string for string in strings if string is not None})
    number = {string: place for place, string in enumerate(distinct)}
    which = np.array([number[string] for string in strings if string is not None], dtype=np.int64)
    found = []
    for name, predicate in PREDICATES.items():
        truth = np.array([predicate(string) for string in distinct], dtype=bool)
        labelled, values = known, truth[which] if len(which) else np.empty(0, dtype=bool)
        if name == "is_not_ascii":  # parts of a character belong to characters of several bytes: not ASCII
            labelled = np.arange(len(strings))
            everywhere = np.ones(len(strings), dtype=bool)
            everywhere[known] = values
            values = everywhere
        positives = [string for string, true in zip(distinct, truth, strict=True) if true]
        found.append((name, labelled, values, HIDDEN if is_hidden(predicate, positives, tokenizer) else ""))
    return found


def row_strings(store: ActivationStore, tokenizer: Any = None) -> list[tuple[int, str | None]]:
    """(row, string of its token) for every row that gets a label; None where the token is only part of a character."""
    if store.collection.kind == "tensors":
        raise InputError("a store of input tensors has no token strings: give labels of your own")
    document_of, position_of = store.rows["document"], store.rows["position"]
    strings = {document.index: token_strings(document, tokenizer) for document in store.documents()}
    return [
        (row, strings[document][position])
        for row, (document, position) in enumerate(zip(document_of.tolist(), position_of.tolist(), strict=True))
        if position >= SKIPPED_POSITIONS and strings[document][position] != ""
    ]


def token_strings(document: StoredDocument, tokenizer: Any = None) -> list[str | None]:
    """The string of each token of a document, from its characters where the store has them, else from the tokenizer's
    strings, which only a byte-level tokenizer itself can read.

    Example:
        >>> known = {"ids": np.arange(2), "offsets": np.array([[0, 3], [4, 6]]), "tokens": ("the", "42")}
        >>> token_strings(StoredDocument(index=0, id=None, text="The 42", **known))
        ['The', ' 42']
    """
    if document.offsets is None or document.text is None:
        return list(map(_reader(tokenizer), document.tokens))
    text, ends = document.text, document.offsets
    shared = _shared_characters(ends)
    strings: list[str | None] = []
    for (start, end), is_part in zip(ends.tolist(), shared, strict=True):
        piece = text[start:end]
        if piece and not piece[0].isspace() and start > 0 and text[start - 1].isspace():
            piece = text[start - 1] + piece
        strings.append(None if is_part else piece)
    return strings


def vocabulary_strings(tokenizer: Any) -> dict[int, str]:
    """Token id -> its characters, for every entry of the vocabulary that is text of its own: no special tokens, no
    parts of a character, no continuations of a word in the style of WordPiece.
    """
    read = _reader(tokenizer)
    special = set(getattr(tokenizer, "all_special_ids", ()))
    found = {}
    for token, number in tokenizer.get_vocab().items():
        string = None if number in special or token.startswith("##") else read(token)
        if string is not None:
            found[number] = string
    return found


def is_hidden(predicate: Callable[[str], bool], positives: Sequence[str], tokenizer: Any) -> bool:
    """Whether the tokenizer's normaliser takes the feature away from most of the strings that have it."""
    normaliser = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    if normaliser is None or not positives:
        return False
    kept = 0
    for string in positives:
        seen = normaliser.normalize_str(string).replace("▁", " ")
        lead = string[: len(string) - len(string.lstrip())]
        kept += any(candidate != "" and predicate(candidate) for candidate in (seen, lead + seen.strip()))
    return kept < len(positives) / 2


def _shared_characters(offsets: np.ndarray) -> np.ndarray:
    """Whether a token shares a character with a neighbour, as the pieces of one character do; the first of them may
    have the space before it too.
    """
    shared = offsets[1:, 0] < offsets[:-1, 1]
    touched = np.zeros(len(offsets), dtype=bool)
    touched[1:] |= shared
    touched[:-1] |= shared
    return touched & (offsets[:, 1] > offsets[:, 0])


def _reader(tokenizer: Any) -> Callable[[str], str | None]:
    decoder: Any = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
    if type(decoder).__name__ != "ByteLevel":
        return _readable

    def read(token: str) -> str | None:
        text = decoder.decode([token])
        return None if "\ufffd" in text else text  # bytes that are only part of a character

    return read


def _readable(token: str) -> str | None:
    """A tokenizer's string without its mark for a space; None for a byte."""
    if re.fullmatch(r"<0x[0-9A-F]{2}>", token):
        return None
    return token.replace("▁", " ").replace("Ġ", " ").replace("Ċ", "\n").removeprefix("##")
