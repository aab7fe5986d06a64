"""Selectivity: how much better a probe reads the feature than labels that mean nothing but are as consistent.

The control task gives every token type (or entity) a random label, fixed for all its occurrences. A probe that can
learn it memorises types, and its score on the feature is no evidence that the feature is encoded. Types that do not
occur in the training rows cannot be memorised and are left out of the test rows, of the feature and of the task alike.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `selectivity` | metric(y) - metric(control task) | scalar a k | difference of F1 | Hewitt and Liang 2019 |
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from unweave.errors import DataError, InputError
from unweave.probing.config import ProbeConfig
from unweave.probing.controls import against, probes_of
from unweave.probing.problem import Problem, as_problem
from unweave.probing.result import Control
from unweave.tensors.splits import Grouping

ATTEMPTS = 100
"""Draws of a control task until one has both classes on both sides of the split."""


def selectivity(
    X: Any, y: Any, types: Any, *, groups: Any = None, config: ProbeConfig | None = None, draws: int = 5
) -> tuple[Control, ...]:
    """The probe against probes of random labels that are fixed for each type.

    Args:
        X: Rows (n, d).
        y: (n,) binary labels.
        types: (n,) token id, entity, or whatever a memorising probe would recognise.
        groups: (n,) the document of each row.
        config: Of the probe.
        draws: Control tasks.

    Raises:
        InputError: Shapes that do not fit, labels that are not binary.
        DataError: NaN, one class only, a single group, or no type that occurs on both sides of the split.

    Source:
        Hewitt and Liang 2019 (arXiv 1909.03368); specs/probing.md 7.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> types = rng.integers(0, 40, size=600)
        >>> y = rng.random(600) < 0.3
        >>> X = rng.normal(size=(600, 20)); X[:, 7] += 3 * y
        >>> (found,) = selectivity(X, y, types, groups=np.arange(600) // 10, config=ProbeConfig(ks=(1,)))
        >>> found.difference.low > 0.2
        True
    """
    settings = config or ProbeConfig()
    rows, problem = as_problem(X, y, groups, settings)
    kinds = np.asarray(types)
    if kinds.shape != (len(rows),):
        raise InputError(f"types has shape {kinds.shape} but there are {len(rows)} rows: one type a row is needed")
    codes = np.unique(kinds, return_inverse=True)[1].reshape(-1)
    return selectivity_control(rows, problem, codes, settings, draws=draws)


def selectivity_control(
    rows: Tensor, problem: Problem, types: Int[np.ndarray, " n"], config: ProbeConfig, *, draws: int
) -> tuple[Control, ...]:
    """`selectivity` for a problem that is there already; types are numbered from 0."""
    known = np.isin(types, types[~problem.held_out])
    if not (known & problem.held_out).any():
        raise DataError(
            "no type of the held-out rows occurs in the training rows: a control task cannot be scored; give types"
            " that repeat, such as token ids"
        )
    kept = known | ~problem.held_out
    part = restricted(problem, kept)
    chosen = rows[torch.from_numpy(kept)]
    tasks = [
        Problem(labels=labels, groups=part.groups, names=part.names, held_out=part.held_out)
        for labels in _tasks(part, types[kept], draws, config.seed)
    ]
    probes = probes_of(chosen, part, config)
    return against("selectivity", probes, [probes_of(chosen, task, config) for task in tasks], config)


def restricted(problem: Problem, kept: Bool[np.ndarray, " n"]) -> Problem:
    """The problem of some of its rows; groups keep their numbers."""
    return Problem(
        labels=problem.labels[kept],
        groups=Grouping(codes=problem.groups.codes[kept], count=problem.groups.count),
        names=problem.names,
        held_out=problem.held_out[kept],
    )


def _tasks(problem: Problem, types: np.ndarray, draws: int, seed: int) -> list[np.ndarray]:
    """Labels of so many control tasks, each with both classes on both sides."""
    rng = np.random.default_rng([seed, 8])
    rate = float(problem.labels[~problem.held_out].mean())
    found: list[np.ndarray] = []
    for _ in range(ATTEMPTS * draws):
        labels = (rng.random(int(types.max()) + 1) < rate)[types]
        if all(0 < labels[side].sum() < side.sum() for side in (problem.held_out, ~problem.held_out)):
            found.append(labels)
        if len(found) == draws:
            return found
    raise DataError(
        f"{len(np.unique(types))} types give no control task with both classes on both sides of the split: give finer"
        " types"
    )
