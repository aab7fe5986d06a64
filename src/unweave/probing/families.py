"""Families of supports for many small problems at once: what a search proposes at each k, before anything is compared.

Every family works on the same block: a few hundred screened columns in float32, standardised, and a sign and a weight for each row of
each problem (0 = not this problem's row). Searches run on second-order models of the loss, which are small matrices; the rows are
only read to refresh a model.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `design` | A' | (p, m+1, n) | the pool of each problem, best of the screen first, and a row of ones | specs/probing.md 4.1 |
| `hessian`, `slope` | H, -g | (p, m, m), (p, m) | second-order model of the loss, intercept projected out | same, 4.2, 4.3 |
| `refreshed` | k | () | sizes of supports at which the model is refreshed | same, 4.2 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unweave.tensors.logistic import Optimum, hessian, solve
from unweave.tensors.quadratic import forward, shrink, swap_gains, swaps

NEAR = 1e-4
"""Searches stop Newton's method at this decrement a row: far below what tells supports apart."""
LOWER = 1e-5
"""A swap is kept if it lowers the loss by more than this share."""
TRIES, ROUNDS = 3, 3
"""Exchanges fitted exactly in a round, and rounds."""
HEAD = 16
"""Columns of the screen that compete with a support in the exact exchanges."""
STEPS_OF_A_MODEL, STEPS_OF_A_FIT = 1, 20
"""Newton steps before the model of a telescope is refreshed (the model's own minimum is one more), and of a fit."""
FORWARD_TRIES = 16
SWAPPED_UP_TO = 64
"""Larger supports are not swapped: there the loss hardly tells one column from another."""

Supports = dict[int, Tensor]
"""k -> (p, k) places in the pool."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """Problems with pools of the same size on the same rows."""

    design: Float[Tensor, "p m1 n"]
    signs: Float[Tensor, "p n"]
    weights: Float[Tensor, "p n"]
    lam: float

    @property
    def width(self) -> int:
        """Columns of a pool."""
        return self.design.shape[1] - 1

    @cached_property
    def at_zero(self) -> tuple[Tensor, Tensor]:
        """Second-order model of the loss at zero, in float64."""
        problems = len(self.design)
        nothing = Optimum(
            beta=torch.zeros(problems, 1), scores=torch.zeros_like(self.signs), loss=torch.zeros(problems), steps=0
        )
        return model_at(self, torch.zeros(problems, 0, dtype=torch.int64), nothing)


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """A support for each problem, and its fit."""

    support: Int[Tensor, "p k"]
    fit: Optimum


def nested(block: Block, ks: Sequence[int]) -> Supports:
    """The best columns of the screen."""
    return {k: torch.arange(k).expand(len(block.design), -1) for k in ks}


def least_squares(block: Block, ks: Sequence[int]) -> Supports:
    """Forward search with swaps at each k in the model of the loss at zero, which is weighted least squares on the
    signs.
    """
    order = forward(*block.at_zero, max(ks))
    return {k: swaps(*block.at_zero, order[:, :k]) if k <= SWAPPED_UP_TO else order[:, :k] for k in ks}


def telescope(block: Block, ks: Sequence[int], *, sizes: Sequence[int] | None = None) -> Supports:
    """Backward elimination by Wald's criterion from the whole pool; the model of the loss is refreshed before the first
    column goes, since the one at zero takes the truth for redundant where others stand in for it, and again at each
    of `sizes` (by default ever smaller steps).
    """
    asked = {*(_sizes(block.width) if sizes is None else sizes), *ks}
    refreshed = sorted((size for size in asked if min(ks) <= size < block.width), reverse=True)
    kept = torch.arange(block.width).expand(len(block.design), -1)
    found = {block.width: kept} if block.width in ks else {}
    start = torch.cat([torch.linalg.solve(*block.at_zero), torch.zeros(len(kept), 1, dtype=torch.float64)], 1)
    part = block
    for size in refreshed:
        best = solve(
            part.design, part.signs, part.weights, part.lam, start=start, decrement=NEAR, most_steps=STEPS_OF_A_MODEL
        )
        model, slope = model_at(part, torch.arange(part.width).expand(len(kept), -1), best)
        _, beta, stay = shrink(torch.linalg.inv(model), torch.linalg.solve(model, slope), size)
        kept = kept.gather(1, stay)
        if size in ks:
            found[size] = kept
        start = torch.cat([beta, best.beta[:, -1:].double()], 1)
        part = Block(design=_narrowed(part.design, stay), signs=block.signs, weights=block.weights, lam=block.lam)
    return found


def backward(block: Block, ks: Sequence[int]) -> Supports:
    """As `telescope`, with a fresh model for every column that goes from 64 on."""
    return telescope(block, ks, sizes=[*_sizes(block.width), *range(1, min(64, block.width))])


def stepwise(block: Block, ks: Sequence[int]) -> Supports:
    """Forward search: the score test proposes columns, the sixteen best are fitted exactly, the lowest loss stays."""
    problems = len(block.design)
    found: Supports = {}
    support = torch.zeros(problems, 0, dtype=torch.int64)
    fit = solve(_narrowed(block.design, support), block.signs, block.weights, block.lam, decrement=NEAR)
    for size in range(1, max(ks) + 1):
        model, slope = model_at(block, support, fit)
        gain = _score_test(model, slope, support)
        tried = gain.topk(min(FORWARD_TRIES, block.width - size + 1), dim=1).indices
        trials = torch.cat([support.unsqueeze(1).expand(-1, tried.shape[1], -1), tried.unsqueeze(2)], 2)
        start = torch.cat([fit.beta[:, :-1], torch.zeros(problems, 1), fit.beta[:, -1:]], 1)
        support, fit = _best_of(block, trials, start.unsqueeze(1).expand(-1, tried.shape[1], -1))
        if size in ks:
            found[size] = support
    return found


def exchanged(block: Block, support: Int[Tensor, "p k"], fit: Optimum, company: Int[Tensor, "p c"]) -> Fitted:
    """A support improved by exchanges that are fitted exactly, as long as one lowers the loss; `company` are the
    columns that compete for a place.
    """
    if support.shape[1] > SWAPPED_UP_TO:
        return Fitted(support=support, fit=fit)
    pool = torch.cat([support, company], 1)
    allowed = _first_of_its_kind(pool)
    small = Block(design=_narrowed(block.design, pool), signs=block.signs, weights=block.weights, lam=block.lam)
    place = torch.arange(support.shape[1]).repeat(len(pool), 1)
    beta, scores, loss = fit.beta.clone(), fit.scores.clone(), fit.loss.clone()
    active = torch.arange(len(pool))
    for _ in range(ROUNDS):
        now = Optimum(beta=beta[active], scores=scores[active], loss=loss[active], steps=0)
        worth, best = _exchange(_part(small, active), place[active], now, allowed[active])
        fell = best.fit.loss < loss[active[worth]] * (1 - LOWER)
        active = active[worth][fell]
        if not len(active):
            break
        place[active], beta[active] = best.support[fell], best.fit.beta[fell]
        scores[active], loss[active] = best.fit.scores[fell], best.fit.loss[fell]
    return Fitted(support=pool.gather(1, place), fit=Optimum(beta=beta, scores=scores, loss=loss, steps=fit.steps))


def swapped(block: Block, ks: Sequence[int]) -> Supports:
    """The better of `stepwise` and `telescope` by training loss, improved by exchanges."""
    proposed = [stepwise(block, ks), telescope(block, ks)]
    found: Supports = {}
    for k in ks:
        support, fit = _best_of(block, torch.stack([family[k] for family in proposed], 1), None)
        found[k] = exchanged(block, support, fit, company(block, proposed, ks)).support
    return found


def company(block: Block, proposed: Sequence[Supports], ks: Sequence[int]) -> Int[Tensor, "p c"]:
    """Columns that compete with a support: the largest ones proposed and the head of the screen."""
    head = torch.arange(min(HEAD, block.width)).expand(len(block.design), -1)
    return torch.cat([*(family[max(ks)][:, :SWAPPED_UP_TO] for family in proposed), head], 1)


FAMILIES: Mapping[str, Callable[[Block, Sequence[int]], Supports]] = MappingProxyType(
    {
        "least_squares": least_squares,
        "telescope": telescope,
        "backward": backward,
        "forward": stepwise,
        "swap": swapped,
    }
)
"""Selectors that propose a support for each k from a block."""


def model_at(block: Block, support: Int[Tensor, "p k"], fit: Optimum) -> tuple[Tensor, Tensor]:
    """Second-order model of the loss in all columns of the pool at the fit on a support, the intercept projected out:
    hessian and slope at zero, in float64.
    """
    curve = hessian(block.design, block.signs, block.weights, block.lam, fit.scores).double()
    pull = block.weights * block.signs * torch.sigmoid(-block.signs * fit.scores)
    force = torch.bmm(block.design, pull.unsqueeze(2)).squeeze(2).double()
    across, own = curve[:, :-1, -1], curve[:, -1:, -1].clamp_min(1e-300)
    model = curve[:, :-1, :-1] - across.unsqueeze(2) * across.unsqueeze(1) / own.unsqueeze(2)
    slope = force[:, :-1] - across * force[:, -1:] / own
    if support.shape[1]:
        beta = torch.zeros_like(slope).scatter(1, support, fit.beta[:, :-1].double())
        slope = slope - block.lam * beta + torch.bmm(model, beta.unsqueeze(2)).squeeze(2)
    return model, slope


def _sizes(width: int) -> list[int]:
    """Five eighths of the pool, of that, and so on; from 32 down ever smaller steps."""
    large = []
    while (width := 5 * width // 8) > 48:
        large.append(width)
    return [*large, 32, 24, 16, 12, 10, *range(1, 9)]


def _score_test(model: Tensor, slope: Tensor, support: Tensor) -> Tensor:
    """Fall of the loss when a column joins the support, in the model; the support itself last."""
    own = model.diagonal(dim1=1, dim2=2)
    if not support.shape[1]:
        return slope.square() / own
    every = torch.arange(len(support))[:, None]
    across = model[every, support]
    block = across.gather(2, support.unsqueeze(1).expand(-1, support.shape[1], -1))
    covers = torch.linalg.solve(block, torch.cat([across, slope.gather(1, support).unsqueeze(2)], 2))
    variance = own - (across * covers[:, :, :-1]).sum(1)
    gradient = slope - torch.bmm(covers[:, :, -1:].transpose(1, 2), across).squeeze(1)
    gain = gradient.square() / variance.clamp_min(1e-9 * own)
    return gain.scatter(1, support, -1.0)


def _narrowed(design: Tensor, support: Tensor) -> Tensor:
    """The rows of a design that belong to the support, and its ones."""
    ones = torch.full((len(support), 1), design.shape[1] - 1)
    return design[torch.arange(len(design))[:, None], torch.cat([support, ones], 1)]


def _part(block: Block, active: Tensor) -> Block:
    if len(active) == len(block.design):
        return block  # indexing copies
    return Block(design=block.design[active], signs=block.signs[active], weights=block.weights[active], lam=block.lam)


def _best_of(
    block: Block, trials: Int[Tensor, "p t k"], start: Float[Tensor, "p t k1"] | None
) -> tuple[Tensor, Optimum]:
    """Of the trials of each problem the one with the lowest loss, and its fit."""
    problems, count, _ = trials.shape
    fits = fitted(
        block,
        torch.arange(problems).repeat_interleave(count),
        trials.flatten(0, 1),
        None if start is None else start.flatten(0, 1),
    )
    best = fits.loss.reshape(problems, count).argmin(1) + count * torch.arange(problems)
    return trials.flatten(0, 1)[best], _chosen(fits, best)


def fitted(block: Block, of: Int[Tensor, " s"], supports: Int[Tensor, "s k"], start: Tensor | None = None) -> Optimum:
    """The fits of supports of the problems `of`."""
    ones = torch.full((len(supports), 1), block.width)
    return solve(
        block.design[of[:, None], torch.cat([supports, ones], 1)],
        block.signs[of],
        block.weights[of],
        block.lam,
        start=start,
        decrement=NEAR,
        most_steps=STEPS_OF_A_FIT,
    )


def _chosen(fits: Optimum, which: Tensor) -> Optimum:
    return Optimum(beta=fits.beta[which], scores=fits.scores[which], loss=fits.loss[which], steps=fits.steps)


def _exchange(block: Block, place: Tensor, now: Optimum, allowed: Tensor) -> tuple[Tensor, Fitted]:
    """Which problems have an exchange that the model calls worth its while, and the best of a few such, fitted."""
    model, slope = model_at(block, place, now)
    gain, _ = swap_gains(model, slope, place, allowed)
    promising = gain.flatten(1).topk(min(TRIES, gain[0].numel()), dim=1)
    worth = (promising.values[:, 0] / 2 > LOWER * now.loss).nonzero().flatten()
    tried = promising.indices[worth]
    trials = place[worth].unsqueeze(1).repeat(1, tried.shape[1], 1)
    trials.scatter_(2, (tried // block.width).unsqueeze(2), (tried % block.width).unsqueeze(2))
    every = worth[:, None, None, None]
    corner = model[every, trials.unsqueeze(3), trials.unsqueeze(2)]
    beta = torch.linalg.solve(corner, slope[worth[:, None, None], trials])  # where the model has its minimum
    bias = now.beta[worth, None, -1:].expand(-1, tried.shape[1], -1)
    support, fit = _best_of(_part(block, worth), trials, torch.cat([beta.to(bias.dtype), bias], 2))
    return worth, Fitted(support=support, fit=fit)


def _first_of_its_kind(pool: Tensor) -> Tensor:
    """Whether no earlier place of a pool holds the same column."""
    same = pool.unsqueeze(2) == pool.unsqueeze(1)
    return ~torch.tril(same, diagonal=-1).any(2)
