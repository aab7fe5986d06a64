"""Closed forms: what a section contributes to the pulled-back metric and to its edges, from its weights.

A form says how a section of one kind is computed (`forward`), how with its biases scaled by a constant (`folded`), and
answers two questions by matrix products instead of a pass for every direction. `gather` sums over a batch what the
metric needs, `finish` turns the sums into it: sums add over batches, shards and ranks. `edges` sums squared
attributions over a batch. Rows are positions; only attention mixes them, and has a file of its own.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `metric` | K | (d_out, d_out) | what a change at the end is worth; `C C'` of the next layer | arXiv 2405.10928; specs/lib.md 3 |
| `finish` | N S M' | (d_in, d_in) | sum over samples and positions of `J K J'`, rows of J are inputs | same, step 4 |
| `slopes` | m | (rows, h) | derivative of each neuron's nonlinearity (0 or 1 for ReLU) | specs/lib.md 5 |
| `edges` | N S E | (r_out, r_in) | sum of squared attributions `(C+ J C_next)_ji z_j` | specs/lib.md 4 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from unweave.errors import InputError, unknown_name
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
"""Most numbers of one intermediate product: what fits near the processor."""


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

    def finish(self, sums: Sums, metric: Float[Tensor, "d_out d_out"]) -> Float[Tensor, "d d"]:
        """Sum of `J K J'` over everything gathered."""
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

    def finish(self, sums: Sums, metric: Tensor) -> Tensor:
        """`n W K W'`."""
        return sums[0] * (self.weight @ metric @ self.weight.T)

    def edges(self, x: Tensor, source: AffineFeaturizer, target: AffineFeaturizer, dtype: torch.dtype) -> Tensor:
        """`(C+ W C_next)^2` times the sum of `z^2`."""
        between = source.write @ self.weight @ target.read
        return (between.square() * _values(x, source).square().sum((0, 1))[:, None]).T

    def along_constant(self, x: Tensor, origin: Tensor, *, separate: bool) -> Tensor:
        """The same for every row."""
        return (origin @ self.weight + self.bias).to(x).expand(*x.shape[:2], 1, -1)


@dataclass(frozen=True, eq=False, kw_only=True)
class Mlp:
    """`act(x @ w_in + b_in) @ w_out + b_out`, the neurons times `x @ w_up + b_up` if gated, plus x if it skips."""

    w_in: Float[Tensor, "d h"]
    b_in: Float[Tensor, " h"]
    w_out: Float[Tensor, "h d_out"]
    b_out: Float[Tensor, " d_out"]
    act: str = "relu"
    skip: bool = False
    w_up: Tensor | None = None
    b_up: Tensor | None = None

    def __post_init__(self) -> None:
        """Refuses a nonlinearity without a known derivative."""
        if self.act not in ACTIVATIONS:
            raise unknown_name(
                "activation", self.act, ACTIVATIONS, hint="a section of any function works without a form"
            )

    @property
    def mixes(self) -> bool:
        """Positions are independent."""
        return False

    def forward(self, x: Tensor) -> Tensor:
        """The map."""
        return self.folded(x, torch.ones_like(x[..., :1]))

    def folded(self, x: Tensor, constant: Tensor) -> Tensor:
        """Biases times the constant."""
        neurons = ACTIVATIONS[self.act](x @ self.w_in.to(x) + constant * self.b_in.to(x))
        if self.w_up is not None and self.b_up is not None:
            neurons = neurons * (x @ self.w_up.to(x) + constant * self.b_up.to(x))
        out = neurons @ self.w_out.to(x) + constant * self.b_out.to(x)
        return out + x if self.skip else out

    def gather(self, x: Tensor, metric: Tensor) -> Sums:
        """The Gram matrix of the slopes and their sum; masks are counted exactly in float32."""
        slopes = self.slopes(x.flatten(0, 1))
        counted = slopes.float() if self.act == "relu" and self.w_up is None else slopes
        rows = torch.tensor(float(len(slopes)), dtype=torch.float64)
        return (counted.T @ counted).double(), slopes.sum(0), rows

    def finish(self, sums: Sums, metric: Tensor) -> Tensor:
        """`W_in (Q o S) W_in' + X + X' + n K`, `Q = W_out K W_out'`, `X = W_in diag(m) W_out K`; without a skip the
        first term alone.
        """
        gram, total, rows = sums
        read, write = self._matrices()
        through = read @ (gram * (write @ metric @ write.T)) @ read.T
        if not self.skip:
            return through
        cross = (read * total) @ (write @ metric)
        return through + cross + cross.T + rows * metric

    def edges(self, x: Tensor, source: AffineFeaturizer, target: AffineFeaturizer, dtype: torch.dtype) -> Tensor:
        """One product a chunk of rows: `(A diag m) B` for every row, squared, times `z^2`."""
        read, write = self._matrices()
        after = (write @ target.read).T.to(dtype)
        before = (source.write @ read).T.to(dtype).contiguous()
        around = (source.write @ target.read).T.to(dtype) if self.skip else None
        total = torch.zeros(len(after), before.shape[1], dtype=torch.float64)
        rows = x.flatten(0, 1)
        squares = _values(x, source).flatten(0, 1).square().to(dtype)
        slopes = self.slopes(rows).to(dtype)
        for part in _chunks(len(rows), len(after) * max(len(before), before.shape[1])):
            moved = (slopes[part][:, None, :] * after) @ before
            if around is not None:
                moved += around
            total += moved.square_().mul_(squares[part][:, None, :]).sum(0, dtype=torch.float64)
        return total

    def along_constant(self, x: Tensor, origin: Tensor, *, separate: bool) -> Tensor:
        """Through the slopes."""
        read, write = self._matrices()
        bias = self.b_in if self.b_up is None else torch.cat([self.b_in, self.b_up])
        slopes = self.slopes(x.flatten(0, 1))
        out = (slopes * (origin @ read + bias).to(x)) @ write.to(x) + self.b_out.to(x)
        return (out + origin if self.skip else out).unflatten(0, x.shape[:2])[:, :, None]

    def slopes(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n h"]:
        """The derivative of each neuron by each matrix that reads the stream, the gate's first."""
        pre = rows @ self.w_in.to(rows) + self.b_in.to(rows)
        if self.w_up is None or self.b_up is None:
            return _derivative(self.act, pre)
        up = rows @ self.w_up.to(rows) + self.b_up.to(rows)
        return torch.cat([_derivative(self.act, pre) * up, ACTIVATIONS[self.act](pre)], dim=1)

    def _matrices(self) -> tuple[Tensor, Tensor]:
        """The matrices before and after the slopes; a gated MLP is one with two slopes a neuron."""
        if self.w_up is None:
            return self.w_in, self.w_out
        return torch.cat([self.w_in, self.w_up], 1), torch.cat([self.w_out, self.w_out], 0)


@dataclass(frozen=True, eq=False, kw_only=True)
class Norm:
    """`(x - mean) / sqrt(variance + epsilon) * weight + bias`; without `centred` the root mean square alone."""

    weight: Float[Tensor, " d"]
    bias: Float[Tensor, " d"]
    epsilon: float = 1e-5
    centred: bool = True

    @property
    def mixes(self) -> bool:
        """Positions are independent."""
        return False

    def forward(self, x: Tensor) -> Tensor:
        """The map."""
        unit, _ = self._unit(x)
        return unit * self.weight.to(x) + self.bias.to(x)

    def folded(self, x: Tensor, constant: Tensor) -> Tensor:
        """Bias times the constant; what divides is no bias."""
        unit, _ = self._unit(x)
        return unit * self.weight.to(x) + constant * self.bias.to(x)

    def gather(self, x: Tensor, metric: Tensor) -> Sums:
        """Moments of the normalised rows under the inverse variance."""
        unit, inverse = self._unit(x.flatten(0, 1))
        scaled = unit * inverse
        value = ((unit @ self._scaled(metric)) * unit).sum(1, keepdim=True)
        return inverse.square().sum(), scaled.T @ scaled, (scaled * value).T @ scaled

    def finish(self, sums: Sums, metric: Tensor) -> Tensor:
        """A diagonal corrected by rank two a row: `(P - u u'/d) K (P - u u'/d) / variance`, P taking the mean out."""
        count, gram, weighted = sums
        width = len(self.weight)
        inner = self._scaled(metric)
        centre = self._centre(width, metric)
        cross = gram @ inner @ centre / width
        return count * centre @ inner @ centre - cross - cross.T + weighted / width**2

    def edges(self, x: Tensor, source: AffineFeaturizer, target: AffineFeaturizer, dtype: torch.dtype) -> Tensor:
        """The square of a constant minus a rank-one term, multiplied out: three matrix products."""
        unit, inverse = self._unit(x.flatten(0, 1))
        width = len(self.weight)
        fixed = source.write @ self._centre(width, x) @ (self.weight[:, None] * target.read)
        scaled = _values(x, source).flatten(0, 1) * inverse
        alpha, beta = unit @ source.write.T, unit @ (self.weight[:, None] * target.read) / width
        square = fixed.square() * scaled.square().sum(0)[:, None]
        cross = -2 * fixed * ((scaled.square() * alpha).T @ beta)
        return (square + cross + (scaled * alpha).square().T @ beta.square()).T

    def along_constant(self, x: Tensor, origin: Tensor, *, separate: bool) -> Tensor:
        """What the normalisation does to the origin, and the bias."""
        unit, inverse = self._unit(x)
        moved = origin @ self._centre(len(origin), x) - unit * (unit @ origin)[..., None] / len(origin)
        return (moved * inverse * self.weight.to(x) + self.bias.to(x))[:, :, None]

    def _scaled(self, metric: Tensor) -> Tensor:
        return self.weight[:, None] * metric * self.weight

    def _centre(self, width: int, like: Tensor) -> Tensor:
        identity = torch.eye(width, dtype=like.dtype)
        return identity - 1 / width if self.centred else identity

    def _unit(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of mean square one, and one over their size."""
        moved = x - x.mean(-1, keepdim=True) if self.centred else x
        inverse = (moved.square().mean(-1, keepdim=True) + self.epsilon).rsqrt()
        return moved * inverse, inverse


def _derivative(act: str, pre: Tensor) -> Tensor:
    if act == "relu":
        return (pre > 0).to(pre.dtype)
    with torch.enable_grad():
        point = pre.detach().requires_grad_(True)
        return torch.autograd.grad(ACTIVATIONS[act](point).sum(), point)[0]


def _values(x: Tensor, source: AffineFeaturizer) -> Tensor:
    return (x - source.origin.to(x)) @ source.read.to(x)


def _chunks(rows: int, elements: int) -> list[slice]:
    """Slices of rows whose intermediate products stay small."""
    size = max(1, ELEMENTS // max(elements, 1))
    return [slice(first, first + size) for first in range(0, rows, size)]


def check_form(form: object, d_in: int) -> None:
    """Raises unless the object is a form; its widths are checked by running it."""
    if not isinstance(form, Form):
        raise InputError(f"the form of a section of width {d_in} is a {type(form).__name__}: Linear, Mlp, Norm, ...")
