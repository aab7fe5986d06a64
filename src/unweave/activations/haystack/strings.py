"""Collection 4: what the characters of a token look like; and, outside the ten, whether it begins or ends like an affix.

| what | rule |
|---|---|
| sequences | the documents cut into windows of the context |
| left out | the first ten positions of a sequence, special tokens, pieces that are no valid text alone (but for is_not_ascii) |
| rows | at most 10,000 a feature, from one random order of tokens |
| share of positives | min(max(base rate, .2), .5) |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from unweave.activations.haystack.built import Built, TokenFeature, finished
from unweave.activations.haystack.cutting import TokenTable, drawn, encoded, priorities, token_table
from unweave.activations.store import StoredDocument
from unweave.activations.texts import Text
from unweave.activations.token_strings import SKIPPED_POSITIONS, string_labels, token_strings

ROWS, LEAST = 10_000, 500
LEAST_SHARE, MOST_SHARE = 0.2, 0.5
PREFIXES = ("anti", "auto", "con", "de", "dis", "inter", "mis", "over", "pre", "pro", "re", "sub", "super", "trans",
            "un", "under")  # fmt: skip
SUFFIXES = ("able", "al", "ed", "er", "est", "ful", "ible", "ing", "ion", "ish", "ism", "ist", "ity", "ive", "less",
            "ly", "ment", "ness", "ous", "s")  # fmt: skip
STEM = 3
"""Letters that a token must have besides the affix."""
AFFIXES: Mapping[str, tuple[str, ...]] = MappingProxyType({"has_prefix": PREFIXES, "has_suffix": SUFFIXES})


def text_features(
    texts: Iterable[Text], tokenizer: Any, *, context: int = 256, rows: int = ROWS, seed: int = 0
) -> Built:
    """The eleven token-string features of mixed text.

    Args:
        texts: Documents.
        tokenizer: Of the model.
        context: Most tokens of a sequence, special ones included.
        rows: Most rows a feature.
        seed: Of the order in which tokens are drawn.

    Example:
        >>> import unweave as uw
        >>> texts = [Text(text=f"{n} and {n + 1} make {2 * n + 1}, and That is all. " * 9) for n in range(60)]
        >>> built = text_features(texts, uw.load_model("zoo:docs").tokenizer, context=64)
        >>> [(one["feature"], one["groups"]) for one in built.report()][:2]
        [('contains_digit', 60), ('all_digits', 60)]
    """
    table, strings = _strings(texts, tokenizer, context)
    usable = np.flatnonzero(
        (table.position >= SKIPPED_POSITIONS) & np.array([one != "" for one in strings], dtype=bool)
    )
    priority = priorities(len(table), seed)
    features = []
    for name, labelled, values, note in string_labels([strings[row] for row in usable.tolist()], tokenizer):
        features.append(_sampled(table, name, usable[labelled], values, (priority, rows), note))
    return finished(
        "text_features", table.sequences, features, context=context, drops=Counter(), seed=seed, least=LEAST
    )


def affixes(texts: Iterable[Text], tokenizer: Any, *, context: int = 256, rows: int = ROWS, seed: int = 0) -> Built:
    """`has_prefix` and `has_suffix`: alphabetic tokens that begin or end with a listed affix and have `STEM` letters
    more. Arguments as in `text_features`.
    """
    table, strings = _strings(texts, tokenizer, context)
    words = [(one or "").strip().lower() for one in strings]
    usable = np.flatnonzero(
        (table.position >= SKIPPED_POSITIONS) & np.array([one.isalpha() for one in words], dtype=bool)
    )
    priority = priorities(len(table), seed)
    features = []
    for name in AFFIXES:
        values = np.array([has_affix(words[row], name) for row in usable.tolist()], dtype=bool)
        features.append(_sampled(table, name, usable, values, (priority, rows), ""))
    return finished("affixes", table.sequences, features, context=context, drops=Counter(), seed=seed)


def has_affix(word: str, kind: str) -> bool:
    """Whether a word has one of the affixes of `AFFIXES[kind]` and a stem.

    Example:
        >>> has_affix("undo", "has_prefix"), has_affix("undoing", "has_prefix"), has_affix("undoing", "has_suffix")
        (False, True, True)
    """
    fits = word.startswith if kind == "has_prefix" else word.endswith
    return any(fits(affix) and len(word) >= len(affix) + STEM for affix in AFFIXES[kind])


def _strings(texts: Iterable[Text], tokenizer: Any, context: int) -> tuple[TokenTable, list[str | None]]:
    """The table and the string of each of its tokens."""
    documents = encoded([(one.text, one.id, None) for one in texts], tokenizer)
    table = token_table(documents, tokenizer, context=context)
    of_documents = [
        token_strings(
            StoredDocument(index=number, id=one.id, text=one.text, ids=one.ids, offsets=one.offsets, tokens=()),
            tokenizer,
        )
        for number, one in enumerate(documents)
    ]
    places = zip(table.document.tolist(), table.token.tolist(), strict=True)
    return table, [of_documents[document][token] for document, token in places]


def _sampled(
    table: TokenTable, name: str, rows: np.ndarray, values: np.ndarray, order: tuple[np.ndarray, int], note: str
) -> TokenFeature:
    positive, negative = np.zeros(len(table), dtype=bool), np.zeros(len(table), dtype=bool)
    positive[rows[values]], negative[rows[~values]] = True, True
    share = min(max(float(values.mean()) if len(values) else 0.0, LEAST_SHARE), MOST_SHARE)
    chosen = drawn(positive, negative, order[0], rows=order[1], share=share)
    return table.feature(name, chosen, positive[chosen], note=note)
