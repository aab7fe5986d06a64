"""Screens: the few hundred columns of each problem that a search looks at, from one pass over the rows.

A problem is a labelling and the rows it may see: all of them, or all but one inner fold. Sums of every labelling in
every fold come from one matrix product a chunk of rows; the sums of a problem are differences of these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unweave.probing.ranking import LIVE

WIDTH = 256
"""Columns of a screen; twice the largest k if that is more."""
CHUNK = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Screens:
    """What one pass over the rows tells of every labelling and fold."""

    mean: Float[Tensor, " d"]
    sd: Float[Tensor, " d"]
    live: Bool[Tensor, " d"]
    strength: Float[Tensor, "m q d"]
    """Standardised mean difference of each labelling without fold q; the last of q sees all rows."""


def screens(rows: Float[Tensor, "n d"], labellings: Bool[np.ndarray, "m n"], folds: Int[np.ndarray, " n"]) -> Screens:
    """Mean, deviation and standardised mean differences of all columns.

    Args:
        rows: Training rows.
        labellings: One a row.
        folds: The inner fold of each row, from 0; all zero = no folds.
    """
    count = int(folds.max()) + 1
    inside = np.stack([folds == fold for fold in range(count)])
    masks = torch.from_numpy(
        np.concatenate([inside, (labellings[:, None] & inside[None]).reshape(-1, len(folds))]).astype(np.float32)
    )
    sums, squares, shift = _sums(rows, masks)
    n = len(rows)
    everything = sums[:count].sum(0)
    mean = everything / n
    sd = (squares / n - mean.square()).clamp_min(0).sqrt()
    size = torch.from_numpy(inside.sum(1).astype(np.float64))
    hits = masks[count:].double().sum(1).reshape(len(labellings), count)
    positive = sums[count:].reshape(len(labellings), count, -1)
    seen = 1 - torch.eye(count + 1, count, dtype=torch.float64) if count > 1 else torch.ones(1, 1, dtype=torch.float64)
    above = torch.einsum("qf,mfd->mqd", seen, positive)
    members = torch.einsum("qf,fd->qd", seen, sums[:count])
    n_above = (hits @ seen.T).unsqueeze(2)
    n_members = (seen @ size)[None, :, None]
    high, low = n_above.clamp_min(1), (n_members - n_above).clamp_min(1)
    gap = (above / high - (members - above) / low).abs()
    live = sd >= LIVE
    return Screens(mean=mean + shift, sd=sd, live=live, strength=torch.where(live, gap / sd.clamp_min(LIVE), 0.0))


def pools(found: Screens, labelling: int, width: int) -> Int[Tensor, "q m"]:
    """The best columns of each problem of a labelling, best first, ties to the lower index."""
    ranked = torch.where(found.live, found.strength[labelling], -1.0)
    return torch.argsort(-ranked, dim=1, stable=True)[:, :width]


def gathered(rows: Float[Tensor, "n d"], columns: Int[Tensor, " u"], found: Screens) -> Float[Tensor, "u1 n"]:
    """The columns standardised in float32, one a row, and a row of ones."""
    dtype = torch.float64 if rows.dtype == torch.float64 else torch.float32
    mean, sd = found.mean[columns].to(dtype), found.sd[columns].clamp_min(LIVE).to(dtype)
    standard = torch.ones(len(columns) + 1, len(rows))
    for first in range(0, len(rows), 4 * CHUNK):
        part = rows[first : first + 4 * CHUNK].index_select(1, columns).to(dtype)
        standard[:-1, first : first + 4 * CHUNK] = ((part - mean) / sd).T
    return standard


def _sums(rows: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums under each mask and of squares, about the first row: float32 inside a chunk, float64 across them (float64
    rows in float64 throughout).
    """
    dtype = torch.float64 if rows.dtype == torch.float64 else torch.float32
    centre = rows[0].to(dtype)
    weights = masks.to(dtype)
    ones = torch.ones(1, CHUNK, dtype=dtype)
    sums = torch.zeros(len(masks), rows.shape[1], dtype=torch.float64)
    squares = torch.zeros(rows.shape[1], dtype=torch.float64)
    for first in range(0, len(rows), CHUNK):
        part = rows[first : first + CHUNK].to(dtype) - centre
        sums += weights[:, first : first + CHUNK] @ part
        squares += (ones[:, : len(part)] @ part.square())[0]
    return sums, squares, centre.double()
