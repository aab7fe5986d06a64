"""Neurons are coordinates as they are, kept as an index."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import unweave as uw
from unweave.errors import InputError


@pytest.mark.parametrize("index", [[2, 0], (2, 0), np.array([2, 0], dtype=np.uint8), torch.tensor([2, 0])])
def test_units_are_the_coordinates_in_the_order_asked(index: Any) -> None:
    f = uw.NeuronFeaturizer(width=4, index=index, site="blocks.0.mlp_act")
    z, residual = f.encode(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert z.tolist() == [[3.0, 1.0]]
    assert residual.tolist() == [[0.0, 2.0, 0.0, 4.0]]
    assert f.decode(torch.tensor([[30.0, 10.0]]), residual).tolist() == [[10.0, 2.0, 30.0, 4.0]]
    assert f.index.dtype == torch.int64
    assert repr(f) == "NeuronFeaturizer(2 of 4 neurons, blocks.0.mlp_act)"


def test_all_of_them_leave_no_residual() -> None:
    f = uw.NeuronFeaturizer(width=3)
    h = torch.tensor([[1.0, float("nan"), float("inf")]])
    z, residual = f.encode(h)
    assert torch.equal(z, h) or torch.isnan(z).equal(torch.isnan(h))
    assert not residual.any()
    assert f.blocks == (1, 1, 1)
    assert repr(f) == "NeuronFeaturizer(3 of 3 neurons)"


def test_memory_is_that_of_an_index() -> None:
    # an identity matrix of this width would take 80 GB
    f = uw.NeuronFeaturizer(width=100_000)
    h = torch.ones(1, 100_000)
    assert torch.equal(f.decode(*f.encode(h)), h)


def test_what_it_was_made_from_stays_as_it_was() -> None:
    index = np.array([2, 0])
    f = uw.NeuronFeaturizer(width=3, index=index)
    z, residual = f.encode(torch.ones(2, 3))
    before = residual.clone()
    f.decode(5 * z, residual)
    assert torch.equal(residual, before)
    assert index.tolist() == [2, 0]


@pytest.mark.parametrize(
    "index",
    [[], [0, 0], [4], [-1], [[0, 1]], [0.0, 1.0], [True, False, True, False], 2],
    ids=["empty", "twice", "too large", "negative", "matrix", "floats", "mask", "scalar"],
)
def test_an_index_that_is_none_is_refused(index: Any) -> None:
    with pytest.raises(InputError, match=r"index must hold different whole numbers in 0\.\.3 on one axis, got \["):
        uw.NeuronFeaturizer(width=4, index=index)


def test_blocks_must_fill_the_neurons() -> None:
    assert uw.NeuronFeaturizer(width=4, blocks=[3, 1]).blocks == (3, 1)
    with pytest.raises(InputError, match=r"blocks \(3,\) sum to 3 but there are 4 units: sizes must be 1 or more"):
        uw.NeuronFeaturizer(width=4, blocks=(3,))
