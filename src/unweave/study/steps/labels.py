"""Which features the rows are labelled with, how often, and which cannot be probed."""

from __future__ import annotations

from unweave.activations.labels import LabelledFeature
from unweave.probing.sampling import why_not
from unweave.report.record import Figure, Table, Value
from unweave.study.work import Found, Work


def describe_labels(work: Work) -> Found:
    """Counts of every feature, with the reasons where it is left out and the notes where it needs care."""
    reasons = {feature.name: why_not(feature, work.store) for feature in work.features}
    rows: list[tuple[Value, ...]] = [
        (f.name, f.level, len(f.index), f.positives, reasons[f.name] or "probed", f.note) for f in work.features
    ]
    left_out = [f"{name}: {reason}" for name, reason in reasons.items() if reason]
    return Found(
        figures=(_figure(work, reasons),),
        tables=(
            Table(title="Features", columns=("feature", "level", "labelled", "positive", "status", "note"), rows=rows),
        ),
        warnings=(f"Left out: {'; '.join(left_out)}.",) if left_out else (),
        results={"skipped": {name: reason for name, reason in reasons.items() if reason}},
    )


def _figure(work: Work, reasons: dict[str, str]) -> Figure:
    return Figure(
        kind="bars",
        title="How often each feature occurs",
        caption=(
            "Labelled rows that have the feature. A hidden one is removed by the tokenizer (the case of letters, for an"
            " uncased one): a probe can find it only in the context."
        ),
        data={
            "label": [feature.name for feature in work.features],
            "value": [feature.positives for feature in work.features],
            "series": [_status(feature, reasons[feature.name]) for feature in work.features],
        },
        options={"x": "rows with the feature (logarithmic)", "x_scale": "symlog"},
        n=len(work.store),
        seed=work.config.seed,
    )


def _status(feature: LabelledFeature, reason: str) -> str:
    if reason:
        return "left out"
    return "hidden by the tokenizer" if feature.note else "probed"
