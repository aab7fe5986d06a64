"""Columns that no probe may use."""

import numpy as np
import pytest
import torch

from unweave.errors import DataError
from unweave.probing.columns import repeated_columns, usable_rows


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_repeats_are_what_comparing_all_pairs_finds(dtype):
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.integers(0, 2, size=(6, 60)).astype(float)).to(dtype)  # many meet
    rows[:, 7] = rows[:, 3] = 1.0
    expected = {}
    for later in range(60):
        if bool((rows[:, later] != rows[0, later]).any()):
            first = next(column for column in range(later + 1) if torch.equal(rows[:, column], rows[:, later]))
            if first != later:
                expected[later] = first
    assert len(expected) > 10
    assert repeated_columns(rows) == expected


def test_columns_of_one_value_and_columns_that_differ_in_one_bit_are_no_repeats():
    rows = torch.randn(700, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows[:, 1] = rows[:, 0]
    rows[699, 1] = np.nextafter(float(rows[699, 0]), np.inf)
    assert repeated_columns(torch.cat([rows, torch.ones(700, 2).double()], 1)) == {}


def test_what_is_not_finite_is_zero_and_the_input_stays_as_it_was():
    rows = torch.randn(50, 4)
    rows[3, 1], rows[7, 2] = torch.nan, -torch.inf
    before = rows.clone()
    found, excluded = usable_rows(rows)
    assert excluded == (1, 2)
    assert torch.equal(found[:, [0, 3]], rows[:, [0, 3]])
    assert not found[:, [1, 2]].any()
    assert torch.equal(rows.nan_to_num(), before.nan_to_num())
    whole, none = usable_rows(before[:, [0, 3]])
    assert none == ()
    assert torch.equal(whole, before[:, [0, 3]])


def test_large_finite_numbers_whose_sum_is_not_are_kept():
    rows = torch.full((10, 2), 3e38)
    rows[:5, 1] = -3e38
    assert usable_rows(rows)[1] == ()


def test_no_finite_column_is_an_error():
    with pytest.raises(DataError, match="the first is inf at row 1, column 0: drop or repair such rows first"):
        usable_rows([[1.0, 2.0], [float("inf"), float("nan")]])
