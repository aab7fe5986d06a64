"""How the words of the studied text share space in small models trained on it alone, what decay changes, and
whether the model's own token embeddings lay the same words out alike.

A small run on a part of the text: a look, not a measurement.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from unweave.errors import DataError, InputError
from unweave.report.record import Table
from unweave.study.superposition.config import TextLabConfig
from unweave.study.superposition.lab import TextLab, plan_text, text_lab
from unweave.study.superposition.record import text_found
from unweave.study.work import Found, NotPossible, Work
from unweave.superposition.handover import compare_geometry

CHARACTERS = 400_000
"""Of the text that are looked at, from the start."""
VOCAB, WIDTH, DECAYS, WINDOW, EPOCHS = 500, 24, (0.0, 4.0), 8, 12
SHOWN = ("Word map in three dimensions", "Read in context against read alone", "What other words add where the word is")
FEWEST = 60
"""Windows below which nothing is fitted."""


def share_space(work: Work) -> Found:
    """Models of the text's bags of words beside the closed form, and beside the studied model's embeddings."""
    texts, size = [], 0
    for text in work.text.texts:
        texts.append(text.text)
        size += len(text.text)
        if size >= CHARACTERS:
            break
    config = TextLabConfig(
        vocab=VOCAB, window=WINDOW, widths=(WIDTH,), decays=DECAYS, epochs=EPOCHS, lr=5e-3, batch=128, min_chars=1,
        seed=work.config.seed,
    )  # fmt: skip
    windows = plan_text(texts, config)["windows"]
    if windows < FEWEST:
        raise NotPossible(f"Not done: {windows} windows are too few to fit anything to.")
    try:
        lab = text_lab(texts, config, work.progress)
    except (DataError, InputError) as error:
        raise NotPossible(f"Not done: {error}") from error
    found = text_found(lab, quick=True)
    compared = _beside_embeddings(work, lab)
    tables = tuple(table for table in (*found.tables[:1], compared) if table is not None)
    figures = tuple(one for one in found.figures if one.title in SHOWN or one.title.startswith("Ring of months"))
    facts = {name: value for name, value in lab.facts().items() if name not in ("vocab", "cpu_seconds")}
    return Found(summary=found.summary[:1], figures=figures, tables=tables, warnings=found.warnings, results=facts)


def _beside_embeddings(work: Work, lab: TextLab) -> Table | None:
    """Agreement of cosines with the studied model's token embeddings."""
    layer = cast(Any, work.model.module).get_input_embeddings()
    weight = layer.weight.detach().double().numpy()
    vectors = {}
    for word in lab.bags.vocab:
        ids = work.model.tokenizer.encode(f" {word}", add_special_tokens=False)
        if ids:
            vectors[word] = weight[np.asarray(ids)].mean(0)
    trained = next(one.model for one in lab.scored if one.model.seed is not None)
    try:
        rows = compare_geometry(trained, vectors, lab.bags, draws=50, seed=work.config.seed)
    except DataError:
        return None
    return Table(
        title="The same words in the model's token embeddings",
        columns=("vectors", "correlation of cosines", "CKA", "words", "p"),
        rows=[(row["vectors"], row["correlation"], row["cka"], row["words"], row["p_value"]) for row in rows],
        note="Correlations in the text and PPMI vectors are what counts alone would give; p is of permuted words.",
    )
