"""How well a model reconstructs some windows, as two numbers: squared error a word, and the share of variance."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from unweave.superposition.autoencoder import Autoencoder, activate
from unweave.superposition.dataset import Dataset
from unweave.superposition.moments import chunks


def errors_of(model: Autoencoder, data: Dataset, indices: np.ndarray) -> tuple[float, float]:
    """(squared error, mean over windows and words; 1 - summed squared error over summed variance)."""
    error = total = 0.0
    sums = np.zeros(len(data.vocab))
    for _, x in chunks(data, indices, dtype=str(model.weight.dtype)):
        with np.errstate(over="ignore", invalid="ignore"):  # of a model that diverged
            error += float(np.square(activate(model.sums(x), model.activation) - x).sum(dtype=np.float64))
        total += float(np.square(x).sum(dtype=np.float64))
        sums += x.sum(0, dtype=np.float64)
    variance = total - float(np.square(sums).sum()) / max(1, len(indices))
    return error / (len(indices) * len(sums)), 1 - error / variance if variance > 0 else float("nan")


def rank_of(weight: Float[np.ndarray, "m v"]) -> int:
    """Singular values above rounding."""
    gram = weight.astype(np.float64) @ weight.T
    values = np.linalg.eigvalsh(gram)
    top = max(float(values[-1]), 0.0)
    return int((values > top * max(weight.shape) * np.finfo(weight.dtype).eps).sum()) if top else 0
