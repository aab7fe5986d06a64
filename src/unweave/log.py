"""The library's logger and the progress protocol: the library never prints, it reports here.

A verb takes `progress=` and calls `progress.task(...)`; who listens decides what a person sees (rich bars on a
terminal, plain lines in a log, nothing by default). The logger `unweave` has no handler of its own beyond the null one,
as a library should.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, runtime_checkable

logger = logging.getLogger("unweave")
logger.addHandler(logging.NullHandler())

Advance = Callable[[int], None]


@runtime_checkable
class Progress(Protocol):
    """Who listens to the progress of a long verb."""

    def task(self, title: str, total: int | None, unit: str) -> AbstractContextManager[Advance]:
        """A context whose value is called with the number of units just done; `total` is None when it is not known."""
        ...

    def note(self, text: str) -> None:
        """One line for a person: a plan, a finding, something left out."""
        ...


class Silent:
    """Listens to nothing; the default everywhere."""

    @contextmanager
    def task(self, title: str, total: int | None, unit: str) -> Generator[Advance, None, None]:
        """A context whose value does nothing."""
        yield lambda _count: None

    def note(self, text: str) -> None:
        """Drops the line."""


SILENT: Progress = Silent()
