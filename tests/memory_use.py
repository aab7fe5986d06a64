"""What a piece of code allocates, in bytes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def allocated() -> Generator[Callable[[], int], None, None]:
    """A function that gives the peak of what Python and numpy held at once inside, beyond what was held before."""
    tracemalloc.start()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    peak = [0]
    try:
        yield lambda: peak[0]
    finally:
        peak[0] = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()
