"""Which geometry a ring of features takes, over widths, densities and decays: a ring, antipodal pairs, or a dimension
for each.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `cosines` | cos(w_i, w_j) | (d, d) | between the columns of one model | specs/superposition.md, 6 |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unweave.superposition.autoencoder import Autoencoder
from unweave.superposition.config import Number
from unweave.superposition.dataset import Matrix
from unweave.superposition.linear import spectrum
from unweave.superposition.ring import ring
from unweave.superposition.small_grid import train_small
from unweave.worlds.correlated import World, world

RING_FROM, ANTIPODAL_TO, IDENTITY_BELOW = 0.8, -0.9, 0.1


def describe_ring(model: Autoencoder) -> dict[str, Any]:
    """Mean cosine to the neighbour and to the opposite feature, mean of each feature's most negative cosine, ring
    score, and the regime that follows from them.

    Args:
        model: A model whose words are features in the order of a ring.
    """
    W = model.weight.astype(np.float64)
    lengths = np.linalg.norm(W, axis=0)
    unit = np.divide(W, lengths, out=np.zeros_like(W), where=lengths > 1e-9)
    cosines = unit.T @ unit
    count = len(cosines)
    places = np.arange(count)
    least = float(cosines.min(1).mean())
    largest = float(np.abs(cosines - np.diag(np.diag(cosines))).max())
    live = lengths > 1e-9
    rho = ring(W.T, draws=1).value if live.sum() >= 3 and np.ptp(W.T, axis=0).max() > 1e-9 else 0.0
    identity = bool(live.all()) and largest < IDENTITY_BELOW
    regime = (
        "identity" if identity else "ring" if rho >= RING_FROM else "antipodal" if least <= ANTIPODAL_TO else "mixed"
    )
    return {
        "neighbour": float(cosines[places, (places + 1) % count].mean()),
        "opposite": float(cosines[places, (places + count // 2) % count].mean()),
        "least": least, "rho": rho, "norm2": model.norm2, "regime": regime,
    }  # fmt: skip


def phase_diagram(
    widths: Sequence[int],
    *,
    sharpness: Number = 10.0,
    bases: Sequence[Number] = (0.0,),
    decays: Sequence[Number] = (1.0,),
    seeds: Sequence[int] = (0,),
    activation: str = "relu",
    d: int = 12,
    n: int = 10_000,
    kind: str = "circular",
    steps: int = 3_000,
) -> list[dict[str, Any]]:
    """What models of a circular world learn, for each width, base and decay.

    Args:
        widths: Dimensions.
        sharpness: Of the world.
        bases: Of the world: lower is sparser.
        decays: Decoupled weight decays.
        seeds: Of worlds' models.
        activation: `relu` or `linear`.
        d: Features.
        n: Rows.
        kind: Of the world: one with an order.
        steps: Of training.

    Returns:
        A row a model: dials, density, mse, bound (of linear models), and the columns of `describe_ring`.

    Example:
        >>> phase_diagram((2,), n=500, steps=400)[0]["regime"]
        'ring'
    """
    found = []
    for base in bases:
        here = world(kind, d, n, sharpness=sharpness, base=base, seed=0)
        data = matrix_of(here)
        bound = spectrum(data)
        models = train_small(data, widths, decays, seeds, activation=activation, steps=steps)
        found += [
            {
                "base": base, "density": here.density, "width": model.width, "decay": model.decay, "seed": model.seed,
                "mse": model.train_mse, "bound": bound.bound(model.width),
            } | describe_ring(model)
            for model in models
        ]  # fmt: skip
    return found


def matrix_of(found: World) -> Matrix:
    """A world's rows as a data set, all of them fitted and scored.

    Args:
        found: A world.
    """
    return Matrix(x=found.x, vocab=list(found.names))
