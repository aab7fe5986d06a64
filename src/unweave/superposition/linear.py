"""Closed forms: every linear model of every width and every L2 from one eigendecomposition of the covariance.

    J = E[ sum_i (x_i - x_hat_i)^2 ] + lambda norm(W)_F^2        b free

The minimum keeps the largest eigenpairs, each shrunk: nothing has to be trained, and what is predicted (geometry, rings,
clusters) is what "just PCA" would show.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `values` | sigma_k | (k,) | eigenvalues of the covariance, descending | specs/superposition.md, 4 |
| `vectors` | u_k | (V, k) | their eigenvectors | same |
| `shrinks` | s_k | (m,) | tied `max(0, 1 - lambda / (2 sigma_k))`, untied `max(0, 1 - lambda / sigma_k)` | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from unweave.errors import InputError, unknown_name
from unweave.superposition.autoencoder import Autoencoder
from unweave.superposition.config import Number
from unweave.superposition.dataset import Dataset, as_dataset
from unweave.superposition.krylov import WORDS, Leading, leading

KINDS = ("tied", "untied")
RELATIVE_GAP = 1e-6
ROUNDING = 10 * np.finfo(float).eps


@dataclass(frozen=True, eq=False, kw_only=True)
class Spectrum:
    """Eigenpairs of the covariance of the training windows, and all linear models they hold."""

    values: Float[np.ndarray, " k"]
    """Descending; those of rounding are 0."""
    vectors: Float[np.ndarray, "v k"]
    mean: Float[np.ndarray, " v"]
    trace: float
    """Sum of all eigenvalues: variance summed over words."""
    n: int
    centred: bool
    vocab: list[str]
    scale: Float[np.ndarray, " v"] | None = None
    """Square roots of the importances, for weighted models."""
    length_variance: float = float("nan")
    """Variance of the number of active words of a window."""
    seconds: float | None = None

    def length_correlation(self, component: int = 0) -> float:
        """Correlation, without its sign, of a component's score with the number of active words of a window: near 1 the
        component is plain length. `sqrt(sigma_k) abs(u_k'1) / sd(length)`

        Args:
            component: 0 is the largest.
        """
        if self.scale is not None or not self.centred or not self.length_variance > 0:
            return float("nan")
        return float(self.values[component] ** 0.5 * abs(self.vectors[:, component].sum()) / self.length_variance**0.5)

    def bound(self, width: int) -> float:
        """Least training MSE a word of any linear model of this width: what the other eigenvalues sum to, over V."""
        return max(0.0, self.trace - float(self.values[:width].sum())) / len(self.mean)

    def projector(self, width: int) -> Float[np.ndarray, "v k"]:
        """The first eigenvectors: a basis of what a linear model of this width keeps."""
        return self.vectors[:, :width]

    def model(self, width: int, l2: Number = 0.0, *, kind: str = "tied") -> Autoencoder:
        """The best linear model of a width.

        Args:
            width: Dimensions.
            l2: Lambda in the objective above: squared error summed over words, mean over windows.
            kind: `tied` or `untied`; untied with lambda is tied with 2 lambda, its penalty being on both matrices.

        Raises:
            InputError: A width below 1 or beyond what was decomposed, a negative or infinite l2, importances where
                there is no closed form.
        """
        self._check(width, l2, kind)
        words = len(self.mean)
        kept = min(width, len(self.values))
        values = self.values[:kept]
        shrinks = np.zeros(kept)
        strong = values > 0
        shrinks[strong] = np.maximum(0.0, 1 - (l2 / 2 if kind == "tied" else l2) / values[strong])
        roots = np.sqrt(shrinks)[:, None] * self.vectors[:, :kept].T
        weight = np.zeros((width, words))
        weight[:kept] = roots
        decoder = weight.T.copy()
        if self.scale is not None:
            weight, decoder = weight * self.scale, decoder / self.scale[:, None]
        rest = max(0.0, self.trace - float(values.sum()))
        error = float((np.square(1 - shrinks) * values).sum()) + rest
        bias = self.mean - decoder @ (weight @ self.mean) if self.centred else np.zeros(words)
        return Autoencoder(
            weight=weight, decoder=decoder, bias=bias, activation="linear", vocab=self.vocab,
            rank=int((shrinks > 0).sum()), train_mse=error / words, l2=l2, tied=kind == "tied",
            objective=error + l2 * float(shrinks.sum()) * (1 if kind == "tied" else 2),
            warnings=tuple(self._warnings(width, values)),
        )  # fmt: skip

    def _check(self, width: int, l2: Number, kind: str) -> None:
        if kind not in KINDS:
            raise unknown_name("kind", kind, KINDS)
        if width < 1:
            raise InputError(f"width is {width}: at least one dimension is needed")
        if not 0 <= l2 < np.inf:
            raise InputError(f"l2 is {l2}: a number from 0 up is needed")
        if width > len(self.values) and len(self.values) < len(self.mean):
            raise InputError(
                f"width is {width} but {len(self.values)} eigenpairs were taken: give spectrum(width={width})"
            )
        if self.scale is not None and (kind == "tied" or l2):
            raise InputError("with importances only untied models without l2 have a closed form: kind='untied', l2=0")

    def _warnings(self, width: int, values: np.ndarray) -> list[str]:
        told = []
        if width > len(self.mean):
            told.append(f"width {width} is more than {len(self.mean)} words: the other rows are zero")
        if width < len(self.values) and values[-1] > 0:
            gap = (values[-1] - self.values[width]) / values[-1]
            if gap < RELATIVE_GAP:
                told.append(
                    f"eigenvalues {width} and {width + 1} are equal (gap {values[-1] - self.values[width]:.2g}): which"
                    " directions are kept is arbitrary"
                )
        return told


def spectrum(
    rows: Any, width: int | None = None, *, bias: bool = True, importance: Any = None, split: str = "train"
) -> Spectrum:
    """Eigenpairs of the covariance, from which every width and every l2 follows.

    Args:
        rows: Bags, or a matrix (windows, words).
        width: Largest width that will be asked for; None takes all. Above 8,000 words it must be named: the eigenpairs
            then come from products with the windows (Lanczos, eigenvalues to 1e-10), without words by words.
        bias: Whether the models have one; without it second moments take the place of covariances.
        importance: Weight of each word's error, positive.
        split: Windows that are fitted.

    Raises:
        InputError: Importances that do not fit, a width below 1, or too many eigenpairs of too many words.
        DataError: No windows.

    Example:
        >>> x = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 0]])
        >>> found = spectrum(x)
        >>> found.values.round(3).tolist(), round(found.model(1).train_mse, 4)
        ([0.5, 0.25, 0.0], 0.0833)
    """
    start = time.process_time()
    data = as_dataset(rows)
    words = len(data.vocab)
    if width is not None and width < 1:
        raise InputError(f"width is {width}: at least one dimension is needed")
    scale = None
    if importance is not None:
        given = np.asarray(importance, dtype=np.float64)
        if given.shape != (words,) or not (given > 0).all():
            raise InputError(f"importance has shape {given.shape}: {words} positive numbers are needed, one a word")
        scale = np.sqrt(given)
    count = words if width is None else min(width + 1, words)
    if words > WORDS and count > words // 2:
        raise InputError(
            f"{words:,} words are too many for all eigenpairs: name the largest width, spectrum(width=...), at most"
            f" {words // 2:,}"
        )
    whole = leading if words > WORDS else _with_pairs
    found = whole(data, split, count, centred=bias, scale=scale)
    values, vectors = found.values, found.vectors
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(0)[None], 0)[0]
    floor = ROUNDING * words * float(values[0]) if len(values) else 0.0
    return Spectrum(
        values=np.where(values > floor, values, 0.0), vectors=vectors * np.where(largest < 0, -1.0, 1.0),
        mean=found.mean, centred=bias, trace=found.trace, n=found.n, vocab=list(data.vocab), scale=scale,
        length_variance=found.length_variance, seconds=time.process_time() - start,
    )  # fmt: skip


def _with_pairs(data: Dataset, split: str, count: int, *, centred: bool = True, scale: Any = None) -> Leading:
    """Eigenpairs from the matrix of pairs of words."""
    from scipy.linalg import eigh

    moments = data.moments(split)
    matrix = moments.covariance if centred else moments.products / moments.n
    length = float(moments.covariance.sum())
    if scale is not None:
        matrix = matrix * np.outer(scale, scale)
    words = len(matrix)
    values, vectors = eigh(matrix, subset_by_index=None if count >= words else (words - count, words - 1))
    return Leading(
        values=values[::-1].copy(), vectors=vectors[:, ::-1], mean=moments.mean, trace=float(np.trace(matrix)),
        length_variance=length, n=moments.n,
    )  # fmt: skip


def closed_form(rows: Any, width: int = 50, l2: Number = 0.0, *, kind: str = "tied") -> Autoencoder:
    """The linear model with the least objective, without training.

    `W = diag(sqrt s) U'`, `b = (I - W'W) mean`, up to a rotation of the latent.

    Args:
        rows: Bags, or a matrix (windows, words).
        width: Dimensions.
        l2: Strength of `l2 norm(W)^2` beside the squared error summed over words, mean over windows.
        kind: `tied` or `untied`.

    Raises:
        InputError: A width or l2 out of range, or an unknown kind.

    Source:
        specs/superposition.md, section 4; Baldi and Hornik 1989 for l2 = 0.

    Example:
        >>> x = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 0]])
        >>> closed_form(x, width=2).reconstruct(x).round(6).tolist()[0]
        [1.0, 0.0, 1.0]
    """
    return spectrum(rows, width).model(width, l2, kind=kind)
