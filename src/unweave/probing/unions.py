"""Unions of supports: are the units of several probes one set, or one of many?

The union of the supports over all k and several splits is refitted as a whole, without each of its units, and replaced
by the other units of the screen. A complement that does as well says that the feature is written redundantly.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `union` | U | (u,) | units in any support | specs/probing.md 9 |
| `complement` | F1 of the screen without U | scalar | as good as U = redundancy | same |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unweave.errors import DataError, InputError
from unweave.probing.config import ProbeConfig
from unweave.probing.controls import fixed_probe, probes_of
from unweave.probing.problem import Problem, as_problem
from unweave.probing.ranking import best_columns, scores_and_live
from unweave.probing.summary import probes_f1
from unweave.tensors.estimate import Estimate


@dataclass(frozen=True, eq=False, kw_only=True)
class Union:
    """The units that any of the probes chose, and what they are worth together."""

    units: tuple[int, ...]
    """Most often chosen first."""
    frequency: Mapping[int, float]
    """Unit -> share of supports that have it."""
    f1: Estimate
    """Of a probe on all of them."""
    without: Mapping[int, Estimate]
    """Unit -> F1 of all minus F1 without it."""
    complement: Estimate
    """F1 of as many units of the screen that no probe chose."""
    redundancy: Estimate
    """F1 of the union minus that of the complement: an interval around 0 = others do as well."""

    def table(self) -> list[dict[str, Any]]:
        """One dictionary a unit."""
        return [
            {
                "unit": unit,
                "frequency": self.frequency[unit],
                "loss_without": self.without[unit].value,
                "low": self.without[unit].low,
                "high": self.without[unit].high,
            }
            for unit in self.units
        ]

    def __repr__(self) -> str:
        """Size and F1 of the union and its complement."""
        return f"Union({len(self.units)} units, F1 {self.f1.value:.3f}, others {self.complement.value:.3f})"


def union_support(
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    config: ProbeConfig | None = None,
    repeats: int = 3,
    screen: int = 256,
) -> Union:
    """The union of the supports over k and several splits of the training documents, and its worth on held-out ones.

    Args:
        X: Rows (n, d).
        y: (n,) binary labels.
        groups: (n,) the document of each row.
        config: Of the probes.
        repeats: Inner splits, besides all training documents at once.
        screen: Units that the complement may use, the best by the ranking on training rows.

    Raises:
        InputError: Shapes that do not fit, labels that are not binary.
        DataError: NaN, one class only, a single group, or no unit that varies.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = rng.random(600) < 0.3
        >>> X = rng.normal(size=(600, 20)); X[:, [3, 7]] += 2 * y[:, None]
        >>> found = union_support(X, y, groups=np.arange(600) // 10, config=ProbeConfig(ks=(1, 2)))
        >>> sorted(found.units), found.redundancy.low > 0.2
        ([3, 7], True)
    """
    settings = config or ProbeConfig()
    rows, problem = as_problem(X, y, groups, settings)
    supports = [set(probe.support) for probe in probes_of(rows, problem, settings).values()]
    train = np.flatnonzero(~problem.held_out)
    for repeat in range(repeats):
        own = settings.model_copy(update={"seed": settings.seed + 1 + repeat})
        inner_rows, inner = as_problem(
            rows[torch.from_numpy(train)], problem.labels[train], problem.groups.codes[train], own
        )
        supports += [set(probe.support) for probe in probes_of(inner_rows, inner, own).values()]
    counted = Counter(unit for support in supports for unit in support)
    if not counted:
        raise DataError("no unit varies over the training rows: there are no supports to unite")
    units = sorted(counted, key=lambda unit: (-counted[unit], unit))
    return _worth(rows, problem, settings, units, {unit: counted[unit] / len(supports) for unit in units}, screen)


def _worth(
    rows: Tensor,
    problem: Problem,
    config: ProbeConfig,
    units: Sequence[int],
    frequency: Mapping[int, float],
    screen: int,
) -> Union:
    whole = fixed_probe(rows, problem, units, config)
    without = {}
    for unit in units:
        rest = [other for other in units if other != unit]
        without[unit] = (
            probes_f1([whole, fixed_probe(rows, problem, rest, config)], [1.0, -1.0], config) if rest else whole.f1
        )
    train = torch.from_numpy(~problem.held_out)
    masks = torch.from_numpy(problem.labels[~problem.held_out].astype(np.float64)).unsqueeze(1)
    scored, live = scores_and_live(rows[train], masks, torch.ones_like(masks), "std_mean_diff")
    others = [unit for unit in best_columns(scored, live, screen)[0].tolist() if unit not in frequency][: len(units)]
    if not others:
        raise InputError(f"screen is {screen}: the union has {len(units)} units, a larger screen is needed for others")
    rest = fixed_probe(rows, problem, others, config)
    return Union(
        units=tuple(units),
        frequency=dict(frequency),
        f1=whole.f1,
        without=without,
        complement=rest.f1,
        redundancy=probes_f1([whole, rest], [1.0, -1.0], config),
    )
