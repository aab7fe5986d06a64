"""What a featurizer says about itself is measured, and wrong featurizers are found out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import laws_features as laws
import unweave as uw
from unweave.errors import InputError
from unweave.features import check, neurons, random_rotation
from unweave.features.affine import AffineFeaturizer


def test_a_rotation_is_perfect() -> None:
    found = check(random_rotation(7, origin=100 * laws.gaussian(7)))
    assert found.is_orthogonal(1e-13)
    assert found.is_lossless(1e-13)
    assert (found.rank, found.units, found.width) == (7, 7, 7)


@pytest.mark.parametrize(
    ("featurizer", "orthogonal", "lossless", "rank"),
    [
        (AffineFeaturizer(read=2 * np.eye(3)), 3.0, 0.0, 3),
        (AffineFeaturizer(read=np.eye(3), write=0.5 * np.eye(3)), 0.0, 0.5, 3),
        (AffineFeaturizer(read=np.eye(3)[:, :2]), 0.0, 1.0, 2),
        (AffineFeaturizer(read=np.ones((3, 2))), 3.0, 2 / 3, 1),
        (AffineFeaturizer(read=np.zeros((2, 2))), 1.0, 1.0, 0),
        (uw.NeuronFeaturizer(width=3, index=[2]), 0.0, 1.0, 1),
        (neurons(1), 0.0, 0.0, 1),
    ],
    ids=["scaled", "half written", "two of three", "equal columns", "zero", "one neuron", "one of one"],
)
def test_deviations_are_the_known_ones(featurizer: Any, orthogonal: float, lossless: float, rank: int) -> None:
    found = check(featurizer)
    np.testing.assert_allclose([found.orthogonal, found.lossless], [orthogonal, lossless], atol=1e-14)
    assert found.rank == rank
    assert found.round_trip < 1e-14


class Careless:
    """An affine featurizer that computes something else than its matrices say."""

    def __init__(self, fault: str) -> None:
        self.fault, self.inner = fault, random_rotation(4)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def encode(self, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z, residual = self.inner.encode(h)
        if self.fault == "depends on the batch":
            z = z - z.mean(0)
        return z, residual + (0.5 if self.fault == "loses" else 0)


@pytest.mark.parametrize("fault", ["loses", "depends on the batch"])
def test_a_careless_featurizer_is_found_out(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unweave.features.checks.as_affine", lambda featurizer: featurizer.inner)
    found = check(Careless(fault))
    assert (found.round_trip if fault == "loses" else found.batch) > 0.05


def test_checks_are_seeded_and_kept() -> None:
    f = random_rotation(5)
    assert check(f, seed=1) == check(f, seed=1)
    assert check(f, rows=1).units == 5


def test_what_is_not_affine_is_refused() -> None:
    with pytest.raises(InputError, match="is not an affine map: this computation needs an AffineFeaturizer or neurons"):
        check(Careless("none"))
