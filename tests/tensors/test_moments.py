"""Moments are exact under any split of the data, at any offset, and equal to what loops and fractions give."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import laws_tensors as laws
from unweave.errors import DataError, InputError
from unweave.tensors.moments import (
    ClassMoments,
    class_moments,
    merge_class_moments,
    merge_moments,
    moments,
    moments_by_class,
)

EXAMPLES = settings(derandomize=True, deadline=None, max_examples=60, database=None)


@EXAMPLES
@given(cuts=st.lists(st.integers(0, 60), max_size=8), offset=st.sampled_from([0.0, 1.0, 1e6]))
def test_any_split_gives_the_same_moments(cuts: list[int], offset: float) -> None:
    laws.moments_law(moments, cuts, offset=offset)


@EXAMPLES
@given(cuts=st.lists(st.integers(1, 59), min_size=2, max_size=6, unique=True), order=st.randoms(use_true_random=False))
def test_parts_merge_in_any_order_and_grouping(cuts: list[int], order: object) -> None:
    rows = laws.offset_rows(offset=1.0)
    edges = [0, *sorted(cuts), 60]
    parts = [moments(rows[first:last]) for first, last in itertools.pairwise(edges)]
    while len(parts) > 1:
        order.shuffle(parts)  # pyright: ignore[reportAttributeAccessIssue]
        parts.append(merge_moments(parts.pop(), parts.pop()))
    whole = moments(rows)
    assert parts[0].count == whole.count
    # rounding: a few dozen operations of 1e-16 each
    torch.testing.assert_close(parts[0].mean, whole.mean, rtol=1e-13, atol=0)
    torch.testing.assert_close(parts[0].scatter, whole.scatter, rtol=0, atol=1e-12 * float(whole.scatter.abs().max()))


def exact_moments(rows: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scatter in rational arithmetic: no rounding at all."""
    table = [[Fraction(value) for value in row] for row in rows.tolist()]
    n, d = len(table), len(table[0])
    mean = [sum(row[j] for row in table) / n for j in range(d)]
    scatter = [
        [float(sum((row[i] - mean[i]) * (row[j] - mean[j]) for row in table)) for j in range(d)] for i in range(d)
    ]
    return np.array([float(value) for value in mean]), np.array(scatter)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_moments_equal_fractions(dtype: torch.dtype) -> None:
    rows = laws.offset_rows(30, 3, offset=100.0).to(dtype)
    found = moments([rows[:7], rows[7:]])
    mean, scatter = exact_moments(rows)
    np.testing.assert_allclose(found.mean.numpy(), mean, rtol=1e-14)  # float64 sums of 30 numbers
    np.testing.assert_allclose(found.scatter.numpy(), scatter, rtol=0, atol=1e-12 * np.abs(scatter).max())


def test_a_million_times_the_spread_keeps_ten_digits() -> None:
    rows = laws.offset_rows(50, 3, offset=1e6)
    _, scatter = exact_moments(rows)
    found = moments(list(rows.split(9)))
    # each centred entry is known to eps * 1e6 = 2e-10 of the spread; their average effect is smaller
    np.testing.assert_allclose(found.scatter.numpy(), scatter, rtol=0, atol=1e-9 * np.abs(scatter).max())


def test_covariance_equals_torch_and_is_gone_with_one_row() -> None:
    rows = torch.randn(20, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = moments(rows)
    torch.testing.assert_close(found.covariance(), torch.cov(rows.T), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(found.covariance(ddof=0), torch.cov(rows.T, correction=0), rtol=1e-12, atol=1e-14)
    one = moments(rows[:1])
    assert one.covariance(ddof=0).abs().max() == 0
    with pytest.raises(DataError, match="a covariance needs more than 1 rows, got 1"):
        one.covariance()


def test_constant_columns_and_duplicate_rows_have_no_scatter() -> None:
    rows = torch.full((7, 2), 0.1)
    assert float(moments(list(rows.split(2))).scatter.abs().max()) == 0
    assert repr(moments(rows)) == "Moments(7 rows, width 2)"


def test_rows_are_not_changed() -> None:
    rows, weights = laws.offset_rows(), torch.rand(60, 3, generator=torch.Generator().manual_seed(0))
    before = rows.clone(), weights.clone()
    moments(rows)
    class_moments(rows, weights)
    assert torch.equal(rows, before[0])
    assert torch.equal(weights, before[1])


def test_faults_of_the_stream_are_named() -> None:
    with pytest.raises(DataError, match="moments of no rows: the stream was empty"):
        moments([])
    with pytest.raises(DataError, match="moments of no rows"):
        moments([torch.ones(0, 3)])
    with pytest.raises(DataError, match=r"rows has shape \(0, 3\): at least one row"):
        moments(torch.ones(0, 3))
    with pytest.raises(DataError, match="rows has nan at row 1, column 0: drop or repair such rows first"):
        moments([torch.ones(2, 2), torch.tensor([[1.0, 1.0], [float("nan"), 1.0]])])
    with pytest.raises(InputError, match="cannot merge moments of width 2 and 3: they come from different sites"):
        moments([torch.ones(2, 2), torch.ones(2, 3)])


def loops(rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted count, mean and squares by the definition, one class and column at a time, in two passes."""
    m, d = weights.shape[1], rows.shape[1]
    count, mean, squares = np.zeros(m), np.zeros((m, d)), np.zeros((m, d))
    for which in range(m):
        count[which] = sum(weights[:, which])
        for column in range(d):
            total = sum(w * x for w, x in zip(weights[:, which], rows[:, column], strict=True))
            mean[which, column] = total / count[which]
            squares[which, column] = sum(
                w * (x - mean[which, column]) ** 2 for w, x in zip(weights[:, which], rows[:, column], strict=True)
            )
    return count, mean, squares


def weighted_case(seed: int = 0, n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    rows = 3.0 + rng.normal(size=(n, 3))
    weights = np.stack([rng.random(n) < 0.3, rng.random(n) < 0.9, rng.random(n) * 5], axis=1).astype(float)
    return torch.from_numpy(rows), torch.from_numpy(weights)


def test_class_moments_equal_loops() -> None:
    rows, weights = weighted_case()
    count, mean, squares = loops(rows.numpy(), weights.numpy())
    found = class_moments(rows, weights)
    # rounding of sums of 40 terms
    np.testing.assert_allclose(found.count.numpy(), count, rtol=1e-14)
    np.testing.assert_allclose(found.mean.numpy(), mean, rtol=1e-13)
    np.testing.assert_allclose(found.squares.numpy(), squares, rtol=1e-12)
    np.testing.assert_allclose(found.variance().numpy(), squares / count[:, None], rtol=1e-12)
    assert repr(found) == "ClassMoments(3 weightings, width 3)"


@EXAMPLES
@given(cut=st.integers(1, 39), offset=st.sampled_from([0.0, 1e6]))
def test_class_moments_merge_exactly(cut: int, offset: float) -> None:
    rows, weights = weighted_case()
    rows = rows + offset
    whole = class_moments(rows, weights)
    merged = merge_class_moments(class_moments(rows[:cut], weights[:cut]), class_moments(rows[cut:], weights[cut:]))
    torch.testing.assert_close(merged.count, whole.count, rtol=1e-14, atol=0)
    torch.testing.assert_close(merged.mean, whole.mean, rtol=1e-13, atol=1e-13)
    # an offset of 1e6 leaves 1e-10 of the spread in a part's mean
    torch.testing.assert_close(merged.squares, whole.squares, rtol=max(1e-12, 1e-15 * offset), atol=0)


def test_a_class_without_rows_has_no_variance_and_costs_the_others_nothing() -> None:
    rows, weights = weighted_case()
    weights[:, 1] = 0
    found = class_moments(rows, weights)
    assert torch.isnan(found.variance()[1]).all()
    empty = ClassMoments(
        count=torch.zeros(3).double(), mean=torch.zeros(3, 3).double(), squares=torch.zeros(3, 3).double()
    )
    merged = merge_class_moments(empty, found)
    torch.testing.assert_close(merged.mean[[0, 2]], found.mean[[0, 2]])
    torch.testing.assert_close(merged.squares, found.squares)
    assert merged.count[1] == 0


def test_classes_apart_lose_no_more_than_their_distance() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], 20)
    rows = 1000.0 * labels[:, None] + rng.normal(size=(40, 2))
    weights = np.eye(2)[labels]
    found = class_moments(torch.from_numpy(rows), torch.from_numpy(weights))
    _, _, squares = loops(rows, weights)
    # the common centre is 500 standard deviations away: rounding of 40 terms of 500^2
    np.testing.assert_allclose(found.squares.numpy(), squares, rtol=40 * 500**2 * 2.2e-16)


def test_moments_by_class_are_the_moments_of_each_class() -> None:
    rows = laws.offset_rows(offset=5.0)
    labels = torch.arange(60) % 3
    found = moments_by_class(rows, labels)
    assert sorted(found) == [0, 1, 2]
    for label, part in found.items():
        alone = moments(rows[labels == label])
        assert part.count == 20
        assert torch.equal(part.scatter, alone.scatter)
    joined = merge_moments(merge_moments(found[0], found[1]), found[2])
    torch.testing.assert_close(joined.scatter, moments(rows).scatter, rtol=1e-12, atol=1e-12)
