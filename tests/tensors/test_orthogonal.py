"""Steps that stay on the group of rotations."""

from __future__ import annotations

import pytest
import torch

from unweave.tensors.linalg import random_orthogonal
from unweave.tensors.orthogonal import RETRACTIONS, deviation, newton_schulz, polar, riemannian_gradient


def skew(width: int, size: float, seed: int = 0) -> torch.Tensor:
    raw = torch.randn(width, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * size
    return raw - raw.T


@pytest.mark.parametrize("name", RETRACTIONS)
def test_a_step_keeps_orthogonality_and_orientation(name) -> None:
    start = random_orthogonal(9, seed=1)
    moved = RETRACTIONS[name](start, skew(9, 0.7))
    assert deviation(moved) < 1e-13
    assert torch.sign(torch.det(moved)) == torch.sign(torch.det(start))


def test_both_retractions_agree_to_second_order() -> None:
    start = random_orthogonal(6, seed=1)
    off = [
        float((RETRACTIONS["cayley"](start, skew(6, size)) - RETRACTIONS["expm"](start, skew(6, size))).abs().max())
        for size in (1e-2, 1e-3)
    ]
    assert off[1] < off[0] / 500  # third order: a tenth of the step is a thousandth of the difference


@pytest.mark.parametrize("name", RETRACTIONS)
def test_the_gradient_is_the_slope_along_a_step(name) -> None:
    start, target = random_orthogonal(5, seed=1), random_orthogonal(5, seed=2)
    free = start.clone().requires_grad_()
    (free * target).sin().sum().backward()
    assert free.grad is not None
    slope = riemannian_gradient(start, free.grad)
    for i in range(5):
        for j in range(i):
            turn = torch.zeros(5, 5, dtype=torch.float64)
            turn[i, j], turn[j, i] = 1e-6, -1e-6
            both = [float((RETRACTIONS[name](start, sign * turn) * target).sin().sum()) for sign in (1, -1)]
            assert abs((both[0] - both[1]) / 2e-6 - float(slope[i, j])) < 1e-8


def test_polishing_squares_the_deviation() -> None:
    rough = random_orthogonal(8, seed=0) + 1e-4 * skew(8, 1) @ skew(8, 1, seed=1)
    before, after = deviation(rough), deviation(newton_schulz(rough))
    assert after < before**2 * 10
    assert deviation(polar(rough.float())) < 1e-13
