"""A 5-gram language model with modified Kneser-Ney smoothing: the bar that a zoo language model must clear on the same
held-out tokens.

Interpolated, one discount triple an order, nothing to tune. Counts live in dictionaries: the corpora here have under a
million tokens.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `counts[m]` | c(w_1..w_m), N1+(. w_1..w_m) | dict | occurrences at the top order, distinct left neighbours below it | Chen and Goodman 1999, section 3 |
| `discounts[m]` | D1, D2, D3+ | (3,) | taken from counts of 1, 2, 3 and more; D_i = i - (i+1) Y n_(i+1)/n_i with Y = n1/(n1 + 2 n2) | equation 26 |
| `weight` | gamma(h) | scalar | mass given to the shorter context | equation 27 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ORDER = 5
Gram = tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class KneserNey:
    """Counts, discounts and context totals of an n-gram model; see `fit`."""

    vocabulary_size: int
    start: int
    """Token id that pads the left of every document."""
    counts: dict[int, dict[Gram, int]]
    """Order -> n-gram -> (continuation) count."""
    totals: dict[int, dict[Gram, int]]
    """Order -> context -> sum of the counts of its n-grams."""
    kinds: dict[int, dict[Gram, tuple[int, int, int]]]
    """Order -> context -> how many n-grams have count 1, 2, 3 or more."""
    discounts: dict[int, tuple[float, float, float]]


def fit(documents: Iterable[Sequence[int]], *, vocabulary_size: int, start: int) -> KneserNey:
    """A 5-gram model of the token sequences, each padded on the left by `start`."""
    counts: dict[int, dict[Gram, int]] = {
        ORDER: Counter(gram for document in documents for gram in _grams(document, start))
    }
    for order in range(ORDER - 1, 0, -1):
        counts[order] = Counter(gram[1:] for gram in counts[order + 1])
    totals, kinds = {}, {}
    for order, table in counts.items():
        totals[order], kinds[order] = _contexts(table)
    discounts = {order: _discounts(table) for order, table in counts.items()}
    return KneserNey(
        vocabulary_size=vocabulary_size, start=start, counts=counts, totals=totals, kinds=kinds, discounts=discounts
    )


def probability(model: KneserNey, gram: Gram) -> float:
    """P(last token | the tokens before it), for 1 to 5 tokens."""
    lower = 1.0 / model.vocabulary_size if len(gram) == 1 else probability(model, gram[1:])
    order, context = len(gram), gram[:-1]
    total = model.totals[order].get(context)
    if not total:
        return lower
    count = model.counts[order].get(gram, 0)
    discount = model.discounts[order]
    weight = sum(d * n for d, n in zip(discount, model.kinds[order][context], strict=True)) / total
    kept = count - discount[min(count, 3) - 1] if count else 0.0
    return kept / total + weight * lower


def nats(model: KneserNey, documents: Iterable[Sequence[int]]) -> tuple[float, int]:
    """Sum of -log P in nats over all tokens of the documents, and the number of tokens."""
    logs = [-math.log(probability(model, gram)) for document in documents for gram in _grams(document, model.start)]
    return math.fsum(logs), len(logs)


def _grams(document: Sequence[int], start: int) -> Iterable[Gram]:
    padded = [start] * (ORDER - 1) + list(document)
    return (tuple(padded[i : i + ORDER]) for i in range(len(document)))


def _contexts(table: dict[Gram, int]) -> tuple[dict[Gram, int], dict[Gram, tuple[int, int, int]]]:
    totals: dict[Gram, int] = defaultdict(int)
    kinds: dict[Gram, list[int]] = defaultdict(lambda: [0, 0, 0])
    for gram, count in table.items():
        totals[gram[:-1]] += count
        kinds[gram[:-1]][min(count, 3) - 1] += 1
    return dict(totals), {context: (one, two, more) for context, (one, two, more) in kinds.items()}


def _discounts(table: dict[Gram, int]) -> tuple[float, float, float]:
    having = Counter(table.values())
    n1, n2, n3, n4 = (having.get(i, 0) for i in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return (
            0.5,
            0.5,
            0.5,
        )  # the estimate needs counts of 1, 2 and 3; tiny corpora and unigrams of a small vocabulary lack them
    ratio = n1 / (n1 + 2 * n2)
    return (1 - 2 * ratio * n2 / n1, 2 - 3 * ratio * n3 / n2, 3 - 4 * ratio * n4 / n3)
