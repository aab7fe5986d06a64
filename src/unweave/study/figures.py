"""Figures that more than one job draws of its probes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from unweave.report.record import Figure


def probe_map(
    rows: Sequence[dict[str, Any]], caption: str, *, seed: int, label_of: Callable[[str], str] = str
) -> Figure:
    """F1 of every feature at every site, a drop-down for the number of units.

    Args:
        rows: `ProbeTable.table()`.
        caption: What stands below it.
        seed: Of the probes.
        label_of: The name of a feature as the figure shows it.
    """
    return Figure(
        kind="heatmap",
        title="F1 of k-sparse probes by feature and site",
        caption=caption,
        data={
            "row": [label_of(row["feature"]) for row in rows],
            "column": [row["site"].removeprefix("blocks.") for row in rows],
            "value": [row["f1"] for row in rows],
            "low": [row["f1_low"] for row in rows],
            "high": [row["f1_high"] for row in rows],
            "control": [row["control_f1"] for row in rows],
            "select": [f"k = {row['k']}" for row in rows],
        },
        options={
            "value": "F1",
            "column": "site",
            "select": "units",
            "control": "shuffled labels",
            "low": "95 % from",
            "high": "95 % to",
            "row": "feature",
        },
        n=max(row["n_test"] for row in rows),
        seed=seed,
    )
