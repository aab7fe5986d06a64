"""The featurizer that all methods use: covectors read the units out, vectors write them back, one nonlinearity in
between.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `read` | R | (d, k) | covectors, columns: `z = act((h - origin) @ read + bias)` | specs/evaluation.md, notation |
| `write` | W | (k, d) | vectors, rows: `h_hat = z @ write + origin` | same |
| `residual` | e | (..., d) | `h - h_hat`, kept when patching | same |
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError
from unweave.features.activation import IDENTITY, Activation, apply
from unweave.features.featurizer import (
    Capacity,
    Gauge,
    Provenance,
    as_gauge,
    as_sites,
    check_blocks,
    check_units,
    check_width,
)
from unweave.tensors.arrays import as_tensor, check_finite, computing_dtype


@dataclass(frozen=True, eq=False, kw_only=True)
class AffineFeaturizer:
    """An affine map to units and back, with at most one nonlinearity.

    Args:
        read: (d, k), one covector a column.
        write: (k, d), one vector a row; None takes the Moore-Penrose inverse of `read`, which for orthonormal columns
            is their transpose.
        origin: (d,), what counts as zero; None is the zero vector.
        bias: (k,), added before the nonlinearity; None is zero.
        act: The nonlinearity.
        blocks: Sizes of the groups of units, summing to k; None makes every unit its own block.
        gauge: What is arbitrary: a `Gauge`, or `none`, `sign`, `scale`, `rotation`.
        site: Where it applies.
        capacity: How much freedom the fit had; a nonlinearity makes an `affine` one `piecewise`.
        provenance: Where it comes from.

    Raises:
        InputError: Shapes that do not fit, blocks that do not sum to k, or NaN or infinite entries.

    Example:
        >>> import numpy as np
        >>> where = "blocks.0.resid_post"
        >>> f = AffineFeaturizer(read=np.eye(4)[:, :2], origin=np.ones(4), blocks=(2,), site=where)
        >>> z, residual = f.encode(torch.ones(3, 4))
        >>> bool((f.decode(z, residual) == 1).all()), f
        (True, AffineFeaturizer(width 4, 2 units in 1 block, blocks.0.resid_post))
    """

    read: Any
    write: Any = None
    origin: Any = None
    bias: Any = None
    act: Activation = field(default=IDENTITY)
    blocks: Any = None
    gauge: Any = field(default_factory=Gauge)
    site: Any = None
    capacity: Capacity = field(default_factory=Capacity)
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        """Turns arrays and names into tensors and sites, and checks that they fit."""
        read = _matrix(self.read, "read")
        width, count = read.shape
        write = _inverse(read) if self.write is None else _matrix(self.write, "write").to(read.dtype)
        if write.shape != (count, width):
            raise InputError(
                f"read is {tuple(read.shape)} but write is {tuple(write.shape)}: write must be {(count, width)}, one"
                " vector a row"
            )
        if self.act.threshold is not None and self.act.threshold.shape != (count,):
            raise InputError(f"threshold has shape {tuple(self.act.threshold.shape)}: {(count,)} is needed, one a unit")
        if self.act.scale is not None and self.act.scale.shape != (count,):
            raise InputError(f"scale has shape {tuple(self.act.scale.shape)}: {(count,)} is needed, one a unit")
        blocks = (1,) * count if self.blocks is None else tuple(int(size) for size in self.blocks)
        check_blocks(blocks, count)
        piecewise = self.act.kind != "identity" and self.capacity.kind == "affine"
        settled = {
            "read": read,
            "write": write,
            "origin": _vector(self.origin, width, "origin", read.dtype),
            "bias": _vector(self.bias, count, "bias", read.dtype),
            "blocks": blocks,
            "gauge": as_gauge(self.gauge),
            "site": as_sites(self.site),
            "capacity": replace(self.capacity, kind="piecewise") if piecewise else self.capacity,
        }
        for name, value in settled.items():
            object.__setattr__(self, name, value)

    @property
    def width(self) -> int:
        """Width d of the activations."""
        return self.read.shape[0]

    def encode(self, h: Float[Tensor, "*rows d"]) -> tuple[Float[Tensor, "*rows k"], Float[Tensor, "*rows d"]]:
        """Units and residual; half precision is computed in float32, the parameters follow the dtype and device of
        `h`.
        """
        check_width(h, self.width, self.site)
        exact = h.to(computing_dtype(h.dtype))
        pre = (exact - self.origin.to(exact)) @ self.read.to(exact) + self.bias.to(exact)
        z = apply(self.act, pre)
        return z, exact - self._reconstruct(z)

    def decode(self, z: Float[Tensor, "*rows k"], residual: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows d"]:
        """The activations from units and residual."""
        check_units(z, self.read.shape[1], self.site)
        check_width(residual, self.width, self.site)
        return self._reconstruct(z) + residual

    def _reconstruct(self, z: Tensor) -> Tensor:
        return z @ self.write.to(z) + self.origin.to(z)

    def __repr__(self) -> str:
        """Width, units, blocks, nonlinearity and site."""
        act = "" if self.act.kind == "identity" else f", {self.act.kind}"
        where = "" if self.site is None else f", {self.site}"
        count, groups = sum(self.blocks), len(self.blocks)
        return (
            f"AffineFeaturizer(width {self.width}, {count} units in {groups}"
            f" block{'s' if groups != 1 else ''}{act}{where})"
        )


def _matrix(values: Any, name: str) -> Tensor:
    matrix = as_tensor(values, name=name)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InputError(f"{name} has shape {tuple(matrix.shape)}: a matrix with at least one row and column is needed")
    matrix = matrix if matrix.is_floating_point() else matrix.to(torch.float64)
    check_finite(matrix, name=name)
    return matrix.contiguous()  # as after loading: the layout decides the last bit of a product


def _inverse(read: Float[Tensor, "d k"]) -> Float[Tensor, "k d"]:
    """The Moore-Penrose inverse; half precision has no decomposition of its own."""
    return torch.linalg.pinv(read.to(computing_dtype(read.dtype))).to(read.dtype)


def _vector(values: Any, size: int, name: str, dtype: torch.dtype) -> Tensor:
    if values is None:
        return torch.zeros(size, dtype=dtype)
    vector = as_tensor(values, name=name).to(dtype)
    if vector.shape != (size,):
        raise InputError(f"{name} has shape {tuple(vector.shape)}: {(size,)} is needed")
    check_finite(vector.unsqueeze(0), name=name)
    return vector
