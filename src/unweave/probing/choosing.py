"""Which units a probe may use: every selector under its name, from the training rows alone.

A selector is a ranking (`ranking.SELECTORS` and `paths.PATHS`: a score a column, supports nested), a family of supports
found by a search (`families.FAMILIES`), `exact`, which proves the best support where there are few enough, `random`, or
`auto`, which chooses a family for each k on inner folds.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweave.probing.auto import Chosen, search
from unweave.probing.exact import best_subset
from unweave.probing.families import FAMILIES
from unweave.probing.paths import PATHS
from unweave.probing.ranking import LIVE, SELECTORS, best_columns, deviations, scores_and_live
from unweave.probing.screening import screens
from unweave.tensors.splits import Grouping

NAMES: tuple[str, ...] = ("auto", *SELECTORS, *PATHS, *FAMILIES, "exact", "random")
"""Every selector."""
SCREEN = 50
"""Columns among which `exact` proves its supports."""
MOST_SUPPORTS = 20_000
"""`exact` looks through all supports of a size if there are no more than this, and searches beyond."""


def choose(
    rows: Float[Tensor, "n d"],
    labellings: Bool[np.ndarray, "m n"],
    groups: Grouping,
    ks: tuple[int, ...],
    *,
    selector: str,
    lam: float,
    seed: int,
) -> Chosen:
    """Supports for every labelling at every k that the columns allow.

    Args:
        rows: Training rows.
        labellings: The true labels and shuffles, one a row.
        groups: Of the training rows.
        ks: Numbers of units, increasing.
        selector: A name in `NAMES`.
        lam: Ridge penalty of the probes.
        seed: Of inner folds.
    """
    masks = torch.from_numpy(labellings.T.astype(np.float64))
    if selector in SELECTORS:
        return ranked(*scores_and_live(rows, masks, torch.ones_like(masks), selector), ks, selector)
    if selector in PATHS:
        found = screens(rows, labellings, np.zeros(len(rows), dtype=np.int64))
        strength = PATHS[selector](rows, labellings, found, lam, max(ks))
        return ranked(strength, found.live.expand(len(strength), -1), ks, selector)
    if selector == "random":
        live = (deviations(rows, torch.ones_like(masks[:, :1])) >= LIVE).expand(len(labellings), -1)
        drawn = torch.from_numpy(np.random.default_rng([seed, 6]).random(tuple(live.shape)))
        return ranked(drawn, live, ks, selector)
    if selector == "exact":
        return _proven(rows, labellings, search(rows, labellings, groups, ks, selector="swap", lam=lam, seed=seed), lam)
    return search(rows, labellings, groups, ks, selector=selector, lam=lam, seed=seed)


def _proven(rows: Tensor, labellings: np.ndarray, searched: Chosen, lam: float) -> Chosen:
    """The best support among the screened columns where all can be looked through, what the search found elsewhere."""
    supports, by = dict(searched.supports), dict(searched.by)
    for k in searched.supports:
        if math.comb(SCREEN, k) <= MOST_SUPPORTS:
            found = [best_subset(rows, labels, k, screen=SCREEN, lam=lam, time_limit=math.inf) for labels in labellings]
            supports[k], by[k] = torch.tensor([one.support for one in found]), ("exact",) * len(found)
    return Chosen(supports=supports, by=by)


def ranked(scores: Float[Tensor, "m d"], live: Bool[Tensor, "m d"], ks: tuple[int, ...], name: str) -> Chosen:
    """The nested supports of a ranking."""
    order = best_columns(scores, live, max(ks))
    fitting = [k for k in ks if k <= order.shape[1]]
    return Chosen(supports={k: order[:, :k] for k in fitting}, by={k: (name,) * len(order) for k in fitting})
