"""The largest eigenpairs of the covariance of many words, without a matrix of words by words.

    Sigma v = X'(X v)/n - p (p'v)

Lanczos needs this product alone. The active words of the windows are found once and kept (on the disk where they are
many); a product is one sparse pass over them.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `X` | X | (n, V) | windows, 0 and 1, sparse | specs/superposition.md, 2.4 |
| `mean` | p | (V,) | share of windows with each word | same, symbols |
| `scale` | sqrt a | (V,) | square roots of importances | same, 4 |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_matrix

from unweave.errors import DataError
from unweave.superposition.dataset import Dataset, bags_in
from unweave.superposition.moments import CHUNK
from unweave.superposition.spill import Growing

WORDS = 8_000
"""More words than this are not multiplied with each other."""
TOLERANCE = 1e-10
"""Of an eigenvalue, relative; eigenvectors are good to about its square root times the gap."""
ROWS = 2**15
"""Windows of one sparse product."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Leading:
    """Leading eigenpairs and the sums that belong to them."""

    values: Float[np.ndarray, " k"]
    vectors: Float[np.ndarray, "v k"]
    mean: Float[np.ndarray, " v"]
    trace: float
    length_variance: float
    """Variance of the number of active words."""
    n: int


def leading(data: Dataset, split: str, count: int, *, centred: bool = True, scale: Any = None) -> Leading:
    """The largest eigenpairs of the covariance, or of the second moments.

    Args:
        data: Bags, or a matrix.
        split: Windows that count.
        count: Eigenpairs, fewer than words.
        centred: Whether means are taken off.
        scale: Factor of each word.

    Raises:
        DataError: No windows.
    """
    from scipy.sparse import linalg

    indices = data.split(split)
    if not len(indices):
        raise DataError("there are no windows to take moments of: give more text or another split")
    X = _sparse(data, indices)
    n, words = len(indices), len(data.vocab)
    weight = np.ones(words) if scale is None else np.asarray(scale, dtype=np.float64)
    sums, squares, lengths = np.zeros(words), np.zeros(words), []
    for part in X:
        sums += np.asarray(part.sum(0)).ravel()
        squares += np.asarray(part.multiply(part).sum(0)).ravel()
        lengths.append(np.asarray(part.sum(1)).ravel())
    mean = sums / n
    shift = mean if centred else np.zeros(words)

    def product(v: Any) -> np.ndarray:
        turned = weight * np.ravel(v)
        total = np.zeros(words)
        for part in X:
            total += part.T @ (part @ turned)
        return weight * (total / n - shift * (shift @ turned))

    solver: Any = linalg  # scipy's stubs know neither products nor small tolerances
    operator = solver.LinearOperator((words, words), matvec=product, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(words)
    values, vectors = solver.eigsh(operator, k=count, which="LA", tol=TOLERANCE, v0=start)
    order = np.argsort(-values)
    return Leading(
        values=values[order], vectors=vectors[:, order], mean=mean,
        trace=float((weight**2 * (squares / n - shift**2)).sum()),
        length_variance=float(np.concatenate(lengths).var()), n=n,
    )  # fmt: skip


def _sparse(data: Dataset, indices: np.ndarray) -> list[Any]:
    """The windows as sparse matrices of some thousand rows each."""
    found = bags_in(data)
    words = len(data.vocab)
    ids, values, ends = Growing(np.int32), Growing(np.float64), [np.zeros(1, dtype=np.int64)]
    at = 0
    for first in range(0, len(indices), CHUNK):
        chosen = indices[first : first + CHUNK]
        if found is not None:
            columns, begins = found.rows(chosen)
        else:
            dense = data.take(chosen, "float64")
            row, columns = np.nonzero(dense)
            begins = np.searchsorted(row, np.arange(len(chosen) + 1))
            values.add(dense[row, columns])
        ids.add(columns)
        ends.append(at + begins[1:])
        at += len(columns)
    flat, starts = ids.whole(), np.concatenate(ends)
    entries = np.ones(1) if found is not None else values.whole()
    parts = []
    for first in range(0, len(indices), ROWS):
        own = starts[first : first + ROWS + 1]
        some = slice(int(own[0]), int(own[-1]))
        held = np.ones(int(own[-1] - own[0])) if found is not None else entries[some]
        parts.append(csr_matrix((held, flat[some], own - own[0]), shape=(len(own) - 1, words)))
    return parts
