"""`sweep_classes`: sparse probes of a label with several values: one against the rest for each, and a shared support.

The joint probe ranks columns by the ANOVA F over all classes, fits every class against the rest on the shared support, and
calls the class with the largest score.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `anova` | F_j | (m, d) | between-class over within-class variance of column j, for each labelling | specs/probing.md 4.6 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from unweave.errors import DataError
from unweave.probing.config import ProbeConfig
from unweave.probing.kernel import probe_all
from unweave.probing.linear import standardised, with_units
from unweave.probing.problem import Problem
from unweave.probing.ranking import LIVE, best_columns
from unweave.probing.result import ProbeSweep
from unweave.tensors.estimate import Estimate
from unweave.tensors.logistic import LogisticFits, balanced_weights, fit_many
from unweave.tensors.moments import class_moments
from unweave.tensors.multiplicity import rank_p
from unweave.tensors.resampling import combination_interval
from unweave.tensors.scores import auc, confusion, f1, f1_parts
from unweave.tensors.splits import Grouping, grouped_split


@dataclass(frozen=True, kw_only=True)
class ClassProbe:
    """One joint probe: k units for all classes."""

    k: int
    support: tuple[int, ...]
    """Best first."""
    coef: tuple[tuple[float, ...], ...]
    """Of each class against the rest, per standard deviation of the unit over the training rows."""
    bias: tuple[float, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    f1: Estimate
    """Mean over classes of F1 on held-out groups; its control is the mean over label shuffles."""
    f1_by_class: tuple[float, ...]
    accuracy: float
    mcc: float
    auc: float
    """Mean over classes of the AUC of one against the rest."""
    converged: bool
    n_train: int

    def row(self) -> dict[str, Any]:
        """The probe as one row of a table."""
        return {
            "k": self.k,
            "support": list(self.support),
            "f1": self.f1.value,
            "f1_low": self.f1.low,
            "f1_high": self.f1.high,
            "control_f1": self.f1.control,
            "p_value": self.f1.p_value,
            "f1_by_class": list(self.f1_by_class),
            "accuracy": self.accuracy,
            "mcc": self.mcc,
            "auc": self.auc,
            "converged": self.converged,
            "n_train": self.n_train,
            "n_test": self.f1.n,
            "n_groups": self.f1.n_groups,
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassSweep:
    """The probes of a label with several values."""

    classes: tuple[int, ...]
    """The values, ascending."""
    probes: tuple[ClassProbe, ...]
    """One for each k."""
    one_vs_rest: Mapping[int, ProbeSweep]
    """Class -> its own sparse probes, on the same rows and split."""
    width: int
    config: ProbeConfig
    seconds: float | None = None
    warnings: tuple[str, ...] = ()

    def table(self) -> list[dict[str, Any]]:
        """One dictionary a k, of the joint probe: F1 is the mean over classes."""
        return [probe.row() for probe in self.probes]

    def probe(self, k: int) -> ClassProbe:
        """The joint probe with k units.

        Raises:
            InputError: No such k in the sweep.
        """
        return with_units(self.probes, k)

    def scores(self, X: Any, k: int) -> np.ndarray:
        """(n, classes): the score of each class against the rest."""
        probe = self.probe(k)
        coef, bias = (torch.tensor(one, dtype=torch.float64) for one in (probe.coef, probe.bias))
        return (standardised(X, self.width, probe) @ coef.T + bias).numpy()

    def predict(self, X: Any, k: int) -> np.ndarray:
        """The class of every row, as in `y`."""
        return np.array(self.classes)[self.scores(X, k).argmax(1)]

    def __repr__(self) -> str:
        """Mean F1 by k."""
        shown = ", ".join(f"k={one.k}: {one.f1.value:.3f} [{one.f1.low:.3f}, {one.f1.high:.3f}]" for one in self.probes)
        return f"ClassSweep({len(self.classes)} classes, mean F1 {shown})"


def sweep_classes(
    rows: Float[Tensor, "n d"], labels: Int[np.ndarray, " n"], groups: Grouping, config: ProbeConfig
) -> ClassSweep:
    """The joint probes and the probes of each class against the rest, all on one split; `sweep` calls it where labels
    are integers with more than two values.

    Args:
        rows: Activations.
        labels: Integers.
        groups: Of the rows.
        config: Settings; the selector is that of the probes of one class against the rest.

    Raises:
        DataError: A class that only one side of the split has.

    Example:
        >>> from unweave.probing import sweep
        >>> rng = np.random.default_rng(0)
        >>> y = rng.integers(0, 3, 600)
        >>> X = rng.normal(size=(600, 9)); X[np.arange(600), y] += 4
        >>> found = sweep(X, y, ks=(3,), selector="std_mean_diff", shuffles=2)
        >>> sorted(found.probe(3).support), found.probe(3).accuracy > 0.9
        ([0, 1, 2], True)
    """
    start = time.perf_counter()
    classes, codes = np.unique(labels, return_inverse=True)
    one_hot = codes[:, None] == np.arange(len(classes))
    held_out = grouped_split(groups, one_hot.astype(float), test=config.test, seed=config.seed)
    lacking = [
        int(name)
        for name, own in zip(classes, one_hot.T, strict=True)
        if not own[held_out].any() or not own[~held_out].any()
    ]
    if lacking:
        raise DataError(
            f"classes {lacking[:6]} are on one side of the split only: each class needs rows in at least 2 groups"
        )
    names = tuple(range(groups.count))
    problems = [Problem(labels=own, groups=groups, names=names, held_out=held_out) for own in one_hot.T]
    alone = {
        int(name): ProbeSweep(
            probes=tuple(probe_all(rows, problem, config)), labels=(False, True), width=rows.shape[1], config=config
        )
        for name, problem in zip(classes, problems, strict=True)
    }
    return ClassSweep(
        classes=tuple(classes.tolist()),
        probes=tuple(_joint(rows, codes, groups, held_out, config)),
        one_vs_rest=alone,
        width=rows.shape[1],
        config=config,
        seconds=time.perf_counter() - start,
    )


def anova(rows: Float[Tensor, "n d"], codes: Int[np.ndarray, "m n"], count: int) -> tuple[Tensor, Tensor]:
    """F of every column over the classes for each labelling, and which columns vary."""
    masks = torch.from_numpy((codes[:, None] == np.arange(count)[None, :, None]).reshape(-1, codes.shape[1]).T.copy())
    parts = class_moments(rows, torch.cat([torch.ones(len(rows), 1), masks.double()], 1))
    mean = parts.mean[0]
    size, means, squares = (one[1:].reshape(len(codes), count, -1) for one in (parts.count, parts.mean, parts.squares))
    between = (size * (means - mean).square()).sum(1) / (count - 1)
    within = squares.sum(1) / max(1, len(rows) - count)
    live = (parts.variance()[0].sqrt() >= LIVE).expand(len(codes), -1)
    found = between / within.clamp_min(torch.finfo(torch.float64).tiny)
    return torch.where(live & torch.isfinite(found), found, 0.0), live


def _joint(
    rows: Tensor, codes: np.ndarray, groups: Grouping, held_out: np.ndarray, config: ProbeConfig
) -> list[ClassProbe]:
    """The shared supports and their probes, for the true labels and for every shuffle."""
    count = int(codes.max()) + 1
    rng = np.random.default_rng([config.seed, 1])
    drawn = [_shuffled(codes, groups, rng) for _ in range(config.shuffles)]
    labellings = np.stack([codes, *drawn])
    train = torch.from_numpy(np.flatnonzero(~held_out))
    test = torch.from_numpy(np.flatnonzero(held_out))
    order = best_columns(*anova(rows[train], labellings[:, ~held_out], count), max(config.ks))
    found = []
    for k in (k for k in config.ks if k <= order.shape[1]):
        measured = []
        for labels, support in zip(labellings, order[:, :k], strict=True):
            picked = rows[:, support].double()
            mean, sd = picked[train].mean(0), picked[train].std(0, unbiased=False).clamp_min(LIVE)
            standard = (picked - mean) / sd
            signs = torch.from_numpy(np.where(labels[~held_out] == np.arange(count)[:, None], 1.0, -1.0))
            weights = balanced_weights(signs, torch.ones_like(signs, dtype=torch.bool))
            fits = fit_many(standard[train], signs, weights, torch.arange(k).expand(count, -1), lam=config.lam)
            scores = (standard[test] @ fits.coef.T + fits.bias).numpy()
            measured.append((support, mean, sd, fits, scores, labels[held_out]))
        found.append(_measured(k, measured, groups.codes[held_out], len(train), config))
    return found


def _shuffled(codes: np.ndarray, groups: Grouping, rng: np.random.Generator) -> np.ndarray:
    """Labels permuted within groups, or over groups where each group has one label."""
    first = np.zeros(groups.count, dtype=codes.dtype)
    first[groups.codes] = codes
    if np.array_equal(first[groups.codes], codes):
        return rng.permutation(first)[groups.codes]
    order = np.lexsort((rng.random(len(codes)), groups.codes))
    drawn = np.empty_like(codes)
    drawn[np.argsort(groups.codes, kind="stable")] = codes[order]
    return drawn


Measured = tuple[Tensor, Tensor, Tensor, LogisticFits, np.ndarray, np.ndarray]


def _measured(k: int, found: list[Measured], groups: np.ndarray, n_train: int, config: ProbeConfig) -> ClassProbe:
    from sklearn.metrics import matthews_corrcoef

    count = len(found[0][3].bias)
    present, places = np.unique(groups, return_inverse=True)
    tables = [
        [confusion(truth == one, scores.argmax(1) == one, places.reshape(-1), len(present)) for one in range(count)]
        for *_, scores, truth in found
    ]
    own = tables[0]
    macro = [float(np.mean([f1(table.total()) for table in each])) for each in tables]
    support, mean, sd, fits, scores, truth = found[0]
    top, bottom = (np.stack(parts, 1).astype(float) for parts in zip(*map(f1_parts, own), strict=True))
    weights = np.full(count, 1 / count)
    interval = combination_interval(top, bottom, weights, seed=config.seed, draws=config.bootstrap)
    control = macro[1:]
    return ClassProbe(
        k=k,
        support=tuple(support.tolist()),
        coef=tuple(map(tuple, fits.coef.tolist())),
        bias=tuple(fits.bias.tolist()),
        mean=tuple(mean.tolist()),
        sd=tuple(sd.tolist()),
        f1=Estimate(
            value=macro[0],
            low=float(interval.low[0]),
            high=float(interval.high[0]),
            n=len(truth),
            n_groups=len(present),
            control=float(np.mean(control)) if control else None,
            p_value=rank_p(macro[0], control) if control else None,
            seed=config.seed,
            warnings=interval.warnings,
        ),
        f1_by_class=tuple(float(f1(table.total())) for table in own),
        accuracy=float((scores.argmax(1) == truth).mean()),
        mcc=float(matthews_corrcoef(truth, scores.argmax(1))),
        auc=float(np.mean([auc(truth == one, scores[:, one]) for one in range(count)])),
        converged=bool(all(one[3].converged.all() for one in found)),
        n_train=n_train,
    )
