"""What happens to the output when the units that carry a feature are set to their mean, against as many random
units.
"""

from __future__ import annotations

import numpy as np
import torch

from unweave.activations.replay import Replay, replay
from unweave.evals.causing.ablation import Ablation, ablate, unit_means
from unweave.evals.causing.effects import LOSS, Effects, PlainRun, effects_of, plain_run
from unweave.probing.result import ProbeTable
from unweave.report.record import Figure, Table, Value
from unweave.study.steps.bases import BASES, training_rows
from unweave.study.words import with_interval
from unweave.study.work import Found, NotPossible, Work

MOST_FEATURES = 4


def ablate_units(work: Work) -> Found:
    """Mean-ablation of the units of each basis that carry a feature, on held-out documents."""
    tables = {
        name: work.artifact("probe", "probes") if name == "neurons" else work.artifact("bases", f"probes-{name}")
        for name in BASES
    }
    site, k = str(work.middle), _units_removed(work, tables["neurons"])
    features = _most_decodable(work, tables["neurons"], site, k)
    windows = replay(work.model, work.store, tables["neurons"].held_out, most=work.config.ablation.windows)
    plain = plain_run(work.model, windows.batches, edited_at=site)
    places = _places(work, windows, plain, features)
    found: list[Ablation] = []
    with work.progress.task("ablate", len(BASES), "decomposition") as advance:
        for name, table in tables.items():
            featurizer = work.artifact("bases", f"featurizer-{name}")
            means = unit_means(featurizer, training_rows(work, tables["neurons"]))
            chosen = {feature: table.sweeps[feature, site].probe(k).support for feature in features}
            found += ablate(
                work.model, featurizer, chosen, plain, windows.documents, means=means, places=places,
                draws=work.config.ablation.draws, seed=work.config.seed,
            )  # fmt: skip
            advance(1)
    return Found(
        summary=_summary(found, site, k),
        figures=(_figure(work, found, k),),
        tables=(_table(found),),
        warnings=_warnings(found),
        results={"site": site, "k": k, "ablations": [one.row() for one in found]},
    )


def _units_removed(work: Work, table: ProbeTable) -> int:
    """The configured number of units, or the nearest probed one: the largest below it, else the smallest."""
    return max((k for k in table.config.ks if k <= work.config.ablation.units), default=table.config.ks[0])


def _most_decodable(work: Work, table: ProbeTable, site: str, k: int) -> list[str]:
    """The features whose neurons tell most, judged on training documents only: by how far apart the class means of the
    best unit are.
    """
    column = work.store[site]
    document = work.store.rows["document"]
    strength = {}
    for feature in work.features:
        sweep = table.sweeps.get((feature.name, site))
        if sweep is None or feature.level != "token" or not any(probe.k == k for probe in sweep.probes):
            continue
        probe = sweep.probe(k)
        training = ~np.isin(document[feature.index], table.held_out)
        rows = column[feature.index[training]][:, [probe.support[0]]].double().squeeze(1) / probe.sd[0]
        values = torch.from_numpy(feature.values[training])
        strength[feature.name] = float((rows[values].mean() - rows[~values].mean()).abs())
    if not strength:
        raise NotPossible(
            f"Not done: no feature of tokens has a probe with k = {k} at {site}, so there are no units to remove."
        )
    return sorted(strength, key=lambda name: -strength[name])[:MOST_FEATURES]


def _places(work: Work, windows: Replay, plain: PlainRun, features: list[str]) -> dict[str, np.ndarray] | None:
    """For each feature, which predicting positions hold a token that has it; None if effects are of whole windows."""
    shape: Effects = effects_of(work.model, plain, None)
    if shape.unit != LOSS:
        return None
    rows = windows.row_at(shape.window, shape.position)
    found = {}
    for name in features:
        feature = next(feature for feature in work.features if feature.name == name)
        found[name] = np.isin(rows, feature.index[feature.values])
    return found


def _warnings(found: list[Ablation]) -> tuple[str, ...]:
    rough = {one.name: one.effect.n_groups for one in found if one.effect.warnings}
    named = ", ".join(f"{name} ({count})" for name, count in rough.items())
    where = "; in the table only" if len(_drawn(found)) < len(found) else ""
    return (f"Rough intervals, because few held-out documents have the feature: {named}{where}.",) if rough else ()


def _drawn(found: list[Ablation]) -> list[Ablation]:
    """Those of features with enough documents for an interval that means something; all of them if none has."""
    rough = {one.name for one in found if one.effect.warnings}
    return [one for one in found if one.name not in rough] or found


def _summary(found: list[Ablation], site: str, k: int) -> tuple[str, ...]:
    neurons = [one for one in _drawn(found) if one.basis == "neurons"]
    clear = [one for one in neurons if one.difference.low > 0]
    if not clear:
        documents = max(one.effect.n_groups for one in neurons)
        return (
            f"Removing the {k} neurons of {site} that carry a feature does no more than removing {k} random ones, as"
            f" far as {documents} held-out documents can tell ({len(neurons)} features tested).",
        )
    strongest = max(clear, key=lambda one: one.difference.value)
    size = with_interval(strongest.difference, digits=3)
    turned = f"turns the mean last hidden state by {size} (1 - cosine)"
    cost = f"costs {size} nats a token" if strongest.unit == LOSS else turned
    return (
        f"Removing the {k} neurons of {site} that carry {strongest.name} {cost} more than removing {k} random ones;"
        f" {len(clear)} of {len(neurons)} features tested have an effect above random.",
    )


def _figure(work: Work, found: list[Ablation], k: int) -> Figure:
    drawn = _drawn(found)
    where = "at tokens that have the feature" if found[0].unit == LOSS else "on whole windows"
    return Figure(
        kind="forest",
        title=f"Effect of removing {k} units of {work.middle}, beyond {k} random units",
        caption=(
            f"The units that a probe chose on training documents are set to their training mean; the effect {where} of"
            f" held-out documents, minus that of {found[0].draws} random sets of the same basis and size. Bars: 95 %"
            " intervals, paired by document. Zero: no more than random units."
        ),
        data={
            "label": [work.label_of(one.name) for one in drawn],
            "series": [one.basis for one in drawn],
            "value": [one.difference.value for one in drawn],
            "low": [one.difference.low for one in drawn],
            "high": [one.difference.high for one in drawn],
            "control": [one.effect.control for one in drawn],
        },
        options={"x": found[0].unit + ", chosen minus random", "control": "random units", "series": "basis"},
        n=max(one.effect.n for one in drawn),
        seed=work.config.seed,
    )


def _table(found: list[Ablation]) -> Table:
    """Without the column of other places where effects are of whole windows."""
    placed = any(one.elsewhere is not None for one in found)
    rows = [_row(one, placed) for one in found]
    elsewhere = " Elsewhere: the same removal at the other places." if placed else ""
    return Table(
        title="All ablations",
        columns=(
            "feature", "basis", "effect", "random units", "difference", *(["elsewhere"] if placed else []), "places",
            "documents",
        ),
        rows=rows,
        note=f"Effect: {found[0].unit}, with 95 % intervals.{elsewhere}",
    )  # fmt: skip


def _row(one: Ablation, placed: bool) -> tuple[Value, ...]:
    elsewhere = None if one.elsewhere is None else one.elsewhere.value
    digits = 3 if one.unit == LOSS else 4
    return (
        one.name,
        one.basis,
        with_interval(one.effect, digits=digits),
        one.effect.control,
        with_interval(one.difference, digits=digits, signed=True),
        *([elsewhere] if placed else []),
        one.effect.n,
        one.effect.n_groups,
    )
