"""Folds by group: every row in one, no document in two, both classes in all."""

from __future__ import annotations

import numpy as np
import pytest

from unweave.errors import DataError, InputError
from unweave.tensors.folds import grouped_folds
from unweave.tensors.splits import Grouping


@pytest.mark.parametrize("seed", range(5))
def test_folds_keep_documents_whole_and_classes_even(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = np.sort(rng.integers(0, 40, size=800))
    _, codes = np.unique(codes, return_inverse=True)
    labels = rng.random(800) < 0.3
    folds = grouped_folds(Grouping(codes=codes, count=int(codes.max()) + 1), labels, folds=4, seed=seed)
    assert set(folds.tolist()) == {0, 1, 2, 3}
    for code in np.unique(codes):
        assert len(set(folds[codes == code].tolist())) == 1
    for kind in (labels, ~labels):
        shares = np.bincount(folds[kind], minlength=4) / kind.sum()
        assert np.abs(shares - 0.25).max() < 0.06  # a document holds a fortieth


def test_few_documents_with_a_class_make_fewer_folds() -> None:
    codes = np.arange(40) // 4
    labels = np.isin(codes, (2, 7)) & (np.arange(40) % 2 == 0)
    folds = grouped_folds(Grouping(codes=codes, count=10), labels, folds=5, seed=0)
    assert set(folds.tolist()) == {0, 1}
    assert {int(folds[codes == 2][0]), int(folds[codes == 7][0])} == {0, 1}


def test_faults_are_named() -> None:
    groups = Grouping(codes=np.arange(6) // 2, count=3)
    with pytest.raises(DataError, match="a class is in 1 groups: folds by group need at least two"):
        grouped_folds(groups, np.arange(6) < 2, folds=3, seed=0)
    with pytest.raises(InputError, match="folds is 1: at least 2 are needed"):
        grouped_folds(groups, np.arange(6) % 2 == 0, folds=1, seed=0)
