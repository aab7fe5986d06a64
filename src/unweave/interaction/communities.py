"""The Louvain method on arrays of edges: what networkx finds from the same seed, without its graphs.

Each node in random order moves to the neighbouring community that adds most to modularity, until none moves; then
communities become nodes. Nodes, neighbours and communities are gone through in the order of networkx, so that ties fall
alike.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `ends` | i, j | (edges, 2) | the nodes of each edge; nodes are 0, 1, ... | Blondel et al. 2008 |
| `weights` | A_ij | (edges,) | positive | same |
| `labels` | c_i | (nodes,) | community of each node | same |
| `gamma` | gamma | scalar | resolution | Reichardt and Bornholdt 2006 |
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

LEAST = 1e-7
"""Gain of modularity below which a level is the last."""


@dataclass(frozen=True, eq=False)
class Network:
    """Undirected edges, each pair once; an edge of a node with itself counts twice in its strength."""

    ends: Int[np.ndarray, "edges 2"]
    weights: Float[np.ndarray, " edges"]
    count: int
    """Nodes."""

    def by_first(self) -> Network:
        """The same edges in the order in which a graph that holds them lists them: by their first node."""
        order = np.argsort(self.ends.min(1), kind="stable")
        return Network(self.ends[order], self.weights[order], self.count)

    def strengths(self) -> Float[np.ndarray, " nodes"]:
        """Sum of the weights at each node."""
        return np.bincount(self.ends.ravel(), np.repeat(self.weights, 2), self.count)

    def neighbours(self) -> list[list[tuple[int, float]]]:
        """(other node, weight) of the edges of each node, in order."""
        found: list[list[tuple[int, float]]] = [[] for _ in range(self.count)]
        for (a, b), weight in zip(self.ends.tolist(), self.weights.tolist(), strict=True):
            if a != b:
                found[a].append((b, weight))
                found[b].append((a, weight))
        return found

    def joined(self, labels: Int[np.ndarray, " nodes"]) -> Network:
        """Communities as nodes."""
        size = int(labels.max()) + 1
        pairs = np.sort(labels[self.ends], axis=1)
        _, first, which = np.unique(pairs @ [size, 1], return_index=True, return_inverse=True)
        order = np.argsort(first)
        return Network(pairs[first[order]], np.bincount(which, self.weights)[order], size)


def communities(network: Network, gamma: float, seed: int) -> Int[np.ndarray, " nodes"]:
    """The community of each node, numbered 0, 1, ...

    Args:
        network: With one edge at least.
        gamma: Resolution.
        seed: Of the order in which nodes are visited.

    Source:
        Blondel et al. 2008, arXiv 0803.0476.

    Example:
        >>> square = Network(np.array([[0, 1], [2, 3], [1, 2]]), np.array([2.0, 2.0, 1.0]), 4)
        >>> communities(square, 1.0, 0).tolist()
        [0, 0, 1, 1]
    """
    generator = random.Random(seed)
    graph = network.by_first()
    found = np.arange(network.count)
    score = modularity(graph, found, gamma)
    while True:
        labels = _moved(graph, float(network.weights.sum()), gamma, generator)
        found = labels[found]
        gained = modularity(graph, labels, gamma)
        if gained - score <= LEAST:
            return found
        score, graph = gained, graph.by_first().joined(labels)


def modularity(network: Network, labels: Int[np.ndarray, " nodes"], gamma: float) -> float:
    """Share of the weight inside communities, less gamma times what strengths alone would put there.

    Source:
        Newman and Girvan 2004; Reichardt and Bornholdt 2006 for gamma.
    """
    total = network.weights.sum()
    inside = network.weights[labels[network.ends[:, 0]] == labels[network.ends[:, 1]]].sum()
    strength = np.bincount(labels, network.strengths())
    return float(inside / total - gamma * np.square(strength / (2 * total)).sum())


def _moved(graph: Network, total: float, gamma: float, generator: random.Random) -> Int[np.ndarray, " nodes"]:
    """The communities after single nodes have moved until none gains."""
    neighbours, degrees = graph.neighbours(), graph.strengths().tolist()
    strength, labels = list(degrees), list(range(graph.count))
    order = list(range(graph.count))
    generator.shuffle(order)
    moving = True
    while moving:
        moving = False
        for node in order:
            own, degree = labels[node], degrees[node]
            shared: dict[int, float] = {}
            for other, weight in neighbours[node]:
                label = labels[other]
                shared[label] = shared.get(label, 0.0) + weight
            strength[own] -= degree
            leaving = -shared.get(own, 0.0) / total + gamma * (strength[own] * degree) / (2 * total**2)
            best, most = own, 0.0
            for label, weight in shared.items():
                gain = leaving + weight / total - gamma * (strength[label] * degree) / (2 * total**2)
                if gain > most:
                    best, most = label, gain
            strength[best] += degree
            if best != own:
                labels[node] = best
                moving = True
    return np.unique(labels, return_inverse=True)[1]
