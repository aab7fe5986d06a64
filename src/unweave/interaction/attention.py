"""The closed form of attention: all its Jacobians as sums of small products in head space.

The sums over data are taken inside, between heads, on (head width)^2 numbers (`interaction/heads.py`); the weights and
the metric are applied once, outside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.features.affine import AffineFeaturizer
from unweave.interaction.forms import ELEMENTS, NEAR, Sums, added, skipped, sum_of_squares
from unweave.interaction.heads import Behind, Parts, Rotary, moments_of, query_effect
from unweave.interaction.keys import few_keys, moments_by_keys
from unweave.interaction.norms import Norm


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
    skip: bool | Float[Tensor, "d d_out"] = True
    """Whether the stream is added, or by which matrix."""
    norm: Norm | None = None
    """In front; its weight and bias are in the matrices already, so that it only makes unit rows."""
    rotary: Rotary | None = None
    """Turns queries and keys by their position."""

    @property
    def mixes(self) -> bool:
        """Positions see one another."""
        return True

    @property
    def is_plain(self) -> bool:
        """Without norm, rotation and matrix around it."""
        return self.norm is None and self.rotary is None and isinstance(self.skip, bool)

    def forward(self, x: Tensor) -> Tensor:
        """The section itself."""
        return self.folded(x, torch.ones_like(x[..., :1]))

    def folded(self, x: Tensor, constant: Tensor) -> Tensor:
        """Biases times the constant of their own position; the output's travels through the pattern."""
        ones = constant[:, None]
        query, key, value = self._read(x if self.norm is None else self.norm.unit(x)[0], ones)
        pattern = self.pattern(query, key)
        heads = len(self.w_o)
        out = torch.einsum("bhte,heo->bto", pattern @ value, self.w_o.to(x))
        carried = (pattern @ ones.expand(-1, heads, -1, -1)).mean(1)
        out = out + carried * self.b_o.to(x)
        return added(out, x[:, -1:] if self.last else x, self.skip)

    def gather(self, x: Tensor, metric: Tensor) -> Sums:
        """What `moments_of` sums; where there are few keys, in the way that is cheaper then."""
        heads, width = self.w_o.shape[:2]
        inner = torch.einsum("hea,ab,gfb->hgef", self.w_o, metric, self.w_o)
        positions = x.shape[1]
        queries = 1 if self.last else positions
        if few_keys(positions, width):
            summed, steps = moments_by_keys, max(1, NEAR // (queries * positions * width))
        else:
            summed, steps = moments_of, max(1, ELEMENTS // (queries * max(heads * width**2, 4 * positions)))
        found = [summed(self._parts(part), inner) for part in x.split(steps)]
        return tuple(reduce(torch.add, each) for each in zip(*found, strict=True))

    def finish(self, groups: Sequence[Sums], metric: Tensor) -> list[Tensor]:
        """The weights around the moments: `sum_hg W_h moments_hg W_g'`, and what the skip adds; behind a norm W has the
        mean taken out and terms of its direction join.
        """
        weights = self._centred(torch.cat([self.w_v, self.w_k, self.w_q], dim=2).mT).mT
        skip = skipped(self.skip, weights.shape[1])
        before = None if skip is None else self.w_o @ metric @ skip.T
        around = None if skip is None else skip @ metric @ skip.T
        return [self._finished(sums, weights, before, around) for sums in groups]

    def _finished(self, sums: Sums, weights: Tensor, before: Tensor | None, around: Tensor | None) -> Tensor:
        moments, with_skip, queries, *direction = sums
        width = weights.shape[1]
        total = torch.zeros(width, width, dtype=torch.float64)
        for one in range(len(weights)):
            for other in range(one, len(weights)):
                term = weights[one] @ moments[one, other] @ weights[other].T
                total += term if one == other else term + term.T
        across = torch.einsum("hdx,hxe->hde", weights, with_skip)
        if direction:
            taken, own, square = direction
            cross = torch.einsum("hdx,hxo->do", weights, taken) / width
            total = total - cross - cross.T + square / width**2
            across = across - own / width
        if before is None or around is None:
            return total
        cross = torch.einsum("hde,heo->do", across, before)
        return total + cross + cross.T + queries * around

    def edges(self, x: Tensor, source: AffineFeaturizer, target: AffineFeaturizer, dtype: torch.dtype) -> Tensor:
        """Every coordinate's attribution: what is copied by the pattern, what moves the pattern, and the skip. Chunks
        stay near the processor.
        """
        after = torch.einsum("heo,oi->hei", self.w_o, target.read)
        write = self._centred(source.write)
        key_reads, query_reads, values = (torch.einsum("jd,hde->hje", write, w) for w in (self.w_k, self.w_q, self.w_v))
        copied = torch.einsum("hje,hei->jhi", values, after)
        skip = skipped(self.skip, source.write.shape[1])
        if skip is not None:  # one more head, whose pattern is the query's own position
            copied = torch.cat([copied, (source.write @ skip @ target.read)[:, None]], 1)
        copied, reads = copied.to(dtype), (key_reads.to(dtype), query_reads.to(dtype))
        count, outputs = source.write.shape[0], after.shape[2]
        sums = torch.zeros(count, outputs, dtype=torch.float64)
        queries = 1 if self.last else x.shape[1]
        each = queries * max(outputs, len(self.w_o) * (x.shape[1] + 1))
        for part in x.split(max(1, ELEMENTS // (each * count))):
            parts = self._parts(part)
            z = ((part - source.origin.to(x)) @ source.read.to(x)).to(dtype)
            scaled = z if parts.behind is None else z * parts.behind.inverse[..., None].to(z)
            weighted = parts.pattern.to(z).flatten(1, 2) @ scaled
            weighted = weighted.unflatten(1, parts.pattern.shape[1:3])
            if skip is not None:
                weighted = torch.cat([weighted, z[:, None, -queries:]], 1)
            weighted = weighted.permute(3, 0, 2, 1)
            shifted = self._shifted(parts, scaled, source.write, after, reads)
            size = max(1, NEAR // (each * len(part)))
            for some in (slice(first, first + size) for first in range(0, count, size)):
                moved = shifted(some)
                through = weighted[some].flatten(1, 2) @ copied[some]
                moved += through.unflatten(1, moved.shape[:2]).permute(1, 2, 0, 3)
                sums[some] += sum_of_squares(moved.flatten(0, 1))
        return sums.T

    def along_constant(self, x: Tensor, origin: Tensor, *, separate: bool) -> Tensor:
        """The derivative along `[origin, 1]` of one position after the other, or of all at once."""
        parts = self._parts(x)
        if self.norm is None:  # the same for every sample
            moved = origin.to(x).expand(1, x.shape[1], -1)
        else:
            moved = self.norm.along_constant(x, origin, separate=True)[:, :, 0]
        query, key, value = self._read(moved, torch.ones_like(moved[:, None, :, :1]))
        weights = parts.pattern
        as_key = self.scale * parts.pattern * (parts.query @ key.mT)
        turn = query_effect(parts, query)[1]
        own = torch.eye(x.shape[1], dtype=x.dtype)[-parts.query.shape[2] :]
        if separate:
            shifted = as_key[..., None] * (parts.value[:, :, None] - parts.mixed[:, :, :, None])
            copied = weights[..., None] * value[:, :, None]
        else:
            shifted = (as_key @ parts.value - as_key.sum(3, keepdim=True) * parts.mixed)[:, :, :, None]
            copied = (weights @ value)[:, :, :, None]
            weights, own = weights.sum(3, keepdim=True), own.sum(1, keepdim=True)
        mixed = copied + shifted + own[..., None] * turn[:, :, :, None]
        out = torch.einsum("bhtse,heo->btso", mixed, self.w_o.to(x))
        out = out + weights.mean(1)[..., None] * self.b_o.to(x)
        return out if self.skip is False else out + own[..., None] * added(None, origin, self.skip)

    def pattern(self, query: Tensor, key: Tensor) -> Tensor:
        """Softmax of the scores over the keys that a query sees."""
        return self.weights(self.scale * query @ key.mT)

    def weights(self, scores: Tensor) -> Tensor:
        """Softmax over the keys that a query sees."""
        if not self.last:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(later, -torch.inf)
        return torch.softmax(scores, dim=-1)

    def _shifted(
        self, parts: Parts, z: Tensor, write: Tensor, after: Tensor, reads: tuple[Tensor, Tensor]
    ) -> Callable[[slice], Tensor]:
        """Some coordinates -> what they do through the pattern, (batch, query, coordinate, output). Values are
        projected on the outputs first: there are fewer keys than head coordinates, or not many more.
        """
        queries = parts.query.shape[2]
        pattern = self.scale * parts.pattern.to(z)
        values, mixed = (torch.einsum("bhse,hei->bhsi", one, after).to(z) for one in (parts.value, parts.mixed))
        query, key = parts.query.to(z), parts.key.to(z)
        behind = parts.behind
        along, directly = torch.zeros(0), torch.zeros(0)
        by_key, by_query = torch.zeros(0), torch.zeros(0)
        if behind is not None:
            along = (behind.unit @ write.T / write.shape[1]).to(z)
            by_key = (parts.query @ behind.key.mT).to(z)[..., None]
            by_query = (behind.query @ parts.key.mT).to(z)[..., None]
            directly = torch.einsum("bhse,hei->bhsi", behind.value, after).to(z)

        def moved_by(some: slice) -> Tensor:
            here = z[..., some]
            as_key, as_query = self._scores(query, key, [one[:, some] for one in reads])
            if behind is not None:
                as_key = as_key - along[:, None, None, :, some] * by_key
                as_query = as_query - along[:, None, -queries:, None, some] * by_query
            shifts = here[:, None, None] * as_key
            shifts += here[:, None, -queries:, None] * as_query
            shifts *= pattern[..., None]
            if queries == 1:
                moved = _through(shifts, values - mixed)
            else:
                moved = _through(shifts, values) - shifts.sum(3).permute(0, 2, 3, 1) @ mixed.permute(0, 2, 1, 3)
            if behind is not None:
                copied = parts.pattern.to(z)[..., None] * (here * along[..., some])[:, None, None]
                moved -= _through(copied, directly)
            return moved

        return moved_by

    def _scores(self, query: Tensor, key: Tensor, reads: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """What coordinates at a key and at a query do to the scores, (batch, head, query, key, coordinate) or 1 where
        they do not depend on one of the two.
        """
        seen, asked = reads
        if self.rotary is None:
            as_key = torch.einsum("bhte,hje->bhtj", query, seen)  # `@` would copy the reads for every sample
            return as_key[:, :, :, None], torch.einsum("bhse,hje->bhsj", key, asked)[:, :, None]
        count, queries = key.shape[2], query.shape[2]
        seen, asked = (
            self.rotary.turn(read[:, :, None].expand(-1, -1, number, -1), count)
            for read, number in ((seen, count), (asked, queries))
        )
        return (
            torch.einsum("bhte,hjse->bhtsj", query, seen), torch.einsum("bhse,hjte->bhtsj", key, asked)
        )  # fmt: skip

    def _parts(self, x: Tensor) -> Parts:
        unit, inverse = (x, None) if self.norm is None else self.norm.unit(x)
        query, key, value = self._read(unit, torch.ones_like(x[:, None, :, :1]))
        behind: Behind | None = None
        if inverse is not None:
            moved = self._read(unit, torch.zeros_like(x[:, None, :, :1]))
            behind = Behind(unit=unit, inverse=inverse[..., 0], query=moved[0], key=moved[1], value=moved[2])
        pattern = self.pattern(query, key)
        return Parts(
            query=query, key=key, value=value, pattern=pattern, mixed=pattern @ value,
            scale=self.scale, rotary=self.rotary, behind=behind,
        )  # fmt: skip

    def _read(self, rows: Tensor, ones: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of rows, (batch, head, position, e), biases times the constant."""
        own_rows, own = (rows[:, -1:], ones[:, :, -1:]) if self.last else (rows, ones)
        query = torch.addcmul(_heads(own_rows, self.w_q), own, self.b_q[:, None].to(rows))
        key, value = (
            torch.addcmul(_heads(rows, w), ones, b[:, None].to(rows))
            for w, b in ((self.w_k, self.b_k), (self.w_v, self.b_v))
        )
        if self.rotary is None:
            return query, key, value
        count = rows.shape[1]
        return self.rotary.turn(query, count), self.rotary.turn(key, count), value

    def _centred(self, vectors: Tensor) -> Tensor:
        """Vectors (..., d) with their mean taken out where a norm in front does that."""
        if self.norm is None or not self.norm.centred:
            return vectors
        return vectors - vectors.mean(-1, keepdim=True)


def _through(weights: Tensor, values: Tensor) -> Tensor:
    """(batch, query, coordinate, output) from (batch, head, query, key, coordinate) and (batch, head, key, output)."""
    if weights.shape[2] == 1:  # nothing has to be moved
        return (weights[:, :, 0].flatten(1, 2).mT @ values.flatten(1, 2))[:, None]
    flat = weights.permute(0, 2, 4, 1, 3).flatten(3).flatten(1, 2)
    return (flat @ values.flatten(1, 2)).unflatten(1, (weights.shape[2], -1))


def _heads(x: Tensor, weight: Tensor) -> Tensor:
    """(batch, head, pos, e)."""
    heads, width, size = weight.shape
    flat = x @ weight.to(x).transpose(0, 1).reshape(width, heads * size)
    return flat.unflatten(-1, (heads, size)).transpose(1, 2)
