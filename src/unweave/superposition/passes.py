"""What one pass over some windows gives: moments of latent and words, and sums by group from which every score and its
interval follow without a matrix of words by words.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `latent_cov` | S_h | (m, m) | covariance of the latent | specs/superposition.md, 5.2 |
| `cross` | Q | (m, V) | covariance of latent and word | same |
| `interference` | I_i | (n, V) | `z_i - b_i - G_ii x_i`: what other words add to the sum of word i | same, symbols |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from unweave.superposition.autoencoder import Autoencoder, activate
from unweave.superposition.dataset import Dataset
from unweave.superposition.moments import chunks

MOST_GROUPS = 200


@dataclass(frozen=True, eq=False, kw_only=True)
class LatentMoments:
    """Means and covariances of latent and words."""

    n: int
    mean: Float[np.ndarray, " v"]
    variance: Float[np.ndarray, " v"]
    latent_mean: Float[np.ndarray, " m"]
    latent_cov: Float[np.ndarray, "m m"]
    cross: Float[np.ndarray, "m v"]
    length_word: Float[np.ndarray, " v"]
    """Covariance of each word with the number of active words."""
    length_latent: Float[np.ndarray, " m"]
    length_variance: float


@dataclass(frozen=True, eq=False, kw_only=True)
class GroupSums:
    """Sums over the windows of each group (document)."""

    rows: Float[np.ndarray, " g"]
    error: Float[np.ndarray, "g v"]
    """Of `(x - x_hat)^2`."""
    present: Float[np.ndarray, "g v"]
    """Of x."""
    squares: Float[np.ndarray, "g v"]
    """Of x^2."""
    inner: Float[np.ndarray, "g v"]
    """Of `I x`."""
    interference: Float[np.ndarray, "g v"]
    """Of I."""


def latent_moments(model: Autoencoder, data: Dataset, indices: np.ndarray) -> LatentMoments:
    """Moments of some windows, in float64 about the first window."""
    centre_h: np.ndarray | None = None
    centre_x = np.zeros(0)
    words, width = len(data.vocab), model.width
    sums_x, sums_h = np.zeros(words), np.zeros(width)
    squares, products, cross = np.zeros(words), np.zeros((width, width)), np.zeros((width, words))
    by_length = [np.zeros(words), np.zeros(width), 0.0, 0.0]
    for _, x in chunks(data, indices, dtype="float64"):
        h = model.encode(x)
        if centre_h is None:
            centre_h, centre_x = h[0].copy(), x[0].copy()
        length = x.sum(1) - centre_x.sum()
        h, x = h - centre_h, x - centre_x
        sums_x, sums_h = sums_x + x.sum(0), sums_h + h.sum(0)
        squares, products, cross = squares + np.square(x).sum(0), products + h.T @ h, cross + h.T @ x
        by_length = [by_length[0] + length @ x, by_length[1] + length @ h, by_length[2] + length.sum(), by_length[3] + length @ length]  # fmt: skip  # noqa: E501
    n = len(indices)
    mean_x, mean_h, mean_l = sums_x / n, sums_h / n, by_length[2] / n
    return LatentMoments(
        n=n, mean=mean_x + centre_x, variance=np.maximum(squares / n - mean_x**2, 0.0),
        latent_mean=mean_h + (centre_h if centre_h is not None else 0.0),
        latent_cov=products / n - np.outer(mean_h, mean_h), cross=cross / n - np.outer(mean_h, mean_x),
        length_word=by_length[0] / n - mean_l * mean_x, length_latent=by_length[1] / n - mean_l * mean_h,
        length_variance=float(by_length[3] / n - mean_l**2),
    )  # fmt: skip


def group_sums(model: Autoencoder, data: Dataset, indices: np.ndarray) -> GroupSums:
    """Sums by group; groups beyond 200 are put together in their order."""
    code = data.groups(indices)
    count = int(code.max(initial=0)) + 1
    if count > MOST_GROUPS:
        code, count = code * MOST_GROUPS // count, MOST_GROUPS
    own = model.self_weight
    total = [np.zeros((count, len(data.vocab))) for _ in range(5)]
    for place, x in chunks(data, indices, dtype=str(model.weight.dtype)):
        belongs = (np.arange(count)[:, None] == code[place][None]).astype(x.dtype)
        z = model.sums(x)
        error = np.square(activate(z, model.activation) - x)
        z -= model.bias
        z -= own * x
        for kept, part in zip(total, (error, x, np.square(x), z * x, z), strict=True):
            kept += belongs @ part
    return GroupSums(
        rows=np.bincount(code, minlength=count).astype(np.float64), error=total[0], present=total[1],
        squares=total[2], inner=total[3], interference=total[4],
    )  # fmt: skip


def lift_of(sums: GroupSums) -> Float[np.ndarray, " v"]:
    """Lift of each word: mean interference where it is there, less where it is not; NaN where one of them is empty.

    Args:
        sums: Of the windows that count.
    """
    there, inner = sums.present.sum(0), sums.inner.sum(0)
    absent = sums.rows.sum() - there
    with np.errstate(divide="ignore", invalid="ignore"):
        return inner / there - (sums.interference.sum(0) - inner) / absent
