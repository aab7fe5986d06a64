"""`Direction` and `Readout`: what is written and what is read are different things, of different types, and neither
stands in for the other.

A read-out is a covector: `h @ covector + bias` scores activations. A direction is a vector: adding it moves them. The
direction that belongs to a read-out depends on how the activations vary, `Sigma w / (w' Sigma w)`; using the covector
itself as a direction is the commonest mistake of the field.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `vector` | v | (d,) | in units of the activations | specs/evaluation.md, section 1 |
| `covector` | w | (d,) | score per unit of activation | same |
| `to_direction` | a = Sigma w / (w' Sigma w) | (d,) | regression of h on the read-out: raises the score by 1 | Haufe et al. 2014, eq. 6 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any, SupportsFloat, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import FingerprintError, InputError
from unweave.features.featurizer import Provenance, Sites, as_sites, check_width
from unweave.tensors.arrays import as_tensor, computing_dtype


@dataclass(frozen=True, eq=False, kw_only=True)
class Direction:
    """A vector to write along, with an algebra: `+`, `-`, times and over a number, sign.

    Example:
        >>> up = Direction(vector=[3.0, 4.0], site="blocks.0.resid_post")
        >>> (2 * up - up).norm, up.normalised().norm
        (5.0, 1.0)
    """

    vector: Any
    site: Any = None
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        """Turns the vector into a tensor and checks it."""
        object.__setattr__(self, "vector", _vector(self.vector, "vector"))
        object.__setattr__(self, "site", as_sites(self.site))

    @property
    def norm(self) -> float:
        """Euclidean length, in units of the activations."""
        return float(self.vector.double().norm())

    def normalised(self) -> Direction:
        """The same direction with length 1."""
        if not self.norm > 0:
            raise InputError("a zero direction cannot be normalised: it points nowhere")
        return self / self.norm

    def __add__(self, other: Direction) -> Direction:
        return replace(self, vector=self.vector + _partner(self, other).vector, provenance=_of_both(self, other))

    def __sub__(self, other: Direction) -> Direction:
        return self + -other

    def __neg__(self) -> Direction:
        return self * -1.0

    def __mul__(self, factor: SupportsFloat) -> Direction:
        return replace(self, vector=self.vector * _factor(factor))

    def __truediv__(self, divisor: SupportsFloat) -> Direction:
        number = _factor(divisor)
        if not number:
            raise InputError("a direction cannot be divided by zero")
        return replace(self, vector=self.vector / number)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        """Width, length and site."""
        return f"Direction(width {len(self.vector)}, length {self.norm:.4g}{_where(self.site)})"


@dataclass(frozen=True, eq=False, kw_only=True)
class Readout:
    """A covector that scores activations, `h @ covector + bias`, with the algebra of affine scores.

    Example:
        >>> read = Readout(covector=[1.0, 0.0])
        >>> float(read.score(torch.tensor([2.0, 5.0])))
        2.0
        >>> read.to_direction(torch.tensor([[2.0, 1.0], [1.0, 2.0]])).vector
        tensor([1.0000, 0.5000], dtype=torch.float64)
    """

    covector: Any
    bias: float = 0.0
    site: Any = None
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        """Turns the covector into a tensor and checks it."""
        object.__setattr__(self, "covector", _vector(self.covector, "covector"))
        object.__setattr__(self, "site", as_sites(self.site))

    @property
    def norm(self) -> float:
        """Euclidean length of the covector."""
        return float(self.covector.double().norm())

    def score(self, h: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows"]:
        """One number a row; half precision is computed in float32."""
        check_width(h, len(self.covector), self.site)
        exact = h.to(computing_dtype(h.dtype))
        return exact @ self.covector.to(exact) + self.bias

    def to_direction(self, covariance: Any) -> Direction:
        """The direction that belongs to this read-out where activations vary as `covariance` (d, d): `Sigma w / (w'
        Sigma w)`.

        Raises:
            InputError: The covariance has another width, or the read-out does not vary under it.
        """
        width = len(self.covector)
        sigma, w = as_tensor(covariance, name="covariance").to(torch.float64), self.covector.to(torch.float64)
        if sigma.shape != (width, width):
            raise InputError(f"covariance has shape {tuple(sigma.shape)}: {(width, width)} is needed")
        variance = float(w @ sigma @ w)
        if not variance > 0:
            raise InputError("the read-out does not vary under this covariance: no direction belongs to it")
        return Direction(vector=sigma @ w / variance, site=self.site, provenance=self.provenance)

    def normalised(self) -> Readout:
        """The same read-out with a covector of length 1; the bias is scaled with it, so the sign of every score
        stays.
        """
        if not self.norm > 0:
            raise InputError("a zero read-out cannot be normalised: it reads nothing")
        return self / self.norm

    def __add__(self, other: Readout) -> Readout:
        covector = self.covector + _partner(self, other).covector
        return replace(self, covector=covector, bias=self.bias + other.bias, provenance=_of_both(self, other))

    def __sub__(self, other: Readout) -> Readout:
        return self + -other

    def __neg__(self) -> Readout:
        return self * -1.0

    def __mul__(self, factor: SupportsFloat) -> Readout:
        number = _factor(factor)
        return replace(self, covector=self.covector * number, bias=self.bias * number)

    def __truediv__(self, divisor: SupportsFloat) -> Readout:
        number = _factor(divisor)
        if not number:
            raise InputError("a read-out cannot be divided by zero")
        return replace(self, covector=self.covector / number, bias=self.bias / number)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        """Width, length and site."""
        return f"Readout(width {len(self.covector)}, length {self.norm:.4g}{_where(self.site)})"


def _vector(values: Any, name: str) -> Tensor:
    vector = as_tensor(values, name=name)
    if vector.ndim != 1 or not len(vector):
        raise InputError(f"{name} has shape {tuple(vector.shape)}: one axis with at least one entry is needed")
    vector = vector if vector.is_floating_point() else vector.to(torch.float64)
    if not bool(torch.isfinite(vector).all()):
        raise InputError(f"{name} has a NaN or infinite entry: it points nowhere")
    return vector


def _factor(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"directions and read-outs are scaled by a number, not by a {type(value).__name__}")
    return float(value)


V = TypeVar("V", Direction, Readout)


def _partner(first: V, second: object) -> V:
    if type(second) is not type(first):
        raise TypeError(
            f"a {type(first).__name__} and a {type(second).__name__} do not add up: convert a Readout with"
            " to_direction(covariance)"
        )
    if second.site != first.site:
        raise InputError(
            f"one is at {first.site}, the other at {second.site}: vectors of different sites do not add up"
        )
    if (
        None not in (first.provenance.model, second.provenance.model)
        and first.provenance.model != second.provenance.model
    ):
        raise FingerprintError("the two come from different models: their vectors do not add up")
    widths = [len(one.vector if isinstance(one, Direction) else one.covector) for one in (first, second)]
    if widths[0] != widths[1]:
        raise InputError(f"one has width {widths[0]}, the other {widths[1]}: vectors of different sites do not add up")
    return second


def _of_both(first: V, second: V) -> Provenance:
    """The first one's, with the model of the second where only that one knows it."""
    if first.provenance.model is not None:
        return first.provenance
    return replace(first.provenance, model=second.provenance.model)


def _where(site: Sites) -> str:
    return "" if site is None else f", {site}"
