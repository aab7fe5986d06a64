"""`Asked`: what every suite is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unweave.log import SILENT, Progress


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a suite is asked for."""

    count: int
    """Prompts, pairs or claims of each test."""
    data: Any = None
    """A file of the user's own."""
    site: str | None = None
    rows: Any = None
    """Activations that PCA partitions are fitted on."""
    seed: int = 0
    progress: Progress = SILENT
