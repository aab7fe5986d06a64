"""The peers of sparse probing as their papers describe them, on scikit-learn; for benchmarks only.

| name | what it is |
|---|---|
| telescoping | the paper's adaptive thresholding: elastic-net logistic regression (saga) on ever fewer columns, max_k 256 |
| sweep | the paper's heuristic sweep: standardised mean difference, then a saga refit |
| mean_difference | the recipe of TransformerLens: raw mean difference, then a refit |
| l1 | entry order of an L1 path (saga) on 256 screened columns, then a refit |
| abess | adaptive best subset, if the user has it |

All are balanced, at threshold 0. Columns have a standard deviation of .1 where the paper scales them so.
"""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from unweave.worlds.planted import Planted

GRID = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Answer:
    """Test F1 of a support."""

    f1: float
    support: tuple[int, ...]
    by: str = ""


def available(name: str) -> bool:
    return name != "abess" or importlib.util.find_spec("abess") is not None


def refit(world: Planted, support: list[int], *, penalty: float = 1.0) -> Answer:
    train, y = ~world.held_out, world.labels[:, 0]
    columns = world.sites[0][:, support].astype(np.float64)
    columns = (columns - columns[train].mean(0)) / columns[train].std(0)
    model = LogisticRegression(C=1 / penalty, class_weight="balanced", tol=1e-6, max_iter=1000).fit(
        columns[train], y[train]
    )
    return Answer(f1=f1_score(y[~train], model.predict(columns[~train])), support=tuple(map(int, support)))


def telescoping(world: Planted, ks: tuple[int, ...]) -> dict[int, Answer]:
    train, y = ~world.held_out, world.labels[:, 0]
    scaled, order = _scaled(world)
    support = order[: max(GRID)]
    found = {}
    for k in sorted(GRID, reverse=True):
        support = support[:k]
        model = _saga(C=k / 20, l1_ratio=float(np.clip(np.exp(-k / 20), 0.1, 0.9)))
        model.fit(np.ascontiguousarray(scaled[train][:, support]), y[train])
        f1 = f1_score(y[~train], model.predict(scaled[~train][:, support]))
        if k in ks:
            found[k] = Answer(f1=f1, support=tuple(support.tolist()))
        support = support[np.argsort(-np.abs(model.coef_[0]), kind="stable")]
    return found


def sweep(world: Planted, ks: tuple[int, ...]) -> dict[int, Answer]:
    train, y = ~world.held_out, world.labels[:, 0]
    scaled, order = _scaled(world)
    found = {}
    for k in ks:
        model = _saga(C=1.0, l1_ratio=0.0, max_iter=200).fit(
            np.ascontiguousarray(scaled[train][:, order[:k]]), y[train]
        )
        predicted = model.predict(scaled[~train][:, order[:k]])
        found[k] = Answer(f1=f1_score(y[~train], predicted), support=tuple(order[:k].tolist()))
    return found


def mean_difference(world: Planted, ks: tuple[int, ...]) -> dict[int, Answer]:
    train, y = ~world.held_out, world.labels[:, 0]
    rows = world.sites[0][train].astype(np.float32)
    order = np.argsort(-np.abs(rows[y[train] == 1].mean(0) - rows[y[train] == 0].mean(0)))
    return {k: refit(world, order[:k].tolist()) for k in ks}


def l1(world: Planted, ks: tuple[int, ...]) -> dict[int, Answer]:
    train, y = ~world.held_out, world.labels[:, 0]
    scaled, order = _scaled(world)
    screened = order[: max(GRID)]
    rows = np.ascontiguousarray(scaled[train][:, screened]) * 10
    rows -= rows.mean(0)
    weight = np.where(y[train] == 1, len(rows) / (2 * y[train].sum()), len(rows) / (2 * (1 - y[train]).sum()))
    highest = np.abs(rows.T @ (weight * np.where(y[train] == 1, 0.5, -0.5))).max()
    model = _saga(C=1.0, l1_ratio=1.0, max_iter=100, warm_start=True)
    entered: list[int] = []
    for step in range(59):
        model.C = 1 / (highest * 0.97 ** (step + 1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(rows, y[train])
        size = np.abs(model.coef_[0])
        entered += [int(one) for one in np.argsort(-size) if size[one] > 0 and one not in entered]
        if len(entered) >= max(ks):
            break
    return {k: refit(world, screened[entered[:k]].tolist()) for k in ks}


def abess(world: Planted, ks: tuple[int, ...]) -> dict[int, Answer]:
    from abess.linear import LogisticRegression as BestSubset  # pyright: ignore

    train, y = ~world.held_out, world.labels[:, 0]
    scaled, order = _scaled(world)
    screened = order[: max(GRID)]
    found = {}
    for k in ks:
        model = BestSubset(support_size=k).fit(scaled[train][:, screened] * 10, y[train])
        found[k] = refit(world, screened[np.flatnonzero(model.coef_)].tolist())
    return found


PEERS = {
    "telescoping": telescoping,
    "sweep": sweep,
    "mean_difference": mean_difference,
    "l1": l1,
    "abess": abess,
}


def _scaled(world: Planted) -> tuple[np.ndarray, np.ndarray]:
    """Columns of standard deviation .1 (not centred) and their order by standardised mean difference."""
    train, y = ~world.held_out, world.labels[:, 0]
    rows = world.sites[0].astype(np.float32)
    scaled = rows / (10 * np.maximum(rows[train].std(0), 1e-3))
    difference = scaled[train][y[train] == 1].mean(0) - scaled[train][y[train] == 0].mean(0)
    return scaled, np.argsort(-np.abs(difference))


def _saga(*, C: float, l1_ratio: float, max_iter: int = 1000, warm_start: bool = False) -> LogisticRegression:
    return LogisticRegression(
        solver="saga",
        C=C,
        l1_ratio=l1_ratio,
        max_iter=max_iter,
        class_weight="balanced",
        random_state=0,
        warm_start=warm_start,
    )
