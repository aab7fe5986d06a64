"""Many small ridge-logistic problems solved together, each with a certificate of how far it is from its optimum.

Newton's method on all problems at once: the problems that have converged leave the batch, those whose loss rose halve
their step. Designs are stored column by column, so that every product runs along memory. `fit_many` computes in float64
and certifies; searches over supports call `solve` in float32, which is enough to compare them and twice as fast.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `design` | A' = [x_S, 1]' | (p, k+1, n) | the columns of each problem's support and a one, transposed | specs/probing.md 4.1 |
| `scores` | z | (p, n) | x_S beta + b | same |
| `hessian` | H | (p, k+1, k+1) | sum_i w_i p_i (1 - p_i) a_i a_i' + diag(lam, ..., lam, 1e-9) | same |
| `loss` | P(S) | (p,) | sum_i w_i log(1 + exp(-y_i z_i)) + (lam/2) norm(beta)^2, intercept free | same, section 1 |
| `gap` | P - D | (p,) | D = sum_i w_i H2(a_i) - norm(X'(w y a))^2 / (2 lam), H2 binary entropy in nats, sum_i w_i y_i a_i = 0; at least 0, and 0 at the optimum | same, 4.1 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from unweave.errors import InputError

MAX_STEPS = 50
MAX_HALVINGS = 10
DECREMENT = 1e-9
"""A problem is done when Newton's decrement g'H^-1g/2 is below this times its total weight."""
GAP = 1e-6
"""A problem has converged when its duality gap is below this times its total weight."""
INTERCEPT_RIDGE = 1e-9
AT_ONCE = 768
"""Rows whose share of a second derivative is added up at once."""


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


@dataclass(frozen=True, eq=False, kw_only=True)
class Optimum:
    """Where Newton's method ended on p problems with k columns each."""

    beta: Float[Tensor, "p k1"]
    """Coefficients, the intercept last."""
    scores: Float[Tensor, "p n"]
    """Of every row, those of weight 0 included."""
    loss: Float[Tensor, " p"]
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
        _certified(
            designs(rows.T, supports[first : first + block], dtype=torch.float64),
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


def designs(
    columns: Float[Tensor, "d n"], supports: Int[Tensor, "p k"], *, dtype: torch.dtype
) -> Float[Tensor, "p k1 n"]:
    """The gathered columns of each support, and a row of ones."""
    problems, width = supports.shape
    design = torch.empty(problems, width + 1, columns.shape[1], dtype=dtype)
    design[:, -1] = 1
    for problem, support in zip(design, supports, strict=True):
        problem[:-1] = columns[support]
    return design


def solve(
    design: Float[Tensor, "p k1 n"],
    signs: Float[Tensor, "p n"],
    weights: Float[Tensor, "p n"],
    lam: float,
    *,
    start: Float[Tensor, "p k1"] | None = None,
    decrement: float = DECREMENT,
    most_steps: int | None = None,
) -> Optimum:
    """Newton's method from `start` (zero, if there is none) in the dtype of the design, without a certificate.

    Args:
        design: Of `designs`.
        signs: Labels -1 or +1.
        weights: Non-negative; 0 leaves the row out of the problem, its score is there all the same.
        lam: Ridge penalty.
        start: Coefficients to start from, the intercept last.
        decrement: A problem is done when Newton's decrement is below this times its total weight.
        most_steps: Steps after which a problem is left as it is.
    """
    penalty = _penalty(design, lam)
    beta = torch.zeros(design.shape[:2], dtype=design.dtype) if start is None else start.to(design.dtype).clone()
    scores = _scores(design, beta)
    loss = _loss(signs, weights, penalty, beta, scores)
    enough = decrement * weights.sum(1)
    active = torch.arange(len(design))
    steps = 0
    while len(active) and steps < (MAX_STEPS if most_steps is None else most_steps):
        steps += 1
        every = len(active) == len(design)  # indexing copies the design
        part = (design, signs, weights) if every else (design[active], signs[active], weights[active])
        direction, left = _newton(*part, penalty, beta[active], scores[active])
        beta[active], scores[active], loss[active] = _halved(
            part, penalty, (beta[active], scores[active], loss[active]), direction
        )
        active = active[left > enough[active]]
    return Optimum(beta=beta, scores=scores, loss=loss, steps=steps)


def hessian(
    design: Float[Tensor, "p k1 n"],
    signs: Float[Tensor, "p n"],
    weights: Float[Tensor, "p n"],
    lam: float,
    scores: Float[Tensor, "p n"],
) -> Float[Tensor, "p k1 k1"]:
    """Second derivative of the loss at `scores`, the intercept last."""
    miss = torch.sigmoid(-signs * scores)
    return _curvature(design, weights * miss * (1 - miss), _penalty(design, lam))


def _penalty(design: Tensor, lam: float) -> Tensor:
    penalty = torch.full((design.shape[1],), lam, dtype=design.dtype)
    penalty[-1] = INTERCEPT_RIDGE
    return penalty


def _scores(design: Tensor, beta: Tensor) -> Tensor:
    return torch.bmm(beta.unsqueeze(1), design).squeeze(1)


def _curvature(design: Tensor, curve: Tensor, penalty: Tensor) -> Tensor:
    total = torch.diag(penalty).repeat(len(design), 1, 1)
    for first in range(0, design.shape[2], AT_ONCE):  # what is scaled stays in the processor's cache
        part = design[:, :, first : first + AT_ONCE]
        total.baddbmm_(part * curve[:, None, first : first + AT_ONCE], part.transpose(1, 2))
    return total


def _certified(design: Tensor, signs: Tensor, weights: Tensor, lam: float) -> LogisticFits:
    found = solve(design, signs, weights, lam)
    totals = weights.sum(1)
    gap = _gap(design, signs, weights, lam, found.scores, found.loss)
    return LogisticFits(
        coef=found.beta[:, :-1],
        bias=found.beta[:, -1],
        loss=found.loss,
        gap=gap,
        converged=gap <= GAP * totals,
        separable=((found.scores * signs > 0) | (weights == 0)).all(1),
        steps=found.steps,
    )


def _newton(
    design: Tensor, signs: Tensor, weights: Tensor, penalty: Tensor, beta: Tensor, scores: Tensor
) -> tuple[Tensor, Tensor]:
    miss = torch.sigmoid(-signs * scores)
    pull = weights * miss
    gradient = beta * penalty - torch.bmm(design, (pull * signs).unsqueeze(2)).squeeze(2)
    curve = _curvature(design, pull * (1 - miss), penalty)
    factor, failed = torch.linalg.cholesky_ex(curve)
    if failed.any():  # rounding, in float32 where hardly a row has weight
        jitter = torch.finfo(curve.dtype).eps * curve.diagonal(dim1=1, dim2=2).sum(1)
        factor = torch.linalg.cholesky(curve + jitter[:, None, None] * torch.eye(curve.shape[1], dtype=curve.dtype))
    direction = -torch.cholesky_solve(gradient.unsqueeze(2), factor).squeeze(2)
    return direction, -(gradient * direction).sum(1) / 2


def _halved(
    part: tuple[Tensor, Tensor, Tensor], penalty: Tensor, now: tuple[Tensor, Tensor, Tensor], direction: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The full step where it lowers the loss, half of it, a quarter, ... where it does not."""
    design, signs, weights = part
    beta, scores, loss = now
    along = _scores(design, direction)
    scale = torch.ones_like(loss)
    highest = loss * (1 + 64 * torch.finfo(loss.dtype).eps)  # at the optimum, rounding moves the loss

    def at(scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        trial, there = beta + scale[:, None] * direction, scores + scale[:, None] * along
        return trial, there, _loss(signs, weights, penalty, trial, there)

    trial, there, trial_loss = at(scale)
    for _ in range(MAX_HALVINGS):
        rose = ~(trial_loss <= highest)
        if not rose.any():
            return trial, there, trial_loss
        scale[rose] /= 2
        trial, there, trial_loss = at(scale)
    rose = ~(trial_loss <= highest)
    return (
        torch.where(rose[:, None], beta, trial),
        torch.where(rose[:, None], scores, there),
        torch.where(rose, loss, trial_loss),
    )


def _loss(signs: Tensor, weights: Tensor, penalty: Tensor, beta: Tensor, scores: Tensor) -> Tensor:
    return (beta.square() * penalty).sum(1) / 2 - (weights * logsigmoid(signs * scores)).sum(1)


def _gap(design: Tensor, signs: Tensor, weights: Tensor, lam: float, scores: Tensor, loss: Tensor) -> Tensor:
    """Loss minus a lower bound of the optimum.

    The bound holds only for duals that balance the classes, `sum w y a = 0`, as the optimal intercept makes them; away
    from it the heavier class is scaled down to the other.
    """
    miss = torch.sigmoid(-signs * scores)
    mass = torch.stack([(weights * miss * (signs == sign)).sum(1) for sign in (-1, 1)])
    scale = mass.amin(0) / mass.clamp_min(torch.finfo(torch.float64).tiny)
    duals = miss * torch.where(signs > 0, scale[1].unsqueeze(1), scale[0].unsqueeze(1))
    entropy = torch.special.entr(duals) + torch.special.entr(1 - duals)
    pull = torch.bmm(design[:, :-1], (weights * signs * duals).unsqueeze(2)).squeeze(2)
    dual = (weights * entropy).sum(1) - pull.square().sum(1) / (2 * lam)
    return (loss - dual).clamp_min(0)
