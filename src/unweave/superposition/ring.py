"""Whether a group of words lies on a ring in its order, against chance.

    rho = 2 lambda_1 / tr K,    lambda_1 = sum_d g_d cos(2 pi d / c),    g_d = mean_i K_{i, i+d}

K is the Gram matrix of the centred vectors. rho is 1 for a regular polygon in order; over random orders its mean is
2 / (c - 1). Where no order is given the best one in the plane of the two largest components is scored, and the null
searches in the same way.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `points` | v_i | (c, k) | centred vectors | specs/superposition.md, 5.8 |
| `rho` | rho | scalar | share of the spread that the first harmonic of the order explains | same |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from unweave.errors import DataError, InputError
from unweave.superposition.autoencoder import Autoencoder
from unweave.superposition.dataset import Dataset
from unweave.superposition.moments import chunks
from unweave.tensors.multiplicity import rank_p

DRAWS, SEARCH_DRAWS = 9_999, 999


@dataclass(frozen=True, eq=False, kw_only=True)
class Ring:
    """How much of a ring a group is."""

    value: float
    """rho, 1 for a regular polygon."""
    null_mean: float
    """Mean over chance: 2 / (c - 1) for a given order."""
    null_95: float
    """95 % quantile of chance."""
    p_value: float
    words: tuple[str, ...]
    order: tuple[int, ...]
    """The order that was scored."""
    cosine_by_distance: Float[np.ndarray, " k"]
    """Mean cosine of the centred vectors at cyclic distance 1, 2, ..."""
    plane: Float[np.ndarray, "c 2"]
    """Coordinates in the two largest components."""
    n: int
    """Words."""

    @property
    def order_found(self) -> bool:
        """Whether the angles in the plane follow the order, up to where it starts and which way it goes round."""
        return same_cycle(angle_order(self.plane), self.order)

    def __repr__(self) -> str:
        """Value, null and chance."""
        return f"Ring(rho {self.value:.3f}, chance {self.null_mean:.3f}, p={self.p_value:.3g}, {self.n} words)"


def ring(
    vectors: Any,
    group: Sequence[str] | None = None,
    *,
    ordered: bool = True,
    normalise: bool = True,
    draws: int = DRAWS,
    seed: int = 0,
) -> Ring:
    """The ring score of a group.

    Args:
        vectors: A model, whose columns of the group's words are taken, or an array (c, k) of vectors in order.
        group: The words, in order; those that the model lacks or that never occur are left out.
        ordered: Whether the order is given; if not, the best one is sought, in the null too.
        normalise: Whether vectors are brought to length 1 first.
        draws: Permutations; of a search at most 999.
        seed: Of the permutations.

    Raises:
        DataError: Fewer than three words.
        InputError: No group for a model, or an array that is no matrix.

    Example:
        >>> angles = 2 * np.pi * np.arange(12) / 12
        >>> found = ring(np.stack([np.cos(angles), np.sin(angles)], 1), draws=199)
        >>> round(found.value, 6), round(found.null_mean, 3), found.order_found
        (1.0, 0.182, True)
    """
    if isinstance(vectors, Autoencoder):
        if group is None:
            raise InputError("a model is given without a group: name its words in order")
        found, words = columns_of(vectors, group)
    else:
        found = np.asarray(vectors, dtype=np.float64)
        if found.ndim != 2:
            raise InputError(f"vectors have shape {found.shape}: one row a word is needed")
        words = [str(number) for number in range(len(found))] if group is None else [str(word) for word in group]
    count = len(found)
    if count < 3:
        raise DataError(f"{count} words of the group are there: a ring needs three or more")
    if normalise:
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        found = np.divide(found, lengths, out=np.zeros_like(found), where=lengths > 0)
    points = found - found.mean(0)
    total = float(np.square(points).sum())
    if total <= 1e-20:
        raise DataError("the vectors of the group are all the same: nothing to order")
    rng = np.random.default_rng([13, seed])
    plane = _plane(points)
    order = np.arange(count) if ordered else angle_order(plane)
    value = float(_rho(points, order[None])[0])
    if ordered:
        null = _rho(points, np.argsort(rng.random((draws, count)), axis=1))
        mean = 2 / (count - 1)
    else:
        null = _searched(points, rng, min(draws, SEARCH_DRAWS))
        mean = float(null.mean())
    return Ring(
        value=value, null_mean=mean, null_95=float(np.quantile(null, 0.95)),
        p_value=rank_p(value, null), words=tuple(words),
        order=tuple(order.tolist()), cosine_by_distance=_by_distance(points[order]), plane=plane, n=count,
    )  # fmt: skip


def columns_of(model: Autoencoder, group: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Columns of the words of a group that a model has and that carry weight, a row each."""
    place = {word: number for number, word in enumerate(model.vocab)}
    words = [word for word in group if word in place and np.abs(model.weight[:, place[word]]).max() > 1e-12]
    return model.weight[:, [place[word] for word in words]].T.astype(np.float64), words


def data_ring_vectors(data: Dataset, group: Sequence[str], split: str = "train") -> tuple[np.ndarray, list[str]]:
    """Vectors of a group's words in the data alone: presence in the windows with at least one of them, the mean of each
    window taken off so that how many there are does not count.

    Args:
        data: Bags.
        group: Words in order.
        split: Which windows.
    """
    place = {word: number for number, word in enumerate(data.vocab)}
    words = [word for word in group if word in place]
    columns = [place[word] for word in words]
    if len(words) < 3:
        return np.zeros((0, 0)), []
    found = [part[:, columns][part[:, columns].any(1)] for _, part in chunks(data, data.split(split), dtype="float64")]
    rows = np.concatenate(found)
    kept = np.flatnonzero(rows.any(0)) if len(rows) else np.arange(0)
    rows = rows[:, kept]
    rows = rows - rows.mean(1, keepdims=True) if rows.size else rows
    values, vectors = np.linalg.eigh(rows.T @ rows) if rows.size else (np.zeros(0), np.zeros((0, 0)))
    return vectors * np.sqrt(np.maximum(values, 0)), [words[number] for number in kept]


def angle_order(plane: Any) -> np.ndarray:
    """Points of a plane by their angle."""
    return np.argsort(np.arctan2(plane[:, 1], plane[:, 0]), kind="stable")


def same_cycle(first: Any, second: Any) -> bool:
    """Whether two orders are one up to where they start and which way they go round.

    Example:
        >>> same_cycle([2, 3, 0, 1], [0, 3, 2, 1]), same_cycle([0, 2, 1, 3], [0, 1, 2, 3])
        (True, False)
    """
    one, two = list(first), list(second)
    return any(
        turned == one for way in (two, two[::-1]) for start in range(len(two)) for turned in [way[start:] + way[:start]]
    )


def _rho(points: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """rho of each order: word orders[b, i] stands at place i."""
    count = len(points)
    angles = 2 * np.pi * np.arange(count) / count
    turn = np.stack([np.cos(angles), np.sin(angles)])
    at = np.argsort(orders, axis=1)  # place of each word
    sums = np.square(turn[:, at] @ points).sum((0, 2))
    return 2 * sums / count / np.square(points).sum()


def _searched(points: np.ndarray, rng: np.random.Generator, draws: int) -> np.ndarray:
    """Best orders of random vectors with the same spectrum."""
    count = len(points)
    sizes = np.linalg.svd(points, compute_uv=False)[: count - 1]
    found = []
    for _ in range(draws):
        raw = rng.standard_normal((count, count - 1))
        basis, _ = np.linalg.qr(raw - raw.mean(0))
        drawn = basis[:, : len(sizes)] * sizes
        found.append(_rho(drawn, angle_order(drawn[:, :2])[None])[0])
    return np.array(found)


def _plane(points: np.ndarray) -> np.ndarray:
    left, sizes, _ = np.linalg.svd(points, full_matrices=False)
    flat = left[:, :2] * sizes[:2]
    return flat if flat.shape[1] == 2 else np.pad(flat, ((0, 0), (0, 1)))


def _by_distance(points: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    unit = np.divide(points, lengths, out=np.zeros_like(points), where=lengths > 0)
    cosines = unit @ unit.T
    count = len(points)
    return np.array([np.mean([cosines[i, (i + d) % count] for i in range(count)]) for d in range(1, count // 2 + 1)])
