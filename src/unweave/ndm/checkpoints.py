"""A fit on disk while it runs: an artifact with everything it needs to go on, replaced in one step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from unweave.artifact import FACTS, fingerprint, load, save
from unweave.config import config_json
from unweave.errors import FingerprintError, StoreError
from unweave.ndm.rows import Rows
from unweave.ndm.training import Job, Progressed


@dataclass(frozen=True, eq=False, kw_only=True)
class Checkpoint:
    """A fit that is not finished, or just is."""

    done: Progressed
    starts: tuple[tuple[str, float], ...]
    fit: str
    """Fingerprint of the configuration and the rows."""
    seconds: float | None = None


def saver(path: str | Path, job: Job, rows: Rows) -> Callable[[Job, Progressed], None]:
    """What a fit calls to keep how far it is."""
    mark = mark_of(job, rows)

    def keep(now: Job, done: Progressed) -> None:
        save(Checkpoint(done=done, starts=now.starts, fit=mark), path)

    return keep


def last_checkpoint(path: str | Path, job: Job, rows: Rows) -> Checkpoint | None:
    """The fit in a directory; None if there is none yet.

    Raises:
        FingerprintError: It is of another configuration or other rows.
        StoreError: Something else stands there, or it is damaged.
    """
    if not (Path(path) / FACTS).exists():
        return None
    found = load(path)
    if not isinstance(found, Checkpoint):
        raise StoreError(f"{path} holds a {type(found).__name__}, not a fit: choose another checkpoint directory")
    if found.fit != mark_of(job, rows):
        raise FingerprintError(
            f"the checkpoint at {path} is of another fit: give the same rows and options, or another directory"
        )
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
