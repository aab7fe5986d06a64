"""What a fit gives: the partition as a featurizer, the way to it, and what its blocks are like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from jaxtyping import Float

from unweave.features.affine import AffineFeaturizer
from unweave.ndm.config import NDMConfig
from unweave.ndm.edits import BlockEdits, block_edits
from unweave.ndm.merging import MergePlan, tree_of
from unweave.ndm.training import Entry

OUTLIER_SHARE = 0.3
"""A block with more than this share of the variance is named in the warnings."""


class Outcome(Enum):
    """How a fit ended."""

    DONE = "all steps are done"
    NOTHING_TO_MERGE = "no pair of blocks shared more than the threshold"
    ONE_BLOCK = "one block is left: the objective does not change under rotation, choose a smaller unit_size"


@dataclass(frozen=True, kw_only=True)
class Block:
    """One subspace of a partition, measured on held-out rows."""

    number: int
    size: int
    variance: float
    """Sum of the variances of its columns."""
    variance_share: float
    distance: float
    """Mean distance to the nearest key."""
    relative_distance: float
    """The same over the square root of the variance."""
    entropy: float
    """size * mean log distance, nats up to a constant of size and pool."""
    effective_dimension: float
    """(tr C)^2 / tr C^2."""
    duplicates: float
    """Share of queries whose nearest key is at distance 0."""
    same_document: float | None
    """Share of queries whose nearest key is of the same document; None without documents."""
    same_token: float | None
    """The same for tokens."""

    def row(self) -> dict[str, Any]:
        """The block as one row of a table."""
        return dict(vars(self))


@dataclass(frozen=True, eq=False, kw_only=True)
class NDMResult:
    """A partition of representation space into orthogonal subspaces, and how it was found."""

    featurizer: AffineFeaturizer
    """One block a subspace; inside a block any rotation is as good."""
    entries: tuple[Entry, ...]
    """The history as records."""
    blocks: tuple[Block, ...]
    mi: Float[np.ndarray, "s s"]
    """Mutual information between the blocks, nats; NaN on the diagonal."""
    mi_before: Float[np.ndarray, "u u"] | None
    """Between the blocks of the first check, None if there was none."""
    mi_null: tuple[float, ...]
    """Nats per dimension of shuffled blocks at the last estimate."""
    mi_keys: int
    """Rows among which `mi` was estimated: it has a meaning only beside this number."""
    tied: float
    """Share of queries whose joint distance is 0, mean over pairs."""
    rounds: tuple[MergePlan, ...]
    start: str
    """Which start won."""
    start_sizes: tuple[int, ...]
    starts: tuple[tuple[str, float], ...]
    """Held-out distance of each start after a few steps, where several were tried."""
    pool: int
    """Keys N of the held-out distances."""
    outcome: Outcome
    config: NDMConfig
    warnings: tuple[str, ...] = ()
    seconds: float | None = None
    """CPU-seconds."""

    @property
    def partition(self) -> list[int]:
        """Sizes of the blocks; they sum to the width."""
        return list(self.featurizer.blocks)

    @property
    def history(self) -> list[dict[str, Any]]:
        """Dictionaries with `step`, `train_loss`, `loss` (held-out mean distance), `lr`, `seconds`, `pool`, `event`,
        and for merges `pairs` and `scores`.
        """
        return [dict(vars(entry)) for entry in self.entries]

    @property
    def merge_tree(self) -> list[dict[str, Any]]:
        """The merges in order: `name`, `parts`, `score`, `size`; units have the numbers from 0."""
        return tree_of(self.rounds, self.start_sizes)

    @property
    def scores(self) -> Float[np.ndarray, "s s"]:
        """Mutual information in nats per dimension of the two blocks."""
        sizes = np.array(self.partition)
        return self.mi / np.add.outer(sizes, sizes)

    @property
    def distance(self) -> float:
        """Held-out mean distance, unweighted over blocks; comparable at equal partitions and equal N only."""
        return float(np.mean([block.distance for block in self.blocks]))

    @property
    def weighted_distance(self) -> float:
        """The same, blocks weighted by size."""
        return float(sum(block.size * block.distance for block in self.blocks) / sum(self.partition))

    def table(self) -> list[dict[str, Any]]:
        """One dictionary a block."""
        return [block.row() for block in self.blocks]

    def block_edits(
        self, base: Any, source: Any, *, positions: Any = None, blocks: Sequence[int] | None = None
    ) -> BlockEdits:
        """Interchange edits, one block each along a batch axis; see `unweave.ndm.edits.block_edits`."""
        return block_edits(self.featurizer, base, source, positions=positions, blocks=blocks)

    def summary(self) -> str:
        """A few sentences."""
        sizes = ", ".join(map(str, self.partition[:12])) + (", ..." if len(self.partition) > 12 else "")
        return (
            f"{len(self.partition)} blocks of {sizes} dimensions; held-out distance {self.distance:.4g} against"
            f" {self.pool:,} keys; {self.outcome.value}."
        )

    def __repr__(self) -> str:
        """Blocks, distance and steps."""
        steps = self.entries[-1].step if self.entries else 0
        return f"NDMResult({len(self.partition)} blocks, held-out distance {self.distance:.4g}, {steps} steps)"
