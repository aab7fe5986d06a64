"""Token sequences that a builder has prepared: cut where it wants them, with the rows it needs, pooled as it says.

A probe of compound words looks at one token of a window, a probe of languages at the mean of a file: a store with a row
for every token would be hundreds of times larger than what they use. A prepared sequence says which of its tokens have
rows, and the collection keeps only those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from unweave.activations.windows import Document, SpecialTokens, Window
from unweave.errors import InputError

Pool = Literal["each", "mean", "max"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """One sequence of tokens that runs through the model as it is, and is one document of the store."""

    ids: tuple[int, ...]
    """Its own tokens."""
    before: tuple[int, ...] = ()
    """Special tokens in front; all sequences of a collection have the same."""
    after: tuple[int, ...] = ()
    """Special tokens behind."""
    text: str | None = None
    offsets: tuple[tuple[int, int], ...] | None = None
    """Characters of each token in `text`."""
    id: str | None = None
    group: str | None = None
    """What it must not be separated from in a split: the document, entity or prompt it comes from."""
    keep: tuple[int, ...] | None = None
    """Positions that have rows, increasing; None = all."""
    pool: Pool = "each"
    """`each` gives a row a position; `mean` and `max` one row over the kept positions, at the last of them."""

    @property
    def kept(self) -> np.ndarray:
        """The positions that have rows or are pooled."""
        return np.arange(len(self.ids)) if self.keep is None else np.asarray(self.keep, dtype=np.int64)

    @property
    def row_positions(self) -> tuple[int, ...]:
        """The position of each row it gives."""
        return tuple(self.kept.tolist()) if self.pool == "each" else (int(self.kept[-1]),)


def prepared_windows(
    sequences: Iterable[Prepared], *, context: int, special: SpecialTokens
) -> Iterator[tuple[Document, list[Window]]]:
    """Each prepared sequence as one document with one window.

    Raises:
        InputError: A sequence that is empty, too long, without rows, or with other special tokens than the first.
    """
    for index, one in enumerate(sequences):
        _check(one, index, context, special)
        window = Window(
            document=index,
            sequence=index,
            start=0,
            values=(*one.before, *one.ids, *one.after),
            rows=len(one.row_positions),
            keep=None if one.keep is None and one.pool == "each" else tuple(one.kept.tolist()),
            pool=one.pool,
        )
        yield (
            Document(index=index, id=one.id, text=one.text, ids=one.ids, offsets=one.offsets, group=one.group),
            [window],
        )


def reduced(rows: Tensor, window: Window) -> Tensor:
    """The rows that a window keeps of those of its tokens (tokens, width): chosen, or pooled over the chosen ones
    alone, so that neither padding nor a fill value can enter.
    """
    if window.keep is None:
        return rows
    chosen = rows[torch.tensor(window.keep, device=rows.device)]
    if window.pool == "mean":
        return chosen.to(torch.float32).mean(0, keepdim=True)
    return chosen.amax(0, keepdim=True) if window.pool == "max" else chosen


def _check(one: Prepared, index: int, context: int, special: SpecialTokens) -> None:
    if (one.before, one.after) != (special.before, special.after):
        raise InputError(
            f"sequence {index} has the special tokens {one.before} and {one.after}, the first one {special.before} and"
            f" {special.after}: collect sequences with other special tokens into a store of their own"
        )
    length = len(one.before) + len(one.ids) + len(one.after)
    if not one.ids or length > context:
        raise InputError(f"sequence {index} has {length} tokens: 1 to {context} (context) are needed")
    kept = one.kept
    if not len(kept) or (np.diff(kept) <= 0).any() or kept[0] < 0 or kept[-1] >= len(one.ids):
        raise InputError(
            f"sequence {index} keeps the positions {kept[:8].tolist()} of {len(one.ids)} tokens: increasing positions"
            " inside it, at least one, are needed"
        )
