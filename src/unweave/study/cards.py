"""Neuron cards as a report shows them."""

from __future__ import annotations

from collections.abc import Sequence

from unweave.evals.contexts import Context
from unweave.evals.neuron_card import NeuronCard
from unweave.report.record import Card, Figure, Passage, Passages, Table, Value
from unweave.study.words import number, one_line, with_interval

KINDS = {
    "top": ("Where it is most active", "At most one from a window."),
    "false positive": ("Where it is active without the label", "Held-out documents, the surest first."),
    "false negative": ("Labelled, but it is silent", "Held-out documents, the surest first."),
    "active": ("Random tokens where it is active", ""),
    "inactive": ("Random tokens where it is not", ""),
}
"""Kind of context -> heading and note, in the order they are shown."""


def shown_card(card: NeuronCard, *, label: str, seed: int, documents: int) -> Card:
    """The card for a report.

    Args:
        card: From `neuron_card`.
        label: The feature as figures show it.
        seed: Of its random contexts.
        documents: Held-out documents behind its score.
    """
    return Card(
        title=f"{card.site} neuron {card.unit}: {label}",
        summary=_sentences(card, documents),
        figures=(_histogram(card, seed),),
        tables=_tables(card),
        passages=tuple(
            Passages(title=f"{KINDS[kind][0]} ({len(rows)})", note=KINDS[kind][1], rows=passages(rows))
            for kind in KINDS
            if (rows := card.of(kind))
        ),
    )


def passages(rows: Sequence[Context]) -> tuple[Passage, ...]:
    """Contexts as shaded texts, all on one scale."""
    largest = max((abs(value) for row in rows for value in row.values if value == value), default=0.0) or 1.0
    return tuple(
        Passage(
            pieces=one_line(row.tokens),
            shades=tuple(round(value / largest, 3) if value == value else 0.0 for value in row.values),
            hints=tuple(number(value, 3) if value == value else "" for value in row.values),
            focus=row.focus,
            note=f"{number(row.values[row.focus], 3)} · document {row.document}",
        )
        for row in rows
    )


def _sentences(card: NeuronCard, documents: int) -> tuple[str, ...]:
    found = []
    if card.probe is not None:
        probe = card.probe
        found.append(
            f"Alone it tells the label with F1 {with_interval(probe.f1)}, precision {number(probe.precision)}, recall"
            f" {number(probe.recall)} on {documents} held-out documents"
            f"{'' if probe.coef[0] > 0 else '; it is low where the label holds'}."
        )
    if card.also:
        told = ", ".join(f"{one.feature} ({'higher' if one.t > 0 else 'lower'})" for one in card.also[:6])
        found.append(f"Among the best neurons for other features too: {told}.")
    if card.raises:
        up, down = (
            " ".join(f"“{_visible(token)}”" for token, _ in tokens[:6]) for tokens in (card.raises, card.lowers)
        )
        found.append(f"Its output raises the logits of {up} most and lowers those of {down}.")
    if card.correlated:
        near = ", ".join(f"{unit} ({number(value, 2, signed=True)})" for unit, value in card.correlated[:3])
        found.append(f"Neurons of the layer that go with it most, by correlation: {near}.")
    return tuple(found)


def _visible(token: str) -> str:
    return token.replace("\n", "↵").replace("\t", "⇥").replace(" ", "␣")


def _histogram(card: NeuronCard, seed: int) -> Figure:
    edges = card.histogram.edges
    rows = [
        (edges[place], edges[place + 1], count, name)
        for name, counts in card.histogram.counts
        for place, count in enumerate(counts)
    ]
    return Figure(
        kind="histogram",
        title="Activation by class",
        caption="Rows at each activation, all documents; the axis is logarithmic from 1 on.",
        data={
            "left": [row[0] for row in rows],
            "right": [row[1] for row in rows],
            "value": [row[2] for row in rows],
            "series": [row[3] for row in rows],
        },
        options={"x": "activation", "y": "rows"},
        n=sum(sum(counts) for _, counts in card.histogram.counts),
        seed=seed,
    )


def _tables(card: NeuronCard) -> tuple[Table, ...]:
    if not card.weights:
        return ()
    rows: list[tuple[Value, ...]] = [(one.name, one.value, round(one.percentile)) for one in card.weights]
    return (Table(title="Its weights", columns=("statistic", "value", "percentile in the layer"), rows=rows),)
