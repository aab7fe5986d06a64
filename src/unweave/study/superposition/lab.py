"""The superposition lab on a text: models of every width, decay and seed beside the closed form,
every word's scores, rings and clusters against their nulls, and how much decay matters.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from unweave.errors import DataError
from unweave.log import SILENT, Progress
from unweave.study.superposition.config import TextLabConfig
from unweave.superposition.autoencoder import Autoencoder
from unweave.superposition.bags import Bags, bags
from unweave.superposition.clusters import clusters, topics
from unweave.superposition.dataset import drawn_again
from unweave.superposition.geometry import Geometry, geometry
from unweave.superposition.grid import Grid, train_grid
from unweave.superposition.passes import group_sums, lift_of
from unweave.superposition.reading import document_lines
from unweave.superposition.ring import Ring, columns_of, data_ring_vectors, ring
from unweave.superposition.slopes import slope
from unweave.superposition.structure import off_diagonal, pca_distance
from unweave.superposition.waterfall import better_than_alone
from unweave.superposition.words import GROUPS
from unweave.tensors.estimate import Estimate

FEWEST = 5
"""Words of a group that are looked at together."""
SCORES = ("norm2", "projector", "excess_mse", "lift_excess", "better", "ring", "purity_excess")
"""Scores whose slopes over decay and width are taken; fixed before anything is measured."""
TOPICS = 12
LABELLED = 4_000
"""Most frequent words whose labels count: distances are between all pairs of them."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Scored:
    """One model with its scores."""

    model: Autoencoder
    geometry: Geometry
    scores: dict[str, float]
    rings: dict[str, Ring]

    @property
    def name(self) -> str:
        """As figures call it."""
        return "closed form" if self.model.seed is None else f"decay {self.model.decay:g}"


@dataclass(frozen=True, eq=False, kw_only=True)
class TextLab:
    """What a run gives."""

    bags: Bags
    grid: Grid
    scored: tuple[Scored, ...]
    """The closed form of every width, then the trained models."""
    data_rings: dict[str, Ring]
    clusters: tuple[dict[str, Any], ...]
    """Scores of clusters, of the first trained model and what it is compared with."""
    labels: str
    """What clusters were scored with."""
    slopes: dict[str, dict[str, Estimate]]
    """Dial -> score -> slope."""
    config: TextLabConfig
    seconds: float

    def facts(self) -> dict[str, Any]:
        """Plain values for programs."""
        bound = [self.grid.spectrum_of(one.model).bound(one.model.width) for one in self.scored]
        return {
            "models": [
                {
                    "kind": one.name if one.model.seed is None else "trained", "width": one.model.width,
                    "activation": one.model.activation, "decay": one.model.decay, "l2": one.model.l2,
                    "seed": one.model.seed, "train_mse": one.model.train_mse, "mse": one.geometry.mse,
                    "mean_mse": one.geometry.mean_mse, "r2": one.geometry.r2, "bound": floor,
                    "norm2": one.model.norm2, "regimes": one.geometry.counts(), "scores": one.scores,
                }
                for one, floor in zip(self.scored, bound, strict=True)
            ],
            "vocab": list(self.bags.vocab), "n_windows": self.bags.n_windows, "split": self.scored[0].geometry.split,
            "documents": len(np.unique(self.bags.segment_document)), "facts": dict(self.bags.facts),
            "clusters": list(self.clusters), "labels": self.labels,
            "length_correlation": self.grid.spectrum.length_correlation(),
            "slopes": {dial: {name: _plain(one) for name, one in found.items()} for dial, found in self.slopes.items()},
            "warnings": list(self.bags.warnings), "cpu_seconds": round(self.seconds, 3),
        }  # fmt: skip


def text_lab(
    texts: Any, config: TextLabConfig, progress: Progress = SILENT, *, labels: Mapping[str, str] | None = None
) -> TextLab:
    """Bags of a text, models of them, and all scores.

    Args:
        texts: What `uw.superposition.bags` takes, or bags that are made already.
        config: Widths, decays, seeds and settings.
        progress: Who is told how far it is.
        labels: Word -> label that clusters are scored with; None takes topics of held-out windows.

    Raises:
        InputError: No text, or settings out of range.
        DataError: No word is left.
    """
    start = time.process_time()
    found = texts if isinstance(texts, Bags) else bags(
        texts, vocab=config.vocab, window=config.window, documents=config.documents, min_chars=config.min_chars,
        force=config.force or None, profile=config.profile, seed=config.seed,
    )  # fmt: skip
    progress.note(f"{found!r}")
    options = {"activation": config.activation, "l2": config.l2, "lr": config.lr, "epochs": config.epochs}
    grid = train_grid(
        found, config.widths, config.decays, config.seeds, batch=config.batch, resample=len(config.seeds) > 1,
        progress=progress, **options,
    )  # fmt: skip
    often = set(np.argsort(-found.counts, kind="stable")[:LABELLED].tolist())
    named = topics(found, TOPICS, seed=config.seed) if labels is None else labels
    kinds = {word: kind for word, kind in named.items() if found.index.get(word) in often}
    closed = [grid.spectrum.model(min(width, len(found.vocab)), config.l2) for width in dict.fromkeys(config.widths)]
    scored = tuple(_scored(one, found, grid, kinds, config.seed) for one in (*closed, *grid.models))
    data_rings = {}
    for name, group in GROUPS.items():
        vectors, words = data_ring_vectors(found, group)
        kept = _ring(vectors, words, config.seed)
        if kept is not None:
            data_rings[name] = kept
    rows = [
        {"seed": one.model.seed, "decay": one.model.decay, "width": one.model.width, **one.scores}
        for one in scored if one.model.seed is not None
    ]  # fmt: skip
    slopes = {
        dial: {
            name: slope(rows, name, dial, beside=beside, resampled=bool(grid.spectra))
            for name in SCORES if any(row[name] == row[name] for row in rows)
        }
        for dial, beside, values in (("decay", "width", config.decays), ("width", "decay", config.widths))
        if len(set(values)) > 1
    }  # fmt: skip
    try:
        compared = clusters(grid.models[0], kinds, rows=found, found=grid.spectrum, draws=50, seed=config.seed).table()
    except DataError:
        compared = []
    own = "topics of other windows" if labels is None else "the labels given"
    return TextLab(
        bags=found, grid=grid, scored=scored, data_rings=data_rings, clusters=tuple(compared), slopes=slopes,
        labels=own, config=config, seconds=time.process_time() - start,
    )  # fmt: skip


def _scored(model: Autoencoder, found: Bags, grid: Grid, labels: dict[str, str], seed: int) -> Scored:
    table = geometry(model, found, seed=seed)
    away = pca_distance(model, grid.spectrum_of(model))
    lift, excess, better = _lifts(model, table, found, grid)
    rings = {}
    for name, group in GROUPS.items():
        kept = _ring(*columns_of(model, group), seed)
        if kept is not None:
            rings[name] = kept
    try:
        near = clusters(model, labels, found=grid.spectrum_of(model), draws=0, seed=seed).excess
    except DataError:
        near = float("nan")
    scores = {
        "norm2": model.norm2, "projector": away.projector, "angle": away.angle_mean, "excess_mse": away.excess_mse,
        "lift": lift, "lift_excess": excess, "better": better, "purity_excess": near,
        "ring": rings["months"].value - rings["months"].null_mean if "months" in rings else float("nan"),
    }  # fmt: skip
    for name, one in rings.items():
        scores[f"ring {name}"] = one.value
        scores[f"off diagonal {name}"] = off_diagonal(model, [found.index[word] for word in one.words])
    return Scored(model=model, geometry=table, scores=scores, rings=rings)


def _lifts(model: Autoencoder, table: Geometry, found: Bags, grid: Grid) -> tuple[float, float, float]:
    """(mean lift, mean lift above its null, share of words above their sum alone); of held-out documents drawn again
    where the training documents were, so that both are in the spread between seeds.
    """
    lift, rows = table.columns["lift"], found
    if model.seed is not None and model.seed in grid.spectra:
        rows = drawn_again(found, model.seed)
        lift = lift_of(group_sums(model, rows, rows.split(rows.held_out())))
    excess = lift - table.columns["lift_null"]
    known = np.isfinite(excess)
    better = better_than_alone(model, rows)
    if not known.any():
        return float("nan"), float("nan"), better
    return float(lift[known].mean()), float(excess[known].mean()), better


def _ring(vectors: Any, words: list[str], seed: int) -> Ring | None:
    if len(words) < FEWEST:
        return None
    try:
        return ring(vectors, words, seed=seed, draws=999)
    except DataError:
        return None


def plan_text(texts: Any, config: TextLabConfig) -> dict[str, Any]:
    """Characters, units, windows and an estimate of the CPU-seconds, without training."""
    size = windows = 0
    units: Counter[int] = Counter()
    for number, lines in document_lines(texts, config.documents):
        size += sum(map(len, lines)) + len(lines)
        units[number] += sum(bool(line.strip()) for line in lines)
    windows = sum(max(1, count - config.window + 1) for count in units.values() if count)
    rounds = max(1, -(-windows // config.batch))
    epochs = config.epochs or max(10, -(-600 // rounds))
    steps = rounds * epochs
    flops = 6.0 * config.batch * config.vocab * sum(config.widths) * len(config.decays) * len(config.seeds)
    return {
        "characters": size, "units": units.total(), "windows": windows, "epochs": epochs, "steps": steps,
        "models": len(config.widths) * len(config.decays) * len(config.seeds),
        "bytes": 12 * size // 10 + 4 * config.vocab**2 + 12 * config.vocab * sum(config.widths) * len(config.decays),
        "seconds": round(size / 8e6 + steps * flops / 4e10 + (config.vocab / 1000) ** 3 * 0.5 + 2, 1),
    }  # fmt: skip


def _plain(one: Estimate) -> dict[str, Any]:
    return {
        "value": one.value,
        "low": one.low,
        "high": one.high,
        "n": one.n,
        "n_groups": one.n_groups,
        "p_value": one.p_value,
    }
