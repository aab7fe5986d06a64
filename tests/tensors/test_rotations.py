"""Random rotations of rows: orthogonal at every width, the fast transform as random as the exact draw."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from unweave.tensors.rotations import EXACT_UP_TO, rotated


@pytest.mark.parametrize(("width", "exact_up_to"), [(7, EXACT_UP_TO), (7, 1), (600, 1), (1100, EXACT_UP_TO)])
def test_the_map_is_orthogonal_and_linear(width: int, exact_up_to: int) -> None:
    Q = rotated(torch.eye(width, dtype=torch.float64), seed=3, exact_up_to=exact_up_to)
    assert float((Q.T @ Q - torch.eye(width)).abs().max()) < 1e-12 * width
    rows = torch.randn(4, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(rotated(rows, seed=3, exact_up_to=exact_up_to), rows @ Q)
    torch.testing.assert_close(
        rotated(rows.half(), seed=3, exact_up_to=exact_up_to), (rows.half().float() @ Q.float()), atol=1e-3, rtol=0
    )


def test_a_gaussian_matrix_would_not_be() -> None:
    """The reference's control multiplies by a raw Gaussian matrix: its condition number is near 1e3 at width 800."""
    gaussian = torch.randn(800, 800, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert float(torch.linalg.cond(gaussian)) > 100
    turned = rotated(torch.eye(800, dtype=torch.float64), seed=0)
    assert float(torch.linalg.cond(turned)) < 1 + 1e-9


@pytest.mark.parametrize("exact_up_to", [EXACT_UP_TO, 1])
def test_one_unit_is_spread_over_all_like_a_uniform_direction(exact_up_to: int) -> None:
    """Entries of a uniform direction times sqrt(d) are close to a standard normal; 64 units of width 512."""
    turned = rotated(torch.eye(512, dtype=torch.float64)[::8], seed=1, exact_up_to=exact_up_to)
    entries = (turned * 512**0.5).flatten().numpy()
    assert stats.kstest(entries, "norm").pvalue > 1e-4
    assert np.abs(entries).max() < 6


def test_seeds_give_other_rotations_and_inputs_stay() -> None:
    rows = torch.ones(2, 1500)
    one, again, other = (rotated(rows, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert float((one - other).abs().max()) > 0.1
    assert torch.equal(rows, torch.ones(2, 1500))
