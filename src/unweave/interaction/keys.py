"""The moments of `interaction/heads.py` where a query sees fewer keys than a head has coordinates.

What a change of the query does to the mixed value has no more rank than there are keys, so it is never made as a
matrix: everything follows from what two heads' shifts of values are worth to one another, one number a pair of keys.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `shifts` | c a (v - z) | (rows, key, e) | what a score moves in the mixed values; a row a query | specs/lib.md 5.1 |
| `keys` | k | (rows, key, e) | keys as the query sees them, over the size of the query's own row | same |
| `weights` | a | (rows, key) | the pattern, over the size of the key's row | same |
| `inverse` | 1 / sigma | (rows, key) | one over the size of the key's row | same |
| `worth` | u Q u' | (rows, key, key) | shifts of one head against those of another | same |
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unweave.interaction.heads import Parts, direction_moments


@dataclass(frozen=True, eq=False, kw_only=True)
class Head:
    """What one head does at every row."""

    shifts: Tensor
    keys: Tensor
    weights: Tensor
    queries: Tensor
    """(rows, 1 or key, e): queries as the keys see them, one for all if positions are not turned."""
    own_query: Tensor
    """(rows, e): as the own key sees it, over the size of the own row."""
    own_weight: Tensor
    """(rows, 1, 1)."""
    own_shift: Tensor
    """(rows, e)."""

    def turned(self, vectors: Tensor) -> Tensor:
        """What the transpose of a change of the query gives for (rows, e)."""
        return (self.keys.mT @ (self.shifts @ vectors[..., None]))[..., 0]


def few_keys(keys: int, width: int) -> bool:
    """Whether this way is the cheaper one for heads of a width."""
    return 2 * keys <= width


def moments_by_keys(parts: Parts, inner: Tensor) -> tuple[Tensor, ...]:
    """What `heads.moments_of` gives."""
    count, size = parts.query.shape[1], parts.query.shape[3]
    inverse = _inverse(parts)
    heads = [_head(parts, number, inverse) for number in range(count)]
    moments = torch.zeros(count, count, 3 * size, 3 * size, dtype=torch.float64)
    for one in range(count):
        for other in range(one, count):
            moments[one, other] = _pair(heads[one], heads[other], inverse, inner[one, other], parts)
    alone = torch.stack([_alone(head) for head in heads])
    queries = torch.tensor(float(len(inverse)), dtype=torch.float64)
    if parts.behind is None:
        return moments, alone, queries
    rows = parts.query.shape[0], parts.query.shape[2]

    def turned(head: int, vectors: Tensor) -> Tensor:
        return heads[head].turned(vectors.flatten(0, 1)).unflatten(0, rows)

    return moments, alone, queries, *direction_moments(parts, parts.behind, turned, inner)


def _inverse(parts: Parts) -> Tensor:
    """(rows, key)."""
    batch, _, queries, count = parts.pattern.shape
    each = torch.ones(batch, count, dtype=torch.float64) if parts.behind is None else parts.behind.inverse
    return each[:, None].expand(-1, queries, -1).flatten(0, 1)


def _head(parts: Parts, head: int, inverse: Tensor) -> Head:
    pattern, query = parts.pattern[:, head], parts.query[:, head]
    queries, count = pattern.shape[1:]
    value, mixed = parts.value[:, head], parts.mixed[:, head]
    shifts = parts.scale * pattern[..., None] * (value[:, None] - mixed[:, :, None])
    own = parts.own_inverse
    seen = parts.key[:, head][:, :, None]
    if parts.rotary is not None:
        seen = parts.back(seen.expand(-1, -1, queries, -1))
    keys = seen.transpose(1, 2) * own[..., None, None]
    asked = query[:, :, None]
    if parts.rotary is not None:
        asked = parts.back(asked.expand(-1, -1, count, -1))
    own_shift = torch.diagonal(shifts, offset=count - queries, dim1=1, dim2=2).mT
    own_query = (parts.back(query) if parts.rotary is not None else query) * own[..., None]
    return Head(
        shifts=shifts.flatten(0, 1), keys=keys.flatten(0, 1), weights=pattern.flatten(0, 1) * inverse,
        queries=asked.flatten(0, 1), own_query=own_query.flatten(0, 1),
        own_weight=(parts.own(pattern) * own).reshape(-1, 1, 1), own_shift=own_shift.flatten(0, 1),
    )  # fmt: skip


def _pair(one: Head, other: Head, inverse: Tensor, inner: Tensor, parts: Parts) -> Tensor:
    """The (3e, 3e) moments of two heads, blocks in the order value, key, query."""
    worth = (one.shifts @ inner) @ other.shifts.mT
    answered = worth @ other.keys
    at = torch.arange(len(worth)) % parts.query.shape[2] + parts.count - parts.query.shape[2]
    rows = torch.arange(len(worth))
    worth_here, answered_here = worth[rows, :, at], answered[rows, at]
    square = (torch.diagonal(worth, dim1=1, dim2=2) * inverse.square())[..., None]
    asked = one.queries * (square if parts.rotary is not None else square.sum(1, keepdim=True))
    value_key = inner @ _by_query(other.shifts * (one.weights * inverse)[..., None], other, parts)
    key_value = _by_query(one.shifts * (other.weights * inverse)[..., None], one, parts).T @ inner
    value_query = inner @ _product(other.shifts * one.own_weight, other.keys)
    query_value = _product(one.keys * other.own_weight, one.shifts) @ inner
    key_query = one.own_query.T @ answered_here
    query_key = (one.keys.mT @ worth_here[..., None])[..., 0].T @ other.own_query
    return torch.cat(
        [
            torch.cat([(one.weights * other.weights).sum() * inner, value_key, value_query], 1),
            torch.cat([key_value, _product(asked, other.queries), key_query], 1),
            torch.cat([query_value, query_key, _product(one.keys, answered)], 1),
        ]
    )


def _alone(head: Head) -> Tensor:
    """(3e, e): the sums that meet the skip."""
    copied = torch.eye(head.shifts.shape[2], dtype=torch.float64) * head.own_weight.sum()
    return torch.cat([copied, head.own_query.T @ head.own_shift, _product(head.keys, head.shifts)])


def _by_query(each: Tensor, head: Head, parts: Parts) -> Tensor:
    """(e, e): rows (rows, key, e) against the queries as the keys see them."""
    return _product(each if parts.rotary is not None else each.sum(1, keepdim=True), head.queries)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Sum of outer products over rows and keys."""
    return left.flatten(0, 1).T @ right.flatten(0, 1)
