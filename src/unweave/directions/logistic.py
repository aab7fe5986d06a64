"""`logistic`: the read-out of a ridge-logistic fit, with a certificate of its optimum.

It is a covector: what it reads. Adding it to activations is the commonest mistake of the field (trap T1); the direction
that belongs to it is `.to_direction(covariance)`.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `lam` | lam | scalar | ridge penalty on standardised columns, intercept free; scikit-learn's C is 1 / lam | specs/probing.md 1 |
| `gap` | P - D | scalar | upper bound on how far the loss is above its optimum | specs/probing.md 4.1 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from unweave.directions.rows import source_of, two_classes
from unweave.errors import InputError
from unweave.features.direction import Readout
from unweave.tensors.logistic import LogisticFits, balanced_weights, fit_many
from unweave.tensors.splits import grouped_folds, grouping

FOLDS = 3
LIVE = 1e-7
"""Columns whose standard deviation is below this are constant for our purposes."""


def logistic(
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    lams: Sequence[float] = (1000.0, 100.0, 10.0, 1.0, 0.1),
    seed: int = 0,
    site: Any = None,
    model: str | None = None,
) -> Readout:
    """The covector and bias of the ridge-logistic fit with balanced classes; a score above 0 says y = 1.

    Args:
        X: Rows (n, d).
        y: (n,) labels in {0, 1}, {-1, +1} or booleans.
        groups: (n,) the document of each row; the penalty is chosen on folds of whole groups.
        lams: Ridge penalties to choose from; one alone is taken as it is.
        seed: Of the folds.
        site: Where the rows come from.
        model: Fingerprint of the model they come from.

    Returns:
        `.provenance.method` tells the penalty and the certified gap; `.provenance.warnings` that a fit has not
            converged.

    Raises:
        InputError: Shapes that do not fit, labels that are not binary, a penalty that is not positive.
        DataError: NaN, or one class only.

    Source:
        specs/evaluation.md 5 and specs/probing.md 4.1 (duality gap).

    Example:
        >>> X = torch.randn(200, 3, dtype=torch.float64); y = X[:, 1] > 0
        >>> found = logistic(X, y)
        >>> bool(((found.score(X) > 0) == y).double().mean() > 0.95), found.covector.abs().argmax()
        (True, tensor(1))
    """
    source = source_of(X, site, model)
    rows, positive = two_classes(X, y)
    if not len(lams):
        raise InputError("lams is empty: at least one penalty is needed")
    exact = rows.double()
    mean, sd = exact.mean(0), exact.std(0, unbiased=False)
    live = sd > LIVE
    scale = torch.where(live, sd, torch.ones_like(sd))
    standard = (exact - mean) / scale * live
    signs = positive.double() * 2 - 1
    everything = torch.ones(1, len(signs), dtype=torch.bool)
    lam = float(lams[0]) if len(lams) == 1 else _chosen(standard, signs, groups, lams, seed)
    fit = _fitted(standard, signs, everything, lam)
    covector = fit.coef[0] / scale
    gap = float(fit.gap[0]) / len(signs)
    warnings = () if bool(fit.converged[0]) else (f"not converged: the loss may be {gap:.2g} nats a row too high",)
    return Readout(
        covector=covector,
        bias=float(fit.bias[0] - mean @ covector),
        site=source.site,
        provenance=source.provenance(
            f"logistic, lam {lam:g}, gap {gap:.1g} nats a row", len(signs), seed=seed, warnings=warnings
        ),
    )


def _chosen(
    standard: Float[Tensor, "n d"], signs: Float[Tensor, " n"], groups: Any, lams: Sequence[float], seed: int
) -> float:
    """The penalty with the lowest log loss on inner folds of whole groups; the larger of equals."""
    labels = (signs > 0).numpy()
    strata = np.stack([labels, ~labels], 1).astype(float)
    folds = grouped_folds(grouping(groups, len(labels)), strata, count=FOLDS, seed=seed)
    used = torch.from_numpy(np.stack([folds != fold for fold in range(int(folds.max()) + 1)]))
    both = torch.tensor([0 < labels[seen].sum() < seen.sum() for seen in used.numpy()])
    used = used[both]
    if not len(used):
        return float(max(lams))
    losses = {}
    for lam in sorted(lams, reverse=True):
        fit = _fitted(standard, signs, used, float(lam))
        scores = fit.coef @ standard.T + fit.bias[:, None]
        losses[float(lam)] = float(-(logsigmoid(signs * scores) * ~used).sum() / (~used).sum())
    return min(losses, key=lambda one: (losses[one], -one))


def _fitted(
    standard: Float[Tensor, "n d"], signs: Float[Tensor, " n"], used: Bool[Tensor, "p n"], lam: float
) -> LogisticFits:
    repeated = signs.expand(len(used), -1)
    supports = torch.arange(standard.shape[1]).expand(len(used), -1)
    return fit_many(standard, repeated, balanced_weights(repeated, used), supports, lam=lam)
