"""Probes of one feature on one matrix: choose units, refit, score on held-out groups; the true labels and all shuffles
in the same batch.

sparse probe = selector + ridge-logistic refit + held-out scores. The control runs the whole of it on shuffled labels:
screen, search, choice on inner folds and refit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unweave.probing.auto import Chosen
from unweave.probing.choosing import choose
from unweave.probing.config import ProbeConfig
from unweave.probing.problem import Problem
from unweave.probing.ranking import LIVE
from unweave.probing.result import Probe
from unweave.tensors.estimate import Estimate
from unweave.tensors.logistic import LogisticFits, balanced_weights, fit_many
from unweave.tensors.metrics import all_metrics
from unweave.tensors.multiplicity import rank_p
from unweave.tensors.resampling import ratio_intervals
from unweave.tensors.scores import Confusion, confusion, f1, f1_parts
from unweave.tensors.splits import grouping


@dataclass(frozen=True, kw_only=True, eq=False)
class _Found:
    """Of one k: the units of the true labels, and the fits and held-out scores of every labelling."""

    support: Int[Tensor, " k"]
    mean: Float[Tensor, " k"]
    sd: Float[Tensor, " k"]
    selector: str
    fits: LogisticFits
    scores: Float[np.ndarray, "m n"]


def probe_all(
    rows: Float[Tensor, "n d"],
    problem: Problem,
    config: ProbeConfig,
    *,
    place: Int[np.ndarray, " r"] | None = None,
    labellings: Bool[np.ndarray, "m r"] | None = None,
    chosen: Chosen | None = None,
) -> list[Probe]:
    """A probe for every k that the live columns allow.

    Args:
        rows: Activations.
        problem: The labels of the rows that the feature uses.
        config: Settings.
        place: Which rows those are; None = all.
        labellings: `all_labellings(problem, config)`, if it is there already.
        chosen: The units of each labelling, if they are there already: many features rank together.
    """
    labellings = all_labellings(problem, config) if labellings is None else labellings
    training = ~problem.held_out
    train = torch.from_numpy(np.flatnonzero(training))
    test = torch.from_numpy(np.flatnonzero(problem.held_out))
    if chosen is None:
        chosen = choose(
            rows.index_select(0, train if place is None else torch.from_numpy(place)[train]),
            labellings[:, training],
            grouping(problem.groups.codes[training], int(training.sum())),
            config.ks,
            selector=config.selector,
            lam=config.lam,
            seed=config.seed,
        )
    if not chosen.supports:
        return []
    columns = torch.unique(torch.cat([support.flatten() for support in chosen.supports.values()]))
    picked = rows[:, columns] if place is None else rows[torch.from_numpy(place)[:, None], columns]
    picked = picked.double()
    mean = picked[train].mean(0)
    sd = picked[train].std(0, unbiased=False).clamp_min(LIVE)
    standard = (picked - mean) / sd
    probes = []
    for k, support in chosen.supports.items():
        places = torch.searchsorted(columns, support.contiguous())
        fits = _refit(standard[train], labellings[:, training], places, config.lam)
        found = _Found(
            support=support[0],
            mean=mean[places[0]],
            sd=sd[places[0]],
            selector=chosen.by[k][0],
            fits=fits,
            scores=_scores(standard[test], places, fits),
        )
        probes.append(_measured(k, problem, labellings, found, config))
    return probes


def all_labellings(problem: Problem, config: ProbeConfig) -> Bool[np.ndarray, "m n"]:
    """The true labels and their shuffles, one a row."""
    return np.stack([problem.labels, *shuffled(problem, config.shuffles, config.seed)])


def shuffled(problem: Problem, count: int, seed: int) -> list[Bool[np.ndarray, " n"]]:
    """Label shuffles that keep each group's share: within groups, or over groups where labels are constant in every
    group.
    """
    rng = np.random.default_rng([seed, 1])
    constant = _constant_in_groups(problem)
    draws = []
    for _ in range(count):
        if constant is not None:
            draws.append(rng.permutation(constant)[problem.groups.codes])
        else:
            order = np.lexsort((rng.random(len(problem.labels)), problem.groups.codes))
            settled = np.argsort(problem.groups.codes, kind="stable")
            labels = np.empty_like(problem.labels)
            labels[settled] = problem.labels[order]
            draws.append(labels)
    return draws


def _constant_in_groups(problem: Problem) -> Bool[np.ndarray, " g"] | None:
    """The label of each group, or None if a group has both."""
    positives = np.bincount(problem.groups.codes, weights=problem.labels, minlength=problem.groups.count)
    sizes = np.bincount(problem.groups.codes, minlength=problem.groups.count)
    return positives > 0 if bool(((positives == 0) | (positives == sizes)).all()) else None


def _refit(rows: Tensor, labellings: np.ndarray, supports: Tensor, lam: float) -> LogisticFits:
    signs = torch.from_numpy(np.where(labellings, 1.0, -1.0))
    weights = balanced_weights(signs, torch.ones_like(signs, dtype=torch.bool))
    return fit_many(rows, signs, weights, supports, lam=lam)


def _scores(rows: Tensor, supports: Tensor, fits: LogisticFits) -> Float[np.ndarray, "m n"]:
    chosen = rows[:, supports.flatten()].reshape(len(rows), *supports.shape)
    return (torch.einsum("npk,pk->pn", chosen, fits.coef) + fits.bias[:, None]).numpy()


def _measured(k: int, problem: Problem, labellings: np.ndarray, found: _Found, config: ProbeConfig) -> Probe:
    test = problem.held_out
    present, codes = np.unique(problem.groups.codes[test], return_inverse=True)
    codes, counts = codes.reshape(-1), len(present)
    tables = [
        confusion(labels[test], score > 0, codes, counts)
        for labels, score in zip(labellings, found.scores, strict=True)
    ]
    control = [float(f1(table.total())) for table in tables[1:]]
    truth = labellings[0][test]
    metrics = all_metrics(truth, found.scores[0], training_rate=float(labellings[0][~test].mean()))
    return Probe(
        k=k,
        selector=found.selector,
        support=tuple(found.support.tolist()),
        coef=tuple(found.fits.coef[0].tolist()),
        bias=float(found.fits.bias[0]),
        mean=tuple(found.mean.tolist()),
        sd=tuple(found.sd.tolist()),
        f1=f1_estimate(tables[0], control, len(truth), config),
        mcc=metrics["mcc"],
        auc=metrics["auc"],
        precision=metrics["precision"],
        recall=metrics["recall"],
        metrics=metrics,
        positive_rate=float(truth.mean()),
        converged=bool(found.fits.converged.all()),
        separable=bool(found.fits.separable[0]),
        gap=float(found.fits.gap[0]) / len(problem.labels[~test]),
        n_train=int((~test).sum()),
        groups=tuple(problem.names[group] for group in present.tolist()),
        counts=tuple(zip(tables[0].tp.tolist(), tables[0].fp.tolist(), tables[0].fn.tolist(), strict=True)),
    )


def f1_estimate(table: Confusion, control: Sequence[float], rows: int, config: ProbeConfig) -> Estimate:
    """F1 with its interval over groups, beside what stand-ins for the labels reach.

    Args:
        table: Counts of each group.
        control: F1 of every shuffle; none where that was not asked for.
        rows: Number of rows that are counted.
        config: Whose seed and number of draws the interval uses.
    """
    top, bottom = f1_parts(table)
    intervals = ratio_intervals(
        top[:, None].astype(float),
        bottom[:, None].astype(float),
        seed=config.seed,
        draws=config.bootstrap,
        bounds=(0.0, 1.0),
    )
    value = float(np.nan_to_num(intervals.value[0]))
    return Estimate(
        value=value,
        low=float(intervals.low[0]),
        high=float(intervals.high[0]),
        n=rows,
        n_groups=len(top),
        control=float(np.mean(control)) if control else None,
        p_value=rank_p(value, control) if control else None,
        seed=config.seed,
        warnings=intervals.warnings,
    )
