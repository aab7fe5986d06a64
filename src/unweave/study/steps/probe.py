"""Sparse probes of every feature at every site."""

from __future__ import annotations

from typing import Any

from unweave.errors import DataError
from unweave.probing.result import Probe, ProbeTable
from unweave.probing.summary import mean_f1
from unweave.probing.sweep_many import sweep_many
from unweave.report.record import Figure, Table
from unweave.site import Site
from unweave.study.figures import probe_map
from unweave.study.words import number, with_interval
from unweave.study.work import Found, NotPossible, Work
from unweave.tensors.resampling import WARN_BELOW

SHOWN = (
    "feature",
    "site",
    "k",
    "f1",
    "f1_low",
    "f1_high",
    "control_f1",
    "all_positive_f1",
    "mcc",
    "auc",
    "n_test",
    "n_groups",
)


def probe_options(work: Work) -> dict[str, Any]:
    """The settings that all probes of a study share, so that bases compare on the same rows and split."""
    config = work.config
    return {name: getattr(config, name) for name in ("selector", "ks", "rows", "shuffles", "bootstrap", "test", "seed")}


def probe_sites(work: Work) -> Found:
    """k-sparse probes on the neurons of every site."""
    try:
        table = sweep_many(
            work.store,
            work.features,
            sites=[str(site) for site in work.sites],
            progress=work.progress,
            **probe_options(work),
        )
    except DataError as error:
        raise NotPossible(f"No probe: {error}.") from error
    rows = table.table()
    if not rows:
        raise NotPossible(f"No probe: no site has {work.config.ks[0]} units that vary.")
    return Found(
        summary=_summary(work, table),
        figures=(_heatmap(work, rows), _curves(work, rows)),
        tables=(_table(rows, table),),
        warnings=_warnings(table),
        results={"probes": [{key: row[key] for key in (*SHOWN, "support")} for row in rows]},
        artifacts={"probes": table},
    )


def _summary(work: Work, table: ProbeTable) -> tuple[str, ...]:
    middle, ks = str(work.middle), _ks_at(table, work.middle)
    if not ks:
        return ()
    few, many = mean_f1(table, middle, ks[0]), mean_f1(table, middle, ks[-1])
    label = "one neuron" if ks[0] == 1 else f"{ks[0]} neurons"
    control = "" if many.control is None else f"; with shuffled labels {number(many.control)}"
    return (
        f"At {middle}, {label} reaches a mean F1 of {with_interval(few)} over {len(table.features())} features,"
        f" {ks[-1]} neurons {with_interval(many)}{control}.",
    )


def _ks_at(table: ProbeTable, site: Site) -> list[int]:
    """The ks that every feature has at the site."""
    sweeps = [sweep for (_, where), sweep in table.sweeps.items() if where == site]
    return sorted(set.intersection(*({probe.k for probe in sweep.probes} for sweep in sweeps)))


def _heatmap(work: Work, rows: list[dict[str, Any]]) -> Figure:
    caption = (
        "F1 on held-out documents of a probe that may use k neurons of one site, chosen by"
        f" {work.config.selector} and refitted. Choosing the best cell of a row by eye is a choice on the test"
        " documents: its number is then too high. Hover for interval and shuffled-label control."
    )
    return probe_map(rows, caption, seed=work.config.seed, label_of=work.label_of)


def _curves(work: Work, rows: list[dict[str, Any]]) -> Figure:
    return Figure(
        kind="curves",
        title="How F1 grows with the number of neurons",
        caption=(
            "One panel a feature. A curve that starts high is a dedicated neuron, one that rises a feature spread over"
            " several. Band: 95 % interval over held-out documents; dashed: the same pipeline on shuffled labels."
        ),
        data={
            "x": [row["k"] for row in rows],
            "y": [row["f1"] for row in rows],
            "low": [row["f1_low"] for row in rows],
            "high": [row["f1_high"] for row in rows],
            "control": [row["control_f1"] for row in rows],
            "series": ["F1"] * len(rows),
            "facet": [work.label_of(row["feature"]) for row in rows],
            "select": [row["site"] for row in rows],
        },
        options={
            "x": "neurons",
            "y": "F1",
            "x_scale": "log2",
            "y_domain": "0,1",
            "select": "site",
            "selected": str(work.middle),
            "control": "shuffled labels",
        },
        n=max(row["n_test"] for row in rows),
        seed=work.config.seed,
    )


def _table(rows: list[dict[str, Any]], table: ProbeTable) -> Table:
    columns = (*SHOWN[:3], "neurons", *SHOWN[3:])
    shown = [
        (*(row[key] for key in SHOWN[:3]), " ".join(map(str, row["support"])), *(row[key] for key in SHOWN[3:]))
        for row in rows
    ]
    note = (
        f"{len(table.held_out)} documents are held out of every fit and choice; `control_f1` is the mean over"
        f" {table.config.shuffles} label shuffles."
    )
    return Table(title=f"All {len(rows)} probes", columns=columns, rows=shown, note=note)


def _warnings(table: ProbeTable) -> tuple[str, ...]:
    """What weakens the probes, each once for all of them."""
    probes = [probe for sweep in table.sweeps.values() for probe in sweep.probes]
    told = {name: _telling(sweep.probes[-1]) for (name, _), sweep in table.sweeps.items() if sweep.probes}
    rough = {name: count for name, count in told.items() if count < WARN_BELOW}
    found = []
    if rough:
        named = ", ".join(f"{name} ({count})" for name, count in rough.items())
        found.append(f"Rough intervals, because few held-out documents have or are said to have the feature: {named}.")
    failed = sum(not probe.converged for probe in probes)
    if failed:
        found.append(f"{failed} of {len(probes)} probes have a fit that did not converge.")
    return tuple(found)


def _telling(probe: Probe) -> int:
    """Held-out documents that say something about F1: they have the feature, or a row taken for it."""
    return sum(any(counts) for counts in probe.counts)
