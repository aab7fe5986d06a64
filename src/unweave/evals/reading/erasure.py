"""Erasure sufficiency: after erasing a concept, does the best linear read-out still find it on other groups (E13)?

The eraser and the read-out after it come from the training groups; the erased rows of the held-out groups are scored.
Beside it stands what the erasure cost.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `distortion` | mean norm(h' - h)^2 / mean norm(h - mean)^2 | scalar | share of the variance that erasing moves | specs/evaluation.md, E13 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from unweave.config import config_from
from unweave.directions.erasing import leace
from unweave.evals.averages import mean_estimate, ratio_estimate
from unweave.evals.reading.decodability import BELOW_CHANCE
from unweave.features.eraser import Eraser
from unweave.probing.config import ProbeConfig
from unweave.probing.dense import fit_dense
from unweave.probing.problem import as_problem
from unweave.tensors.auc_intervals import auc_tested
from unweave.tensors.estimate import Estimate


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """What erasing a concept leaves of it, and what it costs."""

    auc: Estimate
    """Of the best linear read-out after erasing; its control is the AUC before."""
    accuracy: Estimate
    """Of the same read-out; its null is the majority rate, which it must not beat."""
    distortion: Estimate
    """Share of the variance that erasing moves."""
    rank: int
    """Dimensions erased."""

    @property
    def is_sufficient(self) -> bool:
        """Whether nothing is left: the interval of the AUC reaches down to 1/2."""
        return self.auc.low <= 0.5

    def __repr__(self) -> str:
        """AUC after and before, and the cost."""
        return f"Erasure(AUC {self.auc!r}, distortion {self.distortion.value:.3f}, rank {self.rank})"


def erasure_sufficiency(
    X: Any,
    y: Any,
    groups: Any = None,
    seed: int = 0,
    *,
    fit: Callable[[Tensor, Bool[np.ndarray, " n"]], Eraser] = leace,
    test: float = 0.3,
) -> Erasure:
    """Whether an eraser fitted on some groups takes the concept out of others.

    Args:
        X: Rows (n, d).
        y: (n,) binary labels.
        groups: (n,) the document of each row.
        seed: Of split, folds and bootstrap.
        fit: (rows, labels) -> `Eraser`, from the training groups; one that returns an eraser of other rows is warned of
            in the AUC.
        test: Share of the groups held out.

    Raises:
        InputError: Shapes that do not fit, labels that are not binary.
        DataError: One class only, or a single group.

    Source:
        specs/evaluation.md, E13; Belrose et al. 2023.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = rng.random(600) < 0.5; X = rng.normal(size=(600, 6)); X[:, 2] += 2 * y
        >>> found = erasure_sufficiency(X, y, np.arange(600) // 6)
        >>> found.auc.control > 0.8, found.is_sufficient, found.rank
        (True, True, 1)
    """
    rows, problem = as_problem(X, y, groups, config_from(ProbeConfig, {"test": test, "seed": seed}, source="options"))
    rows = rows.double()
    held_out, labels = problem.held_out, problem.labels
    training = torch.from_numpy(~held_out)
    eraser = fit(rows[training], labels[~held_out])
    clean = eraser.erase(rows)
    codes = np.unique(problem.groups.codes[held_out], return_inverse=True)[1].reshape(-1)
    before, after = (fit_dense(one, problem, seed=seed).scores for one in (rows, clean))
    was, now = (auc_tested(labels[held_out], scores, codes, seed=seed) for scores in (before, after))
    truth = labels[held_out]
    majority = max(float(truth.mean()), 1 - float(truth.mean()))
    # a read-out of balanced classes has its zero at equal risk; the majority needs the zero of the rates
    rate = float(labels[~held_out].mean())
    called = after + np.log(rate / (1 - rate)) > 0
    moved = (clean - rows)[~training].square().sum(1).numpy()
    spread = (rows - rows[training].mean(0))[~training].square().sum(1).numpy()
    return Erasure(
        auc=replace(now, control=was.value, warnings=(*now.warnings, *_cautions(now, eraser, int(training.sum())))),
        accuracy=mean_estimate((called == truth).astype(float), codes, seed=seed, null=majority, bounds=(0.0, 1.0)),
        distortion=ratio_estimate(moved, spread, codes, seed=seed),
        rank=eraser.rank,
    )


def _cautions(auc: Estimate, eraser: Eraser, training: int) -> list[str]:
    """What is wrong with an erasure that was not learnt from the training rows."""
    fitted = eraser.provenance.rows
    told = []
    if fitted not in (None, training):
        told.append(
            f"the eraser was fitted on {fitted} rows, the training groups have {training}: where it saw rows that are"
            " scored, their AUC means nothing"
        )
    return [*told, BELOW_CHANCE] if auc.high < 0.5 else told
