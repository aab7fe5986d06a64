"""A `FeatureGraph` as the graph file that Neuronpedia and circuit-tracer show: `metadata`, `qParams`, `nodes`, `links`.

Their graphs are of one prompt, with a node a feature and position; ours hold over many inputs, so every node stands at
one position that means any token. `layer` is the block where the sites have one each, in order; else the place of the
site in the graph. A node's `influence` is what their pruning reads: the share of all importance that it and everything
more important have together, so that a threshold of .8 keeps the fewest nodes with 80 % of it.

| field of a node | meaning, unit |
|---|---|
| `node_id`, `jsNodeId` | layer_unit_position, layer_unit-0 |
| `feature` | Cantor pairing of layer and unit, as circuit-tracer numbers features |
| `clerp` | the label |
| `influence` | in 0..1, cumulative over nodes by falling importance |
| `importance`, `site`, `hook`, `unit`, `model` | ours: share of all importance; our name, TransformerLens' name, coordinate, model |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from unweave.errors import InputError
from unweave.features.featurizer import units
from unweave.features.foreign.neuronpedia import hook_of, rounded
from unweave.features.graph import FeatureGraph
from unweave.files import write_text
from unweave.version import __version__

MOST_EDGES = 2_000
MOST_BYTES = 5_000_000
"""Of a file."""
ANY_TOKEN = "any token"
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def neuronpedia_graph(
    graph: FeatureGraph,
    *,
    model: str,
    slug: str,
    importance: Mapping[Any, Any] | None = None,
    most_edges: int = MOST_EDGES,
    description: str = "",
) -> dict[str, Any]:
    """The graph as plain values in their schema; the strongest edges, and the nodes that they join.

    Args:
        graph: Units and weighted edges.
        model: Its name at Neuronpedia (`scan` there).
        slug: Name of the graph: letters, digits, `-` and `_`.
        importance: Site -> how important each unit is, not negative; None counts the sizes of all edges of a unit.
        most_edges: Edges that are kept at most, by size; fewer where the file would be larger than 5 MB.
        description: Shown with the graph.

    Returns:
        Their schema; `pruning_settings` in the metadata says how many edges and nodes were kept and what share of the
            summed size of all edges that is.

    Raises:
        InputError: A slug that is none, no edges, a weight that is not finite, importances that do not fit.

    Source:
        `graph-schema.json` of hijohnnylin/neuronpedia, version 1.0.0; the numbering of circuit-tracer.

    Example:
        >>> import torch
        >>> from unweave.features.bases import neurons
        >>> from unweave.features.bundle import Bundle
        >>> from unweave.features.graph import EdgeBlock
        >>> bundle = Bundle(parts={name: neurons(2, site=name) for name in ("a", "b")})
        >>> edge = EdgeBlock(source="a", target="b", weight=torch.tensor([[3.0, 0.0], [0.0, -1.0]]))
        >>> found = neuronpedia_graph(FeatureGraph(nodes=bundle, edges=(edge,)), model="toy", slug="two", most_edges=1)
        >>> found["links"], found["metadata"]["pruning_settings"]["kept_weight_share"]
        ([{'source': '0_0_0', 'target': '1_0_0', 'weight': 3.0}], 0.75)
    """
    if not model:
        raise InputError("the model has no name: model= is what Neuronpedia calls it, such as 'gpt2-small'")
    if not _SLUG.fullmatch(slug):
        raise InputError(f"slug is {slug!r}: letters, digits, - and _ make the name of a graph")
    if most_edges < 1:
        raise InputError(f"most_edges is {most_edges}: at least 1")
    edges = _edges(graph)
    shares = _importance(graph, edges, importance)
    kept = min(most_edges, len(edges.size))
    while True:
        found = _plain(graph, edges, shares, kept, {"model": model, "slug": slug, "description": description})
        if len(json.dumps(found)) <= MOST_BYTES:
            return found
        if kept == 1:
            raise InputError(f"one edge with its labels takes more than {MOST_BYTES:,} bytes: shorten the labels")
        kept //= 2


def save_neuronpedia_graph(
    graph: FeatureGraph,
    path: str | Path,
    *,
    model: str,
    slug: str | None = None,
    importance: Mapping[Any, Any] | None = None,
    most_edges: int = MOST_EDGES,
    description: str = "",
) -> Path:
    """Writes `neuronpedia_graph` as a file.

    Args:
        graph: See `neuronpedia_graph`, and so are all others.
        path: The file; one that stands there is replaced.
        model: See there.
        slug: See there; None takes the name of the file.
        importance: See there.
        most_edges: See there.
        description: See there.

    Raises:
        InputError: As there.

    Example:
        >>> import tempfile, torch
        >>> from unweave.features.bases import neurons
        >>> from unweave.features.bundle import Bundle
        >>> from unweave.features.graph import EdgeBlock
        >>> bundle = Bundle(parts={name: neurons(1, site=name) for name in ("a", "b")})
        >>> graph = FeatureGraph(nodes=bundle, edges=(EdgeBlock(source="a", target="b", weight=torch.ones(1, 1)),))
        >>> json.loads(save_neuronpedia_graph(graph, tempfile.mkdtemp() + "/g.json", model="toy").read_text())["links"]
        [{'source': '0_0_0', 'target': '1_0_0', 'weight': 1.0}]
    """
    file = Path(path)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", file.stem).strip("-_") if slug is None else slug
    found = neuronpedia_graph(
        graph, model=model, slug=name, importance=importance, most_edges=most_edges, description=description
    )
    write_text(file, json.dumps(found) + "\n")
    return file


@dataclass(frozen=True, eq=False, kw_only=True)
class _Edges:
    """All edges that are not 0, strongest first; a node is a number over all units of all sites."""

    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    size: np.ndarray


def _edges(graph: FeatureGraph) -> _Edges:
    first = _firsts(graph)
    parts = []
    for edge in graph.edges:
        weight = edge.weight.detach().cpu().double().numpy()
        if not np.isfinite(weight).all():
            raise InputError(f"edges {edge.source} -> {edge.target} have a weight that is not finite")
        i, j = weight.nonzero()
        parts.append((first[str(edge.source)] + i, first[str(edge.target)] + j, weight[i, j]))
    if not sum(len(weight) for *_, weight in parts):
        raise InputError("the graph has no edges: there is nothing to show")
    source, target, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(-np.abs(weight), kind="stable")
    return _Edges(source=source[order], target=target[order], weight=weight[order], size=np.abs(weight[order]))


def _importance(graph: FeatureGraph, edges: _Edges, given: Mapping[Any, Any] | None) -> np.ndarray:
    """Of every unit, its share of all."""
    first = _firsts(graph)
    total = sum(units(part) for part in graph.nodes.values())
    if given is None:
        found = np.zeros(total)
        np.add.at(found, edges.source, edges.size)
        np.add.at(found, edges.target, edges.size)
        return found / found.sum()
    parts = {str(site): np.asarray(values, dtype=float) for site, values in given.items()}
    found = np.zeros(total)
    for site, part in graph.nodes.items():
        values, count = parts.get(str(site)), units(part)
        if values is None or values.shape != (count,):
            raise InputError(f"importance at {site} is {'missing' if values is None else values.shape}: one a unit")
        if not (np.isfinite(values).all() and (values >= 0).all()):
            raise InputError(f"importance at {site} has a number that is negative or not finite")
        found[first[str(site)] : first[str(site)] + count] = values
    if not found.sum() > 0:
        raise InputError("all importances are 0: give one above it, or none at all")
    return found / found.sum()


def _firsts(graph: FeatureGraph) -> dict[str, int]:
    """Site -> the number of its first unit."""
    found, count = {}, 0
    for site, part in graph.nodes.items():
        found[str(site)] = count
        count += units(part)
    return found


def _plain(
    graph: FeatureGraph, edges: _Edges, shares: np.ndarray, kept: int, named: Mapping[str, str]
) -> dict[str, Any]:
    source, target, weight = edges.source[:kept], edges.target[:kept], edges.weight[:kept]
    nodes = _nodes(graph, shares, np.unique([source, target]), named["model"])
    ids = {number: node["node_id"] for number, node in nodes.items()}
    share = float(edges.size[:kept].sum() / edges.size.sum())
    left = "" if kept == len(edges.size) else f"; the strongest {kept:,} of {len(edges.size):,} edges, {share:.1%} of"
    text = f"{named['description']}{left}{' their summed size' if left else ''}".removeprefix("; ")
    return {
        "metadata": {
            "slug": named["slug"],
            "scan": named["model"],
            "prompt": ANY_TOKEN,
            "prompt_tokens": [ANY_TOKEN],
            "schema_version": 1,
            "info": {
                **({"description": text} if text else {}),
                "generator": {"name": "unweave", "version": __version__},
            },
            "pruning_settings": {
                "edges": kept, "edges_of": len(edges.size), "nodes": len(nodes), "nodes_of": len(shares),
                "kept_weight_share": rounded(share),
            },
            "sites": {str(number): str(site) for site, number in _layers(graph).items()},
        },
        "qParams": {"linkType": "both", "pinnedIds": [], "clickedId": "", "supernodes": [], "sg_pos": ""},
        "nodes": list(nodes.values()),
        "links": [
            {"source": ids[i], "target": ids[j], "weight": rounded(value)}
            for i, j, value in zip(source.tolist(), target.tolist(), weight.tolist(), strict=True)
        ],
    }  # fmt: skip


def _layers(graph: FeatureGraph) -> dict[Any, int]:
    """Site -> layer: its block where they rise from site to site, else its place."""
    own = [site.layer for site in graph.nodes]
    blocks = [layer for layer in own if layer is not None]
    rising = len(blocks) == len(own) and all(one < other for one, other in pairwise(blocks))
    return dict(zip(graph.nodes, blocks if rising else range(len(own)), strict=True))


def _nodes(graph: FeatureGraph, shares: np.ndarray, joined: np.ndarray, model: str) -> dict[int, dict[str, Any]]:
    order = np.argsort(-shares, kind="stable")
    reached = np.empty(len(shares))
    reached[order] = np.cumsum(shares[order])
    first, wanted = _firsts(graph), set(joined.tolist())
    found = {}
    for site, layer in _layers(graph).items():
        names, hook = graph.labels.get(site), hook_of(site)
        for unit in range(units(graph.nodes[site])):
            number = first[str(site)] + unit
            if number not in wanted:
                continue
            found[number] = {
                "node_id": f"{layer}_{unit}_0",
                "feature": (layer + unit) * (layer + unit + 1) // 2 + unit,
                "layer": str(layer),
                "ctx_idx": 0,
                "feature_type": "cross layer transcoder",
                "jsNodeId": f"{layer}_{unit}-0",
                "clerp": (names[unit] if names else "") or f"{site} {unit}",
                "influence": rounded(min(1.0, float(reached[number]))),
                "importance": rounded(float(shares[number])),
                "site": str(site),
                "hook": hook,
                "unit": unit,
                "model": model,
            }
    return found
