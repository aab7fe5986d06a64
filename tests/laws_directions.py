"""Laws of extractors as functions of an implementation: the tests hold the real one to them, tests/mutants broken
ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def classes(seed: int = 0, *, n: int = 400, d: int = 12, k: int = 2, gap: float = 1.5) -> tuple[Any, Any]:
    """Rows (n, d) of k Gaussian classes of one oblique covariance and a far-off mean."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(d, d))
    y = rng.integers(0, k, n)
    return (rng.normal(size=(n, d)) + gap * np.eye(k, d)[y]) @ mixing + 50.0, y


def one_hot(y: Any) -> Any:
    return (np.asarray(y)[:, None] == np.unique(y)).astype(float)


def cross_covariance(rows: Any, y: Any) -> Any:
    """(d, k), over n."""
    rows, z = np.asarray(rows), one_hot(y)
    return (rows - rows.mean(0)).T @ (z - z.mean(0)) / len(rows)


def erasure_law(leace: Any, *, k: int = 3) -> None:
    """No covariance is left, a second time changes nothing, at most k - 1 dimensions go, and no orthogonal projection
    that erases as much changes less.
    """
    for seed in range(3):
        X, y = classes(seed, k=k)
        eraser = leace(X, y)
        clean = np.asarray(eraser.erase(X))
        before = np.abs(cross_covariance(X, y)).max()
        assert np.abs(cross_covariance(clean, y)).max() <= 1e-12 * before
        assert np.abs(np.asarray(eraser.erase(clean)) - clean).max() <= 1e-10 * np.abs(X).max()
        assert 0 < np.linalg.matrix_rank(X - clean, tol=1e-8 * np.abs(X).max()) <= k - 1
        left, sizes, _ = np.linalg.svd(cross_covariance(X, y), full_matrices=False)
        basis = left[:, sizes > 1e-9 * sizes[0]]
        projected = (X - X.mean(0)) @ basis @ basis.T
        assert np.square(X - clean).sum() < np.square(projected).sum() * (1 + 1e-12)


def direction_law(mean_difference: Any) -> None:
    """It points from y = 0 to y = 1, turns round with the labels and scales with the rows."""
    X, y = classes()
    there = np.asarray(mean_difference(X, y).vector)
    np.testing.assert_allclose(there, X[y == 1].mean(0) - X[y == 0].mean(0), atol=1e-11)
    np.testing.assert_allclose(np.asarray(mean_difference(X, 1 - y).vector), -there, atol=1e-11)
    np.testing.assert_allclose(np.asarray(mean_difference(3 * X + 7, y).vector), 3 * there, atol=1e-10)


def lda_law(lda: Any) -> None:
    """Fact 3: the direction that belongs to the read-out is the mean difference, the covector is not."""
    X, y = classes(5)
    delta = X[y == 1].mean(0) - X[y == 0].mean(0)
    within = sum((X[y == c] - X[y == c].mean(0)).T @ (X[y == c] - X[y == c].mean(0)) for c in (0, 1)) / len(X)
    read = lda(X, y)
    assert abs(cosine(np.asarray(read.to_direction(within).vector), delta) - 1) < 1e-10
    assert cosine(np.asarray(read.covector), delta) < 0.95


def cosine(first: Any, second: Any) -> float:
    one, two = np.asarray(first, dtype=float).ravel(), np.asarray(second, dtype=float).ravel()
    return float(one @ two / np.linalg.norm(one) / np.linalg.norm(two))
