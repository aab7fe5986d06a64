"""Out of local minima: two blocks are mixed at random, the fit goes on for a little, and the mixture stays only if the
held-out distance came out lower.

Plain descent stops with two blocks that share two groups by halves; no small step parts them. The worst block is taken,
with a partner that knows much about it and is bad itself.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from unweave.ndm.config import NDMConfig
from unweave.ndm.descent import State
from unweave.ndm.estimates import draw_sample, estimate, held_out
from unweave.ndm.training import Entry, Job, Progressed, descend, learning_rate
from unweave.tensors.linalg import random_orthogonal
from unweave.tensors.neighbors import block_columns

POLISH_STEPS = 120
AUTO_PROPOSALS = 6
NARROW = 64
"""Width up to which proposals are made unasked."""
SAMPLE_QUERIES = 500


def proposals(config: NDMConfig, width: int, start: str) -> int:
    """How many proposals a fit makes."""
    if config.escape != "auto":
        return config.escape
    return AUTO_PROPOSALS if width <= NARROW and start != "ica groups" and config.merging.threshold != "never" else 0


def escape(job: Job, done: Progressed, count: int) -> Progressed:
    """The fit after so many proposals; its step counts as before."""
    if len(done.state.sizes) < 2:
        return done
    current, loss = _polished(job, done, done.state)
    kept = 0
    for number in range(count):
        mixed = _mixed(job, current, number)
        tried, after = _polished(job, done, mixed)
        if after < loss:
            current, loss, kept = tried, after, kept + 1
    entry = Entry(
        step=current.step,
        train_loss=None,
        loss=loss,
        lr=learning_rate(job, current.step),
        pool=job.split.pool,
        event="escape",
        sizes=current.sizes,
        note=f"{kept} of {count} proposals kept",
    )
    return replace(done, state=current, entries=(*done.entries, entry))


def _polished(job: Job, done: Progressed, state: State) -> tuple[State, float]:
    """The state after a short fit of its own at a falling rate, its step as it was, and its held-out distance."""
    merging = job.config.merging.model_copy(update={"threshold": "never"})
    config = job.config.model_copy(update={"merging": merging})
    alone = replace(job, config=config, steps=POLISH_STEPS)
    moved = descend(alone, replace(done, state=replace(state, step=0)), POLISH_STEPS).state
    distances = held_out(job.measured, moved.rotation, moved.sizes, config.metric)
    return replace(moved, step=state.step), float(distances.mean())


def _mixed(job: Job, state: State, number: int) -> State:
    """The state with the columns of the worst block and of a partner turned at random."""
    rng = np.random.default_rng([job.config.seed, 8, number])
    distances = held_out(job.measured, state.rotation, state.sizes, job.config.metric)
    worst = int(distances.argmax())
    others = [block for block in range(len(state.sizes)) if block != worst]
    weights = _information(job, state, worst, others, number) * distances[others].double().numpy().clip(0)
    weights = weights / weights.sum() if weights.sum() > 0 else np.full(len(others), 1 / len(others))
    partner = others[int(rng.choice(len(others), p=weights))]
    slices = block_columns(state.sizes)
    columns = torch.cat([torch.arange(slices[b].start, slices[b].stop) for b in (worst, partner)])
    turn = random_orthogonal(len(columns), seed=int(rng.integers(2**62)), dtype=state.rotation.dtype)
    if torch.det(turn.double()) < 0:
        turn[:, 0] *= -1
    rotation = state.rotation.clone()
    rotation[:, columns] = state.rotation[:, columns] @ turn
    return replace(
        state,
        rotation=rotation,
        first=torch.zeros_like(rotation),
        second=torch.zeros_like(rotation),
        count=0,
    )


def _information(job: Job, state: State, worst: int, others: list[int], number: int) -> np.ndarray:
    merging = job.config.merging.model_copy(update={"queries": SAMPLE_QUERIES})
    config = job.config.model_copy(update={"merging": merging})
    sample = draw_sample(job.rows, config, state.rotation, len(others), state.step + number)
    pairs = [(min(worst, other), max(worst, other)) for other in others]
    found = estimate(sample, state.sizes, pairs=pairs)
    return np.array([max(found[pair][0], 0.0) for pair in pairs])
