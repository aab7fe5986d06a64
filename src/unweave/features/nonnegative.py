"""Parts that add up: rows as non-negative combinations of non-negative vectors.

The coordinates are the solution of a least-squares problem under `z >= 0`, which no affine map gives: this featurizer
is of a kind of its own, and closed forms refuse it. All rows are solved together by coordinate descent on the small
Gram matrix, which ends where no amount moves any more.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `write` | H | (k, d) | parts, rows | Lee and Seung 1999 |
| `gram` | H H' | (k, k) | of the parts | same |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError
from unweave.features.featurizer import Capacity, Gauge, Provenance, Within, as_sites, check_units, check_width
from unweave.tensors.arrays import as_tensor, check_finite, computing_dtype

MOST_SWEEPS = 5000


@dataclass(frozen=True, eq=False, kw_only=True)
class NonNegativeFeaturizer:
    """`z = argmin norm(h - z @ write)` over `z >= 0`, each part a block of one.

    Raises:
        InputError: Not a matrix, an entry below 0, or a part that is zero.

    Example:
        >>> parts = NonNegativeFeaturizer(write=[[1.0, 1.0], [0.0, 1.0]])
        >>> z, residual = parts.encode(torch.tensor([[2.0, 5.0], [-1.0, 3.0]]))
        >>> z.round(decimals=4).tolist()
        [[2.0, 3.0], [0.0, 3.0]]
    """

    write: Any
    """(k, d), one part a row."""
    site: Any = None
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        """Turns the parts into a tensor and checks them."""
        write = as_tensor(self.write, name="write")
        write = (write if write.is_floating_point() else write.double()).contiguous()
        if write.ndim != 2 or 0 in write.shape:
            raise InputError(f"write has shape {tuple(write.shape)}: (parts, width) is needed")
        check_finite(write, name="write")
        if bool((write < 0).any()) or not bool((write.sum(1) > 0).all()):
            raise InputError("write has an entry below 0 or a part that is zero: parts are non-negative vectors")
        object.__setattr__(self, "write", write)
        object.__setattr__(self, "site", as_sites(self.site))

    @property
    def width(self) -> int:
        """Width d of the activations."""
        return self.write.shape[1]

    @property
    def blocks(self) -> tuple[int, ...]:
        """Each part by itself."""
        return (1,) * len(self.write)

    @property
    def gauge(self) -> Gauge:
        """Length and order of the parts are arbitrary."""
        return Gauge(within=Within.SCALE, permutation=True)

    @property
    def capacity(self) -> Capacity:
        """Nonlinear: a small optimisation a row."""
        return Capacity(kind="nonlinear", parameters=self.write.numel())

    def encode(self, h: Float[Tensor, "*rows d"]) -> tuple[Float[Tensor, "*rows k"], Float[Tensor, "*rows d"]]:
        """Amounts of the parts, and what they miss."""
        check_width(h, self.width, self.site)
        exact = h.to(computing_dtype(h.dtype))
        rows = exact.reshape(-1, self.width).double()
        write = self.write.to(rows)
        z = _amounts(rows @ write.T, write @ write.T).reshape(*exact.shape[:-1], len(write)).to(exact)
        return z, exact - z @ self.write.to(z)

    def decode(self, z: Float[Tensor, "*rows k"], residual: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows d"]:
        """The activations from amounts and residual."""
        check_units(z, len(self.write), self.site)
        check_width(residual, self.width, self.site)
        return z @ self.write.to(z) + residual

    def __repr__(self) -> str:
        """Width, parts and site."""
        where = "" if self.site is None else f", {self.site}"
        return f"NonNegativeFeaturizer(width {self.width}, {len(self.write)} parts{where})"


def _amounts(products: Float[Tensor, "n k"], gram: Float[Tensor, "k k"]) -> Float[Tensor, "n k"]:
    """Coordinate descent over all rows at once: exact in each coordinate, until no amount moves."""
    z = torch.zeros_like(products)
    diagonal = gram.diagonal()
    if not len(z):
        return z
    scale = (products.abs() / diagonal).max().clamp_min(torch.finfo(z.dtype).tiny)
    for _ in range(MOST_SWEEPS):
        moved = 0.0
        for part in range(len(gram)):
            step = (products[:, part] - z @ gram[:, part]) / diagonal[part]
            new = (z[:, part] + step).clamp_min(0)
            moved = max(moved, float((new - z[:, part]).abs().max()))
            z[:, part] = new
        if moved <= 1e-12 * float(scale):
            break
    return z
