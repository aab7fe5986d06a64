"""The closed form of attention: all its Jacobians as sums of small products in head space.

At key position s the output of query t changes by `a W_V W_O` (the value that is copied) and by
`c a (W_K q) (v_s - z_t) W_O` (the pattern that shifts); at the query itself in addition by `W_Q B W_O` and, past the
attention, by the skip. The sums over data are taken inside, between heads, on (head width)^2 numbers; the weights and
the metric are applied once, outside.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `pattern` | a | (batch, head, query, key) | weights that sum to 1 over keys | specs/lib.md 5.1 |
| `mixed` | z | (batch, head, query, e) | pattern-weighted values | same |
| `turns` | B | (batch, head, query, e, e) | `c sum_s a_s k_s (x) (v_s - z)`: effect of a change of the query | same |
| `scale` | c | scalar | on the scores, 1 / sqrt(e) | same |
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.features.affine import AffineFeaturizer
from unweave.interaction.forms import ELEMENTS, Sums


@dataclass(frozen=True, eq=False, kw_only=True)
class Attention:
    """Attention over all positions, read at every one (causally) or at the last one alone."""

    w_q: Float[Tensor, "h d e"]
    w_k: Float[Tensor, "h d e"]
    w_v: Float[Tensor, "h d e"]
    w_o: Float[Tensor, "h e d_out"]
    b_q: Float[Tensor, "h e"]
    b_k: Float[Tensor, "h e"]
    b_v: Float[Tensor, "h e"]
    b_o: Float[Tensor, " d_out"]
    scale: float
    last: bool = False
    """Whether the output is at the last position alone."""
    skip: bool = True
    """Whether the stream is added."""

    @property
    def mixes(self) -> bool:
        """Positions see one another."""
        return True

    def forward(self, x: Tensor) -> Tensor:
        """The section itself."""
        return self.folded(x, torch.ones_like(x[..., :1]))

    def folded(self, x: Tensor, constant: Tensor) -> Tensor:
        """Biases times the constant of their own position; the output's travels through the pattern."""
        ones = constant[:, None]
        stream, own = (x[:, -1:], ones[:, :, -1:]) if self.last else (x, ones)
        query = _heads(stream, self.w_q) + own * self.b_q[:, None].to(x)
        key, value = (_heads(x, w) + ones * b[:, None].to(x) for w, b in ((self.w_k, self.b_k), (self.w_v, self.b_v)))
        pattern = self.pattern(query, key)
        heads = len(self.w_o)
        out = torch.einsum("bhte,heo->bto", pattern @ value, self.w_o.to(x))
        carried = (pattern @ ones.expand(-1, heads, -1, -1)).mean(1)
        out = out + carried * self.b_o.to(x)
        return out + stream if self.skip else out

    def gather(self, x: Tensor, metric: Tensor) -> Sums:
        """Head-space moments (h, h, 3e, 3e), those with the skip (h, 3e, e), and the number of queries."""
        heads, width = self.w_o.shape[:2]
        moments = torch.zeros(heads, heads, 3 * width, 3 * width, dtype=torch.float64)
        with_skip = torch.zeros(heads, 3 * width, width, dtype=torch.float64)
        queries = torch.tensor(0.0, dtype=torch.float64)
        inner = torch.einsum("hea,ab,gfb->hgef", self.w_o, metric, self.w_o)
        steps = max(1, ELEMENTS // (heads * (1 if self.last else x.shape[1]) * width**2))
        for first in range(0, len(x), steps):
            parts = self._parts(x[first : first + steps])
            turns = [parts.turns(head, self.scale) for head in range(heads)]
            for one in range(heads):
                for other in range(one, heads):
                    moments[one, other] += _pair(parts, turns, (one, other), inner[one, other], self.scale)
            with_skip += _alone(parts, turns, self.scale)
            queries += parts.query[:, 0, :, 0].numel()
        return moments, with_skip, queries

    def finish(self, sums: Sums, metric: Tensor) -> Tensor:
        """The weights around the moments: `sum_hg W_h moments_hg W_g'`, and what the skip adds."""
        moments, with_skip, queries = sums
        weights = torch.cat([self.w_v, self.w_k, self.w_q], dim=2)
        total = torch.zeros(weights.shape[1], weights.shape[1], dtype=torch.float64)
        for one in range(len(weights)):
            for other in range(one, len(weights)):
                term = weights[one] @ moments[one, other] @ weights[other].T
                total += term if one == other else term + term.T
        if not self.skip:
            return total
        cross = torch.einsum("hdx,hxe,heo->do", weights, with_skip, self.w_o) @ metric
        return total + cross + cross.T + queries * metric

    def edges(self, x: Tensor, source: AffineFeaturizer, target: AffineFeaturizer, dtype: torch.dtype) -> Tensor:
        """Every coordinate's attribution: what is copied by the pattern, what moves the pattern, and the skip."""
        after = torch.einsum("heo,oi->hei", self.w_o, target.read)
        copied = torch.einsum("jd,hde,hei->jhi", source.write, self.w_v, after).to(dtype)
        around = (source.write @ target.read).to(dtype) if self.skip else None
        count, outputs = source.write.shape[0], after.shape[2]
        total = torch.zeros(outputs, count, dtype=torch.float64)
        queries = 1 if self.last else x.shape[1]
        steps = max(1, ELEMENTS // (queries * count * max(outputs, len(self.w_o) * (x.shape[1] + 1))))
        for first in range(0, len(x), steps):
            part = x[first : first + steps]
            parts = self._parts(part)
            z = ((part - source.origin.to(x)) @ source.read.to(x)).to(dtype)
            moved = self._shifted(parts, z, source.write, after)
            weighted = (parts.pattern.to(z) @ z[:, None]).permute(3, 0, 2, 1)
            moved += torch.matmul(weighted.flatten(1, 2), copied).unflatten(1, moved.shape[:2]).permute(1, 2, 0, 3)
            if around is not None:
                moved += (z[:, -1:] if self.last else z)[..., None] * around
            total += moved.square_().sum((0, 1), dtype=torch.float64).T
        return total

    def along_constant(self, x: Tensor, origin: Tensor, *, separate: bool) -> Tensor:
        """The derivative along `[origin, 1]` of one position after the other, or of all at once."""
        parts = self._parts(x)
        query, key, value = (
            _heads(origin[None, None], w)[0] + b[:, None].to(x)
            for w, b in ((self.w_q, self.b_q), (self.w_k, self.b_k), (self.w_v, self.b_v))
        )
        weights = parts.pattern
        as_key = self.scale * parts.pattern * (parts.query @ key.mT)
        as_query = self.scale * parts.pattern * (parts.key @ query.mT).mT
        own = torch.eye(x.shape[1], dtype=x.dtype)[-parts.query.shape[2] :]
        if not separate:
            weights, own = weights.sum(3, keepdim=True), own.sum(1, keepdim=True)
        turn = as_query @ parts.value - as_query.sum(3, keepdim=True) * parts.mixed
        if separate:
            shifted = as_key[..., None] * (parts.value[:, :, None] - parts.mixed[:, :, :, None])
        else:
            shifted = (as_key @ parts.value - as_key.sum(3, keepdim=True) * parts.mixed)[:, :, :, None]
        mixed = weights[..., None] * value[:, None] + shifted + own[..., None] * turn[:, :, :, None]
        out = torch.einsum("bhtse,heo->btso", mixed, self.w_o.to(x))
        out = out + weights.mean(1)[..., None] * self.b_o.to(x)
        return out + own[..., None] * origin if self.skip else out

    def _shifted(self, parts: _Parts, z: Tensor, write: Tensor, after: Tensor) -> Tensor:
        """(batch, query, coordinate, output): what coordinates do through the pattern. Values are projected on the
        outputs first: there are fewer keys than head coordinates, or not many more.
        """
        key_reads, query_reads = (torch.einsum("jd,hde->hej", write, w).to(z) for w in (self.w_k, self.w_q))
        own = z[:, -1:] if self.last else z
        as_key = parts.query.to(z) @ key_reads
        as_query = parts.key.to(z) @ query_reads
        shifts = z[:, None, None] * as_key[:, :, :, None] + own[:, None, :, None] * as_query[:, :, None]
        shifts = shifts * (self.scale * parts.pattern.to(z))[..., None]
        coefficients = torch.cat([shifts, -shifts.sum(3, keepdim=True)], 3).permute(0, 2, 4, 1, 3).flatten(3)
        keys = (parts.value @ after).to(z)[:, None].expand(-1, shifts.shape[2], -1, -1, -1)
        queries = (parts.mixed @ after).to(z).permute(0, 2, 1, 3)[:, :, :, None]
        return coefficients @ torch.cat([keys, queries], 3).flatten(2, 3)

    def _parts(self, x: Tensor) -> _Parts:
        query = _heads(x[:, -1:] if self.last else x, self.w_q) + self.b_q[:, None].to(x)
        key, value = (_heads(x, w) + b[:, None].to(x) for w, b in ((self.w_k, self.b_k), (self.w_v, self.b_v)))
        pattern = self.pattern(query, key)
        diagonal = pattern[..., -1] if self.last else torch.diagonal(pattern, dim1=2, dim2=3)
        return _Parts(
            query=query,
            key=key,
            value=value,
            pattern=pattern,
            mixed=pattern @ value,
            own_weight=diagonal,
            own_value=value[:, :, -1:] if self.last else value,
        )

    def pattern(self, query: Tensor, key: Tensor) -> Tensor:
        """Softmax of the scores over the keys that a query sees."""
        return self.weights(self.scale * query @ key.mT)

    def weights(self, scores: Tensor) -> Tensor:
        """Softmax over the keys that a query sees."""
        if not self.last:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(later, -torch.inf)
        return torch.softmax(scores, dim=-1)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Parts:
    """What attention computes on the way, by head."""

    query: Tensor
    key: Tensor
    value: Tensor
    pattern: Tensor
    mixed: Tensor
    own_weight: Tensor
    """(batch, head, query): the weight a query gives its own position."""
    own_value: Tensor

    @property
    def own_shift(self) -> Tensor:
        """`v - z` at the query's own position."""
        return self.own_value - self.mixed

    def turns(self, head: int, scale: float) -> Tensor:
        """(batch query, e, e): what a change of the query does to the mixed value."""
        weighted = self.pattern[:, head, :, :, None] * self.key[:, head, None]
        moved = weighted.mT @ self.value[:, head, None]
        moved -= weighted.sum(2)[..., None] * self.mixed[:, head, :, None, :]
        return moved.mul_(scale).flatten(0, 1)


def _pair(parts: _Parts, turns: list[Tensor], heads: tuple[int, int], inner: Tensor, scale: float) -> Tensor:
    """The (3e, 3e) moments of two heads, blocks in the order value, key, query."""
    one, other = heads
    q, r = parts.query[:, one].flatten(0, 1), parts.query[:, other].flatten(0, 1)
    u, w = parts.own_shift[:, one].flatten(0, 1), parts.own_shift[:, other].flatten(0, 1)
    mine, theirs = (parts.own_weight[:, head].reshape(-1, 1) for head in (one, other))
    turn, back = turns[one], turns[other]
    joint = parts.pattern[:, one] * parts.pattern[:, other]
    mass = joint.sum(2, keepdim=True)
    shift = joint @ parts.value[:, one] - mass * parts.mixed[:, one]
    shift_other = joint @ parts.value[:, other] - mass * parts.mixed[:, other]
    worth = _worth(parts, joint, mass, (one, other), inner).reshape(-1, 1)
    turned, turned_back = turn @ inner, back @ inner.T
    value_key = scale * inner @ (shift_other.flatten(0, 1).T @ r)
    key_value = scale * (q.T @ shift.flatten(0, 1)) @ inner
    key_query = scale * (q * mine).T @ (turned_back @ u[..., None])[..., 0]
    query_key = scale * (turned @ w[..., None])[..., 0].T @ (r * theirs)
    value_query = inner @ (mine[..., None] * back).sum(0).T
    query_value = (theirs[..., None] * turn).sum(0) @ inner
    query_query = turned.transpose(0, 1).flatten(1) @ back.transpose(0, 1).flatten(1).T
    return torch.cat(
        [
            torch.cat([mass.sum() * inner, value_key, value_query], 1),
            torch.cat([key_value, scale**2 * (q * worth).T @ r, key_query], 1),
            torch.cat([query_value, query_key, query_query], 1),
        ]
    )


def _worth(parts: _Parts, joint: Tensor, mass: Tensor, heads: tuple[int, int], inner: Tensor) -> Tensor:
    """(batch, query): `sum_s a a' (v_s - z) Q (v'_s - z')`, multiplied out so that no (query, key, e) array is made."""
    v, z = parts.value[:, heads[0]] @ inner, parts.mixed[:, heads[0]] @ inner
    w, y = parts.value[:, heads[1]], parts.mixed[:, heads[1]]
    each = (joint @ (v * w).sum(2, keepdim=True))[..., 0]
    return each - ((joint @ v) * y).sum(2) - ((joint @ w) * z).sum(2) + mass[..., 0] * (z * y).sum(2)


def _alone(parts: _Parts, turns: list[Tensor], scale: float) -> Tensor:
    """(h, 3e, e): the sums that meet the skip, which leads from a query to itself."""
    heads, width = parts.query.shape[1], parts.query.shape[3]
    found = []
    for head in range(heads):
        weight = parts.own_weight[:, head].reshape(-1, 1)
        copied = torch.eye(width, dtype=torch.float64) * weight.sum()
        shifted = scale * (parts.query[:, head].flatten(0, 1) * weight).T @ parts.own_shift[:, head].flatten(0, 1)
        found.append(torch.cat([copied, shifted, turns[head].sum(0)]))
    return torch.stack(found)


def _heads(x: Tensor, weight: Tensor) -> Tensor:
    """(batch, head, pos, e)."""
    heads, width, size = weight.shape
    flat = x @ weight.to(x).transpose(0, 1).reshape(width, heads * size)
    return flat.unflatten(-1, (heads, size)).transpose(1, 2)
