"""A small world for the tests of NDM."""

from __future__ import annotations

import pytest
import torch

from unweave.worlds.exclusive import ExclusiveWorld, exclusive_world


@pytest.fixture(scope="session")
def world() -> ExclusiveWorld:
    """Two groups of six features in three dimensions each, hardly any noise."""
    return exclusive_world((3, 3), 3000, features=2, noise=0.001, seed=1)


@pytest.fixture(scope="session")
def plain() -> torch.Tensor:
    """Rows without any structure."""
    return torch.randn(600, 6, generator=torch.Generator().manual_seed(0))
