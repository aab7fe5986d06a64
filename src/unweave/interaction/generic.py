"""What any differentiable section contributes, by derivatives alone: exactly, or with random sources.

The metric is written as `K = L L'`; each column of L is pulled back once for every output position, or random signs
mix columns and positions first, which is right on average because `E[phi phi'] = I`. Edges push each coordinate
forward, or pull each output coordinate back, whichever is fewer.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `factor` | L | (d_out, r) | `metric = factor @ factor.T`, no more columns than its rank | specs/lib.md 5.2 |
| `pulled` | g | (batch, pos, d) | `d (y L phi) / d x` | arXiv 2405.10928 |
| `weights` | w_alpha | (k,) | rule of integration over the path `alpha x` | specs/lib.md 3.3 |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from unweave.features.featurizer import Featurizer, units
from unweave.interaction.stream import Local
from unweave.models.quiet import load_forward_mode
from unweave.tensors.linalg import symmetric_eigen

SINGLE_POINT = ((1.0, 1.0),)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What is random in a pull: how many sources over positions and over hidden coordinates."""

    positions: int | None
    hidden: int | None
    seed: int

    @property
    def count(self) -> int:
        """Pulls that are averaged."""
        return (self.positions or 1) * (self.hidden or 1)


def factor_of(metric: Float[Tensor, "d d"]) -> Float[Tensor, "d r"]:
    """A matrix with as many columns as the metric has rank."""
    eigen = symmetric_eigen(metric)
    return eigen.vectors[:, : eigen.rank] * eigen.values[: eigen.rank].sqrt()


def pull(
    local: Local,
    factor: Float[Tensor, "d_out r"],
    *,
    mixes: bool,
    sampling: Sampling | None = None,
    points: tuple[tuple[float, float], ...] = SINGLE_POINT,
) -> Float[Tensor, "d d"]:
    """Sum over samples and positions of `J K J'`.

    Args:
        local: The section at a batch.
        factor: Of the metric.
        mixes: Whether an output position depends on other input positions; if not, all are pulled at once.
        sampling: Random sources; None is exact.
        points: (alpha, weight) of the path that the Jacobian is averaged over.
    """
    x = local.x.detach()
    shape, pulled_by = _puller(local.function, x, points)
    total = torch.zeros(x.shape[-1], x.shape[-1], dtype=torch.float64)
    for source in _sources(shape, factor.to(x), mixes=mixes, sampling=sampling):
        pulled = pulled_by(source).flatten(0, 1).double()
        total += pulled.T @ pulled
    return total / (1 if sampling is None else sampling.count)


def edges(
    local: Local,
    source: Featurizer,
    target: Featurizer,
    *,
    mixes: bool,
    points: tuple[tuple[float, float], ...] = SINGLE_POINT,
    signs: tuple[int, int] | None = None,
) -> Float[Tensor, "r_out r_in"]:
    """Sum over samples and output positions of squared attributions.

    Args:
        local: The section at a batch.
        source: Featurizer at its start.
        target: Featurizer at its end.
        mixes: Whether positions see one another.
        points: (alpha, weight) of the path from zero.
        signs: (draws, seed) of random signs over output positions, whose attributions are then summed before they are
            squared; None squares each position.
    """
    with torch.no_grad():
        z, residual = source.encode(local.x)

    def between(values: Tensor) -> Tensor:
        return target.encode(local.function(source.decode(values, residual)))[0]

    with torch.no_grad():
        positions = between(z).shape[1]
    pulls = units(target) * (positions if mixes else 1)
    if pulls < units(source):
        attributions: Iterator[tuple[Any, Any, Tensor]] = _by_pulling(between, z, mixes=mixes, points=points)
    else:
        attributions = _by_pushing(between, z, points=points)
    total = torch.zeros(units(target), units(source), dtype=torch.float64)
    generator = torch.Generator().manual_seed(signs[1]) if signs else None
    phases = _signs((signs[0], *z.shape[:1], positions), generator) if signs and generator else None
    for target_units, source_units, part in attributions:  # part: (batch, position, one of the two)
        value = part.double()
        square = value.square().sum((0, 1)) if phases is None else _mixed(value, phases)
        total[target_units, source_units] += square
    return total


def tangent_at(local: Local, origin: Float[Tensor, " d"]) -> Float[Tensor, "batch pos d_out"]:
    """What the section, linearised at the activations, gives at the origin: `F(x) - J (x - origin)`."""
    x = local.x.detach()
    with torch.no_grad():
        y = local.function(x)
    return y - push(local.function, x, x - origin.to(x))


def push(function: Callable[[Tensor], Tensor], x: Tensor, u: Tensor) -> Tensor:
    """The change of the output along `u`."""
    load_forward_mode()
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad():  # the fused kernels have no forward derivative
        return torch.func.jvp(function, (x,), (u,))[1].detach()


def path_points(rule: str, intervals: int) -> tuple[tuple[float, float], ...]:
    """(alpha, weight) of the integration rule; weights sum to 1 but for the ends the trapezoidal rule leaves out.

    Example:
        >>> path_points("gradient", 0), path_points("trapezoidal", 0)
        (((1.0, 1.0),), ((0.5, 1.0),))
    """
    if rule == "gradient":
        return SINGLE_POINT
    if intervals == 0:
        return ((0.5, 1.0),)
    if rule == "gauss_legendre":
        nodes, weights = np.polynomial.legendre.leggauss(intervals + 1)
        return tuple((float((1 + node) / 2), float(weight / 2)) for node, weight in zip(nodes, weights, strict=True))
    edge = 1e-3 / (intervals + 1)
    nodes = np.linspace(edge, 1 - edge, intervals + 1)
    weights = np.full(intervals + 1, 1 / intervals)
    weights[[0, -1]] /= 2
    return tuple((float(node), float(weight)) for node, weight in zip(nodes, weights, strict=True))


def _sources(
    shape: torch.Size, factor: Tensor, *, mixes: bool, sampling: Sampling | None
) -> Iterator[Float[Tensor, "batch pos d_out"]]:
    """The covectors that are pulled back: columns of the factor at each position, or random mixtures."""
    batch, positions, _ = shape
    generator = torch.Generator().manual_seed(sampling.seed) if sampling else None
    columns = factor.T if not sampling or sampling.hidden is None else None
    for _ in range((sampling.hidden or 1) if sampling else 1):
        over_positions = (sampling.positions if sampling else None) or (positions if mixes else 1)
        for place in range(over_positions):
            if sampling and sampling.positions is not None and generator is not None:
                mask = _signs((batch, positions, 1), generator).to(factor)
            else:
                mask = torch.ones(batch, positions, 1, dtype=factor.dtype)
                if mixes:
                    mask[:, torch.arange(positions) != place] = 0
            if columns is None and generator is not None:
                yield (_signs((batch, positions, factor.shape[1]), generator).to(factor) @ factor.T) * mask.abs()
            else:
                for column in factor.T:
                    yield mask * column


def _puller(
    function: Callable[[Tensor], Tensor], x: Tensor, points: tuple[tuple[float, float], ...]
) -> tuple[torch.Size, Callable[[Tensor], Tensor]]:
    """The shape of the output, and what pulls a source back. At a single point the function runs once for all sources;
    along a path once a point and source, as the graphs of all points together would take their multiple of memory.
    """
    if len(points) != 1:
        with torch.no_grad():
            return function(x).shape, lambda source: _averaged(function, x, source, points)
    alpha, weight = points[0]
    with torch.enable_grad():
        point = (alpha * x).requires_grad_(True)
        y = function(point)
    return y.shape, lambda source: weight * torch.autograd.grad(y, point, source, retain_graph=True)[0]


def _averaged(
    function: Callable[[Tensor], Tensor], x: Tensor, source: Tensor, points: tuple[tuple[float, float], ...]
) -> Tensor:
    """The pull of one source, averaged over the path."""
    total = torch.zeros_like(x)
    for alpha, weight in points:
        with torch.enable_grad():
            point = (alpha * x).requires_grad_(True)
            total += weight * torch.autograd.grad(function(point), point, source)[0]
    return total


def _by_pushing(
    between: Callable[[Tensor], Tensor], z: Tensor, *, points: tuple[tuple[float, float], ...]
) -> Iterator[tuple[slice, int, Tensor]]:
    """One push a coordinate of the start, at all positions at once: a sum over input positions comes with it."""
    for unit in range(z.shape[-1]):
        direction = torch.zeros_like(z)
        direction[..., unit] = z[..., unit]
        yield slice(None), unit, _along(between, z, direction, points)


def _along(
    between: Callable[[Tensor], Tensor], z: Tensor, direction: Tensor, points: tuple[tuple[float, float], ...]
) -> Tensor:
    total: Tensor | float = 0.0
    for alpha, weight in points:
        total = total + weight * push(between, alpha * z, direction)
    return total if isinstance(total, Tensor) else torch.zeros(0)


def _by_pulling(
    between: Callable[[Tensor], Tensor], z: Tensor, *, mixes: bool, points: tuple[tuple[float, float], ...]
) -> Iterator[tuple[int, slice, Tensor]]:
    """One pull a coordinate of the end, and a position of it where positions mix."""
    shape, pulled_by = _puller(between, z, points)
    for unit in range(shape[-1]):
        found = []
        for place in range(shape[1]) if mixes else [slice(None)]:
            source = torch.zeros(shape, dtype=z.dtype)
            source[:, place, unit] = 1
            pulled = pulled_by(source) * z
            found.append(pulled.sum(1, keepdim=True) if mixes else pulled)
        yield unit, slice(None), torch.cat(found, 1)


def _mixed(value: Tensor, phases: Tensor) -> Tensor:
    """Mean over draws of the squared sum over positions with random signs."""
    return torch.einsum("rbt,btu->rbu", phases.to(value), value).square().sum((0, 1)) / len(phases)


def _signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, shape, generator=generator).double() * 2 - 1
