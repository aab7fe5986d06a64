"""Parts of a featurizer, and one featurizer after another, against doing it by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import laws_features as laws
import samples
import unweave as uw
from unweave.errors import FingerprintError, InputError
from unweave.features import compose, neurons, pca, random_rotation, restrict
from unweave.features.activation import Activation
from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import Capacity, Provenance

KINDS = samples.featurizers()
AFTER = {
    "oblique": AffineFeaturizer(
        read=laws.gaussian(6, 4, seed=5), origin=laws.gaussian(6, seed=6), bias=laws.gaussian(4, seed=7), blocks=(3, 1)
    ),
    "relu": AffineFeaturizer(
        read=laws.gaussian(6, 9, seed=5),
        write=laws.gaussian(9, 6, seed=6),
        bias=laws.gaussian(9),
        act=Activation(kind="relu"),
    ),
    "top_k": AffineFeaturizer(read=laws.gaussian(6, 9, seed=5), act=Activation(kind="top_k", k=2)),
    "some neurons": uw.NeuronFeaturizer(width=6, index=[5, 2]),
}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "top_k"])
def test_a_part_is_what_the_whole_gives_there(kind: str) -> None:
    laws.restrict_law(restrict, KINDS[kind])


def test_a_part_of_neurons_stays_an_index() -> None:
    part = restrict(uw.NeuronFeaturizer(width=9, index=[4, 0, 7, 8], blocks=(1, 2, 1)), [2, 1])
    assert isinstance(part, uw.NeuronFeaturizer)
    assert part.index.tolist() == [8, 0, 7]


def test_a_part_changes_nothing_of_the_whole() -> None:
    whole = samples.featurizers()["jump_relu"]
    restrict(whole, [3, 1])
    assert samples.same(whole, samples.featurizers()["jump_relu"])


@pytest.mark.parametrize("blocks", [[], [0, 0], [3], [-1]])
def test_blocks_that_are_none_are_refused(blocks: list[int]) -> None:
    text = rf"blocks \[{', '.join(map(str, blocks))}\] must be different numbers in 0\.\.2, at least one"
    with pytest.raises(InputError, match=text):
        restrict(KINDS["oblique"], blocks)


def test_a_top_k_has_no_parts() -> None:
    with pytest.raises(InputError, match=r"a TopK featurizer cannot be restricted, .*: choose units= in the edit"):
        restrict(KINDS["top_k"], [0])


@pytest.mark.parametrize("second", AFTER)
@pytest.mark.parametrize("first", ["neurons", "identity", "pca", "random"])
def test_composing_is_doing_one_after_the_other(first: str, second: str) -> None:
    laws.compose_law(compose, KINDS[first], AFTER[second])


@pytest.mark.parametrize("second", ["truncated pca", "random", "neurons"])
def test_a_lossy_first_map_composes_too(second: str) -> None:
    first = AffineFeaturizer(
        read=laws.gaussian(8, 6, seed=8), origin=laws.gaussian(8), bias=laws.gaussian(6), site="blocks.0.mlp_out"
    )
    laws.compose_law(compose, first, KINDS[second])


def test_composing_is_associative() -> None:
    one, two, three = KINDS["pca"], KINDS["random"], AFTER["oblique"]
    left, right = compose(compose(one, two), three), compose(one, compose(two, three))
    h = laws.gaussian(5, 6)
    for first, second in zip(left.encode(h), right.encode(h), strict=True):
        laws.close(first, second)


def test_float32_parts_compose_in_float64() -> None:
    one = replace(KINDS["random"], read=KINDS["random"].read.float(), write=KINDS["random"].write.float())
    assert compose(one, AFTER["oblique"]).read.dtype == torch.float64


def test_what_was_fitted_stays_known() -> None:
    rows = laws.gaussian(30, 6)
    first = pca(rows, rank=4, model="m", site="embed", fitted_on="rows")
    first = replace(first, capacity=replace(first.capacity, search_budget=3))
    second = replace(random_rotation(4, seed=2), capacity=Capacity(parameters=10, search_budget=2))
    found = compose(first, second)
    assert found.capacity == Capacity(parameters=6 * 4 + 6 + 10, search_budget=6)
    assert found.provenance == Provenance(method="random", model="m", seed=2)
    relu = AffineFeaturizer(read=np.eye(4), act=Activation(kind="relu"))
    assert compose(first, relu).capacity.kind == "piecewise"


def test_maps_that_do_not_compose_are_refused() -> None:
    with pytest.raises(InputError, match="the first featurizer has a relu nonlinearity: two nonlinear maps"):
        compose(KINDS["relu"], neurons(8))
    with pytest.raises(InputError, match="the first featurizer has 2 units but the second has width 6: they"):
        compose(KINDS["truncated pca"], neurons(6))
    with pytest.raises(FingerprintError, match="the two were made for different models: fit the second on"):
        compose(neurons(3, model="a"), neurons(3, model="b"))
