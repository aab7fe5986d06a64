"""`contenders_of`: the usual decompositions of a site, made from the same rows, to put beside any other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from unweave.directions.factors import ica
from unweave.errors import unknown_name
from unweave.evals.dictionaries import topk_dictionary
from unweave.features.bases import neurons, pca, random_rotation
from unweave.features.featurizer import Featurizer
from unweave.tensors.arrays import as_matrix

MADE = ("neurons", "pca", "ica", "random", "topk", "topk-frozen")
"""Contenders that are made from the rows."""


def contenders_of(
    rows: Any,
    *,
    site: str,
    names: Sequence[str] = MADE,
    model: str | None = None,
    units: int | None = None,
    steps: int = 300,
    seed: int = 0,
) -> dict[str, Featurizer]:
    """The usual decompositions, made from the same rows.

    Args:
        rows: (n, d) activations of the site.
        site: Where they come from.
        names: `neurons`, `pca`, `ica` (scikit-learn), `random`, `topk` (a small trained dictionary), `topk-frozen` (its
            twin with a random decoder).
        model: Fingerprint of the model.
        units: Of the dictionaries; None is twice the width.
        steps: Of their training.
        seed: Of everything random.

    Raises:
        UnknownName: Another name.

    Example:
        >>> sorted(contenders_of(torch.randn(60, 3), site="0", names=("pca", "random")))
        ['pca', 'random']
    """
    data = as_matrix(rows, name="rows")
    width = data.shape[1]
    count = units or 2 * width
    made: dict[str, Featurizer] = {}
    for name in names:
        if name == "neurons":
            made[name] = neurons(width, site=site, model=model)
        elif name == "pca":
            made[name] = pca(data, site=site, model=model)
        elif name == "random":
            made[name] = random_rotation(width, seed=seed, origin=data.double().mean(0), site=site, model=model)
        elif name == "ica":
            rank = int(torch.linalg.matrix_rank(data.double() - data.double().mean(0)))  # units that never vary
            made[name] = ica(data, rank=rank, seed=seed, site=site, model=model)
        elif name in ("topk", "topk-frozen"):
            made[name] = topk_dictionary(
                data,
                count,
                active=min(8, count),
                steps=steps,
                frozen=name == "topk-frozen",
                seed=seed,
                site=site,
                model=model,
            )
        else:
            raise unknown_name("decomposition", name, MADE)
    return made
