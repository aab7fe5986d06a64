"""Neurons as a featurizer: some coordinates of the site as they are, kept as an index and never as an identity
matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError
from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import Capacity, Gauge, Provenance, as_sites, check_blocks, check_units, check_width
from unweave.tensors.arrays import as_tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class NeuronFeaturizer:
    """The coordinates `index` of a site of width `width`; `z = h[..., index]`.

    Example:
        >>> f = NeuronFeaturizer(width=4, index=[2, 0], site="blocks.0.mlp_act")
        >>> f.encode(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        (tensor([3., 1.]), tensor([0., 2., 0., 4.]))
    """

    width: int
    index: Any = None
    """Coordinates, each once; None = all."""
    blocks: Any = None
    """Sizes of groups of coordinates; None makes every neuron its own block."""
    site: Any = None
    """Where they are."""
    gauge: Gauge = field(default_factory=Gauge)
    capacity: Capacity = field(default_factory=Capacity)
    provenance: Provenance = field(default_factory=lambda: Provenance(method="neurons"))

    def __post_init__(self) -> None:
        """Turns the index into a tensor and checks it."""
        index = torch.arange(self.width) if self.index is None else as_tensor(self.index, name="index")
        if (
            index.is_floating_point()
            or index.dtype == torch.bool
            or index.ndim != 1
            or len(index) == 0
            or index.min() < 0
            or index.max() >= self.width
            or len(index.unique()) != len(index)
        ):
            got = index.flatten().tolist()[:8]
            raise InputError(f"index must hold different whole numbers in 0..{self.width - 1} on one axis, got {got}")
        index = index.to(torch.int64)
        blocks = (1,) * len(index) if self.blocks is None else tuple(int(size) for size in self.blocks)
        check_blocks(blocks, len(index))
        for name, value in {"index": index, "blocks": blocks, "site": as_sites(self.site)}.items():
            object.__setattr__(self, name, value)

    def encode(self, h: Float[Tensor, "*rows d"]) -> tuple[Float[Tensor, "*rows k"], Float[Tensor, "*rows d"]]:
        """The coordinates, and the activations with them set to zero."""
        check_width(h, self.width, self.site)
        index = self.index.to(h.device)
        return h[..., index], h.index_fill(-1, index, 0)

    def decode(self, z: Float[Tensor, "*rows k"], residual: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows d"]:
        """The activations with the coordinates put back."""
        check_units(z, len(self.index), self.site)
        check_width(residual, self.width, self.site)
        return residual.index_add(-1, self.index.to(z.device), z.to(residual.dtype))

    def __repr__(self) -> str:
        """Number of neurons and site."""
        return (
            f"NeuronFeaturizer({len(self.index)} of {self.width}"
            f" neurons{'' if self.site is None else f', {self.site}'})"
        )


def as_affine(featurizer: Any) -> AffineFeaturizer:
    """The featurizer as an affine one, for closed forms that need matrices.

    Raises:
        InputError: It is not affine.
    """
    if isinstance(featurizer, AffineFeaturizer):
        return featurizer
    if not isinstance(featurizer, NeuronFeaturizer):
        raise InputError(
            f"a {type(featurizer).__name__} is not an affine map: this computation needs an AffineFeaturizer or neurons"
        )
    read = torch.eye(featurizer.width, dtype=torch.float64)[:, featurizer.index]
    return AffineFeaturizer(
        read=read,
        write=read.T,
        blocks=featurizer.blocks,
        gauge=featurizer.gauge,
        site=featurizer.site,
        capacity=featurizer.capacity,
        provenance=featurizer.provenance,
    )
