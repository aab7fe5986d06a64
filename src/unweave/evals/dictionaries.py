"""Small sparse dictionaries as comparators: a TopK autoencoder trained on the same rows, and its twin with a random
decoder.

These are no training framework: they show what a dictionary of this size gives on these rows, and what of it a random
one gives as well.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `read`, `write` | W_enc, W_dec | (d, k), (k, d) | unit rows of W_dec | Gao et al. 2024, arXiv 2406.04093, section 2 |
| `act` | TopK | - | the k largest pre-activations of a row, then ReLU | same |
"""

from __future__ import annotations

from typing import Any

import torch

from unweave.errors import InputError
from unweave.features.activation import Activation
from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import Capacity, Provenance
from unweave.tensors.arrays import as_matrix


def topk_dictionary(
    rows: Any,
    units: int,
    *,
    active: int = 8,
    steps: int = 300,
    frozen: bool = False,
    seed: int = 0,
    site: Any = None,
    model: str | None = None,
) -> AffineFeaturizer:
    """A dictionary with a TopK nonlinearity.

    Args:
        rows: (n, d) activations.
        units: Directions of the dictionary.
        active: Units that a row may use.
        steps: Batches of 256 rows, by Adam at 1e-3.
        frozen: Keep the random decoder and train the rest: the control.
        seed: Of start and batches.
        site: Where the rows come from.
        model: Fingerprint of the model.

    Raises:
        InputError: More active units than there are.

    Example:
        >>> topk_dictionary(torch.randn(100, 4), 6, active=2, steps=2)
        AffineFeaturizer(width 4, 6 units in 6 blocks, top_k)
    """
    data = as_matrix(rows, name="rows").float()
    if not 1 <= active <= units:
        raise InputError(f"active is {active} of {units} units: 1..{units} can be active")
    generator = torch.Generator().manual_seed(seed)
    centre, scale = data.mean(0), data.std().clamp_min(1e-12)
    scaled = (data - centre) / scale
    write = torch.nn.functional.normalize(torch.randn(units, data.shape[1], generator=generator), dim=1)
    read, bias = write.T.clone(), torch.zeros(units)
    trained = [read, bias] if frozen else [read, bias, write]
    for one in trained:
        one.requires_grad_(True)
    optimiser = torch.optim.Adam(trained, lr=1e-3 * 5)
    for _ in range(steps):
        batch = scaled[torch.randint(len(scaled), (min(256, len(scaled)),), generator=generator)]
        with torch.enable_grad():
            pre = batch @ read + bias
            kept = pre.topk(active, dim=1)
            z = torch.zeros_like(pre).scatter(1, kept.indices, kept.values.relu())
            loss = (z @ write - batch).square().sum(1).mean()
            optimiser.zero_grad()
            loss.backward()
        optimiser.step()
        with torch.no_grad():
            write.copy_(torch.nn.functional.normalize(write, dim=1))
    return AffineFeaturizer(
        read=read.detach().double(),
        write=write.detach().double(),
        origin=centre.double(),
        bias=(bias.detach() * scale).double(),
        act=Activation(kind="top_k", k=active),
        site=site,
        gauge="scale",
        capacity=Capacity(parameters=sum(one.numel() for one in trained)),
        provenance=Provenance(
            method="topk dictionary, random decoder" if frozen else "topk dictionary",
            model=model,
            rows=len(data),
            seed=seed,
        ),
    )


def random_dictionary(
    width: int, units: int, *, seed: int, site: Any = None, model: str | None = None
) -> AffineFeaturizer:
    """Random unit directions, more than the width, each read out along itself.

    Args:
        width: d.
        units: Directions.
        seed: Of them.
        site: Where.
        model: Fingerprint of the model.
    """
    generator = torch.Generator().manual_seed(seed)
    write = torch.nn.functional.normalize(torch.randn(units, width, generator=generator, dtype=torch.float64), dim=1)
    return AffineFeaturizer(
        read=write.T,
        write=write,
        site=site,
        gauge="scale",
        provenance=Provenance(method="random dictionary", model=model, seed=seed),
    )
