"""The authors' stored results for modular addition: what a fit from their checkpoints must give.

Kept dimensions and columns of the basis depend on where noise is cut; moments, importances, coordinates, edges and
accuracies do not (specs/lib.md, facts 1 to 8).
"""

import json
from dataclasses import replace

import pytest
import torch

from unweave.features.affine import AffineFeaturizer
from unweave.interaction.ablation import ablate_nodes
from unweave.interaction.builders import mlp, modadd
from unweave.interaction.edge_ablation import ablate_edges
from unweave.interaction.fit import fit
from unweave.interaction.measuring import measure_subject
from unweave.interaction.stream import Stream
from unweave.interaction.subjects import modadd_subject
from unweave.models.checkpoints import read_state
from unweave.models.modadd import modadd_pairs, modadd_targets

LAYERS = ("ln1.0", "ln2.0", "unembed")
TRAIN, TEST = modadd_pairs()
TARGETS = modadd_targets(TEST)


class Stored:
    """A checkpoint, its sections, and the authors' files about it."""

    def __init__(self, data, basis, seed):
        self.state = read_state(data / f"lib/checkpoints/modadd_seed{seed}.pt")
        self.sections = modadd(self.state)
        results = data / "lib/results"
        name = f"{basis}_seed{seed}"
        self.graph = torch.load(results / f"{name}_graph.pt", weights_only=True, map_location="cpu")
        self.rotations = {one["node_layer"]: one for one in self.graph["interaction_rotations"]}
        self.nodes = json.loads((results / f"{name}_node_ablation.json").read_text())["results"]
        self.needed = json.loads((results / f"{name}_edge_ablation.json").read_text())["n_edges_required"]

    def edges(self, source, target):
        (found,) = [one["E_hat"] for one in self.graph["edges"] if one["in_node_layer"] == source]
        return (found if target == "output" else found[1:])[:, 1:]

    def featurizer(self, layer):
        one = self.rotations[layer]
        read, write = (one["C"], one["C_pinv"]) if one["C"] is not None else (one["W"], one["W_pinv"])
        return AffineFeaturizer(read=read[:-1, 1:], write=write[1:, :-1], origin=self.graph["mean_vectors"][layer][:-1])

    def lambdas(self, layer):
        return self.rotations[layer]["Lambda"][1:]


@pytest.fixture(scope="module")
def lib(data):
    return Stored(data, "lib", 0)


@pytest.fixture(scope="module")
def fitted(lib):
    return fit(lib.sections, TRAIN)


@pytest.fixture(scope="module")
def rows(lib):
    return dict(
        zip(
            LAYERS, [one.flatten(0, 1) for one in next(iter(Stream(lib.sections, TRAIN, 9999).walk()))][:3], strict=True
        )
    )


def test_means_and_grams_are_the_stored_ones(lib, rows):
    for layer, values in rows.items():
        mean = values.mean(0)
        gram = (values - mean).T @ (values - mean) / len(values)
        assert float((mean - lib.graph["mean_vectors"][layer][:-1]).abs().max()) < 1e-12
        assert float((gram - lib.graph["gram_matrices"][layer][:-1, :-1]).abs().max()) < 2e-12


@pytest.mark.parametrize(
    ("layer", "top", "tolerance"),
    [
        ("unembed", 30, 1e-10), ("ln2.0", 20, 1e-9), ("ln2.0", 30, 1e-5),
        ("ln1.0", 10, 1e-3), ("ln1.0", 20, 1e-2), ("ln1.0", 30, 5e-2),
    ],
)  # fmt: skip
def test_importances_are_the_stored_ones(lib, fitted, layer, top, tolerance):
    stored = lib.lambdas(layer)[:top]
    assert float(((fitted.lambdas[layer][:top] - stored) / stored).abs().max()) < tolerance


def test_given_the_next_layer_the_first_one_agrees_to_rounding(lib):
    found = fit(lib.sections, TRAIN, basis={"ln2.0": lib.featurizer("ln2.0")}, edges="none")
    stored = lib.lambdas("ln1.0")[:30]
    assert float(((found.lambdas["ln1.0"][:30] - stored) / stored).abs().max()) < 1e-9


def test_the_importance_of_the_constant_is_the_stored_one(lib, fitted):
    for layer, tolerance in (("unembed", 1e-12), ("ln2.0", 1e-9), ("ln1.0", 1e-3)):
        assert fitted.constant[layer] == pytest.approx(float(lib.rotations[layer]["Lambda"][0]), rel=tolerance)


@pytest.mark.parametrize(
    ("layer", "top", "least"),
    [("ln2.0", 30, 0.99999), ("unembed", 30, 0.99999), ("ln1.0", 10, 0.99999), ("ln1.0", 20, 0.997)],
)
def test_coordinates_are_the_stored_ones_up_to_sign(lib, fitted, rows, layer, top, least):
    z = fitted.bases[layer].encode(rows[layer])[0][:, :top]
    stored = lib.featurizer(layer).encode(rows[layer])[0][:, :top]
    correlation = (z * stored).mean(0) / (z.square().mean(0) * stored.square().mean(0)).sqrt()
    assert float(correlation.abs().min()) > least


def test_ranks_are_those_of_the_data(fitted):
    assert fitted.ranks["ln1.0"].variances == 114


def test_edges_given_the_stored_bases_are_the_stored_ones(lib):
    given = {layer: lib.featurizer(layer) for layer in LAYERS}
    found = fit(lib.sections, TRAIN, basis=given)
    for (source, target), edges in found.edges.items():
        stored = lib.edges(source, target)
        assert float((edges - stored).abs().max()) < 1e-6 * float(stored.max())
        (whole,) = [one["E_hat"] for one in lib.graph["edges"] if one["in_node_layer"] == source]
        constant = whole[:, 0] if target == "output" else whole[1:, 0]
        difference = found.constant_edges[source, target] - constant
        assert float(difference.abs().max()) < 1e-5 * float(constant.max())


def test_leading_edges_from_scratch_are_the_stored_ones(lib, fitted):
    for (source, target), edges in fitted.edges.items():
        stored = lib.edges(source, target)
        difference = (edges[:20, :20] - stored[:20, :20]).abs().max()
        assert float(difference) < 1e-3 * float(stored.max())


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("basis", ["lib", "pca"])
def test_ablations_of_the_stored_bases_are_the_stored_ones(data, basis, seed):
    """All 144 accuracies, and the edges needed: one of 8,939 samples may differ elsewhere, here none."""
    stored = Stored(data, basis, seed)
    made = fit(stored.sections, TRAIN[:256], basis=basis, edges="none")
    bases = {layer: stored.featurizer(layer) for layer in LAYERS}
    edges = {pair: stored.edges(*pair) for pair in zip(LAYERS, (*LAYERS[1:], "output"), strict=True)}
    result = replace(made, bases={**made.bases, **bases}, edges=edges)
    for found in ablate_nodes(result, stored.sections, TEST, TARGETS):
        wanted = stored.nodes[found.layer]
        assert {str(one.kept): one.score for one in found.points} == pytest.approx(wanted, abs=1.2e-4)
    needed = ablate_edges(result, stored.sections, TEST, TARGETS, envelope=False)
    assert {one.layer: one.needed for one in needed} == pytest.approx({k: stored.needed[k] for k in LAYERS}, abs=1)


def test_edges_needed_from_scratch(lib):
    """133, 82 and 633 by our own fit; PCA 163, 114 and 682: its first layer moves with the cut (specs/lib.md)."""
    found = measure_subject(modadd_subject(lib.state)).facts()
    assert found["edges_required"] == pytest.approx({"ln1.0": 133, "ln2.0": 82, "unembed": 633}, abs=1)
    assert found["accuracy"] == pytest.approx(0.9995525, abs=1e-7)
    assert [len(one) for one in found["node_ablation"].values()] == [48, 48, 48]


def test_the_reference_cut_can_be_asked_for(lib):
    found = fit(lib.sections, TRAIN, abs_threshold=1e-15, edges="none")
    assert found.ranks["ln1.0"].variances == 114
    stored = lib.lambdas("ln2.0")[:20]
    assert float(((found.lambdas["ln2.0"][:20] - stored) / stored).abs().max()) < 1e-9


def test_the_mnist_perceptron_has_the_same_basis_by_derivatives(data):
    """97.60 % on the test set; closed forms and automatic differentiation agree on its three sections."""
    import gzip

    import numpy as np

    folder = data / "images" / "mnist"
    files = {path.name: path for path in folder.rglob("*") if path.is_file()}

    def read(part, header):
        name = next(one for one in files if part in one)
        raw = files[name].read_bytes()
        return np.frombuffer(gzip.decompress(raw) if name.endswith(".gz") else raw, dtype=np.uint8)[header:]

    images = torch.tensor(read("t10k-images", 16).reshape(-1, 784) / 255)
    labels = torch.tensor(read("t10k-labels", 8).astype(int))
    sections = mlp(read_state(data / "lib/checkpoints/mnist_mlp.pt"))
    x = sections[0].inputs(images)[0]
    for one in sections:
        x = one.form.forward(x)
    assert float((x[:, 0].argmax(1) == labels).double().mean()) == pytest.approx(0.9760, abs=1e-9)
    closed = fit(sections, images[:200], matmul="float64")
    slow = fit([replace(one, form=None) for one in sections], images[:200])
    for layer in closed.layers:
        size = min(len(closed.lambdas[layer]), len(slow.lambdas[layer]))
        assert float((closed.lambdas[layer][:size] - slow.lambdas[layer][:size]).abs().max()) < 1e-8 * float(
            closed.lambdas[layer][0]
        )
    top = 10
    for pair, edges in closed.edges.items():
        assert float((edges[:top, :top] - slow.edges[pair][:top, :top]).abs().max()) < 1e-8 * float(edges.max())
