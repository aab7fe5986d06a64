"""How far a word can be read from the latent by a line, and the regime that follows.

    R2_lin,i = 1 - E (x_i - a_i - beta_i' h)^2 / Var x_i,    beta_i = (S_h + r I)^-1 Q_i

Coefficients come from training moments, the ridge from validation moments, the score from held-out ones.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `beta` | beta_i | (m, V) | best linear read-out of each word | specs/superposition.md, 5.5 |
| `ridge` | r | scalar | share of the mean latent variance | same |
| `tau` | tau | scalar | R2 from which a word counts as read | same |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from unweave.superposition.passes import LatentMoments

RIDGES = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
REGIMES = ("linear", "nonlinear", "unresolved", "constant")
TAUS = tuple(round(0.05 * step, 2) for step in range(1, 20))


def linear_r2(
    train: LatentMoments, choose: LatentMoments, score: LatentMoments
) -> tuple[Float[np.ndarray, " v"], float]:
    """(R2 of each word, the ridge that was chosen); NaN for words that do not vary where it is scored.

    Args:
        train: Moments that give the coefficients.
        choose: Moments on which the ridge is chosen.
        score: Moments on which R2 is taken.
    """
    scale = float(np.trace(train.latent_cov)) / len(train.latent_cov)
    values, turn = np.linalg.eigh(train.latent_cov)
    rotated = turn.T @ train.cross
    best, chosen, least = np.zeros_like(train.cross), RIDGES[0], np.inf
    for ridge in RIDGES:
        beta = turn @ (rotated / (np.maximum(values, 0) + ridge * scale + 1e-300)[:, None])
        error = float(_errors(beta, train, choose).sum())
        if error < least:
            best, chosen, least = beta, ridge, error
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = 1 - _errors(best, train, score) / score.variance
    return np.where(score.variance > 0, r2, np.nan), chosen


def _errors(beta: np.ndarray, train: LatentMoments, on: LatentMoments) -> np.ndarray:
    """Mean squared error of each read-out from second moments alone."""
    shift = on.mean - train.mean - beta.T @ (on.latent_mean - train.latent_mean)
    explained = 2 * np.einsum("mv,mv->v", beta, on.cross) - np.einsum("mv,mv->v", beta, on.latent_cov @ beta)
    return on.variance - explained + shift**2


def regime_of(r2_linear: Any, r2_context: Any, tau: float) -> list[str]:
    """`linear`: a line reads it; `nonlinear`: only the model does; `unresolved`: neither; `constant`: it does not vary.

    Example:
        >>> regime_of([0.6, 0.2, 0.2, float("nan")], [0.7, 0.8, 0.1, float("nan")], 0.5)
        ['linear', 'nonlinear', 'unresolved', 'constant']
    """
    return [
        "constant"
        if np.isnan(context)
        else "linear"
        if line >= tau
        else "nonlinear"
        if context >= tau
        else "unresolved"
        for line, context in zip(r2_linear, r2_context, strict=True)
    ]


def counts_over_tau(r2_linear: Any, r2_context: Any, taus: Sequence[float] = TAUS) -> list[dict[str, Any]]:
    """How many words are in each regime, for every threshold."""
    return [
        {"tau": tau} | {name: found.count(name) for name in REGIMES}
        for tau in taus
        for found in [regime_of(r2_linear, r2_context, tau)]
    ]
