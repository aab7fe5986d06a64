"""Vectors and graphs for Neuronpedia: their schema field by field, what is in them against the featurizer, refusals."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

import unweave as uw
from unweave.errors import InputError
from unweave.features.activation import Activation
from unweave.features.bases import neurons
from unweave.features.bundle import Bundle
from unweave.features.foreign import (
    neuronpedia_graph,
    neuronpedia_vectors,
    save_neuronpedia_graph,
    save_neuronpedia_vectors,
)
from unweave.features.graph import EdgeBlock, FeatureGraph

RNG = np.random.default_rng(0)
SITE = "blocks.2.resid_post"
writer = importlib.import_module("unweave.features.foreign.neuronpedia_graph")
"""The module; the package has the verb of that name."""
DICTIONARY = uw.AffineFeaturizer(
    read=RNG.normal(size=(5, 9)), write=3 * RNG.normal(size=(9, 5)), origin=RNG.normal(size=5),
    bias=RNG.normal(size=9), act=Activation(kind="relu"), blocks=(4, 5), site=SITE,
)  # fmt: skip
UPLOAD = {
    "modelId": str, "layerNumber": int, "hookType": str, "vector": list, "vectorDefaultSteerStrength": float,
    "vectorLabel": str,
}  # fmt: skip
"""Field of an upload -> type; others are passed over."""
NODE = {
    "node_id": str, "feature": int, "layer": str, "ctx_idx": int, "feature_type": str, "jsNodeId": str, "clerp": str,
    "influence": float,
}  # fmt: skip


def test_strength_times_vector_is_what_the_unit_writes(tmp_path):
    lines = save_neuronpedia_vectors(DICTIONARY, tmp_path / "v.jsonl", model="gpt2-small").read_text().splitlines()
    bodies = [json.loads(line) for line in lines]
    assert [body["unweave"]["index"] for body in bodies] == list(range(9))
    assert [body["unweave"]["block"] for body in bodies] == [0] * 4 + [1] * 5
    for body, write in zip(bodies, DICTIONARY.write, strict=True):
        assert all(type(body[name]) is kind for name, kind in UPLOAD.items())
        vector = np.array(body["vector"])
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-7)  # numbers have eight digits
        np.testing.assert_allclose(body["vectorDefaultSteerStrength"] * vector, write, rtol=1e-6)
        assert body["unweave"]["norm"] == pytest.approx(float(write.norm()))


@pytest.mark.parametrize(
    ("site", "depth", "layer", "hook", "uploadable"),
    [
        ("blocks.2.resid_pre", None, 2, "hook_resid_pre", True),
        ("blocks.2.resid_post", None, 3, "hook_resid_pre", True),
        ("blocks.2.resid_post", 4, 3, "hook_resid_pre", True),
        ("blocks.2.resid_post", 3, 2, "hook_resid_post", False),  # there is no block 3
        ("blocks.2.mlp_act", None, 2, "mlp.hook_post", False),
    ],
)
def test_where_a_vector_goes(site, depth, layer, hook, uploadable):
    (body,) = neuronpedia_vectors(neurons(3, site=site), model="m", chosen=[1], depth=depth)
    assert (body["layerNumber"], body["hookType"]) == (layer, hook)
    assert (body["unweave"]["uploadable"], body["unweave"]["site"]) == (uploadable, site)
    assert body["unweave"]["hook"] == f"blocks.2.{ {'mlp_act': 'mlp.hook_post'}.get(site[9:], 'hook_' + site[9:]) }"
    assert body["vector"] == [0.0, 1.0, 0.0]


def test_an_added_vector_is_one_quantity_under_both_names(docs):
    """Adding at the output of block L is adding at the input of block L + 1: what the export relies on."""
    tokens = docs.tokenize(["A class with methods."])
    vector = torch.zeros(docs.width("blocks.0.resid_post")).index_fill(0, torch.tensor([3]), 2.0)
    (body,) = neuronpedia_vectors(uw.Direction(vector=vector, site="blocks.1.resid_post"), model="docs")
    added = body["vectorDefaultSteerStrength"] * torch.tensor(body["vector"])
    with docs.edit({"blocks.1.resid_post": lambda h: h + vector}):
        ours = docs(tokens)
    with docs.edit({f"blocks.{body['layerNumber']}.{body['hookType']}": lambda h: h + added}):
        torch.testing.assert_close(docs(tokens), ours, rtol=0, atol=0)


def test_labels_by_unit_or_all():
    some = list(neuronpedia_vectors(DICTIONARY, model="m", labels={1: "one"}, chosen=[0, 1]))
    assert [body["vectorLabel"] for body in some] == [f"unit {SITE} 0", "one"]
    every = neuronpedia_vectors(DICTIONARY, model="m", labels=[str(n) for n in range(9)], strength=2.0)
    assert [(body["vectorLabel"], body["vectorDefaultSteerStrength"]) for body in every] == [
        (str(n), 2.0) for n in range(9)
    ]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"model": ""}, "the model has no name"),
        ({"site": None}, {}, "at no site"),
        ({"site": ("blocks.0.resid_pre", "blocks.1.resid_pre")}, {}, "at 2 sites"),
        ({"site": "encoder.fc"}, {}, "no hook of a block"),
        ({}, {"chosen": [9]}, "unit 9 is not in the featurizer: it has 0..8"),
        ({}, {"labels": ["a"]}, "1 labels for 9 units"),
        ({}, {"labels": "a"}, "one text for 9 units"),
        ({}, {"labels": {12: "a"}}, "a label for unit 12"),
        ({}, {"strength": 301.0}, "-300..300"),
        ({}, {"strength": float("nan")}, "-300..300"),
        ({}, {"depth": 2}, "not in a model of 2 blocks"),
        ({"write": torch.zeros(9, 5)}, {}, "unit 0 writes a vector of length 0"),
        ({"write": 1e4 * DICTIONARY.write}, {}, "Neuronpedia steers with at most 300"),
    ],
)
def test_what_is_refused(change, options, message):
    with pytest.raises(InputError, match=message):
        list(neuronpedia_vectors(replace(DICTIONARY, **change), **{"model": "m", **options}))


def test_what_is_too_wide_or_nothing_to_write():
    with pytest.raises(InputError, match="24577 numbers: Neuronpedia takes at most 24576"):
        neuronpedia_vectors(neurons(24_577, site=SITE), model="m")
    with pytest.raises(InputError, match="a str was given"):
        neuronpedia_vectors("pca", model="m")


SIZES = {"blocks.0.resid_pre": 4, "blocks.1.resid_pre": 3, "blocks.2.resid_pre": 5}


def graph(sizes=SIZES, labels=None):
    names = list(sizes)
    edges = tuple(
        EdgeBlock(source=a, target=b, weight=torch.from_numpy(RNG.normal(size=(sizes[a], sizes[b]))))
        for a, b in pairwise(names)
    )
    return FeatureGraph(
        nodes=Bundle(parts={name: neurons(size, site=name) for name, size in sizes.items()}), edges=edges,
        labels=labels or {},
    )  # fmt: skip


def cantor(feature):
    """(layer, unit), as Neuronpedia reads them back."""
    w = int((np.sqrt(8 * feature + 1) - 1) // 2)
    unit = feature - w * (w + 1) // 2
    return w - unit, unit


def test_a_graph_has_their_schema_and_its_own_edges(tmp_path):
    labels = {"blocks.1.resid_pre": ("x", "y", "z")}
    whole = graph(labels=labels)
    found = json.loads(save_neuronpedia_graph(whole, tmp_path / "my graph.json", model="gpt2-small").read_text())
    assert set(found) == {"metadata", "qParams", "nodes", "links"}
    meta = found["metadata"]
    assert (meta["slug"], meta["scan"], len(meta["prompt_tokens"]), meta["schema_version"]) == (
        "my-graph", "gpt2-small", 1, 1,
    )  # fmt: skip
    for node in found["nodes"]:
        assert all(type(node[name]) is kind for name, kind in NODE.items())
        assert cantor(node["feature"]) == (int(node["layer"]), node["unit"])
        assert node["hook"] == f"blocks.{node['layer']}.hook_resid_pre"
    by_id = {node["node_id"]: node for node in found["nodes"]}
    assert len(by_id) == 12
    assert [by_id[f"1_{unit}_0"]["clerp"] for unit in range(3)] == ["x", "y", "z"]
    assert by_id["0_0_0"]["clerp"] == "blocks.0.resid_pre 0"
    weights = {(edge.source.layer, edge.target.layer): edge.weight for edge in whole.edges}
    assert len(found["links"]) == 12 + 15
    for link in found["links"]:
        one, other = by_id[link["source"]], by_id[link["target"]]
        weight = weights[int(one["layer"]), int(other["layer"])][one["unit"], other["unit"]]
        assert link["weight"] == pytest.approx(float(weight), rel=1e-7)


def test_the_strongest_edges_are_kept_and_their_share_is_said():
    whole = graph()
    found = neuronpedia_graph(whole, model="m", slug="g", most_edges=6)
    sizes = np.sort(np.concatenate([edge.weight.abs().numpy().ravel() for edge in whole.edges]))[::-1]
    assert sorted((abs(link["weight"]) for link in found["links"]), reverse=True) == pytest.approx(sizes[:6].tolist())
    said = found["metadata"]["pruning_settings"]
    assert (said["edges"], said["edges_of"], said["nodes_of"]) == (6, 27, 12)
    assert said["kept_weight_share"] == pytest.approx(sizes[:6].sum() / sizes.sum(), rel=1e-6)
    joined = {end for link in found["links"] for end in (link["source"], link["target"])}
    assert {node["node_id"] for node in found["nodes"]} == joined
    assert f"the strongest 6 of 27 edges, {said['kept_weight_share']:.1%}" in found["metadata"]["info"]["description"]


def test_influence_is_what_a_threshold_of_theirs_cuts_at():
    importance = {name: np.arange(size) + 1.0 for name, size in SIZES.items()}
    found = neuronpedia_graph(graph(), model="m", slug="g", importance=importance)["nodes"]
    total = sum(values.sum() for values in importance.values())
    assert sum(node["importance"] for node in found) == pytest.approx(1)
    for node in found:
        assert node["importance"] == pytest.approx((node["unit"] + 1) / total, rel=1e-6)
        above = sum(one["importance"] for one in found if one["importance"] > node["importance"])
        assert above < node["influence"] <= 1
    assert max(node["influence"] for node in found) == 1


def test_layers_without_blocks_are_places():
    found = neuronpedia_graph(graph({"fc2": 2, "fc1": 2}), model="m", slug="g")
    assert found["metadata"]["sites"] == {"0": "fc2", "1": "fc1"}
    assert {node["hook"] for node in found["nodes"]} == {None}


def test_a_file_stays_below_its_limit(monkeypatch):
    assert (writer.MOST_EDGES, writer.MOST_BYTES) == (2_000, 5_000_000)
    monkeypatch.setattr(writer, "MOST_BYTES", 10_000)
    labels = {name: tuple("w" * 600 for _ in range(size)) for name, size in SIZES.items()}
    found = neuronpedia_graph(graph(labels=labels), model="m", slug="g")
    assert 0 < found["metadata"]["pruning_settings"]["edges"] < 27
    assert len(json.dumps(found)) <= 10_000
    labels = {name: tuple("w" * 10_000 for _ in range(size)) for name, size in SIZES.items()}
    with pytest.raises(InputError, match="shorten the labels"):
        neuronpedia_graph(graph(labels=labels), model="m", slug="g")


EMPTY = FeatureGraph(nodes=graph().nodes)


@pytest.mark.parametrize(
    ("whole", "options", "message"),
    [
        (graph(), {"slug": "my graph"}, "letters, digits"),
        (graph(), {"model": ""}, "the model has no name"),
        (graph(), {"most_edges": 0}, "most_edges is 0"),
        (EMPTY, {}, "no edges"),
        (graph(), {"importance": {"blocks.0.resid_pre": [1] * 4}}, r"importance at blocks\.1\.resid_pre is missing"),
        (graph(), {"importance": {name: [-1.0] * size for name, size in SIZES.items()}}, "negative or not finite"),
        (graph(), {"importance": {name: [0.0] * size for name, size in SIZES.items()}}, "all importances are 0"),
    ],
)
def test_graphs_that_are_refused(whole, options, message):
    with pytest.raises(InputError, match=message):
        neuronpedia_graph(whole, **{"model": "m", "slug": "g", **options})


def test_a_weight_that_is_not_finite_is_refused():
    edge = EdgeBlock(source="a", target="b", weight=torch.tensor([[float("nan")]]))
    nodes = Bundle(parts={name: neurons(1, site=name) for name in "ab"})
    with pytest.raises(InputError, match="not finite"):
        neuronpedia_graph(FeatureGraph(nodes=nodes, edges=(edge,)), model="m", slug="g")
