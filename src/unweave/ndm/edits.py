"""Interchange of one block at a time, all blocks along one batch axis: what a test of a partition needs.

    h' = h + ((h_src - h) read_s) write_s

With an orthogonal rotation the blocks add up to the whole: exchanging all of them is exchanging the rows, and a source
that is the base changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError
from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import block_slices, check_width
from unweave.tensors.arrays import as_tensor, computing_dtype


@dataclass(frozen=True, eq=False, kw_only=True)
class BlockEdits:
    """The activations after each edit."""

    blocks: tuple[int, ...]
    """Which block each edit exchanges."""
    edited: Float[Tensor, "s *rows d"]
    """One edit a block."""
    whole: Float[Tensor, "*rows d"]
    """All blocks exchanged: the source, up to the positions."""
    base: Float[Tensor, "*rows d"]
    """Nothing exchanged."""


def block_edits(
    featurizer: AffineFeaturizer,
    base: Any,
    source: Any,
    *,
    positions: Any = None,
    blocks: Sequence[int] | None = None,
) -> BlockEdits:
    """The base with one block of the source at a time, all blocks at once, and as it is.

    Args:
        featurizer: With the blocks.
        base: (..., d) activations that are edited.
        source: The same shape: where the blocks come from.
        positions: Which positions of the last but one axis are edited: numbers or a mask; None is all.
        blocks: Numbers of the blocks; None is all.

    Raises:
        InputError: Shapes that differ, or a block that does not exist.

    Example:
        >>> f = AffineFeaturizer(read=np.eye(3), blocks=(2, 1))
        >>> edits = block_edits(f, torch.zeros(1, 3), torch.ones(1, 3))
        >>> edits.edited.tolist()
        [[[1.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]]]
    """
    one, two = as_tensor(base, name="base"), as_tensor(source, name="source")
    if one.shape != two.shape:
        raise InputError(f"base is {tuple(one.shape)} but source is {tuple(two.shape)}: one shape is needed")
    check_width(one, featurizer.width, featurizer.site)
    count = len(featurizer.blocks)
    chosen = tuple(range(count)) if blocks is None else tuple(int(block) for block in blocks)
    if not chosen or not all(0 <= block < count for block in chosen):
        raise InputError(f"blocks are {chosen[:8]}: numbers in 0..{count - 1} are needed")
    exact = one.to(computing_dtype(one.dtype))
    moved = two.to(exact) - exact
    if positions is not None:
        moved = torch.where(_mask(positions, exact), moved, 0)
    read, write = featurizer.read.to(exact), featurizer.write.to(exact)
    slices = block_slices(featurizer)
    turned = moved @ read
    edited = torch.stack([exact + turned[..., slices[s]] @ write[slices[s]] for s in chosen])
    return BlockEdits(blocks=chosen, edited=edited, whole=exact + moved, base=exact)


def _mask(positions: Any, base: Tensor) -> Tensor:
    """(..., positions, 1) True where rows are edited."""
    if base.ndim < 2:
        raise InputError(f"base has shape {tuple(base.shape)}: positions need an axis before the last")
    given = as_tensor(positions, name="positions")
    length = base.shape[-2]
    if given.dtype == torch.bool:
        if given.shape[-1] != length:
            raise InputError(f"the mask has {given.shape[-1]} positions but base has {length}: one each is needed")
        return given.unsqueeze(-1)
    if given.numel() and not -length <= int(given.min()) <= int(given.max()) < length:
        raise InputError(f"positions run from {int(given.min())} to {int(given.max())} but base has {length}")
    mask = torch.zeros(length, dtype=torch.bool)
    mask[given.long()] = True
    return mask.unsqueeze(-1)
