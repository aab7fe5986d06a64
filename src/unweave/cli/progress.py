"""Who listens to progress on the command line: bars on a terminal, plain lines elsewhere. Both write to standard
error.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

from unweave.log import SILENT, Advance, Progress

EVERY_SECONDS = 5.0
"""How often a plain line is written while a task goes on."""


def listener(*, quiet: bool) -> Progress:
    """The listener that fits where standard error goes."""
    if quiet:
        return SILENT
    return Bars() if sys.stderr.isatty() else Lines()


class Bars:
    """Bars on a terminal."""

    def __init__(self) -> None:
        """Prepares the console; nothing is shown yet."""
        from rich.console import Console

        self.console = Console(stderr=True)

    @contextmanager
    def task(self, title: str, total: int | None, unit: str) -> Generator[Advance, None, None]:
        """One bar for as long as the context is open."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description:<20}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(_many(unit)),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console) as progress:
            bar = progress.add_task(title, total=total)
            yield lambda count: progress.advance(bar, count)

    def note(self, text: str) -> None:
        """One line above the bars."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class Lines:
    """Plain lines for logs and pipes."""

    @contextmanager
    def task(self, title: str, total: int | None, unit: str) -> Generator[Advance, None, None]:
        """A line now and then, and one at the end."""
        start = last = time.monotonic()
        done = 0

        def advance(count: int) -> None:
            nonlocal done, last
            done += count
            if time.monotonic() - last >= EVERY_SECONDS:
                last = time.monotonic()
                whole = f" of {total:,}" if total else ""
                self.note(f"{title}: {done:,}{whole} {_many(unit)} after {last - start:.0f} s")

        yield advance
        units = unit if done == 1 else _many(unit)
        self.note(f"{title}: {done:,} {units} in {time.monotonic() - start:.1f} s")

    def note(self, text: str) -> None:
        """One line."""
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def _many(unit: str) -> str:
    """The plural of a unit."""
    return unit + ("es" if unit.endswith(("ch", "sh", "s", "x")) else "s")
