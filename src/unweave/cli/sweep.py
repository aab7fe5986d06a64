"""`unweave probe sweep`: sparse probes of labelled features over a store, with their controls."""

from __future__ import annotations

import json as jsonlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unweave.cli.options import Debug, DryRun, Json, Out, Quiet, Sites

if TYPE_CHECKING:
    from unweave.activations.labels import LabelledFeature
    from unweave.activations.store import ActivationStore
    from unweave.probing.evidence import Evidence, EvidenceConfig
    from unweave.probing.result import ProbeTable

HELP = """Probe which few units of a store carry which labelled features.

\b
    unweave probe sweep store --labels labels.jsonl --k 1,2,4,8,16 --out probes

Labels are .jsonl or .csv (feature, label, document, and start and end, position, or neither) or .npy with one
label a row; without them, what the tokens look like is probed. Every number is from documents that nothing was
fitted on. The controls say how much of a score random units, rotated bases, tokens learnt by heart and the search
itself explain. In Python: uw.load("probes/probes"), uw.load("probes/evidence").
"""


def sweep(
    store: Annotated[str, typer.Argument(help="Directory or URL that `unweave collect` wrote.")],
    labels: Annotated[
        str | None, typer.Option("--labels", help="Labels: .jsonl, .csv or .npy; token strings if not given.")
    ] = None,
    feature: Annotated[
        list[str] | None, typer.Option("--feature", "-f", help="Feature to probe; all if not given. Repeatable.")
    ] = None,
    k: Annotated[str | None, typer.Option("--k", help="Numbers of units a probe may use, such as 1,2,4,8,16.")] = None,
    site: Sites = None,
    selector: Annotated[
        str | None, typer.Option("--selector", help="How units are chosen: auto, std_mean_diff, forward, ...")
    ] = None,
    rows: Annotated[int | None, typer.Option("--rows", help="Most labelled rows a feature uses.")] = None,
    shuffles: Annotated[int | None, typer.Option("--shuffles", help="Draws of the label-shuffle control.")] = None,
    controls: Annotated[str, typer.Option("--controls", help="all, few (a tenth of the draws) or none.")] = "all",
    out: Out = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of every random choice.")] = None,
    json: Json = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
    debug: Debug = False,
) -> None:
    """Placeholder, replaced by HELP."""
    from unweave.activations.store import open_store
    from unweave.artifact import save
    from unweave.cli.numbers import numbers, without_nan
    from unweave.cli.plans import sweep_cost, tell
    from unweave.cli.progress import listener
    from unweave.config import config_from
    from unweave.probing.config import ProbeConfig
    from unweave.probing.evidence import evidence
    from unweave.probing.sweep_many import sweep_many

    start = time.perf_counter()
    options = _controls(controls)
    opened = open_store(store)
    given = {"ks": numbers(k), "selector": selector, "rows": rows, "shuffles": shuffles, "seed": seed}
    asked = {key: value for key, value in given.items() if value is not None}
    config = config_from(ProbeConfig, asked, source="options")
    features = _features(opened, labels, feature)
    sites = [str(one) for one in opened.expand(site or "*")]
    progress = listener(quiet=quiet)
    plan = _plan(opened, features, sites, config.rows)
    if dry_run:
        tell(plan, _plan_line(plan), sweep_cost(opened, features, sites, asked, options), as_json=json)
        return
    progress.note(_plan_line(plan))
    table = sweep_many(opened, features, sites=sites, progress=progress, **asked)
    found = None if options is None else evidence(opened, features, table=table, options=options, progress=progress)
    if out is not None:
        save(table, out / "probes")
        if found is not None:
            save(found, out / "evidence")
    if json:
        facts = _facts(opened, table, found, out, seconds=time.perf_counter() - start)
        typer.echo(jsonlib.dumps(without_nan(facts)))
        return
    _show(table, found)
    if out is not None:
        typer.echo(f"probes: {out / 'probes'}" + ("" if found is None else f", evidence: {out / 'evidence'}"))


sweep.__doc__ = HELP


def _controls(name: str) -> EvidenceConfig | None:
    from unweave.errors import unknown_name
    from unweave.probing.evidence import EvidenceConfig

    known = {
        "all": EvidenceConfig(),
        "few": EvidenceConfig(shuffles=20, candidates=10, rotations=1, tasks=1, coordinates=2, matched=2),
        "none": None,
    }
    if name not in known:
        raise unknown_name("set of controls", name, known)
    return known[name]


def _features(store: ActivationStore, labels: str | None, wanted: list[str] | None) -> list[LabelledFeature]:
    from unweave.activations.label_files import read_label_file
    from unweave.activations.token_strings import token_string_features
    from unweave.errors import unknown_name

    features = token_string_features(store, None) if labels is None else read_label_file(labels, store)
    if not wanted:
        return features
    by_name = {one.name: one for one in features}
    for name in wanted:
        if name not in by_name:
            raise unknown_name("feature", name, by_name)
    return [by_name[name] for name in dict.fromkeys(wanted)]


def _plan(store: ActivationStore, features: list[LabelledFeature], sites: list[str], most: int) -> dict[str, Any]:
    """What will be read and held: one site at a time, the rows that any feature uses."""
    used = sum(min(most, len(one.index)) for one in features)
    widest = max(store[site].shape[1] for site in sites)
    rows = min(len(store), used)
    return {
        "features": [one.name for one in features],
        "sites": sites,
        "rows": rows,
        "bytes": rows * widest * 12,  # float32 as read, float64 while moments are taken
    }


def _plan_line(plan: dict[str, Any]) -> str:
    return (
        f"{len(plan['features'])} features x {len(plan['sites'])} sites, at most {plan['rows']:,} rows of one at once"
        f" ({plan['bytes'] / 1e6:,.0f} MB)"
    )


def _facts(
    store: ActivationStore, table: ProbeTable, found: Evidence | None, out: Path | None, *, seconds: float
) -> dict[str, Any]:
    """Everything as plain values."""
    return {
        "store": str(store.path),
        "out": None if out is None else str(out),
        "features": table.features(),
        "skipped": dict(table.skipped),
        "notes": dict(table.notes),
        "held_out_documents": len(table.held_out),
        "probes": table.table(),
        "winners": [] if found is None else found.winners(),
        "controls": [] if found is None else found.table(),
        "token_baseline": {}
        if found is None
        else {one.feature: one.token_baseline.value for one in found.features if one.token_baseline is not None},
        "units": [] if found is None else found.search.table(),
        "seconds": round(seconds, 3),
    }


def _show(table: ProbeTable, found: Evidence | None) -> None:
    from unweave.cli.tables import show

    ks = sorted({probe.k for one in table.sweeps.values() for probe in one.probes})
    probes = []
    order = {name: place for place, name in enumerate(table.features())}
    for (name, where), one in sorted(table.sweeps.items(), key=lambda item: order[item[0][0]]):
        by_k = {probe.k: probe for probe in one.probes}
        last = by_k.get(ks[-1])
        probes.append(
            [
                name,
                where,
                *(f"{by_k[k].f1.value:.2f}" if k in by_k else "" for k in ks),
                "" if last is None else f"{last.f1.low:.2f}..{last.f1.high:.2f}",
                "" if last is None or last.f1.control is None else f"{last.f1.control:.2f}",
                "" if last is None else f"{last.auc:.2f}",
            ]
        )
    columns = ["feature", "site", *(f"k={k}" for k in ks), f"95 % at k={ks[-1]}", "shuffled", "AUC"]
    show("F1 on held-out documents by number of units", columns, probes)
    for name, reason in table.skipped.items():
        typer.echo(f"not probed: {name}: {reason}")
    if found is not None:
        show(f"The best unit, and the F1 at k={ks[-1]} minus what explains it", *_evidence_rows(found, ks[-1]))


def _evidence_rows(found: Evidence, k: int) -> tuple[list[str], list[list[str]]]:
    columns = ["feature", "best unit", "F1", "95 %", "naive", "corrected", "tokens alone", "q"]
    names = list(dict.fromkeys(control.name for one in found.features for control in one.controls))
    rows = []
    for one in found.features:
        best = one.winner
        unit = next(
            (score for score in found.search.best if (score.feature, score.site, score.unit) == (
                one.feature, best.site, best.unit)),
            None,
        )  # fmt: skip
        told = {control.name: control.difference for control in one.controls if control.k == k}
        rows.append(
            [
                one.feature,
                f"{best.site} {best.unit}",
                f"{best.honest.value:.2f}",
                f"{best.honest.low:.2f}..{best.honest.high:.2f}",
                f"{best.naive.naive:.2f}",
                f"{best.naive.corrected:.2f}",
                "" if one.token_baseline is None else f"{one.token_baseline.value:.2f}",
                "" if unit is None else f"{unit.q_value:.0e}",
                *(f"{told[name].value:+.2f}" if name in told else "" for name in names),
            ]
        )
    return [*columns, *(f"minus {name}" for name in names)], rows
