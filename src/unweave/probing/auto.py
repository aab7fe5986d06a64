"""`auto`: at each k the family of supports that does best on inner folds of the training groups.

Three folds of the training groups, and all of them together, are four problems; each proposes its own screen and its own supports, for
the true labels and for every shuffle alike, so that the control goes through all of it. A family is judged by the mean F1 on the rows its problem did
not see; those within one standard error of the best are told apart by their log loss there. The family that wins then
proposes a support from all three folds together.

Screens come from all training rows. The search itself looks at a few thousand of them, drawn from both classes alike: what tells
good supports apart shows there, and its cost no longer grows with the rows. Probes are refitted on all rows afterwards.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `score` | F1 | (families, m, folds) | on the rows of the fold, threshold 0 of the balanced fit | specs/probing.md 4.5 |
| `surprise` | log loss | (families, m, folds) | mean weighted log loss there, nats | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from unweave.probing.families import (
    FAMILIES,
    Block,
    Fitted,
    company,
    exchanged,
    fitted,
    least_squares,
    nested,
    telescope,
)  # fmt: skip
from unweave.probing.screening import WIDTH, Screens, Task, gathered, pools, screens_together
from unweave.tensors.logistic import Optimum, balanced_weights, designs
from unweave.tensors.splits import Grouping, grouped_folds

FOLDS = 3
AUTO: tuple[str, ...] = ("std_mean_diff", "least_squares", "telescope", "swap")
"""The families that `auto` chooses from."""
MOST_BYTES = 1 << 28
"""Of the designs that are held at once."""
MOST_ROWS = 4500
"""Rows that a search looks at."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Chosen:
    """Supports for every k and labelling, and by which selector."""

    supports: Mapping[int, Int[Tensor, "m k"]]
    """Columns of the matrix, the largest coefficient first (or the best rank)."""
    by: Mapping[int, tuple[str, ...]]
    """The selector of each labelling."""


def search(
    rows: Float[Tensor, "n d"],
    labellings: Bool[np.ndarray, "m n"],
    groups: Grouping,
    ks: Sequence[int],
    *,
    selector: str,
    lam: float,
    seed: int,
) -> Chosen:
    """Supports from the training rows for every labelling, by a family or by `auto`.

    Args:
        rows: Training rows.
        labellings: The true labels and shuffles, one a row; the first decides the inner folds.
        groups: Of the training rows.
        ks: Numbers of units; those beyond the columns that vary are left out.
        selector: "auto" or a name in `FAMILIES`.
        lam: Ridge penalty.
        seed: Of the inner folds and of the rows that the search looks at.
    """
    folds = inner_folds(labellings[0], groups, selector, seed)
    task = Task(place=np.arange(len(rows)), labellings=labellings, folds=folds)
    (found,) = screens_together(rows, [task])
    return searched(rows, task, found, ks, selector=selector, lam=lam, seed=seed)


def inner_folds(labels: Bool[np.ndarray, " n"], groups: Grouping, selector: str, seed: int) -> Int[np.ndarray, " n"]:
    """The folds on which `auto` compares families; none for the families themselves."""
    if selector != "auto":
        return np.zeros(len(labels), dtype=np.int64)
    return grouped_folds(groups, np.stack([labels, ~labels], 1).astype(float), count=FOLDS, seed=seed)


def searched(
    rows: Float[Tensor, "n d"], task: Task, found: Screens, ks: Sequence[int], *, selector: str, lam: float, seed: int
) -> Chosen:
    """As `search`, for a feature whose screens are there already."""
    usable = int(found.live.sum())
    wanted = [k for k in ks if k <= usable]
    if not wanted:
        return Chosen(supports={}, by={})
    width = min(usable, max(WIDTH, 2 * max(wanted)))
    few = _few(task.labellings[0], seed)
    problems = found.strength.shape[1]
    at_once = max(1, MOST_BYTES // (8 * problems * (width + 1) * len(few)))
    parts = []
    for first in range(0, len(task.labellings), at_once):
        chosen = task.labellings[first : first + at_once]
        screened = torch.cat([pools(found, first + number, width) for number in range(len(chosen))])
        looked = Task(place=task.place[few], labellings=chosen[:, few], folds=task.folds[few])
        parts.append(_block(rows, looked, found, screened, wanted, (selector, lam)))
    return Chosen(
        supports={k: torch.cat([part.supports[k] for part in parts]) for k in wanted},
        by={k: sum((part.by[k] for part in parts), ()) for k in wanted},
    )


def _few(labels: Bool[np.ndarray, " n"], seed: int) -> Int[np.ndarray, " r"]:
    """The rows a search looks at: all, or a draw of `MOST_ROWS` with the same share of positives."""
    if len(labels) <= MOST_ROWS:
        return np.arange(len(labels))
    rng = np.random.default_rng([seed, 9])
    hits = max(1, min(int(labels.sum()), round(MOST_ROWS * float(labels.mean()))))
    chosen = [
        rng.permutation(np.flatnonzero(members))[:count]
        for members, count in ((labels, hits), (~labels, MOST_ROWS - hits))
    ]
    return np.sort(np.concatenate(chosen))


def _block(
    rows: Tensor, task: Task, found: Screens, screened: Tensor, ks: Sequence[int], how: tuple[str, float]
) -> Chosen:
    """A few labellings: their problems share the gathered columns."""
    selector, lam = how
    labellings = task.labellings
    columns = torch.unique(screened)
    standard = gathered(rows, columns, found, torch.from_numpy(task.place))
    pool = torch.searchsorted(columns, screened)
    problems = len(pool) // len(labellings)
    signs = torch.from_numpy(np.where(labellings, 1.0, -1.0)).float().repeat_interleave(problems, dim=0)
    used = torch.ones(problems, len(task.place), dtype=torch.bool)
    for fold in range(problems - 1):
        used[fold] = torch.from_numpy(task.folds != fold)
    used = used.repeat(len(labellings), 1)
    block = Block(
        design=designs(standard[:-1], pool, dtype=torch.float32),
        signs=signs,
        weights=balanced_weights(signs.double(), used).float(),
        lam=lam,
    )
    proposed = [FAMILIES[selector](block, ks)] if selector != "auto" else [
        nested(block, ks), least_squares(block, ks), telescope(block, ks)
    ]  # fmt: skip
    supports: dict[int, Tensor] = {}
    by: dict[int, tuple[str, ...]] = {}
    for k in ks:
        tried = _fitted(block, torch.stack([family[k] for family in proposed]))
        if selector != "auto":
            best, names = torch.zeros(len(labellings), dtype=torch.int64), (selector,)
        else:
            tried.append(_improved(block, tried, company(block, proposed[1:], ks)))
            best, names = _judged(block, used, tried, problems), AUTO
        last = range(problems - 1, len(pool), problems)
        ordered = torch.stack([_by_size(tried[family], row) for family, row in zip(best.tolist(), last, strict=True)])
        supports[k] = screened[problems - 1 :: problems].gather(1, ordered)
        by[k] = tuple(names[family] for family in best.tolist())
    return Chosen(supports=supports, by=by)


def _fitted(block: Block, places: Int[Tensor, "f p k"]) -> list[Fitted]:
    """The fits of every family; a support that several propose is fitted once."""
    families, count, _ = places.shape
    named = torch.cat([torch.arange(count).repeat(families).unsqueeze(1), places.flatten(0, 1).sort(1).values], 1)
    distinct, which = torch.unique(named, dim=0, return_inverse=True)
    fits = fitted(block, distinct[:, 0], distinct[:, 1:])
    return [
        Fitted(
            support=distinct[of, 1:],
            fit=Optimum(beta=fits.beta[of], scores=fits.scores[of], loss=fits.loss[of], steps=fits.steps),
        )
        for of in which.reshape(families, count)
    ]


def _improved(block: Block, tried: Sequence[Fitted], rest: Tensor) -> Fitted:
    """The best of the families by training loss in each problem, improved by exchanges."""
    best = torch.stack([one.fit.loss for one in tried]).argmin(0)
    every = torch.arange(len(best))
    support, beta, scores, loss = (
        torch.stack(parts)[best, every]
        for parts in zip(*((one.support, one.fit.beta, one.fit.scores, one.fit.loss) for one in tried), strict=True)
    )
    return exchanged(block, support, Optimum(beta=beta, scores=scores, loss=loss, steps=0), rest)


def _by_size(found: Fitted, row: int) -> Int[Tensor, " k"]:
    """The columns of a support, the largest coefficient first."""
    return found.support[row, torch.argsort(-found.fit.beta[row, :-1].abs(), stable=True)]


def _judged(block: Block, used: Tensor, tried: Sequence[Fitted], problems: int) -> Int[Tensor, " m"]:
    """For each labelling which family does best on rows its problems did not see; where nothing was held out, because
    there is a single group, the training loss decides.
    """
    if problems == 1:
        return torch.stack([one.fit.loss for one in tried]).argmin(0)
    folds = torch.arange(len(used)).reshape(-1, problems)[:, :-1]
    unseen, positive = ~used[folds], block.signs[folds] > 0
    hits = (positive & unseen).sum(2)
    score, surprise = [], []
    for one in tried:
        scores = one.fit.scores[folds]
        called = (scores > 0) & unseen
        score.append(2 * (called & positive).sum(2) / (called.sum(2) + hits).clamp_min(1))
        surprise.append(-(logsigmoid(block.signs[folds] * scores) * unseen).sum(2) / unseen.sum(2).clamp_min(1))
    return winners(torch.stack(score).double(), torch.stack(surprise).double())


def winners(score: Float[Tensor, "f m q"], surprise: Float[Tensor, "f m q"]) -> Int[Tensor, " m"]:
    """The family with the best mean score over folds; of those within a standard error of the difference, the one with
    the lowest mean surprise, ties to the earlier.
    """
    mean = score.mean(2)
    top = mean.argmax(0)
    best = score[top, torch.arange(score.shape[1])]
    behind = best.unsqueeze(0) - score
    error = behind.std(2) / score.shape[2] ** 0.5 if score.shape[2] > 1 else torch.zeros_like(mean)
    close = behind.mean(2) <= error + 1e-12
    return torch.where(close, surprise.mean(2), torch.inf).argmin(0)
