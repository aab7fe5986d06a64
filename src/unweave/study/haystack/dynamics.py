"""The same collections over models of several sizes: what becomes of each feature's neuron."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unweave.probing.best_site import BestSite, Kind, best_sites, change, kind_of, mean_best
from unweave.probing.depth import relative_depth
from unweave.probing.result import ProbeTable
from unweave.report.record import Figure, Table, Value
from unweave.study.haystack.config import HaystackConfig
from unweave.study.words import with_interval
from unweave.study.work import Found
from unweave.tensors.estimate import Estimate

HIGH = 0.9
"""F1 from which a single neuron counts as reading a feature well."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sized:
    """One model with its probes by collection."""

    name: str
    parameters: int
    layers: int
    tables: Mapping[str, ProbeTable]


@dataclass(frozen=True, kw_only=True)
class Dynamics:
    """One feature in the smallest and the largest model."""

    collection: str
    feature: str
    kind: Kind
    difference: Estimate
    by_model: tuple[tuple[str, BestSite], ...]


def compared(models: Sequence[Sized], config: HaystackConfig) -> Found:
    """What the report says over all models; features count where every model has them."""
    ordered = sorted(models, key=lambda one: one.parameters)
    best = {
        (one.name, name): best_sites(table, min(config.ks)) for one in ordered for name, table in one.tables.items()
    }
    shared = [name for name in ordered[0].tables if all(name in one.tables for one in ordered)]
    found = [one for name in shared for one in dynamics(name, ordered, best, config.margin)]
    if not found:
        return Found(warnings=("No feature was probed in every model: nothing can be compared.",))
    means = {(one.name, name): mean_best(best[one.name, name], one.tables[name]) for one in ordered for name in shared}
    return Found(
        summary=_sentences(found, ordered, shared, means),
        figures=(_figure(ordered, shared, means, config),),
        tables=(_table(found, ordered), _collections(ordered, shared, means, best)),
        results=_results(found, ordered, means),
    )


def dynamics(
    collection: str,
    ordered: Sequence[Sized],
    best: Mapping[tuple[str, str], Mapping[str, BestSite]],
    margin: float,
) -> list[Dynamics]:
    """The features that every model has, each with the change from the smallest to the largest model."""
    features = [
        name for name in best[ordered[0].name, collection] if all(name in best[o.name, collection] for o in ordered)
    ]
    found = []
    for feature in features:
        by_model = tuple((one.name, best[one.name, collection][feature]) for one in ordered)
        difference = change(by_model[0][1].f1, by_model[-1][1].f1)
        kind = kind_of(difference, margin=margin)
        found.append(
            Dynamics(collection=collection, feature=feature, kind=kind, difference=difference, by_model=by_model)
        )
    return found


def _sentences(
    found: Sequence[Dynamics],
    ordered: Sequence[Sized],
    shared: Sequence[str],
    means: Mapping[tuple[str, str], Estimate],
) -> tuple[str, ...]:
    kinds = Counter(one.kind for one in found)
    small, large = ordered[0].name, ordered[-1].name
    told = (
        f"F1 of the best neuron rises for {kinds['emerges']} (they emerge), falls for {kinds['splits']} (they split),"
        f" stays within the margin for {kinds['stays']}, and is unclear for {kinds['unclear']}"
    )
    sentences = [
        f"From {small} to {large}, of {len(found)} features: {told}. Each by its own 95 % interval, so about"
        f" {0.05 * len(found):.0f} would leave 0 if nothing changed."
    ]
    for name in shared:
        own = sorted((one for one in found if one.collection == name), key=lambda one: one.difference.value)
        ends = ", ".join(f"{one.feature} {with_interval(one.difference, signed=True)}" for one in (own[-1], own[0]))
        sentences.append(
            f"{name}: mean F1 of the best neuron {with_interval(means[small, name])} in {small},"
            f" {with_interval(means[large, name])} in {large}; largest and smallest change: {ends}."
        )
    return tuple(sentences)


def _figure(
    ordered: Sequence[Sized], shared: Sequence[str], means: Mapping[tuple[str, str], Estimate], config: HaystackConfig
) -> Figure:
    shown = [(one, name, means[one.name, name]) for name in shared for one in ordered]
    return Figure(
        kind="curves",
        title="Mean F1 of the best single neuron by model size",
        caption="Mean over the features of a collection, the site chosen on other groups; band: 95 % interval.",
        data={
            "x": [one.parameters / 1e6 for one, _, _ in shown],
            "y": [mean.value for _, _, mean in shown],
            "low": [mean.low for _, _, mean in shown],
            "high": [mean.high for _, _, mean in shown],
            "series": [name for _, name, _ in shown],
        },
        options={"x": "million parameters", "y": "mean F1", "x_scale": "log2", "y_domain": "0,1"},
        n=max(mean.n for _, _, mean in shown),
        seed=config.seed,
    )


def _table(found: Sequence[Dynamics], ordered: Sequence[Sized]) -> Table:
    layers = {one.name: one.layers for one in ordered}
    columns = ("collection", "feature", "kind", "change", "low", "high", *(f"f1 {one.name}" for one in ordered),
               *(f"depth {one.name}" for one in ordered))  # fmt: skip
    rows: list[tuple[Value, ...]] = []
    for one in found:
        scores = [best.f1.value for _, best in one.by_model]
        depths = [relative_depth(best.site, layers[name]) for name, best in one.by_model]
        edges = (one.difference.value, one.difference.low, one.difference.high)
        rows.append((one.collection, one.feature, one.kind, *edges, *scores, *depths))
    note = "change: largest model minus smallest; depth: relative depth of the best site."
    return Table(title=f"Dynamics of {len(found)} features", columns=columns, rows=rows, note=note)


def _collections(
    ordered: Sequence[Sized],
    shared: Sequence[str],
    means: Mapping[tuple[str, str], Estimate],
    best: Mapping[tuple[str, str], Mapping[str, BestSite]],
) -> Table:
    rows: list[tuple[Value, ...]] = []
    for name in shared:
        for one in ordered:
            own, mean = best[one.name, name], means[one.name, name]
            naive = sum(feature.naive for feature in own.values()) / len(own)
            high = sum(feature.f1.value >= HIGH for feature in own.values())
            rows.append((name, one.name, one.parameters, len(own), mean.value, mean.low, mean.high, naive, high))
    columns = (
        "collection",
        "model",
        "parameters",
        "features",
        "mean f1",
        "low",
        "high",
        "best of test",
        f"f1 >= {HIGH}",
    )
    return Table(title="Collections by model", columns=columns, rows=rows)


def _results(
    found: Sequence[Dynamics], ordered: Sequence[Sized], means: Mapping[tuple[str, str], Estimate]
) -> dict[str, Any]:
    return {
        "models": [{"name": one.name, "parameters": one.parameters} for one in ordered],
        "features": [
            {
                "collection": one.collection,
                "feature": one.feature,
                "kind": one.kind,
                "change": one.difference.value,
                "low": one.difference.low,
                "high": one.difference.high,
                "f1": {name: best.f1.value for name, best in one.by_model},
            }
            for one in found
        ],
        "mean_f1": [
            {"model": model, "collection": name, "value": one.value, "low": one.low, "high": one.high}
            for (model, name), one in means.items()
        ],
    }
