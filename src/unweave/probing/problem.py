"""What a probe is asked: checked rows, binary labels, their groups and the one split that everything else shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from unweave.errors import DataError
from unweave.probing.columns import repeated_columns, usable_rows
from unweave.probing.config import ProbeConfig
from unweave.probing.labels import binary_labels
from unweave.tensors.splits import Grouping, grouped_split, grouping


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """Labels of the rows that a feature uses, their groups and which of them are held out."""

    labels: Bool[np.ndarray, " n"]
    groups: Grouping
    names: tuple[int, ...]
    """What the caller calls each group."""
    held_out: Bool[np.ndarray, " n"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Posed:
    """A problem with its rows."""

    rows: Float[Tensor, "n d"]
    problem: Problem
    spelling: tuple[Any, Any]
    """How the caller spells negative and positive."""
    excluded: tuple[int, ...]
    """Columns that hold a NaN or infinite entry."""
    copies: Mapping[int, int]
    """Column -> the earlier column whose values it repeats."""


def posed(X: Any, y: Any, groups: Any, config: ProbeConfig) -> Posed:
    """Checked rows and labels, and the split of `sweep`.

    Raises:
        InputError: Shapes that do not fit, labels that are not binary.
        DataError: NaN in every column, one class only, or a single group.
    """
    rows, excluded = usable_rows(X)
    copies = repeated_columns(rows)
    if copies:
        rows = rows.clone()
        rows[:, list(copies)] = 0
    labels, spelling = binary_labels(y, tuple(rows.shape))
    grouped = grouping(groups, len(rows))
    problem = split_problem(labels, grouped, config)
    return Posed(rows=rows, problem=problem, spelling=spelling, excluded=excluded, copies=copies)


def as_problem(X: Any, y: Any, groups: Any, config: ProbeConfig) -> tuple[Tensor, Problem]:
    """The rows and the problem of `posed`."""
    found = posed(X, y, groups, config)
    return found.rows, found.problem


def split_problem(labels: Bool[np.ndarray, " n"], groups: Grouping, config: ProbeConfig) -> Problem:
    """Labels with their split by groups, both classes on both sides.

    Raises:
        DataError: One class only on a side of every split, or a single group.
    """
    held_out = grouped_split(groups, np.stack([labels, ~labels], 1).astype(float), test=config.test, seed=config.seed)
    for side, rows in (("held-out", held_out), ("training", ~held_out)):
        for name, members in (("positives", labels), ("negatives", ~labels)):
            if not members[rows].any():
                raise DataError(
                    f"the {side} rows have no {name}: {name} are in {len(np.unique(groups.codes[members]))} of"
                    f" {groups.count} groups, at least 2 are needed for an honest split"
                )
    return Problem(labels=labels, groups=groups, names=tuple(range(groups.count)), held_out=held_out)
