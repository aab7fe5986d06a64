"""How many nodes or edges are tried, and in which order."""

from __future__ import annotations

import math
from collections.abc import Callable


def exponential(width: int, *, every: int = 10, base: float = 1.05) -> list[int]:
    """Every number up to `every`, then steps of `ceil(base^x)`, x = 0, 1, ..., up to the width.

    Args:
        width: The largest number.
        every: Up to here every number.
        base: Of the growth of the steps.

    Example:
        >>> exponential(20)
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 20]
    """
    numbers = list(range(min(every, width) + 1))
    step = 0
    while numbers[-1] < width:
        numbers.append(min(numbers[-1] + math.ceil(base**step), width))
        step += 1
    return numbers


def linear(width: int) -> list[int]:
    """Every number from 0 to the width.

    Example:
        >>> linear(3)
        [0, 1, 2, 3]
    """
    return list(range(width + 1))


def bisect(total: int, is_enough: Callable[[int], bool], *, precision: float = 0.0) -> int | None:
    """The number kept at the one crossing that halving the number left out ends at; None if all are not enough.

    Dense trials cost most, so the halving begins at the sparse end: the first number there that is enough and the next
    smaller one, which is not, are where bisection from the dense end would be too, unless it met a dense number that is
    not enough.

    Args:
        total: Number of edges, or of nodes.
        is_enough: Whether keeping this many reaches the target.
        precision: The halving ends once the crossing is known to this share of it; 0 goes on to the last one.

    Example:
        >>> bisect(16641, lambda kept: kept >= 133)
        133
        >>> bisect(16641, lambda kept: kept >= 6566, precision=0.02)
        6631
    """
    halvings = [0]
    while total - halvings[-1] > 1:
        halvings.append((halvings[-1] + total) // 2)
    good, bad = None, total
    for left_out in reversed(halvings):
        if is_enough(total - left_out):
            good = left_out
            break
        bad = left_out
    if good is None:
        return None
    while bad - good > max(1, precision * (total - good)):
        middle = (good + bad) // 2
        if is_enough(total - middle):
            good = middle
        else:
            bad = middle
    return total - good
