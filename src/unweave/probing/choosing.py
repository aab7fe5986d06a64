"""Which units a probe may use: every selector under its name, from the training rows alone.

A selector is a ranking (`ranking.SELECTORS`: a score a column, supports nested), a family of supports found by a search
(`families.FAMILIES`), or `auto`, which chooses a family for each k on inner folds.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweave.probing.auto import Chosen, search
from unweave.probing.families import FAMILIES
from unweave.probing.ranking import SELECTORS, best_columns, scores_and_live
from unweave.tensors.splits import Grouping

NAMES: tuple[str, ...] = ("auto", *SELECTORS, *FAMILIES)
"""Every selector."""


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
    if selector not in SELECTORS:
        return search(rows, labellings, groups, ks, selector=selector, lam=lam, seed=seed)
    masks = torch.from_numpy(labellings.T.astype(np.float64))
    return ranked(*scores_and_live(rows, masks, torch.ones_like(masks), selector), ks, selector)


def ranked(scores: Float[Tensor, "m d"], live: Bool[Tensor, "m d"], ks: tuple[int, ...], name: str) -> Chosen:
    """The nested supports of a ranking."""
    order = best_columns(scores, live, max(ks))
    fitting = [k for k in ks if k <= order.shape[1]]
    return Chosen(supports={k: order[:, :k] for k in fitting}, by={k: (name,) * len(order) for k in fitting})
