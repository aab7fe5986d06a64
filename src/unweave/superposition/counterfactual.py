"""What correlation does: the same word in contexts whose words occur as often but not together.

Every context column is permuted on its own, so frequencies stay and correlations go; the word itself keeps its windows.
One permuted table serves all words: only a word's own column is put back.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `shuffled` | x~ | (n, V) | each column permuted over the windows | specs/superposition.md, 5.4 |
| `sums` | z_i | (n, V) | `z~_i - G_ii x~_i + G_ii x_i` | same |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from unweave.errors import InputError
from unweave.superposition.autoencoder import Autoencoder, activate
from unweave.superposition.dataset import Dataset

MOST_ROWS = 1500


@dataclass(frozen=True, eq=False, kw_only=True)
class Shuffled:
    """Means over draws, shuffled minus real, a word each; NaN for words that do not vary."""

    mse: Float[np.ndarray, " v"]
    """Change of squared error: positive where the real correlations help."""
    r2: Float[np.ndarray, " v"]
    false_negatives: Float[np.ndarray, " v"]
    """Change of the share of windows with the word whose sum is not above 0."""
    false_positives: Float[np.ndarray, " v"]
    lift_mean: Float[np.ndarray, " v"]
    """Lift in shuffled contexts: its null."""
    lift_sd: Float[np.ndarray, " v"]
    draws: int
    rows: int


def shuffle_contexts(
    model: Autoencoder, data: Dataset, indices: np.ndarray, *, draws: int = 10, seed: int = 0
) -> Shuffled:
    """The correlation-shuffle counterfactual of every word.

    Args:
        model: A model whose latent has no nonlinearity.
        data: Windows.
        indices: Which of them; of more than 1,500 an even part is taken.
        draws: Permutations.
        seed: Of the permutations.

    Raises:
        InputError: A nonlinear latent: a word's own part cannot be put back there.
    """
    if model.latent != "identity":
        raise InputError("the model has a ReLU on its latent: contexts are shuffled for latent='identity' only")
    chosen = indices[np.linspace(0, len(indices) - 1, min(len(indices), MOST_ROWS)).astype(int)]
    x = data.take(chosen, str(model.weight.dtype))
    own = model.self_weight.astype(x.dtype)
    rng = np.random.default_rng([9, seed])
    columns = np.ascontiguousarray(x.T)
    real = _scores(model, model.sums(x), x, own)
    drawn = []
    for _ in range(draws):
        shuffled = np.ascontiguousarray(rng.permuted(columns, axis=1).T)
        sums = model.sums(shuffled) - own * shuffled + own * x
        drawn.append(_scores(model, sums, x, own))
    stacked = np.stack(drawn)
    change = stacked.mean(0) - real
    variance = x.var(0, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(variance > 0, -change[0] / variance, np.nan)
    return Shuffled(
        mse=np.where(variance > 0, change[0], np.nan), r2=r2, false_negatives=change[1], false_positives=change[2],
        lift_mean=stacked[:, 3].mean(0),
        lift_sd=stacked[:, 3].std(0, ddof=1) if draws > 1 else np.full(len(own), np.nan),
        draws=draws, rows=len(x),
    )  # fmt: skip


def _scores(model: Autoencoder, sums: np.ndarray, x: np.ndarray, own: np.ndarray) -> Float[np.ndarray, "4 v"]:
    """Squared error, shares of false negatives and positives, lift."""
    error = np.square(activate(sums, model.activation) - x).mean(0, dtype=np.float64)
    there = x.sum(0, dtype=np.float64)
    missing = len(x) - there
    interference = sums - model.bias - own * x
    inner = (interference * x).sum(0, dtype=np.float64)
    above = sums > 0
    hits = (above * x).sum(0, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        lift = inner / there - (interference.sum(0, dtype=np.float64) - inner) / missing
        return np.stack([error, 1 - hits / there, (above.sum(0) - hits) / missing, lift])
