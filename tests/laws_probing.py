"""Laws of sparse probing as functions of an implementation, for the tests and for the mutants that must break them.

A `sweep` here is anything that is called like `uw.probing.sweep`; a `rank` like `uw.probing.rank`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

ROUNDING = 1e-8
"""Float64 arithmetic on columns of size 1, refits solved to a decrement of 1e-9 a row: specs/probing.md, law 8."""


def planted(
    *, seed: int = 0, n: int = 400, d: int = 20, units: tuple[int, ...] = (7,), strength: float = 3.0, rate: float = 0.3
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, labels and groups of ten rows; each of `units` is raised by `strength` where the label holds."""
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < rate
    rows = rng.normal(size=(n, d))
    rows[:, list(units)] += strength * labels[:, None]
    return rows, labels, np.arange(n) // 10


def same_probes(first: Any, second: Any, *, renamed: Callable[[int], int] = lambda unit: unit) -> None:
    """Asserts that two sweeps found the same units (after renaming), coefficients and scores."""
    assert first.probes
    for one, two in zip(first.probes, second.probes, strict=True):
        assert tuple(renamed(unit) for unit in one.support) == two.support
        np.testing.assert_allclose(one.coef, two.coef, atol=ROUNDING)
        assert abs(one.f1.value - two.f1.value) < ROUNDING
        assert abs(one.auc - two.auc) < ROUNDING


def permuting_columns_permutes_supports(sweep: Callable[..., Any]) -> None:
    """X[:, p] has the same probes, its units renamed."""
    X, y, groups = planted(units=(2, 11))
    order = np.random.default_rng(1).permutation(X.shape[1])
    plain = sweep(X, y, groups=groups, ks=(1, 2, 4))
    moved = sweep(X[:, order], y, groups=groups, ks=(1, 2, 4))
    same_probes(plain, moved, renamed=lambda unit: int(np.flatnonzero(order == unit)[0]))


def flipping_labels_negates_scores(sweep: Callable[..., Any]) -> None:
    """1 - y has the same supports, AUC and MCC, and the negated scores."""
    X, y, groups = planted(units=(2, 11), strength=1.5)
    plain, flipped = (sweep(X, labels, groups=groups, ks=(1, 3)) for labels in (y, ~y))
    for one, two in zip(plain.probes, flipped.probes, strict=True):
        assert one.support == two.support
        assert abs(one.auc - two.auc) < ROUNDING
        assert abs(one.mcc - two.mcc) < ROUNDING
        np.testing.assert_allclose(plain.scores(X, one.k), -flipped.scores(X, one.k), atol=ROUNDING)
    assert abs(plain.probes[0].f1.value - flipped.probes[0].f1.value) > 0.01  # F1 alone is not symmetric


def moving_columns_changes_nothing(sweep: Callable[..., Any]) -> None:
    """Scaling and shifting every column by itself leaves supports and scores."""
    X, y, groups = planted(units=(2, 11), strength=1.5)
    rng = np.random.default_rng(2)
    scale, shift = np.exp(rng.normal(size=X.shape[1])), rng.normal(size=X.shape[1])
    moved = X * scale + shift
    first, second = (sweep(rows, y, groups=groups, ks=(1, 2, 8)) for rows in (X, moved))
    same_probes(first, second)
    np.testing.assert_allclose(first.scores(X, 8), second.scores(moved, 8), atol=10 * ROUNDING)  # sums of 8 columns


def row_order_does_not_matter(sweep: Callable[..., Any]) -> None:
    """The same rows in another order have the same probes; only the draws of the shuffled control are others."""
    X, y, groups = planted(units=(2, 11), strength=1.5)
    order = np.random.default_rng(3).permutation(len(X))
    first = sweep(X, y, groups=groups, ks=(1, 4))
    second = sweep(X[order], y[order], groups=groups[order], ks=(1, 4))
    same_probes(first, second)
    assert [probe.groups for probe in first.probes] == [probe.groups for probe in second.probes]


def duplicates_are_weights(sweep: Callable[..., Any]) -> None:
    """Every row twice is every row with weight 2, which is half the penalty."""
    X, y, groups = planted(units=(2, 11), strength=1.5)
    once = sweep(X, y, groups=groups, ks=(1, 4), lam=3.0)
    twice = sweep(np.repeat(X, 2, 0), np.repeat(y, 2), groups=np.repeat(groups, 2), ks=(1, 4), lam=6.0)
    same_probes(once, twice)


def held_out_rows_do_not_matter(sweep: Callable[..., Any]) -> None:
    """Whatever the held-out rows hold, units, coefficients and scaling come from the training rows alone."""
    X, y, groups = planted(units=(2, 11), strength=1.5)
    first = sweep(X, y, groups=groups, ks=(1, 4))
    other = X.copy()
    held_out = np.isin(groups, first.probes[0].groups)
    other[held_out] = 5 + 9 * np.random.default_rng(4).normal(size=other[held_out].shape)
    for one, two in zip(first.probes, sweep(other, y, groups=groups, ks=(1, 4)).probes, strict=True):
        assert (one.support, one.coef, one.mean, one.sd) == (two.support, two.coef, two.mean, two.sd)


def groups_are_never_cut(sweep: Callable[..., Any]) -> None:
    """Labels that are constant in a document, and rows that show only which document it is: nothing can be told of a
    new document, and the whole document is on one side.
    """
    rng = np.random.default_rng(5)
    documents, each = 120, 8
    groups = np.repeat(np.arange(documents), each)
    y = (rng.permutation(documents) < documents // 2)[groups]
    X = rng.normal(size=(documents, 40))[groups] + 0.1 * rng.normal(size=(documents * each, 40))
    probe = sweep(X, y, groups=groups, ks=(40,), shuffles=0).probes[0]
    assert probe.n_train == np.sum(~np.isin(groups, probe.groups))
    assert probe.f1.n % each == 0
    # the AUC of 36 held-out documents at chance has a standard error of sqrt(37 / (12 * 18 * 18)) = 0.098: 0.9 is four
    # of them away, and a split by row gives 1.0
    assert probe.auc < 0.9


def same_seed_same_table(sweep: Callable[..., Any]) -> None:
    """One seed gives one table, to the bit; another seed another split."""
    X, y, groups = planted(strength=1.0)
    first, again, other = (sweep(X, y, groups=groups, ks=(1, 4), seed=seed).table() for seed in (3, 3, 4))
    assert first == again
    assert first != other


SWEEP_LAWS = (
    permuting_columns_permutes_supports,
    flipping_labels_negates_scores,
    moving_columns_changes_nothing,
    row_order_does_not_matter,
    duplicates_are_weights,
    held_out_rows_do_not_matter,
    groups_are_never_cut,
    same_seed_same_table,
)


def subsamples_are_balanced_and_in_order(subsampled: Callable[..., Any]) -> None:
    """At most the rows asked for, a fifth to a half of them positive, ascending, none twice, and of each class the
    first ones of the common order.
    """
    from unweave.activations.labels import LabelledFeature

    for rate, most in ((0.01, 300), (0.3, 300), (0.9, 300), (0.3, 5000)):
        rng = np.random.default_rng(int(100 * rate))
        index = np.flatnonzero(rng.random(4000) < 0.5)
        values = rng.random(len(index)) < rate
        order = rng.permutation(4000)
        found = subsampled(LabelledFeature(name="f", level="token", index=index, values=values), order, most)
        assert len(found.index) <= most
        assert 0.195 <= found.values.mean() <= 0.505  # whole rows: a share of a few hundred is right to half a percent
        assert (np.diff(found.index) > 0).all()
        rank = np.argsort(order)
        for kind in (True, False):
            chosen, there = found.index[found.values == kind], index[values == kind]
            first = there[np.argsort(rank[there])][: len(chosen)]
            assert set(chosen.tolist()) == set(first.tolist())


def scores_do_not_see_units_of_measurement(rank: Callable[..., Any]) -> None:
    """Scaling and shifting a column leaves its score, and so does calling the positives negatives."""
    X, y, _ = planted(units=(2, 11))
    rng = np.random.default_rng(6)
    moved = X * np.exp(rng.normal(size=X.shape[1])) + rng.normal(size=X.shape[1])
    np.testing.assert_allclose(rank(X, y), rank(moved, y), rtol=ROUNDING)
    np.testing.assert_allclose(rank(X, y), rank(X, ~y), rtol=ROUNDING)


def scores_see_a_small_signal_on_a_large_offset(rank: Callable[..., Any]) -> None:
    """Means of 1e6 with a spread of 1 leave nothing of a signal in float32 sums of squares; the score must not care."""
    X, y, _ = planted(units=(2,))
    np.testing.assert_allclose(rank(X + 1e6, y), rank(X, y), rtol=1e-6)  # the sum itself rounds X to 1e-10
