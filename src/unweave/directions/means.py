"""Directions from class means: the mean difference, which is the library's own choice where there are labels, and LDA.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `difference` | delta = mu_1 - mu_0 | (d,) | from y = 0 to y = 1, in units of the activations | specs/evaluation.md 5 |
| `covector` | w = (Sw + r I)^-1 delta | (d,) | best for two Gaussian classes of one covariance | Fisher 1936 |
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.directions.labelled import LabelledMoments, as_labelled
from unweave.directions.rows import source_of, two_classes
from unweave.errors import DataError, InputError
from unweave.features.direction import Direction, Readout


def mean_difference(X: Any, y: Any = None, *, site: Any = None, model: str | None = None) -> Direction:
    """The vector from the mean of the rows with y = 0 to the mean of those with y = 1, in units of the activations.

    Args:
        X: Rows (n, d): an array, a store's column, or `LabelledMoments` of two classes.
        y: (n,) labels in {0, 1}, {-1, +1} or booleans; None with moments.
        site: Where the rows come from; a store's column knows it.
        model: Fingerprint of the model they come from; a store's column knows it.

    Raises:
        InputError: Shapes that do not fit, labels that are not binary.
        DataError: NaN, or one class only.

    Source:
        Marks and Tegmark 2023 (arXiv 2310.06824), mass-mean direction; specs/evaluation.md 5.

    Example:
        >>> mean_difference([[0.0, 0.0], [2.0, 0.0], [1.0, 4.0]], [0, 0, 1], site="blocks.0.resid_post")
        Direction(width 2, length 4, blocks.0.resid_post)
    """
    source = source_of(X, site, model)
    if isinstance(X, LabelledMoments) or y is None:
        found = as_labelled(X, y)
        return Direction(
            vector=_between_two(found),
            site=source.site,
            provenance=source.provenance("mean difference", found.count),
        )
    rows, positive = two_classes(X, y)
    difference = rows[positive].double().mean(0) - rows[~positive].double().mean(0)
    return Direction(vector=difference, site=source.site, provenance=source.provenance("mean difference", len(rows)))


def lda(X: Any, y: Any = None, *, shrinkage: float = 1e-3, site: Any = None, model: str | None = None) -> Readout:
    """The read-out `(Sw + r I)^-1 delta` with its threshold midway between the classes; `r` is `shrinkage` times the
    mean variance within the classes.

    The direction that belongs to it is `.to_direction(covariance)`: parallel to the mean difference for the covariance
    within the classes (the LDA law), which is not what the covector itself is.

    Args:
        X: Rows (n, d), or `LabelledMoments` of two classes.
        y: (n,) binary labels; None with moments.
        shrinkage: Share of a sphere mixed in; 0 needs more rows than columns.
        site: Where the rows come from.
        model: Fingerprint of the model they come from.

    Raises:
        InputError: Shapes that do not fit, labels that are not binary, shrinkage outside 0..1.
        DataError: NaN, one class only, or a covariance that has no inverse.

    Source:
        Fisher 1936; shrinkage as in Friedman 1989; specs/evaluation.md 5.

    Example:
        >>> X = torch.randn(200, 3, dtype=torch.float64); y = np.arange(200) % 2; X[:, 0] += 2 * torch.tensor(y)
        >>> found = lda(X, y)
        >>> bool((found.score(X) > 0).numpy()[y == 1].mean() > 0.7)
        True
    """
    if not 0 <= shrinkage <= 1:
        raise InputError(f"shrinkage is {shrinkage}: a share between 0 and 1 is needed")
    source = source_of(X, site, model)
    found = as_labelled(X, y)
    difference = _between_two(found)
    within = found.within()
    ridge = shrinkage * float(torch.trace(within)) / found.width
    mixed = (1 - shrinkage) * within + ridge * torch.eye(found.width, dtype=torch.float64)
    factor, failed = torch.linalg.cholesky_ex(mixed)
    if int(failed) or not bool(torch.isfinite(factor).all()):
        raise DataError(
            f"the covariance within the classes of {found.count} rows of width {found.width} has no inverse: give"
            " shrinkage= above 0 or more rows"
        )
    covector = torch.cholesky_solve(difference.unsqueeze(1), factor).squeeze(1)
    middle = found.class_means().mean(0)
    return Readout(
        covector=covector,
        bias=-float(middle @ covector),
        site=source.site,
        provenance=source.provenance(f"lda, shrinkage {shrinkage:g}", found.count),
    )


def _between_two(found: LabelledMoments) -> Float[Tensor, " d"]:
    if found.classes is None or len(found.classes) != 2:
        raise InputError(
            f"the concept is {found.classes if found.classes is not None else 'a number'}: two classes are needed"
        )
    negative, positive = found.class_means()
    return positive - negative
