"""Norms as sections: alone, beside the stream that passes them, and cut in two at their variance.

With the variance a node of its own a norm is linear in the stream: what the row's size does is then visible as edges of
one node instead of hidden in all others. A row's Jacobian is in all four `s A + B + p q'` with fixed matrices A and B,
so everything that sums over data is a moment of `s`, `p` and `q`.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `scale` | s | (rows, 1) | one over the size of a row | specs/lib.md 5, norms |
| `left`, `right` | p, q | (rows, d), (rows, d_out) | the term of rank one | same |
| `scaled`, `fixed` | A, B | (d, d_out) | what is scaled, and what is the same for all rows | same |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from unweave.features.affine import AffineFeaturizer
from unweave.interaction.forms import Sums, values_of


@dataclass(frozen=True, eq=False, kw_only=True)
class Terms:
    """The Jacobians of some rows, `scale * scaled + fixed + left right'`, and the bias."""

    scale: Float[Tensor, "rows 1"]
    left: Float[Tensor, "rows d"]
    right: Float[Tensor, "rows d_out"]
    scaled: Float[Tensor, "d d_out"]
    fixed: Float[Tensor, "d d_out"]
    bias: Float[Tensor, " d_out"]


class Rows:
    """Closed forms of a section whose Jacobian a row is of that shape."""

    @property
    def mixes(self) -> bool:
        """Positions are independent."""
        return False

    def terms(self, rows: Float[Tensor, "rows d"]) -> Terms:
        """The Jacobians of rows."""
        raise NotImplementedError

    def folded(self, x: Tensor, constant: Tensor) -> Tensor:
        """The section with its biases times the constant."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """The section itself."""
        return self.folded(x, torch.ones_like(x[..., :1]))

    def gather(self, x: Tensor, metric: Tensor) -> Sums:
        """Moments of the scale and of the term of rank one."""
        at = self.terms(x.flatten(0, 1))
        count = torch.tensor(float(len(at.scale)), dtype=torch.float64)
        worth = ((at.right @ metric) * at.right).sum(1, keepdim=True)
        crossed = (at.right * at.scale).T @ at.left, at.right.T @ at.left
        return count, at.scale.sum(), at.scale.square().sum(), *crossed, (at.left * worth).T @ at.left

    def finish(self, groups: Sequence[Sums], metric: Tensor) -> list[Tensor]:
        """`s^2 A K A' + s (A K B' + B K A') + B K B'`, and what the term of rank one adds."""
        return [self._finished(sums, metric) for sums in groups]

    def _finished(self, sums: Sums, metric: Tensor) -> Tensor:
        count, once, twice, crossed, plain, squared = sums
        at = self.terms(torch.ones(1, crossed.shape[1], dtype=torch.float64))
        scaled, fixed = at.scaled @ metric, at.fixed @ metric
        both = once * scaled @ at.fixed.T + scaled @ crossed + fixed @ plain
        total = twice * scaled @ at.scaled.T + count * fixed @ at.fixed.T
        return total + both + both.T + squared

    def edges(self, x: Tensor, source: AffineFeaturizer, target: AffineFeaturizer, dtype: torch.dtype) -> Tensor:
        """The square multiplied out: three matrix products."""
        at = self.terms(x.flatten(0, 1))
        scaled, fixed = (source.write @ one @ target.read for one in (at.scaled, at.fixed))
        squares = values_of(x, source).flatten(0, 1).square()
        left, right = at.left @ source.write.T, at.right @ target.read
        once, twice = ((squares * at.scale**power).sum(0)[:, None] for power in (1, 2))
        alone = scaled.square() * twice + 2 * scaled * fixed * once + fixed.square() * squares.sum(0)[:, None]
        moved = squares * left
        crossed = 2 * (scaled * ((moved * at.scale).T @ right) + fixed * (moved.T @ right))
        return (alone + crossed + (moved * left).T @ right.square()).T

    def along_constant(self, x: Tensor, origin: Tensor, *, separate: bool) -> Tensor:
        """What the Jacobian does to the origin, and the bias."""
        at = self.terms(x.flatten(0, 1))
        moved = at.scale * (origin @ at.scaled) + origin @ at.fixed + (at.left @ origin)[:, None] * at.right + at.bias
        return moved.unflatten(0, x.shape[:2])[:, :, None]


@dataclass(frozen=True, eq=False, kw_only=True)
class Norm(Rows):
    """`(x - mean) / sqrt(variance + epsilon) * weight + bias`; without `centred` the root mean square alone."""

    weight: Float[Tensor, " d"]
    bias: Float[Tensor, " d"]
    epsilon: float = 1e-5
    centred: bool = True

    def folded(self, x: Tensor, constant: Tensor) -> Tensor:
        """Bias times the constant; what divides is no bias."""
        unit, _ = self.unit(x)
        return unit * self.weight.to(x) + constant * self.bias.to(x)

    def terms(self, rows: Tensor) -> Terms:
        """A diagonal over the size of the row, without the row's own direction."""
        unit, inverse = self.unit(rows)
        width = len(self.weight)
        scaled = self.centre(width, rows) * self.weight.to(rows)
        return Terms(
            scale=inverse, left=-unit * inverse / width, right=unit * self.weight.to(rows), scaled=scaled,
            fixed=torch.zeros_like(scaled), bias=self.bias.to(rows),
        )  # fmt: skip

    def centre(self, width: int, like: Tensor) -> Tensor:
        """What takes the mean out, or the identity."""
        identity = torch.eye(width, dtype=like.dtype)
        return identity - 1 / width if self.centred else identity

    def moved(self, x: Tensor) -> Tensor:
        """Rows before they are divided."""
        return x - x.mean(-1, keepdim=True) if self.centred else x

    def unit(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of mean square one, and one over their size."""
        moved = self.moved(x)
        inverse = (moved.square().mean(-1, keepdim=True) + self.epsilon).rsqrt()
        return moved * inverse, inverse


@dataclass(frozen=True, eq=False, kw_only=True)
class NormBeside(Rows):
    """x -> (norm(x), x): what a part of a block reads, and what passes it."""

    norm: Norm
    reads: int = 0
    """The first coordinate that the norm reads: those before it only pass."""

    def folded(self, x: Tensor, constant: Tensor) -> Tensor:
        """The norm's bias times the constant."""
        return torch.cat([self.norm.folded(x[..., self.reads :], constant), x], dim=-1)

    def terms(self, rows: Tensor) -> Terms:
        """The norm's, with the identity beside."""
        at, width = self.norm.terms(rows[:, self.reads :]), rows.shape[1]
        identity = torch.eye(width, dtype=rows.dtype)
        return Terms(
            scale=at.scale, left=functional.pad(at.left, (self.reads, 0)),
            right=functional.pad(at.right, (0, width)),
            scaled=functional.pad(at.scaled, (0, width, self.reads, 0)),
            fixed=functional.pad(identity, (at.scaled.shape[1], 0)), bias=functional.pad(at.bias, (0, width)),
        )  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class Variance(Rows):
    """x -> (variance, x): the first half of a norm, with the mean square in the place of the variance if it is not
    centred.
    """

    norm: Norm
    reads: int = 0
    """The first coordinate that the norm reads."""

    def folded(self, x: Tensor, constant: Tensor) -> Tensor:
        """It has no bias."""
        variance = self.norm.moved(x[..., self.reads :]).square().mean(-1, keepdim=True)
        return torch.cat([variance, x], dim=-1)

    def terms(self, rows: Tensor) -> Terms:
        """The identity, and the gradient of the variance."""
        width, read = rows.shape[1], rows[:, self.reads :]
        fixed = functional.pad(torch.eye(width, dtype=rows.dtype), (1, 0))
        right = torch.zeros(len(rows), width + 1, dtype=rows.dtype)
        right[:, 0] = 1
        return Terms(
            scale=torch.ones_like(rows[:, :1]), right=right, scaled=torch.zeros_like(fixed), fixed=fixed,
            left=functional.pad(2 * self.norm.moved(read) / read.shape[1], (self.reads, 0)),
            bias=torch.zeros(width + 1, dtype=rows.dtype),
        )  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class Divided(Rows):
    """(variance, x) -> (norm(x), x): the second half, linear in x; without `beside` the norm alone."""

    norm: Norm
    beside: bool = True
    reads: int = 0
    """The first coordinate of x that the norm reads."""

    def folded(self, x: Tensor, constant: Tensor) -> Tensor:
        """The norm's bias times the constant."""
        rows, inverse = x[..., 1 + self.reads :], (x[..., :1] + self.norm.epsilon).rsqrt()
        norm = self.norm.moved(rows) * inverse * self.norm.weight.to(x) + constant * self.norm.bias.to(x)
        return torch.cat([norm, x[..., 1:]], dim=-1) if self.beside else norm

    def terms(self, rows: Tensor) -> Terms:
        """The stream over its size, and what the variance does to all of it at once."""
        norm, read = self.norm, rows[:, 1 + self.reads :]
        inverse, weight = (rows[:, :1] + norm.epsilon).rsqrt(), norm.weight.to(rows)
        passed = rows.shape[1] - 1 if self.beside else 0
        scaled = norm.centre(len(weight), rows) * weight
        left = torch.zeros_like(rows)
        left[:, 0] = -0.5
        identity = torch.eye(rows.shape[1], dtype=rows.dtype)[:, 1:][:, :passed]
        return Terms(
            scale=inverse, left=left, right=functional.pad(norm.moved(read) * inverse**3 * weight, (0, passed)),
            scaled=functional.pad(scaled, (0, passed, 1 + self.reads, 0)),
            fixed=functional.pad(identity, (len(weight), 0)), bias=functional.pad(norm.bias.to(rows), (0, passed)),
        )  # fmt: skip
