"""What stands for and against the scores: the best single neuron chosen honestly, and what random units, labels
without meaning and the token alone would have scored.
"""

from __future__ import annotations

import numpy as np

from unweave.errors import DataError
from unweave.probing.evidence import Evidence, EvidenceConfig, FeatureEvidence, evidence
from unweave.probing.result import ProbeTable
from unweave.report.record import Figure, Table, Value
from unweave.study.words import number, with_interval
from unweave.study.work import Found, NotPossible, Work

FEW = EvidenceConfig(shuffles=0, candidates=10, rotations=0, tasks=1, coordinates=0, matched=0)
"""What fits into a study of minutes: the rotation has a step of its own, and false discovery rates need no shuffles."""


def weigh_controls(work: Work) -> Found:
    """The controls of the neuron probes, each feature at the site chosen for it on training documents."""
    table: ProbeTable = work.artifact("probe", "probes")
    try:
        found = evidence(work.store, work.features, table=table, options=FEW, progress=work.progress)
    except DataError as error:
        raise NotPossible(f"Not done: {error}.") from error
    k = max((k for one in found.features for k in one.auc), default=0)
    return Found(
        summary=_summary(found),
        figures=_figures(work, found, k),
        tables=(_winners(work, found),),
        warnings=tuple(
            f"{one.feature}: no {name}: {why}." for one in found.features for name, why in one.left_out.items()
        ),
        results={"winners": found.winners(), "controls": found.table(), "units": found.search.table()},
        artifacts={"evidence": found},
    )


def _summary(found: Evidence) -> tuple[str, ...]:
    winners = [one.winner for one in found.features]
    honest, naive = (
        float(np.mean(values)) for values in zip(*((w.honest.value, w.naive.naive) for w in winners), strict=True)
    )
    tokens = [one.token_baseline.value for one in found.features if one.token_baseline is not None]
    alone = f" Which token it is, alone, predicts them with {number(float(np.mean(tokens)))}." if tokens else ""
    return (
        f"The best single neuron of all sites, chosen on training documents, has a mean F1 of {number(honest)} over"
        f" {len(winners)} features; choosing it on the held-out documents would claim {number(naive)}.{alone}",
    )


def _figures(work: Work, found: Evidence, k: int) -> tuple[Figure, ...]:
    rows = [(one, control) for one in found.features for control in one.controls if control.k == k]
    if not rows:
        return ()
    return (
        Figure(
            kind="forest",
            title=f"How much of F1 at k = {k} is not learnt by heart",
            caption=(
                "Selectivity: F1 of the probe minus that of the same probe on labels that are drawn at random for each"
                " token, which it can only learn by heart; at the site chosen for each feature on training documents."
                " Bars: 95 % intervals, paired by held-out document. Zero: it does not tell the feature from chance"
                " labels."
            ),
            data={
                "label": [work.label_of(one.feature) for one, _ in rows],
                "series": [control.name for _, control in rows],
                "value": [control.difference.value for _, control in rows],
                "low": [control.difference.low for _, control in rows],
                "high": [control.difference.high for _, control in rows],
                "control": [control.difference.control for _, control in rows],
            },
            options={"x": "F1, feature minus random labels", "control": "F1 on random labels", "series": "control"},
            n=max(control.difference.n for _, control in rows),
            seed=work.config.seed,
        ),
    )


def _winners(work: Work, found: Evidence) -> Table:
    rows: list[tuple[Value, ...]] = [
        (
            work.label_of(one.feature),
            f"{work.title_of(one.winner.site)}\u00a0{one.winner.unit}",
            with_interval(one.winner.honest).replace(" ", "\u00a0"),
            one.winner.naive.naive,
            one.winner.naive.corrected,
            None if one.token_baseline is None else one.token_baseline.value,
            _q_value(found, one),
            found.search.significant[one.feature],
        )
        for one in found.features
    ]
    searched = max(found.search.searched.values())
    return Table(
        title="The best single neuron of each feature",
        columns=(
            "feature",
            "neuron",
            "F1",
            "naive",
            "corrected",
            "token alone",
            "q-value",
            f"q < {found.search.level}",
        ),
        rows=rows,
        note=(
            "F1: chosen on inner folds of the training documents, scored once on the others. Naive: the best of"
            f" {found.features[0].winner.naive.candidates} candidates on the held-out documents themselves; corrected:"
            " chosen on a draw of them, scored on those left out. Token alone: F1 from which token it is and which came"
            f" before, without any activation. q-value: false discovery rate over {searched:,} neurons times"
            f" {len(found.features)} features, documents as independent units; the last"
            " column counts the neurons that pass."
        ),
    )


def _q_value(found: Evidence, one: FeatureEvidence) -> float | None:
    place = (one.feature, one.winner.site, one.winner.unit)
    return next((unit.q_value for unit in found.search.best if (unit.feature, unit.site, unit.unit) == place), None)
