"""What must hold of a fit: scale, invariance, exactness under every way of computing it."""

from dataclasses import replace

import pytest
import torch

import unweave as uw
from interaction.nets import block, close, draw, perceptron, transformer, without_forms
from unweave.features.activation import Activation
from unweave.features.bases import random_rotation
from unweave.interaction.builders import mlp, sections_of
from unweave.interaction.fit import fit
from unweave.interaction.forms import Linear
from unweave.interaction.stream import Stream
from unweave.tensors.linalg import random_orthogonal

X = draw(90, 3, 6)


def rows(sections, inputs):
    """Every node layer's rows, flat."""
    return [one.flatten(0, 1) for one in next(iter(Stream(sections, inputs, 10_000).walk()))]


@pytest.fixture(scope="module")
def fitted():
    return fit(transformer(), X, matmul="float64")


def test_importance_is_the_mean_square_and_coordinates_are_uncorrelated(fitted):
    for layer, values in zip(fitted.layers[:-1], rows(transformer(), X), strict=False):
        z = fitted.bases[layer].encode(values)[0]
        second = z.T @ z / len(z)
        lambdas = fitted.lambdas[layer]
        close(second.diagonal(), lambdas, 1e-8)
        loud = lambdas > 1e-6 * lambdas[0]
        correlation = second / lambdas.sqrt() / lambdas.sqrt()[:, None]
        off = correlation - torch.diag(correlation.diagonal())
        assert float(off[loud][:, loud].abs().max()) < 1e-6


def test_read_and_write_are_inverse_on_the_kept_subspace(fitted):
    for layer in fitted.layers[:-1]:
        basis = fitted.bases[layer]
        close(basis.write @ basis.read, torch.eye(basis.read.shape[1], dtype=torch.float64), 1e-8)
        projector = basis.read @ basis.write
        close(projector @ projector, projector, 1e-8)


def test_the_pulled_back_metric_is_white_in_the_new_coordinates(fitted):
    """`C+ M' C+' = 1`: with the covariance, this fixes the basis up to signs."""
    sections = transformer()
    for number, layer in enumerate(fitted.layers[:-1]):
        form, x = sections[number].form, next(iter(Stream(sections, X, 999).walk()))[number]
        metric = fitted.metrics[fitted.layers[number + 1]]
        pulled = form.finish([form.gather(x, metric)], metric)[0] / x[..., 0].numel()
        write = fitted.bases[layer].write
        close(write @ pulled @ write.T, torch.eye(len(write), dtype=torch.float64), 1e-7)


def test_derivatives_alone_give_the_same_as_closed_forms(fitted):
    slow = fit(without_forms(transformer()), X, batch=40)
    for layer in fitted.layers:
        close(slow.lambdas[layer], fitted.lambdas[layer], 1e-9)
        close(slow.metrics[layer], fitted.metrics[layer], 1e-9)
    for pair, edges in fitted.edges.items():
        close(slow.edges[pair], edges, 1e-7)


def test_batches_and_shards_change_only_rounding(fitted):
    for inputs, batch in ((X, 7), ([X[:31], X[31:]], 256), ([X[:1], [X[1:50], X[50:]]], 20)):
        other = fit(transformer(), inputs, batch=batch, matmul="float64")
        for layer in fitted.layers:
            close(other.lambdas[layer], fitted.lambdas[layer], 1e-9)
            close(other.metrics[layer], fitted.metrics[layer], 1e-12)
        for pair, edges in fitted.edges.items():
            close(other.edges[pair], edges, 1e-9)
            close(other.constant_edges[pair], fitted.constant_edges[pair], 1e-9)


def test_folding_changes_nothing_between_coordinates(fitted):
    folded = fit(transformer(), X, fold_bias=True, matmul="float64")
    for layer in fitted.layers:
        close(folded.lambdas[layer], fitted.lambdas[layer], 1e-9)
    for pair, edges in fitted.edges.items():
        close(folded.edges[pair], edges, 1e-8)


def test_integrated_gradients_of_folded_relu_layers_are_gradients():
    """A ReLU layer with its biases folded in is homogeneous; a GELU layer is not, and does change."""
    inputs = draw(60, 5)
    for act, same in (("relu", True), ("gelu", False)):
        plain = fit(perceptron(act=act), inputs, fold_bias=True)
        for rule, intervals in (("trapezoidal", 0), ("gauss_legendre", 4)):
            along = fit(perceptron(act=act), inputs, fold_bias=True, integration=rule, intervals=intervals)
            difference = float((along.lambdas["layers.1"] - plain.lambdas["layers.1"]).abs().max())
            assert (difference < 1e-9 * float(plain.lambdas["layers.1"][0])) is same


def test_rotating_the_last_layer_leaves_all_earlier_ones():
    last = transformer()[-1].form
    turn = random_orthogonal(5, seed=1)
    turned = sections_of(
        [*(one.form for one in transformer()[:2]), Linear(weight=last.weight @ turn, bias=last.bias @ turn)],
        ["ln1.0", "ln2.0", "unembed", "output"], lambda x: x,
    )  # fmt: skip
    one, other = fit(transformer(), X), fit(turned, X)
    principal = fit(transformer(), X, rotate_final=True)
    for layer in one.layers[:-1]:
        for found in (other, principal):
            close(found.metrics[layer], one.metrics[layer], 1e-8)
            close(found.lambdas[layer], one.lambdas[layer], 1e-8)


def test_the_basis_does_not_depend_on_how_a_layer_is_parametrised():
    """Any invertible map between two sections, undone by the next: importances, edges and coordinates stay."""
    inputs = draw(80, 5)
    (w1, b1), (w2, b2), (w3, b3) = [(draw(a, b, seed=a), draw(b)) for a, b in ((5, 6), (6, 6), (6, 4))]
    mixing = draw(6, 6, seed=8) / 2 + 2 * torch.eye(6, dtype=torch.float64)
    back = torch.linalg.inv(mixing)

    def net(inside, outside):
        forms = [
            block(5, 6).__class__(w_in=w1, b_in=b1, w_out=w2 @ inside, b_out=b2 @ inside, act="relu"),
            Linear(weight=outside @ w3, bias=b3),
        ]
        return sections_of(forms, ["a", "b", "output"], lambda x: x[:, None])

    plain = fit(net(torch.eye(6).double(), torch.eye(6).double()), inputs, matmul="float64")
    mixed = fit(net(mixing, back), inputs, matmul="float64")
    for layer in ("a", "b"):
        close(mixed.lambdas[layer], plain.lambdas[layer], 1e-6)
    for pair, edges in plain.edges.items():
        close(mixed.edges[pair], edges, 1e-6)
    one = plain.bases["b"].encode(rows(net(torch.eye(6).double(), torch.eye(6).double()), inputs)[1])[0]
    other = mixed.bases["b"].encode(rows(net(mixing, back), inputs)[1])[0]
    close(other.abs(), one.abs(), 1e-6)


def test_linear_networks_have_diagonal_edges_and_one_set_of_importances():
    sections = perceptron(sizes=(5, 5, 5), act="identity")
    found = fit(sections, draw(70, 5), rotate_final=True, matmul="float64")
    for edges in found.edges.values():
        off = edges - torch.diag(edges.diagonal())
        assert float(off.abs().max()) < 1e-8 * float(edges.max())
        close(edges.diagonal(), found.lambdas["output"], 1e-8)
    for layer in found.layers:
        close(found.lambdas[layer], found.lambdas["output"], 1e-8)


def test_block_diagonal_networks_have_block_diagonal_edges():
    layers = [(torch.block_diag(draw(4, 4, seed=k), draw(4, 4, seed=k + 50)), torch.zeros(8)) for k in range(3)]
    inputs = draw(300, 8)
    found = fit(mlp(layers), inputs, matmul="float64")
    for (source, target), edges in found.edges.items():
        halves = []
        for layer in (source, target):
            write = found.bases[layer].write if layer != "output" else torch.eye(8).double()
            halves.append(write[:, :4].square().sum(1) > write[:, 4:].square().sum(1))
        across = halves[1][:, None] != halves[0]
        # samples are finite: the blocks are uncorrelated up to 1/sqrt(300), a twentieth of the largest edge
        assert float(edges[across].max()) < 0.05 * float(edges.max())
        assert float(edges[across].sum()) < 0.2 * float(edges.sum())


@pytest.mark.parametrize("basis", ["pca", "neuron", "random", "whitened_random", "global"])
def test_other_bases_are_what_they_say(basis):
    found = fit(transformer(), X, basis=basis)
    values = rows(transformer(), X)
    for layer, one in zip(found.layers[:-1], values, strict=False):
        encoded = found.bases[layer].encode(one)[0]
        close(encoded.square().mean(0), found.lambdas[layer], 1e-8)
        if basis == "pca":
            close(found.lambdas[layer], torch.linalg.eigvalsh(torch.cov(one.T, correction=0)).flip(0), 1e-9)
    if basis == "neuron":
        assert torch.equal(found.bases["ln2.0"].encode(values[1])[0], values[1])
    if basis == "global":
        section = transformer()
        pulled = torch.zeros(6, 6, dtype=torch.float64)
        for sample in X:

            def through(x):
                for one in section:
                    x = one.form.forward(x)
                return x[0, 0]

            whole = torch.autograd.functional.jacobian(through, sample[None])[:, 0]
            pulled += torch.einsum("osd,ose->de", whole, whole)
        write = found.bases["ln1.0"].write
        close(write @ (pulled / X[..., 0].numel()) @ write.T, torch.eye(len(write)).double(), 1e-7)


def test_a_featurizer_can_stand_as_the_basis_of_a_layer():
    turn = random_rotation(6, seed=3)
    found = fit(transformer(), X, basis={"ln2.0": turn}, matmul="float64")
    assert found.bases["ln2.0"] is turn
    close(found.metrics["ln2.0"], torch.eye(6, dtype=torch.float64), 1e-12)
    # an orthogonal rotation of all coordinates leaves what is upstream as neurons would
    neurons = fit(transformer(), X, basis={"ln2.0": uw.features.neurons(6)})
    close(found.lambdas["ln1.0"], neurons.lambdas["ln1.0"], 1e-9)


def test_edges_between_blocks_are_the_sums_of_those_between_their_coordinates():
    blocks = uw.AffineFeaturizer(read=draw(6, 6), write=draw(6, 6), blocks=(2, 3, 1))
    found = fit(transformer(), X, basis={"ln2.0": blocks, "ln1.0": uw.features.neurons(6)}, matmul="float64")
    whole, summed = found.edges["ln1.0", "ln2.0"], found.block_edges("ln1.0", "ln2.0")
    assert summed.shape == (3, 6)
    close(summed[1], whole[2:5].sum(0), 1e-12)
    with pytest.raises(uw.errors.UnknownName, match="unknown pair of layers"):
        found.block_edges("ln1.0", "unembed")


def test_activations_of_less_precision_move_importances_by_their_rounding(fitted):
    coarse = fit(transformer(), X, dtype="float32", matmul="float64")
    assert coarse.compute.dtype == "float32"
    for layer, lambdas in coarse.lambdas.items():
        difference = ((lambdas[:4] - fitted.lambdas[layer][:4]) / fitted.lambdas[layer][:4]).abs().max()
        assert difference < 1e-5
    assert any(not torch.equal(coarse.lambdas[layer], fitted.lambdas[layer]) for layer in ("ln2.0", "unembed"))


def test_a_sparse_dictionary_can_stand_as_the_basis_too():
    """With a nonlinearity, edges come from derivatives through encoder and decoder."""
    dictionary = uw.AffineFeaturizer(read=draw(6, 9), write=draw(9, 6), act=Activation(kind="relu"))
    found = fit(transformer(), X[:20], basis={"ln2.0": dictionary})
    assert found.edges["ln1.0", "ln2.0"].shape[0] == 9
    assert float(found.edges["ln2.0", "unembed"].min()) >= 0


def test_attributions_sum_to_the_directional_derivative_in_any_basis_of_a_subspace():
    """`sum_j A_ij` is a property of the subspace: bases of the same one agree on it (here through single samples)."""
    sections = transformer()
    lib, pca = (fit(sections, X, basis=name, matmul="float64", rel_L=1e-14) for name in ("lib", "pca"))
    target = lib.bases["unembed"]
    x = rows(sections, X)[1][:1, None]
    sums = []
    for found in (lib, pca):
        basis = found.bases["ln2.0"]
        z = (x - basis.origin) @ basis.read
        whole = torch.autograd.functional.jacobian(lambda a: sections[1].form.forward(a) @ target.read, x)[
            0, 0, :, 0, 0
        ]
        sums.append((whole @ basis.write.T * z[0, 0]).sum(1))
    close(sums[1], sums[0], 1e-7)


def test_edges_are_not_negative_and_signs_do_not_matter(fitted):
    flipped = {
        layer: replace(one, read=-one.read, write=-one.write)
        for layer, one in fitted.bases.items()
        if layer != "output"
    }
    again = fit(transformer(), X, basis=flipped, matmul="float64")
    for pair, edges in fitted.edges.items():
        assert float(edges.min()) >= 0
        close(again.edges[pair], edges, 1e-9)


def test_a_protected_coordinate_stays_a_direction_of_its_own():
    forms = [Linear(weight=draw(6, 4), bias=draw(4))]
    section = replace(sections_of(forms, ["a", "output"], lambda x: x[:, None])[0], isolated=1)
    found = fit([section], draw(50, 6))
    first = found.bases["a"].write[0]
    assert torch.equal(first != 0, torch.arange(6) == 0)
    free = fit([section], draw(50, 6), isolate_norm=False)
    assert int((free.bases["a"].write[0] != 0).sum()) == 6


def test_the_reference_cut_is_absolute_and_ours_relative():
    inputs = draw(50, 5)
    flat = torch.cat([inputs, inputs @ draw(5, 2), 1e-6 * draw(50, 1, seed=4)], 1)
    net = mlp([(draw(8, 3), draw(3))])
    assert fit(net, flat).ranks["layers.0"].variances == 6  # a variance of 1e-12 is above 10 d eps
    assert fit(net, flat, rel_D=1e-10).ranks["layers.0"].variances == 5
    assert fit(net, flat, abs_threshold=1e-11).ranks["layers.0"].variances == 5


def test_equal_importances_are_one_block():
    """Two outputs that read orthogonal inputs equally: the directions are arbitrary, and said to be."""
    inputs = torch.cat([torch.eye(4), -torch.eye(4)]).double() * torch.tensor([2.0, 2.0, 1.0, 1.0])
    found = fit(mlp([(torch.eye(4), torch.zeros(4))]), inputs)
    assert found.degenerate["layers.0"] == (2, 2)
    assert found.bases["layers.0"].blocks == (2, 2)
    assert found.bases["layers.0"].gauge.within.name == "ROTATION"


def test_a_fit_saves_and_loads_to_the_bit(fitted, tmp_path):
    again = uw.load(uw.save(fitted, tmp_path / "lib"))
    assert repr(again) == repr(fitted)
    for pair, edges in fitted.edges.items():
        assert torch.equal(again.edges[pair], edges)
    assert torch.equal(again.bases["ln1.0"].read, fitted.bases["ln1.0"].read)


def test_intervals_of_edges_hold_the_edge_as_often_as_they_say():
    """The basis is given, so that the edges of every sample estimate the same ones."""
    net, pair = perceptron(), ("layers.0", "layers.1")
    given = dict(fit(net, draw(4000, 5), basis="pca").bases)
    options = {"basis": given, "fold_bias": False}
    truth = fit(net, draw(60_000, 5, seed=1), **options).edges[pair]
    held = []
    for seed in range(60):
        low, high = fit(net, draw(400, 5, seed=100 + seed), batch=20, **options).edge_interval(*pair, draws=400)
        held.append(((low <= truth) & (truth <= high)).double().mean())
    assert 0.9 < float(torch.stack(held).mean()) < 0.99


def test_edges_that_are_zero_stay_zero_in_their_intervals():
    eye = torch.eye(3, dtype=torch.float64)
    found = fit(mlp([(eye, torch.zeros(3)), (eye, torch.zeros(3))]), draw(60, 3), basis="neuron", batch=10)
    low, high = found.edge_interval(*found.layers[:2])
    edges = found.edges[found.layers[0], found.layers[1]]
    assert bool((high[edges == 0] == 0).all())
    assert bool(((low <= edges) & (edges <= high)).all())
