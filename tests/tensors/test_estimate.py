"""An estimate says its number, interval and sample in one line."""

from __future__ import annotations

import dataclasses

import pytest

import unweave as uw


def test_one_line_names_what_there_is() -> None:
    full = uw.Estimate(value=0.5, low=0.25, high=0.75, n=10, n_groups=3, control=0.125, p_value=0.0123456)
    assert repr(full) == "Estimate(0.500 [0.250, 0.750], n=10, groups=3, control=0.125, p=0.0123)"
    bare = uw.Estimate(value=0.5, low=float("nan"), high=float("nan"), n=10, n_groups=1)
    assert repr(bare) == "Estimate(0.500 [nan, nan], n=10, groups=1)"


def test_estimates_are_values() -> None:
    one = uw.Estimate(value=0.5, low=0.0, high=1.0, n=1, n_groups=1)
    assert one == dataclasses.replace(one)
    assert one != dataclasses.replace(one, seed=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.value = 1.0  # pyright: ignore[reportAttributeAccessIssue]
