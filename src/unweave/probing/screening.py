"""Screens: the few hundred columns of each problem that a search looks at, from one pass over the rows.

A problem is a labelling and the rows it may see: all of them, or all but one inner fold. Sums of every labelling in
every fold come from one matrix product a chunk of rows, for many features at once; the sums of a problem are
differences of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unweave.probing.ranking import LIVE
from unweave.tensors.moments import class_sums

WIDTH = 256
"""Columns of a screen; twice the largest k if that is more."""
CHUNK = 256
MOST_MASKS = 1024
"""Weightings of the rows in one pass."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What a feature asks of the rows."""

    place: Int[np.ndarray, " n"]
    """Which rows of the matrix it trains on."""
    labellings: Bool[np.ndarray, "m n"]
    """The true labels and shuffles."""
    folds: Int[np.ndarray, " n"]
    """The inner fold of each of its rows, from 0; all zero = no folds."""

    @property
    def masks(self) -> int:
        """Weightings of the rows that it needs."""
        return (int(self.folds.max()) + 1) * (1 + len(self.labellings))


@dataclass(frozen=True, kw_only=True, eq=False)
class Screens:
    """What one pass over the rows tells of every labelling and fold."""

    mean: Float[Tensor, " d"]
    sd: Float[Tensor, " d"]
    live: Bool[Tensor, " d"]
    strength: Float[Tensor, "m q d"]
    """Standardised mean difference of each labelling without fold q; the last of q sees all rows."""


def screens(rows: Float[Tensor, "n d"], labellings: Bool[np.ndarray, "m n"], folds: Int[np.ndarray, " n"]) -> Screens:
    """Mean, deviation and standardised mean differences of all columns, for one feature that trains on all rows."""
    (found,) = screens_together(rows, [Task(place=np.arange(len(rows)), labellings=labellings, folds=folds)])
    return found


def screens_together(rows: Float[Tensor, "n d"], tasks: Sequence[Task]) -> Iterator[Screens]:
    """The screens of many features on one matrix, in their order; rows that a feature does not train on have weight 0
    for it. As many features share a pass as have at most 1024 weightings together.
    """
    block: list[Task] = []
    for task in tasks:
        if block and sum(one.masks for one in block) + task.masks > MOST_MASKS:
            yield from _pass(rows, block)
            block = []
        block.append(task)
    if block:
        yield from _pass(rows, block)


def _pass(rows: Tensor, tasks: Sequence[Task]) -> Iterator[Screens]:
    total = sum(task.masks for task in tasks)
    weights = torch.zeros(len(rows), total)
    places, first = {}, 0
    for task in tasks:
        places.setdefault(task.place.tobytes(), (len(places), task.place))
        inside = np.stack([task.folds == fold for fold in range(int(task.folds.max()) + 1)])
        masks = np.concatenate([inside, (task.labellings[:, None] & inside[None]).reshape(-1, len(task.place))])
        weights[torch.from_numpy(task.place), first : first + task.masks] = torch.from_numpy(masks.T).float()
        first += task.masks
    members = torch.zeros(len(rows), len(places))
    for column, place in places.values():
        members[torch.from_numpy(place), column] = 1.0
    centre, sums, squares = class_sums(rows, weights, squared=members)
    first = 0
    for task in tasks:
        own = sums[first : first + task.masks]
        yield _screens_of(task, centre, own, squares[places[task.place.tobytes()][0]])
        first += task.masks


def _screens_of(task: Task, centre: Tensor, sums: Tensor, squares: Tensor) -> Screens:
    count = int(task.folds.max()) + 1
    inside = torch.from_numpy(np.stack([task.folds == fold for fold in range(count)])).double()
    n = len(task.place)
    everything = sums[:count].sum(0)
    mean = everything / n
    sd = (squares / n - mean.square()).clamp_min(0).sqrt()
    hits = torch.from_numpy(task.labellings).double() @ inside.T
    positive = sums[count:].reshape(len(task.labellings), count, -1)
    seen = 1 - torch.eye(count + 1, count, dtype=torch.float64) if count > 1 else torch.ones(1, 1, dtype=torch.float64)
    above = torch.einsum("qf,mfd->mqd", seen, positive)
    members = torch.einsum("qf,fd->qd", seen, sums[:count])
    n_above = (hits @ seen.T).unsqueeze(2)
    n_members = (seen @ inside.sum(1))[None, :, None]
    high, low = n_above.clamp_min(1), (n_members - n_above).clamp_min(1)
    gap = (above / high - (members - above) / low).abs()
    live = sd >= LIVE
    strength = torch.where(live, gap / sd.clamp_min(LIVE), 0.0)
    return Screens(mean=mean + centre, sd=sd, live=live, strength=strength)


def pools(found: Screens, labelling: int, width: int) -> Int[Tensor, "q m"]:
    """The best columns of each problem of a labelling, best first, ties to the lower index."""
    ranked = torch.where(found.live, found.strength[labelling], -1.0)
    return torch.argsort(-ranked, dim=1, stable=True)[:, :width]


def gathered(
    rows: Float[Tensor, "n d"], columns: Int[Tensor, " u"], found: Screens, place: Int[Tensor, " r"] | None = None
) -> Float[Tensor, "u1 r"]:
    """The columns standardised in float32, one a row, and a row of ones; at the rows `place` if given."""
    dtype = torch.float64 if rows.dtype == torch.float64 else torch.float32
    mean, sd = found.mean[columns].to(dtype), found.sd[columns].clamp_min(LIVE).to(dtype)
    count = len(rows) if place is None else len(place)
    standard = torch.ones(len(columns) + 1, count)
    for first in range(0, count, CHUNK):
        there = slice(first, min(count, first + CHUNK))
        part = rows[there if place is None else place[there]]
        standard[:-1, there] = ((_columns_of(part, columns).to(dtype) - mean) / sd).T
    return standard


def _columns_of(rows: Tensor, columns: Tensor) -> Tensor:
    """Some columns; numpy takes them out of rows in half precision twice as fast."""
    return torch.from_numpy(rows.numpy()[:, columns.numpy()]) if rows.dtype == torch.float16 else rows[:, columns]
