"""Figures and tables of the superposition lab as plain data, with the words around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from unweave.report.record import Figure
from unweave.study.superposition.dials import width_figures
from unweave.study.superposition.tables import cluster_table, model_table, ring_table, slope_table
from unweave.study.work import Found
from unweave.superposition.clusters import word_clusters
from unweave.superposition.moments import covariance_of
from unweave.superposition.ring import Ring
from unweave.superposition.structure import MARKS
from unweave.superposition.waterfall import explain
from unweave.superposition.words import CYCLES

if TYPE_CHECKING:
    from unweave.study.superposition.lab import Scored, TextLab

CLUSTERS, MAPPED, NAMED = 12, 1200, 40
EXPLAINED = 5


def text_found(lab: TextLab, *, quick: bool = False) -> Found:
    """Everything that is shown of a text; quickly without the map that takes seconds.

    Args:
        lab: What was found.
        quick: Whether the flat word map is left out.
    """
    trained = [one for one in lab.scored if one.model.seed is not None]
    last = trained[-1]
    figures = [
        *_rings(lab, trained), None if quick else _map(lab, last, flat=True), _map(lab, last, flat=False),
        *_waterfalls(lab, last),
        _contexts(lab, last), _lifts(lab, trained), _taus(lab, last), _dimensions(lab, trained), *width_figures(lab),
        *_grams(lab, trained),
    ]  # fmt: skip
    tables = [model_table(lab), ring_table(lab), cluster_table(lab), slope_table(lab)]
    return Found(
        summary=tuple(_sentences(lab)), figures=tuple(one for one in figures if one is not None),
        tables=tuple(one for one in tables if one.rows), warnings=lab.bags.warnings, results=lab.facts(),
    )  # fmt: skip


def _sentences(lab: TextLab) -> list[str]:
    best = min((one for one in lab.scored if one.model.seed is not None), key=lambda one: one.geometry.mse)
    closed = next(one for one in lab.scored if one.model.width == best.model.width)
    told = [
        f"{len(lab.bags.vocab):,} words in {best.model.width} dimensions, {lab.bags.n_windows:,} windows: on held-out"
        f" windows ({best.geometry.split}) the closed-form linear model leaves a squared error of"
        f" {closed.geometry.mse:.5f} a word, the best trained one ({best.name}) {best.geometry.mse:.5f}; predicting"
        f" frequencies alone {best.geometry.mean_mse:.5f}."
    ]
    length = lab.grid.spectrum.length_correlation()
    if length == length:
        told.append(
            f"The largest component of the data correlates {length:.2f} with the number of active words of a window"
            " (1: it is plain length); `lift_length` in the tables of words holds that number fixed."
        )
    for name, found in lab.slopes.get("decay", {}).items():
        if name == "lift_excess":
            between = f" [{found.low:+.4f}, {found.high:+.4f}]" if found.low == found.low else ", no interval,"
            told.append(
                f"One unit more of weight decay changes what other words add (lift above its shuffled null) by"
                f" {found.value:+.4f}{between} over {found.n_groups} seed{'s' * (found.n_groups > 1)}."
            )
    return told


def _rings(lab: TextLab, trained: list[Scored]) -> list[Figure]:
    figures = []
    for group in lab.data_rings:
        shown: list[tuple[str, Ring]] = [("data", lab.data_rings[group])]
        shown += [
            (f"{one.name}, width {one.model.width}", one.rings[group])
            for one in lab.scored
            if group in one.rings and one.model.seed in (None, trained[0].model.seed)
        ]
        rows = [
            (name, word, float(at[0]), float(at[1]), place)
            for name, one in shown[:6]
            for place, (word, at) in enumerate(zip(one.words, one.plane, strict=True))
        ]
        told = "; ".join(f"{name}: rho {one.value:.2f}, p = {one.p_value:.3g}" for name, one in shown[:6])
        figures.append(
            Figure(
                kind="points",
                title=f"{'Ring' if group in CYCLES else 'Order'} of {group}",
                caption=(
                    "Two largest components of the centred vectors, joined in order. rho is 1 for a perfect ring in"
                    f" this order; random orders give {shown[0][1].null_mean:.2f} on average. {told}."
                ),
                data={
                    **_columns(("facet", "label", "x", "y", "order"), rows),
                    "series": [group] * len(rows),
                    "shown": [row[1] for row in rows],
                },
                options={"x": "first component", "y": "second"},
                n=shown[0][1].n,
                seed=lab.config.seed,
            )
        )
    return sorted(figures, key=lambda one: "months" not in one.title)[:3]


def _map(lab: TextLab, one: Scored, *, flat: bool) -> Figure:
    model = one.model
    grouped, names = word_clusters(model, CLUSTERS, weights=lab.bags.counts, seed=lab.config.seed)
    lengths = np.linalg.norm(model.weight, axis=0)
    live = np.flatnonzero(lengths > 1e-9)
    live = live[np.argsort(-lab.bags.counts[live], kind="stable")][:MAPPED]
    unit = (model.weight[:, live] / lengths[live]).T
    left, sizes, _ = np.linalg.svd(unit - unit.mean(0), full_matrices=False)
    count = 2 if flat else 3
    at = np.pad(left[:, :count] * sizes[:count], ((0, 0), (0, max(0, count - left.shape[1]))))
    if flat and len(live) >= 50:
        at = _neighbour_map(unit, lab.config.seed)
    rows = [
        (
            *map(float, at[place]),
            lab.bags.vocab[column],
            names[grouped[column]],
            lab.bags.vocab[column] if place < NAMED else "",
        )
        for place, column in enumerate(live.tolist())
    ]
    scores = next((row for row in lab.clusters if row["vectors"] == "model"), None)
    told = (
        f" Labels ({lab.labels}): neighbours agree for {scores['purity']:.2f} (shuffled {scores['purity_null']:.2f})."
        if scores
        else ""
    )
    how = "t-SNE of cosines" if flat and len(live) >= 50 else "principal components"
    return Figure(
        kind="points" if flat else "space", title="Word map" + ("" if flat else " in three dimensions"),
        caption=(
            f"The {len(live):,} most frequent words of {one.name}, width {model.width}: {how} of their columns, "
            f"coloured by k-means clusters named by their central words.{told} Far distances mean little."
        ),
        data=_columns((*("xy" if flat else "xyz"), "label", "series", "shown"), rows),
        options={"series": "cluster"}, n=len(live), seed=lab.config.seed,
    )  # fmt: skip


def _neighbour_map(unit: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    some = unit[:600]
    found = TSNE(2, metric="cosine", init="random", random_state=seed, max_iter=300, perplexity=min(20, len(some) / 4))
    at = np.asarray(found.fit_transform(some), dtype=np.float64)
    if len(unit) == len(some):
        return at
    near = np.argmax(unit[len(some) :] @ some.T, axis=1)  # the others lie beside their nearest neighbour
    jitter = np.random.default_rng([43, seed]).normal(scale=0.3, size=(len(near), 2))
    return np.concatenate([at, at[near] + jitter])


def _waterfalls(lab: TextLab, one: Scored) -> list[Figure]:
    if one.model.latent != "identity":
        return []
    indices = lab.bags.split(lab.bags.held_out())
    wanted = [word for word in ("January", "June") if word in lab.bags.index]
    frequent = np.argsort(-lab.bags.counts, kind="stable")
    wanted += [lab.bags.vocab[place] for place in frequent[20:200:36]]
    rows: list[tuple[Any, ...]] = []
    for word in wanted[: EXPLAINED + 1]:
        column = lab.bags.index[word]
        x = lab.bags.take(indices[:600], "uint8")
        holding = np.flatnonzero(x[:, column])
        if not len(holding):
            continue
        context = [lab.bags.vocab[place] for place in np.flatnonzero(x[holding[len(holding) // 2]])]
        found = explain(one.model, word, context)
        rows += [
            (f"{word} in one window", row["label"], row["start"], row["end"], row["value"]) for row in found.table()
        ]
    if not rows:
        return []
    return [
        Figure(
            kind="steps",
            title="What adds up to a word",
            caption=(
                f"{one.name}, width {one.model.width}: bias, the word's own weight, and what each other word of one"
                " held-out window adds; the sum is what the activation is given."
            ),
            data=_columns(("select", "label", "start", "end", "value"), rows),
            options={"x": "sum so far", "select": "word"},
            n=len(rows),
            seed=lab.config.seed,
        )
    ]


def _contexts(lab: TextLab, one: Scored) -> Figure | None:
    table = [row for row in one.geometry.table() if row["r2_context"] == row["r2_context"]][:2000]
    if not table:
        return None
    return Figure(
        kind="points", title="Read in context against read alone",
        caption=(
            f"R2 of every word on {one.geometry.n:,} {one.geometry.split} windows against R2 over one-hot inputs"
            f" (cut at -1), {one.name}, width {one.model.width}. Above the line: context helps."
        ),
        data={
            "x": [max(-1.0, row["r2_onehot"]) for row in table], "y": [max(-1.0, row["r2_context"]) for row in table],
            "label": [row["word"] for row in table], "series": [row["regime"] for row in table],
            "control": [row["p"] for row in table],
        },
        options={
            "x": "one-hot R2", "y": "R2 in context", "series": "regime", "control": "share",
            "diagonal": "yes",
        },
        n=one.geometry.n, seed=lab.config.seed,
    )  # fmt: skip


def _lifts(lab: TextLab, trained: list[Scored]) -> Figure | None:
    rows: list[tuple[Any, ...]] = []
    for one in _of_first_seed(lab, trained):
        for name in ("lift", "lift_null"):
            values = one.geometry.columns[name]
            values = values[np.isfinite(values)]
            if not len(values):
                continue
            count, edges = np.histogram(np.clip(values, -0.25, 1.5), bins=40, range=(-0.25, 1.5))
            label = one.name if name == "lift" else f"{one.name}, shuffled contexts"
            rows += [(float(a), float(b), int(c), label) for a, b, c in zip(edges[:-1], edges[1:], count, strict=True)]
    if not rows:
        return None
    return Figure(
        kind="histogram", title="What other words add where the word is",
        caption=(
            "Lift of every word, real contexts and contexts whose words occur as often but not together. A positive"
            " sign alone is no evidence: for every closed-form model it is a law."
        ),
        data=_columns(("left", "right", "value", "series"), rows), options={"x": "lift", "y": "words"},
        n=trained[0].geometry.n, seed=lab.config.seed,
    )  # fmt: skip


def _taus(lab: TextLab, one: Scored) -> Figure:
    rows = [
        (row["tau"], row[name], name)
        for row in one.geometry.over_tau()
        for name in ("linear", "nonlinear", "unresolved")
    ]
    return Figure(
        kind="curves", title="Regimes over the threshold",
        caption=f"Words in each regime for every threshold of R2; {one.name}, width {one.model.width}.",
        data={
            "x": [row[0] for row in rows], "y": [row[1] for row in rows], "low": [row[1] for row in rows],
            "high": [row[1] for row in rows], "series": [row[2] for row in rows],
        },
        options={"x": "threshold tau", "y": "words"}, n=one.geometry.n, seed=lab.config.seed,
    )  # fmt: skip


def _dimensions(lab: TextLab, trained: list[Scored]) -> Figure:
    rows: list[tuple[Any, ...]] = []
    for one in _of_first_seed(lab, trained):
        count, edges = np.histogram(one.geometry.columns["dimensionality"], bins=40, range=(0, 1))
        rows += [(float(a), float(b), int(c), one.name) for a, b, c in zip(edges[:-1], edges[1:], count, strict=True)]
    marks = ", ".join(f"{mark:.3g}" for mark in MARKS)
    return Figure(
        kind="histogram", title="Dimensions a word has",
        caption=f"1 is a dimension of its own; they sum to at most the width. Polytopes would show at {marks}.",
        data=_columns(("left", "right", "value", "series"), rows), options={"x": "dimensionality", "y": "words"},
        n=len(lab.bags.vocab), seed=lab.config.seed,
    )  # fmt: skip


def _grams(lab: TextLab, trained: list[Scored]) -> list[Figure]:
    """Cosines of the largest group that is there: data, predicted, learned."""
    there = {name: list(one.words) for name, one in lab.data_rings.items()}
    if not there:
        return []
    group = "months" if "months" in there else max(there, key=lambda name: len(there[name]))
    columns = [lab.bags.index[word] for word in there[group]]
    covariance = covariance_of(lab.bags, lab.bags.split("train"), columns)
    spread = np.sqrt(np.diag(covariance))
    shown = {"data: correlation": covariance / np.outer(spread, spread)}
    for one in _of_first_seed(lab, [lab.scored[0], *trained]):
        W = one.model.weight[:, columns]
        lengths = np.maximum(np.linalg.norm(W, axis=0), 1e-12)
        label = "predicted (closed form)" if one.model.seed is None else f"learned, {one.name}"
        shown[label] = (W.T @ W) / np.outer(lengths, lengths)
    rows = [
        (label, there[group][i], there[group][j], max(0.0, float(values[i, j])), float(values[i, j]))
        for label, values in shown.items() for i in range(len(columns)) for j in range(len(columns))
    ]  # fmt: skip
    return [
        Figure(
            kind="heatmap",
            title=f"Cosines of {group}: data, predicted, learned",
            caption="Correlation in the data, cosines in closed form and trained models; below 0 is drawn as 0.",
            data=_columns(("select", "row", "column", "value", "control"), rows),
            options={"value": "cosine", "control": "cosine", "select": "of"},
            n=lab.bags.n_windows,
            seed=lab.config.seed,
        )
    ]


def _of_first_seed(lab: TextLab, scored: list[Scored]) -> list[Scored]:
    width = lab.config.widths[0]
    return [
        one
        for one in scored
        if one.model.seed in (None, lab.config.seeds[0]) and one.model.width == min(width, len(lab.bags.vocab))
    ][:6]


def _columns(names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}
