"""What attention sums over data to know its Jacobians: products in head space, between heads.

At key position s the output of query t changes by `a W_V W_O` (the value that is copied) and by
`c a (W_K q) (v_s - z_t) W_O` (the pattern that shifts); at the query itself in addition by `W_Q B W_O`. A norm in front
divides the row by its size and takes its direction out, a rotation of queries and keys turns each by its position.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `pattern` | a | (batch, head, query, key) | weights that sum to 1 over keys | specs/lib.md 5.1 |
| `mixed` | z | (batch, head, query, e) | pattern-weighted values | same |
| `turns` | B | (batch, query, e, e) | `c sum_s a_s k_s (x) (v_s - z)`: effect of a change of the query | same |
| `scale` | c | scalar | on the scores, 1 / sqrt(e) | same |
| `inner` | Q | (h, h, e, e) | `W_O K W_O'` between heads | same |
| `unit` | u | (batch, key, d) | the normalised row, of mean square one | same, norms |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Rotary:
    """Queries and keys turned by their position: the first coordinates of a head in pairs, half a head apart."""

    tables: Callable[[int], tuple[Tensor, Tensor]]
    """Number of positions -> cosines and sines (positions, turned coordinates)."""

    def turn(self, x: Tensor, count: int, *, back: bool = False) -> Tensor:
        """Vectors (..., position, e) of the last positions of `count`, turned, or multiplied by the transpose."""
        cosines, sines = (one[-x.shape[-2] :].to(x) for one in self.tables(count))
        turned, rest = x[..., : cosines.shape[-1]], x[..., cosines.shape[-1] :]
        across = -_half(turned * sines) if back else _half(turned) * sines
        return torch.cat([turned * cosines + across, rest], dim=-1)


@dataclass(frozen=True, eq=False, kw_only=True)
class Behind:
    """What a norm in front gives: unit rows, one over their size, and what the unit rows are to each head."""

    unit: Tensor
    """(batch, key, d)."""
    inverse: Tensor
    """(batch, key)."""
    query: Tensor
    """(batch, head, query, e), turned by its position as queries are."""
    key: Tensor
    """(batch, head, key, e), turned."""
    value: Tensor
    """(batch, head, key, e)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Parts:
    """What attention computes on the way, by head; queries and keys are turned by their position."""

    query: Tensor
    key: Tensor
    value: Tensor
    pattern: Tensor
    mixed: Tensor
    scale: float
    rotary: Rotary | None = None
    behind: Behind | None = None

    @property
    def count(self) -> int:
        """Positions."""
        return self.key.shape[2]

    @property
    def own_weight(self) -> Tensor:
        """(batch, head, query): the weight a query gives its own position."""
        return self.own(self.pattern)

    @property
    def own_shift(self) -> Tensor:
        """`v - z` at the query's own position."""
        return self.value[:, :, -self.query.shape[2] :] - self.mixed

    @property
    def own_query(self) -> Tensor:
        """Queries as their own position sees them: turned and turned back."""
        return self.back(self.query)

    @property
    def own_inverse(self) -> Tensor:
        """(batch, query): one over the size of a query's own row."""
        if self.behind is None:
            return torch.ones_like(self.query[:, 0, :, 0])
        return self.behind.inverse[:, -self.query.shape[2] :]

    def own(self, each: Tensor) -> Tensor:
        """(..., query, key) at a query's own position."""
        return torch.diagonal(each, offset=each.shape[-1] - each.shape[-2], dim1=-2, dim2=-1)

    def back(self, x: Tensor) -> Tensor:
        """What a turned vector (..., position, e) is to the vector before it was turned."""
        return x if self.rotary is None else self.rotary.turn(x, self.count, back=True)

    def forth(self, x: Tensor) -> Tensor:
        """Vectors (..., position, e) turned."""
        return x if self.rotary is None else self.rotary.turn(x, self.count)

    def turns(self, head: int) -> Tensor:
        """(batch, query, e, e): what a change of the query does to the mixed value."""
        weighted = self.pattern[:, head, :, :, None] * self.key[:, head, None]
        moved = weighted.mT @ self.value[:, head, None]
        moved -= weighted.sum(2)[..., None] * self.mixed[:, head, :, None, :]
        moved.mul_(self.scale)
        return moved if self.rotary is None else self.back(moved.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def moments_of(parts: Parts, inner: Tensor) -> tuple[Tensor, ...]:
    """Sums of head-space products (h, h, 3e, 3e), blocks in the order value, key, query; those that meet a skip
    (h, 3e, e); the number of queries; behind a norm also what its direction adds (h, 3e, d), (h, d, e), (d, d).
    """
    heads, size = parts.query.shape[1], parts.query.shape[3]
    moments = torch.zeros(heads, heads, 3 * size, 3 * size, dtype=torch.float64)
    own = parts.own_inverse[..., None, None]
    turns = [parts.turns(head) * own for head in range(heads)]
    for one in range(heads):
        for other in range(one, heads):
            moments[one, other] = _pair(parts, turns, (one, other), inner[one, other])
    queries = torch.tensor(float(parts.query[:, 0, :, 0].numel()), dtype=torch.float64)
    alone = _alone(parts, turns)
    if parts.behind is None:
        return moments, alone, queries

    def turned(head: int, vectors: Tensor) -> Tensor:
        return (turns[head] @ vectors[..., None])[..., 0]

    return moments, alone, queries, *direction_moments(parts, parts.behind, turned, inner)


def _pair(parts: Parts, turns: list[Tensor], heads: tuple[int, int], inner: Tensor) -> Tensor:
    """The (3e, 3e) moments of two heads."""
    one, other = heads
    scale = parts.scale
    q, r = (parts.own_query[:, head].flatten(0, 1) for head in heads)
    u, w = (parts.own_shift[:, head].flatten(0, 1) for head in heads)
    mine, theirs = ((parts.own_weight[:, head] * parts.own_inverse).reshape(-1, 1) for head in heads)
    turn, back = turns[one].flatten(0, 1), turns[other].flatten(0, 1)
    joint = parts.pattern[:, one] * parts.pattern[:, other]
    if parts.behind is not None:
        joint = joint * parts.behind.inverse.square()[:, None]
    shifted, shifted_other = (_keys_by_values(parts, joint, head) for head in heads)
    turned, turned_back = turn @ inner, back @ inner.T
    key_query = scale * (q * mine).T @ (turned_back @ u[..., None])[..., 0]
    query_key = scale * (turned @ w[..., None])[..., 0].T @ (r * theirs)
    value_query = inner @ (mine[..., None] * back).sum(0).T
    query_value = (theirs[..., None] * turn).sum(0) @ inner
    query_query = turned.transpose(0, 1).flatten(1) @ back.transpose(0, 1).flatten(1).T
    return torch.cat(
        [
            torch.cat([joint.sum() * inner, scale * inner @ shifted_other.T, value_query], 1),
            torch.cat([scale * shifted @ inner, scale**2 * _keys_by_keys(parts, joint, heads, inner), key_query], 1),
            torch.cat([query_value, query_key, query_query], 1),
        ]
    )


def _keys_by_values(parts: Parts, joint: Tensor, head: int) -> Tensor:
    """(e, e): `sum a a' q (x) (v - z)`, queries as the key's position sees them."""
    query, value, mixed = parts.query[:, head], parts.value[:, head], parts.mixed[:, head]
    if parts.rotary is None:
        shift = joint @ value - joint.sum(2, keepdim=True) * mixed
        return query.flatten(0, 1).T @ shift.flatten(0, 1)
    seen = parts.back(joint.mT @ query).flatten(0, 1)
    return seen.T @ value.flatten(0, 1) - parts.back(_by_key(joint, query, mixed).permute(2, 0, 1)).sum(1).T


def _keys_by_keys(parts: Parts, joint: Tensor, heads: tuple[int, int], inner: Tensor) -> Tensor:
    """(e, e): `sum a a' (v - z) Q (v' - z')' q (x) q'`."""
    query, other = (parts.query[:, head] for head in heads)
    if parts.rotary is None:
        worth = _summed_worth(parts, joint, heads, inner).reshape(-1, 1)
        return (query.flatten(0, 1) * worth).T @ other.flatten(0, 1)
    each = _by_key(joint * _worth(parts, heads, inner), query, other)
    return parts.back(parts.back(each.permute(2, 0, 1)).permute(2, 1, 0)).sum(1)


def _by_key(weights: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """(key, e, f): outer products of rows at the queries, weighted for every key."""
    outer = (left[..., :, None] * right[..., None, :]).flatten(0, 1).flatten(1)
    return (weights.flatten(0, 1).T @ outer).unflatten(1, (left.shape[-1], right.shape[-1]))


def _worth(parts: Parts, heads: tuple[int, int], inner: Tensor) -> Tensor:
    """(batch, query, key): `(v_s - z_t) Q (v'_s - z'_t)'`."""
    v, z = parts.value[:, heads[0]] @ inner, parts.mixed[:, heads[0]] @ inner
    w, y = parts.value[:, heads[1]], parts.mixed[:, heads[1]]
    return (v * w).sum(2)[:, None] + (z * y).sum(2)[:, :, None] - y @ v.mT - z @ w.mT


def _summed_worth(parts: Parts, joint: Tensor, heads: tuple[int, int], inner: Tensor) -> Tensor:
    """(batch, query): the same times `a a'`, summed over keys before any (query, key) array of it is made."""
    v, z = parts.value[:, heads[0]] @ inner, parts.mixed[:, heads[0]] @ inner
    w, y = parts.value[:, heads[1]], parts.mixed[:, heads[1]]
    each = (joint @ (v * w).sum(2, keepdim=True))[..., 0]
    return each - ((joint @ v) * y).sum(2) - ((joint @ w) * z).sum(2) + joint.sum(2) * (z * y).sum(2)


def _alone(parts: Parts, turns: list[Tensor]) -> Tensor:
    """(h, 3e, e): the sums that meet the skip, which leads from a query to itself."""
    heads, width = parts.query.shape[1], parts.query.shape[3]
    found = []
    for head in range(heads):
        weight = (parts.own_weight[:, head] * parts.own_inverse).reshape(-1, 1)
        copied = torch.eye(width, dtype=torch.float64) * weight.sum()
        seen = parts.own_query[:, head].flatten(0, 1) * weight
        shifted = parts.scale * seen.T @ parts.own_shift[:, head].flatten(0, 1)
        found.append(torch.cat([copied, shifted, turns[head].sum((0, 1))]))
    return torch.stack(found)


def query_effect(parts: Parts, query: Tensor) -> tuple[Tensor, Tensor]:
    """What queries moved by (batch, head, query, e) do: to the scores times the pattern, and to the mixed values."""
    scores = parts.scale * parts.pattern * (query @ parts.key.mT)
    return scores, scores @ parts.value - scores.sum(3, keepdim=True) * parts.mixed


def direction_moments(
    parts: Parts, behind: Behind, turn: Callable[[int, Tensor], Tensor], inner: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What the direction that the norm takes out adds: `beta`, what the unit row itself does to every query through
    each head, against the head-space factors, against the skip, and against itself. `turn` multiplies what a change of
    a head's query does, over the size of the query's row, with vectors (batch, query, e).
    """
    heads = parts.query.shape[1]
    scale, last = parts.scale, parts.query.shape[2]
    along = scale * parts.query @ behind.key.mT
    turned = query_effect(parts, behind.query)[1]
    own_base = behind.value[:, :, -last:] + parts.own(along)[..., None] * parts.own_shift
    before = parts.own_weight[..., None] * own_base
    beta = before + turned
    weighted = behind.unit * behind.inverse.square()[..., None]
    own_rows = weighted[:, -last:].flatten(0, 1)
    found = []
    square = torch.zeros_like(behind.inverse)
    for one in range(heads):
        values = torch.zeros_like(parts.value[:, one])
        keys = torch.zeros_like(parts.pattern[:, one])
        answer = torch.einsum("gef,bgtf->bte", inner[one], beta)
        for other in range(heads):
            joint = parts.pattern[:, one] * parts.pattern[:, other]
            worth = _worth(parts, (one, other), inner[one, other])
            crossed, effect = _across(parts, behind, (one, other), inner[one, other])
            moved = along[:, other]
            values += _copied(parts, behind, joint, moved, other) @ inner[one, other].T
            keys += joint * (crossed + moved * worth)
            square += (joint * (effect + along[:, one] * (2 * crossed + moved * worth))).sum(1)
        own_turned = torch.einsum("gef,bgtf->bte", inner[one], turned)
        values[:, -last:] += parts.own_weight[:, one, :, None] * own_turned
        place = torch.diagonal(keys, offset=parts.count - last, dim1=1, dim2=2)
        place += parts.own_weight[:, one] * (parts.own_shift[:, one] * own_turned).sum(2)
        before_answer = torch.einsum("gef,bgtf->bte", inner[one], before)
        square[:, -last:] += (beta[:, one] * answer - before[:, one] * before_answer).sum(2)
        seen = parts.back(scale * keys.mT @ parts.query[:, one])
        by_query = turn(one, answer).flatten(0, 1)
        own_size = parts.own_inverse.reshape(-1, 1)
        found.append(
            torch.cat(
                [
                    values.flatten(0, 1).T @ weighted.flatten(0, 1),
                    seen.flatten(0, 1).T @ weighted.flatten(0, 1),
                    by_query.T @ (own_rows / own_size),  # `turn` divides by the size once already
                ]
            )
        )
    rows = (behind.unit * behind.inverse[..., None])[:, -last:]
    with_skip = torch.einsum("btd,bhte->hde", rows, beta)
    squared = (weighted * square[..., None]).flatten(0, 1).T @ behind.unit.flatten(0, 1)
    return torch.stack(found), with_skip, squared


def _across(parts: Parts, behind: Behind, heads: tuple[int, int], inner: Tensor) -> tuple[Tensor, Tensor]:
    """`(v - z) Q b'` (batch, query, key), and `b Q b'` (batch, 1, key), of the unit row's own values b."""
    one, other = heads
    read = behind.value[:, other] @ inner.T
    crossed = (parts.value[:, one] * read).sum(2)[:, None] - parts.mixed[:, one] @ read.mT
    return crossed, (behind.value[:, one] * read).sum(2)[:, None]


def _copied(parts: Parts, behind: Behind, joint: Tensor, moved: Tensor, head: int) -> Tensor:
    """(batch, key, e): `sum_t a a' (b + c kappa (v - z))`."""
    shifted = joint * moved
    value, mixed = parts.value[:, head], parts.mixed[:, head]
    copied = joint.sum(1)[..., None] * behind.value[:, head]
    return copied + shifted.sum(1)[..., None] * value - shifted.mT @ mixed


def _half(x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)
