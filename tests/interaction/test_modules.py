"""Modules, sparsity, labels and exports on graphs whose answer is known."""

import itertools
import json

import networkx as nx
import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import adjusted_mutual_info_score

from interaction.nets import draw, perceptron
from unweave.errors import InputError
from unweave.features.bases import neurons
from unweave.features.bundle import Bundle
from unweave.features.graph import EdgeBlock, FeatureGraph
from unweave.interaction.builders import mlp, sections_of
from unweave.interaction.communities import Network, communities, modularity
from unweave.interaction.export import graph_json, write_graphml, write_json
from unweave.interaction.fit import fit
from unweave.interaction.forms import Linear
from unweave.interaction.labels import (
    coordinates,
    fourier_terms,
    label,
    labelled,
    pure_shares,
    purity,
    spelt,
    top_inputs,
)
from unweave.interaction.modules import _agreement, _edges, _rewired, modules
from unweave.interaction.sparsity import sparsity


def graph_of(*weights):
    names = [f"layer{number}" for number in range(len(weights) + 1)]
    sizes = [weights[0].shape[0], *(one.shape[1] for one in weights)]
    bundle = Bundle(parts={name: neurons(size, site=name) for name, size in zip(names, sizes, strict=True)})
    blocks = [EdgeBlock(source=a, target=b, weight=w) for a, b, w in zip(names, names[1:], weights, strict=False)]
    return FeatureGraph(nodes=bundle, edges=tuple(blocks))


def as_networkx(graph):
    """All its edges, nodes as (layer, unit)."""
    whole = nx.Graph()
    for block in graph.edges:
        for i, j in (block.weight > 0).nonzero().tolist():
            whole.add_edge((block.source, i), (block.target, j), weight=float(block.weight[i, j]))
    return whole


BLOCKS = torch.block_diag(*(torch.ones(4, 4) for _ in range(3)))
RANDOM = (torch.rand(16, 16, generator=torch.Generator().manual_seed(0)) < 0.25).float()


def test_planted_modules_are_found_and_a_random_graph_has_none():
    found = modules(graph_of(BLOCKS, BLOCKS))
    assert [len(one) for one in found.members] == [12, 12, 12]
    assert all(len({unit // 4 for _, unit in one}) == 1 for one in found.members)
    assert found.p_value < 0.02
    assert found.agreement == pytest.approx(1)
    assert found.modularity == pytest.approx(2 / 3)  # three equal parts without an edge between them
    random = modules(graph_of(RANDOM, RANDOM))
    assert random.p_value > 0.05
    assert random.modularity > 0.1  # which alone says nothing


def test_graphs_that_are_random_themselves_are_called_modular_no_more_often_than_they_may():
    """Law of a p-value: of graphs drawn as the null is, at most alpha of them are below alpha, up to the binomial
    limit; the best of ten runs against single ones goes over it.
    """
    alpha, graphs = 0.1, 60
    drawn = [(torch.rand(9, 9, generator=torch.Generator().manual_seed(seed)) < 0.3).float() for seed in range(graphs)]
    found = [modules(graph_of(one), null=19) for one in drawn]
    limit = stats.binom.ppf(0.999, graphs, alpha)
    assert sum(one.p_value <= alpha for one in found) <= limit
    unfair = [(1 + sum(score >= one.modularity for score in one.null)) / 20 for one in found]
    assert sum(p <= alpha for p in unfair) > limit


def test_resolution_decides_the_number():
    chained = BLOCKS + 0.3
    assert len(modules(graph_of(chained), gamma=0.3, null=0).members) == 1
    assert len(modules(graph_of(chained), gamma=1.5, null=0).members) >= 3


def test_modularity_is_that_of_the_definition():
    graph = graph_of(BLOCKS + 0.1 * RANDOM[:12, :12])
    found = modules(graph, null=0)
    whole = as_networkx(graph)
    strength = dict(whole.degree(weight="weight"))
    total = sum(strength.values())
    q = sum(
        (whole.get_edge_data(a, b, {"weight": 0})["weight"] - strength[a] * strength[b] / total) / total
        for part in found.members for a in part for b in part
    )  # fmt: skip
    assert found.modularity == pytest.approx(q)


def test_rewiring_keeps_degrees_and_weights_and_nothing_else():
    graph = graph_of(RANDOM * torch.rand(16, 16, generator=torch.Generator().manual_seed(1)))
    ends, weights = _edges(graph.edges[0], {"layer0": 0, "layer1": 16})
    rewired, permuted = _rewired(ends, weights, np.random.default_rng(0))
    before, after = ({tuple(pair) for pair in one.tolist()} for one in (ends, rewired))
    assert len(after) == len(ends)
    assert np.array_equal(np.sort(ends, axis=0), np.sort(rewired, axis=0))
    assert np.array_equal(np.sort(weights), np.sort(permuted))
    assert len(after & before) < 0.6 * len(ends)


@pytest.mark.parametrize("kind", ["weighted", "ties", "loops"])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
def test_the_louvain_method_is_that_of_networkx(kind, gamma):
    random = np.random.default_rng(0)
    for seed in range(4):
        there = np.triu(random.random((40, 40)) < random.choice([0.08, 0.3]), 0 if kind == "loops" else 1)
        ends = np.argwhere(there)[random.permutation(there.sum())]
        _, ends = np.unique(ends, return_inverse=True)
        ends = ends.reshape(-1, 2)
        weights = np.ones(len(ends)) if kind == "ties" else random.random(len(ends))
        graph = nx.Graph()
        count = int(ends.max()) + 1
        graph.add_nodes_from(range(count))
        graph.add_weighted_edges_from((a, b, w) for (a, b), w in zip(ends.tolist(), weights.tolist(), strict=True))
        network = Network(ends, weights, count)
        found = communities(network, gamma, seed)
        parts = [set(np.flatnonzero(found == label).tolist()) for label in range(found.max() + 1)]
        assert parts == nx.community.louvain_communities(graph, resolution=gamma, seed=seed)
        assert modularity(network, found, gamma) == pytest.approx(
            nx.community.modularity(graph, parts, resolution=gamma), abs=1e-12
        )


def test_agreement_is_the_mean_over_all_pairs_of_runs():
    random = np.random.default_rng(0)
    runs = [random.integers(0, 3, 12) for _ in range(3)]
    runs += [2 - runs[0], runs[1], runs[1]]
    each = [adjusted_mutual_info_score(a, b) for a, b in itertools.combinations(runs, 2)]
    assert _agreement(runs) == pytest.approx(np.mean(each))


def test_outputs_are_left_out_and_empty_graphs_refused():
    with pytest.raises(InputError, match="the graph has no edges"):
        modules(graph_of(BLOCKS), without=("layer1",))
    with pytest.raises(InputError, match="the graph has no edges"):
        modules(graph_of(0 * BLOCKS))


def test_sparsity_is_that_of_known_matrices():
    even = sparsity(torch.ones(5, 5))
    assert even["gini"] == pytest.approx(0, abs=1e-12)
    assert even["hoyer"] == pytest.approx(0, abs=1e-12)
    one = sparsity(torch.eye(10)[:1])
    assert (one["gini"], one["hoyer"]) == pytest.approx((0.9, 1.0))
    values = draw(6, 7).square()
    slow = (values.flatten()[:, None] - values.flatten()).abs().sum() / (2 * 42**2 * values.mean())
    assert sparsity(values)["gini"] == pytest.approx(float(slow))
    assert sparsity(values * 3) == pytest.approx(sparsity(values))
    assert np.isnan(sparsity(torch.zeros(2, 2))["gini"])


def test_fourier_terms_are_those_that_were_put_in():
    x = torch.arange(11, dtype=torch.float64)
    wave = lambda k, l, phase=0.0: torch.cos(2 * torch.pi * (k * x[:, None] + l * x) / 11 + phase)  # noqa: E731, E741
    assert fourier_terms(wave(3, 3)) == [("cos(3x+3y)", 1.0)]
    assert fourier_terms(wave(3, 3, 0.7)) == [("cos(3x+3y)", 1.0)]
    assert fourier_terms(wave(2, -4)) == [("cos(2x-4y)", 1.0)]
    assert fourier_terms(wave(2, 0) + wave(0, 2)) == [("cos(2x) + cos(2y)", 1.0)]
    assert fourier_terms(2 * wave(2, 0) + wave(0, 2)) == [("cos(2x)", 0.8), ("cos(2y)", 0.2)]
    assert fourier_terms(wave(5, 0) * wave(0, 1)) == [("cos(5x)cos(1y)", 1.0)]
    assert fourier_terms(torch.ones(11, 11)) == [("const", 1.0)]
    mixed = fourier_terms(3 * wave(1, 1) + wave(4, 0) + 0.01 * wave(5, 5))
    assert [name for name, _ in mixed] == ["cos(1x+1y)", "cos(4x)"]
    assert spelt(mixed) == "90% cos(1x+1y)|10% cos(4x)"
    assert purity(mixed) == pytest.approx(0.9, abs=1e-3)
    with pytest.raises(InputError, match="modulo an odd number"):
        fourier_terms(torch.zeros(4, 4))


def test_labels_and_top_inputs_come_from_values():
    sections, inputs = perceptron(), draw(30, 5)
    found = fit(sections, inputs)
    z = coordinates(found, sections, inputs, "layers.1")
    names = label(found, sections, inputs, lambda node, _inputs, values: f"{node[1]} {float(values.max()):.3f}")
    assert names["layers.1"][1] == f"1 {float(z[..., 1].max()):.3f}"
    graph = labelled(found.graph(), {"layers.1": names["layers.1"]})
    assert graph.labels["layers.1"] == names["layers.1"]
    assert graph.labels["layers.0"] == found.graph().labels["layers.0"]
    top = top_inputs(found, sections, inputs, 3, layer="layers.1")
    order = z[:, 0, 0].abs().argsort(descending=True)[:3].tolist()
    assert [row for row, _, _ in top[0]] == order
    assert top[0][0][2] == float(z[order[0], 0, 0])


@pytest.mark.parametrize("norm", ["none", "sqrt", "share", "max", "log"])
def test_norms_of_the_graph_are_what_they_say(norm):
    found = fit(perceptron(), draw(30, 5))
    edges = found.edges["layers.0", "layers.1"]
    weight = found.graph(norm, threshold=float(edges.median())).edges[0].weight.T
    shown = edges > edges.median()
    assert torch.equal(weight > 0, shown)
    expected = {
        "none": edges, "sqrt": edges.sqrt(), "share": edges / edges.sum(), "max": edges / edges.max(),
        "log": torch.log10(edges / edges.median()),
    }[norm]  # fmt: skip
    assert torch.allclose(weight[shown], expected[shown])


def test_exports_hold_the_same_graph(tmp_path):
    found = fit(mlp([(torch.eye(3), torch.zeros(3)), (torch.eye(3), torch.zeros(3))]), draw(40, 3).abs())
    graph = found.graph("none", threshold=1e-9)
    parts = modules(graph, null=0, without=())
    write_json(graph, tmp_path / "graph.json", modules=parts)
    write_graphml(graph, tmp_path / "graph.graphml", modules=parts)
    read = json.loads((tmp_path / "graph.json").read_text())
    again = nx.read_graphml(tmp_path / "graph.graphml")
    assert read == graph_json(graph, modules=parts)
    assert len(read["nodes"]) == again.number_of_nodes() == 9
    assert len(read["edges"]) == again.number_of_edges()
    node = read["nodes"][0]
    assert again.nodes[f"{node['layer']}:{node['unit']}"]["module"] == node["module"]


def test_the_share_of_pure_nodes_is_the_planted_one():
    """Two nodes of one frequency, one of two; the last is behind those that are kept."""

    def waves(tokens):
        turns = 2 * torch.pi * tokens[:, None, :2].double() / 7
        one, two = turns.cos().sum(-1), (2 * turns).cos().sum(-1)
        return torch.stack([3 * one, 2 * two, one + two, one], -1)

    eye = Linear(weight=torch.eye(4).double(), bias=torch.zeros(4).double())
    sections = sections_of([eye], ["waves", "output"], waves)
    found = fit(sections, torch.randint(0, 7, (40, 3)), basis="neuron")
    assert pure_shares(found, sections, {"waves": 3, "output": 0}, 7)["waves"] == pytest.approx(2 / 3)
    assert np.isnan(pure_shares(found, sections, {"waves": 0}, 7)["waves"])
