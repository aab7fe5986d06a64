"""Exact nearest neighbours in every block of a rotated space at once, in bounded memory.

Keys are rotated a tile at a time and stay transposed, so that a block is a contiguous slice; one matrix product gives
the scores of all queries against the keys of a tile in one block, and the maximum is taken in two levels: over groups of
64 keys without an index, then inside the winning group where it beats the tiles before. Nothing of size queries x keys
x blocks is ever stored. The length of a key is one more coordinate of it, against a one in the query, which saves a
pass over the scores.

With `precision="bfloat16"` the keys are rotated in bfloat16 and scored in float32; who needs distances computes them
again from the rows that were found (`unweave.ndm.objective`).

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `scores` | z.k - norm(k)^2/2 | (b, tile) | largest where the distance is smallest; no square root | specs/ndm.md, section 8 item 1 |
| `scores`, cosine | z.k / max(norm(k), 1e-3) | (b, tile) | largest where the cosine is largest | same, section 1 |
| `KEY_FLOOR` | 1e-3 | scalar | floor of the length of a key in the cosine | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unweave.tensors.arrays import computing_dtype

GROUP = 64
"""Keys whose maximum is taken together at the first level."""
TILE = 2048
"""Keys that are rotated at once: the scores of a hundred queries against them stay in the second-level cache."""
KEY_FLOOR = 1e-3


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How the search is done; none of it changes which row is nearest, up to rounding."""

    precision: str = "float32"
    """Of the rotation of keys: `float32` (float64 for float64 rows) or `bfloat16`."""
    tile: int = TILE
    metric: str = "euclidean"
    """Or `cosine`."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Exclusion:
    """Which keys a query must not find."""

    own: Int[Tensor, " b"] | None = None
    """Position of each query among the keys, -1 if it is not there."""
    query_groups: Int[Tensor, " b"] | None = None
    """With `key_groups`: keys of the query's own group are left out."""
    key_groups: Int[Tensor, " n"] | None = None


NOBODY = Exclusion()


def has_matrix_units() -> bool:
    """Whether the processor multiplies bfloat16 matrices several times faster than float32 ones."""
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())


def block_columns(sizes: tuple[int, ...]) -> list[slice]:
    """The columns of each block."""
    ends = list(accumulate(sizes))
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def nearest_in_blocks(
    queries: Float[Tensor, "b d"],
    keys: Any,
    rotation: Float[Tensor, "d d"],
    sizes: tuple[int, ...],
    *,
    exclusion: Exclusion = NOBODY,
    options: SearchOptions = SearchOptions(),
) -> Int[Tensor, "s b"]:
    """For every block and query the position of the nearest key; the lowest of equal ones, -1 where all are excluded.

    Args:
        queries: Rows, not rotated.
        keys: Rows (n, d) that slices cut: a tensor, or a column of a store.
        rotation: The block s is the columns s of it.
        sizes: Sizes of the blocks, summing to d.
        exclusion: Keys that do not count.
        options: Precision, tile and metric.

    Example:
        >>> rows = torch.tensor([[0.0, 0.0], [1.0, 5.0], [4.0, 0.1]])
        >>> nearest_in_blocks(torch.tensor([[0.9, 0.0]]), rows, torch.eye(2), (1, 1)).tolist()
        [[1], [0]]
    """
    dtype = computing_dtype(queries.dtype)
    layout = _Layout(rotation.to(dtype), sizes, options, len(keys))
    own = layout.query_blocks(queries.to(dtype))
    count = len(queries)
    best = torch.full((len(sizes), count), -torch.inf, dtype=dtype, device=queries.device)
    found = torch.full((len(sizes), count), -1, dtype=torch.int64, device=queries.device)
    space = torch.empty(count, layout.tile, dtype=dtype, device=queries.device)
    for start in range(0, len(keys), layout.tile):
        turned = layout.turn(keys[start : start + layout.tile])
        width = turned.shape[1]
        barred = _barred(exclusion, start, width, count)
        grouped = width % GROUP == 0 and width >= 4 * GROUP
        value, place = best.new_empty(best.shape), found.new_empty(found.shape)
        lines = best.new_empty(*best.shape, GROUP if grouped else 0)
        first_lines = torch.arange(count, device=queries.device) * (width // GROUP)
        for s, (row, mine) in enumerate(zip(layout.rows, own, strict=True)):
            scores = torch.mm(mine, turned[row], out=space) if width == layout.tile else mine @ turned[row]
            if barred is not None:
                scores.masked_fill_(barred, -torch.inf)
            if grouped:
                torch.max(scores.view(count, -1, GROUP).amax(2), 1, out=(value[s], place[s]))
                torch.index_select(scores.view(-1, GROUP), 0, first_lines + place[s], out=lines[s])
            else:
                torch.max(scores, 1, out=(value[s], place[s]))
        better = value > best  # few in late tiles, so that indices inside a group are seldom looked for
        if grouped:
            place[better] = place[better] * GROUP + lines[better].max(1).indices
        best = torch.where(better, value, best)
        found = torch.where(better, place + start, found)
    return found


class _Layout:
    """Where the blocks of rotated keys lie, with a row for the length behind each, in memory that every tile uses."""

    def __init__(self, rotation: Tensor, sizes: tuple[int, ...], options: SearchOptions, keys: int) -> None:
        """Spreads the columns of the rotation over the rows of the layout."""
        self.is_cosine = options.metric == "cosine"
        self.tile = min(options.tile, max(keys, 1))
        self.columns = block_columns(sizes)
        self.rotation = rotation
        spare = 0 if self.is_cosine else 1
        self.rows = block_columns(tuple(size + spare for size in sizes))
        height = self.rows[-1].stop
        turned = rotation.new_zeros(height, len(rotation))
        for row, column in zip(self.rows, self.columns, strict=True):
            turned[row.start : row.start + column.stop - column.start] = rotation[:, column].T
        self.half = options.precision == "bfloat16"
        self.turned = turned.to(torch.bfloat16) if self.half else turned
        self.exact = rotation.new_empty(height, self.tile)
        self.rough = self.turned.new_empty(height, self.tile) if self.half else None
        # in memory that stays: a new copy of every tile costs four times as much
        self.given = self.turned.new_empty(self.tile, len(rotation))

    def query_blocks(self, queries: Tensor) -> list[Tensor]:
        """The rotated queries in each block, with a one behind them that meets the length of a key."""
        rotated = queries @ self.rotation
        if self.is_cosine:
            return [rotated[:, block].contiguous() for block in self.columns]
        ones = rotated.new_ones(len(rotated), 1)
        return [torch.cat([rotated[:, block], ones], 1) for block in self.columns]

    def turn(self, rows: Tensor) -> Tensor:
        """The rotated keys of a tile, transposed, each block with their lengths behind it."""
        width = len(rows)
        exact, given = self.exact[:, :width], rows
        if rows.dtype != self.turned.dtype:
            given = self.given[:width].copy_(rows)
        if self.rough is None:
            torch.mm(self.turned, given.T, out=exact)
        else:
            exact.copy_(torch.mm(self.turned, given.T, out=self.rough[:, :width]))
        for block in (exact[row] for row in self.rows):
            if self.is_cosine:
                block /= torch.linalg.vector_norm(block, dim=0).clamp_min(KEY_FLOOR)
            else:
                torch.sum(block[:-1].square(), 0, out=block[-1]).mul_(-0.5)
        return exact


def first_of_equal(rows: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
    """For every row the lowest position at which an equal row stands: itself, unless it repeats an earlier one."""
    mix = torch.linspace(1, 2, rows.shape[1], dtype=torch.float64, device=rows.device).sqrt()
    marks = torch.cat([part.to(torch.float64) @ mix for part in rows.split(65536)])
    order = torch.argsort(marks, stable=True)
    firsts = torch.arange(len(rows), device=rows.device)
    tied = torch.nonzero(marks[order][1:] == marks[order][:-1]).flatten() + 1
    for place in tied.tolist():  # few: equal marks are equal rows, almost always
        one, before = int(order[place]), int(firsts[order[place - 1]])
        if torch.equal(rows[one], rows[before]):
            firsts[one] = before
    return firsts


def _barred(exclusion: Exclusion, start: int, width: int, count: int) -> Tensor | None:
    """(b, tile) True where the query must not find the key; None if that is nowhere."""
    barred = None
    if exclusion.query_groups is not None and exclusion.key_groups is not None:
        barred = exclusion.query_groups[:, None] == exclusion.key_groups[None, start : start + width]
    if exclusion.own is not None:
        here = torch.nonzero((exclusion.own >= start) & (exclusion.own < start + width)).flatten()
        if len(here):
            if barred is None:
                barred = torch.zeros(count, width, dtype=torch.bool, device=exclusion.own.device)
            barred[here, exclusion.own[here] - start] = True
    return barred
