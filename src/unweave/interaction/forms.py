"""Closed forms: what a section contributes to the pulled-back metric and to its edges, from its weights.

A form says how a section of one kind is computed (`forward`), how with its biases scaled by a constant (`folded`), and
answers two questions by matrix products instead of a pass for every direction. `gather` sums over a batch what the
metric needs, `finish` turns the sums into it: sums add over batches, shards and ranks. `edges` sums squared
attributions over a batch. Rows are positions; only attention mixes them. Attention, MLP and norms have files of their
own.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `metric` | K | (d_out, d_out) | what a change at the end is worth; `C C'` of the next layer | arXiv 2405.10928; specs/lib.md 3 |
| `finish` | N S M' | (d_in, d_in) | sum over samples and positions of `J K J'`, rows of J are inputs | same, step 4 |
| `edges` | N S E | (r_out, r_in) | sum of squared attributions `(C+ J C_next)_ji z_j` | specs/lib.md 4 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from unweave.features.affine import AffineFeaturizer

Sums = tuple[Tensor, ...]
"""What a batch contributes; equal shapes for every batch, so that sums add."""

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "relu": torch.relu,
        "gelu": functional.gelu,
        "gelu_new": lambda x: functional.gelu(x, approximate="tanh"),
        "silu": functional.silu,
        "tanh": torch.tanh,
        "identity": lambda x: x,
    }
)
"""Nonlinearities that closed forms know."""

ELEMENTS = 2**22
"""Most numbers of one intermediate product, so that memory is bounded."""
NEAR = 2**18
"""Numbers of an intermediate product that stay in a core's own cache: several passes over them then cost one."""
FEW = 16
"""Squares in single precision that are added up as they are, before double precision: an error of one rounding each."""


@runtime_checkable
class Form(Protocol):
    """The weights of a section and the closed forms they allow."""

    @property
    def mixes(self) -> bool:
        """Whether positions see one another."""
        ...

    def forward(self, x: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch pos_out d_out"]:
        """The section itself."""
        ...

    def folded(
        self, x: Float[Tensor, "batch pos d"], constant: Float[Tensor, "batch pos 1"]
    ) -> Float[Tensor, "batch pos_out d_out"]:
        """The section with its biases as the weights of one more input, which is 1."""
        ...

    def gather(self, x: Float[Tensor, "batch pos d"], metric: Float[Tensor, "d_out d_out"]) -> Sums:
        """What `finish` needs of a batch."""
        ...

    def finish(self, groups: Sequence[Sums], metric: Float[Tensor, "d_out d_out"]) -> list[Float[Tensor, "d d"]]:
        """Sum of `J K J'` over everything gathered, of each group of batches."""
        ...

    def edges(
        self, x: Float[Tensor, "batch pos d"], source: AffineFeaturizer, target: AffineFeaturizer, dtype: torch.dtype
    ) -> Float[Tensor, "r_out r_in"]:
        """Sum of squared attributions over the batch; products in `dtype`, sums in float64."""
        ...

    def along_constant(
        self, x: Float[Tensor, "batch pos d"], origin: Float[Tensor, " d"], *, separate: bool
    ) -> Float[Tensor, "batch pos_out places d_out"]:
        """Derivative of `folded` along `[origin, 1]`: of its own position where positions do not mix; else of every
        position by itself (`separate`) or of all at once.
        """
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear:
    """`x @ weight + bias`."""

    weight: Float[Tensor, "d d_out"]
    bias: Float[Tensor, " d_out"]

    @property
    def mixes(self) -> bool:
        """Positions are independent."""
        return False

    def forward(self, x: Tensor) -> Tensor:
        """The map."""
        return x @ self.weight.to(x) + self.bias.to(x)

    def folded(self, x: Tensor, constant: Tensor) -> Tensor:
        """Bias times the constant."""
        return x @ self.weight.to(x) + constant * self.bias.to(x)

    def gather(self, x: Tensor, metric: Tensor) -> Sums:
        """The number of rows: the metric needs no data."""
        return (torch.tensor(float(x[..., 0].numel()), dtype=torch.float64),)

    def finish(self, groups: Sequence[Sums], metric: Tensor) -> list[Tensor]:
        """`n W K W'`."""
        pulled = self.weight @ metric @ self.weight.T
        return [rows * pulled for (rows,) in groups]

    def edges(self, x: Tensor, source: AffineFeaturizer, target: AffineFeaturizer, dtype: torch.dtype) -> Tensor:
        """`(C+ W C_next)^2` times the sum of `z^2`."""
        between = source.write @ self.weight @ target.read
        return (between.square() * values_of(x, source).square().sum((0, 1))[:, None]).T

    def along_constant(self, x: Tensor, origin: Tensor, *, separate: bool) -> Tensor:
        """The same for every row."""
        return (origin @ self.weight + self.bias).to(x).expand(*x.shape[:2], 1, -1)


def skipped(skip: bool | Tensor, width: int) -> Tensor | None:
    """The matrix by which the input of a section is added to its output; None where it is not."""
    if isinstance(skip, bool):
        return torch.eye(width, dtype=torch.float64) if skip else None
    return skip


def added(out: Tensor | None, x: Tensor, skip: bool | Tensor) -> Tensor:
    """The output with what passes by."""
    if skip is False and out is not None:
        return out
    around = x if isinstance(skip, bool) else x @ skip.to(x)
    return around if out is None else out + around


def values_of(x: Tensor, source: AffineFeaturizer) -> Tensor:
    """Coordinates of rows."""
    return (x - source.origin.to(x)) @ source.read.to(x)


def sum_of_squares(values: Tensor) -> Tensor:
    """Over the first axis, in double precision; overwrites the values. A conversion of every square would cost more
    than the product it comes from.
    """
    squares = values.square_()
    whole = len(squares) // FEW * FEW
    if squares.dtype == torch.float64 or not whole:
        return squares.sum(0).double()
    together = squares[:whole].unflatten(0, (FEW, -1)).sum(0).sum(0, dtype=torch.float64)
    return together + squares[whole:].sum(0)
