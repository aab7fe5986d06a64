"""Figures, tables and cards of an interaction basis, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unweave.interaction.ablation import Point
from unweave.interaction.edge_ablation import kept_thresholds
from unweave.interaction.figure import NONE, graph_columns
from unweave.interaction.labels import top_inputs
from unweave.interaction.measuring import BasisRun
from unweave.interaction.subjects import Subject
from unweave.report.record import Card, Figure, Passage, Passages, Table, Value
from unweave.study.words import number, one_line

CARDS, TOP, EDGES_OF_A_CARD = 4, 4, 5
"""Nodes of a layer with a card, inputs and edges on each."""
LABEL = 40
"""Longest label in a table."""
SHOWN, LINES = 24, 600
"""Most nodes of a layer and most edges of the graph."""
QUANTITIES = ("nodes", "edges", "projected", "modularity", "rewired", "p", "truth", "edges against lib")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A run with what is told of its nodes."""

    run: BasisRun
    subject: Subject
    labels: Mapping[str, Sequence[str]]

    @property
    def layers(self) -> tuple[str, ...]:
        """Those whose nodes have cards."""
        return self.run.result.layers[:-1]

    def name(self, layer: str, unit: int) -> str:
        """A node with its label."""
        told = self.labels[layer][unit] if layer in self.labels else ""
        short = told if len(told) <= LABEL else told[: LABEL - 1] + "…"
        return f"{layer} {unit + 1}" + (f" ({short})" if short else "")

    def title(self, layer: str, unit: int) -> str:
        """The same at the head of a card."""
        told = self.labels[layer][unit] if layer in self.labels else ""
        return f"Direction {unit + 1} of {layer}" + (f": {told}" if told else "")


def _curve(rows: Sequence[tuple[Point, str, str]]) -> dict[str, list[Value]]:
    data: dict[str, list[Value]] = {name: [] for name in ("x", "y", "low", "high", "series", "facet")}
    for at, layer, series in rows:
        for name, value in zip(data, (at.kept, at.score, at.low, at.high, series, layer), strict=True):
            data[name].append(value)
    return data


def node_curves(runs: Sequence[BasisRun]) -> Figure:
    """Score against kept directions, a panel a layer."""
    rows = [(at, one.layer, run.basis) for run in runs for one in run.nodes for at in one.points if at.kept]
    score = runs[0].nodes[0].score
    return Figure(
        kind="curves", title="Score with the first n directions alone",
        caption=f"The {score} on held-out inputs with all but the first n directions of one layer taken out, 95 %"
        " intervals over inputs; directions count the constant; n: inputs it was fitted on.",
        data=_curve(rows), options={"x": "directions kept", "y": score, "x_scale": "log2"},
        n=runs[0].result.inputs, seed=runs[0].seed,
    )  # fmt: skip


def edge_curves(runs: Sequence[BasisRun]) -> list[Figure]:
    """Score against kept edges, a panel a layer; none where edges were not ablated."""
    rows = [(at, one.layer, run.basis) for run in runs for one in run.edges for at in one.points if at.kept]
    if not rows:
        return []
    score = runs[0].nodes[0].score
    return [
        Figure(
            kind="curves",
            title="Score with the largest edges alone",
            caption=f"The {score} with all but the largest edges that leave one layer cut, 95 % intervals over inputs."
            " The numbers are those that the search tried; n: inputs it was fitted on.",
            data=_curve(rows),
            options={"x": "edges kept", "y": score, "x_scale": "log2"},
            n=runs[0].result.inputs,
            seed=runs[0].seed,
        )
    ]


def graph_figure(shown: Shown) -> Figure:
    """The edges that the model needs, or all where none were ablated."""
    run = shown.run
    thresholds = kept_thresholds(run.result, run.edges) if run.edges else None
    above = "above the weakest that the model needs" if run.edges else "above a millionth of the strongest of its layer"
    named = "their colours are modules of the needed edges; " if run.modules is not None else ""
    return Figure(
        kind="graph", title="The interaction graph",
        caption=f"Each dot is a direction, larger if more important within its layer; {named}a line is the mean squared"
        f" attribution of one direction to another, in powers of ten {above}. Shown are the {SHOWN} most important"
        f" directions of a layer at most, and the {LINES} strongest lines between them."
        " Point at a dot for its label; the slider hides weak lines; n: inputs it was fitted on.",
        data=graph_columns(
            run.result, labels=shown.labels, modules=run.modules, threshold=thresholds, nodes=SHOWN, edges=LINES,
            only_linked=bool(run.edges),
        ),
        options={"layers": "|".join(run.result.layers), "value": "log10 of the edge", "least": "0"}
        | ({"plain": NONE} if run.modules is not None else {}),
        n=run.result.inputs, seed=run.seed,
    )  # fmt: skip


def layer_table(run: BasisRun) -> Table:
    """What each layer needs."""
    names = ("layer", "kept", "nodes needed", "edges needed", "envelope", "low", "high", "gini")
    columns = tuple(name for name in names if any(row[name] is not None for row in run.table()))
    return Table(
        title="Needed, by layer", columns=columns, rows=[tuple(row[one] for one in columns) for row in run.table()],
        note="kept and needed nodes count the constant; edges leave the layer; envelope: from which number on all that"
        " were tried are enough, with its 95 % interval over inputs; Gini of all edges (1: one has all).",
    )  # fmt: skip


def module_table(shown: Shown) -> Table:
    """Sizes, layers and most important nodes of the modules."""
    modules = shown.run.modules
    rows: list[tuple[Value, ...]] = []
    for place, members in enumerate(modules.members if modules else (), 1):
        layers = [layer for layer, _ in members]
        counts = ", ".join(f"{layers.count(layer)} of {layer}" for layer in dict.fromkeys(layers))
        first = "; ".join(shown.name(*node) for node in sorted(members, key=lambda node: node[1])[:3])
        rows.append((str(place), len(members), counts, first))
    return Table(
        title="Modules of the needed edges", columns=("module", "nodes", "where", "most important"), rows=rows,
        note="The model's outputs are left out. A modularity means nothing without that of rewired graphs.",
    )  # fmt: skip


def node_cards(shown: Shown) -> list[Card]:
    """The most important nodes of every layer but the last."""
    run, subject = shown.run, shown.subject
    cards = []
    for layer in shown.layers:
        order = run.result.lambdas[layer].argsort(descending=True)[:CARDS].tolist()
        tops = top_inputs(run.result, subject.sections, subject.held_out, TOP, layer=layer) if subject.spell else []
        for unit in order:
            importance = float(run.result.lambdas[layer][unit])
            share = importance / float(run.result.lambdas[layer].sum())
            module = [
                str(place)
                for place, one in enumerate(run.modules.members if run.modules else (), 1)
                if (layer, unit) in one
            ]
            said = [f"Importance {importance:.4g}, {share:.0%} of its layer's."]
            if module:
                said.append(f"Module {module[0]}.")
            cards.append(
                Card(
                    title=shown.title(layer, unit),
                    summary=tuple(said),
                    passages=(_tops(subject, tops[unit]),) if tops else (),
                    tables=_neighbours(shown, layer, unit),
                )
            )
    return cards


def _tops(subject: Subject, tops: Sequence[tuple[int, int, float]]) -> Passages:
    rows = []
    for row, position, value in tops:
        pieces = one_line(subject.spell(row)) if subject.spell else ()
        focus = min(position, len(pieces) - 1)
        sign = 1.0 if value > 0 else -1.0
        shades = tuple(sign if place == focus else 0.0 for place in range(len(pieces)))
        rows.append(Passage(pieces=pieces, shades=shades, focus=focus, note=f"value {value:.3g}"))
    return Passages(title="Held-out inputs where it is largest, of either sign", rows=tuple(rows))


def _neighbours(shown: Shown, layer: str, unit: int) -> tuple[Table, ...]:
    """The strongest edges to and from a node."""
    rows: list[tuple[Value, ...]] = []
    for (source, target), edges in shown.run.result.edges.items():
        if source == layer:
            values, way, other = edges[:, unit], "to", target
        elif target == layer:
            values, way, other = edges[unit], "from", source
        else:
            continue
        best = values.topk(min(EDGES_OF_A_CARD, len(values)))
        total = float(values.sum()) or 1.0
        for value, place in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            rows.append((way, shown.name(other, place), value, f"{value / total:.0%}"))
    if not rows:
        return ()
    return (Table(title="Strongest edges", columns=("way", "node", "edge", "share of the node's"), rows=rows),)


def needed_figure(rows: Sequence[Mapping[str, Any]], what: str, runs: Sequence[BasisRun]) -> Figure:
    """What each basis needs at each layer."""
    known = [row for row in rows if row[what] is not None]
    return Figure(
        kind="forest", title=f"{what.title()} needed, by layer",
        caption="Mean over seeds; the line goes from the least to the most. Seeds are of the random rotation, of the"
        " model's training or of the data, as the runs were made.",
        data={
            "label": [row["layer"] for row in known], "value": [row[what] for row in known],
            "low": [row[f"{what} range"][0] for row in known], "high": [row[f"{what} range"][1] for row in known],
            "series": [row["basis"] for row in known],
        },
        options={"x": f"{what} needed"}, n=runs[0].result.inputs, seed=runs[0].seed,
    )  # fmt: skip


def means_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Rows of `compare`, a cell a mean with its range."""
    heads = [name for name in ("basis", "layer", "seeds") if name in rows[0]]
    names = [name for name in QUANTITIES if any(row.get(name) is not None for row in rows)]
    return Table(
        title=title, columns=(*heads, *(name.replace(" against lib", " more than lib") for name in names)),
        rows=[(*(row[name] for name in heads), *(_cell(row, name) for name in names)) for row in rows],
        note="Means over seeds with the least and the most; needed nodes count the constant once a layer; rewired: mean"
        " modularity of graphs with the same degrees.",
    )  # fmt: skip


def _cell(row: Mapping[str, Any], name: str) -> Value:
    if row.get(name) is None:
        return None
    low, high = row[f"{name} range"]
    counts = name.startswith(("nodes", "edges"))
    if low == high:
        return int(low) if counts else round(float(low), 3)
    ends = 0 if counts else 2
    mean = number(row[name], 1 if counts else 2)
    return f"{mean} [{number(low, ends)}, {number(high, ends)}]"
