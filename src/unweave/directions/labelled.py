"""`LabelledMoments`: what one pass over labelled rows must keep for every linear extractor, mergeable over chunks,
shards and machines.

Rows and concept stand side by side as one row, so that the merge is that of `Moments`: the scatter holds the scatter of
the activations, that of the concept and the one between them, from which mean differences, LDA and LEACE follow.
A class is a column of zeros and ones; a scalar is itself; an angle is its cosine and sine.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `joint` | [x, z] | (d + m,) | moments of activations and concept side by side | Belrose et al. 2023, section 4 |
| `cross` | Sigma_xz | (d, m) | covariance of activations and concept, over n | same |
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.directions.rows import finite_rows
from unweave.errors import DataError, InputError
from unweave.tensors.arrays import as_tensor
from unweave.tensors.moments import Moments, merge_moments, moments

MOST_CLASSES = 1000


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledMoments:
    """Count, means and scatters of activations and a concept."""

    joint: Moments
    width: int
    """d, of the activations; the rest is the concept."""
    classes: tuple[Any, ...] | None
    """The labels, one a concept column; None where the concept is a number or several."""

    @property
    def count(self) -> int:
        """Rows."""
        return self.joint.count

    @property
    def mean(self) -> Float[Tensor, " d"]:
        """Of the activations."""
        return self.joint.mean[: self.width]

    @property
    def scatter(self) -> Float[Tensor, "d d"]:
        """Of the activations about their mean."""
        return self.joint.scatter[: self.width, : self.width]

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        """Of the activations, over n."""
        return self.scatter / self.count

    @property
    def cross(self) -> Float[Tensor, "d m"]:
        """Covariance of activations and concept, over n."""
        return self.joint.scatter[: self.width, self.width :] / self.count

    @property
    def concept_covariance(self) -> Float[Tensor, "m m"]:
        """Of the concept, over n."""
        return self.joint.scatter[self.width :, self.width :] / self.count

    def class_means(self) -> Float[Tensor, "k d"]:
        """Mean activation of each class.

        Raises:
            InputError: A concept without classes.
            DataError: A class without rows.
        """
        if self.classes is None:
            raise InputError("this concept is a number, not classes: it has no class means")
        shares = self.joint.mean[self.width :]
        empty = [label for label, share in zip(self.classes, shares.tolist(), strict=True) if share * self.count < 0.5]
        if empty:
            raise DataError(f"no row has the label {empty[0]}: rows of every class are needed")
        return self.mean + (self.cross / shares).T

    def within(self) -> Float[Tensor, "d d"]:
        """Pooled covariance within the classes, over n."""
        shares, means = self.joint.mean[self.width :], self.class_means() - self.mean
        return self.covariance - (means.T * shares) @ means

    def __repr__(self) -> str:
        """Rows, width and classes."""
        what = "a number" if self.classes is None else f"{len(self.classes)} classes"
        return f"LabelledMoments({self.count} rows, width {self.width}, {what})"


def labelled_moments(X: Any, y: Any, *, classes: Sequence[Any] | None = None) -> LabelledMoments:
    """The moments of rows and their concept.

    Args:
        X: Rows (n, d).
        y: (n,) labels; or numbers (n,) or (n, m): scalars, or cosine and sine of an angle.
        classes: All labels there are, so that chunks which lack one can be merged; None takes those that occur.

    Raises:
        InputError: Not one label a row, or a label that `classes` does not have.
        DataError: NaN or infinite entries.

    Example:
        >>> X, y = torch.randn(100, 3), np.arange(100) % 2
        >>> halves = [labelled_moments(X[part], y[part], classes=(0, 1)) for part in (slice(0, 30), slice(30, 100))]
        >>> merge_labelled(*halves)
        LabelledMoments(100 rows, width 3, 2 classes)
    """
    rows = finite_rows(X)
    concept, names = _columns(y, len(rows), classes)
    return LabelledMoments(joint=moments(torch.cat([rows.double(), concept], 1)), width=rows.shape[1], classes=names)


def labelled_stream(parts: Iterable[tuple[Any, Any]], *, classes: Sequence[Any] | None) -> LabelledMoments:
    """The moments of a stream of (rows, labels) that does not fit in memory.

    Args:
        parts: Chunks of rows with their labels.
        classes: All labels there are; None for a concept that is a number.

    Raises:
        DataError: An empty stream.

    Example:
        >>> chunks = ((torch.randn(10, 2), np.arange(10) % 2) for _ in range(3))
        >>> labelled_stream(chunks, classes=(0, 1)).count
        30
    """
    found = [labelled_moments(rows, labels, classes=classes) for rows, labels in parts if len(rows)]
    if not found:
        raise DataError("moments of no rows: the stream was empty")
    return reduce(merge_labelled, found)


def merge_labelled(first: LabelledMoments, second: LabelledMoments) -> LabelledMoments:
    """The moments of the rows of both.

    Args:
        first: Of some rows.
        second: Of others, with the same width and classes.

    Raises:
        InputError: Other classes or another width.

    Example:
        >>> one = labelled_moments(torch.randn(10, 2), np.arange(10) % 2)
        >>> merge_labelled(one, one).count
        20
    """
    if (first.classes, first.width) != (second.classes, second.width):
        raise InputError(
            f"one part has classes {first.classes} and width {first.width}, the other {second.classes} and"
            f" {second.width}: give every part the same classes="
        )
    return LabelledMoments(joint=merge_moments(first.joint, second.joint), width=first.width, classes=first.classes)


def as_labelled(X: Any, y: Any) -> LabelledMoments:
    """Moments as they are, or those of rows and labels.

    Raises:
        InputError: Rows without labels, or moments with.
        DataError: One class only.
    """
    if isinstance(X, LabelledMoments) != (y is None):
        raise InputError("give either rows and labels, or LabelledMoments alone")
    found = X if isinstance(X, LabelledMoments) else labelled_moments(X, y)
    if found.classes is not None and len(found.classes) < 2:
        only = ", ".join(map(str, found.classes))
        raise DataError(f"y has only the label {only}: rows of at least two classes are needed")
    return found


def _columns(y: Any, n: int, classes: Sequence[Any] | None) -> tuple[Float[Tensor, "n m"], tuple[Any, ...] | None]:
    values = as_tensor(y, name="y")
    if values.ndim not in (1, 2) or len(values) != n:
        raise InputError(f"X has {n} rows but y has shape {tuple(values.shape)}: one label a row is needed")
    kinds = torch.unique(values) if values.ndim == 1 else None
    binary = kinds is not None and set(kinds.tolist()) <= {-1, 0, 1} and len(kinds) <= 2
    if classes is None and (kinds is None or (values.is_floating_point() and not binary)):
        columns = values.double().reshape(n, -1)
        if not bool(torch.isfinite(columns).all()):
            raise DataError("y has a NaN or infinite entry: drop such rows first")
        return columns, None
    if kinds is None:
        raise InputError(f"classes were given but y has shape {tuple(values.shape)}: one label a row is needed")
    names = tuple(kinds.tolist()) if classes is None else tuple(classes)
    if len(names) > MOST_CLASSES:
        raise InputError(f"y has {len(names)} different labels: at most {MOST_CLASSES} classes, or give numbers")
    strange = sorted(set(kinds.tolist()) - set(names))
    if strange:
        raise InputError(f"y has the label {strange[0]}, which is not among the classes {names[:6]}")
    labels = values.numpy()
    hot = np.stack([labels == name for name in names], 1)
    return torch.from_numpy(hot.astype(np.float64)), names
