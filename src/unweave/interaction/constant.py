"""The constant as a node: what a layer's mean and the biases behind it do to the next layer.

Its row in the graph is `[mean, 1]`. With known weights the edge is the derivative of the folded section along that row;
for a section known as a function alone it is what the section, linearised at the activations, gives at the mean, which
is the same for every section that is homogeneous with its biases (linear, ReLU).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import units
from unweave.features.neurons import NeuronFeaturizer, as_affine
from unweave.interaction.generic import tangent_at
from unweave.interaction.stream import Local
from unweave.models.sections import Section

MOST_POSITIONS = 16
"""Attention needs one derivative a position for the importance of the constant; beyond this many it is not computed."""


def constant_sums(
    section: Section, local: Local, source: Any, target: Any, metric: Float[Tensor, "d_out d_out"]
) -> tuple[Float[Tensor, " r_out"], float]:
    """Sums over a batch: of the squared attributions of the constant, and of what the constant of each single position
    is worth; NaN where a featurizer is not affine or, for the second, biases are not known.

    Args:
        section: The section.
        local: It at the batch.
        source: Featurizer at its start.
        target: Featurizer at its end.
        metric: Of the end.
    """
    if not (_affine(source) and _affine(target)):
        return torch.full((units(target),), torch.nan, dtype=torch.float64), torch.nan
    origin, origin_after = (as_affine(one).origin.to(local.x) for one in (source, target))
    read = as_affine(target).read.double()
    if section.form is None:
        change = (tangent_at(local, origin) - origin_after).double()
        return (change @ read).square().sum((0, 1)), torch.nan
    positions = local.x.shape[1]
    separate = not section.mixes or positions <= MOST_POSITIONS
    each = section.form.along_constant(local.x, origin, separate=separate).double()
    carried = torch.eye(positions, dtype=each.dtype)[-each.shape[1] :] if section.mixes else torch.ones(1, 1)
    carried = carried if separate else carried.sum(1, keepdim=True)
    each = each - carried[..., None] * origin_after.double()
    worth = float(((each @ metric) * each).sum()) if separate else torch.nan
    return (each.sum(2) @ read).square().sum((0, 1)), worth


def _affine(featurizer: Any) -> bool:
    if isinstance(featurizer, AffineFeaturizer):
        return featurizer.act.kind == "identity"
    return isinstance(featurizer, NeuronFeaturizer)
