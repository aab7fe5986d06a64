"""Numbers and tokens as a report shows them."""

from __future__ import annotations

from collections.abc import Iterable

from unweave.tensors.estimate import Estimate


def with_interval(estimate: Estimate, *, digits: int = 2, signed: bool = False) -> str:
    """An estimate with its interval, such as `0.63 [0.60, 0.67]`.

    Example:
        >>> with_interval(Estimate(value=0.051, low=-0.001, high=0.09, n=9, n_groups=3), signed=True)
        '+0.05 [0.00, +0.09]'
    """
    value, low, high = (number(part, digits, signed) for part in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def number(value: float, digits: int = 2, signed: bool = False) -> str:
    """A number with so many digits after the point; one that rounds to zero has no sign."""
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text


def one_line(tokens: Iterable[str]) -> tuple[str, ...]:
    """Tokens as a passage shows them: ends of lines are a sign of their own."""
    return tuple(token.replace("\r", "").replace("\n", "↵") for token in tokens)
