"""The local interaction basis of a language model's last MLP, against principal components: how many directions
each needs, and the graph between them.
"""

from __future__ import annotations

from typing import Any

import torch

from unweave.errors import DataError, InputError
from unweave.interaction.comparing import compare
from unweave.interaction.figure import graph_columns
from unweave.interaction.labels import top_inputs
from unweave.interaction.measuring import BasisRun, measure_subject
from unweave.interaction.subjects import Subject, language_subject
from unweave.report.record import Card, Figure, Passage, Passages, Table
from unweave.study.words import one_line
from unweave.study.work import Found, NotPossible, Work

CONTEXT, WINDOWS = 32, 24
"""Tokens of a window, windows to fit on and as many to score: a few seconds."""
CARDS, EACH = 3, 3
SHOWN = 16
"""Nodes of a layer in the figure."""


def interaction_graph(work: Work) -> Found:
    """The MLP of the last block: fitted on half of the windows, scored on the other half."""
    subject = _subject(work)
    runs = [
        measure_subject(
            subject,
            basis=basis,
            seed=work.config.seed,
            with_edges=False,
            schedule=_tried(subject.sections[0].d_in + 1),
            options=_options(basis),
        )
        for basis in ("lib", "pca", "random")
    ]
    lib = runs[0]
    rows = lib.result.ranks[lib.result.layers[0]]
    layer = lib.result.layers[0]
    reached = {run.basis: run.nodes[0].needed for run in runs}
    # the constant is no direction
    needed = {basis: rows.width if count is None else max(0, count - 1) for basis, count in reached.items()}
    count = subject.inputs.numel()
    kept = (
        f"all {rows.width} directions, of the local interaction basis, principal components and random ones alike"
        if min(needed.values()) >= rows.width
        else f"{needed['lib']} directions of the local interaction basis, {needed['pca']} principal components,"
        f" {needed['random']} random directions, of {rows.width}"
    )
    summary = (
        f"At {work.title_of(layer)}, keeping the loss within {subject.tolerance} nats takes {kept} (fitted on"
        f" {count} tokens, which is few).",
    )
    return Found(
        summary=summary,
        figures=(_curves(runs, count, work.config.seed), _graph(lib, count, work.config.seed)),
        tables=(_table(runs),),
        cards=tuple(_cards(lib, subject, work)),
        results={"bases": compare(runs), "layers": [row for run in runs for row in run.table()]},
        artifacts={"lib": lib},
    )


def _tried(width: int) -> list[int]:
    """Powers of two, and eighths of the width."""
    powers = [2**power for power in range(width.bit_length())]
    return sorted({*powers, *(round(width * part / 8) for part in range(1, 9))})


def _options(basis: str) -> dict[str, Any]:
    return {"batch": WINDOWS, "edges": "squared" if basis == "lib" else "none"}


def _subject(work: Work) -> Subject:
    """The last block from its middle on.

    Raises:
        NotPossible: The model predicts no next token, has no stream between attention and MLP, or the text is short.
    """
    from dataclasses import replace

    if work.model.family is None or not work.model.predicts_next or "resid_mid" not in work.model.family.components:
        raise NotPossible("Not done: the interaction basis is measured on the next-token loss, which this model lacks.")
    texts = [one.text for one in work.text.texts]
    try:
        whole = language_subject(work.model, texts, context=CONTEXT, windows=WINDOWS)
    except (InputError, DataError) as error:
        raise NotPossible(f"Not done: {error}") from error
    return replace(whole, sections=whole.sections[1:])


def _curves(runs: list[BasisRun], count: int, seed: int) -> Figure:
    """Loss against kept directions."""
    data: dict[str, list[Any]] = {"x": [], "y": [], "low": [], "high": [], "series": []}
    for run in runs:
        nodes = run.nodes[0]
        for at in nodes.points:
            if at.kept:
                for name, value in zip(data, (at.kept, at.score, at.low, at.high, run.basis), strict=True):
                    data[name].append(value)
    return Figure(
        kind="curves",
        title=f"Loss with the first n directions of {runs[0].nodes[0].layer}",
        caption="Next-token loss in nats on held-out windows, 95 % intervals over windows; n counts the constant."
        " Nothing was chosen on these windows.",
        data=data,
        options={"x": "directions kept", "y": "nats a token"},
        n=count,
        seed=seed,
    )


def _graph(run: BasisRun, count: int, seed: int) -> Figure:
    result = run.result
    return Figure(
        kind="graph",
        title="The strongest interactions between the bases of the last layers",
        caption="Each dot is a direction of the local interaction basis, most important first; a line is the mean"
        " squared attribution of one direction to another, as powers of ten above a millionth of the strongest. The"
        " skip path dominates: the strongest lines carry a direction on unchanged.",
        data=graph_columns(result, nodes=SHOWN, edges=200),
        options={"layers": "|".join(result.layers), "value": "log10 of the edge", "least": "3"},
        n=count,
        seed=seed,
    )


def _table(runs: list[BasisRun]) -> Table:
    columns = ("basis", "layer", "kept", "nodes needed", "projected", "base")
    return Table(
        title="Directions needed to stay within 0.01 nats",
        columns=columns,
        rows=[tuple(row[column] for column in columns) for run in runs for row in run.table()],
        note="projected: the loss with every layer put through its basis and back at once.",
    )


def _cards(run: BasisRun, subject: Subject, work: Work) -> list[Card]:
    """The most important directions with the tokens that move them most."""
    layer = run.result.layers[0]
    tops = top_inputs(run.result, subject.sections, subject.inputs, EACH, layer=layer)
    cards = []
    for unit in range(min(CARDS, len(tops))):
        importance = float(run.result.lambdas[layer][unit])
        error = run.result.lambda_se.get(layer)
        told = "" if error is None else f" (standard error {float(error[unit]):.2g})"
        cards.append(
            Card(
                title=f"Direction {unit + 1} of {layer}",
                summary=(f"Importance to what follows: {importance:.4g}{told}.",),
                passages=(
                    Passages(
                        title="Where it is largest, of either sign",
                        rows=tuple(_passage(work, subject.inputs[row], at, value) for row, at, value in tops[unit]),
                    ),
                ),
            )
        )
    return cards


def _passage(work: Work, ids: torch.Tensor, focus: int, value: float) -> Passage:
    pieces = one_line(work.model.tokenizer.decode([token]) for token in ids.tolist())
    sign = 1.0 if value > 0 else -1.0
    shades = tuple(sign if place == focus else 0.0 for place in range(len(pieces)))
    return Passage(pieces=pieces, shades=shades, focus=focus, note=f"value {value:.3g}")
