"""Is the neuron basis special? The same probes on neurons, principal components and a random rotation of one
site.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unweave.features.bases import neurons, pca, random_rotation
from unweave.features.compare import compare
from unweave.features.featurizer import Featurizer
from unweave.probing.result import ProbeTable
from unweave.probing.summary import mean_f1, mean_f1_difference
from unweave.probing.sweep_many import sweep_many
from unweave.report.record import Figure, Table
from unweave.study.steps.probe import probe_options
from unweave.study.words import with_interval
from unweave.study.work import Found, NotPossible, Work
from unweave.tensors.estimate import Estimate
from unweave.tensors.moments import Moments, moments


def _neurons(work: Work, sums: Moments) -> Featurizer:
    return neurons(len(sums.mean), site=work.middle, model=work.store.collection.model)


def _pca(work: Work, sums: Moments) -> Featurizer:
    return pca(sums, site=work.middle, model=work.store.collection.model, fitted_on=work.store.fingerprint)


def _random(work: Work, sums: Moments) -> Featurizer:
    return random_rotation(
        len(sums.mean), seed=work.config.seed, origin=sums.mean, site=work.middle, model=work.store.collection.model
    )


BASES: Mapping[str, Callable[[Work, Moments], Featurizer]] = MappingProxyType(
    {"neurons": _neurons, "pca": _pca, "random": _random}
)
"""Decompositions of one site that are compared; a later one joins by an entry."""


def compare_bases(work: Work) -> Found:
    """Probes with k units of each basis, at the middle site, on one split."""
    site = str(work.middle)
    neuron_table: ProbeTable = work.artifact("probe", "probes")
    sums = moments(rows for rows in training_rows(work, neuron_table) if len(rows))
    bases = {name: build(work, sums) for name, build in BASES.items()}
    tables = {"neurons": neuron_table}
    for name, featurizer in bases.items():
        if name not in tables:
            tables[name] = sweep_many(
                work.store,
                work.features,
                sites=[site],
                featurizer=featurizer,
                progress=work.progress,
                **probe_options(work),
            )
    ks = sorted(
        set.intersection(
            *(
                {probe.k for (_, where), sweep in table.sweeps.items() if where == site for probe in sweep.probes}
                for table in tables.values()
            )
        )
    )
    if not ks:
        raise NotPossible(f"Not done: {site} has fewer than {work.config.ks[0]} units that vary.")
    curves = {(name, k): mean_f1(table, site, k) for name, table in tables.items() for k in ks}
    gap = mean_f1_difference(neuron_table, tables["random"], site, ks[0])
    artifacts: dict[str, Any] = {f"featurizer-{name}": featurizer for name, featurizer in bases.items()}
    return Found(
        summary=(_sentence(site, ks[0], gap),),
        figures=(_figure(work, curves, ks),),
        tables=(_geometry(bases),),
        results={
            "site": site,
            "mean_f1": [
                {"basis": name, "k": k, "f1": one.value, "low": one.low, "high": one.high}
                for (name, k), one in curves.items()
            ],
        },
        artifacts=artifacts | {f"probes-{name}": table for name, table in tables.items() if name != "neurons"},
    )


def training_rows(work: Work, table: ProbeTable) -> Iterator[Tensor]:
    """The activations at the middle site in documents that are not held out, in chunks."""
    training = torch.from_numpy(~np.isin(work.store.rows["document"], table.held_out))
    first = 0
    for chunk in work.store[str(work.middle)].chunks():
        yield chunk[training[first : first + len(chunk)]]
        first += len(chunk)


def _sentence(site: str, k: int, gap: Estimate) -> str:
    units = "one unit" if k == 1 else f"{k} units"
    if gap.low > 0:
        verdict = "the neuron basis is special there"
    else:
        verdict = "a random rotation does better" if gap.high < 0 else "that does not tell the two apart"
    return (
        f"With {units} at {site}, neurons minus a random rotation is {with_interval(gap, signed=True)} in mean F1:"
        f" {verdict}."
    )


def _figure(work: Work, curves: dict[tuple[str, int], Any], ks: list[int]) -> Figure:
    names = list(dict.fromkeys(name for name, _ in curves))
    points = [(name, k, curves[name, k]) for name in names for k in ks]
    return Figure(
        kind="curves",
        title=f"Mean F1 over features with k units of each basis, {work.middle}",
        caption=(
            "The same rows, split and search in three bases of the same width. Bands: 95 % intervals over held-out"
            " documents, features kept fixed; dashed: shuffled labels."
        ),
        data={
            "x": [k for _, k, _ in points],
            "y": [one.value for _, _, one in points],
            "low": [one.low for _, _, one in points],
            "high": [one.high for _, _, one in points],
            "control": [one.control for _, _, one in points],
            "series": [name for name, _, _ in points],
        },
        options={"x": "units", "y": "mean F1", "x_scale": "log2", "y_domain": "0,1", "control": "shuffled labels"},
        n=max(one.n for one in curves.values()),
        seed=work.config.seed,
    )


def _geometry(bases: Mapping[str, Featurizer]) -> Table:
    rows = []
    names = list(bases)
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            found = compare(bases[first], bases[second])
            null = float(np.mean([match.null for match in found.matches]))
            rows.append((f"{first} – {second}", found.mean_similarity, null, found.identical_blocks))
    return Table(
        title="How alike the bases are",
        columns=(
            "bases",
            "mean squared cosine of matched directions",
            "of random pairs",
            "share of identical directions",
        ),
        rows=rows,
        note=(
            "Directions are matched one to one so that the sum is largest, blind to sign and order; matching alone"
            " lifts it above random pairs."
        ),
    )
