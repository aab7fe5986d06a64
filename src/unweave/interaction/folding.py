"""Biases as the weights of one more input that is always 1.

Without integration the folded section gives the same basis and the same edges between coordinates as the section
itself; folding is needed where the path from zero is to scale the biases too, and for the edges of the constant.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unweave.errors import InputError
from unweave.features.affine import AffineFeaturizer
from unweave.interaction.stream import Local
from unweave.models.sections import Section


def folded(section: Section, local: Local) -> Local:
    """The section at a batch with the constant as last input coordinate.

    Raises:
        InputError: Only the function of the section is known, not its biases.
    """
    form = section.form
    if form is None:
        raise InputError(
            f"section {section.name} is known as a function only, so its biases cannot be folded: leave fold_bias off"
        )

    def function(x: Tensor) -> Tensor:
        return form.folded(x[..., :-1], x[..., -1:])

    return Local(x=torch.cat([local.x, torch.ones_like(local.x[..., :1])], dim=-1), function=function)


def with_constant(featurizer: AffineFeaturizer) -> AffineFeaturizer:
    """The featurizer on activations with a 1 behind them: the constant is its first coordinate, written as the origin
    and a 1.
    """
    read, write, origin = (one.double() for one in (featurizer.read, featurizer.write, featurizer.origin))
    width, count = read.shape
    wide = torch.zeros(width + 1, count + 1, dtype=torch.float64)
    wide[:width, 1:], wide[width, 1:], wide[width, 0] = read, -origin @ read, 1
    tall = torch.zeros(count + 1, width + 1, dtype=torch.float64)
    tall[1:, :width], tall[0, :width], tall[0, width] = write, origin, 1
    return AffineFeaturizer(read=wide, write=tall)
