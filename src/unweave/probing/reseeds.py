"""What other splits and other documents would have given: F1 over outer splits, and which units come back.

The spread between splits is printed beside the interval, never inside it: an interval holds the split fixed, a reseed
moves it.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `jaccard` | mean of shared units / units in either | scalar a k | over all pairs of draws | specs/probing.md 7 |
| `frequency` | share of draws that chose the unit | by unit | Meinshausen and Buhlmann 2010 | specs/probing.md 7 |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch

from unweave.errors import DataError, InputError
from unweave.probing.config import ProbeConfig
from unweave.probing.controls import probes_of
from unweave.probing.problem import Problem, as_problem
from unweave.probing.ranking import scores
from unweave.tensors.splits import Grouping


@dataclass(frozen=True, kw_only=True)
class Reseed:
    """One k over several outer splits, or over bootstrap draws of documents."""

    k: int
    f1: tuple[float, ...]
    """Of each draw."""
    mean: float
    sd: float
    """Between draws."""
    jaccard: float
    """Mean overlap of the supports of two draws."""
    frequency: Mapping[int, float]
    """Unit -> share of draws that chose it, most frequent first."""

    def row(self) -> dict[str, Any]:
        """The draws as one row of a table."""
        steady = [unit for unit, share in self.frequency.items() if share == 1]
        return {
            "k": self.k,
            "f1_mean": self.mean,
            "f1_sd": self.sd,
            "draws": len(self.f1),
            "jaccard": self.jaccard,
            "always": steady,
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class Stability:
    """How much of a sweep comes back with other splits or documents."""

    ks: tuple[Reseed, ...]
    rank_correlation: float | None
    """Mean Spearman correlation of the ranking scores of two draws; None over outer splits."""

    def table(self) -> list[dict[str, Any]]:
        """One dictionary a k."""
        return [one.row() for one in self.ks]

    def __repr__(self) -> str:
        """Spread and overlap by k."""
        told = ", ".join(f"k={one.k}: {one.mean:.3f} sd {one.sd:.3f} overlap {one.jaccard:.2f}" for one in self.ks)
        return f"Stability({told})"


def reseeds(X: Any, y: Any, *, groups: Any = None, config: ProbeConfig | None = None, repeats: int = 5) -> Stability:
    """The probe on several outer splits.

    Args:
        X: Rows (n, d).
        y: (n,) binary labels.
        groups: (n,) the document of each row.
        config: Of the probe; split number r uses its seed plus r.
        repeats: Splits, at least 2.

    Raises:
        InputError: Fewer than 2 repeats, shapes that do not fit, labels that are not binary.
        DataError: NaN, one class only, or a single group.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = rng.random(400) < 0.3
        >>> X = rng.normal(size=(400, 20)); X[:, 7] += 3 * y
        >>> (one,) = reseeds(X, y, groups=np.arange(400) // 10, config=ProbeConfig(ks=(1,))).ks
        >>> one.jaccard, one.frequency, 0 < one.sd < 0.1
        (1.0, {7: 1.0}, True)
    """
    if repeats < 2:
        raise InputError(f"repeats is {repeats}: at least 2 splits are needed to see a spread")
    settings = config or ProbeConfig()
    found = []
    for repeat in range(repeats):
        own = settings.model_copy(update={"seed": settings.seed + repeat})
        rows, problem = as_problem(X, y, groups, own)
        found.append(probes_of(rows, problem, own))
    return Stability(ks=_by_k(found), rank_correlation=None)


def stability(X: Any, y: Any, *, groups: Any = None, config: ProbeConfig | None = None, draws: int = 20) -> Stability:
    """The probe fitted on bootstrap draws of the training documents, scored on one held-out set.

    Args:
        X: Rows (n, d).
        y: (n,) binary labels.
        groups: (n,) the document of each row.
        config: Of the probe.
        draws: Draws of documents, at least 2.

    Raises:
        InputError: Fewer than 2 draws, shapes that do not fit, labels that are not binary.
        DataError: NaN, one class only, a single group, or a class in so few documents that draws miss it.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = rng.random(400) < 0.3
        >>> X = rng.normal(size=(400, 20)); X[:, 7] += 3 * y
        >>> found = stability(X, y, groups=np.arange(400) // 10, config=ProbeConfig(ks=(1,)), draws=5)
        >>> found.ks[0].frequency, 0 < found.rank_correlation < 1
        ({7: 1.0}, True)
    """
    from scipy.stats import rankdata

    if draws < 2:
        raise InputError(f"draws is {draws}: at least 2 are needed to compare supports")
    settings = config or ProbeConfig()
    rows, problem = as_problem(X, y, groups, settings)
    rng = np.random.default_rng([settings.seed, 9])
    found, ranked = [], []
    for _ in range(draws):
        chosen, part = _redrawn(problem, rng)
        own = rows[torch.from_numpy(chosen)]
        found.append(probes_of(own, part, settings))
        masks = torch.from_numpy(part.labels[~part.held_out].astype(np.float64)).unsqueeze(1)
        ranked.append(
            scores(own[torch.from_numpy(~part.held_out)], masks, torch.ones_like(masks), "std_mean_diff")[0].numpy()
        )
    between = np.corrcoef([rankdata(one) for one in ranked])
    return Stability(ks=_by_k(found), rank_correlation=float(between[np.triu_indices(draws, 1)].mean()))


def _by_k(found: list[dict[int, Any]]) -> tuple[Reseed, ...]:
    shared = [k for k in found[0] if all(k in one for one in found)]
    parts = []
    for k in shared:
        f1 = tuple(one[k].f1.value for one in found)
        supports = [set(one[k].support) for one in found]
        overlaps = [len(one & two) / len(one | two) for one, two in combinations(supports, 2)]
        counted = Counter(unit for support in supports for unit in support)
        order = sorted(counted, key=lambda unit: (-counted[unit], unit))
        parts.append(
            Reseed(
                k=k,
                f1=f1,
                mean=float(np.mean(f1)),
                sd=float(np.std(f1, ddof=1)),
                jaccard=float(np.mean(overlaps)),
                frequency={unit: counted[unit] / len(found) for unit in order},
            )
        )
    return tuple(parts)


def _redrawn(problem: Problem, rng: np.random.Generator) -> tuple[np.ndarray, Problem]:
    """Rows of a draw of the training groups, each with its repetitions, and all held-out rows; the problem of them."""
    codes = problem.groups.codes
    training = np.unique(codes[~problem.held_out])
    members = {int(group): np.flatnonzero((codes == group) & ~problem.held_out) for group in training}
    for _ in range(100):
        drawn = rng.choice(training, size=len(training))
        rows = np.concatenate([members[int(group)] for group in drawn])
        if 0 < problem.labels[rows].sum() < len(rows):
            chosen = np.concatenate([rows, np.flatnonzero(problem.held_out)])
            return chosen, Problem(
                labels=problem.labels[chosen],
                groups=Grouping(codes=codes[chosen], count=problem.groups.count),
                names=problem.names,
                held_out=problem.held_out[chosen],
            )
    raise DataError("draws of the training documents have one class only: more documents with each class are needed")
