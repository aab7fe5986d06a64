"""A feature graph is a bundle with edges, and exports to networkx."""

from __future__ import annotations

from typing import Any

import networkx as nx
import pytest
import torch

import unweave as uw
from unweave.errors import InputError, UnknownName
from unweave.features import neurons
from unweave.features.graph import EdgeBlock, FeatureGraph

WEIGHT = torch.tensor([[0.5, 0.0, -2.0], [0.0, 0.1, 0.0]])
NODES = uw.Bundle(parts={"fc1": neurons(2, site="fc1"), "blocks.0.hook_mlp_out": neurons(3)})


def graph(**changes: Any) -> FeatureGraph:
    edge = EdgeBlock(source="fc1", target="blocks.0.hook_mlp_out", weight=WEIGHT)
    return FeatureGraph(**({"nodes": NODES, "edges": (edge,)} | changes))


def test_every_unit_is_a_node_and_every_weight_an_edge() -> None:
    found = graph(labels={"blocks.0.hook_mlp_out": ("a", "b", "c")}).to_networkx()
    expected = nx.DiGraph()
    for unit in range(2):
        expected.add_node(("fc1", unit), site="fc1", unit=unit, label="")
    for unit, label in enumerate("abc"):
        expected.add_node(("blocks.0.mlp_out", unit), site="blocks.0.mlp_out", unit=unit, label=label)
    for i in range(2):
        for j in range(3):
            if WEIGHT[i, j]:
                expected.add_edge(("fc1", i), ("blocks.0.mlp_out", j), weight=float(WEIGHT[i, j]))
    assert nx.utils.graphs_equal(found, expected)


@pytest.mark.parametrize(("above", "count"), [(0.0, 3), (0.1, 2), (0.5, 1), (2.0, 0)])
def test_weak_edges_are_left_out(above: float, count: int) -> None:
    assert graph().to_networkx(above=above).number_of_edges() == count


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_dtype_become_numbers(dtype: torch.dtype) -> None:
    edge = EdgeBlock(source="fc1", target="blocks.0.mlp_out", weight=WEIGHT.to(dtype))
    found = graph(edges=(edge,)).to_networkx()
    assert found.get_edge_data(("fc1", 0), ("blocks.0.mlp_out", 2)) == {"weight": -2.0}


def test_it_says_what_it_holds() -> None:
    assert repr(graph()) == "FeatureGraph(5 units at 2 sites, 3 edges)"
    assert repr(FeatureGraph(nodes=NODES)) == "FeatureGraph(5 units at 2 sites, 0 edges)"


def test_edges_and_labels_that_do_not_fit_are_refused() -> None:
    turned = EdgeBlock(source="blocks.0.mlp_out", target="fc1", weight=WEIGHT)
    with pytest.raises(InputError, match=r"edges blocks\.0\.mlp_out -> fc1 have shape \(2, 3\): \(3, 2\) is needed"):
        graph(edges=(turned,))
    with pytest.raises(UnknownName, match="unknown site 'fc2'; nearest: 'fc1'"):
        graph(edges=(EdgeBlock(source="fc2", target="fc1", weight=WEIGHT),))
    with pytest.raises(UnknownName, match="unknown site 'fc'; nearest: 'fc1'"):
        graph(labels={"fc": ("a", "b")})
    with pytest.raises(InputError, match="1 labels at fc1 for 2 units: one a unit is needed"):
        graph(labels={"fc1": ("a",)})
