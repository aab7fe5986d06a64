"""The classic toy model of superposition: sparse features of uniform size, some more important than others.

    x_j = b_j a_j,  a ~ U[0, 1],  b ~ Bernoulli(1 - S),  x_hat = relu(W' W x + b),  loss = sum_j I_j (x - x_hat)_j^2 / d

Fresh samples at every step. Where features are few and sparse, they settle on the corners of regular polytopes.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `sparsity` | S | scalar | chance that a feature is off | Elhage et al. 2022, "Toy Models of Superposition" |
| `importance` | I_j | (d,) | `decay_of_importance ** j` | same |
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unweave.errors import InputError
from unweave.superposition.autoencoder import Autoencoder
from unweave.superposition.config import SmallConfig
from unweave.superposition.small_grid import fit_stack


def train_toy(
    features: int,
    width: int,
    sparsity: float,
    seeds: Sequence[int] = (0,),
    *,
    falling: float = 1.0,
    steps: int = 1_500,
    batch: int = 512,
    lr: float = 0.01,
) -> list[Autoencoder]:
    """Classic toy models, one a seed, trained together.

    Args:
        features: Features d.
        width: Dimensions.
        sparsity: Chance that a feature is off.
        seeds: Of starts and samples.
        falling: Importance of a feature over that of the one before it.
        steps: Of Adam.
        batch: Fresh samples a step and model.
        lr: Constant rate.

    Raises:
        InputError: Numbers out of range.

    Source:
        Elhage et al. 2022; specs/superposition.md, fact 10.

    Example:
        >>> from unweave.superposition.structure import dimensionality
        >>> dimensionality(train_toy(2, 2, 0.0, steps=200)[0].weight).round(1).tolist()
        [1.0, 1.0]
    """
    if features < 1 or not 0 <= sparsity < 1 or falling <= 0 or batch < 1:
        raise InputError(
            f"features {features}, sparsity {sparsity}, falling {falling}, batch {batch}: a feature or more, a chance"
            " below 1 and positive numbers are needed"
        )
    generators = [torch.Generator().manual_seed(1_000_003 + seed) for seed in seeds]

    def fresh(_step: int) -> tuple[Tensor, None]:
        drawn = torch.stack([torch.rand(2, batch, features, generator=one) for one in generators])
        return drawn[:, 0] * (drawn[:, 1] >= sparsity), None

    config = SmallConfig(steps=steps, lr=lr, schedule="constant", clip=None)
    importance = falling ** torch.arange(features, dtype=torch.float32)
    names = [str(number) for number in range(features)]
    return fit_stack(fresh, features, ([width], [0.0], list(seeds)), config, names, importance)
