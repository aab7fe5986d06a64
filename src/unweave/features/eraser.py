"""`Eraser`: an affine map that takes something out of activations and leaves the rest where it is.

It has no units, so nothing can be exchanged between two inputs with it (trap T12): it is an edit, not a featurizer. The
part that is taken out is kept as a product of two thin matrices, never as a (d, d) one.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `read` | Wh U | (d, r) | covectors of what is taken out | Belrose et al. 2023, theorem 4.3; specs/evaluation.md 5 |
| `write` | U' Wh^+ | (r, d) | vectors of what is taken out | same |
| `erase` | r(x) = x - (x - mu) P | (..., d) | P = read @ write, idempotent | same |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError
from unweave.features.featurizer import Provenance, as_sites, check_width
from unweave.tensors.arrays import as_tensor, check_finite, computing_dtype


@dataclass(frozen=True, eq=False, kw_only=True)
class Eraser:
    """The map `h - (h - origin) @ read @ write`; `Edit(site=..., operator=eraser.erase)` puts it into a model.

    Raises:
        InputError: Shapes that do not fit, or NaN or infinite entries.

    Example:
        >>> out = Eraser(read=[[1.0], [0.0]], write=[[1.0, 0.0]], origin=[5.0, 5.0])
        >>> out.erase(torch.tensor([[1.0, 2.0]])), out.rank
        (tensor([[5., 2.]]), 1)
    """

    read: Any
    """(d, r) covectors of what is taken out."""
    write: Any
    """(r, d) vectors of what is taken out."""
    origin: Any = None
    """(d,), what is put in its place; None is the zero vector."""
    site: Any = None
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        """Turns the matrices into tensors and checks them."""
        read, write = (as_tensor(one, name=name) for one, name in ((self.read, "read"), (self.write, "write")))
        if read.ndim != 2 or not len(read) or write.shape != read.shape[::-1]:
            raise InputError(
                f"read is {tuple(read.shape)} but write is {tuple(write.shape)}: (d, r) and (r, d) are needed"
            )
        read, write = (one if one.is_floating_point() else one.double() for one in (read, write))
        origin = torch.zeros(len(read), dtype=read.dtype) if self.origin is None else self.origin
        origin = as_tensor(origin, name="origin").to(read.dtype)
        if origin.shape != (len(read),):
            raise InputError(f"origin has shape {tuple(origin.shape)}: {(len(read),)} is needed")
        for matrix, name in ((read, "read"), (write, "write"), (origin.unsqueeze(0), "origin")):
            check_finite(matrix, name=name)
        settled = {"read": read, "write": write, "origin": origin, "site": as_sites(self.site)}
        for name, value in settled.items():
            object.__setattr__(self, name, value)

    @property
    def width(self) -> int:
        """Width d of the activations."""
        return self.read.shape[0]

    @property
    def rank(self) -> int:
        """Dimensions taken out."""
        return self.read.shape[1]

    def erase(self, h: Any) -> Any:
        """The activations without it: an array for an array, else a tensor, of the dtype they have (half precision is
        computed in float32, whole numbers become float64).

        Rows that the eraser was fitted on come out uncorrelated with the concept to the last digit, and so a part of
        them leans the other way where the rest leans one way: score read-outs on rows of other groups
        (`uw.evals.erasure_sufficiency` does).

        Args:
            h: A tensor or an array (..., d), or anything that forms one.
        """
        if isinstance(h, np.ndarray):
            return self._erased(as_tensor(h, name="h")).numpy()
        return self._erased(h if isinstance(h, Tensor) else as_tensor(h, name="h"))

    def _erased(self, values: Tensor) -> Float[Tensor, "*rows d"]:
        values = values if values.is_floating_point() else values.double()
        check_width(values, self.width, self.site)
        exact = values.to(computing_dtype(values.dtype))
        out = ((exact - self.origin.to(exact)) @ self.read.to(exact)) @ self.write.to(exact)
        return (exact - out).to(values.dtype)

    def __repr__(self) -> str:
        """Width, rank and site."""
        return f"Eraser(width {self.width}, rank {self.rank}{'' if self.site is None else f', {self.site}'})"
