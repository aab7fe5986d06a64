"""Is it the same thing again? Fits of other seeds or other documents, compared without what is arbitrary in them (E32).

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `overlap` | norm(Q1' Q2)_F^2 / max(k1, k2) | scalar | 1 for one span; random spans k1 k2 / (d max) on average | specs/evaluation.md, E32 and fact 8 |
| `angles` | principal angles | (k,) | radians, ascending | Bjorck and Golub 1973 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import DataError, InputError
from unweave.features.affine import AffineFeaturizer
from unweave.features.compare import compare
from unweave.features.direction import Direction, Readout
from unweave.features.eraser import Eraser
from unweave.features.featurizer import Featurizer
from unweave.tensors.arrays import as_matrix
from unweave.tensors.splits import grouped_folds, grouping


@dataclass(frozen=True, kw_only=True, eq=False)
class Steadiness:
    """How alike several fits of one thing are."""

    overlap: Float[np.ndarray, "fits fits"]
    """Of spans, 1 on the diagonal."""
    similarity: Float[np.ndarray, "fits fits"]
    """Mean similarity of best matched blocks."""
    largest_angle: Float[np.ndarray, "fits fits"]
    """Largest principal angle of the spans, radians."""
    null: float
    """Mean overlap of random spans of these sizes."""
    fits: int

    @property
    def mean_overlap(self) -> float:
        """Over pairs of different fits."""
        return float(self.overlap[np.triu_indices(self.fits, 1)].mean())

    @property
    def spread(self) -> float:
        """Standard deviation of the overlap over pairs."""
        return float(self.overlap[np.triu_indices(self.fits, 1)].std())

    def __repr__(self) -> str:
        """Overlap against chance."""
        overlap = f"{self.mean_overlap:.3f} +- {self.spread:.3f}"
        return f"Steadiness({self.fits} fits, overlap {overlap}, random {self.null:.3f})"


def steadiness(fits: Sequence[Any]) -> Steadiness:
    """Fits of one site side by side, blind to sign, length, order and rotation inside blocks.

    Args:
        fits: Two or more featurizers, directions, read-outs or erasers, all of one site and model.

    Raises:
        InputError: Fewer than two, or other widths or sites.
        FingerprintError: Of different models.

    Example:
        >>> from unweave.features.bases import random_rotation
        >>> from unweave.features import restrict
        >>> fits = [restrict(random_rotation(50, seed=seed), range(5)) for seed in range(3)]
        >>> found = steadiness(fits)
        >>> round(found.null, 3), abs(found.mean_overlap - found.null) < 0.1
        (0.1, True)
    """
    parts = [_spanning(one) for one in fits]
    count = len(parts)
    if count < 2:
        raise InputError(f"{count} fit: at least two are compared, fit with other seeds or other documents")
    overlap, similarity, angle = np.eye(count), np.eye(count), np.zeros((count, count))
    nulls = []
    for i, j in combinations(range(count), 2):
        found = compare(parts[i], parts[j])
        largest = max(sum(parts[one].blocks) for one in (i, j))
        overlap[i, j] = overlap[j, i] = found.overlap / largest
        similarity[i, j] = similarity[j, i] = found.mean_similarity
        angle[i, j] = angle[j, i] = float(found.angles.max())
        nulls.append(found.null_overlap / largest)
    return Steadiness(
        overlap=overlap, similarity=similarity, largest_angle=angle, null=float(np.mean(nulls)), fits=count
    )


def steadiness_over_data(
    fit: Callable[..., Any], X: Any, y: Any = None, groups: Any = None, *, parts: int = 4, seed: int = 0
) -> Steadiness:
    """The same fit on disjoint parts of the documents.

    Args:
        fit: (rows) or (rows, labels) -> what `steadiness` takes.
        X: Rows (n, d).
        y: (n,) labels for `fit`, None if it takes none.
        groups: (n,) the document of each row.
        parts: How many.
        seed: Of the division.

    Raises:
        DataError: Fewer groups than parts.

    Example:
        >>> from unweave.directions import mean_difference
        >>> X, y = torch.randn(400, 8), torch.arange(400) % 2
        >>> X[:, 0] += 3 * y
        >>> steadiness_over_data(mean_difference, X, y).mean_overlap > 0.8
        True
    """
    rows = as_matrix(X, name="X")
    grouped = grouping(groups, len(rows))
    if grouped.count < parts:
        raise DataError(f"{grouped.count} groups cannot be divided into {parts} parts: fewer parts or more documents")
    labels = None if y is None else np.asarray(y)
    strata = np.zeros((len(rows), 0)) if labels is None else (labels[:, None] == np.unique(labels)).astype(float)
    folds = grouped_folds(grouped, strata, count=parts, seed=seed)
    found = []
    for part in range(int(folds.max()) + 1):
        mine = folds == part
        own: Tensor = rows[torch.from_numpy(mine)]
        found.append(fit(own) if labels is None else fit(own, labels[mine]))
    return steadiness(found)


def _spanning(one: Any) -> Featurizer:
    """What it writes, as a featurizer; of a read-out the covector, compared with other covectors only."""
    if isinstance(one, Direction):
        return _of_rows(one.vector.unsqueeze(0), one)
    if isinstance(one, Readout):
        return _of_rows(one.covector.unsqueeze(0), one)
    if isinstance(one, Eraser):
        return _of_rows(one.write, one)
    if isinstance(one, Featurizer):
        return one
    raise InputError(f"a {type(one).__name__} has no span: featurizers, directions, read-outs and erasers are compared")


def _of_rows(rows: Tensor, owner: Any) -> AffineFeaturizer:
    blocks = (len(rows),) if len(rows) else None
    return AffineFeaturizer(
        read=rows.double().T, blocks=blocks, gauge="scale", site=owner.site, provenance=owner.provenance
    )
