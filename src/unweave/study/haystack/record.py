"""What the report says about one collection on one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unweave.activations.haystack import Built
from unweave.errors import DataError
from unweave.probing.best_site import BestSite, best_sites, mean_best, mean_best_difference
from unweave.probing.depth import DepthContrast, depth_contrast, relative_depth
from unweave.probing.result import ProbeTable
from unweave.probing.summary import mean_f1
from unweave.report.record import Figure, Table, Value
from unweave.study.figures import probe_map
from unweave.study.haystack.config import HaystackConfig
from unweave.study.words import number, with_interval
from unweave.study.work import Found
from unweave.tensors.estimate import Estimate

MAP_CAPTION = (
    "F1 on held-out groups of a probe that may use k neurons of one site. Choosing the best cell of a row by eye is a"
    " choice on the test groups: its number is then too high."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Probed:
    """A collection with its probes."""

    built: Built
    table: ProbeTable
    random: ProbeTable | None
    """The same on random weights."""
    strata: Sequence[Mapping[str, Any]]
    layers: int


def collection_found(probed: Probed, config: HaystackConfig) -> Found:
    """Sentences, figures and tables of one collection on one model.

    Raises:
        DataError: No probe of any size.
    """
    table = probed.table
    ks = sorted({probe.k for sweep in table.sweeps.values() for probe in sweep.probes})
    if not ks:
        raise DataError("no site has units that vary")
    best = best_sites(table, ks[0])
    most = best_sites(table, ks[-1])
    random = best_sites(probed.random, ks[0]) if probed.random is not None else {}
    contrast, why_not = _contrast(table, probed.layers)
    return Found(
        summary=_sentences(probed, best, most, random, contrast),
        figures=(
            probe_map(table.table(), MAP_CAPTION, seed=config.seed),
            _forest(best, random, config),
            *_depths(probed, ks, config),
        ),
        tables=_tables(probed, best, most, random, contrast),
        warnings=(f"No depth contrast: {why_not}.",) if why_not else (),
        results=_results(probed, best, random, contrast),
    )


def estimate_values(one: Estimate) -> dict[str, Any]:
    """An estimate as plain values."""
    return {"value": one.value, "low": one.low, "high": one.high, "n_groups": one.n_groups, "control": one.control}


def _contrast(table: ProbeTable, layers: int) -> tuple[DepthContrast | None, str]:
    try:
        return depth_contrast(table, layers), ""
    except DataError as error:
        return None, str(error)


def _sentences(
    probed: Probed,
    best: Mapping[str, BestSite],
    most: Mapping[str, BestSite],
    random: Mapping[str, BestSite],
    contrast: DepthContrast | None,
) -> tuple[str, ...]:
    table = probed.table
    first, last = mean_best(best, table), mean_best(most, table)
    k, k_most = next(iter(best.values())).k, next(iter(most.values())).k
    unit = "One neuron reads" if k == 1 else f"{k} neurons read"
    control = "" if first.control is None else f", shuffled labels {number(first.control)}"
    fresh = ""
    if random:
        fresh = (
            f"; random weights {with_interval(mean_best(random, table))}, difference"
            f" {with_interval(mean_best_difference(best, random, table), signed=True)}"
        )
    told = [
        f"{unit} {len(best)} features with a mean F1 of {with_interval(first)} at each one's"
        f" best site, chosen on other groups{control}{fresh}; {k_most} neurons {with_interval(last)}."
    ]
    if contrast is not None:
        told.append(
            f"What {contrast.most} neurons add to {k}, early minus middle layers:"
            f" {with_interval(contrast.superposition, signed=True)}; F1 of {k}, middle minus early:"
            f" {with_interval(contrast.dedication, signed=True)}."
        )
    return tuple(told)


def _forest(best: Mapping[str, BestSite], random: Mapping[str, BestSite], config: HaystackConfig) -> Figure:
    shown = [
        (one, series) for found, series in ((best, "trained"), (random, "random weights")) for one in found.values()
    ]
    return Figure(
        kind="forest",
        title="The best single site of each feature",
        caption=(
            "F1 of the smallest probe at the feature's best site. The held-out groups are halved, and each half is"
            " scored at the site that is best on the other; random weights are treated alike."
        ),
        data={
            "label": [one.feature for one, _ in shown],
            "value": [one.f1.value for one, _ in shown],
            "low": [one.f1.low for one, _ in shown],
            "high": [one.f1.high for one, _ in shown],
            "series": [series for _, series in shown],
        },
        options={"x": "F1"},
        n=max(one.f1.n for one, _ in shown),
        seed=config.seed,
    )


def _depths(probed: Probed, ks: Sequence[int], config: HaystackConfig) -> tuple[Figure, ...]:
    """Mean F1 by relative depth, for the smallest and the largest probes; none where only one layer was probed."""
    table = probed.table
    depths = {site: relative_depth(site, probed.layers) for site in dict.fromkeys(site for _, site in table.sweeps)}
    sites = [site for site, depth in depths.items() if depth is not None]
    if len(sites) < 2:
        return ()
    shown = [(site, k, mean_f1(table, site, k)) for k in dict.fromkeys((ks[0], ks[-1])) for site in sites]
    figure = Figure(
        kind="curves",
        title="Mean F1 by depth",
        caption="Mean over the features of the collection; band: 95 % interval over held-out groups.",
        data={
            "x": [depths[site] for site, _, _ in shown],
            "y": [one.value for _, _, one in shown],
            "low": [one.low for _, _, one in shown],
            "high": [one.high for _, _, one in shown],
            "series": [f"k = {k}" for _, k, _ in shown],
        },
        options={"x": "relative depth", "y": "mean F1", "y_domain": "0,1"},
        n=max(one.n for _, _, one in shown),
        seed=config.seed,
    )
    return (figure,)


def _tables(
    probed: Probed,
    best: Mapping[str, BestSite],
    most: Mapping[str, BestSite],
    random: Mapping[str, BestSite],
    contrast: DepthContrast | None,
) -> tuple[Table, ...]:
    report = {row["feature"]: row for row in probed.built.report()}
    rows: list[tuple[Value, ...]] = []
    for name, one in best.items():
        told = report[name]
        fresh = random[name].f1.value if name in random else None
        depth = relative_depth(one.site, probed.layers)
        sizes = (told["rows"], told["positives"], told["groups"])
        scores = (one.f1.value, one.f1.low, one.f1.high, one.naive, most[name].f1.value, one.f1.control, fresh)
        rows.append((name, *sizes, one.site, depth, *scores))
    columns = ("feature", "rows", "positives", "groups", "best site", "depth", "f1", "low", "high", "best of test",
               "f1, most units", "shuffled", "random weights")  # fmt: skip
    note = "f1: the site of each half of the held-out groups chosen on the other; best of test: chosen on all of them."
    found = [Table(title=f"{len(rows)} features", columns=columns, rows=rows, note=note)]
    skipped = {**probed.built.skipped, **probed.table.skipped}
    if skipped:
        found.append(Table(title="Features left out", columns=("feature", "why"), rows=list(skipped.items())))
    if probed.built.drops:
        found.append(
            Table(title="Left out of the input", columns=("why", "count"), rows=list(probed.built.drops.items()))
        )
    if probed.strata:
        keys = ("feature", "stratum", "site", "k", "rows", "rate")
        told = [tuple(row[key] for key in keys) for row in probed.strata]
        found.append(Table(title="Share predicted positive by kind of row", columns=keys, rows=told))
    if contrast is not None:
        found.append(_contrast_table(contrast))
    return tuple(found)


def _contrast_table(contrast: DepthContrast) -> Table:
    rows: list[tuple[Value, ...]] = [
        (name, one.value, one.low, one.high)
        for name, one in (
            (f"F1 at k = {contrast.most} minus smallest k, early minus middle", contrast.superposition),
            ("F1 at smallest k, middle minus early", contrast.dedication),
        )
    ]
    note = f"early: {', '.join(contrast.early)}; middle: {', '.join(contrast.middle)}"
    return Table(title="Depth contrast", columns=("what", "value", "low", "high"), rows=rows, note=note)


def _results(
    probed: Probed, best: Mapping[str, BestSite], random: Mapping[str, BestSite], contrast: DepthContrast | None
) -> dict[str, Any]:
    table = probed.table
    found: dict[str, Any] = {
        "features": [
            {
                "feature": name,
                "site": one.site,
                "k": one.k,
                **{f"f1_{key}" if key != "value" else "f1": value for key, value in estimate_values(one.f1).items()},
                "naive_f1": one.naive,
                "support": list(table.sweeps[name, one.site].probe(one.k).support),
                "random_weights_f1": random[name].f1.value if name in random else None,
            }
            for name, one in best.items()
        ],
        "mean_f1": estimate_values(mean_best(best, table)),
        "skipped": {**probed.built.skipped, **table.skipped},
        "drops": dict(probed.built.drops),
        "report": probed.built.report(),
        "strata": [dict(row) for row in probed.strata],
        "probes": table.table(),
    }
    if random:
        found["random_weights_mean_f1"] = estimate_values(mean_best(random, table))
        found["minus_random_weights"] = estimate_values(mean_best_difference(best, random, table))
    if contrast is not None:
        found["depth_contrast"] = {
            "superposition": estimate_values(contrast.superposition),
            "dedication": estimate_values(contrast.dedication),
        }
    return found
