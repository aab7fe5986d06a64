"""The measures of a partition, fitted here or anywhere: exact neighbour distances in each block, and the information
that pairs of blocks share, beside what shuffled blocks give.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `distances` | D_s | (s,) | mean distance to the nearest of N keys in a block | specs/ndm.md, section 6 |
| `effective_dimension` | (tr C)^2 / tr C^2 | scalar | effective dimension of a block with covariance C | same |
| `entropy` | d_s mean log eps | scalar | nats, up to a constant of d_s and N | same |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError
from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import Featurizer
from unweave.features.neurons import as_affine
from unweave.ndm.config import NDMConfig
from unweave.ndm.estimates import draw_sample, estimate, matrix_of, shuffled_scores
from unweave.ndm.pool import drawn_keys
from unweave.ndm.presets import settled
from unweave.ndm.result import Block
from unweave.ndm.rows import Rows, open_rows, pieces
from unweave.tensors.moments import moments
from unweave.tensors.neighbors import Exclusion, SearchOptions, block_columns, nearest_in_blocks

BUDGET = 4e9
"""Distances that `mutual_information` compares before it leaves queries out."""


@dataclass(frozen=True, eq=False, kw_only=True)
class NeighborDistance:
    """Held-out distances of a partition."""

    blocks: Float[np.ndarray, " s"]
    """Mean distance in each block."""
    unweighted: float
    """Their mean."""
    weighted: float
    """Their mean weighted by size: sum_s d_s D_s / d."""
    pool: int
    """Keys N: the distance has a meaning only beside it."""
    queries: int

    def __repr__(self) -> str:
        """Both means and the pool."""
        return f"NeighborDistance({self.unweighted:.4g}, weighted {self.weighted:.4g}, {self.pool} keys)"


@dataclass(frozen=True, eq=False, kw_only=True)
class BlockInformation:
    """What the blocks of a partition share."""

    nats: Float[np.ndarray, "s s"]
    """Mutual information, NaN on the diagonal and for pairs that were not asked for."""
    scores: Float[np.ndarray, "s s"]
    """The same in nats per dimension of the two blocks."""
    null: Float[np.ndarray, " k"]
    """Scores of blocks whose rows were shuffled."""
    tied: float
    """Share of queries whose joint distance is 0, mean over pairs."""
    keys: int
    queries: int

    def null_quantiles(self, *levels: float) -> list[float]:
        """Quantiles of the null; NaN without one."""
        return [float(np.quantile(self.null, level)) if len(self.null) else float("nan") for level in levels]

    def __repr__(self) -> str:
        """Largest score, and largest of the null."""
        finite = self.scores[np.isfinite(self.scores)]
        top = f"{finite.max():.3g}" if len(finite) else "none"
        null = f", null up to {self.null.max():.3g}" if len(self.null) else ""
        return f"BlockInformation(largest score {top}{null}, {self.keys} keys)"


def neighbor_distance(
    X: Any,
    featurizer: Featurizer,
    *,
    pool: int | None = None,
    queries: int = 4000,
    seed: int = 0,
    rows: Mapping[str, Any] | None = None,
    exclude_same: str | None = None,
    memory: str = "2GB",
) -> NeighborDistance:
    """Mean distance from random rows to their nearest neighbour among others, in every block of a partition.

    Args:
        X: Rows (n, d).
        featurizer: Affine, with the blocks.
        pool: Keys, drawn from the rows that are no queries; None takes all of them.
        queries: Rows whose neighbours are sought, at most half of all.
        seed: Of the draw.
        rows: Columns `document`, `token_id` beside the rows, for `exclude_same`.
        exclude_same: `document` or `token`: neighbours of the same one do not count.
        memory: What it may hold.

    Raises:
        InputError: The width differs, or fewer than two rows.

    Example:
        >>> X = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
        >>> neighbor_distance(X, AffineFeaturizer(read=np.eye(4), blocks=(2, 2)), queries=100)
        NeighborDistance(0.1059, weighted 0.1059, 400 keys)
    """
    options = {"exclude_same": exclude_same, "memory": memory, "seed": seed}
    config = settled(None, options)
    opened = open_rows(X, config, rows)
    keys, asked = _drawn(opened, pool, queries, seed)
    found = _block_rows(opened, config, _rotation(opened, featurizer), featurizer.blocks, keys, asked)
    sizes = np.array(featurizer.blocks)
    return NeighborDistance(
        blocks=found.means,
        unweighted=float(found.means.mean()),
        weighted=float((sizes * found.means).sum() / sizes.sum()),
        pool=len(keys),
        queries=len(asked),
    )


def mutual_information(
    X: Any,
    featurizer: Featurizer,
    *,
    pairs: Sequence[tuple[int, int]] | None = None,
    null: int = 0,
    keys: int | None = None,
    queries: int | None = None,
    resolution: float = 0.03,
    seed: int = 0,
) -> BlockInformation:
    """Mutual information between blocks of a partition, by nearest neighbours, with the scores of shuffled blocks.

    Args:
        X: Rows (n, d).
        featurizer: Affine, with the blocks.
        pairs: Which pairs of blocks; None is all.
        null: Pairs of shuffled blocks whose scores are computed.
        keys: Rows among which neighbours are counted; None is 98,304 or all there are.
        queries: Rows at which it is estimated; None is 2,000, fewer for many pairs.
        resolution: Standard deviation of Gaussian noise that hides smaller differences, in mean column deviations.
        seed: Of the draws.

    Raises:
        InputError: The width differs, or a pair of blocks that does not exist.

    Source:
        Kraskov, Stoegbauer and Grassberger 2004, equation 8; specs/ndm.md, section 4.

    Example:
        >>> X = torch.randn(600, 2, generator=torch.Generator().manual_seed(0))
        >>> twice = torch.cat([X, X], 1)
        >>> found = mutual_information(twice, AffineFeaturizer(read=np.eye(4), blocks=(1, 1, 1, 1)), null=6)
        >>> bool(found.nats[0, 2] > 2 > 10 * found.nats[0, 1]), len(found.null)
        (True, 6)
    """
    options = {"mi_keys": keys, "mi_queries": queries, "mi_resolution": resolution, "seed": seed}
    config = settled(None, options)
    opened = open_rows(X, config)
    sizes = tuple(featurizer.blocks)
    count = len(sizes)
    wanted = _wanted(pairs, count)
    sample = draw_sample(opened, config, _rotation(opened, featurizer), len(wanted), 0, budget=BUDGET)
    found = estimate(sample, sizes, pairs=wanted)
    nats = matrix_of({pair: value for pair, (value, _) in found.items()}, count)
    chance = shuffled_scores(sample, sizes, pairs=null, seed=seed) if null else ()
    return BlockInformation(
        nats=nats,
        scores=nats / np.add.outer(np.array(sizes), np.array(sizes)),
        null=np.array(chance, dtype=np.float64),
        tied=float(np.mean([tied for _, tied in found.values()])) if found else 0.0,
        keys=len(sample.keys),
        queries=len(sample.queries),
    )


def block_table(
    rows: Rows, config: NDMConfig, rotation: Tensor, sizes: tuple[int, ...], keys: np.ndarray, asked: np.ndarray
) -> tuple[Block, ...]:
    """Every block of a partition, measured.

    Args:
        rows: Of the fit.
        config: Of the fit.
        rotation: In the coordinates of the rows.
        sizes: Of the blocks.
        keys: Numbers of the rows among which neighbours are sought.
        asked: Numbers of the rows whose neighbours are sought.
    """
    near = _block_rows(rows, config, rotation, sizes, keys, asked)
    turn = rotation.to(rows.dtype)
    chosen = keys[:20_000]
    parts = (rows.take(chosen[part]) @ turn for part in pieces(len(chosen), len(turn)))
    covariance = moments(parts).covariance()
    total = float(covariance.trace())
    found = []
    for number, block in enumerate(block_columns(sizes)):
        own = covariance[block, block]
        variance = float(own.trace())
        squared = float(own.square().sum())
        found.append(
            Block(
                number=number,
                size=sizes[number],
                variance=variance,
                variance_share=variance / total if total else 0.0,
                distance=float(near.means[number]),
                relative_distance=float(near.means[number]) / variance**0.5 if variance else 0.0,
                entropy=float(sizes[number] * near.logs[number]),
                effective_dimension=variance**2 / squared if squared else 0.0,
                duplicates=float(near.zeros[number]),
                same_document=_same(rows.documents, near, number, keys, asked),
                same_token=_same(rows.tokens, near, number, keys, asked),
            )
        )
    return tuple(found)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Near:
    """Neighbours of a set of queries in each block."""

    found: np.ndarray
    means: Float[np.ndarray, " s"]
    logs: Float[np.ndarray, " s"]
    """Mean log distance over queries whose distance is not 0."""
    zeros: Float[np.ndarray, " s"]


def _block_rows(
    rows: Rows, config: NDMConfig, rotation: Tensor, sizes: tuple[int, ...], keys: np.ndarray, asked: np.ndarray
) -> _Near:
    held = drawn_keys(rows, keys, config)
    own = np.searchsorted(keys, asked).clip(0, len(keys) - 1)
    places = np.where(keys[own] == asked, own, -1)
    parts, founds = [], []
    turned = rotation.to(rows.dtype)
    columns = block_columns(sizes)
    for start in range(0, len(asked), 1024):
        part = slice(start, start + 1024)
        queries = rows.take(asked[part])
        groups = {}
        if rows.groups is not None:
            groups = {
                "query_groups": torch.from_numpy(np.ascontiguousarray(rows.groups[asked[part]])),
                "key_groups": torch.from_numpy(np.ascontiguousarray(rows.groups[keys])),
            }
        found = nearest_in_blocks(
            queries, held, turned, sizes,
            exclusion=Exclusion(own=torch.from_numpy(places[part]), **groups),
            options=SearchOptions(metric=config.metric),
        )  # fmt: skip
        parts.append(
            torch.stack(
                [_lengths(queries, held[found[s]], turned[:, block], config) for s, block in enumerate(columns)]
            )
        )
        founds.append(found)
    lengths = torch.cat(parts, 1).double()
    positive = lengths > 0
    logs = torch.where(positive, lengths, 1).log().sum(1) / positive.sum(1).clamp_min(1)
    return _Near(
        found=torch.cat(founds, 1).numpy(),
        means=lengths.mean(1).numpy(),
        logs=logs.numpy(),
        zeros=(~positive).double().mean(1).numpy(),
    )


def _lengths(queries: Tensor, neighbors: Tensor, columns: Tensor, config: NDMConfig) -> Tensor:
    if config.metric == "euclidean":
        return torch.linalg.vector_norm((queries - neighbors) @ columns, dim=1)
    return 1 - torch.cosine_similarity(queries @ columns, neighbors @ columns, dim=1).clamp(-1, 1)


def _same(labels: np.ndarray | None, near: _Near, number: int, keys: np.ndarray, asked: np.ndarray) -> float | None:
    return None if labels is None else float((labels[keys[near.found[number]]] == labels[asked]).mean())


def _drawn(rows: Rows, pool: int | None, queries: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of keys, sorted, and of queries; no row is both."""
    order = np.random.default_rng([seed, 9]).permutation(len(rows))
    asked = min(queries, len(rows) // 2)
    if asked < 1:
        raise InputError(f"queries is {queries}: at least one is needed")
    rest = order[asked:]
    return np.sort(rest if pool is None else rest[:pool]), order[:asked]


def _rotation(rows: Rows, featurizer: Featurizer) -> Tensor:
    affine: AffineFeaturizer = as_affine(featurizer)
    if affine.width != rows.width:
        raise InputError(f"X has width {rows.width} but the featurizer {affine.width}: rows of its site are needed")
    return affine.read[rows.live].to(rows.dtype)


def _wanted(pairs: Sequence[tuple[int, int]] | None, count: int) -> list[tuple[int, int]]:
    if pairs is None:
        return [(j, k) for j in range(count) for k in range(j + 1, count)]
    wanted = [(min(j, k), max(j, k)) for j, k in pairs]
    wrong = [pair for pair in wanted if not 0 <= pair[0] < pair[1] < count]
    if wrong:
        raise InputError(f"pair {wrong[0]} does not exist: two different blocks of 0..{count - 1} are needed")
    return wanted
