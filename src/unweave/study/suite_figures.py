"""Figures of a suite beyond its claims: components over layers, and how often true claims are supported over effect
size and number of pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unweave.evals.suites.parts import COMPONENTS
from unweave.evals.suites.planted_truth import CALIBRATION
from unweave.evals.suites.result import SuiteResult
from unweave.report.record import Figure


def figures_of_tables(found: SuiteResult) -> list[Figure]:
    """The figures of those tables that have one.

    Args:
        found: What `run_suite` gave.
    """
    made = []
    if found.tables.get(COMPONENTS):
        made.append(_components(found.tables[COMPONENTS], found))
    curves = found.tables.get(CALIBRATION, ())
    kinds = dict.fromkeys(row["of"] for row in curves)
    return made + [_calibration(of, [row for row in curves if row["of"] == of], found.seed) for of in kinds]


def _components(rows: Sequence[Mapping[str, Any]], found: SuiteResult) -> Figure:
    shares = [row["share of the whole"] for row in rows]
    return Figure(
        kind="heatmap", title="Components from one prompt to the other",
        caption="Effect of each component alone, taken from the prompt that asks for the behaviour, as a share of that"
        " of the whole stream, on groups that nothing was chosen on; below 0 is drawn as 0.",
        data={
            "row": [f"layer {row['layer']}" for row in rows], "column": [row["part"] for row in rows],
            "value": [min(1.0, max(0.0, share)) for share in shares], "low": [row["low"] for row in rows],
            "high": [row["high"] for row in rows], "control": shares,
        },
        options={"value": "share", "low": "effect, lower", "high": "effect, upper", "control": "share as it is"},
        n=max(claim.finding.effect.n for claim in found.claims if claim.finding is not None), seed=found.seed,
    )  # fmt: skip


def _calibration(of: str, rows: Sequence[Mapping[str, Any]], seed: int) -> Figure:
    return Figure(
        kind="curves", title=f"How often claims are supported: {of}",
        caption="Over effect size (how much of the variable the block carries, %) and number of pairs, with the exact"
        f" binomial 95 % interval of {rows[0]['n']} claims a point.",
        data={
            "x": [round(100 * row["share"]) for row in rows], "y": [row["supported"] for row in rows],
            "low": [row["low"] for row in rows], "high": [row["high"] for row in rows],
            "series": [f"{row['pairs']} pairs" for row in rows], "facet": [row["name"] for row in rows],
        },
        options={"x": "effect, %", "y": "supported"}, n=sum(row["n"] for row in rows), seed=seed,
    )  # fmt: skip
