"""The start by independent components where there is nothing to group."""

from __future__ import annotations

import torch

import unweave as uw
from unweave.ndm.config import NDMConfig
from unweave.ndm.rows import open_rows
from unweave.ndm.start import FEW_BLOCKS, ica_start


def test_components_that_stay_alone_are_cut_into_units_and_not_into_as_many_blocks() -> None:
    rows = torch.randn(2000, FEW_BLOCKS + 6, generator=torch.Generator().manual_seed(0))
    found = ica_start(open_rows(rows, NDMConfig(unit_size=10)), 10, 0, keep_units=False)
    assert found.name == "ica"
    assert found.sizes == (10,) * 7


def test_few_components_that_stay_alone_are_blocks_of_their_own() -> None:
    rows = torch.rand(4000, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = uw.ndm.fit(rows, unit_size=2, steps=5, init="ica")
    assert found.start_sizes == (1,) * 6
