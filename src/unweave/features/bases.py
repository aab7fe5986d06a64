"""The three reference decompositions every other one is compared with: neurons, principal components, a random
rotation.
"""

from __future__ import annotations

from typing import Any

from unweave.errors import InputError
from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import Capacity, Gauge, Provenance, Within
from unweave.features.neurons import NeuronFeaturizer
from unweave.tensors.arrays import as_matrix
from unweave.tensors.linalg import random_orthogonal, symmetric_eigen
from unweave.tensors.moments import Moments, moments


def neurons(width: int, *, site: Any = None, model: str | None = None) -> NeuronFeaturizer:
    """All coordinates of a site as they are.

    Args:
        width: d.
        site: Where they are.
        model: Fingerprint of the model.

    Example:
        >>> neurons(3, site="blocks.0.mlp_act")
        NeuronFeaturizer(3 of 3 neurons, blocks.0.mlp_act)
    """
    return NeuronFeaturizer(width=width, site=site, provenance=Provenance(method="neurons", model=model))


def pca(
    data: Any, *, rank: int | None = None, site: Any = None, model: str | None = None, fitted_on: str | None = None
) -> AffineFeaturizer:
    """Principal components about the mean, by falling variance; each is a block of one, its sign fixed by its largest
    entry.

    Args:
        data: `Moments`, or rows (n, d).
        rank: Components to keep; None keeps all d, so that the map is lossless.
        site: Where the rows come from.
        model: Fingerprint of the model they come from.
        fitted_on: Fingerprint of the rows.

    Raises:
        InputError: `rank` outside 1..d.

    Example:
        >>> pca(torch.randn(50, 3), rank=2)
        AffineFeaturizer(width 3, 2 units in 2 blocks)
    """
    sums = data if isinstance(data, Moments) else moments(as_matrix(data, name="data"))
    width = len(sums.mean)
    kept = width if rank is None else rank
    if not 1 <= kept <= width:
        raise InputError(f"rank is {rank} but the width is {width}: 1..{width} components can be kept")
    vectors = symmetric_eigen(sums.scatter).vectors[:, :kept]
    return AffineFeaturizer(
        read=vectors,
        write=vectors.T,
        origin=sums.mean,
        gauge=Gauge(within=Within.SIGN),
        site=site,
        capacity=Capacity(parameters=width * kept + width),
        provenance=Provenance(method="pca", model=model, data=fitted_on, rows=sums.count),
    )


def random_rotation(
    width: int, *, seed: int = 0, origin: Any = None, site: Any = None, model: str | None = None
) -> AffineFeaturizer:
    """A rotation drawn from the uniform distribution: the basis in which nothing is special.

    Args:
        width: d.
        seed: Of the draw.
        origin: (d,), what counts as zero; None is the zero vector.
        site: Where it applies.
        model: Fingerprint of the model.

    Example:
        >>> random_rotation(3).read.T @ random_rotation(3).read - torch.eye(3, dtype=torch.float64) < 1e-12
        tensor([[True, True, True],
                [True, True, True],
                [True, True, True]])
    """
    rotation = random_orthogonal(width, seed=seed)
    return AffineFeaturizer(
        read=rotation,
        write=rotation.T,
        origin=origin,
        gauge=Gauge(within=Within.SIGN, permutation=True),
        site=site,
        provenance=Provenance(method="random", model=model, seed=seed),
    )
