"""Each output coordinate of a section from its own subset of input coordinates: what edge ablation runs.

Output coordinates with equal subsets are computed together, and products run over the kept coordinates or the dropped
ones, whichever are fewer; an output that keeps nothing is one row for all inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweave.features.affine import AffineFeaturizer
from unweave.interaction.attention import Attention
from unweave.interaction.forms import ACTIVATIONS, Linear, Mlp
from unweave.interaction.stream import Local
from unweave.models.sections import Section

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
    z = (local.x - source.origin.to(local.x)) @ source.read.to(local.x)
    columns = target.read.to(z)
    if isinstance(section.form, Linear):
        between = source.write.to(z) @ section.form.weight.to(z) @ columns
        fixed = (section.form.forward(source.origin.to(z)) - target.origin.to(z)) @ columns
        return z @ (between * masks.T) + fixed
    run = _runner(section, local, z, source)
    out = z.new_empty(len(z), _positions(local), len(masks))
    for group, kept in _groups(masks):
        values = run(kept, columns[:, group])
        out[..., group] = values.expand(len(z), -1, -1) if len(values) == 1 else values
    return out - target.origin.to(z) @ columns


def _runner(
    section: Section, local: Local, z: Tensor, source: AffineFeaturizer
) -> Callable[[Tensor, Tensor], Tensor]:
    """(kept coordinates, columns to read at the end) -> values; one row where nothing is kept."""
    form: Any = section.form
    if isinstance(form, Mlp) and form.w_up is None:
        return _mlp(form, z, source)
    if isinstance(form, Attention):
        return _attention(form, z, source)
    write, origin = source.write.to(z), source.origin.to(z)

    def run(kept: Tensor, columns: Tensor) -> Tensor:
        with torch.no_grad():
            return local.function(origin + z[..., kept] @ write[kept]) @ columns

    return run


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
    write, origin = source.write.to(z), source.origin.to(z)
    reads = {
        name: torch.einsum("jd,hde->jhe", write, weight.to(z)) for name, weight in (("q", form.w_q), ("k", form.w_k))
    }
    starts = {
        name: torch.einsum("d,hde->he", origin, weight.to(z)) + bias.to(z)
        for name, weight, bias in (("q", form.w_q, form.b_q), ("k", form.w_k, form.b_k), ("v", form.w_v, form.b_v))
    }
    heads, width = form.w_k.shape[0], form.w_k.shape[2]

    def run(kept: Tensor, columns: Tensor) -> Tensor:
        after = torch.einsum("heo,oi->hei", form.w_o.to(z), columns)
        fixed = form.b_o.to(z) @ columns + (origin @ columns if form.skip else 0)
        copied = torch.einsum("jd,hde,hei->jhi", write[kept], form.w_v.to(z), after)
        value_start = torch.einsum("he,hei->hi", starts["v"], after)
        found = []
        for part in z.split(ROWS) if len(kept) else (z[:1],):
            rows = part[..., kept]
            own = rows[:, -1:] if form.last else rows
            query = (own @ reads["q"][kept].flatten(1)).unflatten(-1, (heads, width)) + starts["q"]
            key = (rows @ reads["k"][kept].flatten(1)).unflatten(-1, (heads, width)) + starts["k"]
            pattern = form.pattern(query.transpose(1, 2), key.transpose(1, 2))
            value = (rows @ copied.flatten(1)).unflatten(-1, copied.shape[1:]) + value_start
            out = (pattern @ value.transpose(1, 2)).sum(1) + fixed
            found.append(out + own @ (write[kept] @ columns) if form.skip else out)
        return torch.cat(found)

    return run


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
