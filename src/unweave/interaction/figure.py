"""The columns of a figure of an interaction graph: plain values, which only the report draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unweave.interaction.modules import Modules, Node
from unweave.interaction.result import InteractionResult

MOST_NODES = 24
"""Nodes of a layer that a figure shows."""
MOST_EDGES = 400
MOST_MODULES = 6
"""Modules with a name of their own, the largest; a figure has no more colours."""
NONE, OTHER = "none", "other"
"""The module of a node without one, and of a node in a small one."""


def graph_columns(
    result: InteractionResult,
    *,
    labels: Mapping[str, Sequence[str]] | None = None,
    modules: Modules | None = None,
    threshold: Mapping[tuple[str, str], float] | None = None,
    nodes: int = MOST_NODES,
    edges: int = MOST_EDGES,
    only_linked: bool = False,
) -> dict[str, list[Any]]:
    """Rows for every node (`what` = node, its importance as share of its layer's largest) and every edge between shown
    nodes (its log weight), at places from left to right, by module and falling importance. Modules are counted from 1.

    Args:
        result: The fit.
        labels: Layer -> one label a node.
        modules: Colours of the nodes.
        threshold: As in `InteractionResult.graph`.
        nodes: Most nodes of a layer.
        edges: Most edges, the strongest.
        only_linked: Leave out nodes that no shown edge reaches, where any is shown.

    Example:
        >>> import torch
        >>> from unweave.interaction.builders import mlp
        >>> from unweave.interaction.fit import fit
        >>> net = mlp([(torch.eye(2), torch.zeros(2)), (torch.eye(2), torch.zeros(2))])
        >>> columns = graph_columns(fit(net, torch.rand(40, 2)), edges=3)
        >>> columns["what"].count("node"), columns["what"].count("edge")
        (6, 3)
    """
    where = _modules(modules)
    order = {layer: result.lambdas[layer].argsort(descending=True)[:nodes].tolist() for layer in result.layers}
    linked = _strongest(result, order, threshold, edges)
    if only_linked and linked:
        ends = {end for one in linked for end in one[:2]}
        order = {layer: [unit for unit in units if (layer, unit) in ends] for layer, units in order.items()}
    rank = {name: place for place, name in enumerate([*map(str, range(1, MOST_MODULES + 1)), OTHER, NONE])}
    if modules is not None:
        order = {
            layer: sorted(units, key=lambda unit, layer=layer: rank[where.get((layer, unit), NONE)])
            for layer, units in order.items()
        }
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
    for source, target, value in linked:
        (x, y), (x2, y2) = places[source], places[target]
        rows.append(
            {
                "what": "edge", "x": x, "y": y, "x2": x2, "y2": y2, "value": value, "module": where.get(source, NONE),
                "label": f"{source[0]} {source[1] + 1} to {target[0]} {target[1] + 1}",
            }
        )  # fmt: skip
    return {name: [row[name] for row in rows] for name in rows[0]}


def _modules(modules: Modules | None) -> dict[Node, str]:
    """Node -> its module's name."""
    members = () if modules is None else modules.members
    return {
        node: str(number) if number <= MOST_MODULES else OTHER for number, one in enumerate(members, 1) for node in one
    }


def _strongest(
    result: InteractionResult,
    order: Mapping[str, Sequence[int]],
    threshold: Mapping[tuple[str, str], float] | None,
    count: int,
) -> list[tuple[Node, Node, float]]:
    """The strongest edges between the nodes, as (source, target, log weight)."""
    nodes = {layer: set(units) for layer, units in order.items()}
    found = [
        ((str(block.source), i), (str(block.target), j), float(block.weight[i, j]))
        for block in result.graph("log", threshold=threshold).edges
        for i, j in (block.weight > 0).nonzero().tolist()
        if i in nodes[str(block.source)] and j in nodes[str(block.target)]
    ]
    return sorted(found, key=lambda one: -one[2])[:count]
