"""An evidence card for one representation that the study found: the block of the partition that moves
the model from one of its surest next words to another.

The pair of words is what the text gives: the two next tokens that the model gets right most often. Inputs that decide
which block it is are not those that judge it; the partition itself was fitted without looking at any word, on a part
of the same text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from unweave.errors import DataError
from unweave.evals.card import EvidenceCard, card
from unweave.evals.causing.behaviours import logit_difference
from unweave.evals.causing.causal import ready_pairs
from unweave.evals.causing.pairs import Pairs, solved_pairs, split_pairs
from unweave.evals.causing.spread import screen_blocks
from unweave.models.tokens import Tokens, pad
from unweave.report.record import Figure, Table, Value
from unweave.study.words import one_line
from unweave.study.work import Found, NotPossible, Work

DOCUMENTS, LENGTH, PREFIX = 120, 256, 24
A_DOCUMENT = 4
"""Most places of one token in one document, so that no document is most of the pairs."""
MOST, LEAST, DRAWS = 48, 12, 29
"""Pairs that are run, below which nothing is tested, and random controls of each test: what fits into seconds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Place:
    """A place where the model says the next token right."""

    document: int
    prefix: list[int]
    token: int


def weigh_evidence(work: Work) -> Found:
    """The evidence card of the block that tells two next words apart."""
    if not work.model.predicts_next:
        raise NotPossible("Not done: the model does not predict a next token, so there is no behaviour to move.")
    partition = work.artifact("partition", "partition")
    featurizer = partition.featurizer
    pairs, words = _pairs(work)
    try:
        kept, _ = solved_pairs(work.model, pairs)
        select, report = split_pairs(kept, seed=work.config.seed)
        screened = screen_blocks(
            ready_pairs(work.model, featurizer, select), featurizer, logit_difference(select.answer, select.base_answer)
        )
        found = card(
            work.model, featurizer, int(screened.argmax()), report, concept=f"{words[1]} next rather than {words[0]}",
            selected_on=select, candidates=len(featurizer.blocks), draws=DRAWS, seed=work.config.seed,
        )  # fmt: skip
    except DataError as error:
        raise NotPossible(f"Not done: {error}.") from error
    return Found(
        summary=(f"{found.summary()} Chosen among {found.candidates} blocks on {len(select)} other pairs.",),
        figures=_figures(found),
        tables=(_table(found),),
        warnings=found.warnings,
        results={"card": {**found.row(), "tests": found.table()}},
        artifacts={"card": found},
    )


def _pairs(work: Work) -> tuple[Pairs, tuple[str, str]]:
    """Places where the model rightly says the first word, each with one where it rightly says the second."""
    texts = work.text.texts
    places = _right_places(work, [one.text for one in texts[:DOCUMENTS]])
    common = Counter(one.token for one in places).most_common(2)
    if len(common) < 2 or common[1][1] < LEAST:
        raise NotPossible("Not done: no two next tokens are said right often enough in this text.")
    (first, _), (second, _) = common
    bases, sources = ([one for one in places if one.token == token][:MOST] for token in (first, second))
    count = min(len(bases), len(sources))
    rng = np.random.default_rng([work.config.seed, 47])
    sources = [sources[int(place)] for place in rng.permutation(len(sources))[:count]]
    ids = [_tokens([one.prefix for one in some[:count]]) for some in (bases, sources)]
    pairs = Pairs(
        base=ids[0], source=ids[1],
        answer=[second] * count, base_answer=[first] * count, source_answer=[second] * count,
        among=(first, second), positions="last", groups=[one.document for one in bases[:count]],
    )  # fmt: skip
    return pairs, (_word(work, first), _word(work, second))


def _right_places(work: Work, texts: Sequence[str]) -> list[_Place]:
    """Each prefix once: texts repeat sentences, and one input must not be on both sides of the split."""
    found: dict[tuple[int, ...], _Place] = {}
    for number, text in enumerate(texts):
        if not text.strip():
            continue
        ids = work.model.tokenize([text]).ids[:, :LENGTH]
        seen: Counter[int] = Counter()
        with torch.no_grad():
            said = work.model(ids)[0].argmax(-1).cpu()
        for place in range(4, ids.shape[1] - 1):
            token = int(said[place])
            if token == int(ids[0, place + 1]) and seen[token] < A_DOCUMENT:
                seen[token] += 1
                prefix = ids[0, max(0, place + 1 - PREFIX) : place + 1].tolist()
                found.setdefault(tuple(prefix), _Place(document=number, prefix=prefix, token=token))
    return list(found.values())


def _tokens(rows: list[list[int]]) -> Tokens:
    ids, mask = pad(rows)
    return Tokens(ids=ids, mask=mask)


def _word(work: Work, token: int) -> str:
    return f"'{one_line([work.model.tokenizer.decode([token])])[0]}'"


def _figures(found: EvidenceCard) -> tuple[Figure, ...]:
    rows = [(one, abs(one.ceiling)) for one in found.findings if one.ceiling]
    if not rows:
        return ()
    return (
        Figure(
            kind="forest",
            title="What one block does, above random blocks of its size",
            caption=(
                f"Effect of the block minus the mean of {rows[0][0].draws} random subspaces of equal rank and norm, as"
                " a share of what the whole site does; bars: 95 % intervals over documents. Zero: no more than a random"
                " subspace. Measured at the next token alone, so it says nothing of what follows."
            ),
            data={
                "label": [one.test for one, _ in rows],
                "series": [one.verdict.value for one, _ in rows],
                "value": [one.difference.value / size for one, size in rows],
                "low": [one.difference.low / size for one, size in rows],
                "high": [one.difference.high / size for one, size in rows],
                "control": [(one.effect.control or 0.0) / size for one, size in rows],
            },
            options={"x": "share of the whole site's effect", "control": "random subspaces", "series": "verdict"},
            n=found.n,
            seed=found.seed,
        ),
    )


def _table(found: EvidenceCard) -> Table:
    rows: list[tuple[Value, ...]] = [
        (
            one.test, one.unit, one.effect.value, one.effect.control, one.difference.low, one.difference.high,
            one.difference.p_value, one.prediction.margin, one.verdict.value,
        )
        for one in found.findings
    ]  # fmt: skip
    return Table(
        title=f"Evidence: {found.concept}",
        columns=("test", "unit", "effect", "random", "above, low", "above, high", "rank p", "margin", "verdict"),
        rows=rows,
        note=f"{found.reason} {found.n} pairs; predictions were fixed before the pairs were run.",
    )
