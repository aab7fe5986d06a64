"""`rehearse`: what a long command will cost, by doing a little of it first, at a few sizes.

A formula for the cost of a fit is wrong on the next machine; a part of the work itself is not. Every rehearsal does the
work at some small size and says how much of each kind of work that was (rows, steps, pairs: whatever the cost is linear
in). The time and the bytes written at the full size follow by least squares without negative coefficients; memory is
the highest that a rehearsal took, and what is known to grow with the size beside it.

What is done once in a process (imports, engines that start) is told from the work by doing the first rehearsal twice.
Memory is counted the same way: the first run as it is, a later one by what it needs beyond the repetition of the first,
both after what nothing uses any more was given back. Otherwise the leavings of each run would count for the next.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unweave.artifact import save
from unweave.engine.clock import idle_seconds
from unweave.engine.memory import forget_peak, give_back, highest, resident

Amount = float | int
"""Of a kind of work."""
LONG = 5.0
"""Seconds that the rehearsals take before those that are not needed are left out."""
REPEATED = 10.0
"""Seconds of a first rehearsal from which it is not repeated, unless a larger one took less."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a command will take."""

    rows: int
    """Rows, prompts, windows or texts that it goes through; which of them says the plan."""
    disk_bytes: int
    """What it writes with --out."""
    peak_bytes: int
    """Memory of the process beyond what it has before the work starts."""
    seconds: float
    """Time of the work."""
    rehearsed_seconds: float = 0.0
    """What finding this out took."""
    begun_bytes: int = 0
    """Memory that the process had before the work."""
    begun_peak: int = 0
    """The most memory that it had until then."""

    def line(self) -> str:
        """One line for a person, to stand behind what the work is."""
        return (
            f"{self.disk_bytes / 1e6:,.1f} MB on disk, about {self.peak_bytes / 1e6:,.0f} MB of memory and"
            f" {self.seconds:,.0f} s"
        )

    def facts(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "rows": self.rows,
            "disk_bytes": self.disk_bytes,
            "peak_bytes": self.peak_bytes,
            "seconds": round(self.seconds, 2),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Rehearsal:
    """A small part of the work."""

    run: Callable[[], Sequence[Any]]
    """Does it and gives what the command would save: results, or numbers of bytes."""
    work: Sequence[Amount]
    """How much of each kind of work it is."""


@dataclass(frozen=True, kw_only=True)
class Rehearsed:
    """What the rehearsals took."""

    work: tuple[tuple[Amount, ...], ...]
    seconds: tuple[float, ...]
    held: tuple[int, ...]
    """Bytes beyond what the process had."""
    written: tuple[int, ...]
    before: int
    """Bytes that the process had."""
    begun: int = 0
    """The most bytes that it had held until then."""
    once: float
    """Seconds of the very first one beyond its repetition: imports and other things that are done once."""
    spent: float = 0.0
    """Seconds of all of them, and of saving what they gave."""

    def cost(self, full: Sequence[Amount], *, rows: int, grows: Amount | None = None) -> Cost:
        """The cost of the full work: `seconds = c_0 + sum_i c_i work_i` with `c >= 0`, solved for the rehearsals.

        Args:
            full: The work of the command, in the same kinds.
            rows: What the command goes through.
            grows: Bytes that the command holds beyond the largest rehearsal; None carries on what the rehearsals held.
        """
        peak = max(self.held) + grows if grows is not None else max(*self.held, at_full(self.work, self.held, full))
        return Cost(
            rows=rows,
            disk_bytes=round(at_full(self.work, self.written, full)),
            peak_bytes=max(0, round(peak)),
            seconds=self.once + at_full(self.work, self.seconds, full),
            rehearsed_seconds=self.spent,
            begun_bytes=self.before,
            begun_peak=self.begun,
        )


def rehearse(rehearsals: Sequence[Rehearsal], *, least: int = 2) -> Rehearsed:
    """Does every rehearsal and says what it took.

    Args:
        rehearsals: At least one, of increasing size; the first runs twice, unless it takes so long that what is done
            once does not matter.
        least: How many of them are done whatever they take; the others only while all took less than a few seconds, so
            that a small work is simply done.

    Raises:
        DataError: The data do not allow the smallest rehearsal; the message is that of the work.

    Example:
        >>> found = rehearse([Rehearsal(run=lambda: [2000], work=(2,)), Rehearsal(run=lambda: [5000], work=(5,))])
        >>> found.cost((100,), rows=100).disk_bytes
        100000
    """
    start, begun = idle_seconds(), highest()
    give_back()
    before = resident()
    first = _timed(rehearsals[0])
    repeated = None if first.seconds > REPEATED else _timed(rehearsals[0])
    larger: list[_Taken] = []
    for one in rehearsals[1:]:
        if len(larger) > least - 2 and _sum(repeated or first, *larger) > LONG:
            break
        larger.append(_timed(one))
        if repeated is None and larger[0].seconds < first.seconds:
            repeated = _timed(rehearsals[0])
    taken = [repeated or first, *larger]
    cold = first.highest - before
    return Rehearsed(
        work=tuple(tuple(one.work) for one in rehearsals[: len(taken)]),
        seconds=tuple(one.seconds for one in taken),
        held=(cold, *(max(one.held, cold + (one.held - repeated.held if repeated else 0)) for one in larger)),
        written=tuple(one.written for one in taken),
        before=before,
        begun=begun,
        once=max(0.0, first.seconds - taken[0].seconds),
        spent=idle_seconds() - start,
    )


def at_full(work: Sequence[Sequence[Amount]], found: Sequence[Amount], full: Sequence[Amount]) -> float:
    """What was found at several amounts of work, carried on to the full one: a constant and one number a kind of work,
    none of them negative.

    Example:
        >>> round(at_full([(1, 0), (3, 0), (1, 2)], [5, 9, 6], (10, 10)), 6)  # 3 + 2 a + b / 2
        28.0
    """
    from scipy.optimize import nnls

    table = np.array([[1.0, *(float(value) for value in row)] for row in work])
    scale = np.abs(table).max(axis=0)
    scale[scale == 0] = 1.0
    coefficients, _ = nnls(table / scale, np.asarray(found, dtype=float))
    return float((coefficients / scale) @ np.array([1.0, *full], dtype=float))


@dataclass(frozen=True, kw_only=True)
class _Taken:
    highest: int
    held: int
    """Bytes beyond what the process had when it began."""
    seconds: float
    written: int


def _sum(*taken: _Taken) -> float:
    return sum(one.seconds for one in taken)


def _timed(one: Rehearsal) -> _Taken:
    give_back()
    had = resident()
    forget_peak()
    start = idle_seconds()
    made = one.run()
    seconds = idle_seconds() - start
    most = highest()
    return _Taken(highest=most, held=most - had, seconds=seconds, written=_bytes_of(made))


def _bytes_of(made: Sequence[Any]) -> int:
    """What the results take on disk."""
    with tempfile.TemporaryDirectory(prefix="unweave-") as folder:
        for number, value in enumerate(made):
            if not isinstance(value, int):
                save(value, Path(folder) / str(number))
        return sum(value for value in made if isinstance(value, int)) + bytes_in(Path(folder))


def bytes_in(folder: Path) -> int:
    """Bytes of all files in a directory and below it."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
