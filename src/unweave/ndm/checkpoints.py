"""A fit that is kept while it runs: an artifact with everything it needs to go on.

On this machine it is replaced in one step. Behind a URL nothing can be renamed, and an artifact that is written anew is
for a moment not there: there two places take turns, and the last whole one counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import torch

from unweave.artifact import FACTS, fingerprint, load, save
from unweave.config import config_json
from unweave.errors import FingerprintError, StoreError
from unweave.ndm.rows import Rows
from unweave.ndm.training import Job, Progressed
from unweave.places import Place, Remote, place_of

TURNS = ("even", "odd")
"""The two places behind a URL."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Checkpoint:
    """A fit that is not finished, or just is."""

    done: Progressed
    starts: tuple[tuple[str, float], ...]
    fit: str
    """Fingerprint of the configuration and the rows."""
    seconds: float | None = None


def saver(path: str | Path | Remote, job: Job, rows: Rows) -> Callable[[Job, Progressed], None]:
    """What a fit calls to keep how far it is; the newest checkpoint that is there is the last to be replaced."""
    mark, place = mark_of(job, rows), place_of(path)
    steps = {one: -1 if found is None else found.done.state.step for one, found in _kept(place).items()}
    turns = cycle(sorted(steps, key=lambda one: steps[one]))

    def keep(now: Job, done: Progressed) -> None:
        save(Checkpoint(done=done, starts=now.starts, fit=mark), next(turns))

    return keep


def last_checkpoint(path: str | Path | Remote, job: Job, rows: Rows) -> Checkpoint | None:
    """The fit in a directory or at a URL; None if there is none yet.

    Raises:
        FingerprintError: It is of another configuration or other rows.
        StoreError: Something else stands there, or it is damaged.
    """
    there = [one for one in _kept(place_of(path)).values() if one is not None]
    if not there:
        return None
    found = max(there, key=lambda one: one.done.state.step)
    if found.fit != mark_of(job, rows):
        raise FingerprintError(
            f"the checkpoint at {path} is of another fit: give the same rows and options, or another directory"
        )
    return found


def _kept(place: Place) -> dict[Place, Checkpoint | None]:
    """What stands at the places of a checkpoint; one that is damaged is left out where the other is whole."""
    places = [place / name for name in TURNS] if isinstance(place, Remote) else [place]
    found: dict[Place, Checkpoint | None] = {}
    fault: StoreError | None = None
    for one in places:
        try:
            found[one] = _read(one) if (one / FACTS).exists() else None
        except StoreError as error:
            found[one] = None
            fault = fault or error
    if fault is not None and not any(found.values()):
        raise fault
    return found


def _read(place: Place) -> Checkpoint:
    found = load(place)
    if not isinstance(found, Checkpoint):
        raise StoreError(f"{place} holds a {type(found).__name__}, not a fit: choose another checkpoint directory")
    return found


def mark_of(job: Job, rows: Rows) -> str:
    """What a checkpoint must agree with: the options, and the rows by their number, moments and a few of them."""
    some = torch.linspace(0, len(rows) - 1, min(64, len(rows))).long().numpy()
    return fingerprint(
        {
            "config": config_json(job.config),
            "rows": len(rows),
            "width": rows.width,
            "mean": rows.mean.tolist(),
            "some": rows.take(some).double().sum(1).tolist(),
        }
    )
