"""How sparse the edges between two layers are, by numbers that need no threshold and one that has one."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

TOLERANCES = (0.01, 0.001)
"""Edges above these shares of the largest are counted."""
TOP = (0.01, 0.1)
"""Shares of all edges whose part of the sum is told."""


def sparsity(edges: Float[Tensor, "r_out r_in"]) -> dict[str, float]:
    """Numbers about a matrix of edges, the constant's left out.

    Args:
        edges: Not negative.

    Returns:
        `edges` (how many there are), `gini` (0: all equal, towards 1: one has all), `hoyer` (`(sqrt n - L1/L2) /
            (sqrt n - 1)`: 0 to 1 as well), `top_1%`, `top_10%` (share of the sum in the largest), `above_0.01`,
            `above_0.001` (how many exceed that share of the largest).

    Source:
        Hurley and Rickard 2009, table I; specs/lib.md 6.

    Example:
        >>> import torch
        >>> found = sparsity(torch.eye(4))
        >>> found["edges"], found["gini"], round(found["hoyer"], 3), found["above_0.01"]
        (16.0, 0.75, 0.667, 4.0)
    """
    values = edges.double().flatten().sort(descending=True).values
    count, total = len(values), float(values.sum())
    found = {"edges": float(count)}
    if not total:
        return found | dict.fromkeys(("gini", "hoyer"), float("nan"))
    shares = (values / total).cumsum(0)
    found["gini"] = float((2 * shares.sum() - 1) / count - 1)
    found["hoyer"] = float((count**0.5 - total / values.norm()) / (count**0.5 - 1)) if count > 1 else 1.0
    for part in TOP:
        found[f"top_{part:.0%}"] = float(shares[max(round(part * count), 1) - 1])
    for tolerance in TOLERANCES:
        found[f"above_{tolerance}"] = float((values > tolerance * values[0]).sum())
    return found
