"""How much memory this process holds, and held at most: from the system, without anything that is slow to import."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


def resident() -> int:
    """Bytes of memory that the process holds."""
    return _status().get("VmRSS", _maximum())


def highest() -> int:
    """The most bytes of memory that the process held since `forget_peak`; elsewhere than on Linux, ever."""
    return _status().get("VmHWM", _maximum())


def forget_peak() -> None:
    """Lets the high-water mark start from here, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def give_back() -> None:
    """Gives the system the memory that nothing uses any more, where the allocator can (glibc): what an earlier work has
    left behind does not count as that of the next one.
    """
    gc.collect(1)  # what was made lately; all generations take a second in a large process
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _status() -> Mapping[str, int]:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    split = (line.partition(":") for line in lines)
    return {name: 1024 * int(rest.split()[0]) for name, _, rest in split if rest.endswith("kB")}


def _maximum() -> int:
    if sys.platform == "win32":
        return 0
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
