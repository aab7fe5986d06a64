"""`FeatureGraph`: a bundle plus weighted edges between the units of its sites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError, unknown_name
from unweave.features.bundle import Bundle
from unweave.features.featurizer import units
from unweave.site import Site

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True, eq=False, kw_only=True)
class EdgeBlock:
    """All edges from the units of one site to the units of another."""

    source: Any
    target: Any
    weight: Float[Tensor, "source target"]
    """`weight[i, j]`: from unit i of the source to unit j of the target; 0 = no edge."""

    def __post_init__(self) -> None:
        """Turns the names into sites."""
        object.__setattr__(self, "source", Site(self.source))
        object.__setattr__(self, "target", Site(self.target))


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureGraph:
    """Units as nodes, edges between sites, a label a unit where there is one.

    Raises:
        InputError: Edges whose shape is not (units of the source, units of the target), or labels that are not one a
            unit.

    Example:
        >>> import torch
        >>> from unweave.features.bases import neurons
        >>> bundle = Bundle(parts={name: neurons(2, site=name) for name in ("fc1", "fc2")})
        >>> graph = FeatureGraph(nodes=bundle, edges=(EdgeBlock(source="fc1", target="fc2", weight=torch.eye(2)),))
        >>> sorted(graph.to_networkx().edges)
        [(('fc1', 0), ('fc2', 0)), (('fc1', 1), ('fc2', 1))]
    """

    nodes: Bundle
    edges: tuple[EdgeBlock, ...] = ()
    labels: Mapping[Any, tuple[str, ...]] = field(default_factory=dict)
    """Site -> one label a unit."""

    def __post_init__(self) -> None:
        """Checks edges and labels against the nodes."""
        object.__setattr__(self, "labels", {Site(site): tuple(names) for site, names in self.labels.items()})
        for edge in self.edges:
            expected = tuple(units(self.nodes[site]) for site in (edge.source, edge.target))
            if tuple(edge.weight.shape) != expected:
                raise InputError(
                    f"edges {edge.source} -> {edge.target} have shape {tuple(edge.weight.shape)}: {expected} is needed,"
                    " units of the source by units of the target"
                )
        for site, names in self.labels.items():
            if site not in self.nodes:
                raise unknown_name("site", str(site), self.nodes)
            if len(names) != units(self.nodes[site]):
                raise InputError(
                    f"{len(names)} labels at {site} for {units(self.nodes[site])} units: one a unit is needed"
                )

    def to_networkx(self, *, above: float = 0.0) -> nx.DiGraph[tuple[str, int]]:
        """A directed graph with nodes `(site, unit)` and edges of size above `above`; weights and labels are
        attributes.
        """
        import networkx as nx

        graph: nx.DiGraph[tuple[str, int]] = nx.DiGraph()
        for site, featurizer in self.nodes.items():
            names = self.labels.get(site)
            for unit in range(units(featurizer)):
                graph.add_node((str(site), unit), site=str(site), unit=unit, label=names[unit] if names else "")
        for edge in self.edges:
            for i, j in (edge.weight.abs() > above).nonzero().tolist():
                graph.add_edge((str(edge.source), i), (str(edge.target), j), weight=float(edge.weight[i, j]))
        return graph

    def __repr__(self) -> str:
        """Nodes and edges."""
        count = sum(int((edge.weight != 0).sum()) for edge in self.edges)
        return (
            f"FeatureGraph({sum(units(part) for part in self.nodes.values())} units at {len(self.nodes)} sites, {count}"
            " edges)"
        )
