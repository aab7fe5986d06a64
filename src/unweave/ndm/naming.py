"""What a block encodes, by known features: decoded on held-out documents, and beside it what shuffled labels, a random
block of the same size and the rest of the space give.

The decoder is a ridge discriminant in closed form, so that many blocks and features cost little; scores are areas
under the curve, and the difference to the random blocks carries an interval over documents.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `weights` | (S_w + r I)^-1 (m_1 - m_0) | (k,) | discriminant on the block coordinates; r is 1e-3 of the mean variance | Fisher 1936 with a ridge |
| `influence` | V10 - A, V01 - A | (g,) | placements minus AUC, summed by document | Obuchowski 1997, eq. 3 |
| `agreement` | share of neighbours with equal label | scalar | nearest of other documents; its base rate is p^2 + (1 - p)^2 | specs/ndm.md, section 10 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unweave.errors import DataError, InputError
from unweave.features.featurizer import Featurizer, block_slices
from unweave.features.neurons import as_affine
from unweave.tensors.arrays import as_tensor
from unweave.tensors.estimate import Estimate
from unweave.tensors.scores import auc
from unweave.tensors.splits import grouped_split, grouping

RIDGE = 1e-3
NEIGHBORS = 10
QUERIES = 500
SHUFFLES = 20
LEAST = 10
"""Positives and negatives that a feature needs on either side."""


@dataclass(frozen=True, eq=False, kw_only=True)
class BlockLabel:
    """How much one block tells of one feature."""

    block: int
    feature: str
    decode: float
    """AUC on held-out documents."""
    difference: Estimate
    """AUC minus that of random blocks of the same size, with an interval over documents."""
    shuffled: float
    """Mean AUC with labels shuffled over the training rows."""
    complement: float | None
    """AUC from all other blocks together; None if there is no other."""
    agreement: float | None
    """Share of the nearest rows of other documents that have the query's label; None if none is labelled."""
    base: float
    """The same for rows drawn at random."""
    verdict: str
    """`encodes`, `does not`, or `unclear`."""

    def row(self) -> dict[str, Any]:
        """As one row of a table."""
        return {
            "block": self.block, "feature": self.feature, "decode": self.decode,
            "difference": self.difference.value, "low": self.difference.low, "high": self.difference.high,
            "shuffled": self.shuffled, "complement": self.complement, "agreement": self.agreement,
            "base": self.base, "verdict": self.verdict,
        }  # fmt: skip


def label_blocks(
    X: Any,
    featurizer: Featurizer,
    features: Mapping[str, Any] | Sequence[Any],
    *,
    groups: Any = None,
    draws: int = 5,
    test: float = 0.3,
    seed: int = 0,
) -> list[BlockLabel]:
    """For every block and feature, whether the block encodes it.

    Args:
        X: Rows (n, d), or a column of a store.
        featurizer: With the blocks.
        features: Labelled features of the store, or a mapping from names to (n,) labels: 0, 1, or -1 where a row has
            none.
        groups: (n,) the document of each row; a column of a store brings its own.
        draws: Random blocks of each size.
        test: Share of the documents held out.
        seed: Of split, shuffles and random blocks.

    Returns:
        One `BlockLabel` for each block and feature, features with fewer than ten rows of a kind on a side left out.

    Raises:
        InputError: The width differs, or labels of another number.
        DataError: A single document.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(900, 4)); y = (X[:, 0] > 0).astype(int)
        >>> f = uw.AffineFeaturizer(read=np.eye(4), blocks=(2, 2))
        >>> [one.verdict for one in label_blocks(X, f, {"sign": y}, groups=np.arange(900) // 5)]
        ['encodes', 'does not']
    """
    store = getattr(X, "store", None)
    rows = as_tensor(X, name="X").float()
    affine = as_affine(featurizer)
    if rows.ndim != 2 or rows.shape[1] != affine.width:
        raise InputError(
            f"X has shape {tuple(rows.shape)} but the featurizer has width {affine.width}: rows of its site"
        )
    named = store.rows["document"] if groups is None and store is not None else groups
    codes = grouping(named, len(rows))
    z = (rows - affine.origin.float()) @ affine.read.float()
    slices = block_slices(featurizer)
    near = [_neighbors(z[:, block], codes.codes, seed) for block in slices]
    found = []
    for name, labels in _labels(features, len(rows)).items():
        problem = _problem(labels, codes.codes, test, seed)
        if problem is None:
            continue
        random = {size: _random_scores(z, size, problem, draws, seed) for size in sorted(set(featurizer.blocks))}
        for number, block in enumerate(slices):
            found.append(_label(number, name, z, block, problem, random[featurizer.blocks[number]], near[number], seed))
    return found


@dataclass(frozen=True, eq=False, kw_only=True)
class _Problem:
    """One feature on one split."""

    labels: Int[np.ndarray, " n"]
    train: Int[np.ndarray, " t"]
    test: Int[np.ndarray, " h"]
    codes: Int[np.ndarray, " h"]
    """Group of each held-out row, 0 to G - 1."""

    @property
    def truth(self) -> Bool[np.ndarray, " h"]:
        return self.labels[self.test] == 1


def _labels(features: Any, count: int) -> dict[str, np.ndarray]:
    if isinstance(features, Mapping):
        found = {name: np.asarray(values).astype(np.int64) for name, values in features.items()}
    else:
        found = {}
        for one in features:
            if one.level != "token":
                continue
            values = np.full(count, -1)
            values[one.index] = one.values
            found[one.name] = values
    for name, values in found.items():
        if values.shape != (count,):
            raise InputError(f"feature {name!r} has shape {values.shape} but X has {count} rows: one label a row")
    return found


def _problem(labels: np.ndarray, codes: np.ndarray, test: float, seed: int) -> _Problem | None:
    known = np.flatnonzero(labels >= 0)
    own = grouping(codes[known], len(known))
    if own.count < 2:
        raise DataError("all labelled rows are of one document: a held-out test needs at least two")
    held = grouped_split(own, np.stack([labels[known] == 1, labels[known] == 0], 1).astype(float), test=test, seed=seed)
    counts = [int((labels[known][side] == kind).sum()) for side in (held, ~held) for kind in (0, 1)]
    if min(counts) < LEAST:
        return None
    return _Problem(
        labels=labels,
        train=known[~held],
        test=known[held],
        codes=grouping(own.codes[held], int(held.sum())).codes,
    )


def _label(
    number: int, name: str, z: Tensor, block: slice, problem: _Problem, random: Tensor, near: np.ndarray, seed: int
) -> BlockLabel:
    own = _Discriminant(z[:, block], problem)
    scores = own.scores(problem.labels)
    others = torch.cat([z[:, : block.start], z[:, block.stop :]], 1)
    truth = problem.truth
    difference = _difference(truth, scores, random.numpy(), problem.codes, seed)
    value = auc(truth, scores)
    known = problem.labels >= 0
    rate = float((problem.labels[known] == 1).mean())
    return BlockLabel(
        block=number,
        feature=name,
        decode=value,
        difference=difference,
        shuffled=float(np.mean([auc(truth, one) for one in own.shuffled(seed)])),
        complement=auc(truth, _Discriminant(others, problem).scores(problem.labels)) if others.shape[1] else None,
        agreement=_agreement(near, problem.labels),
        base=rate**2 + (1 - rate) ** 2,
        verdict=_verdict(value, difference, truth, scores, problem.codes),
    )


def _verdict(value: float, difference: Estimate, truth: np.ndarray, scores: np.ndarray, codes: np.ndarray) -> str:
    if difference.low > 0:
        return "encodes"
    error = _spread(_influence(truth, scores, codes))
    return "does not" if value - 1.96 * error <= 0.5 else "unclear"


class _Discriminant:
    """Ridge discriminants of the training rows of a problem: moments once, then as many labellings as are asked."""

    def __init__(self, values: Tensor, problem: _Problem) -> None:
        """Takes the moments about the mean of the training rows."""
        self.problem = problem
        training = values[torch.from_numpy(problem.train)].double()
        self.mean = training.mean(0)
        self.training = training - self.mean
        self.gram = self.training.T @ self.training
        self.held_out = values[torch.from_numpy(problem.test)].double() - self.mean

    def scores(self, labels: np.ndarray) -> Float[np.ndarray, " h"]:
        """Scores of the held-out rows; the scatter within classes is the whole one less that of the class means."""
        positive = torch.from_numpy(labels[self.problem.train] == 1).double()
        rows, hits = len(positive), float(positive.sum())
        sums = positive @ self.training
        above, below = sums / hits, -sums / (rows - hits)
        between = hits * torch.outer(above, above) + (rows - hits) * torch.outer(below, below)
        scatter = (self.gram - between) / rows
        ridge = RIDGE * float(scatter.diagonal().mean()) + 1e-12
        weights = torch.linalg.solve(scatter + ridge * torch.eye(len(scatter), dtype=torch.float64), above - below)
        return (self.held_out @ weights).numpy()

    def shuffled(self, seed: int) -> list[np.ndarray]:
        """Scores after labels were shuffled over the training rows; one draw alone is a random direction."""
        rng = np.random.default_rng([seed, 31])
        found = []
        for _ in range(SHUFFLES):
            labels = self.problem.labels.copy()
            labels[self.problem.train] = rng.permutation(labels[self.problem.train])
            found.append(self.scores(labels))
        return found


def _random_scores(z: Tensor, size: int, problem: _Problem, draws: int, seed: int) -> Float[Tensor, "r h"]:
    """Scores from random subspaces of this size."""
    generator = torch.Generator().manual_seed(seed * 7919 + size)
    found = []
    for _ in range(draws):
        columns = torch.linalg.qr(torch.randn(z.shape[1], size, generator=generator)).Q
        found.append(torch.from_numpy(_Discriminant(z @ columns, problem).scores(problem.labels)))
    return torch.stack(found)


def _difference(truth: np.ndarray, scores: np.ndarray, random: np.ndarray, codes: np.ndarray, seed: int) -> Estimate:
    """AUC minus the mean of the random ones, its error from the paired influence of every document."""
    theirs = [auc(truth, one) for one in random]
    value = auc(truth, scores) - float(np.mean(theirs))
    influence = _influence(truth, scores, codes) - np.mean([_influence(truth, one, codes) for one in random], axis=0)
    error = _spread(influence)
    return Estimate(
        value=value,
        low=value - 1.96 * error,
        high=value + 1.96 * error,
        n=len(truth),
        n_groups=len(influence),
        null=0.0,
        control=float(np.mean(theirs)),
        seed=seed,
    )


def _influence(truth: np.ndarray, scores: np.ndarray, codes: np.ndarray) -> Float[np.ndarray, " g"]:
    """What each document adds to the error of an AUC."""
    from scipy.stats import rankdata

    positives, negatives = int(truth.sum()), int((~truth).sum())
    ranks = rankdata(scores)
    placed = np.empty(len(truth))
    placed[truth] = (ranks[truth] - rankdata(scores[truth])) / negatives
    placed[~truth] = 1 - (ranks[~truth] - rankdata(scores[~truth])) / positives
    area = placed[truth].mean()
    weighed = np.where(truth, (placed - area) / positives, (placed - area) / negatives)
    return np.bincount(codes, weights=weighed)


def _spread(influence: np.ndarray) -> float:
    count = len(influence)
    return float(np.sqrt(np.square(influence).sum() * count / max(1, count - 1)))


def _neighbors(values: Tensor, codes: np.ndarray, seed: int) -> np.ndarray:
    """(q, 1 + k) some rows and their nearest among those of other documents."""
    rng = np.random.default_rng([seed, 32])
    asked = np.sort(rng.permutation(len(values))[:QUERIES])
    found = []
    group = torch.from_numpy(codes)
    for start in range(0, len(asked), 100):
        part = torch.from_numpy(asked[start : start + 100])
        near = torch.cdist(values[part], values)
        near[group[part][:, None] == group[None]] = torch.inf
        found.append(near.topk(min(NEIGHBORS, len(values)), largest=False).indices)
    return np.concatenate([asked[:, None], torch.cat(found).numpy()], 1)


def _agreement(near: np.ndarray, labels: np.ndarray) -> float | None:
    own, others = labels[near[:, :1]], labels[near[:, 1:]]
    known = (own >= 0) & (others >= 0)
    return float((own == others)[known].mean()) if known.any() else None
