"""Best subsets of quadratic functions, many at once: forward, backward and swap searches that see no data.

Once a least-squares problem, or the second-order model of any smooth loss, is reduced to `f(b) = b'Hb/2 - c'b`, a search over supports
costs only small matrix products: it never goes back to the rows.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `hessian` | H | (p, d, d) | positive definite; of the loss | specs/probing.md 4.3 |
| `slope` | c | (p, d) | minus the gradient at zero | same |
| `gain` | g_j^2 / (2 v_j) | (p, d) | by how much column j lowers f, the others refitted; v_j = H_jj - H_jS H_SS^-1 H_Sj | same, score test |
| `wald` | beta_j^2 / (H^-1)_jj | (p, d) | twice the loss of dropping column j | same, 4.2 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

LEAST_VARIANCE = 1e-9
"""Of a column given others, relative to its own: below it is a copy of them and never added."""
WORTH = 1e-9
"""A swap must lower f by more than this share of what the support explains."""
SHARE_DROPPED = 0.2
ONE_BY_ONE_FROM = 24


def forward(
    hessian: Float[Tensor, "p d d"],
    slope: Float[Tensor, "p d"],
    most: int,
    *,
    allowed: Bool[Tensor, "p d"] | None = None,
) -> Int[Tensor, "p k"]:
    """Columns in the order in which each lowers f most, given those before it; `most` of them.

    Args:
        hessian: H.
        slope: c.
        most: Number of columns.
        allowed: Columns that may enter, at least `most` in each problem; None = all.
    """
    problems, width = slope.shape
    own = hessian.diagonal(dim1=1, dim2=2)
    variance, gradient = own.clone(), slope.clone()
    free = torch.ones_like(slope, dtype=torch.bool) if allowed is None else allowed.clone()
    every = torch.arange(problems)
    factors = torch.zeros(problems, most, width, dtype=slope.dtype)
    order = torch.zeros(problems, most, dtype=torch.int64)
    for step in range(most):
        fresh = variance > LEAST_VARIANCE * own
        gain = torch.where(fresh, gradient.square() / variance.clamp_min(1e-300), -1.0)
        best = torch.where(free, gain, -torch.inf).argmax(1)
        order[:, step] = best
        free[every, best] = False
        before = torch.bmm(factors[every, :step, best].unsqueeze(1), factors[:, :step]).squeeze(1)
        root = variance[every, best].clamp_min(1e-300).sqrt()
        row = (hessian[every, best] - before) / root[:, None]
        row = torch.where(fresh[every, best, None], row, 0.0)  # a copy of others takes nothing away
        gradient = gradient - row * (gradient[every, best] / root)[:, None]
        variance = variance - row.square()
        factors[:, step] = row
    return order


def swaps(
    hessian: Float[Tensor, "p d d"],
    slope: Float[Tensor, "p d"],
    support: Int[Tensor, "p k"],
    *,
    allowed: Bool[Tensor, "p d"] | None = None,
    most_rounds: int = 50,
) -> Int[Tensor, "p k"]:
    """Supports that no exchange of one column lowers any more: the best exchange is made until none is worth it.

    Args:
        hessian: H.
        slope: c.
        support: Where each problem starts.
        allowed: Columns that may enter; None = all.
        most_rounds: Exchanges after which a problem is left as it is.
    """
    found = support.clone()
    width = slope.shape[1]
    active = torch.arange(len(found))
    for _ in range(most_rounds):
        if not len(active):
            break
        gain, worth = swap_gains(
            hessian[active], slope[active], found[active], None if allowed is None else allowed[active]
        )
        best, place = gain.flatten(1).max(1)
        better = best > worth
        active, place = active[better], place[better]
        found[active, place // width] = place % width
    return found


def swap_gains(
    hessian: Float[Tensor, "p d d"],
    slope: Float[Tensor, "p d"],
    support: Int[Tensor, "p k"],
    allowed: Bool[Tensor, "p d"] | None = None,
) -> tuple[Float[Tensor, "p k d"], Float[Tensor, " p"]]:
    """By how much f falls (times two) when the i-th column of the support makes room for column j, and the least fall
    that is more than rounding.
    """
    inverse, beta, covers, variance, gradient = _partial(hessian, slope, support)
    spread = inverse.diagonal(dim1=1, dim2=2).unsqueeze(2)
    wald = beta.square() / spread.squeeze(2)
    own = hessian.diagonal(dim1=1, dim2=2).unsqueeze(1)
    left = variance.unsqueeze(1) + covers.square() / spread
    pull = gradient.unsqueeze(1) + covers * beta.unsqueeze(2) / spread
    gain = pull.square() / left.clamp_min(1e-300) - wald.unsqueeze(2)
    gain = torch.where(left > LEAST_VARIANCE * own, gain, -torch.inf)
    gain.scatter_(2, support.unsqueeze(1).expand(-1, support.shape[1], -1), -torch.inf)
    if allowed is not None:
        gain = torch.where(allowed.unsqueeze(1), gain, -torch.inf)
    explained = (slope.gather(1, support) * beta).sum(1)
    return gain, WORTH * explained.abs()


def explained(
    hessian: Float[Tensor, "p d d"], slope: Float[Tensor, "p d"], support: Int[Tensor, "p k"]
) -> Float[Tensor, " p"]:
    """Twice the fall of f from zero to its minimum on each support: c_S' H_SS^-1 c_S."""
    block = _block(hessian, support, support)
    right = slope.gather(1, support)
    return (right * torch.linalg.solve(block, right)).sum(1)


def _partial(hessian: Tensor, slope: Tensor, support: Tensor) -> tuple[Tensor, ...]:
    """At the minimum on the support: inverse of its block, coefficients, projections of all columns on it, and what is
    left of the variance and of the gradient of each.
    """
    every = torch.arange(len(support))[:, None]
    across = hessian[every, support]
    block = across.gather(2, support.unsqueeze(1).expand(-1, support.shape[1], -1))
    inverse = torch.linalg.inv(block)
    beta = torch.bmm(inverse, slope.gather(1, support).unsqueeze(2)).squeeze(2)
    covers = torch.bmm(inverse, across)
    variance = hessian.diagonal(dim1=1, dim2=2) - (across * covers).sum(1)
    gradient = slope - torch.bmm(beta.unsqueeze(1), across).squeeze(1)
    return inverse, beta, covers, variance, gradient


def shrink(
    inverse: Float[Tensor, "p m m"], beta: Float[Tensor, "p m"], size: int
) -> tuple[Float[Tensor, "p m2 m2"], Float[Tensor, "p m2"], Int[Tensor, "p m2"]]:
    """Drops the columns that cost least until `size` are left: a fifth a step above 24, one a step below.

    Args:
        inverse: H^-1.
        beta: Minimum over all columns.
        size: Columns to keep.

    Returns:
        Inverse and minimum on the columns kept, and which these are, ascending.
    """
    kept = torch.arange(beta.shape[1]).expand(len(beta), -1)
    while (width := beta.shape[1]) > size:
        dropped = min(width - size, int(SHARE_DROPPED * width) if width > ONE_BY_ONE_FROM else 1)
        wald = beta.square() / inverse.diagonal(dim1=1, dim2=2)
        order = torch.argsort(wald, dim=1, stable=True)
        inverse, beta, stay = _without(inverse, beta, order[:, :dropped], order[:, dropped:].sort(1).values)
        kept = kept.gather(1, stay)
    return inverse, beta, kept


def _without(inverse: Tensor, beta: Tensor, drop: Tensor, stay: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Minimum and inverse when the dropped coordinates are held at zero."""
    gone, between = _block(inverse, drop, drop), _block(inverse, stay, drop)
    solved = torch.linalg.solve(gone, torch.cat([between.transpose(1, 2), beta.gather(1, drop).unsqueeze(2)], 2))
    inverse = _block(inverse, stay, stay) - torch.bmm(between, solved[:, :, :-1])
    beta = beta.gather(1, stay) - torch.bmm(between, solved[:, :, -1:]).squeeze(2)
    return inverse, beta, stay


def _block(matrix: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    every = torch.arange(len(matrix))[:, None, None]
    return matrix[every, rows[:, :, None], columns[:, None, :]]
