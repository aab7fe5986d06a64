"""Steps on the group of rotations that stay on it: Cayley and exponential retractions, the Riemannian gradient, and the
cures of rounding.

A rotation `R` (row vectors, `z = h @ R`) moves to `R Q(A)` with a skew matrix `A`. Every step starts at `A = 0`, where
the gradient needs no derivative of the retraction: what an optimiser keeps lives in the Lie algebra and survives the
step.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `skew` | A | (d, d) | skew matrix of the step | specs/ndm.md, section 2 |
| `cayley_step` | Q = (I + A/2)(I - A/2)^-1 | (d, d) | the same to second order in A as the exponential; the two factors commute | same |
| `riemannian_gradient` | G - G', G = R' dL/dR | (d, d) | derivative of the loss by the entries of A below the diagonal | same |
| `newton_schulz` | R (3I - R'R)/2 | (d, d) | squares the deviation from orthogonality | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor


def cayley_step(rotation: Float[Tensor, "d d"], skew: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """`R (I + A/2) (I - A/2)^-1`, by one LU decomposition."""
    half = skew / 2
    left = torch.eye(len(skew), dtype=skew.dtype, device=skew.device) - half
    return torch.linalg.solve(left, rotation + rotation @ half, left=False)


def exponential_step(rotation: Float[Tensor, "d d"], skew: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """`R exp(A)`."""
    return rotation @ torch.linalg.matrix_exp(skew)


RETRACTIONS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {"cayley": cayley_step, "expm": exponential_step}
)
"""Name -> function of a rotation and a skew matrix."""


def riemannian_gradient(rotation: Float[Tensor, "d d"], gradient: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """The skew matrix `G - G'` with `G = R' dL/dR`: how the loss changes with the skew matrix of a step."""
    own = rotation.T @ gradient
    return own - own.T


def newton_schulz(rotation: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """One step towards the nearest orthogonal matrix."""
    return 1.5 * rotation - 0.5 * rotation @ (rotation.T @ rotation)


def polar(matrix: Float[Tensor, "d k"]) -> Float[Tensor, "d k"]:
    """The nearest matrix with orthonormal columns, in float64; the sign of the determinant stays.

    Example:
        >>> turned = polar(torch.tensor([[0.0, 2.0], [-3.0, 0.0]]))
        >>> turned.round().tolist()
        [[0.0, 1.0], [-1.0, 0.0]]
    """
    left, _, right = torch.linalg.svd(matrix.to(torch.float64), full_matrices=False)
    return left @ right


def deviation(rotation: Float[Tensor, "d k"]) -> float:
    """`max |R'R - I|`, in float64."""
    exact = rotation.to(torch.float64)
    identity = torch.eye(exact.shape[1], dtype=torch.float64, device=exact.device)
    return float((exact.T @ exact - identity).abs().max())
