"""`fit`: from rows to a partition of their space into orthogonal subspaces.

NDM = rotation (`descent`) + neighbour objective (`objective`) + merge rule (`merging`), each of which can be used
alone; `training` runs them, `start` says where from.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import Capacity, Gauge, Provenance, Within
from unweave.log import SILENT, Progress
from unweave.ndm.checkpoints import last_checkpoint, saver
from unweave.ndm.config import NDMConfig, bytes_of, threshold_of
from unweave.ndm.descent import start_state
from unweave.ndm.escape import escape as leave_minimum
from unweave.ndm.escape import proposals
from unweave.ndm.estimates import dependence, held_out, matrix_of
from unweave.ndm.measure import block_table
from unweave.ndm.pool import AUTO_POOL, beside_keys, fixed_bytes, held_out_pool, split_rows
from unweave.ndm.presets import settled
from unweave.ndm.result import OUTLIER_SHARE, NDMResult, Outcome
from unweave.ndm.rows import Rows, open_rows
from unweave.ndm.splitting import fit_by_splitting
from unweave.ndm.start import Start, ica_start, plain_start
from unweave.ndm.training import Job, Progressed, descend, search_options, train
from unweave.places import Remote
from unweave.tensors.neighbors import TILE
from unweave.tensors.orthogonal import polar

GROUPS_RATE = 0.1
"""Share of the learning rate for a start whose groups are known: it is polished, not looked for."""
STEPS, GROUPS_STEPS = 1200, 300
"""Steps of a fit that was not told, from a start of its own and from groups that are known."""
PILOT_STEPS = 60
"""Steps after which two starts are compared."""
CHEAP_WIDTH = 1024
"""Width up to which independent components are tried unasked."""


def fit(
    X: Any,
    *,
    unit_size: int | None = None,
    seed: int = 0,
    preset: str | None = None,
    method: str | None = None,
    metric: str | None = None,
    pool: int | str | None = None,
    batch: int | None = None,
    steps: int | None = None,
    lr: float | None = None,
    schedule: str | None = None,
    merge_thr: float | str | None = None,
    merge_start: int | None = None,
    merge_interval: int | None = None,
    merge_cap: int | None = None,
    mi_keys: int | None = None,
    mi_queries: int | None = None,
    mi_resolution: float | None = None,
    retraction: str | None = None,
    init: str | None = None,
    escape: int | str | None = None,
    memory: str | int | None = None,
    search: str | None = None,
    dtype: str | None = None,
    pool_refresh: int | None = None,
    refresh: int | None = None,
    first_pool: int | None = None,
    carry: bool | None = None,
    standardize: str | None = None,
    center: bool | None = None,
    drop_outliers: float | None = None,
    drop_first: int | None = None,
    exclude_same: str | None = None,
    rows: Mapping[str, Any] | None = None,
    checkpoint: str | Path | Remote | None = None,
    progress: Progress = SILENT,
) -> NDMResult:
    """A partition of representation space into orthogonal subspaces in which neighbours are close.

    Minimises `(1/S) sum_s mean_b norm(z_b^(s) - nearest z^(s))` over rotations of the space, and joins blocks that
    share information. Options that are None take the value of the preset.

    Args:
        X: Rows (n, d): an array, tensor, memory map, column of a store, a store with one site, or an iterator of
            matrices, which is read until `memory` is full.
        unit_size: Size of the blocks at the start.
        seed: Of every draw; equal seeds give equal bits on a CPU.
        preset: `laptop`, `quick`, `toy`, or the published `gpt2`, `qwen2.5-1.5b`, `gemma-2-2b`.
        method: `merge` from small blocks upwards, `split` from one block downwards.
        metric: `euclidean` or `cosine`.
        pool: Keys N among which the nearest is sought, or `auto`.
        batch: Queries a step.
        steps: Most steps.
        lr: Adam's learning rate.
        schedule: `falling` or `constant` rate.
        merge_thr: Nats per dimension above which two blocks are joined; `auto` from shuffled blocks; infinity never
            joins and never stops early.
        merge_start: First step with a check.
        merge_interval: Steps between checks of one round each; a check without a pair ends the fit.
        merge_cap: At most one pair for so many blocks in a round.
        mi_keys: Rows among which the information is estimated.
        mi_queries: Rows at which it is estimated.
        mi_resolution: Noise that hides smaller differences, in mean column deviations.
        retraction: `cayley` or `expm`.
        init: `identity`, `random`, `ica`, or `auto`.
        escape: Proposals to leave local minima, or `auto`.
        memory: What the fit may hold beside the rows, such as `2GB`.
        search: `exact`.
        dtype: Of the search: `auto`, `float32`, `float64` (everything), `bfloat16`.
        pool_refresh: Steps that a pool serves.
        refresh: Steps that one search serves.
        first_pool: Keys of the first steps, which double up to N.
        carry: Whether Adam's moments go through a merge.
        standardize: `column` or `global`: divide by standard deviations; the featurizer is then exact but not
            orthogonal.
        center: Subtract the mean.
        drop_outliers: Leave out rows further from the mean than this many times the median.
        drop_first: Leave out so many first tokens of a document.
        exclude_same: `document` or `token`: neighbours of the same one do not count.
        rows: Columns `document`, `position`, `token_id` beside X; a column of a store brings its own.
        checkpoint: Directory or URL that keeps the fit while it runs; the same call goes on from it.
        progress: Who is told how far it is.

    Returns:
        `.featurizer` (one block a subspace), `.partition`, `.history`, `.mi`, `.blocks`, `.merge_tree`, `.table()`.

    Raises:
        InputError: Options that do not fit, a checkpoint of another fit.
        DataError: NaN, fewer than two distinct rows.

    Source:
        arXiv 2508.01916; specs/ndm.md.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> which = rng.integers(0, 6, (800, 2))  # two groups of six features that exclude one another
        >>> parts = [np.eye(6)[which[:, g]] @ rng.normal(size=(6, 2)) * rng.random((800, 1)) for g in range(2)]
        >>> found = fit(np.concatenate(parts, 1), unit_size=2, steps=40)
        >>> found.partition, bool((found.featurizer.read.T @ found.featurizer.read - torch.eye(4)).abs().max() < 1e-6)
        ([2, 2], True)
    """
    clock = time.process_time()
    options = {
        "unit_size": unit_size, "seed": seed, "method": method, "metric": metric, "pool": pool, "batch": batch,
        "steps": steps, "lr": lr, "schedule": schedule, "merge_thr": threshold_of(merge_thr),
        "merge_start": merge_start, "merge_interval": merge_interval, "merge_cap": merge_cap, "mi_keys": mi_keys,
        "mi_queries": mi_queries, "mi_resolution": mi_resolution, "retraction": retraction, "init": init,
        "escape": escape, "memory": None if memory is None else str(memory), "search": search, "dtype": dtype,
        "pool_refresh": pool_refresh, "refresh": refresh, "first_pool": first_pool, "carry": carry,
        "standardize": standardize, "center": center, "drop_outliers": drop_outliers, "drop_first": drop_first,
        "exclude_same": exclude_same,
    }  # fmt: skip
    config = settled(preset, options)
    opened = open_rows(X, config, rows)
    return fit_rows(opened, config, checkpoint=checkpoint, progress=progress, clock=clock)


def fit_rows(
    rows: Rows,
    config: NDMConfig,
    *,
    checkpoint: str | Path | Remote | None = None,
    progress: Progress = SILENT,
    clock: float,
) -> NDMResult:
    """`fit` of opened rows with a settled configuration.

    Args:
        rows: Checked rows.
        config: Every option.
        checkpoint: Directory or URL that keeps the fit while it runs.
        progress: Who is told how far it is.
        clock: CPU-seconds at the start.
    """
    job = prepared(rows, config, progress, clock)
    width = len(rows.live)
    if config.method == "split":
        done, tried = fit_by_splitting(job), ()
    elif min(config.unit_size, width) == width:
        done, tried = _only_block(job), ()
    else:
        done, tried = _fitted(job, rows, checkpoint)
    return _result(job, rows, done, tried)


def planned_steps(config: NDMConfig, start: str) -> int:
    """Steps of a fit from this start, if it does not end early.

    Args:
        config: Every option.
        start: Name of the start.
    """
    if config.steps is not None:
        return config.steps
    return GROUPS_STEPS if start == "ica groups" else STEPS


def plan(config: NDMConfig, rows: int, width: int) -> dict[str, Any]:
    """What a fit will hold and roughly cost, before it starts.

    Args:
        config: Every option.
        rows: Of the matrix.
        width: Of the matrix.
    """
    pool = min(AUTO_POOL, rows) if config.search.pool == "auto" else min(config.search.pool, rows)
    blocks = -(-width // config.unit_size)
    steps = STEPS if config.steps is None else config.steps
    batch = config.search.batch
    fast = search_options(config, width).precision == "bfloat16"
    turned = 2 * pool * width * width / (8e11 if fast else 1.2e11)
    scored = 2 * pool * batch * width / 1.2e11 + 4e-10 * pool * batch * blocks
    each = turned + scored + 6 * width**3 / 1.2e11 + 8e-10 * blocks * batch * width + 5e-4
    return {
        "rows": rows,
        "width": width,
        "unit_size": config.unit_size,
        "blocks": blocks,
        "pool": pool,
        "steps": steps,
        "bytes": min(
            bytes_of(config.search.memory),
            2 * 4 * pool * width + 64 * width * width + 3 * 4 * blocks * batch * width + 12 * TILE * (width + batch),
        ),
        "seconds": round(steps * each, 1),
    }


def prepared(rows: Rows, config: NDMConfig, progress: Progress, clock: float) -> Job:
    """What the loop of a fit works with."""
    width = len(rows.live)
    split = split_rows(rows, config)
    return Job(
        rows=rows,
        config=config,
        split=split,
        measured=held_out_pool(rows, split, config),
        lr=config.lr or 0.16 / width**0.5,
        steps=STEPS if config.steps is None else config.steps,
        options=search_options(config, width),
        progress=progress,
        clock=clock,
    )


def _fitted(
    job: Job, rows: Rows, checkpoint: str | Path | Remote | None
) -> tuple[Progressed, tuple[tuple[str, float], ...]]:
    job = replace(job, loosen=_loosened, save=None if checkpoint is None else saver(checkpoint, job, rows))
    found = last_checkpoint(checkpoint, job, rows) if checkpoint is not None else None
    if found is not None:
        return train(_rated(job, found.done.start), found.done), found.starts
    start, tried = best_start(job)
    done = Progressed(state=start_state(start.rotation, start.sizes), start=start.name, start_sizes=start.sizes)
    return train(replace(_rated(job, start.name), starts=tried), done), tried


def _rated(job: Job, start: str) -> Job:
    """The fit with the learning rate and the steps that its start asks for."""
    if start != "ica groups":
        return job
    job = replace(job, lr=job.lr * GROUPS_RATE) if job.config.lr is None else job
    return replace(job, steps=GROUPS_STEPS) if job.config.steps is None else job


def _loosened(job: Job, done: Progressed) -> Progressed:
    count = proposals(job.config, len(job.rows.live), done.start)
    return leave_minimum(job, done, count) if count else done


def best_start(job: Job) -> tuple[Start, tuple[tuple[str, float], ...]]:
    """The start of a fit, and the held-out distance of each that was tried after a few steps."""
    config, rows = job.config, job.rows
    width = len(rows.live)
    never = config.merging.threshold == "never"
    if config.init in ("identity", "random"):
        seed = config.seed if config.init == "random" else None
        return plain_start(width, config.unit_size, rows.dtype, seed=seed), ()
    if config.init == "auto" and width > CHEAP_WIDTH:
        return plain_start(width, config.unit_size, rows.dtype), ()
    found = ica_start(rows, config.unit_size, config.seed, keep_units=never, memory=beside_keys(rows, config))
    if config.init == "ica":
        return found, ()
    plain = Start(rotation=torch.eye(width, dtype=rows.dtype), sizes=found.sizes, name="identity")
    scores = []
    for start in (plain, found):
        done = Progressed(state=start_state(start.rotation, start.sizes), start=start.name, start_sizes=start.sizes)
        moved = descend(_rated(job, start.name), done, min(PILOT_STEPS, job.steps)).state
        scores.append(float(held_out(job.measured, moved.rotation, moved.sizes, config.metric).mean()))
    tried = tuple((start.name, score) for start, score in zip((plain, found), scores, strict=True))
    if scores[1] <= scores[0]:
        return found, tried
    return plain_start(width, config.unit_size, rows.dtype), tried


def _only_block(job: Job) -> Progressed:
    width = len(job.rows.live)
    state = start_state(torch.eye(width, dtype=job.rows.dtype), (width,))
    return Progressed(state=state, start="identity", start_sizes=(width,), stopped=True)


def _result(job: Job, rows: Rows, done: Progressed, tried: tuple[tuple[str, float], ...]) -> NDMResult:
    config, state = job.config, done.state
    shared, _ = dependence(rows, config, state.rotation, state.sizes, turn=job.steps + 1)
    blocks = block_table(rows, config, state.rotation, state.sizes, job.split.keys, job.split.held)
    warnings = [*rows.warnings, *job.split.warnings]
    if len(state.sizes) == 1:
        outcome = Outcome.ONE_BLOCK
        warnings.append(f"nothing to optimise: {outcome.value}")
    else:
        scheduled = done.entries and done.entries[-1].note == "no pair above the threshold"
        outcome = Outcome.NOTHING_TO_MERGE if scheduled else Outcome.DONE
    least = fixed_bytes(rows, config)
    if least > bytes_of(config.search.memory):
        warnings.append(
            f"memory is {config.search.memory}, but a fit of this width takes {least / 1e6:.0f} MB at least"
        )
    warnings += [
        f"block {block.number} of {block.size} dimensions holds {block.variance_share:.0%} of the variance: outliers"
        for block in blocks
        if block.variance_share > OUTLIER_SHARE and len(blocks) > 4
    ]
    return NDMResult(
        featurizer=_featurizer(job, rows, state.rotation, state.sizes),
        entries=done.entries,
        blocks=blocks,
        mi=matrix_of(shared.nats, len(state.sizes)),
        mi_before=None if done.before is None else matrix_of(done.before.nats, len(done.start_sizes)),
        mi_null=shared.null,
        mi_keys=shared.keys,
        tied=shared.tied,
        rounds=done.rounds,
        start=done.start,
        start_sizes=done.start_sizes,
        starts=tried,
        pool=len(job.split.keys),
        outcome=outcome,
        config=config,
        warnings=tuple(warnings),
        seconds=time.process_time() - job.clock,
    )


def _featurizer(job: Job, rows: Rows, rotation: Tensor, sizes: tuple[int, ...]) -> AffineFeaturizer:
    """The partition in the coordinates of the user: scales undone exactly, constant columns behind the last block."""
    exact = polar(rotation)
    live = len(rows.live)
    dead = np.setdiff1d(np.arange(rows.width), rows.live.numpy())
    read, write = (
        torch.zeros(rows.width, rows.width, dtype=torch.float64),
        torch.zeros(rows.width, rows.width, dtype=torch.float64),
    )
    read[rows.live, :live] = exact / rows.scale[:, None]
    write[:live][:, rows.live] = 0
    write[:live, rows.live] = exact.T * rows.scale
    for place, column in enumerate(dead.tolist()):
        read[column, live + place] = write[live + place, column] = 1
    origin = torch.zeros(rows.width, dtype=torch.float64)
    if job.config.rows.center:
        origin[rows.live] = rows.mean
    return AffineFeaturizer(
        read=read.to(torch.float64),
        write=write,
        origin=origin,
        blocks=(*sizes[:-1], sizes[-1] + len(dead)),
        gauge=Gauge(within=Within.ROTATION, permutation=True),
        site=rows.site,
        capacity=Capacity(parameters=live * (live - 1) // 2),
        provenance=Provenance(method="ndm", model=rows.model, data=rows.data, rows=len(rows), seed=job.config.seed),
    )
