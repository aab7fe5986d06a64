"""When the running command began, and what the process held then: a plan counts the command's preparation too, such as
loading the model.
"""

from __future__ import annotations

from unweave.engine.clock import idle_seconds
from unweave.engine.memory import forget_peak, resident

_began: list[tuple[float, int]] = []


def begin() -> None:
    """Says that a command begins now."""
    forget_peak()
    _began[:] = [(idle_seconds(), resident())]


def beginning() -> tuple[float, int] | None:
    """The clock and the bytes of memory at the beginning of the command; None outside one."""
    return _began[0] if _began else None
