"""The best site of each feature, chosen on other documents than those it is scored on.

Taking the best of many sites by their held-out scores and quoting that score is too good: the choice is fitted to the
held-out documents. Here the held-out groups are dealt into two halves; each half is scored at the site that is best on
the other, and the counts of both are added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from unweave.errors import InputError
from unweave.probing.result import Probe, ProbeTable
from unweave.probing.summary import combined_f1
from unweave.tensors.estimate import Estimate

Kind = Literal["emerges", "splits", "stays", "unclear"]


@dataclass(frozen=True, kw_only=True)
class BestSite:
    """How well one feature is read at its best site."""

    feature: str
    k: int
    site: str
    """Best over all held-out groups; what a reader may look at."""
    naive: float
    """F1 there: too high, because the site was chosen by it."""
    f1: Estimate
    """F1 with the site of each half of the groups chosen on the other half; control: shuffled labels at `site`."""
    groups: tuple[int, ...]
    counts: tuple[tuple[int, int, int], ...]
    """True positives, false positives and false negatives of each group."""

    @property
    def optimism(self) -> float:
        """What choosing by the test score adds."""
        return self.naive - self.f1.value


def best_sites(table: ProbeTable, k: int, *, seed: int | None = None) -> dict[str, BestSite]:
    """Feature -> its best site at this k; features without a probe of that size are left out.

    Args:
        table: From `sweep_many`.
        k: Number of units.
        seed: Of the halves; None takes that of the sweep.

    Example:
        >>> import unweave as uw, tempfile
        >>> from unweave.activations.token_strings import token_string_features
        >>> model = uw.load_model("zoo:docs")
        >>> texts = [f"{n} and {n + 1} make {2 * n + 1}, and that is all. " * 4 for n in range(12)]
        >>> store = uw.collect(model, texts, "blocks.{1..2}.mlp_act", tempfile.mkdtemp() + "/store")
        >>> digits = token_string_features(store, model.tokenizer)[0]
        >>> table = uw.probing.sweep_many(store, [digits], ks=(1, 2), shuffles=1)
        >>> best_sites(table, 1)["contains_digit"].f1.value > 0.7
        True
    """
    rng = np.random.default_rng([table.config.seed if seed is None else seed, 7])
    half = dict(zip(table.held_out, (rng.permutation(len(table.held_out)) % 2).tolist(), strict=True))
    found = {}
    for feature in table.features():
        probes = {
            site: probe
            for (name, site), sweep in table.sweeps.items()
            if name == feature
            for probe in sweep.probes
            if probe.k == k
        }
        if probes:
            found[feature] = _best(feature, probes, half, table)
    return found


def mean_best(found: Mapping[str, BestSite], table: ProbeTable) -> Estimate:
    """Mean F1 over features, each at its best site.

    Raises:
        InputError: No feature.
    """
    if not found:
        raise InputError("no feature has a probe of that size: there is no mean")
    return _weighted(list(found.values()), np.full(len(found), 1 / len(found)), table)


def mean_best_difference(one: Mapping[str, BestSite], other: Mapping[str, BestSite], table: ProbeTable) -> Estimate:
    """Mean F1 of the first minus that of the second over the features both have, paired by group.

    Raises:
        InputError: They have no feature in common.
    """
    shared = [name for name in one if name in other]
    if not shared:
        raise InputError("the two have no feature in common: there is no difference")
    weights = np.concatenate([np.full(len(shared), 1 / len(shared)), np.full(len(shared), -1 / len(shared))])
    return _weighted([*(one[name] for name in shared), *(other[name] for name in shared)], weights, table)


def change(first: Estimate, last: Estimate) -> Estimate:
    """Last minus first of two independent estimates, with the interval that their two intervals give.

    The distance to each end is the root of the sum of the squared distances of the two (Zou and Donner 2008); tests on
    the same documents are positively dependent, for which the interval is too wide rather than too narrow.

    Example:
        >>> one = Estimate(value=0.5, low=0.46, high=0.54, n=9, n_groups=9)
        >>> change(one, Estimate(value=0.7, low=0.67, high=0.73, n=9, n_groups=9))
        Estimate(0.200 [0.150, 0.250], n=18, groups=9)
    """
    value = last.value - first.value
    return Estimate(
        value=value,
        low=value - float(np.hypot(last.value - last.low, first.high - first.value)),
        high=value + float(np.hypot(last.high - last.value, first.value - first.low)),
        n=first.n + last.n,
        n_groups=min(first.n_groups, last.n_groups),
    )


def kind_of(difference: Estimate, *, margin: float = 0.1) -> Kind:
    """What becomes of a feature's single neuron as the model grows.

    Args:
        difference: F1 of one neuron in the larger model minus that in the smaller.
        margin: Change that counts as one.

    Returns:
        `emerges` if F1 rises and the interval is above 0; `splits` if it falls and the interval is below 0: the neuron
        gives way to several; `stays` if the whole interval is within the margin of 0; else `unclear`.

    Example:
        >>> kind_of(Estimate(value=0.2, low=0.15, high=0.25, n=9, n_groups=9))
        'emerges'
    """
    if -margin <= difference.low and difference.high <= margin:
        return "stays"
    if difference.low > 0:
        return "emerges"
    return "splits" if difference.high < 0 else "unclear"


def _best(feature: str, probes: Mapping[str, Probe], half: Mapping[int, int], table: ProbeTable) -> BestSite:
    sites = list(probes)
    groups = tuple(sorted({group for probe in probes.values() for group in probe.groups}))
    place = {group: number for number, group in enumerate(groups)}
    counts = np.zeros((len(sites), len(groups), 3), dtype=np.int64)
    for row, site in enumerate(sites):
        counts[row, [place[group] for group in probes[site].groups]] = probes[site].counts
    side = np.array([half[group] for group in groups])
    chosen = np.zeros((len(groups), 3), dtype=np.int64)
    for which in (0, 1):
        best = int(np.argmax(_f1(counts[:, side != which].sum(1))))
        chosen[side == which] = counts[best, side == which]
    overall = sites[int(np.argmax(_f1(counts.sum(1))))]
    picked = tuple((int(tp), int(fp), int(fn)) for tp, fp, fn in chosen.tolist())
    probe = probes[overall]
    estimate = combined_f1([(groups, picked)], np.ones(1), table.config, rows=probe.f1.n, control=probe.f1.control)
    return BestSite(
        feature=feature, k=probe.k, site=overall, naive=probe.f1.value, f1=estimate, groups=groups, counts=picked
    )


def _f1(counts: np.ndarray) -> np.ndarray:
    tp, fp, fn = counts.T.astype(np.float64)
    return 2 * tp / np.maximum(2 * tp + fp + fn, 1)


def _weighted(found: Sequence[BestSite], weights: np.ndarray, table: ProbeTable) -> Estimate:
    controls = [one.f1.control for one, weight in zip(found, weights, strict=True) if weight > 0]
    known = [control for control in controls if control is not None]
    return combined_f1(
        [(one.groups, one.counts) for one in found],
        weights,
        table.config,
        rows=sum(one.f1.n for one in found),
        control=float(np.mean(known)) if known else None,
    )
