"""The superposition lab on worlds whose truth is known: models of every width, decay and base beside what linear models
can reach, and where rings, antipodal pairs and identities are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from unweave.config import Config, Seed
from unweave.log import SILENT, Progress
from unweave.report.record import Figure, Table
from unweave.study.work import Found
from unweave.superposition.autoencoder import Autoencoder
from unweave.superposition.linear import spectrum
from unweave.superposition.phase import describe_ring, matrix_of
from unweave.superposition.small_grid import train_small
from unweave.superposition.structure import dimensionality
from unweave.worlds.correlated import world

REGIME_PLACE = {"ring": 1.0, "antipodal": 0.66, "mixed": 0.33, "identity": 0.0}
DRAWN = 4


Finite = Annotated[float, Field(allow_inf_nan=False)]


class WorldLabConfig(Config):
    """One run on a world."""

    world: str = "circular"
    """Kind of world."""
    features: Annotated[int, Field(ge=2)] = 12
    """Features of it."""
    rows: Annotated[int, Field(ge=1)] = 10_000
    """Rows of it."""
    sharpness: Finite = 10.0
    """How sharply features are on near their place."""
    bases: Annotated[tuple[Finite, ...], Field(min_length=1)] = (0.0,)
    """Lower is sparser."""
    noise: Finite = 0.0
    """Spread of places."""
    density: Finite | None = None
    """Mean share of active features; solves for the base."""
    correlation: Finite = 0.5
    """Within blocks, or of child and parent."""
    groups: int = 3
    """Blocks, or features that exclude one another."""
    widths: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = tuple(range(2, 13))
    """Dimensions."""
    decays: Annotated[tuple[Annotated[Finite, Field(ge=0)], ...], Field(min_length=1)] = (1.0,)
    """Decoupled weight decays."""
    activation: str = "relu"
    """`relu` or `linear`."""
    steps: Annotated[int, Field(ge=1)] = 3000
    """Of AdamW."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    """Of the models."""
    seed: Seed = 0
    """Of the world."""


@dataclass(frozen=True, eq=False, kw_only=True)
class WorldLab:
    """What a run gives."""

    rows: list[dict[str, Any]]
    """A model each."""
    models: tuple[Autoencoder, ...]
    config: WorldLabConfig

    def facts(self) -> dict[str, Any]:
        """Plain values for programs."""
        return {"models": self.rows, "world": self.config.world, "features": self.config.features}


def plan_world(config: WorldLabConfig) -> dict[str, Any]:
    """Number of models, steps, bytes and an estimate of the CPU-seconds."""
    count = len(config.widths) * len(config.decays) * len(config.seeds) * len(config.bases)
    cells = config.rows * config.features
    seen = min(config.rows, 2000) * config.features
    return {
        "models": count, "steps": config.steps, "bytes": 8 * cells + 16 * count * seen,
        "seconds": round(count * config.steps * seen * max(config.widths) * 6 / 2e10 + 1, 1),
    }  # fmt: skip


def world_lab(config: WorldLabConfig, progress: Progress = SILENT) -> WorldLab:
    """Models of a world, with the geometry they take.

    Args:
        config: World, widths, decays and bases.
        progress: Who is told how far it is.
    """
    rows, models = [], []
    with progress.task("worlds", len(config.bases), "base") as advance:
        for base in config.bases:
            here = world(
                config.world, config.features, config.rows, sharpness=config.sharpness, base=base, noise=config.noise,
                density=config.density, correlation=config.correlation, groups=config.groups, seed=config.seed,
            )  # fmt: skip
            data = matrix_of(here)
            bound = spectrum(data)
            found = train_small(
                data, config.widths, config.decays, config.seeds, activation=config.activation, steps=config.steps
            )
            for model in found:
                share = dimensionality(model.weight)
                row = {
                    "width": model.width, "decay": model.decay, "seed": model.seed, "base": base,
                    "density": here.density, "mse": model.train_mse, "bound": bound.bound(model.width),
                    "norm2": model.norm2, "dimensionality": float(share.mean()),
                }  # fmt: skip
                rows.append(row | (describe_ring(model) if here.order else {}) | {"warnings": list(model.warnings)})
            models += found
            advance(1)
    return WorldLab(rows=rows, models=tuple(models), config=config)


def world_found(lab: WorldLab) -> Found:
    """Everything that is shown of a world.

    Args:
        lab: What was found.
    """
    figures = [_error(lab)]
    if "regime" in lab.rows[0]:
        figures += [
            _phases(lab, dial)
            for dial in ("base", "decay")
            if len({row[dial] for row in lab.rows}) > 1 or dial == "base"
        ]
        figures.append(_planes(lab))
    told = [
        f"A {lab.config.world} world of {lab.config.features} features, {len(lab.models)} models: squared error a"
        f" feature from {max(row['mse'] for row in lab.rows):.4f} at width {min(lab.config.widths)} to"
        f" {min(row['mse'] for row in lab.rows):.4f} at width {max(lab.config.widths)}."
    ]
    names = [name for name in lab.rows[0] if name != "warnings"]
    return Found(
        summary=tuple(told), figures=tuple(figures),
        tables=(
            Table(title="Models", columns=tuple(names), rows=[tuple(row[name] for name in names) for row in lab.rows]),
        ),
        warnings=tuple(sorted({one for row in lab.rows for one in row["warnings"]})), results=lab.facts(),
    )  # fmt: skip


def _error(lab: WorldLab) -> Figure:
    rows = sorted(lab.rows, key=lambda row: (row["base"], row["decay"], row["width"]))
    seed = lab.config.seeds[0]
    kept = [row for row in rows if row["seed"] == seed]
    return Figure(
        kind="curves", title="Error over width",
        caption="Squared error a feature; dashed: the least of any linear model of that width.",
        data={
            "x": [row["width"] for row in kept], "y": [row["mse"] for row in kept], "low": [row["mse"] for row in kept],
            "high": [row["mse"] for row in kept], "control": [row["bound"] for row in kept],
            "series": [f"base {row['base']:g}, decay {row['decay']:g}" for row in kept],
        },
        options={"x": "width", "y": "MSE"}, n=lab.config.rows, seed=lab.config.seed,
    )  # fmt: skip


def _phases(lab: WorldLab, dial: str) -> Figure:
    other = "decay" if dial == "base" else "base"
    fixed = lab.rows[0][other]
    cells: dict[tuple[float, int], list[dict[str, Any]]] = {}
    for row in lab.rows:
        if row[other] == fixed:
            cells.setdefault((row[dial], row["width"]), []).append(row)
    rows: list[tuple[Any, ...]] = []
    scores = {
        "regime": None,
        "ring score": "rho",
        "most negative cosine, sign turned": "least",
        "MSE over bound": "mse",
    }
    for (value, width), own in sorted(cells.items(), key=lambda item: (-item[0][0], item[0][1])):
        label = f"{dial} {value:g} (density {own[0]['density']:.2f})" if dial == "base" else f"{dial} {value:g}"
        for shown, name in scores.items():
            regimes = [row["regime"] for row in own]
            if name is None:
                number = float(np.mean([REGIME_PLACE[one] for one in regimes]))
            elif name == "mse":
                number = float(
                    np.mean([min(1.0, row["mse"] / row["bound"]) if row["bound"] > 1e-9 else 1.0 for row in own])
                )
            else:
                number = float(np.mean([row[name] for row in own])) * (-1 if name == "least" else 1)
            rows.append((shown, label, str(width), min(1.0, max(0.0, number)), ", ".join(sorted(set(regimes)))))
    return Figure(
        kind="heatmap", title=f"Phases over width and {dial}",
        caption=(
            "Ring (rho >= .8) is 1, antipodal pairs (mean of the most negative cosines <= -.9) .66, mixed .33, identity"
            f" (all cosines below .1) 0; means over seeds. {other.capitalize()} is {fixed:g}."
        ),
        data={
            name: [row[place] for row in rows]
            for place, name in enumerate(("select", "row", "column", "value", "control"))
        },
        options={"column": "width", "value": "value", "control": "regime", "select": "show"}, n=lab.config.rows,
        seed=lab.config.seed,
    )  # fmt: skip


def _planes(lab: WorldLab) -> Figure:
    shown = [model for model in lab.models if model.decay == lab.config.decays[0]][:DRAWN]
    rows: list[tuple[Any, ...]] = []
    for model in shown:
        W = model.weight.T.astype(np.float64)
        left, sizes, _ = np.linalg.svd(W - W.mean(0), full_matrices=False)
        at = np.pad(left[:, :2] * sizes[:2], ((0, 0), (0, max(0, 2 - left.shape[1]))))
        rows += [
            (f"width {model.width}", name, float(x), float(y), place, name)
            for place, (name, (x, y)) in enumerate(zip(model.vocab, at, strict=True))
        ]
    names = ("facet", "label", "x", "y", "order", "shown")
    return Figure(
        kind="points", title="Where the features lie",
        caption="Two largest components of the columns, joined in the order of the ring.",
        data={
            **{name: [row[place] for row in rows] for place, name in enumerate(names)},
            "series": ["features"] * len(rows),
        },
        options={"x": "first component", "y": "second"}, n=lab.config.rows, seed=lab.config.seed,
    )  # fmt: skip
