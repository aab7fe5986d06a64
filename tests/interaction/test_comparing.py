"""Several bases and seeds as one table: means, ranges, paired differences, and what is told of a known truth."""

from dataclasses import replace

import pytest
import torch

from unweave.errors import InputError
from unweave.interaction.builders import mlp
from unweave.interaction.comparing import compare
from unweave.interaction.measuring import measure, measure_subject
from unweave.interaction.subjects import modadd_subject
from unweave.models.modadd import ModularAddition


@pytest.fixture(scope="module")
def run():
    net = mlp([(torch.eye(3), torch.zeros(3)), (torch.eye(3), torch.zeros(3))])
    X = torch.rand(60, 3, generator=torch.Generator().manual_seed(0))
    return measure(net, X, X, X.argmax(1), basis="neuron", model="m", null=0)


def told(run, basis, seed, nodes, edges, truth=()):
    """The run as if these numbers had been found, by layer."""
    return replace(
        run,
        basis=basis,
        seed=seed,
        nodes=tuple(replace(one, needed=count) for one, count in zip(run.nodes, nodes, strict=True)),
        edges=tuple(replace(one, needed=count) for one, count in zip(run.edges, edges, strict=True)),
        truth=dict(zip((one.layer for one in run.nodes), truth, strict=False)),
    )


def test_seeds_are_one_row_with_their_range_and_differences_are_paired(run):
    runs = [
        told(run, "lib", 0, (3, 3), (10, 20)), told(run, "lib", 1, (3, 2), (11, 29)),
        told(run, "random", 0, (4, 4), (50, 50)), told(run, "random", 1, (4, 3), (100, 60)),
        told(run, "random", 7, (4, 4), (40, 50)),
    ]  # fmt: skip
    lib, random = compare(runs)
    assert (lib["edges"], lib["edges range"], lib["seeds"]) == (35, [30, 40], 2)
    assert (lib["edges against lib"], lib["pairs"]) == (None, 0)
    assert (random["edges"], random["edges range"]) == (350 / 3, [90, 160])
    assert (random["edges against lib"], random["edges against lib range"]) == ((70 + 120 + 60) / 3, [60, 120])
    assert (random["nodes"], random["nodes against lib"], random["pairs"]) == (23 / 3, 2, 3)
    layers = compare(runs, each_layer=True)
    assert [(row["basis"], row["layer"], row["edges"]) for row in layers] == [
        ("lib", "layers.0", 10.5), ("lib", "layers.1", 24.5),
        ("random", "layers.0", 190 / 3), ("random", "layers.1", 160 / 3),
    ]  # fmt: skip


def test_a_target_that_no_number_reaches_leaves_no_mean(run):
    row = compare([told(run, "pca", 0, (3, None), (10, 20)), told(run, "pca", 1, (3, 3), (10, 20))])[0]
    assert (row["nodes"], row["nodes range"], row["edges"]) == (None, None, 30)


def test_the_share_of_the_known_kind_counts_every_needed_node_once(run):
    row = compare([told(run, "lib", 0, (2, 4), (1, 1), truth=(1.0, 1 / 3))])[0]
    assert row["truth"] == pytest.approx((1 + 1) / 4)
    assert compare([told(run, "lib", 0, (1, 1), (1, 1))])[0]["truth"] is None


def test_modular_addition_tells_its_share_of_one_frequency():
    small = ModularAddition(modulus=7, width=6, heads=2, head_width=3, neurons=8)
    found = measure_subject(modadd_subject(small), basis="pca")
    assert set(found.truth) == {layer for layer, count in found.needed().items() if count}
    assert all(0 <= share <= 1 for share in found.truth.values())


def test_what_is_wrong_is_said(run):
    with pytest.raises(InputError, match="no runs to compare"):
        compare([])
    with pytest.raises(InputError, match="two runs of m, basis neuron, seed 0: give each seed once"):
        compare([run, run])
