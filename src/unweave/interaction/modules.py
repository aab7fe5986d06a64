"""Modules of an interaction graph: communities by the Louvain method, over seeds and against rewired graphs.

A modularity means little by itself: a random sparse graph has a high one too. The null keeps what every node sends and
receives apart from its partners: within each pair of layers, edges are rewired by swapping ends and weights are
permuted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from unweave.errors import InputError
from unweave.features.graph import EdgeBlock, FeatureGraph
from unweave.interaction.communities import Network, communities, modularity
from unweave.tensors.multiplicity import rank_p

SWAPS = 3
"""Attempted swaps an edge: enough for the degrees alone to be left."""

Node = tuple[str, int]
Edges = tuple[Int[np.ndarray, "_ 2"], Float[np.ndarray, " _"]]
"""Numbers of the units at both ends, and weights."""


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
    blocks = [one for one in graph.edges if one.source not in without and one.target not in without]
    starts = _starts(blocks)
    edges = [_edges(block, starts) for block in blocks]
    if not any(len(ends) for ends, _ in edges):
        raise InputError("the graph has no edges: lower the threshold, or fit with edges")
    units, whole = _network(edges)
    nodes = [_node(unit, starts) for unit in units.tolist()]
    runs = [communities(whole, gamma, seed) for seed in range(seeds)]
    scores = [modularity(whole, one, gamma) for one in runs]
    best = runs[int(np.argmax(scores))]
    drawn = []
    for draw in range(null):
        random = np.random.default_rng([draw, 1])
        _, rewired = _network([_rewired(ends, weights, random) for ends, weights in edges])
        drawn.append(modularity(rewired, communities(rewired, gamma, draw), gamma))  # one run, as `scores[0]` is
    members = [[nodes[place] for place in np.flatnonzero(best == label)] for label in range(best.max() + 1)]
    return Modules(
        members=tuple(tuple(sorted(one)) for one in sorted(members, key=lambda one: (-len(one), sorted(one)))),
        gamma=gamma,
        modularity=float(max(scores)),
        modularity_plain=modularity(whole, best, 1.0),
        agreement=_agreement(runs),
        null=tuple(drawn),
        p_value=rank_p(scores[0], drawn) if null else float("nan"),
        edges=len(whole.weights),
    )


def _agreement(partitions: Sequence[np.ndarray]) -> float:
    """Mean adjusted mutual information of two of the partitions; each pair of different ones is compared once."""
    from sklearn.metrics import adjusted_mutual_info_score

    kinds: Counter[tuple[int, ...]] = Counter()
    for one in partitions:
        _, first, which = np.unique(one, return_index=True, return_inverse=True)
        kinds[tuple(np.argsort(np.argsort(first))[which].tolist())] += 1  # communities by their first node
    pairs = len(partitions) * (len(partitions) - 1) / 2
    alike = sum(count * (count - 1) / 2 for count in kinds.values())
    unlike = sum(kinds[a] * kinds[b] * adjusted_mutual_info_score(a, b) for a, b in combinations(kinds, 2))
    return float(alike + unlike) / pairs if pairs else 1.0


def _starts(blocks: Sequence[EdgeBlock]) -> dict[str, int]:
    """Layer -> number of its first unit among the units of all layers."""
    sizes: dict[str, int] = {}
    for block in blocks:
        sizes[str(block.source)], sizes[str(block.target)] = block.weight.shape
    return dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))


def _node(unit: int, starts: Mapping[str, int]) -> Node:
    """The layer of a number, and which of its units that is."""
    layer = max((start, layer) for layer, start in starts.items() if start <= unit)[1]
    return layer, unit - starts[layer]


def _edges(block: EdgeBlock, starts: Mapping[str, int]) -> Edges:
    weight: Float[Tensor, "source target"] = block.weight
    places = (weight > 0).nonzero()
    first = np.array([starts[str(block.source)], starts[str(block.target)]])
    return places.numpy() + first, weight[places[:, 0], places[:, 1]].double().numpy()


def _network(edges: Sequence[Edges]) -> tuple[np.ndarray, Network]:
    """The units in the order in which edges name them, and the edges between their places in it."""
    ends, weights = (np.concatenate(one) for one in zip(*edges, strict=True))
    units, first, which = np.unique(ends.ravel(), return_index=True, return_inverse=True)
    order = np.argsort(first)
    places = np.argsort(order)  # of each unit
    return units[order], Network(places[which].reshape(-1, 2), weights, len(units))


def _rewired(ends: np.ndarray, weights: np.ndarray, random: np.random.Generator) -> Edges:
    """Ends swapped between pairs of edges wherever that makes no double edge, weights permuted."""
    if not len(ends):
        return ends, weights
    (sources, targets), width = ends.T.tolist(), int(ends.max()) + 1
    there = {a * width + b for a, b in zip(sources, targets, strict=True)}
    for one, other in random.integers(0, len(ends), (SWAPS * len(ends), 2)).tolist():
        a, b, c, d = sources[one], targets[one], sources[other], targets[other]
        if a * width + d in there or c * width + b in there:
            continue
        there.difference_update((a * width + b, c * width + d))
        there.update((a * width + d, c * width + b))
        targets[one], targets[other] = d, b
    return np.array([sources, targets]).T, random.permutation(weights)


def _layers(nodes: Sequence[Node]) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for layer, _ in nodes:
        found[layer] = found.get(layer, 0) + 1
    return found
