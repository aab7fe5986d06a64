"""t-tests of the difference of two class means, column by column, that stay honest when rows of a group resemble each
other.

The pooled t of every column is a function of the standardised mean difference, so all labellings of one matrix are one
matrix product: that is what permutation tests need. The cluster-robust t sums each group's part before squaring: it is
what a single p-value needs.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `pooled_t` | t = r sqrt((n - 2) / (1 - r^2)) | (m, d) | r the correlation of column and labels | Student 1908 |
| `influence` | u_g | (G, d) | sum over the group's rows of (x - m+)/n+ for positives, -(x - m-)/n- for negatives | Liang and Zeger 1986 |
| `error` | sqrt(G/(G-1) sum_g u_g^2) | (d,) | standard error of m+ - m- | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweave.errors import DataError
from unweave.tensors.arrays import computing_dtype
from unweave.tensors.splits import Grouping

LEAST_VARIANCE = 1e-12
"""Columns whose variance is below this are constant for our purposes."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ClusteredTest:
    """A test of every column; NaN for columns that do not vary."""

    difference: Float[np.ndarray, " d"]
    """Mean of the positives minus mean of the negatives, in units of the column."""
    t: Float[np.ndarray, " d"]
    p_value: Float[np.ndarray, " d"]
    """Two-sided, Student's t with one degree of freedom less than there are groups."""
    pooled: Float[np.ndarray, " d"]
    """Student's t with rows as independent units, which orders columns as the standardised mean difference does."""


def clustered_test(rows: Float[Tensor, "n d"], labels: Bool[np.ndarray, " n"], groups: Grouping) -> ClusteredTest:
    """The difference of class means of every column, tested with groups as the independent units.

    Args:
        rows: Activations; float32 keeps five digits of t.
        labels: One a row.
        groups: Of the rows.

    Raises:
        DataError: One class only, or fewer than two groups.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y, rows = np.arange(300) % 3 == 0, torch.from_numpy(rng.normal(size=(300, 2)))
        >>> rows[:, 1] += torch.from_numpy(2.0 * y)
        >>> found = clustered_test(rows, y, Grouping(codes=np.arange(300) // 10, count=30))
        >>> bool(found.p_value[0] > 0.01), bool(found.p_value[1] < 1e-9)
        (True, True)
    """
    from scipy.stats import t as student

    positives = int(labels.sum())
    if not 0 < positives < len(labels) or groups.count < 2:
        raise DataError(
            f"{positives} positives of {len(labels)} rows in {groups.count} groups: a test of two means needs both"
            " classes and two groups"
        )
    exact = rows.to(computing_dtype(rows.dtype))
    exact = exact - exact.mean(0)  # sums of squares about a large mean lose their digits
    sums, sizes = [], []
    for kind in (labels, ~labels):
        codes = torch.from_numpy(groups.codes[kind])
        own = exact.new_zeros(groups.count, exact.shape[1])
        sums.append(own.index_add_(0, codes, exact[torch.from_numpy(kind)]).double())
        sizes.append(torch.bincount(codes, minlength=groups.count).double()[:, None])
    means = [part.sum(0) / size.sum() for part, size in zip(sums, sizes, strict=True)]
    positive, negative = (
        (part - size * mean) / size.sum() for part, size, mean in zip(sums, sizes, means, strict=True)
    )
    influence = positive - negative
    error = (influence.square().sum(0) * groups.count / (groups.count - 1)).sqrt()
    difference = means[0] - means[1]
    variance = exact.square().mean(0).double()
    varies = variance > LEAST_VARIANCE
    t = torch.where(varies & (error > 0), difference / error, torch.nan).numpy()
    share = positives / len(labels)
    correlation = difference * (share * (1 - share)) ** 0.5 / variance.clamp_min(LEAST_VARIANCE).sqrt()
    return ClusteredTest(
        difference=difference.numpy(),
        t=t,
        p_value=2 * student.sf(np.abs(t), groups.count - 1),
        pooled=torch.where(varies, _t_of(correlation, len(labels)), torch.nan).numpy(),
    )


def pooled_t(rows: Float[Tensor, "n d"], labellings: Bool[np.ndarray, "m n"]) -> Float[Tensor, "m d"]:
    """Student's pooled t of every column under each labelling, by one matrix product in the dtype of the rows; 0 for
    columns that do not vary.

    Args:
        rows: Activations; float32 keeps five digits of t, enough to compare it with its own permutations.
        labellings: Labels of all rows, one labelling a row, each with both classes.

    Example:
        >>> rows = torch.tensor([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [4.0, 1.0]], dtype=torch.float64)
        >>> pooled_t(rows, np.array([[False, False, True, True]])).round(decimals=3).tolist()
        [[2.236, 0.0]]
    """
    count = len(rows)
    centred = rows - rows.double().mean(0).to(rows.dtype)
    deviation = centred.double().square().mean(0).sqrt()
    live = deviation > LEAST_VARIANCE**0.5
    standard = torch.where(live, centred / deviation.clamp_min(LEAST_VARIANCE**0.5).to(rows.dtype), 0.0)
    masks = torch.from_numpy(labellings).to(rows.dtype)
    masks = masks - masks.mean(1, keepdim=True)
    masks = masks / masks.square().mean(1, keepdim=True).sqrt()
    return _t_of(((masks @ standard) / count).double(), count)


def _t_of(correlation: Tensor, count: int) -> Tensor:
    bounded = correlation.clamp(-1 + 1e-12, 1 - 1e-12)
    return bounded * ((count - 2) / (1 - bounded.square())).sqrt()
