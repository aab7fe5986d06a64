"""`contenders_of`: the usual decompositions of a site, made from the same rows, to put beside any other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from unweave.errors import unknown_name
from unweave.evals.dictionaries import topk_dictionary
from unweave.features.affine import AffineFeaturizer
from unweave.features.bases import neurons, pca, random_rotation
from unweave.features.featurizer import Featurizer, Provenance
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
            made[name] = _ica(data, site=site, model=model, seed=seed)
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


def _ica(data: torch.Tensor, *, site: str, model: str | None, seed: int) -> AffineFeaturizer:
    """Independent components by scikit-learn, as an affine map and back."""
    import warnings

    from sklearn.decomposition import FastICA

    fitted: Any = FastICA(whiten="unit-variance", max_iter=400, tol=1e-3, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # components that have not settled yet are a comparator all the same
        fitted.fit(data.double().numpy())
    return AffineFeaturizer(
        read=torch.from_numpy(fitted.components_.T.copy()),
        write=torch.from_numpy(fitted.mixing_.T.copy()),
        origin=torch.from_numpy(fitted.mean_.copy()),
        site=site,
        gauge="scale",
        provenance=Provenance(method="ica", model=model, rows=len(data), seed=seed),
    )
