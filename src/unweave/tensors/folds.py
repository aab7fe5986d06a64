"""Folds by group: every row in one of them, a document never in two, every class spread over all.

The rule is that of `grouped_split`: groups are dealt out largest first, in random order within a doubling of size, each
to the fold that it helps most.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from unweave.errors import DataError, InputError
from unweave.tensors.splits import Grouping


def grouped_folds(groups: Grouping, labels: Bool[np.ndarray, " n"], *, folds: int, seed: int) -> Int[np.ndarray, " n"]:
    """The fold of every row, 0 to the number of folds - 1; fewer folds where fewer groups have one of the classes.

    Args:
        groups: Of the rows.
        labels: One a row; both classes are spread evenly.
        folds: How many, at least 2.
        seed: Decides the order in which groups of like size are dealt out.

    Raises:
        InputError: Fewer than 2 folds asked for.
        DataError: A class that is in fewer than two groups.

    Example:
        >>> folds = grouped_folds(Grouping(codes=np.arange(12) // 2, count=6), np.arange(12) % 2 == 0, folds=3, seed=0)
        >>> np.bincount(folds).tolist()
        [4, 4, 4]
    """
    if folds < 2:
        raise InputError(f"folds is {folds}: at least 2 are needed, one to score on and one to fit on")
    table = np.zeros((groups.count, 2))
    np.add.at(table, (groups.codes, labels.astype(np.int64)), 1)
    least = int((table > 0).sum(0).min())
    if least < 2:
        raise DataError(f"a class is in {least} groups: folds by group need at least two groups with each class")
    count = min(folds, least)
    shares = table / table.sum(0)
    rng = np.random.default_rng([seed, 5])
    shuffled = rng.permutation(groups.count)
    doubling = np.floor(np.log2(table.sum(1)[shuffled]))
    order = shuffled[np.argsort(-doubling, kind="stable")]
    has_positives = table[order, 1] > 0
    chosen = np.zeros(groups.count, dtype=np.int64)
    held = np.zeros((count, 2))
    for group in [*order[has_positives], *order[~has_positives]]:  # the rarer kind of group first, while all are open
        gain = ((held + shares[group]) ** 2 - held**2).sum(1)
        chosen[group] = int(np.argmin(gain))
        held[chosen[group]] += shares[group]
    return chosen[groups.codes]
