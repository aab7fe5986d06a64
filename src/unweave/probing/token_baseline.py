"""Token baseline: how well the identity of the token, and of the one before it, predicts the label.

The bar for every feature of tokens: what a site adds to the embedding table shows only above it. The same balanced
ridge-logistic fit as a dense probe, on one-hot columns; a token that the training rows do not have gets the intercept.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `token_baseline` | F1 of the probe on one-hot token ids | scalar | no activations at all | specs/probing.md 7 |
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from unweave.errors import DataError, InputError
from unweave.probing.config import ProbeConfig
from unweave.probing.kernel import f1_estimate
from unweave.probing.labels import binary_labels
from unweave.probing.problem import Problem, split_problem
from unweave.tensors.estimate import Estimate
from unweave.tensors.scores import confusion
from unweave.tensors.splits import grouping

MAX_ITERATIONS = 1000


def token_baseline(
    tokens: Any, y: Any, *, previous: Any = None, groups: Any = None, config: ProbeConfig | None = None
) -> Estimate:
    """F1 of a probe that sees only which token it is, and which came before where `previous` is given.

    Args:
        tokens: (n,) token id of each row.
        y: (n,) binary labels.
        previous: (n,) id of the token before, -1 at the beginning.
        groups: (n,) the document of each row.
        config: Whose split, penalty, seed and number of draws are used.

    Raises:
        InputError: Shapes that do not fit, labels that are not binary.
        DataError: One class only, or a single group.

    Source:
        specs/probing.md 7.

    Example:
        >>> tokens = np.random.default_rng(0).integers(0, 30, size=600)
        >>> token_baseline(tokens, tokens < 9, groups=np.arange(600) // 10).value
        1.0
    """
    settings = config or ProbeConfig()
    ids = _ids(tokens, "tokens")
    labels, _ = binary_labels(y, ids.shape)
    problem = split_problem(labels, grouping(groups, len(ids)), settings)
    before = None if previous is None else _ids(previous, "previous")
    if before is not None and before.shape != ids.shape:
        raise InputError(f"previous has shape {before.shape} but there are {len(ids)} tokens: one a token is needed")
    return token_control(ids, before, problem, settings)


def token_control(
    tokens: Int[np.ndarray, " n"], previous: Int[np.ndarray, " n"] | None, problem: Problem, config: ProbeConfig
) -> Estimate:
    """`token_baseline` for a problem that is there already."""
    scores = _scores(tokens, previous, problem, config.lam)
    test = problem.held_out
    present, codes = np.unique(problem.groups.codes[test], return_inverse=True)
    table = confusion(problem.labels[test], scores > 0, codes.reshape(-1), len(present))
    return f1_estimate(table, (), int(test.sum()), config)


def _ids(values: Any, name: str) -> Int[np.ndarray, " n"]:
    ids = np.asarray(values)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise InputError(f"{name} are {ids.dtype} of shape {ids.shape}: one token id a row is needed")
    return ids.astype(np.int64)


def _scores(
    tokens: np.ndarray, previous: np.ndarray | None, problem: Problem, lam: float
) -> Float[np.ndarray, " test"]:
    from scipy.sparse import csr_matrix, hstack
    from sklearn.linear_model import LogisticRegression

    train = ~problem.held_out
    parts = []
    for ids in (tokens,) if previous is None else (tokens, previous):
        known = np.unique(ids[train])
        place = np.searchsorted(known, ids).clip(0, len(known) - 1)
        there = np.flatnonzero(known[place] == ids)
        parts.append(csr_matrix((np.ones(len(there)), (there, place[there])), shape=(len(ids), len(known))))
    columns = hstack(parts).tocsr()
    model = LogisticRegression(C=1 / lam, class_weight="balanced", max_iter=MAX_ITERATIONS, tol=1e-6)
    model.fit(columns[train], problem.labels[train])
    if int(np.max(model.n_iter_)) >= MAX_ITERATIONS:
        raise DataError(f"the token baseline did not converge in {MAX_ITERATIONS} steps: raise lam, it is {lam}")
    return model.decision_function(columns[problem.held_out])
