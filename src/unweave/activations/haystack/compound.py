"""Collection 8: the second token of a two-word compound, against the same token elsewhere and against other
continuations of the first word.

| stratum | the probed token | share |
|---|---|---|
| bigram | a b-token behind an a-token | 1 |
| missing_first | a b-token behind something else | 2 |
| missing_second | what follows an a-token and is no b-token | 2 |

A row is the last of the `context` tokens that end on the probed token, without special tokens; windows stay inside one
document. Variants of a word are all entries of the vocabulary that equal it after stripping and lower-casing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from unweave.activations.haystack.built import Built, TokenFeature, finished
from unweave.activations.haystack.cutting import Encodings, encoded, first_of, prepared, priorities
from unweave.activations.haystack.names import names
from unweave.activations.prepared import Prepared
from unweave.activations.texts import Text
from unweave.activations.token_strings import vocabulary_strings
from unweave.activations.windows import SpecialTokens

ROWS: Mapping[str, int] = MappingProxyType({"bigram": 1600, "missing_first": 3200, "missing_second": 3200})
"""Stratum -> most rows a word; where text is short, all three shrink together."""


def compound_words(
    texts: Iterable[Text],
    tokenizer: Any,
    *,
    words: Sequence[str] | None = None,
    context: int = 24,
    rows: int = 8000,
    seed: int = 0,
) -> Built:
    """The 21 compound words, or words of one's own, with hard negatives.

    Args:
        texts: Documents.
        tokenizer: Of the model.
        words: Compounds as `first-second`; None takes the 21 of the collection.
        context: Tokens of every window.
        rows: Most rows a word.
        seed: Of the order in which places are drawn.

    Example:
        >>> import unweave as uw
        >>> texts = [Text(text="in a way it is not the way of the test " * 9) for _ in range(40)]
        >>> built = compound_words(texts, uw.load_model("zoo:docs").tokenizer, words=["the-way"], context=8)
        >>> built.report()[0]["feature"], sorted(set(built.features[0].strata)) == sorted(ROWS)
        ('the-way', True)
    """
    documents = encoded(((one.text, one.id, None) for one in texts), tokenizer)
    variants = word_variants(tokenizer)
    places = _Places(documents, context)
    priority = priorities(len(places.ids), seed)
    features, missing = [], {}
    for word in names("compound_words") if words is None else words:
        first, _, second = word.partition("-")
        lacking = [part for part in (first, second) if not variants.get(part)]
        if lacking:
            missing[word] = f"{' and '.join(map(repr, lacking))} is no single token of this tokenizer"
            continue
        strata = places.strata(variants[first], variants[second])
        features.append(places.feature(word, strata, priority, rows))
    built = finished(
        "compound_words",
        places.sequences(),
        features,
        context=context,
        drops=places.drops,
        seed=seed,
        strata_kinds=tuple(ROWS),
    )
    return replace(built, skipped={**missing, **built.skipped})


def word_variants(tokenizer: Any) -> dict[str, frozenset[int]]:
    """Word -> all entries of the vocabulary that equal it after stripping and lower-casing."""
    found: dict[str, set[int]] = {}
    for number, string in vocabulary_strings(tokenizer).items():
        found.setdefault(string.strip().lower(), set()).add(number)
    return {word: frozenset(ids) for word, ids in found.items() if word}


class _Places:
    """Tokens of all documents one after the other, and the windows that end on those that are probed."""

    def __init__(self, documents: Sequence[Encodings], context: int) -> None:
        """Notes for each token its document and place there."""
        self.documents, self.context = documents, context
        self.ids = np.concatenate([one.ids for one in documents] or [np.empty(0, np.int64)])
        self.document = np.repeat(np.arange(len(documents)), [len(one.ids) for one in documents])
        self.place = np.concatenate([np.arange(len(one.ids)) for one in documents] or [np.empty(0, np.int64)])
        self.has_room = self.place >= context - 1
        self.has_previous = self.place >= 1
        self.drops: Counter[str] = Counter()
        self._numbers: dict[int, int] = {}

    def strata(self, first: frozenset[int], second: frozenset[int]) -> dict[str, np.ndarray]:
        """Which tokens are of each stratum; only those with a whole window in their document."""
        is_second = np.isin(self.ids, list(second))
        behind_first = np.zeros(len(self.ids), dtype=bool)
        behind_first[1:] = np.isin(self.ids[:-1], list(first)) & self.has_previous[1:]
        found = {
            "bigram": is_second & behind_first,
            "missing_first": is_second & ~behind_first,
            "missing_second": behind_first & ~is_second,
        }
        whole = {name: chosen & self.has_room for name, chosen in found.items()}
        short = sum(int(found[name].sum() - whole[name].sum()) for name in found)
        self.drops[f"places with fewer than {self.context} tokens up to them in their document"] += short
        return whole

    def feature(self, word: str, strata: Mapping[str, np.ndarray], priority: np.ndarray, rows: int) -> TokenFeature:
        """The word's rows, in the ratio of the strata."""
        ratio = {name: count // ROWS["bigram"] for name, count in ROWS.items()}
        most = min(ROWS["bigram"], rows // sum(ratio.values()))
        unit = min(most, *(int(mask.sum()) // ratio[name] for name, mask in strata.items()))
        chosen = {name: first_of(mask, priority, unit * ratio[name]) for name, mask in strata.items()}
        places = np.concatenate(list(chosen.values()))
        numbers = [self._numbers.setdefault(place, len(self._numbers)) for place in places.tolist()]
        kinds = [name for name, found in chosen.items() for _ in range(len(found))]
        return TokenFeature(
            name=word,
            sequence=np.array(numbers, dtype=np.int64),
            position=np.full(len(places), self.context - 1, dtype=np.int64),
            values=np.array([kind == "bigram" for kind in kinds], dtype=bool),
            strata=tuple(kinds),
        )

    def sequences(self) -> list[Prepared]:
        """The windows of all places that a feature has asked for."""
        found = []
        for place in self._numbers:
            document, last = self.documents[self.document[place]], int(self.place[place]) + 1
            found.append(prepared(document, last - self.context, last, SpecialTokens()))
        return found
