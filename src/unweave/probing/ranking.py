"""Selectors: a score for every unit, larger = more promising, from the training rows of one or many labellings at once.

They share one signature: rows (n, d), positives (n, m) and members (n, m) as 0/1 masks, deviations (m, d) of the
columns over the members, m labellings; out (m, d). Means
of all labellings are one matrix product.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `mean_diff` | abs(m+ - m-) | (m, d) | units of the activations | specs/probing.md 4 |
| `std_mean_diff` | abs(m+ - m-) / sd_j | (m, d) | standard deviations of the column over the labelled rows | same; the published default in effect (arXiv 2305.01610) |
| `f_stat` | F | (m, d) | ANOVA of two classes, the square of the pooled t | same |
| `welch_t` | abs(t) | (m, d) | means over the root of the sum of their squared standard errors | same |
| `mutual_info` | I(bin(x_j); y) | (m, d) | nats; 16 equal-count bins, Miller-Madow corrected | same |
| `auc_distance` | abs(AUC_j - 1/2) | (m, d) | ties count one half | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unweave.errors import unknown_name
from unweave.probing.columns import usable_rows
from unweave.probing.labels import binary_labels
from unweave.tensors.moments import class_moments, class_sums

LIVE = 1e-6
"""Columns with a smaller standard deviation are constant for our purposes: they carry nothing and are never chosen."""

BINS = 16
COLUMNS = 256
"""Columns that are sorted at once."""

Rows = Float[Tensor, "n d"]
Masks = Float[Tensor, "n m"]
Scores = Float[Tensor, "m d"]


def mean_diff(rows: Rows, positives: Masks, members: Masks, _deviation: Scores) -> Scores:
    """Distance of the class means."""
    distinct, which = torch.unique(members, dim=1, return_inverse=True)
    _, sums, _ = class_sums(rows, torch.cat([positives, distinct], dim=1))
    above, every = sums[: positives.shape[1]], sums[positives.shape[1] :][which]
    hits, count = positives.sum(0)[:, None], members.sum(0)[:, None]
    return (above / hits - (every - above) / (count - hits)).abs()


def std_mean_diff(rows: Rows, positives: Masks, members: Masks, deviation: Scores) -> Scores:
    """Distance of the class means in standard deviations of the column."""
    return mean_diff(rows, positives, members, deviation) / deviation.clamp_min(LIVE)


def f_stat(rows: Rows, positives: Masks, members: Masks, deviation: Scores) -> Scores:
    """Between-class over within-class variance."""
    count, hits = members.sum(0)[:, None], positives.sum(0)[:, None]
    between = mean_diff(rows, positives, members, deviation).square() * hits * (count - hits) / count
    within = (count * deviation.square() - between).clamp_min(torch.finfo(torch.float64).tiny)
    return between * (count - 2).clamp_min(1) / within


def welch_t(rows: Rows, positives: Masks, members: Masks, _deviation: Scores) -> Scores:
    """Distance of the class means in standard errors, each class with its own variance."""
    parts = class_moments(rows, torch.cat([positives, members - positives], 1))
    error = parts.squares / (parts.count * (parts.count - 1).clamp_min(1))[:, None]
    one, other = error.split(positives.shape[1])
    gap = parts.mean[: positives.shape[1]] - parts.mean[positives.shape[1] :]
    return gap.abs() / (one + other).clamp_min(torch.finfo(torch.float64).tiny).sqrt()


def mutual_info(rows: Rows, positives: Masks, members: Masks, _deviation: Scores) -> Scores:
    """Mutual information of the class with the column cut at its sixteenths; equal values are in one bin."""
    return _over_members(rows, positives, members, _binned_information)


def auc_distance(rows: Rows, positives: Masks, members: Masks, _deviation: Scores) -> Scores:
    """How far the column alone is from ranking positives and negatives at random."""
    return _over_members(rows, positives, members, _rank_distance)


def _over_members(rows: Rows, positives: Masks, members: Masks, score: Callable[[Tensor, Tensor], Tensor]) -> Scores:
    """A score of values and labels, for labellings on the same rows together and for a few columns at a time."""
    distinct, which = torch.unique(members, dim=1, return_inverse=True)
    found = torch.zeros(positives.shape[1], rows.shape[1], dtype=torch.float64)
    for number in range(distinct.shape[1]):
        used, mine = distinct[:, number] > 0, which == number
        for first in range(0, rows.shape[1], COLUMNS):
            values = rows[used, first : first + COLUMNS].to(torch.float64)
            found[mine, first : first + COLUMNS] = score(values, positives[used][:, mine])
    return found


def _binned_information(values: Float[Tensor, "n c"], positives: Float[Tensor, "n m"]) -> Float[Tensor, "m c"]:
    n = len(values)
    ordered = values.sort(0).values
    edges = torch.stack([ordered[min(n - 1, -(-n * cut // BINS))] for cut in range(1, BINS)])
    above = [values >= edge for edge in edges]
    every = torch.ones_like(values, dtype=torch.bool)
    reached = torch.stack([(positives.T @ at.double()) for at in [every, *above]])  # (bins, m, c)
    rows_reached = torch.stack([at.sum(0).double() for at in [every, *above]])
    hits = reached - torch.cat([reached[1:], torch.zeros_like(reached[:1])])
    size = rows_reached - torch.cat([rows_reached[1:], torch.zeros_like(rows_reached[:1])])
    misses = size.unsqueeze(1) - hits
    cells = torch.stack([hits, misses]) / n
    entropy = torch.special.entr(cells.sum(0)).sum(0) + torch.special.entr(cells.sum(1)).sum(0)
    bias = (cells > 0).sum((0, 1)) - (cells.sum(0) > 0).sum(0) - (cells.sum(1) > 0).sum(0) + 1
    return (entropy - torch.special.entr(cells).sum((0, 1)) - bias.double() / (2 * n)).clamp_min(0)


def _rank_distance(values: Float[Tensor, "n c"], positives: Float[Tensor, "n m"]) -> Float[Tensor, "m c"]:
    from scipy.stats import rankdata

    ranks = torch.from_numpy(rankdata(values.numpy(), axis=0))
    hits = positives.sum(0)[:, None]
    pairs = (hits * (len(values) - hits)).clamp_min(1)
    return ((positives.T @ ranks - hits * (hits + 1) / 2) / pairs - 0.5).abs()


def deviations(rows: Rows, members: Masks) -> Scores:
    """Standard deviation of every column over the members of each labelling; equal columns of `members` are computed
    once.
    """
    distinct, which = torch.unique(members, dim=1, return_inverse=True)
    return class_moments(rows, distinct).variance().sqrt()[which]


SELECTORS: Mapping[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = MappingProxyType(
    {
        "std_mean_diff": std_mean_diff,
        "mean_diff": mean_diff,
        "f_stat": f_stat,
        "welch_t": welch_t,
        "mutual_info": mutual_info,
        "auc": auc_distance,
    }
)
"""Name -> selector."""


def rank(X: Any, y: Any, method: str = "std_mean_diff") -> Float[Tensor, " d"]:
    """The score of every column of X for the labels y; columns that do not vary or are not finite score 0.

    Args:
        X: Rows (n, d).
        y: (n,) labels in {0, 1}, {-1, +1} or booleans.
        method: A name in `SELECTORS`.

    Raises:
        UnknownName: No such selector.
        InputError: Not one label a row, or not binary.
        DataError: No finite column, or one class only.

    Example:
        >>> X = torch.tensor([[0.0, 5.0], [0.0, 6.0], [1.0, 5.0], [1.0, 6.0]])
        >>> rank(X, [0, 0, 1, 1]).tolist()
        [2.0, 0.0]
    """
    if method not in SELECTORS:
        raise unknown_name("selector", method, SELECTORS)
    matrix, _ = usable_rows(X)
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
