"""What a sweep gives: probes with held-out estimates, as records that save, print and predict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from unweave.features.direction import Readout
from unweave.features.featurizer import Provenance
from unweave.features.neurons import NeuronFeaturizer
from unweave.probing.config import ProbeConfig
from unweave.probing.linear import standardised, with_units
from unweave.tensors.estimate import Estimate
from unweave.tensors.scores import all_positive_f1

RANDOM_UNITS = "random coordinates"
"""The control that every sweep on a matrix has."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One sparse probe and how it does on held-out groups."""

    k: int
    """Units it uses."""
    support: tuple[int, ...]
    """Which, best first."""
    coef: tuple[float, ...]
    """Per standard deviation of the unit over the training rows."""
    bias: float
    mean: tuple[float, ...]
    """Of the units over the training rows."""
    sd: tuple[float, ...]
    """Of the units over the training rows."""
    f1: Estimate
    """F1 at the threshold of balanced classes; its control is the mean over label shuffles."""
    mcc: float
    auc: float
    """NaN if the held-out rows have one class."""
    precision: float
    recall: float
    positive_rate: float
    """Share of positives among the held-out rows."""
    converged: bool
    """Whether every fit, shuffles included, has a duality gap below 1e-6 a row."""
    separable: bool
    """Whether the training rows are all on their side."""
    gap: float
    """Duality gap of the fit, a row."""
    n_train: int
    groups: tuple[int, ...] = ()
    """The held-out groups."""
    counts: tuple[tuple[int, int, int], ...] = ()
    """True positives, false positives and false negatives in each of them."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Every metric of `tensors.metrics` on the held-out rows, by name."""
    selector: str = ""
    """How the units were chosen; with `auto`, what won at this k."""

    def row(self) -> dict[str, Any]:
        """The probe as one row of a table."""
        return {
            "k": self.k,
            "support": list(self.support),
            "selector": self.selector,
            "coef": list(self.coef),
            "bias": self.bias,
            "f1": self.f1.value,
            "f1_low": self.f1.low,
            "f1_high": self.f1.high,
            "control_f1": self.f1.control,
            "p_value": self.f1.p_value,
            "all_positive_f1": all_positive_f1(self.positive_rate),
            "mcc": self.mcc,
            "auc": self.auc,
            "ap": self.metrics.get("average_precision"),
            "log_loss": self.metrics.get("log_loss"),
            "precision": self.precision,
            "recall": self.recall,
            "positive_rate": self.positive_rate,
            "converged": self.converged,
            "gap": self.gap,
            "n_train": self.n_train,
            "n_test": self.f1.n,
            "n_groups": self.f1.n_groups,
        }


@dataclass(frozen=True, kw_only=True)
class Control:
    """A probe against its stand-ins, at one k."""

    name: str
    """`selectivity`, `rotation`, `random coordinates`, `coordinates matched in spread`."""
    k: int
    f1: float
    """Of the probe, on the rows that the stand-ins are scored on too."""
    difference: Estimate
    """F1 of the probe minus the mean F1 of the stand-ins; its control is that mean."""
    spread: float
    """Standard deviation of F1 between draws of the stand-in, NaN for one draw."""
    draws: int

    def row(self) -> dict[str, Any]:
        """The control as one row of a table."""
        return {
            "control": self.name,
            "k": self.k,
            "f1": self.f1,
            "control_f1": self.difference.control,
            "difference": self.difference.value,
            "low": self.difference.low,
            "high": self.difference.high,
            "spread": None if math.isnan(self.spread) else self.spread,
            "draws": self.draws,
            "n_test": self.difference.n,
            "n_groups": self.difference.n_groups,
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class ProbeSweep:
    """The probes of one feature on one matrix, one for each k."""

    probes: tuple[Probe, ...]
    labels: tuple[Any, Any]
    """How `y` spells negative and positive."""
    width: int
    config: ProbeConfig
    controls: tuple[Control, ...] = ()
    """What other units of the same number do, where that was asked for."""
    seconds: float | None = None
    warnings: tuple[str, ...] = ()

    def table(self) -> list[dict[str, Any]]:
        """One dictionary a k: support, scores with interval, controls, certificates; `random_f1` is what k random units
        reach, None where that was not asked for.
        """
        random = {one.k: one.difference.control for one in self.controls if one.name == RANDOM_UNITS}
        return [{**probe.row(), "random_f1": random.get(probe.k)} for probe in self.probes]

    def probe(self, k: int) -> Probe:
        """The probe with k units.

        Raises:
            InputError: No such k in the sweep.
        """
        return with_units(self.probes, k)

    def scores(self, X: Any, k: int) -> np.ndarray:
        """The score of every row, positive for the positive class."""
        probe = self.probe(k)
        coef = torch.tensor(probe.coef, dtype=torch.float64)
        return (standardised(X, self.width, probe) @ coef + probe.bias).numpy()

    def predict(self, X: Any, k: int) -> np.ndarray:
        """The label of every row, spelt as in `y`."""
        negative, positive = self.labels
        return np.where(self.scores(X, k) > 0, positive, negative)

    def featurizer(self, k: int, site: Any = None) -> NeuronFeaturizer:
        """The units of the probe with k of them, as a block that edits and tests take; only where the columns of X were
        the site's own coordinates.

        Args:
            k: Which probe.
            site: Where X comes from.
        """
        found = self.probe(k)
        of = Provenance(method="sparse probe", rows=found.n_train, seed=self.config.seed)
        return NeuronFeaturizer(width=self.width, index=list(found.support), blocks=(k,), site=site, provenance=of)

    def readout(self, k: int, site: Any = None) -> Readout:
        """What the probe with k units reads, in units of X: its score is that of `.scores(X, k)`.

        Args:
            k: Which probe.
            site: Where X comes from.
        """
        found = self.probe(k)
        covector = torch.zeros(self.width, dtype=torch.float64)
        slopes = torch.tensor(found.coef, dtype=torch.float64) / torch.tensor(found.sd, dtype=torch.float64)
        covector[list(found.support)] = slopes
        bias = found.bias - float(slopes @ torch.tensor(found.mean, dtype=torch.float64))
        of = Provenance(method="sparse probe", rows=found.n_train, seed=self.config.seed)
        return Readout(covector=covector, bias=bias, site=site, provenance=of)

    def __repr__(self) -> str:
        """F1 by k."""
        shown = ", ".join(
            f"k={probe.k}: {probe.f1.value:.3f} [{probe.f1.low:.3f}, {probe.f1.high:.3f}]" for probe in self.probes
        )
        return f"ProbeSweep(F1 {shown})"


@dataclass(frozen=True, eq=False, kw_only=True)
class ProbeTable:
    """The probes of many features at many sites, all on one split of the documents."""

    sweeps: Mapping[tuple[str, str], ProbeSweep]
    """(feature, site) -> sweep."""
    skipped: Mapping[str, str]
    """Feature -> why it was not probed."""
    notes: Mapping[str, str]
    """Feature -> what a reader must know."""
    held_out: tuple[int, ...]
    """Documents that no probe was fitted on."""
    config: ProbeConfig
    basis: str = "neurons"
    """The units that were probed."""
    seconds: float | None = None

    def table(self) -> list[dict[str, Any]]:
        """One dictionary for each feature, site and k."""
        return [
            {"feature": feature, "site": site, "basis": self.basis, **row}
            for (feature, site), found in self.sweeps.items()
            for row in found.table()
        ]

    def features(self) -> list[str]:
        """The features that were probed."""
        return list(dict.fromkeys(feature for feature, _ in self.sweeps))

    def __repr__(self) -> str:
        """Features, sites and skipped ones."""
        sites = len({site for _, site in self.sweeps})
        return (
            f"ProbeTable({len(self.features())} features x {sites} sites, {len(self.skipped)} skipped, basis"
            f" {self.basis})"
        )
