"""The other way round: start with one block and cut, as long as the halves of a block share little.

Each round tries, for every block, three two-way cuts with a rotation of their own inside the block, frozen outside; the
cut whose halves share least is taken if that is below the threshold. Blocks do not see one another, so each is fitted
by itself, on its own coordinates.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `score` | I / d_parent | scalar | nats per dimension between the halves | specs/ndm.md, section 5 |
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from unweave.ndm.descent import start_state
from unweave.ndm.estimates import dependence, held_out, threshold
from unweave.ndm.pool import held_out_pool, split_rows
from unweave.ndm.rows import Drawable
from unweave.ndm.start import sorted_start
from unweave.ndm.training import Entry, Job, Progressed, descend, learning_rate
from unweave.tensors.neighbors import block_columns

ROUNDS = 4
TRIALS = 3
SMALLEST = 4
"""Parts below this size are not tried, nor are parts below the unit size."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Turned:
    """Rows seen through some columns of a rotation: the coordinates of one block."""

    rows: Drawable
    columns: Float[Tensor, "d k"]

    def take(self, index: Int[np.ndarray, " m"]) -> Float[Tensor, "m k"]:
        """The block's coordinates of some rows."""
        return self.rows.take(index) @ self.columns

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    @property
    def live(self) -> Tensor:
        """All coordinates vary."""
        return torch.arange(self.columns.shape[1])

    @property
    def dtype(self) -> torch.dtype:
        """Of the rows."""
        return self.rows.dtype

    @property
    def groups(self) -> Int[np.ndarray, " n"] | None:
        """Of the rows."""
        return self.rows.groups


def fit_by_splitting(job: Job) -> Progressed:
    """The fit from one block downwards.

    Args:
        job: Rows, configuration and measures of the fit.
    """
    width = len(job.rows.live)
    rotation, sizes = torch.eye(width, dtype=job.rows.dtype), (width,)
    done = Progressed(state=start_state(rotation, sizes), start="identity", start_sizes=sizes)
    final = [False]
    for number in range(ROUNDS):
        cuts = [
            None if settled else best_cut(job, rotation[:, block], number)
            for settled, block in zip(final, block_columns(sizes), strict=True)
        ]
        if not any(cuts):
            break
        parts, cut_sizes, flags, scores = [], [], [], []
        for block, cut in zip(block_columns(sizes), cuts, strict=True):
            parts.append(rotation[:, block] if cut is None else rotation[:, block] @ cut.rotation)
            cut_sizes += [block.stop - block.start] if cut is None else list(cut.sizes)
            flags += [True] if cut is None else [False, False]
            scores += [] if cut is None else [cut.score]
        start = sorted_start(torch.cat(parts, 1), cut_sizes, "split")
        order = sorted(range(len(cut_sizes)), key=lambda block, sizes=cut_sizes: -sizes[block])
        rotation, sizes, final = start.rotation, start.sizes, [flags[block] for block in order]
        state = replace(start_state(rotation, sizes), step=(number + 1) * job.steps)
        done = replace(done, state=state, entries=(*done.entries, _entry(job, rotation, sizes, state.step, scores)))
    last = replace(done.entries[-1], event="stop", scores=()) if done.entries else None
    return replace(done, entries=(*done.entries, last) if last else (), stopped=True)


@dataclass(frozen=True, eq=False, kw_only=True)
class Cut:
    """A two-way cut of one block."""

    rotation: Float[Tensor, "k k"]
    sizes: tuple[int, ...]
    score: float


def best_cut(job: Job, columns: Float[Tensor, "d k"], number: int) -> Cut | None:
    """The cut of a block whose halves share least; None if they all share more than the threshold.

    Args:
        job: Of the fit.
        columns: The block.
        number: Of the round.
    """
    size = columns.shape[1]
    least = max(min(SMALLEST, job.config.unit_size), 1)
    found: list[Cut] = []
    limit = 0.0
    for trial in range(TRIALS):
        part = (trial + 1) * size // 4
        if min(part, size - part) < least:
            continue
        sizes = (max(part, size - part), min(part, size - part))
        inner = _inner(job, columns, number * TRIALS + trial)
        generator = torch.Generator().manual_seed(job.config.seed * 1000 + number * 10 + trial)
        order = torch.randperm(size, generator=generator)
        state = start_state(torch.eye(size, dtype=columns.dtype)[:, order], sizes)
        done = descend(inner, Progressed(state=state, start="split", start_sizes=sizes), inner.steps)
        shared, _ = dependence(inner.rows, inner.config, done.state.rotation, sizes, turn=trial, null=1)
        limit = threshold(job.config, shared.null)
        found.append(Cut(rotation=done.state.rotation, sizes=sizes, score=shared.nats[0, 1] / size))
    best = min(found, key=lambda cut: cut.score, default=None)
    return best if best is not None and best.score < limit else None


def _inner(job: Job, columns: Tensor, number: int) -> Job:
    """The fit of one block on its own coordinates."""
    rows = Turned(rows=job.rows, columns=columns)
    config = job.config.model_copy(update={"seed": job.config.seed + 7919 * (number + 1)})
    split = split_rows(rows, config)
    return replace(
        job, rows=rows, config=config, split=split, measured=held_out_pool(rows, split, config),
        lr=job.config.lr or 0.16 / columns.shape[1] ** 0.5,
    )  # fmt: skip


def _entry(job: Job, rotation: Tensor, sizes: tuple[int, ...], step: int, scores: list[float]) -> Entry:
    distances = held_out(job.measured, rotation, sizes, job.config.metric)
    return Entry(
        step=step,
        train_loss=None,
        loss=float(distances.mean()),
        lr=learning_rate(job, 0),
        pool=job.split.pool,
        event="split",
        sizes=sizes,
        scores=tuple(scores),
        seconds=time.process_time() - job.clock,
    )
