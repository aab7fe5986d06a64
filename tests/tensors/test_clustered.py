"""t-tests of class means: equal to scipy where rows are independent, honest where documents are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from unweave.errors import DataError
from unweave.tensors.clustered import clustered_test, pooled_t
from unweave.tensors.splits import Grouping


def groups_of(n: int, each: int) -> Grouping:
    return Grouping(codes=np.arange(n) // each, count=-(-n // each))


def test_pooled_t_equals_scipy_for_every_labelling() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(80, 5)) * 3 + 100
    labellings = rng.random((4, 80)) < 0.4
    found = pooled_t(torch.from_numpy(rows), labellings).numpy()
    for labels, t in zip(labellings, found, strict=True):
        np.testing.assert_allclose(t, stats.ttest_ind(rows[labels], rows[~labels]).statistic, rtol=1e-9)


def test_float32_keeps_the_order_of_t() -> None:
    """float32 rounds a mean of 100 at spread 3 to 1e-5 of t."""
    rng = np.random.default_rng(1)
    rows, labels = torch.from_numpy(rng.normal(size=(500, 50)) * 3 + 100), rng.random((1, 500)) < 0.3
    np.testing.assert_allclose(pooled_t(rows.float(), labels), pooled_t(rows, labels), atol=1e-3)


def slow_clustered(column: np.ndarray, labels: np.ndarray, codes: np.ndarray) -> float:
    """Least squares on the label with a sandwich of group sums, written out."""
    design = np.stack([np.ones(len(column)), labels.astype(float)], 1)
    bread = np.linalg.inv(design.T @ design)
    beta = bread @ design.T @ column
    rest = column - design @ beta
    groups = np.unique(codes)
    meat = sum(
        np.outer(score, score) for g in groups for score in [design[codes == g].T @ rest[codes == g]]
    ) * len(groups) / (len(groups) - 1)  # fmt: skip
    return float(beta[1] / np.sqrt((bread @ meat @ bread)[1, 1]))


def test_the_clustered_t_is_the_sandwich_of_a_regression() -> None:
    rng = np.random.default_rng(2)
    groups = groups_of(200, 8)
    labels = rng.random(200) < 0.4
    rows = rng.normal(size=(200, 3)) + rng.normal(size=(25, 3))[groups.codes] + 1e4
    found = clustered_test(torch.from_numpy(rows), labels, groups)
    for column in range(3):
        assert found.t[column] == pytest.approx(slow_clustered(rows[:, column], labels, groups.codes), rel=1e-7)
    np.testing.assert_allclose(found.p_value, 2 * stats.t.sf(np.abs(found.t), 24))
    np.testing.assert_allclose(found.difference, rows[labels].mean(0) - rows[~labels].mean(0), atol=1e-9)


def test_documents_that_resemble_themselves_do_not_make_significance() -> None:
    """Labels and noise of whole documents: rows taken as independent find half of all columns, documents 5 %."""
    rng = np.random.default_rng(3)
    groups = groups_of(600, 15)
    labels = (rng.permutation(40) < 20)[groups.codes]
    rows = rng.normal(size=(40, 400))[groups.codes] + 0.3 * rng.normal(size=(600, 400))
    clustered = clustered_test(torch.from_numpy(rows), labels, groups).p_value
    naive = stats.ttest_ind(rows[labels], rows[~labels]).pvalue
    assert np.mean(naive < 0.05) > 0.4
    # 400 columns at .05: standard error .011; t with 39 degrees of freedom is a little off for two fixed class sizes
    assert abs(np.mean(clustered < 0.05) - 0.05) < 4 * 0.011


def test_constant_columns_are_not_tested() -> None:
    rows = torch.ones(20, 2, dtype=torch.float64)
    rows[:, 1] = torch.arange(20)
    labels = np.arange(20) % 2 == 0
    found = clustered_test(rows, labels, groups_of(20, 2))
    assert np.isnan(found.t[0])
    assert np.isnan(found.p_value[0])
    assert pooled_t(rows, labels[None])[0, 0] == 0


def test_faults_are_named() -> None:
    rows = torch.ones(4, 1)
    with pytest.raises(DataError, match="4 positives of 4 rows in 2 groups: a test of two means needs both classes"):
        clustered_test(rows, np.ones(4, dtype=bool), groups_of(4, 2))
    with pytest.raises(DataError, match="in 1 groups"):
        clustered_test(rows, np.arange(4) < 2, groups_of(4, 4))
