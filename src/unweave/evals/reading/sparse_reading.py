"""Sparse decodability and selectivity as estimates: what `probing` finds, in the form that cards and comparisons take.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `sparse_curve` | F1 of the best probe on k coordinates | a k | held-out groups | specs/evaluation.md, E2 |
| `selectivity` | score(y) - score(labels fixed per type) | scalar | F1, same capacity and tuning | E3 |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unweave.config import config_from
from unweave.errors import DataError, InputError
from unweave.probing.config import ProbeConfig
from unweave.probing.selectivity import selectivity as selectivity_controls
from unweave.probing.sweep import ProbeSweep, sweep
from unweave.tensors.arrays import as_matrix
from unweave.tensors.estimate import Estimate


def sparse_curve(
    X: Any, y: Any, groups: Any = None, seed: int = 0, *, ks: Sequence[int] = (1, 2, 4, 8, 16)
) -> dict[int, Estimate]:
    """F1 on held-out groups of the best probe with k coordinates, by k; the control is the same on shuffled labels.

    Args:
        X: Rows (n, d): activations, or the coordinates of any featurizer.
        y: (n,) binary labels.
        groups: (n,) the document of each row.
        seed: Of split, shuffles and bootstrap.
        ks: Numbers of coordinates; those beyond the width are left out.

    Raises:
        InputError: Shapes that do not fit, labels that are not binary.
        DataError: One class only, or a single group.

    Example:
        >>> rng = np.random.default_rng(0); y = rng.random(400) < 0.4
        >>> X = rng.normal(size=(400, 6)); X[:, 2] += 3 * y
        >>> found = sparse_curve(X, y, np.arange(400) // 8, ks=(1, 2))
        >>> found[1].low > 0.7, found[1].control < 0.6
        (True, True)
    """
    width = as_matrix(X, name="X").shape[1]
    usable = tuple(k for k in ks if k <= width)
    if not usable:
        raise InputError(f"X has {width} columns but ks are {tuple(ks)}: at least one k must be no larger")
    found = sweep(X, y, groups=groups, ks=usable, seed=seed, selector="std_mean_diff", coordinates=0)
    if not isinstance(found, ProbeSweep):
        raise InputError("y has more than two classes: a curve is of one feature against the rest")
    return {probe.k: probe.f1 for probe in found.probes}


def selectivity(X: Any, y: Any, types: Any, groups: Any = None, seed: int = 0, *, k: int = 16) -> Estimate:
    """How much better a probe reads the feature than labels that are drawn at random for each type: difference of F1.

    Args:
        X: Rows (n, d).
        y: (n,) binary labels.
        types: (n,) token id, entity, or whatever a memorising probe would recognise.
        groups: (n,) the document of each row.
        seed: Of split, control tasks and bootstrap.
        k: Coordinates a probe may use; the width if that is smaller.

    Returns:
        `value` the difference, `control` the F1 on random labels.

    Raises:
        InputError: Shapes that do not fit, labels that are not binary.
        DataError: No type occurs on both sides of the split.

    Source:
        Hewitt and Liang 2019 (arXiv 1909.03368).

    Example:
        >>> rng = np.random.default_rng(0); types = rng.integers(0, 40, size=600); y = rng.random(600) < 0.3
        >>> X = rng.normal(size=(600, 8)); X[:, 7] += 3 * y
        >>> selectivity(X, y, types, np.arange(600) // 10, k=1).low > 0.2
        True
    """
    used = min(k, as_matrix(X, name="X").shape[1])
    given = {"ks": (used,), "seed": seed, "selector": "std_mean_diff", "shuffles": 0}
    config = config_from(ProbeConfig, given, source="options")
    found = selectivity_controls(X, y, types, groups=groups, config=config)
    if not found:
        raise DataError(f"no probe with {used} columns: fewer vary over the training rows")
    return found[0].difference
