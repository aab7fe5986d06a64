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
ROWS_AT_ONCE = 4096
"""Rows that are held in float64 while codes are made."""


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
    low, high = values.aminmax(dim=0)
    scale = ((high.double() - low.double()) / STEPS).float()  # float64: the range of float32 does not fit into float32
    step = torch.where(scale > 0, scale.double(), 1.0)
    mean = values.mean(0, dtype=torch.float64)
    codes = torch.empty(count, width, dtype=torch.uint8)
    largest, squares, variance = 0.0, 0.0, 0.0
    for first in range(0, count, ROWS_AT_ONCE):
        part = values[first : first + ROWS_AT_ONCE].double()
        made = ((part - low.double()) / step).round_().clamp_(0, STEPS).to(torch.uint8)
        codes[first : first + ROWS_AT_ONCE] = made
        error = restored(made, low, scale).double() - part
        largest = max(largest, float(error.abs().max()))
        squares += float(error.square_().sum())
        variance += float((part - mean).square_().sum())
    if not math.isfinite(largest):
        worst = int(scale.argmax())
        raise DataError(
            f"column {worst} runs from {float(low[worst]):.4g} to {float(high[worst]):.4g}: that is too far apart for"
            " dtype='uint8'; collect with dtype='float32'"
        )
    rounding = Rounding(
        largest_error=largest, bound=float(scale.max()) / 2, lost=squares / variance if variance else 0.0
    )
    return Quantised(codes=codes, offset=low.clone(), scale=scale, rounding=rounding)


def restored(
    codes: UInt8[Tensor, "n d"], offset: Float[Tensor, " d"], scale: Float[Tensor, " d"]
) -> Float[Tensor, "n d"]:
    """The float32 values that the codes stand for."""
    return codes.to(torch.float32).mul_(scale).add_(offset)
