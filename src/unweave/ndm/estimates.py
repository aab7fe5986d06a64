"""What a fit measures of a rotation: held-out distances in each block, and the information that blocks share.

Both go through the rows that were set aside or drawn for it, with the search exact and in the rows' own precision.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `distances` | D_s | (s,) | held-out mean distance to the nearest key in a block | specs/ndm.md, section 1 |
| `normalised` | I / (d_j + d_k) | (s, s) | nats per dimension | same, section 4 rule 3 |
| `resolution` | r | scalar | sd of the noise that hides smaller differences, in mean column deviations | same, pitfall d |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.ndm.config import NDMConfig
from unweave.ndm.objective import OBJECTIVES
from unweave.ndm.pool import Pool, beside_keys
from unweave.ndm.rows import Drawable, pieces
from unweave.tensors.information import CELLS, pairwise_information
from unweave.tensors.neighbors import SearchOptions, block_columns, nearest_in_blocks

MOST_KEYS = 98_304
FEWEST_KEYS = 8192
QUERIES = 2000
FEWEST_QUERIES = 250
BUDGET = 5e8
"""Distances that are compared at a check of a fit before queries are left out."""
NULL_PAIRS = 12
AUTO_FACTOR = 2.0
AUTO_LEAST = 0.04
"""The published threshold for language models: below it blocks of a real model always share something."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Dependence:
    """What the blocks of one partition share."""

    nats: dict[tuple[int, int], float]
    """Pair of blocks -> mutual information; slightly negative values are noise."""
    tied: float
    """Share of queries whose joint distance is 0, mean over pairs."""
    null: tuple[float, ...]
    """Scores of shuffled blocks, nats per dimension."""
    keys: int
    queries: int


def held_out(pool: Pool, rotation: Tensor, sizes: tuple[int, ...], metric: str) -> Float[Tensor, " s"]:
    """Mean held-out distance in each block, by exact search."""
    found = nearest_in_blocks(
        pool.queries, pool.keys, rotation, sizes, exclusion=pool.exclusion, options=SearchOptions(metric=metric)
    )
    parts = []
    for start in range(0, len(pool.queries), 256):  # the rows found are a block a query
        part = slice(start, start + 256)
        here = OBJECTIVES[metric](pool.queries[part], pool.keys[found[:, part]], rotation, sizes, with_gradient=False)
        parts.append(here.distances.double() * len(pool.queries[part]))
    return torch.stack(parts).sum(0) / len(pool.queries)


@dataclass(frozen=True, eq=False, kw_only=True)
class Sample:
    """The rows of one check, rotated, with the noise of the resolution on them."""

    keys: Float[Tensor, "n d"]
    queries: Float[Tensor, "q d"]
    own: Tensor
    cells: int = field(default=CELLS)


def draw_sample(
    rows: Drawable, config: NDMConfig, rotation: Tensor, pairs: int, turn: int, *, budget: float = BUDGET
) -> Sample:
    """The rows among which the information is estimated, a new draw for every check."""
    options = config.merging
    width = len(rows.live)
    fits = max(2, 3 * beside_keys(rows, config) // 16 // (width * rows.dtype.itemsize))  # four copies at most
    most = options.keys or max(FEWEST_KEYS, min(MOST_KEYS, int(4 * budget / max(1, pairs * FEWEST_QUERIES))))
    count = min(most, len(rows), fits)
    rng = np.random.default_rng([config.seed, 5, turn])
    keys = np.sort(rng.permutation(len(rows))[:count])
    asked = options.queries or max(FEWEST_QUERIES, min(QUERIES, int(budget / max(1, pairs * count))))
    own = np.sort(rng.permutation(count)[: min(asked, count)])
    drawn = torch.empty(count, width, dtype=rows.dtype)
    parts = pieces(count, width)
    for part in parts:
        torch.mm(rows.take(keys[part]), rotation, out=drawn[part])
    if options.resolution:
        spread = float(drawn.std(0).double().mean())
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        for part in parts:
            noise = torch.randn(drawn[part].shape, generator=generator, dtype=drawn.dtype)
            drawn[part] += noise.mul_(options.resolution * spread)
    places = torch.from_numpy(own)
    cells = max(count, min(CELLS, beside_keys(rows, config) // 32))
    return Sample(keys=drawn, queries=drawn[places], own=places, cells=cells)


def estimate(
    sample: Sample, sizes: tuple[int, ...], *, pairs: Sequence[tuple[int, int]] | None = None
) -> dict[tuple[int, int], tuple[float, float]]:
    """Pair -> (nats, share of ties)."""
    blocks = len(sizes) if pairs is None else len({block for pair in pairs for block in pair})
    found = pairwise_information(
        sample.queries,
        sample.keys,
        sizes,
        own=sample.own,
        pairs=pairs,
        cells=max(len(sample.keys), sample.cells // max(1, blocks)),
    )
    return {pair: (one.nats, one.tied) for pair, one in found.items()}


def shuffled_scores(sample: Sample, sizes: tuple[int, ...], *, pairs: int, seed: int) -> tuple[float, ...]:
    """Scores of some pairs after the rows of every block were shuffled by themselves: what chance gives."""
    if len(sizes) < 2:
        return ()
    rng = np.random.default_rng([seed, 6])
    everyone = [(j, k) for j in range(len(sizes)) for k in range(j + 1, len(sizes))]
    chosen = [everyone[i] for i in rng.permutation(len(everyone))[:pairs]]
    shuffled = sample.keys.clone()
    for block in block_columns(sizes):
        shuffled[:, block] = sample.keys[:, block][torch.from_numpy(rng.permutation(len(shuffled)))]
    null = Sample(keys=shuffled, queries=shuffled[sample.own], own=sample.own, cells=sample.cells)
    found = estimate(null, sizes, pairs=chosen)
    return tuple(nats / (sizes[j] + sizes[k]) for (j, k), (nats, _) in found.items())


def dependence(
    rows: Drawable, config: NDMConfig, rotation: Tensor, sizes: tuple[int, ...], *, turn: int, null: int = NULL_PAIRS
) -> tuple[Dependence, Sample]:
    """The information between all pairs of blocks on a fresh draw of rows, and the draw."""
    count = len(sizes) * (len(sizes) - 1) // 2
    sample = draw_sample(rows, config, rotation, count, turn)
    found = estimate(sample, sizes)
    return (
        Dependence(
            nats={pair: nats for pair, (nats, _) in found.items()},
            tied=float(np.mean([tied for _, tied in found.values()])) if found else 0.0,
            null=shuffled_scores(sample, sizes, pairs=null, seed=config.seed) if null else (),
            keys=len(sample.keys),
            queries=len(sample.queries),
        ),
        sample,
    )


def normalised(nats: Mapping[tuple[int, int], float], sizes: tuple[int, ...]) -> dict[tuple[int, int], float]:
    """Nats per dimension."""
    return {(j, k): value / (sizes[j] + sizes[k]) for (j, k), value in nats.items()}


def threshold(config: NDMConfig, null: Sequence[float]) -> float:
    """The threshold of a check, from the null where it is automatic."""
    asked = config.merging.threshold
    if asked == "never":
        return float("inf")
    if asked == "auto":
        return max(AUTO_LEAST, AUTO_FACTOR * max(null, default=0.0))
    return float(asked)


def matrix_of(values: Mapping[tuple[int, int], float], count: int) -> Float[np.ndarray, "s s"]:
    """A symmetric matrix from pairs, NaN on the diagonal."""
    matrix = np.full((count, count), np.nan)
    for (j, k), value in values.items():
        matrix[j, k] = matrix[k, j] = value
    return matrix
