"""Featurizers from rows alone, through scikit-learn: singular vectors, independent components, non-negative factors.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `svd` | X = U S V' | (d, k) | uncentred: the first vectors may be the mean; `features.pca` is about the mean | Eckart and Young 1936 |
| `ica` | s = (x - mu) A^+' | (k,) | independent components, variance 1 on the fitted rows | Hyvarinen 1999 |
| `nmf` | X = Z H, Z and H >= 0 | (k, d) | parts that add up | Lee and Seung 1999 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.directions.rows import finite_rows, source_of
from unweave.errors import DataError, InputError
from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import Capacity, Gauge, Within
from unweave.features.nonnegative import NonNegativeFeaturizer
from unweave.tensors.linalg import fixed_signs

MOST_STEPS = 2000


def svd(X: Any, *, rank: int | None = None, site: Any = None, model: str | None = None) -> AffineFeaturizer:
    """The right singular vectors of the rows as they are, by falling size: a basis about zero, not about the mean.

    Args:
        X: Rows (n, d).
        rank: Vectors to keep; None keeps as many as rows and width allow.
        site: Where the rows come from.
        model: Fingerprint of the model they come from.

    Raises:
        InputError: `rank` outside what rows and width allow.
        DataError: NaN.

    Example:
        >>> svd(torch.randn(50, 4), rank=2)
        AffineFeaturizer(width 4, 2 units in 2 blocks)
    """
    source, rows = source_of(X, site, model), finite_rows(X).double()
    kept = _rank(rank, rows)
    vectors = fixed_signs(torch.linalg.svd(rows, full_matrices=False).Vh[:kept].T)
    return AffineFeaturizer(
        read=vectors,
        write=vectors.T,
        gauge=Gauge(within=Within.SIGN),
        site=source.site,
        capacity=Capacity(parameters=vectors.numel()),
        provenance=source.provenance("svd", len(rows)),
    )


def ica(
    X: Any, *, rank: int | None = None, seed: int = 0, site: Any = None, model: str | None = None
) -> AffineFeaturizer:
    """Independent components about the mean: an oblique basis of the leading principal subspace.

    Args:
        X: Rows (n, d).
        rank: Components; None takes as many as rows and width allow.
        seed: Of the start.
        site: Where the rows come from.
        model: Fingerprint of the model they come from.

    Raises:
        InputError: `rank` outside what rows and width allow.
        DataError: NaN, or rows of lower rank than asked.

    Source:
        Hyvarinen 1999 (FastICA), scikit-learn's implementation.

    Example:
        >>> X = torch.rand(500, 2, dtype=torch.float64) @ torch.tensor([[2.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
        >>> ica(X).gauge.within
        <Within.SCALE: 'the sign and length of each direction'>
    """
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    source, rows = source_of(X, site, model), finite_rows(X).double()
    kept = _rank(rank, rows)
    if int(torch.linalg.matrix_rank(rows - rows.mean(0))) < kept:
        raise DataError(f"the rows span fewer than {kept} dimensions about their mean: ask for a lower rank")
    machine = FastICA(n_components=kept, whiten="unit-variance", random_state=seed, max_iter=MOST_STEPS, tol=1e-6)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ConvergenceWarning)
        machine.fit(rows.numpy())
    slow = any(issubclass(one.category, ConvergenceWarning) for one in told)
    read = torch.from_numpy(machine.components_.T.copy())
    signs = torch.sign(read.gather(0, read.abs().argmax(0, keepdim=True)))
    return AffineFeaturizer(
        read=read * signs,
        write=torch.from_numpy(np.asarray(machine.mixing_).T.copy()) * signs.T,
        origin=rows.mean(0),
        gauge=Gauge(within=Within.SCALE, permutation=True),
        site=source.site,
        capacity=Capacity(parameters=2 * read.numel() + rows.shape[1]),
        provenance=source.provenance(
            "ica", len(rows), seed=seed, warnings=(f"not converged in {MOST_STEPS} steps",) if slow else ()
        ),
    )


def nmf(X: Any, *, rank: int, seed: int = 0, site: Any = None, model: str | None = None) -> NonNegativeFeaturizer:
    """Non-negative parts of rows that are non-negative, such as neurons after a ReLU.

    Args:
        X: Rows (n, d), none below 0.
        rank: Parts.
        seed: Of the start.
        site: Where the rows come from.
        model: Fingerprint of the model they come from.

    Raises:
        InputError: `rank` outside what rows and width allow.
        DataError: NaN, or an entry below 0.

    Source:
        Lee and Seung 1999; scikit-learn's coordinate descent.

    Example:
        >>> parts = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
        >>> nmf(torch.rand(100, 2) @ parts, rank=2)
        NonNegativeFeaturizer(width 3, 2 parts)
    """
    from sklearn.decomposition import NMF
    from sklearn.exceptions import ConvergenceWarning

    source, rows = source_of(X, site, model), finite_rows(X).double()
    kept = _rank(rank, rows)
    least = float(rows.min())
    if least < 0:
        raise DataError(f"X has an entry {least:.3g} below 0: non-negative factors need non-negative rows")
    components: Any = kept  # the stubs know only the name of an automatic choice
    machine = NMF(n_components=components, init="nndsvda", random_state=seed, max_iter=MOST_STEPS)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ConvergenceWarning)
        machine.fit(rows.numpy())
    slow = any(issubclass(one.category, ConvergenceWarning) for one in told)
    return NonNegativeFeaturizer(
        write=torch.from_numpy(machine.components_.copy()),
        site=source.site,
        provenance=source.provenance(
            "nmf", len(rows), seed=seed, warnings=(f"not converged in {MOST_STEPS} steps",) if slow else ()
        ),
    )


def _rank(rank: int | None, rows: Float[Tensor, "n d"]) -> int:
    most = min(rows.shape)
    kept = most if rank is None else rank
    if not 1 <= kept <= most:
        raise InputError(f"rank is {rank} but {rows.shape[0]} rows of width {rows.shape[1]} allow 1..{most}")
    return kept
