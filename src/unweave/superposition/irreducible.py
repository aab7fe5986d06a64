"""Whether a plane of features is one two-dimensional thing, or a mixture or a product of one-dimensional ones.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `mixture` | M | scalar | largest share of points with `abs(a . x + b) < eps RMS(a . x + b)`: high where points lie on lines | arXiv 2405.14860, section 3 |
| `separability` | S | scalar | least mutual information of the two coordinates over rotations, bits: 0 for a product | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from unweave.errors import DataError, InputError

ANGLES, SHIFTS, EPSILON = 90, 201, 0.1
FLOOR = 0.01


@dataclass(frozen=True, kw_only=True)
class Irreducibility:
    """Indices of a cloud of points of a plane."""

    mixture: float
    separability: float
    """Bits."""
    score: float
    """(1 - mixture) * separability, mixture at least .01: large for a thing of two dimensions."""
    n: int


def irreducibility(points: Any, *, epsilon: float = EPSILON, bins: int | None = None) -> Irreducibility:
    """Mixture and separability of points of a plane.

    Args:
        points: (n, 2).
        epsilon: Half-width of the strip, in root mean squares of what is in it.
        bins: Of each coordinate for the mutual information; None is `sqrt(n / 5)`, at most 40.

    Raises:
        InputError: Not two columns.
        DataError: Fewer than 20 points, or no spread.

    Example:
        >>> angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
        >>> circle = np.stack([np.cos(angles), np.sin(angles)], 1)
        >>> cross = np.concatenate([np.linspace(-1, 1, 200)[:, None] * row for row in np.eye(2)])
        >>> irreducibility(circle).mixture < 0.25 < 0.4 < irreducibility(cross).mixture
        True
    """
    cloud = np.asarray(points, dtype=np.float64)
    if cloud.ndim != 2 or cloud.shape[1] != 2:
        raise InputError(f"points have shape {cloud.shape}: (n, 2) is needed")
    if len(cloud) < 20:
        raise DataError(f"{len(cloud)} points: 20 or more are needed")
    cloud = cloud - cloud.mean(0)
    spread = float(np.sqrt(np.square(cloud).mean()))
    if spread <= 0:
        raise DataError("all points are the same: there is no plane")
    cloud = cloud / spread
    mixture = max(_strip(cloud, angle, epsilon) for angle in np.pi * np.arange(ANGLES) / ANGLES)
    count = bins or int(min(40, max(4, np.sqrt(len(cloud) / 5))))
    apart = min(_information(cloud, angle, count) for angle in np.pi / 2 * np.arange(ANGLES) / ANGLES)
    return Irreducibility(mixture=mixture, separability=apart, score=(1 - max(mixture, FLOOR)) * apart, n=len(cloud))


def _strip(cloud: np.ndarray, angle: float, epsilon: float) -> float:
    """Largest share of points in a strip of this direction, over its place."""
    along = np.sort(cloud @ [np.cos(angle), np.sin(angle)])
    centres = np.concatenate([np.linspace(along[0], along[-1], SHIFTS), [0.0]])
    half = epsilon * np.sqrt(along.var() + (along.mean() - centres) ** 2)
    inside = np.searchsorted(along, centres + half) - np.searchsorted(along, centres - half)
    return float(inside.max()) / len(along)


def _information(cloud: np.ndarray, angle: float, bins: int) -> float:
    turned = cloud @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    table, *_ = np.histogram2d(turned[:, 0], turned[:, 1], bins=bins)
    joint = table / table.sum()
    product = np.outer(joint.sum(1), joint.sum(0))
    there = joint > 0
    return float((joint[there] * np.log2(joint[there] / product[there])).sum())
