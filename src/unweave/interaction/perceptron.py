"""The closed form of an MLP: one hidden layer, gated or not, with or without a norm in front and a skip around it.

A row's Jacobian is the matrices before and after the neurons with the row's slopes between them. Its products with the
metric are sums of products of slopes, taken over the data once. A norm in front scales each row and takes one direction
out, which adds terms of rank one a row.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `slopes` | m | (rows, h) | derivative of each neuron's nonlinearity (0 or 1 for ReLU) | specs/lib.md 5 |
| `inner` | Q | (h, h) | `W_out K W_out'` | same |
| `unit` | u | (rows, d) | the normalised row, of mean square one | same, norms |
| `scaled` | m / sigma | (rows, h) | slopes over the size of the row | same |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from unweave.errors import unknown_name
from unweave.features.affine import AffineFeaturizer
from unweave.interaction.forms import ACTIVATIONS, NEAR, Sums, added, skipped, sum_of_squares, values_of
from unweave.interaction.norms import Norm


@dataclass(frozen=True, eq=False, kw_only=True)
class Mlp:
    """`act(x @ w_in + b_in) @ w_out + b_out`, the neurons times `x @ w_up + b_up` if gated, plus x if it skips; with a
    norm, x is normalised first, but not in the skip.
    """

    w_in: Float[Tensor, "d h"]
    b_in: Float[Tensor, " h"]
    w_out: Float[Tensor, "h d_out"]
    b_out: Float[Tensor, " d_out"]
    act: str = "relu"
    skip: bool | Float[Tensor, "d_in d_out"] = False
    """Whether x is added, or by which matrix."""
    reads: int = 0
    """The first coordinate that the norm and the neurons read: those before it only take part in the skip."""
    w_up: Tensor | None = None
    b_up: Tensor | None = None
    norm: Norm | None = None

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

    @property
    def is_plain(self) -> bool:
        """Without gate, norm and matrix around it."""
        return self.w_up is None and self.norm is None and isinstance(self.skip, bool)

    def forward(self, x: Tensor) -> Tensor:
        """The map."""
        return self.folded(x, torch.ones_like(x[..., :1]))

    def folded(self, x: Tensor, constant: Tensor) -> Tensor:
        """Biases times the constant."""
        rows = x[..., self.reads :]
        seen = rows if self.norm is None else self.norm.folded(rows, constant)
        neurons = ACTIVATIONS[self.act](seen @ self.w_in.to(x) + constant * self.b_in.to(x))
        if self.w_up is not None and self.b_up is not None:
            neurons = neurons * (seen @ self.w_up.to(x) + constant * self.b_up.to(x))
        out = neurons @ self.w_out.to(x) + constant * self.b_out.to(x)
        return added(out, x, self.skip)

    def gather(self, x: Tensor, metric: Tensor) -> Sums:
        """The Gram matrix of the slopes and their sum, and behind a norm the moments with its direction; masks are
        counted exactly in float32.
        """
        rows = x.flatten(0, 1)[:, self.reads :]
        count = torch.tensor(float(len(rows)), dtype=torch.float64)
        if self.norm is None:
            slopes = self.slopes(rows)
            counted = slopes.float() if self.act == "relu" and self.w_up is None else slopes
            return (counted.T @ counted).double(), slopes.sum(0), count
        _, write = self._matrices()
        inner = write @ metric @ write.T
        unit, scaled, along = self._behind_norm(rows)
        weighted = along @ inner
        worth = (weighted * along).sum(1, keepdim=True)
        moments = (unit.T @ along, unit.T @ (scaled * weighted), (unit * worth).T @ unit)
        return scaled.T @ scaled, scaled.sum(0), count, *moments

    def finish(self, groups: Sequence[Sums], metric: Tensor) -> list[Tensor]:
        """`W_in (Q o S) W_in' + X + X' + n K`, `Q = W_out K W_out'`, `X = W_in diag(m) W_out K`; without a skip the
        first term alone. Behind a norm `W_in` has the mean taken out and terms of its direction join.
        """
        read, write = self._matrices()
        inner = write @ metric @ write.T
        skip = skipped(self.skip, self.reads + len(read))
        outer = None if skip is None else (write @ metric @ skip.T, skip @ metric @ skip.T)
        return [self._finished(sums, read, inner, outer) for sums in groups]

    def _finished(self, sums: Sums, read: Tensor, inner: Tensor, outer: tuple[Tensor, Tensor] | None) -> Tensor:
        gram, total, rows, *moments = sums
        direct = read * total
        through = read @ (gram * inner) @ read.T
        if moments:
            alone, crossed, squared = moments
            width = len(read)
            cross = read @ crossed.T / width
            through = through - cross - cross.T + squared / width**2
            direct = direct - alone / width
        if self.reads:  # what comes before is read by nothing but the skip
            through = functional.pad(through, (self.reads, 0, self.reads, 0))
            direct = functional.pad(direct, (0, 0, self.reads, 0))
        if outer is None:
            return through
        around = direct @ outer[0]
        return through + around + around.T + rows * outer[1]

    def edges(self, x: Tensor, source: AffineFeaturizer, target: AffineFeaturizer, dtype: torch.dtype) -> Tensor:
        """One product a chunk of rows: `A diag(m) B` for every row, squared, times `z^2`. Slopes go to the end with
        fewer coordinates, and a chunk stays near the processor.
        """
        read, write = self._matrices()
        seen = source.write[:, self.reads :]
        before, after = (seen @ read).to(dtype), (write @ target.read).T.to(dtype)
        skip = skipped(self.skip, source.write.shape[1])
        around = None if skip is None else (source.write @ skip @ target.read).to(dtype)
        rows = x.flatten(0, 1)[:, self.reads :]
        z = values_of(x, source).flatten(0, 1).to(dtype)
        slopes, out, along = self.slopes(rows).to(dtype) if self.norm is None else None, None, None
        if slopes is None:
            unit, scaled, one = self._behind_norm(rows)
            slopes = scaled.to(dtype)
            out, along = (unit @ seen.T / len(read)).to(dtype), one.to(dtype) @ after.T
        by_source = len(before) <= len(after)
        few, many = (before, after.T.contiguous()) if by_source else (after, before.T.contiguous())
        around = around if by_source or around is None else around.T
        sums = torch.zeros(len(few), many.shape[1], dtype=torch.float64)
        size = max(1, NEAR // (len(few) * max(many.shape)))
        for first in range(0, len(rows), size):
            part = slice(first, first + size)
            moved = ((slopes[part][:, None] * few).flatten(0, 1) @ many).unflatten(0, (-1, len(few)))
            if out is not None and along is not None:
                left, right = (out, along) if by_source else (along, out)
                moved -= left[part][:, :, None] * right[part][:, None]
            if around is not None:
                moved += around
            sums += sum_of_squares(moved.mul_(z[part][:, :, None] if by_source else z[part][:, None]))
        return sums.T if by_source else sums

    def along_constant(self, x: Tensor, origin: Tensor, *, separate: bool) -> Tensor:
        """Through the slopes."""
        both = self.w_in if self.w_up is None else torch.cat([self.w_in, self.w_up], 1)
        bias = self.b_in if self.b_up is None else torch.cat([self.b_in, self.b_up])
        rows, moved = x[..., self.reads :], origin[self.reads :]
        if self.norm is not None:
            moved = self.norm.along_constant(rows, moved, separate=separate).flatten(0, 2)
        slopes = self.slopes(rows.flatten(0, 1))
        out = (slopes * (moved.to(x) @ both.to(x) + bias.to(x))) @ self._matrices()[1].to(x) + self.b_out.to(x)
        return added(out, origin, self.skip).unflatten(0, x.shape[:2])[:, :, None]

    def slopes(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n h"]:
        """The derivative of each neuron by each matrix that reads the stream, the gate's first."""
        seen = rows if self.norm is None else self.norm.forward(rows)
        pre = seen @ self.w_in.to(rows) + self.b_in.to(rows)
        if self.w_up is None or self.b_up is None:
            return _derivative(self.act, pre)
        up = seen @ self.w_up.to(rows) + self.b_up.to(rows)
        return torch.cat([_derivative(self.act, pre) * up, ACTIVATIONS[self.act](pre)], dim=1)

    def _matrices(self) -> tuple[Tensor, Tensor]:
        """The matrices before and after the slopes, a gated MLP as one with two slopes a neuron; the first has the
        norm's weight and the mean taken out.
        """
        read = self.w_in if self.w_up is None else torch.cat([self.w_in, self.w_up], 1)
        write = self.w_out if self.w_up is None else torch.cat([self.w_out, self.w_out], 0)
        if self.norm is None:
            return read, write
        return self.norm.centre(len(read), read) @ (self.norm.weight[:, None] * read), write

    def _behind_norm(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Unit rows, slopes over the size of the row, and those times what the unit row moves each neuron."""
        if self.norm is None:
            raise RuntimeError("there is no norm in front")
        unit, inverse = self.norm.unit(rows)
        scaled = self.slopes(rows) * inverse
        read = self.w_in if self.w_up is None else torch.cat([self.w_in, self.w_up], 1)
        return unit, scaled, (unit @ (self.norm.weight[:, None] * read)) * scaled


def _derivative(act: str, pre: Tensor) -> Tensor:
    if act == "relu":
        return (pre > 0).to(pre.dtype)
    with torch.enable_grad():
        point = pre.detach().requires_grad_(True)
        return torch.autograd.grad(ACTIVATIONS[act](point).sum(), point)[0]
