"""Tables of the superposition lab on a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unweave.report.record import Table, Value

if TYPE_CHECKING:
    from unweave.study.superposition.lab import TextLab


def model_table(lab: TextLab) -> Table:
    """A model each: errors, norm, distance from PCA, regimes."""
    rows = [
        (
            one.name, one.model.width, one.model.seed, one.model.train_mse, one.geometry.mse, one.geometry.r2,
            one.model.norm2, one.scores["projector"], one.scores["better"], *one.geometry.counts().values(),
        )
        for one in lab.scored
    ]  # fmt: skip
    return Table(
        title="Models",
        columns=(
            "model", "width", "seed", "train MSE", "held-out MSE", "R2", "norm^2", "distance from PCA",
            "words above one-hot", "linear", "nonlinear", "unresolved", "constant",
        ),
        rows=rows,
        note=(
            "Error a word. Decay is decoupled (AdamW), not an L2 penalty. Distance from PCA: norm(G - P) / sqrt(m);"
            f" regimes at tau {lab.scored[0].geometry.tau:g}."
        ),
    )  # fmt: skip


def ring_table(lab: TextLab) -> Table:
    """A ring each, of data and models."""
    rows: list[tuple[Value, ...]] = [
        ("data", name, one.n, one.value, one.null_mean, one.null_95, one.p_value)
        for name, one in lab.data_rings.items()
    ]
    rows += [
        (
            f"{one.name}, width {one.model.width}" + ("" if one.model.seed is None else f", seed {one.model.seed}"),
            name,
            kept.n,
            kept.value,
            kept.null_mean,
            kept.null_95,
            kept.p_value,
        )
        for one in lab.scored
        for name, kept in one.rings.items()
    ]
    return Table(
        title="Rings", columns=("vectors", "group", "words", "rho", "random orders", "95 % of them", "p"), rows=rows,
        note="Only days, months and compass points go round; for the others a high rho means an arc in order.",
    )  # fmt: skip


def cluster_table(lab: TextLab) -> Table:
    """Scores of clusters of the model and what it is compared with."""
    names = (
        "vectors",
        "purity",
        "purity_null",
        "purity_p",
        "silhouette",
        "silhouette_p",
        "nmi",
        "nmi_null",
        "n",
        "classes",
    )
    return Table(
        title=f"Clusters against {lab.labels}", columns=tuple(name.replace("_", " ") for name in names),
        rows=[tuple(row[name] for name in names) for row in lab.clusters],
        note="Only what the model has above principal components, PPMI vectors and frequency belongs to it.",
    )  # fmt: skip


def slope_table(lab: TextLab) -> Table:
    """Slopes over decay and width."""
    per = {"decay": "one unit of decay", "width": "twice the width"}
    return Table(
        title="How much decay and width matter", columns=("for", "score", "slope", "low", "high", "p", "seeds"),
        rows=[
            (per[dial], name, one.value, one.low, one.high, one.p_value, one.n_groups)
            for dial, found in lab.slopes.items() for name, one in found.items()
        ],
        note="Least squares within a seed, the other dial fixed; interval over seeds, each on documents drawn again.",
    )  # fmt: skip
