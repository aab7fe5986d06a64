"""What linear read-outs find: held-out AUC of a logistic read-out, against shuffled labels and chance (E1).

The read-out, its penalty and its sign come from the training groups alone; the groups that are reported are looked at
once. The control is the same read-out of shuffled labels on the same split; the p-value is the one that belongs to the
interval over groups.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `auc` | AUC | scalar | P(score of a positive > score of a negative) on held-out groups | specs/evaluation.md, E1 |
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from unweave.config import config_from
from unweave.probing.config import ProbeConfig
from unweave.probing.dense import fit_dense, refit_dense
from unweave.probing.kernel import shuffled
from unweave.probing.problem import posed
from unweave.tensors.auc_intervals import auc_tested
from unweave.tensors.estimate import Estimate
from unweave.tensors.scores import auc

BELOW_CHANCE = (
    "the AUC lies below 1/2: held-out rows lean against the fitted ones, as they do after an eraser (or any transform)"
    " that was fitted on all of them; fit it on the training groups alone (uw.evals.erasure_sufficiency)"
)
"""Warning where a read-out does worse than nothing."""


def decodability(
    X: Any, y: Any, groups: Any = None, seed: int = 0, *, test: float = 0.3, shuffles: int = 10, bootstrap: int = 2000
) -> Estimate:
    """How well a linear read-out of all columns tells the labels on groups it was not fitted on: AUC, 1/2 is nothing.

    Args:
        X: Rows (n, d): activations, or the coordinates of any featurizer.
        y: (n,) labels in {0, 1}, {-1, +1} or booleans.
        groups: (n,) the document, entity or template of each row; None makes every row a group of its own, which is
            honest only if rows are independent.
        seed: Of split, inner folds, shuffles and bootstrap.
        test: Share of the groups held out.
        shuffles: Draws of the control: labels shuffled within groups, or over groups where each has one label.
        bootstrap: Draws of groups for interval and p-value.

    Returns:
        `value` the AUC, `low` and `high` its 95 % interval over groups, `control` the mean AUC of read-outs of shuffled
            labels, `p_value` the one-sided chance of so large an AUC where there is nothing to find.

    Raises:
        InputError: Shapes that do not fit, labels that are not binary.
        DataError: No finite column, one class only, or a single group.

    Source:
        specs/evaluation.md, E1 and section 8; ridge-logistic read-out as `uw.probing.dense_probe`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = rng.random(400) < 0.4
        >>> X = rng.normal(size=(400, 10)); X[:, 3] += 2 * y
        >>> found = decodability(X, y, groups=np.arange(400) // 8)
        >>> found.low > 0.7, abs(found.control - 0.5) < 0.1, found.p_value < 0.01
        (True, True, True)
    """
    options = {"test": test, "seed": seed, "shuffles": shuffles, "bootstrap": bootstrap}
    config = config_from(ProbeConfig, options, source="options")
    asked = posed(X, y, groups, config)
    problem = asked.problem
    fit = fit_dense(asked.rows, problem, seed=seed)
    held_out = problem.held_out
    codes = np.unique(problem.groups.codes[held_out], return_inverse=True)[1].reshape(-1)
    found = auc_tested(problem.labels[held_out], fit.scores, codes, seed=seed, draws=bootstrap)
    chance = []
    for labels in shuffled(problem, shuffles, seed):
        inside, outside = labels[~held_out], labels[held_out]
        if inside.any() and not inside.all() and outside.any() and not outside.all():
            chance.append(auc(outside, refit_dense(fit.standard, problem, labels, fit.lam)[0]))
    warnings = list(found.warnings)
    if asked.excluded:
        warnings.append(f"{len(asked.excluded)} of {asked.rows.shape[1]} columns are not finite: left out")
    if found.high < 0.5:
        warnings.append(BELOW_CHANCE)
    if groups is None:
        warnings.append("no groups: every row counts as independent")
    return replace(found, control=float(np.mean(chance)) if chance else None, warnings=tuple(warnings))
