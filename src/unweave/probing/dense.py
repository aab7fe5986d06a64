"""`dense_probe`: the ridge-logistic probe on all units, the ceiling of every sparse one.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `lams` | lam | (7,) | ridge penalty on standardised columns; scikit-learn's C is 1 / lam | specs/probing.md 4.6 |
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweave.probing.config import ProbeConfig
from unweave.probing.kernel import f1_estimate
from unweave.probing.problem import Problem, as_problem
from unweave.probing.ranking import LIVE
from unweave.tensors.auc_intervals import auc_estimate
from unweave.tensors.estimate import Estimate
from unweave.tensors.metrics import all_metrics, calibrated, log_loss
from unweave.tensors.scores import confusion
from unweave.tensors.splits import grouped_folds, grouping

FOLDS = 3
LAMS = (1e4, 1e3, 1e2, 10.0, 1.0, 0.1, 0.01)
MAX_STEPS = 500


@dataclass(frozen=True, kw_only=True)
class DenseProbe:
    """The probe on all units and how it does on held-out groups."""

    f1: Estimate
    auc: Estimate
    metrics: Mapping[str, float]
    lam: float
    """The ridge penalty chosen on inner folds of the training groups."""
    losses: Mapping[float, float]
    """Ridge penalty -> mean log loss on the inner folds, nats a row."""
    units: int
    converged: bool

    def __repr__(self) -> str:
        """F1 and penalty."""
        return f"DenseProbe(F1 {self.f1.value:.3f} [{self.f1.low:.3f}, {self.f1.high:.3f}], {self.units} units)"


def dense_probe(
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    config: ProbeConfig | None = None,
    lams: Sequence[float] = LAMS,
) -> DenseProbe:
    """What all units together tell of a feature, on the split that `sweep` makes.

    Args:
        X: Rows (n, d).
        y: (n,) binary labels.
        groups: (n,) the document of each row.
        config: Whose split, seed and number of draws are used.
        lams: Ridge penalties; the one with the lowest log loss on inner folds is refitted on all training rows.

    Raises:
        InputError: Shapes that do not fit, labels that are not binary.
        DataError: No finite column, one class only, or a single group.

    Source:
        specs/probing.md 4.6; logistic regression by scikit-learn (lbfgs), classes balanced.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(600, 20)); y = X.sum(1) > 0
        >>> dense_probe(X, y, groups=np.arange(600) // 10).f1.low > 0.9
        True
    """
    settings = config or ProbeConfig()
    rows, problem = as_problem(X, y, groups, settings)
    return _scored(problem, fit_dense(rows, problem, lams=lams, seed=settings.seed), settings)


@dataclass(frozen=True, kw_only=True, eq=False)
class DenseFit:
    """The probe on all units before it is scored."""

    standard: Float[np.ndarray, "n units"]
    """All rows in the units that vary, standardised by the training rows."""
    scores: Float[np.ndarray, " m"]
    """Of the held-out rows."""
    lam: float
    losses: Mapping[float, float]
    converged: bool


def fit_dense(rows: Tensor, problem: Problem, *, lams: Sequence[float] = LAMS, seed: int) -> DenseFit:
    """The scores of held-out rows by the logistic read-out of all units, its penalty chosen on training groups.

    Args:
        rows: Activations.
        problem: Their labels, groups and split.
        lams: Ridge penalties to choose from.
        seed: Of the inner folds.
    """
    training = torch.from_numpy(~problem.held_out)
    mean, sd = rows[training].double().mean(0), rows[training].double().std(0, unbiased=False)
    live = sd >= LIVE
    standard = ((rows[:, live].double() - mean[live]) / sd[live]).float().numpy()
    tried = _losses(standard, problem, sorted(lams, reverse=True), seed)
    lam = min(tried, key=lambda one: (tried[one], -one))
    scores, converged = refit_dense(standard, problem, problem.labels, lam)
    return DenseFit(standard=standard, scores=scores, lam=lam, losses=tried, converged=converged)


def refit_dense(
    standard: Float[np.ndarray, "n units"], problem: Problem, labels: Bool[np.ndarray, " n"], lam: float
) -> tuple[Float[np.ndarray, " m"], bool]:
    """Scores of the held-out rows by a read-out of other labels on the same split, and whether it converged."""
    (scores,), converged = _path(standard, labels, ~problem.held_out, [lam], problem.held_out)
    return scores, converged


def _losses(rows: Float[np.ndarray, "n d"], problem: Problem, lams: Sequence[float], seed: int) -> dict[float, float]:
    """Mean log loss of every penalty on the inner folds of the training groups."""
    inside = np.flatnonzero(~problem.held_out)
    labels = problem.labels[inside]
    groups = grouping(problem.groups.codes[inside], len(inside))
    folds = grouped_folds(groups, np.stack([labels, ~labels], 1).astype(float), count=FOLDS, seed=seed)
    found: dict[float, list[float]] = {lam: [] for lam in lams}
    for fold in range(int(folds.max()) + 1):
        seen, unseen = (np.zeros(len(rows), dtype=bool) for _ in range(2))
        seen[inside[folds != fold]], unseen[inside[folds == fold]] = True, True
        if problem.labels[seen].all() or not problem.labels[seen].any():
            continue
        rate = float(problem.labels[seen].mean())
        for lam, scores in zip(lams, _path(rows, problem.labels, seen, lams, unseen)[0], strict=True):
            found[lam].append(log_loss(problem.labels[unseen], calibrated(scores, rate)))
    return {lam: float(np.mean(losses)) if losses else 0.0 for lam, losses in found.items()}


def _path(
    rows: np.ndarray, labels: np.ndarray, seen: Bool[np.ndarray, " n"], lams: Sequence[float], asked: np.ndarray
) -> tuple[list[np.ndarray], bool]:
    """Scores of the asked rows for each penalty, each fit from where the last one ended; whether all converged."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(class_weight="balanced", max_iter=MAX_STEPS, tol=1e-4, warm_start=True)
    training, found, converged = np.ascontiguousarray(rows[seen]), [], True
    for lam in lams:
        model.C = 1 / lam
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(training, labels[seen])
        converged &= bool(model.n_iter_.max() < MAX_STEPS)
        found.append(model.decision_function(rows[asked]).astype(np.float64))
    return found, converged


def _scored(problem: Problem, fit: DenseFit, config: ProbeConfig) -> DenseProbe:
    test, scores = problem.held_out, fit.scores
    labels = problem.labels[test]
    present, codes = np.unique(problem.groups.codes[test], return_inverse=True)
    codes = codes.reshape(-1)
    table = confusion(labels, scores > 0, codes, len(present))
    return DenseProbe(
        f1=f1_estimate(table, (), len(labels), config),
        auc=auc_estimate(labels, scores, codes, seed=config.seed, draws=min(config.bootstrap, 1000)),
        metrics=all_metrics(labels, scores, training_rate=float(problem.labels[~test].mean())),
        lam=fit.lam,
        losses=fit.losses,
        units=fit.standard.shape[1],
        converged=fit.converged,
    )
