"""Collections 5 to 7: part of speech, morphology and dependency relation of tokens, from Universal Dependencies.

| feature | negatives |
|---|---|
| upos | tokens with another part of speech (PART among them; it is never a positive) |
| dep, VerbForm, PronType, Person, Gender | tokens that have the attribute with another *listed* value |
| Number_Plur, Mood_Imp, Tense_Past | exactly Sing, Ind, Pres |
| NumType_Card, eos | any token |
| Voice_Pass | other pieces tagged VERB |
| first_eos | later sentence ends of the sequence |

A piece takes the annotation of the first word whose characters it overlaps. At most 25,000 rows a feature, at most
5,000 of them positive; the first five positions of a sequence are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from unweave.activations.haystack.built import Built, TokenFeature, finished_together
from unweave.activations.haystack.conllu import Sentence, Word
from unweave.activations.haystack.cutting import Encodings, TokenTable, drawn, encoded, priorities, token_table
from unweave.activations.haystack.names import MORPHOLOGY, RELATIONS, names

SKIPPED = 5
ROWS, SHARE = 25_000, 0.2
AGAINST: Mapping[str, str] = MappingProxyType({"Number": "Sing", "Mood": "Ind", "Tense": "Pres"})
"""Attribute -> the one value that its negatives have."""
SPELT: Mapping[str, str] = MappingProxyType({"PUNC": "PUNCT"})
"""Part of speech -> as the files spell it."""
SENTENCE_ENDS = frozenset(".!?")


def ud_features(
    sentences: Sequence[Sentence], tokenizer: Any, *, context: int = 512, rows: int = ROWS, seed: int = 0
) -> dict[str, Built]:
    """`ewt_upos`, `ewt_morph` and `ewt_dep`, all on the same sequences and in one order of tokens.

    Args:
        sentences: From `read_conllu`.
        tokenizer: Of the model.
        context: Most tokens of a sequence, special ones included; cut at sentence ends.
        rows: Most rows a feature; a fifth of them positive.
        seed: Of the order in which tokens are drawn.
    """
    grouped = _documents(sentences)
    documents = encoded(((_joined(one), one[0].document, one[0].document) for one in grouped), tokenizer)
    begins = [_sentence_tokens(document, one) for document, one in zip(documents, grouped, strict=True)]
    table = token_table(documents, tokenizer, context=context, ends=lambda number: begins[number])
    tags = _Tags(documents, grouped, table)
    valid = table.position >= SKIPPED
    priority = priorities(len(table), seed)
    found: dict[str, list[TokenFeature]] = {}
    for collection in ("ewt_upos", "ewt_morph", "ewt_dep"):
        features = []
        for name in names(collection):
            positive, negative = tags.classes(name)
            chosen = drawn(positive & valid, negative & valid & ~positive, priority, rows=rows, share=SHARE)
            features.append(table.feature(name, chosen, positive[chosen]))
        found[collection] = features
    return finished_together(found, table.sequences, context=context, drops=tags.drops, seed=seed)


def _documents(sentences: Sequence[Sentence]) -> list[list[Sentence]]:
    """Sentences of one document together, in order of first appearance."""
    found: dict[str, list[Sentence]] = {}
    for sentence in sentences:
        found.setdefault(sentence.document, []).append(sentence)
    return list(found.values())


def _joined(sentences: Sequence[Sentence]) -> str:
    return " ".join(sentence.text for sentence in sentences)


def _starts(sentences: Sequence[Sentence]) -> list[int]:
    """First character of each sentence in its document."""
    found, start = [], 0
    for sentence in sentences:
        found.append(start)
        start += len(sentence.text) + 1
    return found


def _sentence_tokens(document: Encodings, sentences: Sequence[Sentence]) -> list[int]:
    """The first token of each sentence: the first one that ends behind its first character."""
    ends = document.characters[1]
    return np.searchsorted(ends, _starts(sentences), side="right").tolist()


class _Tags:
    """The annotation of every token of the table."""

    def __init__(
        self,
        documents: Sequence[Encodings],
        grouped: Sequence[Sequence[Sentence]],
        table: TokenTable,
    ) -> None:
        """Finds the word of every token and the last token of every sentence."""
        self.words: list[Word] = []
        self.drops: Counter[str] = Counter()
        numbers, ends = [], []
        for document, sentences in zip(documents, grouped, strict=True):
            numbers.append(self._numbers(document, sentences))
            ends.append(_ends(document, sentences))
        self._known: dict[str, np.ndarray] = {}
        self.of_token = table.gathered(numbers, np.int64)
        """Word of each token, -1 where it overlaps none."""
        self.is_end = table.gathered(ends, bool)
        first = np.zeros(len(table), dtype=bool)
        places = np.flatnonzero(self.is_end)
        first[places[np.unique(table.sequence[places], return_index=True)[1]]] = True
        self.is_first_end = first
        self.drops["tokens outside every word"] += int((self.of_token < 0).sum())

    def classes(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Which tokens have a feature, and which are its negatives."""
        attribute, _, value = name.rpartition("_")
        if attribute in ("upos", "dep"):
            return self._tagged(attribute, value)
        if attribute == "eos":
            return self.is_end, ~self.is_end
        if attribute == "first_eos":
            return self.is_first_end, self.is_end & ~self.is_first_end
        values = self._values(attribute, lambda word: word.features.get(attribute, ""))
        if attribute == "NumType":
            return values == value, values != value
        if attribute == "Voice":
            return values == value, (self._values("upos", lambda word: word.upos) == "VERB") & (values != value)
        if attribute in AGAINST:
            return values == value, values == AGAINST[attribute]
        return values == value, np.isin(values, MORPHOLOGY[attribute]) & (values != value)

    def _tagged(self, attribute: str, value: str) -> tuple[np.ndarray, np.ndarray]:
        if attribute == "upos":
            values = self._values("upos", lambda word: word.upos)
            spelt = SPELT.get(value, value)
            return values == spelt, ~np.isin(values, ["", "_", spelt])
        values = self._values("dep", lambda word: word.relation)
        return values == value, np.isin(values, RELATIONS) & (values != value)

    def _values(self, attribute: str, of: Callable[[Word], str]) -> np.ndarray:
        """The value of each token, empty where it has no word."""
        if attribute not in self._known:
            self._known[attribute] = np.array([of(word) for word in self.words] + [""])[self.of_token]
        return self._known[attribute]

    def _numbers(self, document: Encodings, sentences: Sequence[Sentence]) -> np.ndarray:
        """The word of each token of a document: the first one it overlaps."""
        first = len(self.words)
        starts, ends = [], []
        for offset, sentence in zip(_starts(sentences), sentences, strict=True):
            for word in sentence.words:
                if word.end > word.start:  # parts without characters of their own
                    self.words.append(word)
                    starts.append(offset + word.start)
                    ends.append(offset + word.end)
        begins, stops = document.characters
        places = np.searchsorted(ends, begins, side="right")
        inside = places < len(starts)
        overlap = np.zeros(len(begins), dtype=bool)
        overlap[inside] = (np.array(starts)[places[inside]] < stops[inside]) & (stops[inside] > begins[inside])
        return np.where(overlap, first + places, -1)


def _ends(document: Encodings, sentences: Sequence[Sentence]) -> np.ndarray:
    """Which tokens are the last piece of a sentence, with a sign that ends one; a space behind it is no piece of it."""
    found = np.zeros(len(document.ids), dtype=bool)
    begins, stops = document.characters
    for start, sentence in zip(_starts(sentences), sentences, strict=True):
        last = int(np.searchsorted(begins, start + len(sentence.text), side="left")) - 1
        if last >= 0 and SENTENCE_ENDS & set(document.text[begins[last] : stops[last]]):
            found[last] = True
    return found
