"""A trained model handed over to the other methods: its latents, with the words that made them, as a world whose true
dictionary is known; and the geometry of the same words in another set of vectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from unweave.errors import DataError
from unweave.superposition.autoencoder import Autoencoder
from unweave.superposition.clusters import ppmi_vectors
from unweave.superposition.dataset import as_dataset
from unweave.superposition.krylov import WORDS
from unweave.superposition.moments import covariance_of
from unweave.tensors.multiplicity import rank_p
from unweave.worlds.correlated import World


def as_world(model: Autoencoder, rows: Any, *, split: str = "all") -> World:
    """The latents of a model as a world: `x` are latents (n, m), `latent` is the presence of every word (n, V), and
    `features` are what words write (V, m).

    Args:
        model: A fitted model.
        rows: The bags it was fitted on.
        split: Which windows.

    Example:
        >>> from unweave.superposition.linear import closed_form
        >>> x = np.eye(3)[np.arange(30) % 3] + np.eye(3)[np.arange(30) % 2]
        >>> found = as_world(closed_form(x, width=2), x)
        >>> found.x.shape, found.latent.shape, found.features.shape
        ((30, 2), (30, 3), (3, 2))
    """
    data = as_dataset(rows)
    x = data.take(data.split(split), "float64")
    latent = np.asarray(model.encode(x), dtype=np.float64)
    return World(
        kind=f"superposition of {len(model.vocab)} words in {model.width} dimensions", x=latent, latent=x,
        features=model.weight.T.astype(np.float64), sigma=np.cov(latent.T, bias=True).reshape(model.width, -1),
        order=(), groups=np.full(len(model.vocab), -1), names=tuple(model.vocab), seed=model.seed or 0,
    )  # fmt: skip


def compare_geometry(
    model: Autoencoder, vectors: Mapping[str, Any], rows: Any, *, draws: int = 200, seed: int = 0
) -> list[dict[str, Any]]:
    """How far the cosines between words agree with those in another set of vectors, such as a language model's token
    embeddings: of the model, and of the data's correlations and PPMI vectors as nulls.

    Args:
        model: A fitted model.
        vectors: Word -> vector.
        rows: The bags it was fitted on.
        draws: Permutations of the words, for the p-value.
        seed: Of the permutations.

    Returns:
        A row for `model`, `correlation` and (up to 8,000 words) `ppmi`: Pearson correlation of the off-diagonal
        cosines, linear CKA, p.

    Raises:
        DataError: Fewer than five words in common.

    Example:
        >>> from unweave.superposition.linear import closed_form
        >>> x = np.eye(8)[np.arange(64) % 8] + np.eye(8)[(np.arange(64) + 1) % 8]
        >>> model = closed_form(x, width=3)
        >>> own = {str(place): model.weight[:, place] for place in range(8)}
        >>> round(compare_geometry(model, own, x)[0]["correlation"], 6)
        1.0
    """
    data = as_dataset(rows)
    place = {word: number for number, word in enumerate(model.vocab)}
    indices = data.split("train")
    shared = [word for word in vectors if word in place]
    covariance = covariance_of(data, indices, [place[word] for word in shared])
    varies = np.diag(covariance) > 0
    words = [word for word, one in zip(shared, varies, strict=True) if one]
    covariance = covariance[np.ix_(varies, varies)]
    if len(words) < 5:
        raise DataError(f"{len(words)} words are in both: five or more are needed")
    columns = [place[word] for word in words]
    other = _gram(np.stack([np.asarray(vectors[word], dtype=np.float64) for word in words]))
    spread = np.sqrt(np.diag(covariance))
    grams = {
        "model": _gram(model.weight[:, columns].T.astype(np.float64)),
        "correlation": covariance / np.outer(spread, spread),
    }
    if len(data.vocab) <= WORDS:
        grams["ppmi"] = _gram(ppmi_vectors(data, model.width)[columns])
    rng = np.random.default_rng([29, seed])
    orders = [rng.permutation(len(words)) for _ in range(draws)]
    found = []
    for name, gram in grams.items():
        real = _agreement(gram, other)
        chance = [_agreement(gram[np.ix_(order, order)], other) for order in orders]
        found.append(
            {
                "vectors": name,
                "correlation": real,
                "cka": _cka(gram, other),
                "words": len(words),
                "p_value": rank_p(real, chance),
            }
        )
    return found


def _gram(rows: np.ndarray) -> np.ndarray:
    centred = rows - rows.mean(0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 0)
    return unit @ unit.T


def _agreement(one: np.ndarray, two: np.ndarray) -> float:
    upper = np.triu_indices(len(one), 1)
    return float(np.corrcoef(one[upper], two[upper])[0, 1])


def _cka(one: np.ndarray, two: np.ndarray) -> float:
    middle = np.eye(len(one)) - 1 / len(one)
    a, b = middle @ one @ middle, middle @ two @ middle
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))
