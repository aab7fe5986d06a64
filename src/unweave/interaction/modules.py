"""Modules of an interaction graph: communities by the Louvain method, over seeds and against rewired graphs.

A modularity means little by itself: a random sparse graph has a high one too. The null keeps what every node sends and
receives apart from its partners: within each pair of layers, edges are rewired by swapping ends and weights are
permuted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError
from unweave.features.graph import EdgeBlock, FeatureGraph
from unweave.tensors.multiplicity import rank_p

SWAPS = 3
"""Attempted swaps an edge: enough for the degrees alone to be left."""

Node = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Modules:
    """The communities of one graph, and whether they are more than a random graph has."""

    members: tuple[tuple[Node, ...], ...]
    """Modules by falling size, each a list of (layer, unit); nodes without an edge are in none."""
    gamma: float
    """Resolution."""
    modularity: float
    """At this resolution, of the best seed."""
    modularity_plain: float
    """Of the same modules at resolution 1."""
    agreement: float
    """Mean adjusted mutual information of the partitions of two seeds; 1 if all find the same."""
    null: tuple[float, ...]
    """Modularity of each rewired graph, by one run of the method."""
    p_value: float
    """Share of rewired graphs at least as modular, the graph itself counted; one run each, its first one too: the best
    of several runs against single ones would call most graphs modular."""
    edges: int
    """Edges that were used."""

    def table(self) -> list[dict[str, object]]:
        """One dictionary a module: size and how many nodes of each layer."""
        return [
            {"module": number, "size": len(nodes), "layers": _layers(nodes)}
            for number, nodes in enumerate(self.members)
        ]

    def __repr__(self) -> str:
        """Number of modules, modularity and what a random graph has."""
        middle = f", rewired {np.mean(self.null):.3f}, p={self.p_value:.3g}" if self.null else ""
        return f"Modules({len(self.members)}, modularity {self.modularity:.3f}{middle})"


def modules(
    graph: FeatureGraph, gamma: float = 1.0, seeds: int = 10, null: int = 100, *, without: Sequence[str] = ("output",)
) -> Modules:
    """Communities of the undirected graph of all its edges.

    Args:
        graph: As `InteractionResult.graph` gives it; edges of weight 0 are none.
        gamma: Resolution: larger gives more and smaller modules.
        seeds: Runs of the method, of which the most modular is taken.
        null: Rewired graphs it is compared with; 0 leaves that out.
        without: Layers that are left out, such as the model's outputs.

    Raises:
        InputError: No edge is left.

    Source:
        Blondel et al. 2008; Maslov and Sneppen 2002 for the null; specs/lib.md 6.

    Example:
        >>> import torch
        >>> from unweave.features.bases import neurons
        >>> from unweave.features.bundle import Bundle
        >>> bundle = Bundle(parts={name: neurons(6, site=name) for name in ("a", "b")})
        >>> weight = torch.block_diag(torch.ones(3, 3), torch.ones(3, 3))
        >>> found = modules(FeatureGraph(nodes=bundle, edges=(EdgeBlock(source="a", target="b", weight=weight),)))
        >>> [len(one) for one in found.members], found.p_value < 0.05
        ([6, 6], True)
    """
    import networkx as nx
    from sklearn.metrics import adjusted_mutual_info_score

    blocks = [one for one in graph.edges if one.source not in without and one.target not in without]
    edges = [edge for block in blocks for edge in _edges(block)]
    if not edges:
        raise InputError("the graph has no edges: lower the threshold, or fit with edges")
    whole = _graph(edges)
    runs = [nx.community.louvain_communities(whole, resolution=gamma, seed=seed) for seed in range(seeds)]
    scores = [nx.community.modularity(whole, one, resolution=gamma) for one in runs]
    best = runs[int(np.argmax(scores))]
    names = [_names(one, list(whole)) for one in runs]
    pairs = [(a, b) for a in range(seeds) for b in range(a)]
    agreement = [adjusted_mutual_info_score(names[a], names[b]) for a, b in pairs]
    drawn = []
    for draw in range(null):
        random = np.random.default_rng([draw, 1])
        rewired = _graph([edge for block in blocks for edge in _rewired(_edges(block), random)])
        found = nx.community.louvain_communities(rewired, resolution=gamma, seed=draw)  # one run, as `scores[0]` is
        drawn.append(float(nx.community.modularity(rewired, found, resolution=gamma)))
    return Modules(
        members=tuple(tuple(sorted(one)) for one in sorted(best, key=lambda one: (-len(one), sorted(one)))),
        gamma=gamma,
        modularity=float(max(scores)),
        modularity_plain=float(nx.community.modularity(whole, best)),
        agreement=float(np.mean(agreement)) if agreement else 1.0,
        null=tuple(drawn),
        p_value=rank_p(scores[0], drawn) if null else float("nan"),
        edges=len(edges),
    )


def _graph(edges: Sequence[tuple[Node, Node, float]]):
    import networkx as nx

    graph = nx.Graph()
    graph.add_weighted_edges_from(edges)
    return graph


def _edges(block: EdgeBlock) -> list[tuple[Node, Node, float]]:
    weight: Float[Tensor, "source target"] = block.weight
    return [
        ((str(block.source), i), (str(block.target), j), float(weight[i, j]))
        for i, j in (weight > 0).nonzero().tolist()
    ]


def _rewired(edges: list[tuple[Node, Node, float]], random: np.random.Generator) -> list[tuple[Node, Node, float]]:
    """Ends swapped between pairs of edges wherever that makes no double edge, weights permuted."""
    ends = [(source, target) for source, target, _ in edges]
    there = set(ends)
    for one, other in random.integers(0, len(ends), (SWAPS * len(ends), 2)).tolist():
        (a, b), (c, d) = ends[one], ends[other]
        if (a, d) in there or (c, b) in there:
            continue
        there -= {(a, b), (c, d)}
        there |= {(a, d), (c, b)}
        ends[one], ends[other] = (a, d), (c, b)
    weights = random.permutation([weight for _, _, weight in edges])
    return [(source, target, float(weight)) for (source, target), weight in zip(ends, weights, strict=True)]


def _names(partition: Sequence[set[Node]], nodes: Sequence[Node]) -> list[int]:
    """The module of every node."""
    where = {node: number for number, members in enumerate(partition) for node in members}
    return [where[node] for node in nodes]


def _layers(nodes: Sequence[Node]) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for layer, _ in nodes:
        found[layer] = found.get(layer, 0) + 1
    return found
