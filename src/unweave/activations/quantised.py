"""Activations in eight bits a value: for each column of a shard a step and an offset, so that what is read back differs
by at most half a step.

    code = round((value - offset) / scale)      offset = least value, scale = (largest - least) / 255
    value ~ offset + code * scale               |error| <= scale / 2, up to rounding in float32

A constant column has scale 0 and comes back as it was. One outlier widens the step of its column: what was lost is
measured while the shard is written, and kept in its entry.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `codes` | - | (n, d) | 0..255 | what is stored |
| `scale` | - | (d,) | step of a column, in the unit of the values | stored beside the codes |
| `offset` | - | (d,) | least value of a column | stored beside the codes |
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from unweave.activations.layout import Rounding
from unweave.errors import DataError

STEPS = 255
VALUES_AT_ONCE = 1 << 17
"""Values that are worked on together: half a megabyte, which stays in the cache."""
SMALLEST = 1.2e-38
"""Steps below this lose digits in float32: such a column counts as constant."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantised:
    """Codes of some rows, what gives the values back, and what they lost."""

    codes: UInt8[Tensor, "n d"]
    offset: Float[Tensor, " d"]
    scale: Float[Tensor, " d"]
    rounding: Rounding


def quantised(values: Float[Tensor, "n d"]) -> Quantised:
    """Rows of finite float32 values in eight bits, each column with its own step.

    Raises:
        DataError: A column whose values lie further apart than float32 can say.

    Example:
        >>> made = quantised(torch.tensor([[0.0, 5.0], [1.0, 5.0], [255.0, 5.0]]))
        >>> made.codes.tolist(), restored(made.codes, made.offset, made.scale)[:, 1].tolist()
        ([[0, 0], [1, 0], [255, 0]], [5.0, 5.0, 5.0])
    """
    count, width = values.shape
    if not count:
        nothing = torch.zeros(width)
        none = Rounding(largest_error=0.0, bound=0.0, lost=0.0)
        return Quantised(codes=values.to(torch.uint8), offset=nothing, scale=nothing.clone(), rounding=none)
    low, high = values.amin(0), values.amax(0)  # aminmax is ten times slower along columns
    scale = ((high.double() - low.double()) / STEPS).float()  # float64: the range of float32 does not fit into float32
    scale[scale < SMALLEST] = 0.0
    step = torch.where(scale > 0, scale, 1.0)
    codes = torch.empty(count, width, dtype=torch.uint8)
    sums, squares = torch.zeros(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)
    largest, lost = 0.0, 0.0
    at_once = max(1, VALUES_AT_ONCE // width)
    for first in range(0, count, at_once):
        part = values[first : first + at_once]
        above = part - low
        sums += above.sum(0)
        squares += (above * above).sum(0)
        made = above.div_(step).round_().to(torch.uint8)  # at most 255 and a rounding error, which rounds away
        codes[first : first + at_once] = made
        error = restored(made, low, scale).sub_(part).flatten()
        largest = max(largest, float(error.abs().amax()))
        lost += float(torch.dot(error, error))
    variance = float((squares - sums * sums / count).clamp_min(0).sum())
    if not math.isfinite(largest):
        worst = int(scale.argmax())
        raise DataError(
            f"column {worst} runs from {float(low[worst]):.4g} to {float(high[worst]):.4g}: that is too far apart for"
            " dtype='uint8'; collect with dtype='float32'"
        )
    rounding = Rounding(largest_error=largest, bound=float(scale.max()) / 2, lost=lost / variance if variance else 0.0)
    return Quantised(codes=codes, offset=low.clone(), scale=scale, rounding=rounding)


def restored(
    codes: UInt8[Tensor, "n d"], offset: Float[Tensor, " d"], scale: Float[Tensor, " d"]
) -> Float[Tensor, "n d"]:
    """The float32 values that the codes stand for."""
    return codes.to(torch.float32).mul_(scale).add_(offset)
