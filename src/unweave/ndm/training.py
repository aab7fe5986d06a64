"""The loop of a fit: draw, search, step; measure now and then; merge at checks; stop.

Everything that happens at a step follows from the state, the configuration and the number of the step, so that a fit
that is killed and taken up again from a checkpoint ends in the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from unweave.log import SILENT, Progress
from unweave.ndm.config import NDMConfig, bytes_of
from unweave.ndm.descent import State, permuted, polished, step
from unweave.ndm.estimates import Dependence, dependence, estimate, held_out, normalised, threshold
from unweave.ndm.merging import MergePlan, columns_of, plan_merges
from unweave.ndm.objective import OBJECTIVES, Evaluated
from unweave.ndm.pool import Pool, Split, batch_of, keys_at, pool_at
from unweave.ndm.rows import Drawable
from unweave.tensors.neighbors import Exclusion, SearchOptions, has_matrix_units, nearest_in_blocks

GRID = 20
"""Measurements of a fit."""
SECOND_RATE = 0.3
"""Share of the rate with which a fit goes on after its first check."""
CLEAR_SHARE, CLEAR_FACTOR = 0.25, 3.0
"""Before the end a pair is only merged if it shares this much of what the closest pair does, and so many times the
threshold: blocks of unequal size leak into one another until they have the sizes of the groups.
"""
LAST_CHECK = 100
"""A scheduled check needs so many steps after it."""
WIDE = 256
"""Width from which the search may rotate in bfloat16."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the history."""

    step: int
    train_loss: float | None
    """Mean of the objective since the line before, over the training pool."""
    loss: float | None
    """Held-out mean distance, unweighted over blocks; None where it was not measured."""
    lr: float
    pool: int
    """Keys."""
    event: str | None = None
    """`merge`, `split`, `escape`, `stop` or None."""
    sizes: tuple[int, ...] = ()
    """Of the blocks after it."""
    pairs: tuple[tuple[int, int], ...] = ()
    """What was merged, in the numbers of the blocks before."""
    scores: tuple[float, ...] = ()
    """Their scores, nats per dimension."""
    threshold: float | None = None
    note: str = ""
    seconds: float | None = None
    """CPU-seconds since the start of the fit or of its last continuation."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Job:
    """What a fit works with."""

    rows: Drawable
    config: NDMConfig
    split: Split
    measured: Pool
    """Held-out rows and their keys."""
    lr: float
    steps: int
    options: SearchOptions
    save: Callable[[Job, Progressed], None] | None = None
    starts: tuple[tuple[str, float], ...] = ()
    loosen: Callable[[Job, Progressed], Progressed] | None = None
    """What is done once before the first check, to leave a local minimum."""
    progress: Progress = SILENT
    clock: float = field(default_factory=time.process_time)


@dataclass(frozen=True, eq=False, kw_only=True)
class Progressed:
    """How far a fit is: all that it needs to go on."""

    state: State
    start: str
    """Which start won."""
    start_sizes: tuple[int, ...]
    entries: tuple[Entry, ...] = ()
    rounds: tuple[MergePlan, ...] = ()
    is_loosened: bool = False
    before: Dependence | None = None
    """Between the units, at the first check."""
    stopped: bool = False


def learning_rate(job: Job, at: int) -> float:
    """The rate of a step: constant, then down a straight line to nothing at the first check, where the blocks must lie
    still, and from a lower one again to nothing at the end.
    """
    config = job.config
    if config.schedule == "constant":
        return job.lr
    first = first_check(job)
    turn = job.steps if first is None or config.merging.interval is not None else min(first, job.steps)
    if at < turn:
        return job.lr * min(1.0, (1 - at / turn) / 0.7)
    return job.lr * SECOND_RATE * max(0.0, 1 - (at - turn) / max(1, job.steps - turn))


def search_options(config: NDMConfig, width: int) -> SearchOptions:
    """How the training searches."""
    wanted = config.search.dtype
    if wanted == "auto":
        wanted = "bfloat16" if width >= WIDE and has_matrix_units() else "float32"
    precision = "bfloat16" if wanted == "bfloat16" else "float32"
    return SearchOptions(precision=precision, metric=config.metric)


def train(job: Job, done: Progressed) -> Progressed:
    """The fit from where it is to its end."""
    every = _save_every(job)
    with job.progress.task("ndm", job.steps, "step") as advance:
        advance(done.state.step)
        while not done.stopped:
            at = done.state.step
            if _is_due(job, at):
                if job.loosen is not None and not done.is_loosened:
                    done = replace(job.loosen(job, done), is_loosened=True)
                done = check(job, done)
            if at >= job.steps:
                done = _noted(job, done, event="stop", note="all steps are done") if not done.stopped else done
                break
            if done.stopped:
                break
            until = min(job.steps, at - at % every + every, _next_check(job, at))
            done = descend(job, done, until)
            advance(until - at)
            if job.save is not None and (until % every == 0 or until == job.steps):
                job.save(job, done)
    return replace(done, state=polished(done.state), stopped=True)


def descend(job: Job, done: Progressed, until: int) -> Progressed:
    """Steps up to `until`, with a measurement wherever the grid has one."""
    config, state = job.config, done.state
    grid = max(1, job.steps // GRID)
    losses: list[float] = []
    pool: Pool | None = None
    found: Tensor | None = None
    turn = -1
    while state.step < until:
        at = state.step
        if at // config.search.pool_refresh != turn or pool is None:
            turn = at // config.search.pool_refresh
            size = keys_at(job.split, config, at / max(1, job.steps))
            pool = pool_at(job.rows, job.split, config, turn, size)
            found = None
        place = at % config.search.pool_refresh // config.search.refresh
        queries, exclusion = batch_of(pool, config, place)
        if found is None or at % config.search.refresh == 0:
            found = _search(job, queries, pool.keys, state, exclusion)
        here = evaluate(job, queries, pool.keys, found, state)
        losses.append(here.loss)
        if here.gradient is None:
            raise RuntimeError("a step needs a gradient")
        state = step(state, here.gradient, learning_rate(job, at), config.retraction)
        if state.step % grid == 0 or state.step == job.steps:
            state = polished(state)
            done = _noted(job, replace(done, state=state), losses=losses)
            losses = []
    return replace(done, state=state)


def evaluate(job: Job, queries: Tensor, keys: Any, found: Tensor, state: State) -> Evaluated:
    """The objective and its gradient at the neighbours found, a part of the queries at a time."""
    objective = OBJECTIVES[job.config.metric]
    each = 3 * len(state.sizes) * queries.shape[1] * queries.element_size()
    most = max(1, bytes_of(job.config.search.memory) // 8 // each)
    if len(queries) <= most:
        return objective(queries, keys[found], state.rotation, state.sizes)
    gradient, distances, loss = torch.zeros_like(state.rotation), torch.zeros(len(state.sizes)), 0.0
    for start in range(0, len(queries), most):
        part = slice(start, start + most)
        here = objective(queries[part], keys[found[:, part]], state.rotation, state.sizes)
        share = len(queries[part]) / len(queries)
        loss += share * here.loss
        distances = distances + share * here.distances
        if here.gradient is not None:
            gradient += share * here.gradient
    return Evaluated(loss=loss, distances=distances, gradient=gradient)


def check(job: Job, done: Progressed) -> Progressed:
    """Rounds of merging: one where an interval was asked for, else until no pair is above the threshold."""
    config, state = job.config, done.state
    if len(state.sizes) < 2:
        return _noted(job, replace(done, stopped=True), event="stop", note="one block is left")
    found, sample = dependence(job.rows, config, state.rotation, state.sizes, turn=state.step)
    done = replace(done, before=done.before or found)
    limit, nats = threshold(config, found.null), dict(found.nats)
    clear = limit
    if config.merging.interval is None and state.step < job.steps:  # the end sees those that are not clear yet
        clear = max(CLEAR_FACTOR * limit, CLEAR_SHARE * max(normalised(nats, state.sizes).values()))
    rounds = 0
    while True:
        sizes = done.state.sizes
        plan = plan_merges(normalised(nats, sizes), sizes, clear, config.merging.cap)
        if not plan.pairs:
            break
        rounds += 1
        order = columns_of(plan.members, sizes)
        done = replace(
            done,
            state=permuted(done.state, order, plan.sizes, carry=config.merging.carry),
            rounds=(*done.rounds, plan),
        )
        done = _noted(job, done, event="merge", plan=plan, limit=clear)
        if config.merging.interval is not None or len(plan.sizes) < 2:
            break
        sample = replace(sample, keys=sample.keys[:, order], queries=sample.queries[:, order])
        nats = _carried(nats, plan)
        missing = [(j, k) for j in range(len(plan.sizes)) for k in range(j + 1, len(plan.sizes)) if (j, k) not in nats]
        nats |= {pair: one for pair, (one, _) in estimate(sample, plan.sizes, pairs=missing).items()}
    if not rounds and config.merging.interval is not None:
        done = _noted(job, replace(done, stopped=True), event="stop", limit=limit, note="no pair above the threshold")
    return done


def _carried(nats: dict[tuple[int, int], float], plan: MergePlan) -> dict[tuple[int, int], float]:
    """The information between blocks that did not change, in their new numbers."""
    place = {group[0]: number for number, group in enumerate(plan.members) if len(group) == 1}
    return {
        (min(place[j], place[k]), max(place[j], place[k])): value
        for (j, k), value in nats.items()
        if j in place and k in place
    }


def _search(job: Job, queries: Tensor, keys: Any, state: State, exclusion: Exclusion) -> Tensor:
    return nearest_in_blocks(queries, keys, state.rotation, state.sizes, exclusion=exclusion, options=job.options)


def _noted(
    job: Job,
    done: Progressed,
    *,
    losses: list[float] | None = None,
    event: str | None = None,
    plan: MergePlan | None = None,
    limit: float | None = None,
    note: str = "",
) -> Progressed:
    """A line of history, with the held-out distance where the grid has one or something happened."""
    state = done.state
    distances = held_out(job.measured, state.rotation, state.sizes, job.config.metric)
    entry = Entry(
        step=state.step,
        train_loss=sum(losses) / len(losses) if losses else None,
        loss=float(distances.mean()),
        lr=learning_rate(job, state.step),
        pool=keys_at(job.split, job.config, state.step / max(1, job.steps)),
        event=event,
        sizes=state.sizes,
        pairs=plan.pairs if plan else (),
        scores=plan.scores if plan else (),
        threshold=limit,
        note=note,
        seconds=time.process_time() - job.clock,
    )
    return replace(done, entries=(*done.entries, entry))


def _save_every(job: Job) -> int:
    config = job.config
    whole = config.search.pool_refresh * config.search.refresh
    return max(1, job.steps // GRID // whole) * whole


def first_check(job: Job) -> int | None:
    """The step of the first check; None if there is none."""
    config = job.config
    if config.merging.threshold == "never":
        return None
    return config.merging.start if config.merging.start is not None else job.steps * 3 // 5


def _is_due(job: Job, at: int) -> bool:
    first, interval = first_check(job), job.config.merging.interval
    if first is None:
        return False
    if interval is None:
        return at in (first, job.steps)
    return at >= first and (at - first) % interval == 0 and at < job.steps - LAST_CHECK


def _next_check(job: Job, at: int) -> int:
    """The next step after this one at which a check is due, or the last step."""
    first, interval = first_check(job), job.config.merging.interval
    if first is None:
        return job.steps
    if at < first:
        return first
    return job.steps if interval is None else first + ((at - first) // interval + 1) * interval
