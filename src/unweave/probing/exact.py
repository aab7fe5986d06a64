"""`best_subset`: the support of k columns with the lowest loss, and a proof that no other one is lower, or how far the proof got.

A tree of supports is searched depth first, promising columns first. A node is cut when a lower bound of all its completions is above
the best support found; leaves (supports of full size) are bounded in bulk, all one-column extensions of a parent at once, and
fitted only where the bound does not settle them. Any dual point gives a valid bound, so nothing hangs on convergence.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `upper` | U | () | the lowest loss found, nats | specs/probing.md 4.4 |
| `duals` | a | (s, n) | in [0, 1], sum_i w_i y_i a_i = 0 | same, 2 |
| `entropy` | sum_i w_i H2(a_i) | (s,) | nats | same |
| `pulls` | c_j^2 = (x_j'(w y a))^2 | (s, p) | what column j could still explain | same |
| `bound` | LB | (s,) | entropy - [sum_I c_j^2 + the k - size(I) largest c_j^2 of the rest] / (2 lam) | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from unweave.errors import DataError, InputError
from unweave.probing.columns import usable_rows
from unweave.probing.families import Block, least_squares, swapped, telescope
from unweave.probing.labels import binary_labels
from unweave.probing.screening import pools, screens
from unweave.tensors.logistic import Optimum, balanced_weights, designs, fit_many, solve

ROUNDING = 1e-9
"""Bounds are lowered by this share of themselves: they are sums of thousands of rounded terms."""
PROVEN = 1e-6
LEAVES_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Subset:
    """The best support found, and what is proven of it."""

    support: tuple[int, ...]
    """Columns of X, ascending."""
    upper: float
    """Its loss, nats: balanced weights, ridge, intercept free."""
    lower: float
    """No support of this size among the screened columns has a lower loss than this."""
    gap: float
    """(upper - lower) / upper."""
    proven: bool
    """Whether the gap is at most 1e-6."""
    nodes: int
    """Supports and partial supports that were looked at."""
    fits: int
    """Leaves that had to be fitted."""
    scope: str
    """What the proof is about."""
    seconds: float

    def __repr__(self) -> str:
        """Support, loss and gap."""
        word = "proven" if self.proven else f"gap {self.gap:.1%}"
        return f"Subset({list(self.support)}, loss {self.upper:.2f}, {word} {self.scope})"


def best_subset(X: Any, y: Any, k: int, *, screen: int = 50, lam: float = 1.0, time_limit: float = 30.0) -> Subset:
    """The k columns with the lowest balanced ridge-logistic loss among the screened ones, with a certificate.

    Args:
        X: Rows (n, d), all of them used.
        y: (n,) labels in {0, 1}, {-1, +1} or booleans.
        k: Size of the support.
        screen: Columns kept, by standardised mean difference; the proof holds within these.
        lam: Ridge penalty on standardised columns.
        time_limit: Seconds of wall time; afterwards the result is the best found, with an honest gap.

    Raises:
        InputError: Shapes that do not fit, labels that are not binary, k below 1 or beyond the columns that vary.
        DataError: No finite column that varies, or one class only.

    Source:
        specs/probing.md 4.4 (weak duality for ridge-logistic losses); the question is that of arXiv 2305.01610,
        section 3.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(300, 12)); y = X[:, 3] + X[:, 8] > 0
        >>> best_subset(X, y, 2).support, best_subset(X, y, 2).proven
        ((3, 8), True)
    """
    start = time.perf_counter()
    matrix, _ = usable_rows(X)
    labels, _ = binary_labels(y, tuple(matrix.shape))
    if not 0 < lam < math.inf:
        raise InputError(f"lam is {lam}: a positive ridge penalty is needed")
    found = screens(matrix, labels[None], np.zeros(len(matrix), dtype=np.int64))
    live = int(found.live.sum())
    if not live:
        raise DataError("no column of X varies: there is nothing to choose from")
    if not 1 <= k <= min(screen, live):
        raise InputError(f"k is {k}: 1 to {min(screen, live)} is possible, as many columns are screened and vary")
    columns = pools(found, 0, min(screen, live))[0]
    picked = matrix.index_select(1, columns).double()
    standard = (picked - picked.mean(0)) / picked.std(0, unbiased=False)
    tree = _Tree(standard.T.contiguous(), labels, k, lam, start + time_limit)
    tree.search()
    lower = min(tree.lower, tree.upper)
    gap = (tree.upper - lower) / tree.upper
    return Subset(
        support=tuple(sorted(columns[tree.support].tolist())),
        upper=tree.upper,
        lower=lower,
        gap=gap,
        proven=gap <= PROVEN,
        nodes=tree.nodes,
        fits=tree.fits,
        scope=f"within {len(columns)} of {matrix.shape[1]} columns",
        seconds=time.perf_counter() - start,
    )


@dataclass(frozen=True, eq=False)
class _Node:
    """A support, its fit, and a bound of all supports that it begins."""

    bound: float
    support: Int[Tensor, " k"]
    beta: Float[Tensor, " k1"]


class _Tree:
    """The search: columns are numbered as screened; a node is a support, its completions add larger numbers."""

    def __init__(self, columns: Tensor, labels: np.ndarray, k: int, lam: float, deadline: float) -> None:
        signs = torch.from_numpy(np.where(labels, 1.0, -1.0))[None]
        self.columns: Tensor = columns
        self.signs: Tensor = signs
        self.k: int = k
        self.lam: float = lam
        self.deadline: float = deadline
        self.weights: Tensor = balanced_weights(signs, torch.ones_like(signs, dtype=torch.bool))
        self.pulls_of: Tensor = self.columns * (self.weights * signs)  # x_j w y
        self.nodes: int = 0
        self.fits: int = 0
        support, upper = self._incumbent()
        self.support: Tensor = support
        self.upper: float = upper
        self.lower: float = upper
        """Of what is settled; the open nodes are added where the time runs out."""

    def search(self) -> None:
        """Depth first; whatever is still open at the deadline counts with its bound."""
        stack: list[_Node] = [_Node(-math.inf, torch.zeros(0, dtype=torch.int64), torch.zeros(1, dtype=torch.float64))]
        while stack:
            node = stack.pop()
            bound, support = node.bound, node.support
            if bound >= self._enough():
                self.lower = min(self.lower, bound)
            elif time.perf_counter() > self.deadline:
                self.lower = min([self.lower, bound, *(one.bound for one in stack)])
                self.lower = max(self.lower, self._everything())
                return
            elif len(support) == self.k - 1:
                self._leaves(support, node.beta)
            else:
                stack += self._children(support)

    def _enough(self) -> float:
        """A bound from here on cuts a node."""
        return self.upper * (1 - PROVEN / 2)

    def _incumbent(self) -> tuple[Tensor, float]:
        block = Block(
            design=designs(self.columns, torch.arange(len(self.columns))[None], dtype=torch.float32),
            signs=self.signs.float(),
            weights=self.weights.float(),
            lam=self.lam,
        )
        proposed = torch.cat([family(block, (self.k,))[self.k] for family in (least_squares, telescope, swapped)])
        many = len(proposed)
        fits = fit_many(
            self.columns.T, self.signs.expand(many, -1), self.weights.expand(many, -1), proposed, lam=self.lam
        )
        best = int(fits.loss.argmin())
        return proposed[best], float(fits.loss[best])

    def _everything(self) -> float:
        """The loss of all columns together: adding columns never raises it."""
        fit = fit_many(self.columns.T, self.signs, self.weights, torch.arange(len(self.columns))[None], lam=self.lam)
        return float((fit.loss - fit.gap)[0]) * (1 - ROUNDING)

    def _children(self, support: Tensor) -> list[_Node]:
        """The nodes with one more column, the most promising last, each with a bound of its completions."""
        first = int(support[-1]) + 1 if len(support) else 0
        left = self.k - len(support) - 1  # columns that a child still needs
        news = torch.arange(first, len(self.columns) - left)
        supports = torch.cat([support.expand(len(news), -1), news[:, None]], 1)
        self.nodes += len(supports)
        fits = self._fit(supports)
        entropy, pulls = self._dual(fits.scores)
        free = torch.arange(len(self.columns))[None] > news[:, None]
        most = torch.where(free, pulls, 0.0).topk(left, dim=1).values.sum(1)
        bound = entropy - (pulls.gather(1, supports).sum(1) + most) / (2 * self.lam)
        bound = bound - ROUNDING * bound.abs()
        return [_Node(float(bound[one]), supports[one], fits.beta[one]) for one in reversed(range(len(news)))]

    def _leaves(self, parent: Tensor, start: Tensor) -> None:
        """Settles all supports that add one column to the parent."""
        news = torch.arange(int(parent[-1]) + 1 if len(parent) else 0, len(self.columns))
        supports = torch.cat([parent.expand(len(news), -1), news[:, None]], 1)
        self.nodes += len(news)
        beta, scores = self._stepped(parent, news, start)
        entropy, pulls = self._dual(scores, supports)
        bound = entropy - pulls.sum(1) / (2 * self.lam)
        bound = bound - ROUNDING * bound.abs()
        order = torch.argsort(bound)
        for first in range(0, len(order), LEAVES_AT_ONCE):
            part = order[first : first + LEAVES_AT_ONCE]
            rest = part[self._unsettled(bound[part])]
            for steps in (1, None):  # one more step settles most of them
                if len(rest):
                    rest = rest[self._fitted(supports[rest], beta[rest], steps)]

    def _unsettled(self, bound: Tensor) -> Tensor:
        """Which leaves may still be better than the best; the others count with their bounds."""
        settled = bound >= self._enough()
        if settled.any():
            self.lower = min(self.lower, float(bound[settled].min()))
        return ~settled

    def _fitted(self, supports: Tensor, beta: Tensor, steps: int | None) -> Tensor:
        """Fits leaves for some steps, or to the end, where every leaf counts with its own bound."""
        self.fits += len(supports)
        fits = self._fit(supports, beta, steps)
        entropy, pulls = self._dual(fits.scores, supports)
        bound = entropy - pulls.sum(1) / (2 * self.lam)
        bound = bound - ROUNDING * bound.abs()
        best = int(fits.loss.argmin())
        if float(fits.loss[best]) < self.upper:
            self.upper, self.support = float(fits.loss[best]), supports[best]
        if steps is not None:
            return self._unsettled(bound)
        self.lower = min(self.lower, float(bound.min()))
        return torch.zeros(len(bound), dtype=torch.bool)

    def _fit(self, supports: Tensor, start: Tensor | None = None, steps: int | None = None) -> Optimum:
        many = (len(supports), -1)
        design = designs(self.columns, supports, dtype=torch.float64)
        signs, weights = self.signs.expand(many), self.weights.expand(many)
        return solve(design, signs, weights, self.lam, start=start, most_steps=steps)

    def _stepped(
        self, parent: Int[Tensor, " k1"], news: Int[Tensor, " s"], start: Float[Tensor, " k"]
    ) -> tuple[Tensor, Tensor]:
        """One joint Newton step from the parent's fit for each new column, then the best intercept: coefficients (s,
        k + 1) and scores (s, n).
        """
        fit = self._fit(parent[None], start[None])
        design = designs(self.columns, parent[None], dtype=torch.float64)[0]
        fresh = self.columns[news]
        miss = torch.sigmoid(-self.signs * fit.scores)
        force = (self.weights * self.signs * miss)[0]
        curve = (self.weights * miss * (1 - miss))[0]
        penalty = torch.full((len(design),), self.lam, dtype=torch.float64)
        penalty[-1] = 0.0
        block = (design * curve) @ design.T + torch.diag(penalty)
        across = (design * curve) @ fresh.T  # (k, s)
        covers = torch.linalg.solve(block, across)
        variance = (fresh.square() @ curve) + self.lam - (across * covers).sum(0)
        size = (fresh @ force) / variance
        beta = torch.cat([(fit.beta - (covers * size).T)[:, :-1], size[:, None]], 1)
        scores = fit.scores + size[:, None] * (fresh - covers.T @ design)
        shift, scores = self._centred(scores)
        return torch.cat([beta, (fit.beta[:, -1] - covers[-1] * size + shift)[:, None]], 1), scores

    def _centred(self, scores: Float[Tensor, "s n"]) -> tuple[Tensor, Tensor]:
        """The shift of the scores with the lowest loss, by Newton's method in one dimension, and the scores there."""
        shift = torch.zeros(len(scores), dtype=torch.float64)
        for _ in range(2):
            miss = torch.sigmoid(-self.signs * (scores + shift[:, None]))
            pull = self.weights * miss
            shift = shift + (pull @ self.signs[0]) / (pull * (1 - miss)).sum(1).clamp_min(1e-12)
        return shift, scores + shift[:, None]

    def _dual(self, scores: Tensor, supports: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Entropy of the dual point at the scores, the heavier class scaled down to the other, and squared pulls of the
        columns of each support (of all columns, if there is none).
        """
        duals = torch.sigmoid(-self.signs * scores)
        positive = self.signs[0] > 0
        mass = duals * self.weights
        above, below = mass[:, positive].sum(1), mass[:, ~positive].sum(1)
        tiny = torch.finfo(torch.float64).tiny
        least = torch.minimum(above, below)
        scale = torch.where(
            positive, (least / above.clamp_min(tiny))[:, None], (least / below.clamp_min(tiny))[:, None]
        )
        duals = duals * scale
        others = 1 - duals  # logarithms by hand are twice as fast as `entr`
        entropy = -((duals * duals.clamp_min(tiny).log() + others * others.clamp_min(tiny).log()) * self.weights).sum(1)
        pulls = duals @ self.pulls_of.T
        return entropy, (pulls if supports is None else pulls.gather(1, supports)).square()
