"""An interaction graph as files that other programs read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from unweave.features.graph import FeatureGraph
from unweave.files import write_text
from unweave.interaction.modules import Modules


def graph_json(graph: FeatureGraph, *, above: float = 0.0, modules: Modules | None = None) -> dict[str, Any]:
    """Nodes and edges as plain values.

    Args:
        graph: As `InteractionResult.graph` gives it.
        above: Edges of larger weight are kept.
        modules: The number of each node's module goes with it.

    Returns:
        `nodes`: dictionaries with `layer`, `unit`, `label`, `module`; `edges`: dictionaries with `source` and `target`
            (places in the list of nodes) and `weight`.

    Example:
        >>> import torch
        >>> from unweave.features.bases import neurons
        >>> from unweave.features.bundle import Bundle
        >>> from unweave.features.graph import EdgeBlock
        >>> bundle = Bundle(parts={name: neurons(1, site=name) for name in ("a", "b")})
        >>> edge = EdgeBlock(source="a", target="b", weight=torch.ones(1, 1))
        >>> graph_json(FeatureGraph(nodes=bundle, edges=(edge,)))["edges"]
        [{'source': 0, 'target': 1, 'weight': 1.0}]
    """
    whole = graph.to_networkx(above=above)
    where = {} if modules is None else {node: number for number, one in enumerate(modules.members) for node in one}
    places = {node: place for place, node in enumerate(whole.nodes)}
    nodes = [
        {"layer": layer, "unit": unit, "label": whole.nodes[layer, unit]["label"], "module": where.get((layer, unit))}
        for layer, unit in whole.nodes
    ]
    edges = [
        {"source": places[source], "target": places[target], "weight": weight}
        for source, target, weight in whole.edges(data="weight")
    ]
    return {"nodes": nodes, "edges": edges}


def write_json(graph: FeatureGraph, path: str | Path, *, above: float = 0.0, modules: Modules | None = None) -> Path:
    """`graph_json` as a file.

    Args:
        graph: As `InteractionResult.graph` gives it.
        path: Where to.
        above: Edges of larger weight are kept.
        modules: The number of each node's module goes with it.
    """
    write_text(Path(path), json.dumps(graph_json(graph, above=above, modules=modules)) + "\n")
    return Path(path)


def write_graphml(graph: FeatureGraph, path: str | Path, *, above: float = 0.0, modules: Modules | None = None) -> Path:
    """The graph as GraphML, for Gephi, Cytoscape and the like.

    Args:
        graph: As `InteractionResult.graph` gives it.
        path: Where to.
        above: Edges of larger weight are kept.
        modules: The number of each node's module goes with it.
    """
    import networkx as nx

    plain = graph.to_networkx(above=above)
    whole = nx.relabel_nodes(plain, {node: f"{node[0]}:{node[1]}" for node in plain.nodes})
    for number, members in enumerate(modules.members if modules else ()):
        for layer, unit in members:
            if f"{layer}:{unit}" in whole:
                whole.nodes[f"{layer}:{unit}"]["module"] = number
    write_text(Path(path), "\n".join(nx.generate_graphml(whole)) + "\n")
    return Path(path)
