"""Gini's coefficient at its ends, by its definition, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from unweave.errors import DataError, InputError
from unweave.tensors.concentration import gini


def test_the_ends_of_the_scale() -> None:
    assert gini(np.ones(7)) == 0
    assert gini(np.eye(12)[3]) == pytest.approx(1 - 1 / 12, abs=1e-12)


def test_it_is_the_area_between_the_lorenz_curve_and_the_diagonal() -> None:
    x = np.sort(np.random.default_rng(0).exponential(size=50))
    lorenz = np.concatenate([[0], np.cumsum(x) / x.sum()])
    area = float(np.trapezoid(lorenz, np.linspace(0, 1, 51)))
    assert gini(x) == pytest.approx(1 - 2 * area, abs=1e-12)


def test_signs_scale_and_order_do_not_count_and_weights_do() -> None:
    x = np.random.default_rng(1).normal(size=20)
    assert gini(x) == pytest.approx(gini(-5 * x[::-1]), abs=1e-12)
    assert gini(x, weights=np.abs(x)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("effects", "weights", "error", "message"),
    [
        ([1.0], None, InputError, "at least two units"),
        ([[1.0, 2.0]], None, InputError, "one axis"),
        ([0.0, 0.0], None, DataError, "all 0"),
        ([np.nan, 1.0], None, DataError, "not finite"),
        ([1.0, 2.0], [1.0, 0.0], InputError, "positive numbers"),
        ([1.0, 2.0], [1.0], InputError, "positive numbers"),
    ],
)
def test_what_has_no_concentration(effects, weights, error, message) -> None:
    with pytest.raises(error, match=message):
        gini(effects, weights)
