"""Whether a block acts like a variable: do the inputs that look alike in it agree on something, more often than those
that look alike in a random block of the same size?

A query agrees on an attribute if most of its nearest rows in other documents have its value there, though that value is
rare among all rows. A block's consistency is the share of queries that agree on at least one attribute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from unweave.errors import InputError
from unweave.features.featurizer import Featurizer, block_slices
from unweave.features.neurons import as_affine
from unweave.tensors.arrays import as_tensor
from unweave.tensors.estimate import Estimate
from unweave.tensors.grouped import grouped_mean
from unweave.tensors.splits import grouping

AGREEING = 0.8
"""Share of the nearest rows that must have the query's value."""
COMMON = 0.5
"""A value that more rows than this have is nothing to agree on."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Consistency:
    """One block against random blocks of its size."""

    block: int
    size: int
    share: float
    """Share of queries whose nearest rows agree with them on an attribute."""
    random: float
    """The same in random blocks, mean over draws."""
    difference: Estimate
    """Share minus random, with an interval over documents of the queries."""
    attributes: tuple[tuple[str, float], ...]
    """Attribute -> share of queries that agree on it, largest first."""

    def row(self) -> dict[str, Any]:
        """As one row of a table."""
        name, share = self.attributes[0] if self.attributes else ("", 0.0)
        return {
            "block": self.block, "size": self.size, "share": self.share, "random": self.random,
            "difference": self.difference.value, "low": self.difference.low, "high": self.difference.high,
            "attribute": name, "attribute_share": share,
        }  # fmt: skip


def block_consistency(
    X: Any,
    featurizer: Featurizer,
    attributes: Mapping[str, Any],
    *,
    groups: Any = None,
    queries: int = 300,
    k: int = 10,
    draws: int = 3,
    seed: int = 0,
) -> list[Consistency]:
    """For every block the share of queries whose preimages agree with them, against random blocks of equal size.

    Args:
        X: Rows (n, d), or a column of a store.
        featurizer: With the blocks.
        attributes: Name -> (n,) value of each row: token, position, class, anything that compares.
        groups: (n,) the document of each row; neighbours are of other documents. A column of a store brings its own.
        queries: Rows that are asked.
        k: Nearest rows of each.
        draws: Random blocks of each size.
        seed: Of queries and random blocks.

    Raises:
        InputError: The width differs, or attributes of another number.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> kind = rng.integers(0, 5, 600)
        >>> X = np.concatenate([np.eye(5)[kind] @ rng.normal(size=(5, 3)), rng.normal(size=(600, 3))], 1)
        >>> f = uw.AffineFeaturizer(read=np.eye(6), blocks=(3, 3))
        >>> first, second = block_consistency(X, f, {"kind": kind}, queries=100)
        >>> first.share, second.share < 0.2, first.difference.low > 0
        (1.0, True, True)
    """
    store = getattr(X, "store", None)
    rows = as_tensor(X, name="X").float()
    affine = as_affine(featurizer)
    if rows.ndim != 2 or rows.shape[1] != affine.width:
        raise InputError(
            f"X has shape {tuple(rows.shape)} but the featurizer has width {affine.width}: rows of its site"
        )
    values = {name: np.unique(np.asarray(one), return_inverse=True)[1].reshape(-1) for name, one in attributes.items()}
    for name, one in values.items():
        if len(one) != len(rows):
            raise InputError(
                f"attribute {name!r} has {len(one)} values but X has {len(rows)} rows: one a row is needed"
            )
    named = groups if groups is not None or store is None else store.rows["document"]
    codes = grouping(named, len(rows)).codes
    z = (rows - affine.origin.float()) @ affine.read.float()
    rng = np.random.default_rng([seed, 41])
    asked = np.sort(rng.permutation(len(rows))[:queries])
    generator = torch.Generator().manual_seed(seed)
    random: dict[int, np.ndarray] = {}
    for size in sorted(set(featurizer.blocks)):
        turns = [torch.linalg.qr(torch.randn(z.shape[1], size, generator=generator)).Q for _ in range(draws)]
        random[size] = np.mean([_agrees(z @ turn, asked, values, codes, k).any(0) for turn in turns], axis=0)
    found = []
    for number, block in enumerate(block_slices(featurizer)):
        agrees = _agrees(z[:, block], asked, values, codes, k)
        shares = sorted(zip(values, agrees.mean(1).tolist(), strict=True), key=lambda one: -one[1])
        size = featurizer.blocks[number]
        found.append(_compared(number, size, np.asarray(agrees.any(0)), random[size], codes[asked], shares, seed))
    return found


def _compared(
    number: int, size: int, own: np.ndarray, random: np.ndarray, codes: np.ndarray, shares: list[Any], seed: int
) -> Consistency:
    return Consistency(
        block=number,
        size=size,
        share=float(own.mean()),
        random=float(random.mean()),
        difference=replace(grouped_mean(own - random, codes, seed=seed, bounds=(-1.0, 1.0)), null=0.0),
        attributes=tuple((name, float(share)) for name, share in shares),
    )


def _agrees(
    values: Tensor, asked: np.ndarray, attributes: Mapping[str, np.ndarray], codes: np.ndarray, k: int
) -> Bool[np.ndarray, "a q"]:
    """For every attribute whether each query's nearest rows of other documents have its value."""
    group = torch.from_numpy(codes)
    near = []
    for start in range(0, len(asked), 100):
        part = torch.from_numpy(asked[start : start + 100])
        far = torch.cdist(values[part], values)
        far[group[part][:, None] == group[None]] = torch.inf
        near.append(far.topk(min(k, len(values)), largest=False).indices)
    hits = torch.cat(near).numpy()
    found = []
    for labels in attributes.values():
        rates = np.bincount(labels) / len(labels)
        same = (labels[hits] == labels[asked][:, None]).mean(1)
        found.append((same >= AGREEING) & (rates[labels[asked]] < COMMON))
    return np.array(found)
