"""`sweep`: sparse probes of one feature on one matrix."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unweave.config import config_from
from unweave.probing.classes import ClassSweep, sweep_classes
from unweave.probing.columns import usable_rows
from unweave.probing.config import ProbeConfig
from unweave.probing.controls import coordinates_control
from unweave.probing.kernel import probe_all
from unweave.probing.labels import several_classes
from unweave.probing.problem import Posed, posed
from unweave.probing.ranking import LIVE
from unweave.probing.result import ProbeSweep
from unweave.tensors.arrays import as_matrix
from unweave.tensors.splits import grouping


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
    coordinates: int = 20,
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
        coordinates: Sets of k random units of the random-coordinate control; 0 leaves it out.

    Returns:
        `.table()` gives a dictionary a k; `.predict(X, k)` labels, `.scores(X, k)` scores. A k beyond the number of
            columns that vary has no row, and a warning; columns that are not finite, that do not vary or that repeat an
            earlier one are never chosen, and named in `.warnings`. Classes give a `ClassSweep`, whose F1 is the mean
            over classes.

    Raises:
        InputError: Shapes that do not fit, labels that are not binary, unknown selector.
        DataError: No finite column, one class only, or a single group.

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
    matrix = as_matrix(X, name="X")
    classes = several_classes(y, tuple(matrix.shape))
    if classes is not None:
        return sweep_classes(usable_rows(matrix)[0], classes, grouping(groups, len(matrix)), config)
    asked = posed(matrix, y, groups, config)
    probes = {probe.k: probe for probe in probe_all(asked.rows, asked.problem, config)}
    controls = ()
    if coordinates and probes:
        controls = coordinates_control(
            asked.rows, asked.problem, config, draws=coordinates, matched=False, probes=probes
        )
    return ProbeSweep(
        probes=tuple(probes.values()),
        labels=asked.spelling,
        width=matrix.shape[1],
        config=config,
        controls=controls,
        seconds=time.perf_counter() - start,
        warnings=_warnings(asked, list(probes), config),
    )


def _warnings(asked: Posed, made: list[int], config: ProbeConfig) -> tuple[str, ...]:
    found = []
    width, labels = asked.rows.shape[1], asked.problem.labels
    if asked.excluded:
        found.append(
            f"{len(asked.excluded)} of {width} columns have a NaN or infinite entry, never chosen:"
            f" {_named(asked.excluded)}"
        )
    if asked.copies:
        pairs = [f"{copy} = {first}" for copy, first in asked.copies.items()]
        found.append(f"{len(pairs)} of {width} columns repeat an earlier one, never chosen: {_named(pairs)}")
    left_out = {*asked.excluded, *asked.copies}
    constant = [one for one in _constant(asked.rows[torch.from_numpy(~asked.problem.held_out)]) if one not in left_out]
    if constant:
        found.append(
            f"{len(constant)} of {width} columns do not vary over the training rows, never chosen: {_named(constant)}"
        )
    missing = [k for k in config.ks if k not in made]
    if missing:
        found.append(f"no probe for k = {missing}: only {width - len(constant) - len(left_out)} columns vary")
    if len(labels) < 50 or labels.sum() < 10:
        found.append(f"{len(labels)} rows with {int(labels.sum())} positives: too few to trust")
    return tuple(found)


def _named(columns: Sequence[Any]) -> str:
    return ", ".join(map(str, columns[:8])) + (", ..." if len(columns) > 8 else "")


def _constant(training: Tensor) -> list[int]:
    """Columns that do not vary; those that vary enough over the first rows need no second look."""
    n = len(training)
    head = training[:256].double()
    # two rows that differ by r make a standard deviation of r / sqrt(2 n) at least
    quiet = torch.nonzero((head.amax(0) - head.amin(0)) <= 2 * LIVE * n**0.5).flatten()
    if not len(quiet):
        return []
    return quiet[training[:, quiet].double().std(0, unbiased=False) < LIVE].tolist()
