"""Splits by group: a document is on one side only, and every class keeps its share on both.

Rows of one document resemble each other, so a split by row lets a probe recognise the document instead of the feature.
Groups are dealt out largest first, in random order within a doubling of size, each to the side whose class shares it
brings closest to the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from unweave.errors import DataError, InputError


@dataclass(frozen=True, eq=False, kw_only=True)
class Grouping:
    """Rows numbered by group, 0 to `count - 1` in order of first appearance of the sorted names."""

    codes: Int[np.ndarray, " n"]
    count: int


def grouping(groups: Any, n: int) -> Grouping:
    """The groups of n rows; None makes every row its own group.

    Raises:
        InputError: Not one group a row.
    """
    if groups is None:
        return Grouping(codes=np.arange(n), count=n)
    names = np.asarray(groups)
    if names.shape != (n,):
        raise InputError(f"groups has shape {names.shape} but there are {n} rows: one group a row is needed")
    try:
        unique, codes = np.unique(names, return_inverse=True)
    except TypeError as error:
        raise InputError(f"groups holds names that do not compare ({error}): numbers or texts are needed") from error
    return Grouping(codes=codes.reshape(-1).astype(np.int64), count=len(unique))


def chosen_on(
    groups: Grouping, *, select: float, seed: int, least: int = 2, of: str = "rows"
) -> Bool[np.ndarray, " n"]:
    """Which rows are of the groups to choose on, the others being those to report: one group at least on either side.

    Args:
        groups: The group of every row.
        select: Share of the groups to choose on.
        seed: Of their order.
        least: Groups that there must be.
        of: What the rows are, for the message.

    Raises:
        DataError: Fewer groups.

    Example:
        >>> chosen_on(grouping(["a", "a", "b", "c"], 4), select=0.4, seed=0).tolist()
        [True, True, False, False]
    """
    if groups.count < least:
        raise DataError(
            f"{groups.count} groups of {of}: some are to choose on and others to report, at least {least} are needed"
        )
    order = np.random.default_rng([seed, 5]).permutation(groups.count)
    return np.isin(groups.codes, order[: min(max(1, round(select * groups.count)), groups.count - 1)])


def grouped_split(
    groups: Grouping, strata: Float[np.ndarray, "n c"] | Sequence[Any], *, test: float, seed: int
) -> Bool[np.ndarray, " n"]:
    """Which rows are held out: about a share `test` of the groups, with about that share of every column of `strata`;
    a class that two groups or more have is on both sides, unless several classes of few groups get in each other's way.

    Args:
        groups: The group of every row.
        strata: One column a class or feature: 1 where the row has it (NaN counts as 0).
        test: Share to hold out, between 0 and 1.
        seed: Decides the order in which groups of like size are dealt out.

    Raises:
        DataError: Fewer than two groups: there is no honest split.
    """
    if not 0 < test < 1:
        raise InputError(f"test is {test}: a share between 0 and 1 is needed")
    if groups.count < 2:
        raise DataError(
            "all rows are of one group: a held-out test needs at least two, give groups= of smaller parts or more"
            " documents"
        )
    table = _counts(groups, np.nan_to_num(np.asarray(strata, dtype=np.float64)))
    chosen = _deal(table, test, np.random.default_rng(seed))
    _repair(chosen, table)
    return chosen[groups.codes]


def grouped_folds(
    groups: Grouping, strata: Float[np.ndarray, "n c"] | Sequence[Any], *, count: int, seed: int
) -> Int[np.ndarray, " n"]:
    """The fold of every row: `count` of about equal size, every group in one of them, classes dealt evenly; fewer where
    there are fewer groups.

    Args:
        groups: The group of every row.
        strata: As in `grouped_split`.
        count: Number of folds.
        seed: Decides the order in which groups of like size are dealt out.

    Raises:
        InputError: Fewer than one fold.
    """
    if count < 1:
        raise InputError(f"count is {count}: at least one fold is needed")
    columns = np.asarray(strata, dtype=np.float64).reshape(len(groups.codes), -1)
    folds = np.zeros(len(groups.codes), dtype=np.int64)
    left = np.arange(len(groups.codes))
    for fold in range(min(count, groups.count) - 1):
        here = grouping(groups.codes[left], len(left))
        chosen = grouped_split(here, columns[left], test=1 / (min(count, groups.count) - fold), seed=seed)
        folds[left[chosen]] = fold + 1
        left = left[~chosen]
    return folds


def _counts(groups: Grouping, strata: np.ndarray) -> np.ndarray:
    """(G, 1 + c): rows and class members of every group."""
    columns = strata.reshape(len(strata), -1)
    table = np.zeros((groups.count, 1 + columns.shape[1]))
    np.add.at(table, groups.codes, np.concatenate([np.ones((len(columns), 1)), columns], axis=1))
    return table


def _deal(table: np.ndarray, test: float, rng: np.random.Generator) -> np.ndarray:
    shares = table / np.maximum(table.sum(0), 1)
    doubling = np.floor(np.log2(np.maximum(table[:, 0], 1)))
    shuffled = rng.permutation(len(table))
    order = shuffled[np.argsort(-doubling[shuffled], kind="stable")]
    chosen = np.zeros(len(table), dtype=bool)
    held, seen = np.zeros(table.shape[1]), np.zeros(table.shape[1])
    for group in order:
        seen += shares[group]
        target = test * seen
        if np.square(held + shares[group] - target).sum() < np.square(held - target).sum():
            chosen[group] = True
            held += shares[group]
    return chosen


def _repair(chosen: np.ndarray, table: np.ndarray) -> None:
    """Moves a group where a side lacks a class that at least two groups have: the smallest one that is not the last of
    another class on its own side, as far as there is one.
    """
    present = table > 0
    present = present[:, present.sum(0) >= 2]
    for column in range(present.shape[1]):
        for side in (True, False):
            if not present[chosen == side, column].any():
                last = (present & (present[chosen != side].sum(0) == 1)).any(1)
                candidates = np.flatnonzero(present[:, column] & (chosen != side))
                order = np.lexsort((table[candidates, 0], last[candidates]))
                chosen[candidates[order[0]]] = side
