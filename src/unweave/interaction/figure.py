"""The columns of a figure of an interaction graph: plain values, which only the report draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unweave.interaction.modules import Modules
from unweave.interaction.result import InteractionResult

MOST_NODES = 24
"""Nodes of a layer that a figure shows."""
MOST_EDGES = 400
NONE = "none"
"""The module of a node without one."""


def graph_columns(
    result: InteractionResult,
    *,
    labels: Mapping[str, Sequence[str]] | None = None,
    modules: Modules | None = None,
    threshold: Mapping[tuple[str, str], float] | None = None,
    nodes: int = MOST_NODES,
    edges: int = MOST_EDGES,
) -> dict[str, list[Any]]:
    """Rows for every node (`what` = node, its importance as share of its layer's largest) and every edge between shown
    nodes (its log weight), at places from left to right and by falling importance.

    Args:
        result: The fit.
        labels: Layer -> one label a node.
        modules: Colours of the nodes.
        threshold: As in `InteractionResult.graph`.
        nodes: Most nodes of a layer.
        edges: Most edges, the strongest.

    Example:
        >>> import torch
        >>> from unweave.interaction.builders import mlp
        >>> from unweave.interaction.fit import fit
        >>> net = mlp([(torch.eye(2), torch.zeros(2)), (torch.eye(2), torch.zeros(2))])
        >>> columns = graph_columns(fit(net, torch.rand(40, 2)), edges=3)
        >>> columns["what"].count("node"), columns["what"].count("edge")
        (6, 3)
    """
    where = {} if modules is None else {node: str(number) for number, one in enumerate(modules.members) for node in one}
    order = {layer: result.lambdas[layer].argsort(descending=True)[:nodes].tolist() for layer in result.layers}
    places = {
        (layer, unit): (float(column), float(row))
        for column, layer in enumerate(result.layers)
        for row, unit in enumerate(order[layer])
    }
    rows: list[dict[str, Any]] = []
    for (layer, unit), (x, y) in places.items():
        share = float(result.lambdas[layer][unit] / result.lambdas[layer].max())
        told = labels[layer][unit] if labels and layer in labels else ""
        rows.append(
            {
                "what": "node", "x": x, "y": y, "x2": None, "y2": None, "value": share,
                "module": where.get((layer, unit), NONE), "label": f"{layer} {unit + 1} {told}".strip(),
            }
        )  # fmt: skip
    rows += sorted(_edge_rows(result, places, where, threshold), key=lambda row: -row["value"])[:edges]
    return {name: [row[name] for row in rows] for name in rows[0]}


def _edge_rows(
    result: InteractionResult,
    places: Mapping[tuple[str, int], tuple[float, float]],
    where: Mapping[tuple[str, int], str],
    threshold: Mapping[tuple[str, str], float] | None,
) -> list[dict[str, Any]]:
    rows = []
    for block in result.graph("log", threshold=threshold).edges:
        for i, j in (block.weight > 0).nonzero().tolist():
            source, target = (str(block.source), i), (str(block.target), j)
            if source in places and target in places:
                (x, y), (x2, y2) = places[source], places[target]
                rows.append(
                    {
                        "what": "edge", "x": x, "y": y, "x2": x2, "y2": y2, "value": float(block.weight[i, j]),
                        "module": where.get(source, NONE),
                        "label": f"{source[0]} {i + 1} to {target[0]} {j + 1}",
                    }
                )  # fmt: skip
    return rows
