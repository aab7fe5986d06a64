"""Each output coordinate of a section from its own subset of input coordinates: what edge ablation runs.

Output coordinates with equal subsets are computed together, and products run over the kept coordinates or the dropped
ones, whichever are fewer; an output that keeps nothing is one row for all inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweave.features.affine import AffineFeaturizer
from unweave.interaction.attention import Attention
from unweave.interaction.forms import ACTIVATIONS, Linear
from unweave.interaction.perceptron import Mlp
from unweave.interaction.stream import Local
from unweave.models.sections import Section

FEW = 512
"""Up to so many different rows (token embeddings), attention scores are looked up in a table of all pairs."""
ROWS = 1024
"""Rows computed at once: their neurons stay near the processor."""


def masked_outputs(
    section: Section,
    local: Local,
    masks: Bool[Tensor, "r_out r_in"],
    source: AffineFeaturizer,
    target: AffineFeaturizer,
) -> Float[Tensor, "batch pos_out r_out"]:
    """Coordinate i at the end, from the coordinates at the start that `masks[i]` keeps; the constant is always kept.

    Args:
        section: The section.
        local: It at a batch.
        masks: Which edges are kept.
        source: Affine featurizer at its start.
        target: Affine featurizer at its end.
    """
    return masked(section, local, source, target)(masks)


def masked(
    section: Section, local: Local, source: AffineFeaturizer, target: AffineFeaturizer
) -> Callable[[Tensor], Tensor]:
    """Masks -> outputs, as `masked_outputs`; what does not depend on the masks is computed once."""
    z = (local.x - source.origin.to(local.x)) @ source.read.to(local.x)
    columns, origin = target.read.to(z), target.origin.to(z) @ target.read.to(z)
    form = section.form
    if isinstance(form, Linear):
        between = source.write.to(z) @ form.weight.to(z) @ columns
        start = form.forward(source.origin.to(z)) @ columns - origin
        return lambda masks: z @ (between * masks.T) + start
    if isinstance(form, Mlp) and form.is_plain and not form.skip:
        alone = form.w_out.to(z) @ columns
        if bool(((alone != 0).sum(0) <= 1).all()):
            return _neurons(form, z, source, alone, target)
    run = _runner(section, local, z, source)
    positions = _positions(local)

    def outputs(masks: Tensor) -> Tensor:
        out = z.new_empty(len(z), positions, len(masks))
        for group, kept in _groups(masks):
            out[..., group] = run(kept, columns[:, group]).expand(len(z), -1, -1)
        return out - origin

    return outputs


def _runner(section: Section, local: Local, z: Tensor, source: AffineFeaturizer) -> Callable[[Tensor, Tensor], Tensor]:
    """(kept coordinates, columns to read at the end) -> values; one row where nothing is kept."""
    form: Any = section.form
    if isinstance(form, Mlp) and form.is_plain:
        return _mlp(form, z, source)
    if isinstance(form, Attention) and form.is_plain:
        rows, index = _distinct(local.x)
        if len(rows) <= FEW:
            few = (rows - source.origin.to(rows)) @ source.read.to(rows)
            return _attention_on_few(form, few, index, source)
        return _attention(form, z, source)
    write, origin = source.write.to(z), source.origin.to(z)

    def run(kept: Tensor, columns: Tensor) -> Tensor:
        with torch.no_grad():
            return local.function(origin + z[..., kept] @ write[kept]) @ columns

    return run


def _neurons(
    form: Mlp, z: Tensor, source: AffineFeaturizer, after: Tensor, target: AffineFeaturizer
) -> Callable[[Tensor], Tensor]:
    """Where each output is one neuron: its mask goes into that neuron's weights, one product for all outputs."""
    which = after.abs().argmax(0)
    read = (source.write.to(z) @ form.w_in.to(z))[:, which]
    start = (source.origin.to(z) @ form.w_in.to(z) + form.b_in.to(z))[which]
    scale = after.gather(0, which[None])[0]
    fixed = (form.b_out.to(z) - target.origin.to(z)) @ target.read.to(z)
    act = ACTIVATIONS[form.act]
    return lambda masks: act((z @ (read * masks.T)).add_(start)) * scale + fixed


def _mlp(form: Mlp, z: Tensor, source: AffineFeaturizer) -> Callable[[Tensor, Tensor], Tensor]:
    read = source.write.to(z) @ form.w_in.to(z)
    start = source.origin.to(z) @ form.w_in.to(z) + form.b_in.to(z)
    write, origin = source.write.to(z), source.origin.to(z)
    parts = [(part, part @ read) for part in z.flatten(0, 1).split(ROWS)]
    act = ACTIVATIONS[form.act]

    def run(kept: Tensor, columns: Tensor) -> Tensor:
        after = form.w_out.to(z) @ columns
        fixed = form.b_out.to(z) @ columns + (origin @ columns if form.skip else 0)
        if not len(kept):
            return (act(start) @ after + fixed).reshape(1, 1, -1)
        dropped = _others(kept, len(read))
        around = write[kept] @ columns if form.skip else None
        found = []
        for part, whole in parts:
            fewer = len(kept) <= len(dropped)
            pre = part[:, kept] @ read[kept] if fewer else whole - part[:, dropped] @ read[dropped]
            value = act(pre.add_(start)) @ after
            found.append(value if around is None else value.add_(part[:, kept] @ around))
        return torch.cat(found).add_(fixed).unflatten(0, z.shape[:2])

    return run


def _attention(form: Attention, z: Tensor, source: AffineFeaturizer) -> Callable[[Tensor, Tensor], Tensor]:
    heads = _Heads.of(form, z, source)

    def run(kept: Tensor, columns: Tensor) -> Tensor:
        value_of = heads.values(form, kept, columns)
        found = []
        for part in z.split(ROWS) if len(kept) else (z[:1],):
            rows = part[..., kept]
            own = rows[:, -1:] if form.last else rows
            query, key = heads.read(own, kept, "q"), heads.read(rows, kept, "k")
            pattern = form.pattern(query.transpose(1, 2), key.transpose(1, 2))
            found.append((pattern @ value_of(rows).transpose(1, 2)).sum(1) + heads.around(form, own, kept, columns))
        return torch.cat(found)

    return run


def _attention_on_few(
    form: Attention, few: Tensor, index: Tensor, source: AffineFeaturizer
) -> Callable[[Tensor, Tensor], Tensor]:
    """The same where all rows are some of a few: scores of all pairs of those, then a look-up."""
    heads = _Heads.of(form, few, source)
    last = index[:, -1:] if form.last else index

    def run(kept: Tensor, columns: Tensor) -> Tensor:
        rows = few[:, kept]
        key = heads.read(rows, kept, "k").transpose(0, 1)
        query = heads.read(rows, kept, "q").transpose(0, 1)
        scores = (form.scale * query @ key.mT).flatten(1)
        places = (last[:, :, None] * len(few) + index[:, None]) if len(kept) else torch.zeros_like(index[:1, None])
        pattern = form.weights(scores[:, places].transpose(0, 1))
        value = heads.values(form, kept, columns)(rows)[index if len(kept) else index[:1] * 0]
        around = heads.around(form, rows, kept, columns)[last if len(kept) else last[:1] * 0]
        return torch.einsum("bhts,bshi->bti", pattern, value) + around

    return run


@dataclass(frozen=True, kw_only=True, eq=False)
class _Heads:
    """What attention reads of each coordinate and of the origin, by head."""

    write: Tensor
    origin: Tensor
    reads: dict[str, Tensor]
    starts: dict[str, Tensor]

    @classmethod
    def of(cls, form: Attention, z: Tensor, source: AffineFeaturizer) -> _Heads:
        write, origin = source.write.to(z), source.origin.to(z)
        weights = {"q": (form.w_q, form.b_q), "k": (form.w_k, form.b_k), "v": (form.w_v, form.b_v)}
        return cls(
            write=write,
            origin=origin,
            reads={name: torch.einsum("jd,hde->jhe", write, w.to(z)) for name, (w, _) in weights.items()},
            starts={
                name: torch.einsum("d,hde->he", origin, w.to(z)) + bias.to(z) for name, (w, bias) in weights.items()
            },
        )

    def read(self, rows: Tensor, kept: Tensor, name: str) -> Tensor:
        """(..., head, e): queries, keys or values of the kept coordinates."""
        read = self.reads[name][kept]
        return (rows @ read.flatten(1)).unflatten(-1, read.shape[1:]) + self.starts[name]

    def values(self, form: Attention, kept: Tensor, columns: Tensor) -> Callable[[Tensor], Tensor]:
        """Rows -> what each head's value is to the outputs, (..., head, output)."""
        after = torch.einsum("heo,oi->hei", form.w_o.to(columns), columns)
        copied = torch.einsum("jhe,hei->jhi", self.reads["v"][kept], after)
        start = torch.einsum("he,hei->hi", self.starts["v"], after)
        return lambda rows: (rows @ copied.flatten(1)).unflatten(-1, copied.shape[1:]) + start

    def around(self, form: Attention, own: Tensor, kept: Tensor, columns: Tensor) -> Tensor:
        """The output bias, and what passes attention by."""
        fixed = form.b_o.to(columns) @ columns
        if not form.skip:
            return fixed.expand(*own.shape[:-1], -1)
        return fixed + self.origin @ columns + own @ (self.write[kept] @ columns)


def _distinct(x: Tensor) -> tuple[Tensor, Tensor]:
    """The different rows and which of them each position holds; all rows, if a projection does not tell them apart."""
    flat = x.flatten(0, 1)
    generator = torch.Generator().manual_seed(0)
    marks = flat.double() @ torch.randn(flat.shape[1], generator=generator, dtype=torch.float64)
    found, index = torch.unique(marks, return_inverse=True)
    first = torch.full((len(found),), len(flat)).scatter_reduce(0, index, torch.arange(len(flat)), "amin")
    rows = flat[first]
    if not torch.equal(rows[index], flat):
        rows, index = flat, torch.arange(len(flat))
    return rows, index.reshape(x.shape[:2])


def _groups(masks: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(output coordinates, the input coordinates they all keep), each different subset once."""
    subsets, members = torch.unique(masks, dim=0, return_inverse=True)
    for number, subset in enumerate(subsets):
        yield (members == number).nonzero()[:, 0], subset.nonzero()[:, 0]


def _others(kept: Tensor, count: int) -> Tensor:
    dropped = torch.ones(count, dtype=torch.bool)
    dropped[kept] = False
    return dropped.nonzero()[:, 0]


def _positions(local: Local) -> int:
    with torch.no_grad():
        return local.function(local.x[:1]).shape[1]
