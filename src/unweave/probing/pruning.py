"""`prune`: how a feature survives the loss of its best neurons, one after the other.

A score that falls slowly is that of an ensemble of redundant neurons; one that falls off a cliff, of a few special
ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from unweave.errors import InputError
from unweave.probing.config import ProbeConfig
from unweave.probing.controls import fixed_probe, probes_of
from unweave.probing.problem import as_problem
from unweave.probing.ranking import best_columns, scores_and_live
from unweave.tensors.estimate import Estimate
from unweave.tensors.logistic import balanced_weights, fit_many
from unweave.tensors.scores import confusion, f1


@dataclass(frozen=True, kw_only=True)
class PruneStep:
    """One step: the best k of what is left, and the unit that is taken away after it."""

    support: tuple[int, ...]
    """The best first."""
    f1: Estimate
    removed: int
    """The unit of the support that alone does best on the training rows."""
    single_f1: Estimate
    """What it does alone, on held-out groups."""


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """The steps, in order."""

    steps: tuple[PruneStep, ...]
    k: int
    screen: int

    def table(self) -> list[dict[str, Any]]:
        """One dictionary a step."""
        return [
            {
                "step": number,
                "support": list(step.support),
                "f1": step.f1.value,
                "f1_low": step.f1.low,
                "f1_high": step.f1.high,
                "removed": step.removed,
                "single_f1": step.single_f1.value,
                "single_low": step.single_f1.low,
                "single_high": step.single_f1.high,
            }
            for number, step in enumerate(self.steps)
        ]

    def __repr__(self) -> str:
        """F1 at the first and the last step."""
        first, last = self.steps[0], self.steps[-1]
        return f"Pruning({len(self.steps)} steps of k = {self.k}: F1 {first.f1.value:.3f} to {last.f1.value:.3f})"


def prune(
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    k: int = 5,
    steps: int = 10,
    screen: int = 50,
    config: ProbeConfig | None = None,
) -> Pruning:
    """Probes of k units after the best single unit was taken away again and again.

    Args:
        X: Rows (n, d).
        y: (n,) binary labels.
        groups: (n,) the document of each row.
        k: Units of a probe.
        steps: How often a unit is taken away.
        screen: Units that take part, the best by ANOVA F on the training rows.
        config: Of the probes: split, penalty, seed and selector ("auto" becomes "swap": there is nothing to compare in
            so small a pool).

    Raises:
        InputError: Fewer units vary than the steps need, shapes that do not fit, labels that are not binary.
        DataError: No finite column, one class only, or a single group.

    Source:
        arXiv 2305.01610, section on iterative pruning; specs/probing.md 4.2.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = rng.random(600) < 0.3
        >>> X = rng.normal(size=(600, 20)); X[:, [3, 7]] += 3 * y[:, None]
        >>> found = prune(X, y, groups=np.arange(600) // 10, k=1, steps=3)
        >>> sorted(step.removed for step in found.steps[:2]), found.steps[2].f1.value < 0.6
        ([3, 7], True)
    """
    settings = config or ProbeConfig()
    selector = "swap" if settings.selector == "auto" else settings.selector
    settings = settings.model_copy(update={"ks": (k,), "selector": selector, "shuffles": 0})
    rows, problem = as_problem(X, y, groups, settings)
    train = torch.from_numpy(~problem.held_out)
    masks = torch.from_numpy(problem.labels[~problem.held_out].astype(np.float64)).unsqueeze(1)
    ranked = best_columns(*scores_and_live(rows[train], masks, torch.ones_like(masks), "f_stat"), screen)
    pool = ranked[0].tolist()
    if not 1 <= k <= len(pool) - steps + 1 or steps < 1:
        raise InputError(
            f"k is {k} and steps is {steps}: at least 1 each, and k + steps - 1 units of the {len(pool)} that take part"
        )
    found = []
    for _ in range(steps):
        probe = probes_of(rows[:, pool], problem, settings)[k]
        support = [pool[place] for place in probe.support]
        alone = {unit: _training_f1(rows, problem.labels, train, unit, settings) for unit in support}
        best = max(support, key=lambda unit: alone[unit])
        found.append(
            PruneStep(
                support=tuple(support),
                f1=fixed_probe(rows, problem, support, settings).f1,
                removed=best,
                single_f1=fixed_probe(rows, problem, [best], settings).f1,
            )
        )
        pool.remove(best)
    return Pruning(steps=tuple(found), k=k, screen=screen)


def _training_f1(rows: torch.Tensor, labels: np.ndarray, train: torch.Tensor, unit: int, config: ProbeConfig) -> float:
    """F1 of the balanced probe on one unit, on the rows it was fitted on."""
    column = rows[train, unit].double()
    standard = ((column - column.mean()) / column.std(unbiased=False))[:, None]
    own = labels[train.numpy()]
    signs = torch.from_numpy(np.where(own, 1.0, -1.0))[None]
    weights = balanced_weights(signs, torch.ones_like(signs, dtype=torch.bool))
    fit = fit_many(standard, signs, weights, torch.zeros(1, 1, dtype=torch.int64), lam=config.lam)
    called = (standard[:, 0] * fit.coef[0, 0] + fit.bias[0] > 0).numpy()
    return float(f1(confusion(own, called, np.zeros(len(own), dtype=np.int64), 1).total()))
