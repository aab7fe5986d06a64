"""Figures of the superposition lab over its dials: error, norm, structure over width, scores over width and decay."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from unweave.report.record import Figure

if TYPE_CHECKING:
    from unweave.study.superposition.lab import Scored, TextLab

PHASES = {
    "norm2": "squared norm", "projector": "distance from PCA", "lift_excess": "lift above its null",
    "better": "words above one-hot", "ring": "month ring above chance", "purity_excess": "purity above PCA",
}  # fmt: skip
"""Score -> what it is called in a figure."""


def width_figures(lab: TextLab) -> list[Figure]:
    """Error, norm and structure over width where there are two widths, scores over both dials where there are two of
    each.

    Args:
        lab: What was found.
    """
    if len(set(lab.config.widths)) < 2:
        return []
    bounds = {one.model.width: lab.grid.spectrum.bound(one.model.width) for one in lab.scored}
    found = [
        _curves(
            lab, "Held-out error over width", "mse", lambda one: one.geometry.mse, floor=lambda width: bounds[width],
            told="the least training error of any linear model",
        ),
        _curves(
            lab, "Squared norm over width", "squared norm", lambda one: one.model.norm2, floor=float,
            told="a projector's",
        ),
    ]  # fmt: skip
    groups = [name for name in lab.data_rings if f"off diagonal {name}" in lab.scored[0].scores][:2]
    found += [
        _curves(
            lab, f"Structure of {name} over width", "off-diagonal norm",
            lambda one, key=f"off diagonal {name}": one.scores.get(key, float("nan")),
        )
        for name in groups
    ]  # fmt: skip
    if len(set(lab.config.decays)) > 1:
        found.append(_phases(lab))
    return found


def _curves(
    lab: TextLab,
    title: str,
    label: str,
    value: Callable[[Scored], float],
    *,
    floor: Callable[[int], float] | None = None,
    told: str = "",
) -> Figure:
    """Mean over seeds at each width, with the range of the seeds."""
    cells: dict[tuple[str, int], list[float]] = {}
    for one in lab.scored:
        cells.setdefault((one.name, one.model.width), []).append(value(one))
    rows = [
        (width, float(np.mean(own)), min(own), max(own), name, float("nan") if floor is None else floor(width))
        for (name, width), own in sorted(cells.items())
        if np.isfinite(own).all()
    ]
    seeds = len(lab.config.seeds)
    caption = "0: the words of the group are orthogonal to each other." if floor is None else f"Dashed: {told}."
    if seeds > 1:
        caption += f" Mean and range of {seeds} seeds, each on documents drawn again."
    names = ("x", "y", "low", "high", "series", "control")
    data: dict[str, list[Any]] = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    if floor is None:
        del data["control"]
    return Figure(
        kind="curves", title=title, caption=caption, data=data, options={"x": "width", "y": label},
        n=lab.bags.n_windows, seed=lab.config.seed,
    )  # fmt: skip


def _phases(lab: TextLab) -> Figure:
    """Each score over width and decay, coloured between its least and its largest."""
    rows = []
    for score, name in PHASES.items():
        cells: dict[tuple[float, int], list[float]] = {}
        for one in lab.scored:
            if one.model.seed is not None and one.scores[score] == one.scores[score]:
                cells.setdefault((one.model.decay, one.model.width), []).append(one.scores[score])
        means = {key: float(np.mean(own)) for key, own in cells.items()}
        if not means:
            continue
        low, high = min(means.values()), max(means.values())
        rows += [
            (name, f"decay {decay:g}", str(width), (mean - low) / (high - low) if high > low else 0.0, f"{mean:.4g}")
            for (decay, width), mean in sorted(means.items())
        ]
    names = ("select", "row", "column", "value", "control")
    return Figure(
        kind="heatmap", title="Scores over width and decay",
        caption="Each score from its least (0) to its largest (1) value; the value itself is shown on hover. Means over"
        " seeds.",
        data={name: [row[place] for row in rows] for place, name in enumerate(names)},
        options={"column": "width", "value": "from least to largest", "control": "value", "select": "score"},
        n=lab.bags.n_windows, seed=lab.config.seed,
    )  # fmt: skip
