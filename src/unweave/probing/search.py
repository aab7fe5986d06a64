"""What a unit's score is worth after every unit of every site has been looked at.

Two p-values for every unit, both on training rows, so that the held-out ones stay untouched. One of its own, from a
t-test with documents as the independent units, which Benjamini-Hochberg turns into a false discovery rate over all
units of all sites and features searched. And one for the whole search of a feature: labels are shuffled within
documents, and the largest abs(t) over all units and sites of each shuffle is what the observed one has to beat.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `maxima` | max_b | (B,) | max over (site, unit) of abs(pooled t) under shuffle b | specs/probing.md 7 |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError
from unweave.probing.config import ProbeConfig
from unweave.probing.kernel import shuffled
from unweave.probing.problem import Problem, as_problem
from unweave.probing.selectivity import restricted
from unweave.tensors.clustered import clustered_test, pooled_t
from unweave.tensors.multiplicity import benjamini_hochberg, max_statistic_p
from unweave.tensors.splits import grouping


@dataclass(frozen=True, kw_only=True)
class UnitScore:
    """One of the best units of a search."""

    feature: str
    site: str
    unit: int
    difference: float
    """Mean over positives minus mean over negatives, in units of the activation."""
    t: float
    """Of the pooled test, by which units are ordered."""
    p_value: float
    """Documents as the independent units; of this unit alone."""
    q_value: float
    """False discovery rate over everything searched."""
    p_adjusted: float | None
    """Chance of so large a t anywhere in the search of the feature; None without shuffles."""

    def row(self) -> dict[str, Any]:
        """The unit as one row of a table."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, eq=False, kw_only=True)
class Search:
    """What a search over units and sites found, and how much was searched."""

    best: tuple[UnitScore, ...]
    """The best units of every feature, best first."""
    searched: Mapping[str, int]
    """Feature -> units that vary, over all sites."""
    significant: Mapping[str, int]
    """Feature -> units with a q-value below `level`."""
    level: float
    shuffles: int

    def table(self) -> list[dict[str, Any]]:
        """One dictionary for each of the best units."""
        return [one.row() for one in self.best]

    def of(self, site: str, unit: int) -> list[UnitScore]:
        """The features among whose best units this one is with a q-value below the level."""
        return [one for one in self.best if (one.site, one.unit) == (site, unit) and one.q_value < self.level]

    def __repr__(self) -> str:
        """How much was searched and found."""
        return (
            f"Search({len(self.searched)} features, {sum(self.searched.values())} units tried,"
            f" {sum(self.significant.values())} with q < {self.level})"
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class SiteScan:
    """All units of one site for one feature: what is kept of them until every site is through."""

    site: str
    difference: Float[np.ndarray, " d"]
    t: Float[np.ndarray, " d"]
    p_value: Float[np.ndarray, " d"]
    maxima: Float[np.ndarray, " b"]


def search(
    sites: Mapping[str, Any],
    y: Any,
    *,
    groups: Any = None,
    config: ProbeConfig | None = None,
    shuffles: int = 200,
    level: float = 0.05,
    most: int = 10,
) -> Search:
    """Which units of which sites differ between the classes, corrected for having tried them all.

    Args:
        sites: Name -> rows (n, d), the same rows everywhere.
        y: (n,) binary labels.
        groups: (n,) the document of each row.
        config: Whose split is used: only training rows are looked at.
        shuffles: Draws of the max-statistic; each is one row of a matrix product with every site; 0 leaves it out.
        level: False discovery rate that counts as found.
        most: Best units that are kept.

    Raises:
        InputError: No sites, shapes that do not fit, labels that are not binary.
        DataError: NaN, one class only, or a single group.

    Source:
        Westfall and Young 1993; Benjamini and Hochberg 1995; specs/probing.md 7.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = rng.random(400) < 0.3
        >>> X = rng.normal(size=(400, 20)); X[:, 7] += 2 * y
        >>> found = search({"layer": X}, y, groups=np.arange(400) // 10, shuffles=50)
        >>> found.best[0].unit, round(found.best[0].p_adjusted, 3), found.best[1].p_adjusted > 0.05
        (7, 0.02, True)
    """
    if not sites:
        raise InputError("sites is empty: give at least one matrix of activations by name")
    settings = config or ProbeConfig()
    scans = []
    for name, X in sites.items():
        rows, problem = as_problem(X, y, groups, settings)
        scans.append(scan(name, rows, problem, shuffles=shuffles, seed=settings.seed))
    return collected({"": scans}, level=level, most=most)


def scan(site: str, rows: Tensor, problem: Problem, *, shuffles: int, seed: int) -> SiteScan:
    """All units of one site on the training rows of a problem; the same seed shuffles labels alike at every site."""
    train = ~problem.held_out
    part = restricted(problem, train)
    own = rows[torch.from_numpy(train)]
    found = clustered_test(own, part.labels, grouping(part.groups.codes, len(part.labels)))
    maxima = np.zeros(0)
    if shuffles:
        statistics = pooled_t(own.float(), np.stack(shuffled(part, shuffles, seed))).abs()
        live = torch.from_numpy(~np.isnan(found.p_value))
        maxima = torch.where(live, statistics, 0.0).amax(1).numpy()
    return SiteScan(site=site, difference=found.difference, t=found.pooled, p_value=found.p_value, maxima=maxima)


def collected(
    scans: Mapping[str, Sequence[SiteScan]],
    *,
    level: float,
    most: int,
    also: Mapping[str, tuple[str, int]] = MappingProxyType({}),
) -> Search:
    """The search from the scans of every site of every feature; the false discovery rate is over all of them.

    Args:
        scans: Feature -> its sites.
        level: False discovery rate that counts as found.
        most: Best units that are kept of each feature.
        also: Feature -> (site, unit) that is kept besides.
    """
    p_values = np.concatenate([one.p_value for sites in scans.values() for one in sites])
    q_values = benjamini_hochberg(p_values)
    best: list[UnitScore] = []
    searched, significant, first = {}, {}, 0
    for feature, sites in scans.items():
        width = sum(len(one.p_value) for one in sites)
        own_q, own_p = q_values[first : first + width], p_values[first : first + width]
        first += width
        searched[feature], significant[feature] = int((~np.isnan(own_p)).sum()), int((own_q < level).sum())
        best += _best(feature, sites, own_q, most, also.get(feature))
    return Search(
        best=tuple(best),
        searched=searched,
        significant=significant,
        level=level,
        shuffles=max((len(one.maxima) for sites in scans.values() for one in sites), default=0),
    )


def _best(
    feature: str, sites: Sequence[SiteScan], q_values: np.ndarray, most: int, also: tuple[str, int] | None
) -> list[UnitScore]:
    t, difference, p_values = (
        np.concatenate([getattr(one, name) for one in sites]) for name in ("t", "difference", "p_value")
    )
    ends = np.cumsum([len(one.t) for one in sites])
    maxima = np.max([one.maxima for one in sites], axis=0)
    adjusted = max_statistic_p(np.abs(t), maxima) if len(maxima) else None
    order = np.argsort(-np.nan_to_num(np.abs(t), nan=-1.0), kind="stable")[:most].tolist()
    for number, one in enumerate(sites):
        if also is not None and one.site == also[0]:
            wanted = int(ends[number] - len(one.t)) + also[1]
            order += [wanted] if wanted not in order else []
    found = []
    for place in order:
        if np.isnan(t[place]):
            break
        number = int(np.searchsorted(ends, place, side="right"))
        found.append(
            UnitScore(
                feature=feature,
                site=sites[number].site,
                unit=place - int(ends[number] - len(sites[number].t)),
                difference=float(difference[place]),
                t=float(t[place]),
                p_value=float(p_values[place]),
                q_value=float(q_values[place]),
                p_adjusted=None if adjusted is None else float(adjusted[place]),
            )
        )
    return found
