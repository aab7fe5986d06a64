"""Which rows are queries and which are keys at a step: a function of the seed and the step alone.

The rows are put into a random order, a new one each time they have all been queries. A window of queries serves
`pool_refresh` steps, and the keys are the rows behind it, so that no query is a key of its own; then the window rolls
on. Rows that are too few for that are all keys, and a query is told which key it is. Nothing is remembered between
steps: a killed fit goes on by the number of its step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from unweave.ndm.config import NDMConfig, bytes_of
from unweave.ndm.rows import Drawable
from unweave.tensors.neighbors import TILE, Exclusion

AUTO_POOL = 4096
HELD_OUT = 1024
"""Rows that are set aside to measure by."""
FULL_FROM = 0.75
KEPT = 40_000_000
"""Bytes that allocators and the buffers of matrix products were seen to keep."""
HELD_SHARE = 10
"""One row in so many is set aside, at most `HELD_OUT`."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Split:
    """How the rows are used."""

    held: Int[np.ndarray, " h"]
    """Rows that are only measured."""
    training: Int[np.ndarray, " t"]
    keys: Int[np.ndarray, " k"]
    """Training rows among which held-out neighbours are sought, as many as the pool."""
    pool: int
    """N."""
    is_window: bool
    """Whether keys follow the queries in a random order; else all training rows are keys."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class Pool:
    """Keys, queries and who must not find whom."""

    keys: Any
    """(n, d), drawn or drawn on demand."""
    queries: Float[Tensor, "b d"]
    """Of all the steps that the pool serves."""
    exclusion: Exclusion


@dataclass(frozen=True, eq=False, kw_only=True)
class OnDemand:
    """Keys that do not fit into memory: slices and rows are drawn when they are asked for."""

    rows: Drawable
    index: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        """Number of keys."""
        return len(self.index)

    def __getitem__(self, part: Any) -> Tensor:
        """Keys by slice, or by a tensor of positions of any shape."""
        if isinstance(part, slice):
            return self.rows.take(self.index[part])
        flat = self.rows.take(self.index[part.flatten().numpy()])
        return flat.reshape(*part.shape, -1)


def split_rows(rows: Drawable, config: NDMConfig) -> Split:
    """Held-out rows, training rows and the size of the pool."""
    count = len(rows)
    order = np.random.default_rng([config.seed, 0]).permutation(count)
    aside = min(HELD_OUT, count // HELD_SHARE)
    held, training = np.sort(order[:aside]), np.sort(order[aside:])
    if not aside:
        held = training
    asked = config.search.pool
    pool = min(AUTO_POOL, len(training) - 1) if asked == "auto" else asked
    window = config.search.batch * config.search.pool_refresh
    is_window = pool + window <= len(training)
    warnings: tuple[str, ...] = ()
    if not is_window:
        short = pool + config.search.batch > len(training)
        pool = len(training) - 1 if short or pool == len(training) - 1 else pool
        if short and asked != "auto":
            warnings = (f"{len(training)} rows are fewer than pool + batch: every other row is a key, N = {pool}",)
    keys = np.random.default_rng([config.seed, 1]).permutation(training)[: pool if aside else len(training)]
    return Split(held=held, training=training, keys=np.sort(keys), pool=pool, is_window=is_window, warnings=warnings)


def keys_at(split: Split, config: NDMConfig, share: float) -> int:
    """How many keys there are when this share of the steps is done: they double up to N, which is there from three
    quarters on.
    """
    first = config.search.first_pool
    if first is None or first >= split.pool or share >= FULL_FROM:
        return split.pool
    doublings = math.ceil(math.log2(split.pool / first))
    left = math.ceil((1 - share / FULL_FROM) * doublings)
    return max(first, math.ceil(split.pool / 2**left))


def pool_at(rows: Drawable, split: Split, config: NDMConfig, turn: int, size: int | None = None) -> Pool:
    """The pool of the steps `turn * pool_refresh` and on, of N keys or of this size."""
    wanted = split.pool if size is None else size
    window = config.search.batch * config.search.pool_refresh
    count = len(split.training)
    if split.is_window:
        epoch, start = divmod(turn * window, count)
        order = _order(config.seed, epoch, count)
        chosen = order[np.arange(start, start + window) % count]
        keys = order[np.arange(start + window, start + window + wanted) % count]
    else:
        chosen = np.random.default_rng([config.seed, 3, turn]).integers(0, count, window)
        keys = np.arange(count)
        if wanted < count - 1:
            keys = np.sort(np.random.default_rng([config.seed, 4, turn]).permutation(count)[:wanted])
    places = np.full(count, -1)
    places[keys] = np.arange(len(keys))
    return Pool(
        keys=drawn_keys(rows, split.training[keys], config),
        queries=rows.take(split.training[chosen]),
        exclusion=Exclusion(
            own=None if split.is_window else torch.from_numpy(places[chosen]),
            **_groups(rows, split.training[chosen], split.training[keys]),
        ),
    )


def batch_of(pool: Pool, config: NDMConfig, place: int) -> tuple[Tensor, Exclusion]:
    """The queries of the step at this place among those that the pool serves."""
    part = slice(place * config.search.batch, (place + 1) * config.search.batch)
    given = pool.exclusion
    return pool.queries[part], Exclusion(
        own=None if given.own is None else given.own[part],
        query_groups=None if given.query_groups is None else given.query_groups[part],
        key_groups=given.key_groups,
    )


def held_out_pool(rows: Drawable, split: Split, config: NDMConfig) -> Pool:
    """The rows to measure by and the keys they are measured against, the same at every measurement."""
    own = None
    if split.held is split.training:
        own = torch.from_numpy(np.searchsorted(split.keys, split.held))
    return Pool(
        keys=drawn_keys(rows, split.keys, config),
        queries=rows.take(split.held),
        exclusion=Exclusion(own=own, **_groups(rows, split.held, split.keys)),
    )


def drawn_keys(rows: Drawable, index: Int[np.ndarray, " n"], config: NDMConfig) -> Any:
    """The keys in memory, or drawn on demand where the memory does not take them."""
    if len(index) * len(rows.live) * _key_bytes(rows) > room(rows, config):
        return OnDemand(rows=rows, index=index)
    return rows.take(index)


def room(rows: Drawable, config: NDMConfig) -> int:
    """Bytes that one set of keys may take: a third of what is left beside the optimiser and the tiles, as training and
    held-out keys and a tile of estimates stand side by side.
    """
    return max(0, bytes_of(config.search.memory) - fixed_bytes(rows, config)) // 3


def beside_keys(rows: Drawable, config: NDMConfig) -> int:
    """Bytes that are left for what is measured while training and held-out keys are held."""
    asked = AUTO_POOL if config.search.pool == "auto" else config.search.pool
    keys = min(asked, len(rows)) * len(rows.live) * _key_bytes(rows)
    held = 2 * keys if keys <= room(rows, config) else 0
    return max(0, bytes_of(config.search.memory) - fixed_bytes(rows, config) - held)


def fixed_bytes(rows: Drawable, config: NDMConfig) -> int:
    """Bytes of the optimiser, of the tiles of a search and of what libraries keep: the least that a fit takes."""
    width = len(rows.live)
    return KEPT + 16 * 8 * width * width + 3 * TILE * (width + config.search.batch) * 4


def _key_bytes(rows: Drawable) -> int:
    return 8 if rows.dtype is torch.float64 else 4


def _groups(rows: Drawable, queries: np.ndarray, keys: np.ndarray) -> dict[str, Tensor]:
    if rows.groups is None:
        return {}
    return {
        "query_groups": torch.from_numpy(np.ascontiguousarray(rows.groups[queries])),
        "key_groups": torch.from_numpy(np.ascontiguousarray(rows.groups[keys])),
    }


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> Int[np.ndarray, " n"]:
    return np.random.default_rng([seed, 2, epoch]).permutation(count)
