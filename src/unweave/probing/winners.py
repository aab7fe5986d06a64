"""The best single unit of all sites, and what its score is worth.

Published tables often name the unit with the best score on the test rows; the best of thousands is flattered by the
choice. Three numbers stand side by side here. Honest: the unit is chosen by the mean score on inner folds of the
training documents and scored once on the held-out ones. Naive: the best of all candidates on the held-out documents.
Corrected (BBC): draws of held-out documents choose, the documents left out score.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `inner` | mean F1 over inner folds | (m,) | of each candidate refitted on the other folds | specs/probing.md 7 |
| `corrected` | BBC | scalar | see `tensors.multiplicity` | same |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweave.errors import DataError, InputError
from unweave.probing.config import ProbeConfig
from unweave.probing.problem import Problem, as_problem
from unweave.probing.ranking import LIVE
from unweave.tensors.clustered import pooled_t
from unweave.tensors.estimate import Estimate
from unweave.tensors.logistic import balanced_weights, fit_many
from unweave.tensors.multiplicity import BestOf, best_of_ratios
from unweave.tensors.resampling import ratio_intervals
from unweave.tensors.scores import confusion, f1, f1_parts
from unweave.tensors.splits import Grouping, grouped_folds

FOLDS = 3


@dataclass(frozen=True, kw_only=True)
class Winner:
    """The best unit for a feature, honestly and naively."""

    feature: str
    site: str
    unit: int
    """Chosen on inner folds of the training documents."""
    honest: Estimate
    """Its F1 on held-out documents, which it was not chosen on."""
    naive_site: str
    naive_unit: int
    """The best on the held-out documents."""
    naive: BestOf
    """Its F1 there, and the same corrected for the choice."""

    def row(self) -> dict[str, Any]:
        """The winner as one row of a table."""
        return {
            "feature": self.feature,
            "site": self.site,
            "unit": self.unit,
            "honest_f1": self.honest.value,
            "honest_low": self.honest.low,
            "honest_high": self.honest.high,
            "naive_site": self.naive_site,
            "naive_unit": self.naive_unit,
            "naive_f1": self.naive.naive,
            "corrected_f1": self.naive.corrected,
            "corrected_low": self.naive.low,
            "corrected_high": self.naive.high,
            "optimism": self.naive.optimism,
            "candidates": self.naive.candidates,
            "n_groups": self.honest.n_groups,
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class Candidates:
    """The best units of one site by the ranking on training rows, each as a probe of its own."""

    site: str
    units: tuple[int, ...]
    inner: Float[np.ndarray, " m"]
    numerator: Float[np.ndarray, "g m"]
    """2 TP of every held-out group."""
    denominator: Float[np.ndarray, "g m"]
    """2 TP + FP + FN of every held-out group."""
    rows: int


def best_unit(
    sites: Mapping[str, Any],
    y: Any,
    *,
    groups: Any = None,
    config: ProbeConfig | None = None,
    candidates: int = 30,
) -> Winner:
    """The best single unit of all sites: its honest score, the naive one, and the naive one corrected.

    Args:
        sites: Name -> rows (n, d), the same rows everywhere.
        y: (n,) binary labels.
        groups: (n,) the document of each row.
        config: Of the probe: its split, penalty and ranking.
        candidates: Units of each site that compete, the best by the ranking on training rows.

    Raises:
        InputError: No sites, shapes that do not fit, labels that are not binary.
        DataError: NaN, one class only, too few groups for folds, or no unit that varies.

    Source:
        Tsamardinos, Greasidou and Borboudakis 2018; specs/probing.md 7.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = rng.random(600) < 0.3
        >>> X = rng.normal(size=(600, 40)); X[:, 7] += 3 * y
        >>> found = best_unit({"noise": X[:, 8:], "layer": X}, y, groups=np.arange(600) // 10)
        >>> found.site, found.unit, abs(found.naive.optimism) < 0.05
        ('layer', 7, True)
    """
    if not sites:
        raise InputError("sites is empty: give at least one matrix of activations by name")
    settings = config or ProbeConfig()
    parts = []
    for name, X in sites.items():
        rows, problem = as_problem(X, y, groups, settings)
        parts.append(site_candidates(name, rows, problem, settings, most=candidates))
    return winner("", parts, settings)


def site_candidates(
    site: str, rows: Tensor, problem: Problem, config: ProbeConfig, *, most: int, strength: np.ndarray | None = None
) -> Candidates:
    """The candidates of one site.

    Args:
        site: Its name.
        rows: Its activations.
        problem: Labels and split.
        config: Of the probe.
        most: Units that compete.
        strength: What they are chosen by, NaN where a unit does not vary; the standardised mean difference if None.

    Raises:
        InputError: No candidates asked for.
        DataError: Too few groups for folds.
    """
    if most < 1:
        raise InputError(f"candidates is {most}: at least one unit a site is needed")
    train = ~problem.held_out
    if strength is None:
        strength = pooled_t(rows[torch.from_numpy(train)], problem.labels[None, train])[0].abs().numpy()
        strength = np.where(strength > 0, strength, np.nan)
    units = torch.from_numpy(np.argsort(-np.nan_to_num(strength, nan=-1.0), kind="stable")[:most].copy())
    units = units[torch.from_numpy(~np.isnan(strength))[units]]
    columns = rows[:, units].double()
    outer = _unit_scores(columns, problem.labels, train, config.lam)
    present, codes = np.unique(problem.groups.codes[problem.held_out], return_inverse=True)
    tops, bottoms = _parts(problem.labels[problem.held_out], outer[problem.held_out], codes.reshape(-1), len(present))
    return Candidates(
        site=site,
        units=tuple(units.tolist()),
        inner=_inner_scores(columns, problem, config),
        numerator=tops,
        denominator=bottoms,
        rows=int(problem.held_out.sum()),
    )


def winner(feature: str, parts: Sequence[Candidates], config: ProbeConfig) -> Winner:
    """The winner over the candidates of all sites of a feature.

    Raises:
        DataError: No unit varies at any site.
    """
    places = [(part.site, unit) for part in parts for unit in part.units]
    if not places:
        raise DataError("no unit of any site varies over the training rows: there is nothing to choose from")
    inner = np.concatenate([part.inner for part in parts])
    top, bottom = (np.concatenate([getattr(part, name) for part in parts], 1) for name in ("numerator", "denominator"))
    chosen = int(np.argmax(inner))
    intervals = ratio_intervals(
        top[:, [chosen]], bottom[:, [chosen]], seed=config.seed, draws=config.bootstrap, bounds=(0.0, 1.0)
    )
    naive = best_of_ratios(top, bottom, seed=config.seed, draws=config.bootstrap)
    return Winner(
        feature=feature,
        site=places[chosen][0],
        unit=places[chosen][1],
        honest=Estimate(
            value=float(np.nan_to_num(intervals.value[0])),
            low=float(intervals.low[0]),
            high=float(intervals.high[0]),
            n=parts[0].rows,
            n_groups=len(top),
            seed=config.seed,
            warnings=intervals.warnings,
        ),
        naive_site=places[naive.winner][0],
        naive_unit=places[naive.winner][1],
        naive=naive,
    )


def _unit_scores(
    columns: Float[Tensor, "n m"], labels: Bool[np.ndarray, " n"], train: Bool[np.ndarray, " n"], lam: float
) -> Float[np.ndarray, "n m"]:
    """The scores of every row by a probe of each column alone, fitted on the training rows."""
    count = columns.shape[1]
    if not count:
        return np.zeros((len(columns), 0))
    own = columns[torch.from_numpy(train)]
    mean, sd = own.mean(0), own.std(0, unbiased=False).clamp_min(LIVE)
    standard = (columns - mean) / sd
    signs = torch.from_numpy(np.where(labels[train], 1.0, -1.0)).expand(count, -1)
    weights = balanced_weights(signs, torch.ones_like(signs, dtype=torch.bool))
    fits = fit_many(standard[torch.from_numpy(train)], signs, weights, torch.arange(count).unsqueeze(1), lam=lam)
    return (standard * fits.coef[:, 0] + fits.bias).numpy()


def _inner_scores(columns: Tensor, problem: Problem, config: ProbeConfig) -> Float[np.ndarray, " m"]:
    train = np.flatnonzero(~problem.held_out)
    labels, codes = problem.labels[train], problem.groups.codes[train]
    present, codes = np.unique(codes, return_inverse=True)
    groups = Grouping(codes=codes.reshape(-1), count=len(present))
    strata = np.stack([labels, ~labels], 1).astype(np.float64)
    folds = grouped_folds(groups, strata, count=FOLDS, seed=config.seed)
    found = []
    for fold in np.unique(folds):
        inside = folds != fold
        if any(len(np.unique(labels[side])) < 2 for side in (inside, ~inside)):
            continue  # a class that is in one group cannot be both fitted and scored
        scores = _unit_scores(columns[torch.from_numpy(train)], labels, inside, config.lam)[~inside]
        rows = np.zeros(len(scores), dtype=np.int64)
        found.append([f1(confusion(labels[~inside], one > 0, rows, 1).total()) for one in scores.T])
    if not found:
        raise DataError(
            f"a class is in one of the {groups.count} training groups: nothing can be chosen on inner folds"
        )
    return np.mean(np.array(found, dtype=np.float64).reshape(len(found), -1), axis=0)


def _parts(labels: np.ndarray, scores: np.ndarray, codes: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    pairs = [f1_parts(confusion(labels, one > 0, codes, groups)) for one in scores.T]
    tops, bottoms = (
        np.array([pair[side] for pair in pairs], dtype=np.float64).reshape(-1, groups).T for side in (0, 1)
    )
    return tops, bottoms
