"""A split by group is honest, keeps class shares, and is decided by its seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import laws_tensors as laws
from unweave.errors import DataError, InputError
from unweave.tensors import splits
from unweave.tensors.splits import Grouping, chosen_on, grouped_split, grouping


def documents(count: int = 120, *, seed: int = 0) -> tuple[Grouping, np.ndarray]:
    """Groups of very different size with three classes of very different frequency."""
    rng = np.random.default_rng(seed)
    sizes = rng.geometric(0.05, count)
    codes = np.repeat(np.arange(count), sizes)
    strata = (rng.random((len(codes), 3)) < np.array([0.5, 0.1, 0.02])).astype(float)
    return Grouping(codes=codes, count=count), strata


def test_splits_are_honest_and_seeded() -> None:
    laws.split_law(grouped_split)


def test_what_the_deal_leaves_out_is_repaired() -> None:
    laws.repair_law(splits._repair)


@pytest.mark.parametrize("test", [0.1, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rows_and_classes_keep_their_shares(test: float, seed: int) -> None:
    groups, strata = documents()
    held = grouped_split(groups, strata, test=test, seed=seed)
    # 120 groups dealt greedily: the last one dealt decides the error, and small groups are dealt last
    assert abs(held.mean() - test) < 0.02
    for column in strata.T:
        assert abs(column[held].sum() / column.sum() - test) < 0.05


def test_shares_are_closer_than_those_of_a_random_split() -> None:
    groups, strata = documents(40)
    rng = np.random.default_rng(0)
    dealt, drawn = [], []
    for seed in range(20):
        held = grouped_split(groups, strata, test=0.3, seed=seed)
        dealt.append(abs(strata[held].sum(0) / strata.sum(0) - 0.3).max())
        chance = (rng.permutation(groups.count) < 0.3 * groups.count)[groups.codes]
        drawn.append(abs(strata[chance].sum(0) / strata.sum(0) - 0.3).max())
    difference = np.array(drawn) - np.array(dealt)
    assert difference.mean() > 4 * difference.std() / np.sqrt(20)


def test_a_class_in_few_groups_is_on_both_sides() -> None:
    codes = np.repeat(np.arange(30), 10)
    rare = np.isin(codes, [4, 17]).astype(float)[:, None]
    for seed in range(30):
        held = grouped_split(Grouping(codes=codes, count=30), rare, test=0.3, seed=seed)
        assert rare[held].any()
        assert rare[~held].any()


def test_a_class_of_one_group_is_on_one_side_and_breaks_nothing() -> None:
    codes = np.repeat(np.arange(6), 4)
    held = grouped_split(Grouping(codes=codes, count=6), (codes == 2).astype(float)[:, None], test=0.3, seed=0)
    assert held.any()
    assert not held.all()


@pytest.mark.parametrize("test", [0.01, 0.5, 0.99])
def test_two_groups_are_one_on_each_side(test: float) -> None:
    held = grouped_split(grouping([0, 0, 0, 1], 4), np.zeros((4, 0)), test=test, seed=0)
    assert held.tolist() in ([True, True, True, False], [False, False, False, True])


def test_labels_that_are_missing_count_as_absent() -> None:
    groups, strata = documents(20)
    holes = np.where(strata == 0, np.nan, strata)
    assert (grouped_split(groups, strata, test=0.3, seed=1) == grouped_split(groups, holes, test=0.3, seed=1)).all()


def test_inputs_are_not_changed() -> None:
    groups, strata = documents(10)
    codes, table = groups.codes.copy(), strata.copy()
    grouped_split(groups, strata, test=0.3, seed=0)
    assert (groups.codes == codes).all()
    assert (strata == table).all()


@pytest.mark.parametrize(
    "names",
    [["b", "a", "b", "c"], np.array([7, -1, 7, 90]), (1.5, 0.5, 1.5, 2.5), np.array([True, False, True, True])[::-1]],
    ids=["texts", "numbers", "floats", "reversed"],
)
def test_equal_names_are_one_group(names: Any) -> None:
    found = grouping(names, 4)
    listed = list(names)
    assert found.count == len(set(listed))
    for i in range(4):
        for j in range(4):
            assert (found.codes[i] == found.codes[j]) == (listed[i] == listed[j])


def test_rows_without_groups_are_groups_of_their_own() -> None:
    found = grouping(None, 5)
    assert found.count == 5
    assert found.codes.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("test", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_outside_the_unit_interval_is_refused(test: float) -> None:
    groups, strata = documents(5)
    with pytest.raises(InputError, match=f"test is {test}: a share between 0 and 1 is needed"):
        grouped_split(groups, strata, test=test, seed=0)


def test_one_group_cannot_be_split() -> None:
    with pytest.raises(DataError, match=r"all rows are of one group: a held-out test needs at least two, give groups="):
        grouped_split(grouping([3, 3, 3], 3), np.zeros((3, 1)), test=0.3, seed=0)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([1, 2], r"groups has shape \(2,\) but there are 3 rows: one group a row is needed"),
        (np.ones((3, 2)), r"groups has shape \(3, 2\) but there are 3 rows"),
        ("abc", r"groups has shape \(\) but there are 3 rows"),
        (
            np.array([1, "a", None], dtype=object),
            "groups holds names that do not compare .* numbers or texts are",
        ),
    ],
)
def test_groups_that_do_not_fit_the_rows_are_refused(names: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        grouping(names, 3)


@pytest.mark.parametrize("select", [0.01, 0.4, 0.99])
def test_what_is_chosen_on_and_what_is_reported_share_no_group(select):
    groups = grouping(np.random.default_rng(0).integers(0, 7, 40), 40)
    chosen = chosen_on(groups, select=select, seed=3)
    assert not set(groups.codes[chosen]) & set(groups.codes[~chosen])
    assert 1 <= len(set(groups.codes[chosen])) == min(max(1, round(7 * select)), 6)
    with pytest.raises(DataError, match="1 groups of rows: some are to choose on"):
        chosen_on(grouping(["a"] * 4, 4), select=select, seed=3)
