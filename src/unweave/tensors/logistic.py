"""Many small ridge-logistic problems solved together, each with a certificate of how far it is from its optimum.

Newton's method on all problems at once: the problems that have converged leave the batch, those whose loss rose halve
their step. float64 throughout.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `design` | A = [x_S, 1] | (p, n, k+1) | the columns of each problem's support and a one | specs/probing.md 4.1 |
| `scores` | z | (p, n) | x_S beta + b | same |
| `loss` | P(S) | (p,) | sum_i w_i log(1 + exp(-y_i z_i)) + (lam/2) norm(beta)^2, intercept free | same, section 1 |
| `gap` | P - D | (p,) | D = sum_i w_i H2(a_i) - norm(X'(w y a))^2 / (2 lam), H2 binary entropy in nats, sum_i w_i y_i a_i = 0; at least 0, and 0 at the optimum | same, 4.1 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import softplus

from unweave.errors import InputError

MAX_STEPS = 50
MAX_HALVINGS = 10
DECREMENT = 1e-9
"""A problem is done when Newton's decrement g'H^-1g/2 is below this times its total weight."""
GAP = 1e-6
"""A problem has converged when its duality gap is below this times its total weight."""
INTERCEPT_RIDGE = 1e-9


@dataclass(frozen=True, eq=False, kw_only=True)
class LogisticFits:
    """Solutions of p problems with k columns each."""

    coef: Float[Tensor, "p k"]
    bias: Float[Tensor, " p"]
    loss: Float[Tensor, " p"]
    gap: Float[Tensor, " p"]
    """Upper bound on how far `loss` is above the optimum."""
    converged: Bool[Tensor, " p"]
    separable: Bool[Tensor, " p"]
    """Every training row is on its side: only the penalty keeps the coefficients finite."""
    steps: int


def fit_many(
    rows: Float[Tensor, "n d"],
    signs: Float[Tensor, "p n"],
    weights: Float[Tensor, "p n"],
    supports: Int[Tensor, "p k"],
    *,
    lam: float = 1.0,
    max_bytes: int = 1 << 28,
) -> LogisticFits:
    """The ridge-logistic fits of p problems on the same rows.

    Args:
        rows: Standardised activations; any floating dtype, computed in float64.
        signs: Labels -1 or +1, one row a problem.
        weights: Non-negative; 0 leaves the row out of the problem.
        supports: Columns of each problem.
        lam: Ridge penalty on the coefficients (not on the intercept), positive.
        max_bytes: Bound on the gathered columns held at once; the problems are solved in blocks of that size.

    Raises:
        InputError: `lam` not positive and finite.
    """
    if not 0 < lam < math.inf:
        raise InputError(f"lam is {lam}: a positive ridge penalty is needed, it keeps separable problems finite")
    bytes_a_problem = 8 * rows.shape[0] * (supports.shape[1] + 1)
    block = max(1, max_bytes // max(1, bytes_a_problem))
    parts = [
        _solve(
            _design(rows, supports[first : first + block]),
            signs[first : first + block].double(),
            weights[first : first + block].double(),
            lam,
        )
        for first in range(0, len(supports), block)
    ]
    joined = {
        name: torch.cat([getattr(part, name) for part in parts])
        for name in ("coef", "bias", "loss", "gap", "converged", "separable")
    }
    return LogisticFits(**joined, steps=max(part.steps for part in parts))


def balanced_weights(signs: Float[Tensor, "p n"], used: Bool[Tensor, "p n"]) -> Float[Tensor, "p n"]:
    """Weights that give both classes half of the total, which stays the number of rows used: n / (2 n_class)."""
    total = used.sum(1, keepdim=True).double()
    weights = torch.zeros(signs.shape, dtype=torch.float64)
    for sign in (-1, 1):
        members = used & (signs == sign)
        weights += members * (total / (2 * members.sum(1, keepdim=True).clamp_min(1)))
    return weights


def _design(rows: Tensor, supports: Tensor) -> Tensor:
    columns = rows[:, supports.flatten()].to(torch.float64).reshape(len(rows), *supports.shape)
    ones = torch.ones(len(rows), len(supports), 1, dtype=torch.float64)
    return torch.cat([columns, ones], dim=2).transpose(0, 1).contiguous()


def _solve(design: Tensor, signs: Tensor, weights: Tensor, lam: float) -> LogisticFits:
    problems, _, width = design.shape
    penalty = torch.full((width,), lam, dtype=torch.float64)
    penalty[-1] = INTERCEPT_RIDGE
    beta = torch.zeros(problems, width, dtype=torch.float64)
    loss = _loss(design, signs, weights, penalty, beta)
    totals = weights.sum(1)
    active = torch.arange(problems)
    steps = 0
    while len(active) and steps < MAX_STEPS:
        steps += 1
        part = (design[active], signs[active], weights[active])
        direction, decrement = _newton(*part, penalty, beta[active])
        beta[active], loss[active] = _halved(part, penalty, beta[active], loss[active], direction)
        active = active[decrement > DECREMENT * totals[active]]
    scores = torch.einsum("pnk,pk->pn", design, beta)
    gap = _gap(design, signs, weights, lam, scores, loss)
    separable = ((scores * signs > 0) | (weights == 0)).all(1)
    return LogisticFits(
        coef=beta[:, :-1],
        bias=beta[:, -1],
        loss=loss,
        gap=gap,
        converged=gap <= GAP * totals,
        separable=separable,
        steps=steps,
    )


def _newton(design: Tensor, signs: Tensor, weights: Tensor, penalty: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    miss = torch.sigmoid(-signs * torch.einsum("pnk,pk->pn", design, beta))
    gradient = beta * penalty - torch.einsum("pnk,pn->pk", design, weights * signs * miss)
    curvature = (weights * miss * (1 - miss)).unsqueeze(2)
    hessian = torch.bmm(design.transpose(1, 2), design * curvature) + torch.diag(penalty)
    direction = -torch.cholesky_solve(gradient.unsqueeze(2), torch.linalg.cholesky(hessian)).squeeze(2)
    return direction, -(gradient * direction).sum(1) / 2


def _halved(
    part: tuple[Tensor, Tensor, Tensor], penalty: Tensor, beta: Tensor, loss: Tensor, direction: Tensor
) -> tuple[Tensor, Tensor]:
    """The full step where it lowers the loss, half of it, a quarter, ... where it does not."""
    scale = torch.ones(len(beta), 1, dtype=torch.float64)
    trial = beta + direction
    trial_loss = _loss(*part, penalty, trial)
    highest = loss * (1 + 1e-14)  # at the optimum, rounding moves the loss
    for _ in range(MAX_HALVINGS):
        if not (trial_loss > highest).any():
            break
        scale[trial_loss > highest] /= 2
        trial = beta + scale * direction
        trial_loss = _loss(*part, penalty, trial)
    rose = trial_loss > highest
    return torch.where(rose.unsqueeze(1), beta, trial), torch.where(rose, loss, trial_loss)


def _loss(design: Tensor, signs: Tensor, weights: Tensor, penalty: Tensor, beta: Tensor) -> Tensor:
    scores = torch.einsum("pnk,pk->pn", design, beta)
    return (weights * softplus(-signs * scores)).sum(1) + (beta.square() * penalty).sum(1) / 2


def _gap(design: Tensor, signs: Tensor, weights: Tensor, lam: float, scores: Tensor, loss: Tensor) -> Tensor:
    """Loss minus a lower bound of the optimum.

    The bound holds only for duals that balance the classes, `sum w y a = 0`, as the optimal intercept makes them; away
    from it the heavier class is scaled down to the other.
    """
    miss = torch.sigmoid(-signs * scores)
    mass = torch.stack([(weights * miss * (signs == sign)).sum(1) for sign in (-1, 1)])
    scale = mass.amin(0) / mass.clamp_min(torch.finfo(torch.float64).tiny)
    duals = miss * torch.where(signs > 0, scale[1].unsqueeze(1), scale[0].unsqueeze(1))
    entropy = -torch.xlogy(duals, duals) - torch.xlogy(1 - duals, 1 - duals)
    pull = torch.einsum("pnk,pn->pk", design[:, :, :-1], weights * signs * duals)
    dual = (weights * entropy).sum(1) - pull.square().sum(1) / (2 * lam)
    return (loss - dual).clamp_min(0)
