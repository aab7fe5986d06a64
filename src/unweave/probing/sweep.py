"""`sweep`: sparse probes of one feature on one matrix."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from unweave.config import config_from
from unweave.errors import DataError
from unweave.probing.classes import ClassSweep, sweep_classes
from unweave.probing.config import ProbeConfig
from unweave.probing.kernel import Problem, probe_all
from unweave.probing.labels import binary_labels, several_classes
from unweave.probing.ranking import LIVE
from unweave.probing.result import ProbeSweep
from unweave.tensors.arrays import as_matrix, check_finite
from unweave.tensors.splits import Grouping, grouped_split, grouping


def sweep(
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    ks: tuple[int, ...] = (1, 2, 4, 8, 16),
    seed: int = 0,
    selector: str = "auto",
    lam: float = 1.0,
    test: float = 0.3,
    shuffles: int = 20,
    bootstrap: int = 2000,
) -> ProbeSweep | ClassSweep:
    """Probes with k units of X for the binary labels y, for every k, scored on held-out groups.

    Args:
        X: Rows (n, d): activations, or the coordinates of any featurizer.
        y: (n,) labels in {0, 1}, {-1, +1} or booleans; integers with more than two values are classes, each of which is
            probed against the rest, and all together on a shared support.
        groups: (n,) the document of each row; None makes every row a group of its own, which is honest only if rows are
            independent.
        ks: Numbers of units.
        seed: Of split, shuffles and bootstrap.
        selector: How units are chosen on the training rows: "auto" takes at each k the family that does best on inner
            folds of the training groups; `uw.probing.NAMES` lists all. "auto" aims at F1 and so treats the two classes
            differently; the others do not.
        lam: Ridge penalty of the refit on standardised columns, intercept free, classes balanced.
        test: Share of the groups held out.
        shuffles: Draws of the label-shuffle control, each through screen, search, choice on inner folds and refit.
        bootstrap: Draws of groups for the interval.

    Returns:
        `.table()` gives a dictionary a k; `.predict(X, k)` labels, `.scores(X, k)` scores. A k beyond the number of
            columns that vary has no row, and a warning. Classes give a `ClassSweep`, whose F1 is the mean over classes.

    Raises:
        InputError: Shapes that do not fit, labels that are not binary, unknown selector.
        DataError: NaN, one class only, or a single group.

    Source:
        arXiv 2305.01610, section 3; refit and statistics as in specs/probing.md 4.1 and 7.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = rng.random(400) < 0.3
        >>> X = rng.normal(size=(400, 20)); X[:, 7] += 3 * y
        >>> found = sweep(X, y, groups=np.arange(400) // 10, ks=(1, 2))
        >>> found.probe(1).support, found.probe(1).f1.low > 0.7
        ((7,), True)
    """
    start = time.perf_counter()
    options = {
        "ks": ks,
        "seed": seed,
        "selector": selector,
        "lam": lam,
        "test": test,
        "shuffles": shuffles,
        "bootstrap": bootstrap,
    }
    config = config_from(ProbeConfig, options, source="options")
    rows = as_matrix(X, name="X")
    check_finite(rows, name="X")
    classes = several_classes(y, tuple(rows.shape))
    if classes is not None:
        return sweep_classes(rows, classes, grouping(groups, len(rows)), config)
    labels, spelling = binary_labels(y, tuple(rows.shape))
    grouped = grouping(groups, len(rows))
    held_out = grouped_split(grouped, np.stack([labels, ~labels], 1).astype(float), test=config.test, seed=config.seed)
    check_classes(labels, grouped, held_out)
    probes = probe_all(
        rows, Problem(labels=labels, groups=grouped, names=tuple(range(grouped.count)), held_out=held_out), config
    )
    return ProbeSweep(
        probes=tuple(probes),
        labels=spelling,
        width=rows.shape[1],
        config=config,
        seconds=time.perf_counter() - start,
        warnings=_warnings(rows[torch.from_numpy(~held_out)], [probe.k for probe in probes], config, labels),
    )


def check_classes(labels: Bool[np.ndarray, " n"], groups: Grouping, held_out: Bool[np.ndarray, " n"]) -> None:
    """Raises unless both sides of the split have both classes."""
    for side, rows in (("held-out", held_out), ("training", ~held_out)):
        for name, members in (("positives", labels), ("negatives", ~labels)):
            if not members[rows].any():
                raise DataError(
                    f"the {side} rows have no {name}: {name} are in {len(np.unique(groups.codes[members]))} of"
                    f" {groups.count} groups, at least 2 are needed for an honest split"
                )


def _warnings(training: Tensor, made: list[int], config: ProbeConfig, labels: np.ndarray) -> tuple[str, ...]:
    found = []
    width = training.shape[1]
    constant = _constant(training)
    if constant:
        named = ", ".join(map(str, constant[:8])) + (", ..." if len(constant) > 8 else "")
        found.append(f"{len(constant)} of {width} columns do not vary over the training rows, never chosen: {named}")
    missing = [k for k in config.ks if k not in made]
    if missing:
        found.append(f"no probe for k = {missing}: only {width - len(constant)} columns vary")
    if len(labels) < 50 or labels.sum() < 10:
        found.append(f"{len(labels)} rows with {int(labels.sum())} positives: too few to trust")
    return tuple(found)


def _constant(training: Tensor) -> list[int]:
    """Columns that do not vary; those that vary enough over the first rows need no second look."""
    n = len(training)
    head = training[:256].double()
    # two rows that differ by r make a standard deviation of r / sqrt(2 n) at least
    quiet = torch.nonzero((head.amax(0) - head.amin(0)) <= 2 * LIVE * n**0.5).flatten()
    if not len(quiet):
        return []
    return quiet[training[:, quiet].double().std(0, unbiased=False) < LIVE].tolist()
