"""`map_units`: a function over units of work on a few threads of this process, results in order, memory bounded.

Threads and not processes: torch and BLAS release the interpreter lock while they compute, the model is there once, and
nothing has to be sent. Each unit runs with one intra-operation thread, so its result does not depend on how many run
beside it; parallelism comes from the units (docs/decisions/0001).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

from unweave.errors import InputError

Unit = TypeVar("Unit")
Result = TypeVar("Result")


def default_workers() -> int:
    """Number of processors this process may use, or `OMP_NUM_THREADS` where that is set."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if limit.isdigit() and int(limit) > 0:
        return int(limit)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def map_units(
    function: Callable[[Unit], Result], units: Iterable[Unit], *, workers: int | None = None
) -> Iterator[Result]:
    """The results of the units, in their order; at most `workers` units are in work and one more is waiting.

    When a unit raises, units that have not started are dropped, those in work end, and the error is raised. The same
    when the caller stops iterating.

    Raises:
        InputError: Fewer than one worker.
    """
    if workers is not None and workers < 1:
        raise InputError(f"workers is {workers}: at least one thread is needed")
    count = workers or default_workers()
    if count == 1:  # the allocator serves the calling thread best
        with one_intra_op_thread():
            yield from map(function, units)
        return
    pending: deque[Future[Result]] = deque()
    with one_intra_op_thread(), ThreadPoolExecutor(max_workers=count, thread_name_prefix="unweave") as pool:
        try:
            for unit in units:
                pending.append(pool.submit(function, unit))
                if len(pending) > count:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


@contextmanager
def one_intra_op_thread() -> Generator[None, None, None]:
    """Within it, torch uses one thread an operation; afterwards as many as before.

    The setting is the whole process's: of several that overlap, on any threads, the first one in saves it and the last
    one out puts it back.
    """
    import torch

    with _holding:
        if not _held:
            _held.append(torch.get_num_threads())
            torch.set_num_threads(1)
        _held.append(0)
    try:
        yield
    finally:
        with _holding:
            _held.pop()
            if len(_held) == 1:
                torch.set_num_threads(_held.pop())


_holding = Lock()
_held: list[int] = []
"""The thread count to put back, then one entry a holder."""
