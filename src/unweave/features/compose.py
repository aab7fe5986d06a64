"""New featurizers from old ones: some blocks only, or one decomposition after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from unweave.errors import FingerprintError, InputError
from unweave.features.activation import Activation
from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import Featurizer, block_slices
from unweave.features.neurons import NeuronFeaturizer, as_affine


def restrict(
    featurizer: AffineFeaturizer | NeuronFeaturizer, blocks: Sequence[int]
) -> AffineFeaturizer | NeuronFeaturizer:
    """The featurizer with only these blocks, in this order; what the others held goes to the residual.

    Args:
        featurizer: The one to take from.
        blocks: Numbers of its blocks.

    Raises:
        InputError: A block that does not exist or comes twice, or a TopK nonlinearity, which no part of the units
            determines.

    Example:
        >>> from unweave.features.bases import random_rotation
        >>> restrict(random_rotation(4), [3, 0])
        AffineFeaturizer(width 4, 2 units in 2 blocks)
    """
    slices = block_slices(featurizer)
    if not blocks or len(set(blocks)) != len(blocks) or not all(0 <= block < len(slices) for block in blocks):
        raise InputError(f"blocks {list(blocks)[:8]} must be different numbers in 0..{len(slices) - 1}, at least one")
    kept = torch.cat([torch.arange(slices[block].start, slices[block].stop) for block in blocks])
    sizes = tuple(featurizer.blocks[block] for block in blocks)
    if isinstance(featurizer, AffineFeaturizer) and featurizer.act.kind == "top_k":
        raise InputError(
            "a TopK featurizer cannot be restricted, which units stay on depends on all of them: choose units= in the"
            " edit instead"
        )
    return _with_units(featurizer, kept, sizes)


def only_units(featurizer: Featurizer, units: Sequence[int]) -> Featurizer | None:
    """The featurizer with only these units, each its own block, which costs as many products as there are units; None
    where units do not stand alone: a TopK nonlinearity, or a map that is not affine.

    Args:
        featurizer: The one to take from.
        units: Numbers of its units, each once.

    Example:
        >>> from unweave.features.bases import random_rotation
        >>> only_units(random_rotation(4), [3, 0])
        AffineFeaturizer(width 4, 2 units in 2 blocks)
    """
    if not isinstance(featurizer, AffineFeaturizer | NeuronFeaturizer):
        return None
    if isinstance(featurizer, AffineFeaturizer) and featurizer.act.kind == "top_k":
        return None
    return _with_units(featurizer, torch.tensor(list(units), dtype=torch.long), (1,) * len(units))


def _with_units(
    featurizer: AffineFeaturizer | NeuronFeaturizer, kept: Int[Tensor, " k"], sizes: tuple[int, ...]
) -> AffineFeaturizer | NeuronFeaturizer:
    if isinstance(featurizer, NeuronFeaturizer):
        return replace(featurizer, index=featurizer.index[kept], blocks=sizes)
    threshold = None if featurizer.act.threshold is None else featurizer.act.threshold[kept]
    return replace(
        featurizer,
        read=featurizer.read[:, kept],
        write=featurizer.write[kept],
        bias=featurizer.bias[kept],
        act=Activation(kind=featurizer.act.kind, threshold=threshold),
        blocks=sizes,
    )


def compose(first: Featurizer, second: Featurizer) -> AffineFeaturizer:
    """The featurizer that applies `second` to the units of `first`.

    With `z1 = (h - o1) R1 + b1` and `z2 = act((z1 - o2) R2 + b2)` the result has read `R1 R2`, write `W2 W1` and origin
    `o1 + o2 W1`; its bias makes up for the origin. It is of the model of both, with the fitted numbers of both.

    Args:
        first: Applied to the activations; without a nonlinearity.
        second: Applied to the units of `first`.

    Raises:
        InputError: The units of `first` are not the width of `second`, or `first` has a nonlinearity.
        FingerprintError: Fitted on different models.

    Example:
        >>> from unweave.features.bases import random_rotation
        >>> compose(random_rotation(4), random_rotation(4, seed=1))
        AffineFeaturizer(width 4, 4 units in 4 blocks)
    """
    one, two = as_affine(first), as_affine(second)
    if one.act.kind != "identity":
        raise InputError(
            f"the first featurizer has a {one.act.kind} nonlinearity: two nonlinear maps do not compose to an"
            " affine one"
        )
    if one.read.shape[1] != two.width:
        raise InputError(
            f"the first featurizer has {one.read.shape[1]} units but the second has width {two.width}: they must be"
            " equal"
        )
    read1, write1, origin1, bias1 = (part.double() for part in (one.read, one.write, one.origin, one.bias))
    read2, write2, origin2, bias2 = (part.double() for part in (two.read, two.write, two.origin, two.bias))
    origin = origin1 + origin2 @ write1
    bias = (bias1 - origin2) @ read2 + bias2 + (origin - origin1) @ read1 @ read2
    return replace(
        two,
        read=read1 @ read2,
        write=write2 @ write1,
        origin=origin,
        bias=bias,
        site=one.site,
        capacity=replace(
            two.capacity,
            parameters=one.capacity.parameters + two.capacity.parameters,
            search_budget=one.capacity.search_budget * two.capacity.search_budget,
        ),
        provenance=replace(two.provenance, model=_model_of(one, two)),
    )


def _model_of(first: Featurizer, second: Featurizer) -> str | None:
    models = {featurizer.provenance.model for featurizer in (first, second)} - {None}
    if len(models) > 1:
        raise FingerprintError("the two were made for different models: fit the second on the units of the first")
    return next(iter(models), None)
