"""Which blocks become one: a pure rule on scores, and what it does to columns.

Pairs are taken from the highest score down while the score is above the threshold and neither block is taken; at most
one pair for `cap` blocks. The merged blocks come in the order they were taken, then the others; blocks are then sorted
by size, largest first, ties as they stand (specs/ndm.md, section 4, rules 3 to 5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from unweave.errors import InputError
from unweave.features.affine import AffineFeaturizer
from unweave.tensors.neighbors import block_columns


@dataclass(frozen=True, kw_only=True)
class MergePlan:
    """What one round of merging does."""

    pairs: tuple[tuple[int, int], ...]
    """Pairs of old blocks in the order they were taken; empty: nothing is above the threshold, stop."""
    scores: tuple[float, ...]
    """Their scores, nats per dimension."""
    members: tuple[tuple[int, ...], ...]
    """For each new block the old ones it is made of."""
    sizes: tuple[int, ...]
    """Of the new blocks."""


def plan_merges(scores: Any, sizes: Sequence[int], thr: float, cap: int = 8) -> MergePlan:
    """Which pairs a round merges.

    Args:
        scores: Nats per dimension: a matrix (S, S), or a mapping from pairs to numbers.
        sizes: Of the blocks.
        thr: A pair is taken only above it.
        cap: At most one pair for so many blocks, and at least one.

    Raises:
        InputError: A matrix of another shape.

    Example:
        >>> plan = plan_merges({(0, 1): 0.01, (0, 2): 0.5, (1, 2): 0.3}, (2, 2, 2), 0.04)
        >>> plan.pairs, plan.sizes, plan.members
        (((0, 2),), (4, 2), ((0, 2), (1,)))
    """
    count = len(sizes)
    ranked = sorted(_pairs(scores, count), key=lambda entry: -entry[1])
    taken: list[tuple[int, int]] = []
    told: list[float] = []
    used: set[int] = set()
    for pair, score in ranked:
        if len(taken) == max(1, count // cap) or not score > thr:
            break
        if not used & set(pair):
            taken.append(pair)
            told.append(score)
            used |= set(pair)
    groups = [*taken, *((block,) for block in range(count) if block not in used)]
    groups.sort(key=lambda group: -sum(sizes[block] for block in group))
    return MergePlan(
        pairs=tuple(taken),
        scores=tuple(told),
        members=tuple(tuple(group) for group in groups),
        sizes=tuple(sum(sizes[block] for block in group) for group in groups),
    )


def columns_of(members: Sequence[Sequence[int]], sizes: Sequence[int]) -> Int[Tensor, " d"]:
    """The old columns in the order of new blocks made of old ones."""
    slices = block_columns(tuple(sizes))
    return torch.cat([torch.arange(slices[b].start, slices[b].stop) for group in members for b in group])


def merge(featurizer: AffineFeaturizer, groups: Sequence[Sequence[int]]) -> AffineFeaturizer:
    """The featurizer with blocks joined; blocks that no group names stay, and all are then sorted by size.

    Args:
        featurizer: With the blocks to join.
        groups: Lists of block numbers, each of which becomes one block.

    Raises:
        InputError: A block that does not exist, or one named twice.

    Example:
        >>> f = AffineFeaturizer(read=np.eye(4), blocks=(1, 1, 2))
        >>> merge(f, [(0, 1)]).blocks
        (2, 2)
    """
    count = len(featurizer.blocks)
    named = [block for group in groups for block in group]
    if len(set(named)) < len(named) or not set(named) <= set(range(count)):
        raise InputError(f"groups name the blocks {named[:8]}: each of 0..{count - 1} at most once is needed")
    members = [*(tuple(group) for group in groups), *((block,) for block in range(count) if block not in named)]
    members.sort(key=lambda group: -sum(featurizer.blocks[block] for block in group))
    order = columns_of(members, featurizer.blocks)
    sizes = tuple(sum(featurizer.blocks[block] for block in group) for group in members)
    return _reordered(featurizer, order, sizes)


def split(featurizer: AffineFeaturizer, block: int, sizes: Sequence[int]) -> AffineFeaturizer:
    """The featurizer with one block cut into parts along its columns; blocks are then sorted by size.

    Args:
        featurizer: With the block to cut.
        block: Its number.
        sizes: Of the parts, summing to its size.

    Raises:
        InputError: No such block, or sizes that do not sum to its size.

    Example:
        >>> split(AffineFeaturizer(read=np.eye(4), blocks=(3, 1)), 0, (1, 2)).blocks
        (2, 1, 1)
    """
    if not 0 <= block < len(featurizer.blocks):
        raise InputError(f"block is {block}: the featurizer has blocks 0..{len(featurizer.blocks) - 1}")
    if sum(sizes) != featurizer.blocks[block] or min(sizes) < 1:
        raise InputError(
            f"sizes are {tuple(sizes)}: positive numbers that sum to {featurizer.blocks[block]} are needed"
        )
    parts = [*featurizer.blocks[:block], *sizes, *featurizer.blocks[block + 1 :]]
    order = sorted(range(len(parts)), key=lambda part: -parts[part])
    columns = columns_of([(part,) for part in order], parts)
    return _reordered(featurizer, columns, tuple(parts[part] for part in order))


def unmerge(featurizer: AffineFeaturizer, plan: MergePlan, sizes: Sequence[int]) -> AffineFeaturizer:
    """The featurizer before a round of merging, its columns where they were.

    Args:
        featurizer: After it.
        plan: The round.
        sizes: Of the blocks before it.

    Example:
        >>> f = AffineFeaturizer(read=np.eye(3), blocks=(1, 1, 1))
        >>> plan = plan_merges({(0, 2): 1.0}, f.blocks, 0.1)
        >>> back = unmerge(merge(f, plan.pairs), plan, f.blocks)
        >>> back.blocks, bool((back.read == f.read).all())
        ((1, 1, 1), True)
    """
    order = columns_of(plan.members, sizes)
    return _reordered(featurizer, torch.argsort(order), tuple(sizes))


def tree_of(rounds: Sequence[MergePlan], sizes: Sequence[int]) -> list[dict[str, Any]]:
    """The merges in order: name of the new block, its two parts, score and size. Units are named by number from 0, a
    merged block by the next free number.
    """
    names = list(range(len(sizes)))
    dims = list(sizes)
    free = len(names)
    found = []
    for plan in rounds:
        score = dict(zip(plan.pairs, plan.scores, strict=True))
        new_names = []
        for group in plan.members:
            if len(group) == 1:
                new_names.append(names[group[0]])
                continue
            pair = (group[0], group[1])
            found.append(
                {
                    "name": free,
                    "parts": [names[block] for block in group],
                    "score": score[pair],
                    "size": sum(dims[block] for block in group),
                }
            )
            new_names.append(free)
            free += 1
        names, dims = new_names, list(plan.sizes)
    return found


def _pairs(scores: Any, count: int) -> list[tuple[tuple[int, int], float]]:
    if isinstance(scores, Mapping):
        return [((int(j), int(k)), float(score)) for (j, k), score in scores.items()]
    matrix = np.asarray(scores)
    if matrix.shape != (count, count):
        raise InputError(f"scores has shape {matrix.shape} but there are {count} blocks: {(count, count)} is needed")
    return [((j, k), float(matrix[j, k])) for j in range(count) for k in range(j + 1, count)]


def _reordered(featurizer: AffineFeaturizer, order: Tensor, sizes: tuple[int, ...]) -> AffineFeaturizer:
    return replace(
        featurizer,
        read=featurizer.read[:, order],
        write=featurizer.write[order],
        bias=featurizer.bias[order],
        blocks=sizes,
    )
