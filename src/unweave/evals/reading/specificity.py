"""Whether the units of a concept can be taken out without touching others: removal of a spurious correlation, and
targeted perturbation (E24).

Units are chosen on training groups, by how much of a probe's score they carry; they are set to their mean there (or to
zero, as published, which also moves the threshold of a probe where zero is no usual value), what the units do not
explain is kept, and probes that are not fitted again are scored on held-out groups. Later work doubts both scores,
so the same number of random units stands beside each.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `_carried` | (mean z_j where 1 - mean z_j where 0) (w_j . p) | (k,) | of the score of probe p | Karvonen et al. 2024 (arXiv 2411.18895), section 4 |
| `spurious_removal` | (a_abl - a_orig) / (a_oracle - a_orig) | scalar | accuracies on balanced cells; not defined if the gap < .001 | specs/evaluation.md, E24 |
| `targeted_perturbation` | drop on target - mean drop on others | scalar | balanced accuracies, mean over targets | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unweave.directions.logistic import logistic
from unweave.errors import DataError, InputError, unknown_name
from unweave.evals.averages import mean_estimate, ratio_estimate
from unweave.features.affine import AffineFeaturizer
from unweave.features.direction import Readout
from unweave.features.featurizer import check_width
from unweave.features.neurons import as_affine
from unweave.tensors.arrays import as_matrix, as_tensor, check_finite
from unweave.tensors.estimate import Estimate
from unweave.tensors.multiplicity import rank_p
from unweave.tensors.splits import grouped_split, grouping

TARGETS = ("mean", "zero")
LEAST_GAP = 0.001
"""A smaller gap between the biased and the unbiased probe leaves nothing to remove."""


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What taking out a concept's units does."""

    test: str
    score: Estimate
    """NaN where it is not defined; the control is the mean over as many random units, the p-value the rank among
    them.
    """
    units: tuple[int, ...]
    """Taken out; for targeted perturbation those of all targets, one after the other."""
    accuracies: dict[str, float]
    """On held-out groups, cells or classes in balance."""
    null: tuple[float, ...]
    """Scores of the random units."""

    def row(self) -> dict[str, Any]:
        """As one row of a table."""
        one = self.score
        return {
            "test": self.test, "score": one.value, "low": one.low, "high": one.high, "control": one.control,
            "p_value": one.p_value, "n": one.n, "n_groups": one.n_groups, "units": list(self.units), **self.accuracies,
        }  # fmt: skip

    def __repr__(self) -> str:
        """Score and control."""
        return f"Removal({self.test} {self.score!r}, {len(self.units)} units)"


def spurious_removal(
    featurizer: Any,
    X: Any,
    y: Any,
    spurious: Any,
    groups: Any = None,
    seed: int = 0,
    *,
    units: int = 5,
    to: str = "mean",
    test: float = 0.3,
    draws: int = 39,
) -> Removal:
    """How far a probe that learnt a spurious cue is repaired by taking out the units that carry the cue.

    A probe is fitted on training rows where label and cue agree. The units that carry most of the cue's own probe are
    taken out; the score says which part of the way to an unbiased probe that goes, on held-out rows where all four
    combinations count alike.

    Args:
        featurizer: Affine up to its nonlinearity.
        X: Rows (n, d) at its site, all four combinations of label and cue among them.
        y: (n,) binary labels.
        spurious: (n,) binary cue.
        groups: (n,) the document of each row.
        seed: Of split, bootstrap and random units.
        units: How many are taken out.
        to: What they are set to: `mean` over the training rows, or `zero`.
        test: Share of the groups held out.
        draws: Random sets of as many units.

    Raises:
        InputError: Shapes that do not fit, labels that are not binary, more units than there are.
        DataError: A combination that does not occur on both sides of the split.

    Source:
        specs/evaluation.md, E24; Karvonen et al. 2024 (arXiv 2411.18895).

    Example:
        >>> from unweave.features.affine import AffineFeaturizer
        >>> rng = np.random.default_rng(0)
        >>> y, cue = rng.random((2, 800)) < 0.5
        >>> X = rng.normal(size=(800, 6)); X[:, 0] += 2 * y; X[:, 1] += 6 * cue
        >>> spurious_removal(AffineFeaturizer(read=np.eye(6)), X, y, cue, units=1).units
        (1,)
    """
    ground = _ground(featurizer, X, groups, units, to)
    label, cue = (_binary(one, len(ground.rows), name) for one, name in ((y, "y"), (spurious, "spurious")))
    cells = 2 * label + cue
    held_out = _split(ground.codes, cells, 4, test, seed, "combination of label and cue")
    training, fair = ~held_out, _balanced(cells, held_out, 4)
    evenly = training & _subsample(cells, training, 4, seed)
    agree = training & (label == cue)
    biased, oracle, of_cue = (
        _probe(ground, rows, wanted, seed) for rows, wanted in ((agree, label), (evenly, label), (evenly, cue))
    )
    chosen = _carried(ground, of_cue, evenly, cue).argsort(descending=True, stable=True)[:units].tolist()
    plain, best = (_right(probe, ground.rows, label) * fair for probe in (biased, oracle))
    gap = float((best - plain)[held_out].sum() / fair.sum())

    def repaired(some: Sequence[int]) -> Float[np.ndarray, " n"]:
        return _right(biased, _without(ground, some, evenly), label) * fair

    value, chance = repaired(chosen), [repaired(one) for one in _random_units(ground, units, draws, seed)]
    accuracies = {
        name: float(one.sum() / fair.sum()) for name, one in (("biased", plain), ("oracle", best), ("removed", value))
    }
    codes = np.unique(ground.codes[held_out], return_inverse=True)[1].reshape(-1)
    if abs(gap) < LEAST_GAP:
        told = f"not defined: the biased probe is {gap:.4f} below the unbiased one, the cue misled nobody"
        nothing = mean_estimate(np.zeros(len(codes)), codes, seed=seed)
        score = replace(nothing, value=np.nan, low=np.nan, high=np.nan, warnings=(told,))
        return Removal(test="spurious removal", score=score, units=tuple(chosen), accuracies=accuracies, null=())
    null = [float((one - plain)[held_out].sum() / (best - plain)[held_out].sum()) for one in chance]
    score = ratio_estimate((value - plain)[held_out], (best - plain)[held_out], codes, seed=seed)
    return Removal(
        test="spurious removal", score=_ranked(score, null), units=tuple(chosen), accuracies=accuracies,
        null=tuple(null),
    )  # fmt: skip


def targeted_perturbation(
    featurizer: Any,
    X: Any,
    y: Any,
    groups: Any = None,
    seed: int = 0,
    *,
    units: int = 5,
    to: str = "mean",
    test: float = 0.3,
    draws: int = 39,
) -> Removal:
    """Whether taking out the units of one class hurts the probe of that class and no other.

    Args:
        featurizer: Affine up to its nonlinearity.
        X: Rows (n, d) at its site.
        y: (n,) labels of three classes or more.
        groups: (n,) the document of each row.
        seed: Of split, bootstrap and random units.
        units: How many are taken out a class, those that carry most of the score of its one-against-rest probe.
        to: What they are set to: `mean` over the training rows, or `zero`.
        test: Share of the groups held out.
        draws: Random sets of as many units.

    Raises:
        InputError: Shapes that do not fit, fewer than three classes, more units than there are.
        DataError: A class that does not occur on both sides of the split.

    Source:
        specs/evaluation.md, E24; Karvonen et al. 2024 (arXiv 2411.18895).

    Example:
        >>> from unweave.features.affine import AffineFeaturizer
        >>> rng = np.random.default_rng(0)
        >>> y = rng.integers(0, 3, 600); X = rng.normal(size=(600, 5)) + 3 * np.eye(3, 5)[y]
        >>> targeted_perturbation(AffineFeaturizer(read=np.eye(5)), X, y, units=1).units
        (0, 1, 2)
    """
    ground = _ground(featurizer, X, groups, units, to)
    names, classes = np.unique(as_tensor(y, name="y").numpy(), return_inverse=True)
    if len(classes) != len(ground.rows) or len(names) < 3:
        raise InputError(
            f"y has {len(classes)} labels of {len(names)} classes for {len(ground.rows)} rows: one a row of 3"
        )
    count = len(names)
    held_out = _split(ground.codes, classes, count, test, seed, "class")
    training = ~held_out
    of_class = [classes == number for number in range(count)]
    probes = [_probe(ground, training, one, seed) for one in of_class]
    weights = [_balanced(one.astype(int), held_out, 2) * held_out.sum() / 2 for one in of_class]
    plain = np.stack([_right(probe, ground.rows, one) for probe, one in zip(probes, of_class, strict=True)])

    def drops(some: Sequence[int]) -> Float[np.ndarray, "classes n"]:
        rows = _without(ground, some, training)
        after = np.stack([_right(probe, rows, one) for probe, one in zip(probes, of_class, strict=True)])
        return (plain - after) * np.stack(weights)

    def scored(sets: Sequence[Sequence[int]]) -> Float[np.ndarray, " n"]:
        parts = []
        for target, some in enumerate(sets):
            lost = drops(some)
            parts.append(lost[target] - np.delete(lost, target, 0).mean(0))
        return np.mean(parts, 0)[held_out]

    chosen = [
        _carried(ground, probe, training, one).argsort(descending=True, stable=True)[:units].tolist()
        for probe, one in zip(probes, of_class, strict=True)
    ]
    random = _random_units(ground, units, draws * count, seed)
    null = [float(scored(random[draw * count : (draw + 1) * count]).mean()) for draw in range(draws)]
    codes = np.unique(ground.codes[held_out], return_inverse=True)[1].reshape(-1)
    before = {
        str(name): float((one * two).sum() / held_out.sum())
        for name, one, two in zip(names, plain, weights, strict=True)
    }
    return Removal(
        test="targeted perturbation",
        score=_ranked(mean_estimate(scored(chosen), codes, seed=seed, null=0.0), null),
        units=tuple(unit for some in chosen for unit in some),
        accuracies=before,
        null=tuple(null),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ground:
    featurizer: AffineFeaturizer
    rows: Float[Tensor, "n d"]
    z: Float[Tensor, "n k"]
    codes: Int[np.ndarray, " n"]
    to: str


def _ground(featurizer: Any, X: Any, groups: Any, units: int, to: str) -> _Ground:
    if to not in TARGETS:
        raise unknown_name("value of the units", to, TARGETS)
    rows, affine = as_matrix(X, name="X"), as_affine(featurizer)
    check_finite(rows, name="X")
    check_width(rows, affine.width, affine.site)
    z = affine.encode(rows.double())[0]
    if not 1 <= units <= z.shape[1]:
        raise InputError(f"units is {units}: 1 to {z.shape[1]} can be taken out")
    return _Ground(featurizer=affine, rows=rows.double(), z=z, codes=grouping(groups, len(rows)).codes, to=to)


def _binary(values: Any, count: int, name: str) -> Int[np.ndarray, " n"]:
    given = as_tensor(values, name=name).numpy()
    if given.shape != (count,) or len(np.unique(given)) != 2:
        raise InputError(
            f"{name} has shape {given.shape} and {len(np.unique(given))} values: two, one a row of {count}"
        )
    return (given == given.max()).astype(int)


def _split(
    codes: Int[np.ndarray, " n"], cells: Int[np.ndarray, " n"], count: int, test: float, seed: int, what: str
) -> Bool[np.ndarray, " n"]:
    members = np.stack([cells == cell for cell in range(count)], 1)
    held_out = grouped_split(grouping(codes, len(codes)), members.astype(float), test=test, seed=seed)
    for side, rows in (("held-out", held_out), ("training", ~held_out)):
        if not members[rows].any(0).all():
            raise DataError(f"a {what} has no row on the {side} side: {members[rows].sum(0).tolist()} rows there")
    return held_out


def _balanced(cells: Int[np.ndarray, " n"], rows: Bool[np.ndarray, " n"], count: int) -> Float[np.ndarray, " n"]:
    """Weights of the rows under which every cell counts 1; 0 elsewhere."""
    sizes = np.bincount(cells[rows], minlength=count)
    return np.where(rows, 1.0 / np.maximum(sizes, 1)[cells], 0.0)


def _subsample(
    cells: Int[np.ndarray, " n"], rows: Bool[np.ndarray, " n"], count: int, seed: int
) -> Bool[np.ndarray, " n"]:
    """As many rows of each cell, at random."""
    order = np.random.default_rng([seed, 37]).permutation(len(cells))
    least, kept = min(int((rows & (cells == cell)).sum()) for cell in range(count)), np.zeros(len(cells), dtype=bool)
    for cell in range(count):
        kept[order[(rows & (cells == cell))[order]][:least]] = True
    return kept


def _probe(ground: _Ground, rows: Bool[np.ndarray, " n"], labels: Any, seed: int) -> Readout:
    return logistic(ground.rows[torch.from_numpy(rows)], np.asarray(labels)[rows], groups=ground.codes[rows], seed=seed)


def _right(probe: Readout, rows: Float[Tensor, "n d"], labels: Any) -> Float[np.ndarray, " n"]:
    return ((probe.score(rows) > 0).numpy() == np.asarray(labels).astype(bool)).astype(float)


def _carried(ground: _Ground, probe: Readout, rows: Bool[np.ndarray, " n"], labels: Any) -> Float[Tensor, " k"]:
    """How much of the probe's difference between the classes each unit writes."""
    inside, positive = torch.from_numpy(rows), torch.from_numpy(np.asarray(labels).astype(bool))
    moved = ground.z[inside & positive].mean(0) - ground.z[inside & ~positive].mean(0)
    return moved * (ground.featurizer.write.double() @ probe.covector.double())


def _without(ground: _Ground, some: Sequence[int], training: Bool[np.ndarray, " n"]) -> Float[Tensor, "n d"]:
    """The rows with some units at their training mean or at zero; everything else stays."""
    z = ground.z[:, list(some)]
    kept = z[torch.from_numpy(training)].mean(0) if ground.to == "mean" else torch.zeros(z.shape[1]).double()
    return ground.rows - (z - kept) @ ground.featurizer.write.double()[list(some)]


def _random_units(ground: _Ground, units: int, draws: int, seed: int) -> list[list[int]]:
    """Among those that are not always zero."""
    live = np.flatnonzero((ground.z != 0).any(0).numpy())
    rng = np.random.default_rng([seed, 41])
    return [rng.choice(live, size=min(units, len(live)), replace=False).tolist() for _ in range(draws)]


def _ranked(score: Estimate, null: Sequence[float]) -> Estimate:
    """With the mean of the random units as control and the rank among them as p-value."""
    if not null:
        return score
    return replace(score, control=float(np.mean(null)), p_value=rank_p(score.value, null))
