"""Selectors: a score for every unit, larger = more promising, from the training rows of one or many labellings at once.

They share one signature: rows (n, d), positives (n, m) and members (n, m) as 0/1 masks, deviations (m, d) of the
columns over the members, m labellings; out (m, d). Means
of all labellings are one matrix product.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `mean_diff` | abs(m+ - m-) | (m, d) | units of the activations | specs/probing.md 4 |
| `std_mean_diff` | abs(m+ - m-) / sd_j | (m, d) | standard deviations of the column over the labelled rows | same; the published default in effect (arXiv 2305.01610) |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unweave.errors import unknown_name
from unweave.probing.labels import binary_labels
from unweave.tensors.arrays import as_matrix, check_finite
from unweave.tensors.moments import class_moments, weighted_means

LIVE = 1e-6
"""Columns with a smaller standard deviation are constant for our purposes: they carry nothing and are never chosen."""

Rows = Float[Tensor, "n d"]
Masks = Float[Tensor, "n m"]
Scores = Float[Tensor, "m d"]


def mean_diff(rows: Rows, positives: Masks, members: Masks, _deviation: Scores) -> Scores:
    """Distance of the class means."""
    means = weighted_means(rows, torch.cat([positives, members - positives], dim=1))
    return (means[: positives.shape[1]] - means[positives.shape[1] :]).abs()


def std_mean_diff(rows: Rows, positives: Masks, members: Masks, deviation: Scores) -> Scores:
    """Distance of the class means in standard deviations of the column."""
    return mean_diff(rows, positives, members, deviation) / deviation.clamp_min(LIVE)


def deviations(rows: Rows, members: Masks) -> Scores:
    """Standard deviation of every column over the members of each labelling; equal columns of `members` are computed
    once.
    """
    distinct, which = torch.unique(members, dim=1, return_inverse=True)
    return class_moments(rows, distinct).variance().sqrt()[which]


SELECTORS: Mapping[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = MappingProxyType(
    {"std_mean_diff": std_mean_diff, "mean_diff": mean_diff}
)
"""Name -> selector."""


def rank(X: Any, y: Any, method: str = "std_mean_diff") -> Float[Tensor, " d"]:
    """The score of every column of X for the labels y; columns that do not vary score 0.

    Args:
        X: Rows (n, d).
        y: (n,) labels in {0, 1}, {-1, +1} or booleans.
        method: A name in `SELECTORS`.

    Raises:
        UnknownName: No such selector.
        InputError: Not one label a row, or not binary.
        DataError: NaN or infinite entries, or one class only.

    Example:
        >>> X = torch.tensor([[0.0, 5.0], [0.0, 6.0], [1.0, 5.0], [1.0, 6.0]])
        >>> rank(X, [0, 0, 1, 1]).tolist()
        [2.0, 0.0]
    """
    if method not in SELECTORS:
        raise unknown_name("selector", method, SELECTORS)
    matrix = as_matrix(X, name="X")
    check_finite(matrix, name="X")
    labels, _ = binary_labels(y, tuple(matrix.shape))
    positives = torch.from_numpy(labels).double().unsqueeze(1)
    return scores(matrix, positives, torch.ones_like(positives), method)[0]


def scores(rows: Rows, positives: Masks, members: Masks, method: str) -> Scores:
    """The selector's scores, 0 for columns that do not vary or are not finite."""
    return scores_and_live(rows, positives, members, method)[0]


def scores_and_live(rows: Rows, positives: Masks, members: Masks, method: str) -> tuple[Scores, Bool[Tensor, "m d"]]:
    """The selector's scores as in `scores`, and which columns vary over the members of each labelling."""
    deviation = deviations(rows, members)
    raw = SELECTORS[method](rows, positives, members, deviation)
    live = deviation >= LIVE
    return torch.where(live & torch.isfinite(raw), raw, 0.0), live


def best_columns(found: Scores, live: Bool[Tensor, "m d"], most: int) -> Int[Tensor, "m k"]:
    """The best columns of each labelling, best first; ties go to the lower index. `most` of them, or as many as vary
    for all labellings.
    """
    ranked = torch.where(
        live, found, -1.0
    )  # one that varies but tells nothing scores 0: still before one that does not
    return torch.argsort(-ranked, dim=1, stable=True)[:, : min(most, int(live.sum(1).min()))]
