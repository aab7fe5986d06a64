"""Scores of units: the definitions column by column, and what must not change them."""

import numpy as np
import pytest
import torch

import laws_probing as laws
from laws_probing import planted
from twins_probing import slow_ranking, slow_score
from unweave.probing import SELECTORS, rank
from unweave.probing.ranking import deviations, scores


@pytest.mark.parametrize(
    "law", [laws.scores_do_not_see_units_of_measurement, laws.scores_see_a_small_signal_on_a_large_offset]
)
def test_law(law):
    law(rank)


def test_mean_difference_is_in_the_units_of_the_column():
    X, y, _ = planted()
    np.testing.assert_allclose(rank(7 * X, y, "mean_diff"), 7 * rank(X, y, "mean_diff"), rtol=1e-12)


@pytest.mark.parametrize("method", SELECTORS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_column_by_column_in_plain_numpy_gives_the_same(method, dtype):
    X, y, _ = planted(units=(2, 11))
    X = (X * np.arange(1, 21)).astype(dtype)
    expected = [slow_score(column, y, method) for column in X.astype(np.float64).T]
    found = rank(X, y, method)
    if dtype is np.float64 or method in ("mutual_info", "auc"):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    else:  # sums of a chunk of rows are in single precision
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * max(expected))
    assert torch.argsort(-found, stable=True).tolist() == slow_ranking(X, y, selector=method)


@pytest.mark.parametrize("method", SELECTORS)
def test_many_labellings_at_once_are_one_at_a_time(method):
    """Each with its own rows: a row that a feature does not use has member 0."""
    rng = np.random.default_rng(0)
    X = torch.from_numpy(rng.normal(size=(200, 12)) * np.arange(1, 13))
    members = rng.random((200, 5)) < 0.6
    members[:, 3] = members[:, 1]
    positives = members & (rng.random((200, 5)) < 0.4)
    together = scores(X, torch.from_numpy(positives.astype(float)), torch.from_numpy(members.astype(float)), method)
    for column in range(5):
        used = members[:, column]
        alone = rank(X[torch.from_numpy(used)], positives[used, column], method)
        np.testing.assert_allclose(together[column], alone, rtol=1e-10)


def test_deviations_are_those_of_the_members():
    rng = np.random.default_rng(0)
    X, members = rng.normal(size=(50, 4)), rng.random((50, 3)) < 0.5
    found = deviations(torch.from_numpy(X), torch.from_numpy(members.astype(float)))
    np.testing.assert_allclose(found, [X[members[:, column]].std(0) for column in range(3)], rtol=1e-12)


@pytest.mark.parametrize("method", SELECTORS)
def test_columns_that_do_not_vary_score_nothing(method):
    X, y, _ = planted(units=(2,))
    X[:, 3] = 5.0
    X[:, 4] = 5.0 + 1e-7 * y
    assert rank(X, y, method)[[3, 4]].tolist() == [0.0, 0.0]
    assert rank(X, y, method)[2] > 0
