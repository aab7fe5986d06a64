"""The reference decompositions: neurons, principal components against scikit-learn, uniform rotations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

import laws_features as laws
from unweave.errors import DataError, InputError
from unweave.features import neurons, pca, random_rotation
from unweave.features.featurizer import Capacity, Gauge, Provenance, Within
from unweave.tensors.linalg import random_orthogonal
from unweave.tensors.moments import moments

ROWS = laws.gaussian(50, 5) @ torch.diag(torch.tensor([5.0, 3, 2, 1, 0.5]).double()) @ random_orthogonal(5, seed=3) + 7


def test_neurons_are_where_they_are_said_to_be() -> None:
    found = neurons(3, site="blocks.0.hook_mlp_out", model="m")
    assert found.site == "blocks.0.mlp_out"
    assert found.provenance == Provenance(method="neurons", model="m")
    assert found.capacity == Capacity()
    assert found.gauge == Gauge()


@pytest.mark.parametrize("rank", [None, 1, 3, 5])
def test_components_equal_scikit_learns_up_to_sign(rank: int | None) -> None:
    found = pca(ROWS, rank=rank)
    theirs = PCA(n_components=rank).fit(ROWS.numpy())
    signs = torch.sign((found.write * torch.from_numpy(theirs.components_)).sum(1))
    # float64 eigenvectors of a 5 x 5 matrix with gaps of order 1
    laws.close(found.write, torch.from_numpy(theirs.components_) * signs[:, None], atol=1e-10)
    laws.close(found.origin, torch.from_numpy(theirs.mean_))
    z, residual = found.encode(ROWS)
    laws.close(z, torch.from_numpy(theirs.transform(ROWS.numpy())) * signs, atol=1e-10)
    laws.close(ROWS - residual, torch.from_numpy(theirs.inverse_transform(theirs.transform(ROWS.numpy()))), atol=1e-10)
    np.testing.assert_allclose(z.var(0).numpy(), theirs.explained_variance_, rtol=1e-10)


def test_components_are_told_about() -> None:
    found = pca(ROWS, rank=2, site="embed", model="m", fitted_on="rows")
    assert found.gauge == Gauge(within=Within.SIGN)
    assert found.blocks == (1, 1)
    assert found.capacity == Capacity(parameters=15)
    assert found.provenance == Provenance(method="pca", model="m", data="rows", rows=50)
    assert bool((found.read.gather(0, found.read.abs().argmax(0, keepdim=True)) > 0).all())


@pytest.mark.parametrize("kind", ["array", "list", "float16", "moments", "strided"])
def test_components_come_from_any_rows(kind: str) -> None:
    data = {
        "array": ROWS.numpy(),
        "list": ROWS.tolist(),
        "float16": ROWS.half(),
        "moments": moments(list(ROWS.split(7))),
        "strided": torch.cat([ROWS, ROWS], 1)[:, :5],
    }[kind]
    # float16 rows have 3 digits
    laws.close(pca(data, rank=1).read, pca(ROWS, rank=1).read, atol=1e-2 if kind == "float16" else 1e-12)


def test_the_data_stay_as_they_were() -> None:
    rows = ROWS.clone()
    pca(rows)
    assert torch.equal(rows, ROWS)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_fewer_rows_than_columns_still_lose_nothing(count: int) -> None:
    found = pca(ROWS[:count])
    laws.round_trip_law(found)
    _, residual = found.encode(ROWS)
    laws.close(residual, torch.zeros_like(residual), atol=1e-12)


def test_constant_columns_come_last() -> None:
    rows = ROWS.clone()
    rows[:, 1] = 3.0
    found = pca(rows)
    assert float(found.encode(rows)[0][:, -1].abs().max()) < 1e-12
    laws.close(found.read[:, -1].abs(), torch.eye(5, dtype=torch.float64)[1], atol=1e-12)


@pytest.mark.parametrize("rank", [0, -1, 6])
def test_a_rank_that_is_none_is_refused(rank: int) -> None:
    with pytest.raises(InputError, match=rf"rank is {rank} but the width is 5: 1\.\.5 components can be kept"):
        pca(ROWS, rank=rank)


def test_rows_that_are_none_are_refused() -> None:
    with pytest.raises(InputError, match=r"data has shape \(50,\): a matrix"):
        pca(ROWS[:, 0])
    with pytest.raises(DataError, match="rows has inf at row 3, column 2"):
        pca(torch.where(torch.arange(250).reshape(50, 5) == 17, float("inf"), ROWS))


def test_a_rotation_is_the_uniform_one_of_its_seed() -> None:
    origin = laws.gaussian(4)
    found = random_rotation(4, seed=5, origin=origin, site="embed", model="m")
    assert torch.equal(found.read, random_orthogonal(4, seed=5))
    assert torch.equal(found.write, found.read.T)
    assert torch.equal(found.origin, origin)
    assert found.gauge == Gauge(within=Within.SIGN, permutation=True)
    assert found.provenance == Provenance(method="random", model="m", seed=5)
    assert not torch.equal(random_rotation(4, seed=6).read, found.read)
    assert not random_rotation(4).origin.any()
