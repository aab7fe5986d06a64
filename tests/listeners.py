"""Listeners to progress that remember what they were told, or act on it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager


class Recorder:
    """Remembers tasks as (title, total, unit, done) and notes."""

    def __init__(self, on_advance: Callable[[str], None] | None = None) -> None:
        """`on_advance` is called with a task's title at each of its steps."""
        self.tasks: list[tuple[str, int | None, str, int]] = []
        self.notes: list[str] = []
        self.on_advance = on_advance

    @contextmanager
    def task(self, title: str, total: int | None, unit: str) -> Generator[Callable[[int], None], None, None]:
        """Counts what is done."""
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if self.on_advance is not None:
                self.on_advance(title)

        yield advance
        self.tasks.append((title, total, unit, done))

    def note(self, text: str) -> None:
        """Keeps the line."""
        self.notes.append(text)
