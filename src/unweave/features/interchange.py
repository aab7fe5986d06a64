"""A subspace as TransformerLens' interchange takes it, orthonormal columns (d_model, rank), to and from one block of a
featurizer.

Exchanging the coordinates in an orthonormal basis is exchanging the block only if what reads it is what writes it. A
block that is read by other directions than it is written by is oblique: its span alone does not say what is exchanged.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError
from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import Gauge, Provenance, Within
from unweave.tensors.arrays import as_matrix

TOLERANCE = 1e-5
"""Largest entry of `basis.T @ basis - 1`, and of read - write, that counts as rounding: bases are kept in float32."""


def from_interchange(basis: Any, *, origin: Any = None, site: Any = None, model: str | None = None) -> AffineFeaturizer:
    """One block that spans the columns of an orthonormal basis; everything else stays in the residual.

    Args:
        basis: (d, rank), orthonormal columns.
        origin: (d,), what counts as zero; None is the zero vector.
        site: Where it applies.
        model: Fingerprint of the model.

    Raises:
        InputError: Columns that are not orthonormal.

    Example:
        >>> from_interchange(torch.eye(4)[:, :2], site="blocks.0.resid_post")
        AffineFeaturizer(width 4, 2 units in 1 block, blocks.0.resid_post)
    """
    columns = as_matrix(basis, name="basis")
    apart = float((columns.T.double() @ columns.double() - torch.eye(columns.shape[1])).abs().max())
    if apart > TOLERANCE:
        raise InputError(
            f"the columns of the basis are not orthonormal: their products differ from 0 and 1 by {apart:.2g}; take"
            " torch.linalg.qr(basis).Q for their span"
        )
    return AffineFeaturizer(
        read=columns,
        write=columns.T,
        origin=origin,
        blocks=(columns.shape[1],),
        gauge=Gauge(within=Within.ROTATION),
        site=site,
        provenance=Provenance(method="interchange", model=model),
    )


def to_interchange(
    featurizer: AffineFeaturizer, block: int = 0, *, orthonormalise: bool = False
) -> Float[Tensor, "d rank"]:
    """The orthonormal basis of a block, columns in the order of its units.

    Args:
        featurizer: Affine, without a nonlinearity.
        block: Which of its blocks.
        orthonormalise: Take the span of what an oblique block writes, by QR; what is then exchanged is another subspace
            map than the block's own.

    Raises:
        InputError: A nonlinearity, no such block, or an oblique block.

    Example:
        >>> to_interchange(from_interchange(torch.eye(3)[:, 1:])).tolist()
        [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    """
    if featurizer.act.kind != "identity":
        raise InputError(
            f"the featurizer has a {featurizer.act.kind} between reading and writing: a basis cannot say that"
        )
    if not 0 <= block < len(featurizer.blocks):
        raise InputError(f"block {block} is not in the featurizer: it has 0..{len(featurizer.blocks) - 1}")
    first = sum(featurizer.blocks[:block])
    units = slice(first, first + featurizer.blocks[block])
    read, write = featurizer.read[:, units], featurizer.write[units].T
    apart = max(
        float((read - write).abs().max()),
        float((write.T.double() @ write.double() - torch.eye(write.shape[1])).abs().max()),
    )
    if apart <= TOLERANCE:
        return write.clone()
    if not orthonormalise:
        raise InputError(
            f"block {block} is oblique (reading and writing differ by {apart:.2g}): its span alone does not say what is"
            " exchanged; orthonormalise=True takes the span of what it writes"
        )
    return torch.linalg.qr(write).Q
