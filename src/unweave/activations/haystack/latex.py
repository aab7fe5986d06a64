"""Collection 9: parts of formulas and of papers, token by token.

| feature | positives | negatives |
|---|---|---|
| is_frac, is_reference, is_math, is_title, ... | tokens in such a span | any other token |
| numerator and denominator, subscript and superscript, inline and display, start and end | tokens in such a span | half of them the mirror, half neither |

At most 20,000 rows a feature, a quarter of them positive; negatives leave out the first five positions of a sequence.
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from unweave.activations.haystack.built import Built, finished
from unweave.activations.haystack.cutting import TokenTable, drawn, encoded, first_of, priorities, token_table
from unweave.activations.haystack.latex_spans import Dialect, latex_spans
from unweave.activations.haystack.names import names
from unweave.activations.texts import Text

SKIPPED = 5
ROWS, SHARE = 20_000, 0.25
SPANS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "is_frac": ("numerator", "denominator"),
        "is_numerator": ("numerator",),
        "is_denominator": ("denominator",),
        "is_title": ("title",),
        "is_abstract": ("abstract",),
        "is_author": ("author",),
        "is_subscript": ("subscript",),
        "is_superscript": ("superscript",),
        "is_reference": ("reference",),
        "is_math": ("inline", "display"),
        "is_inline_math": ("inline",),
        "is_display_math": ("display",),
        "start_math": ("start",),
        "end_math": ("end",),
    }
)
"""Feature -> the spans whose tokens have it; `start_math` and `end_math` are extras, outside the ten collections."""
EXTRAS = ("start_math", "end_math")
_PAIRS = (("is_numerator", "is_denominator"), ("is_subscript", "is_superscript"), ("is_inline_math", "is_display_math"),
          ("start_math", "end_math"))  # fmt: skip
MIRRORS: Mapping[str, str] = MappingProxyType({one: other for pair in _PAIRS for one, other in (pair, pair[::-1])})


def latex(
    texts: Iterable[Text],
    tokenizer: Any,
    *,
    dialect: Dialect | None = None,
    extras: bool = False,
    context: int = 1024,
    rows: int = ROWS,
    seed: int = 0,
) -> Built:
    """The twelve features of LaTeX text.

    Args:
        texts: Documents; those with an odd number of unescaped dollar signs are left out, and counted.
        tokenizer: Of the model.
        dialect: `pandoc` for Markdown with formulas, `native` for LaTeX sources; None takes `native` for documents
            whose id ends in `.tex`.
        extras: Whether to add `start_math` and `end_math`.
        context: Most tokens of a sequence, special ones included.
        rows: Most rows a feature.
        seed: Of the order in which tokens are drawn.

    Raises:
        UnknownName: No such dialect.

    Example:
        >>> import unweave as uw
        >>> texts = [Text(text="We write $x_{1}$ for the first one of these. " * 9) for _ in range(30)]
        >>> built = latex(texts, uw.load_model("zoo:docs").tokenizer, context=256)
        >>> [one["feature"] for one in built.report() if one["status"] == "built"]
        ['is_subscript', 'is_math', 'is_inline_math']
    """
    drops: Counter[str] = Counter()
    kept, spans = [], []
    for one in texts:
        found = latex_spans(one.text, dialect or ("native" if (one.id or "").endswith(".tex") else "pandoc"))
        if found.problem:
            drops[f"documents with {found.problem}"] += 1
        else:
            kept.append((one.text, one.id, None))
            spans.append(found.spans)
    documents = encoded(kept, tokenizer)
    table = token_table(documents, tokenizer, context=context)
    wanted = (*names("latex"), *(EXTRAS if extras else ()))
    masks = {}
    for name in SPANS:
        inside = [
            document.inside([span for kind in SPANS[name] for span in found[kind]])
            for document, found in zip(documents, spans, strict=True)
        ]
        masks[name] = table.gathered(inside, bool)
    priority = priorities(len(table), seed)
    features = []
    for name in wanted:
        chosen = _rows(name, masks, table, priority, rows)
        features.append(table.feature(name, chosen, masks[name][chosen]))
    return finished("latex", table.sequences, features, context=context, drops=drops, seed=seed)


def _rows(name: str, masks: Mapping[str, np.ndarray], table: TokenTable, priority: np.ndarray, most: int) -> np.ndarray:
    """The tokens of a feature: a mirrored one takes half of its negatives from its mirror, as far as there are."""
    positive = masks[name]
    behind = table.position >= SKIPPED
    others = ~positive & behind
    if name not in MIRRORS:
        return drawn(positive, others, priority, rows=most, share=SHARE)
    mirror, neither = masks[MIRRORS[name]] & others, others & ~masks[MIRRORS[name]]
    count = min(int(positive.sum()), round(most * SHARE))
    negatives = min(most - count, round(count * (1 - SHARE) / SHARE))
    half = min(negatives // 2, int(mirror.sum()))
    parts = [
        first_of(positive, priority, count),
        first_of(mirror, priority, half),
        first_of(neither, priority, negatives - half),
    ]
    return np.sort(np.concatenate(parts))
