"""`idle_seconds`: a clock that stands still while other processes have the processor, so that a plan made on a busy
machine states what an idle one takes.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

_WAITED = Path("/proc/thread-self/schedstat")


def idle_seconds() -> float:
    """Seconds of the wall clock less those for which the calling thread was ready and had no processor; elsewhere than
    on Linux, the wall clock. Only differences mean something.

    Example:
        >>> start = idle_seconds()
        >>> _ = sum(range(10_000))
        >>> idle_seconds() > start
        True
    """
    return time.perf_counter() - _waited()


def _waited() -> float:
    with suppress(OSError, ValueError, IndexError):
        return int(_WAITED.read_text(encoding="ascii").split()[1]) / 1e9
    return 0.0
