"""Whether a patch may be believed: does it go through a dormant path, and does it leave the model's own activations?

An interchange along a direction can move the output although the direction's content never reaches it in normal runs:
it reads from a part of the activation that nothing downstream reads, and writes into a part that is quiet otherwise.
The block is therefore patched again with what lies in the row space of the matrix that reads the site alone; an effect
that falls below half is called illusory. And an edit that lands where no input ever takes the model tells of a model
that does not exist: its distance to held-out activations is a percentile among their own.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `reader` | W, or J | (r, d) | rows span what downstream reads: a weight, or slopes of the output | specs/evaluation.md E35 |
| `kept` | effect(row-space part) / effect(block) | scalar | below 1/2: illusory | same; Makelov et al. 2023, arXiv 2311.17030 |
| `percentile` | share of held-out rows that lie nearer | 0..100 | nearest neighbour and shrunk Mahalanobis | E36 |
| `shrunk` | (1 - a) S + a tr(S)/d I | (d, d) | a = d / (n + d) | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError
from unweave.evals.causing.behaviours import Behaviour
from unweave.evals.causing.changes import exchange, source_of, units_of
from unweave.evals.causing.patching import Change, Patching, changed, go_on, scores
from unweave.features.featurizer import Featurizer
from unweave.features.neurons import as_affine
from unweave.models.edits import Edit
from unweave.models.points import blocks_of
from unweave.models.tokens import Tokens
from unweave.tensors.linalg import orthonormal_basis

KEPT_LEAST = 0.5
OFF = 99.0
"""Percentile beyond which an activation is off the distribution."""
ENERGY = 0.99
"""Share of the squared slopes that the row space of a Jacobian holds."""


@dataclass(frozen=True, kw_only=True)
class DormantPath:
    """What is left of an effect when the block may act only through what downstream reads."""

    effect: float
    row_space: float
    """Effect of the block restricted to the row space."""
    kept: float
    """`row_space / effect`; NaN where the block has no effect."""
    rank: int
    """Of the row space."""
    width: int
    reader: str
    """What reads the site."""
    illusory: bool


@dataclass(frozen=True, kw_only=True)
class Naturalness:
    """Where edited activations lie among held-out ones."""

    sites: tuple[str, ...]
    nearest: tuple[float, ...]
    """Median percentile of the distance to the nearest held-out row, a site each."""
    mahalanobis: tuple[float, ...]
    """The same of the shrunk Mahalanobis distance to their mean."""
    off_distribution: bool
    """Whether any of them exceeds the 99th percentile."""
    rows: int
    """Held-out rows."""


def dormant_path(
    patched: Patching,
    featurizer: Featurizer,
    block: Sequence[int],
    behaviour: Behaviour,
    *,
    probes: int = 48,
    seed: int = 0,
) -> DormantPath:
    """The effect of a block's interchange, and of its part in the row space of what reads the site.

    Args:
        patched: Base and source.
        featurizer: Affine, or neurons.
        block: Numbers of blocks.
        behaviour: What is measured.
        probes: Random read-outs of the output whose slopes stand for the Jacobian, where no matrix reads the site.
        seed: Of the probes.

    Raises:
        InputError: The featurizer is not affine.

    Example:
        >>> from unweave.evals.planted.module import variable_world
        >>> from unweave.evals import logit_difference
        >>> from unweave.evals.causing.causal import ready_pairs
        >>> world = variable_world(seed=0)
        >>> pairs = world.pairs(20, seed=1)
        >>> ready = ready_pairs(world.model, world.featurizer, pairs)
        >>> measure = logit_difference(pairs.answer, pairs.base_answer)
        >>> dormant_path(ready, world.featurizer, (world.true,), measure).illusory
        False
    """
    affine = as_affine(featurizer)
    rows, name = reader(patched, probes=probes, seed=seed)
    basis = orthonormal_basis(rows.double().T)
    units = units_of(featurizer, block)
    read = basis @ (basis.T @ affine.read.double()[:, units])
    write = torch.linalg.pinv(read)
    source = source_of(patched)

    def restricted(values: Tensor, places: Tensor) -> Tensor:
        return values + (((source[places].double() - values.double()) @ read) @ write).to(values)

    values = scores(patched, [None, exchange(patched, featurizer, block), restricted], behaviour).mean(1)
    effect, part = float(values[1] - values[0]), float(values[2] - values[0])
    kept = part / effect if abs(effect) > 1e-9 else float("nan")
    return DormantPath(
        effect=effect,
        row_space=part,
        kept=kept,
        rank=basis.shape[1],
        width=patched.width,
        reader=name,
        illusory=bool(np.isfinite(kept) and kept < KEPT_LEAST),
    )


def reader(patched: Patching, *, probes: int = 48, seed: int = 0) -> tuple[Float[Tensor, "r d"], str]:
    """What downstream reads at the site: the rows of the matrix that comes next, or slopes of random read-outs of the
    output, cut at 99 % of their squares.

    Args:
        patched: Base inputs.
        probes: Random read-outs.
        seed: Of them.
    """
    model, site = patched.model, patched.site
    if model.family is not None and site.component in ("mlp_act", "attn_z") and site.layer is not None:
        path = model.family.mlp_matrix if site.component == "mlp_act" else model.family.attention_matrix
        block: Any = blocks_of(model.module, model.family)[site.layer]
        matrix = block.get_submodule(path)
        weight = matrix.weight.detach()
        return (weight if isinstance(matrix, torch.nn.Linear) else weight.T), f"the matrix {path}"
    if patched.section is None:
        raise InputError(f"no section leads from {site} to the output: what it is read by is not known")
    generator = torch.Generator().manual_seed(seed)
    count = min(patched.rows, 32)
    rows = torch.arange(count)
    slopes = []
    for _ in range(probes):
        with torch.enable_grad():
            point = patched.start[rows].clone().requires_grad_(True)
            ended = go_on(patched, point, rows)
            (slope,) = torch.autograd.grad((ended * torch.randn(ended.shape, generator=generator)).sum(), point)
        own = patched.row < count
        slopes.append(slope[patched.row[own], patched.column[own]][:, : patched.width].double())
    stacked = torch.cat(slopes)
    _, sizes, vectors = torch.linalg.svd(stacked, full_matrices=False)
    held = sizes.square().cumsum(0) / sizes.square().sum().clamp_min(1e-300)
    rank = min(int((held < ENERGY).sum()) + 1, len(sizes))
    return vectors[:rank], f"slopes of {probes} read-outs of the output (rank {rank} holds {ENERGY:.0%})"


def naturalness(patched: Patching, change: Change, held_out: Any, *, later: int = 3, most: int = 2000) -> Naturalness:
    """Where the edited activations lie among those of held-out inputs, at the site and at later ones.

    Args:
        patched: Base inputs.
        change: The edit.
        held_out: Inputs that are neither base nor source.
        later: Sites behind it that are looked at.
        most: Rows used of each.

    Example:
        >>> from unweave.evals.planted.module import variable_world
        >>> from unweave.evals.causing.patching import patching
        >>> world = variable_world(seed=0)
        >>> x, _, _ = world.inputs(60, seed=1)
        >>> ready = patching(world.model, "0", x)
        >>> naturalness(ready, lambda h, _: h + 40, world.inputs(60, seed=2)[0]).off_distribution
        True
    """
    model = patched.model
    names = [str(patched.site), *later_sites(patched, later)]
    edited = _edited_rows(patched, change, names)
    natural = model.capture(held_out, names)
    mask = held_out.mask if isinstance(held_out, Tokens) else None
    nearest, spread = [], []
    rows = 0
    for name, found in zip(names, edited, strict=True):
        value = natural[name]
        flat = value[mask] if mask is not None else value
        reference = flat.reshape(-1, found.shape[1]).double()[:most]
        rows = len(reference)
        one, two = _percentiles(found.double()[:most], reference)
        nearest.append(one)
        spread.append(two)
    return Naturalness(
        sites=tuple(names),
        nearest=tuple(nearest),
        mahalanobis=tuple(spread),
        off_distribution=bool(max(nearest + spread) > OFF),
        rows=rows,
    )


def later_sites(patched: Patching, count: int) -> list[str]:
    """Up to so many sites behind it: the ends of the next blocks, or the next modules of a plain model."""
    model, site = patched.model, patched.site
    if model.family is None:
        names = [str(one) for one in model.sites() if "." not in one]
        return names[names.index(str(site)) + 1 :][:count] if str(site) in names else []
    depth = len(blocks_of(model.module, model.family))
    layer = -1 if site.layer is None else site.layer
    first = layer if site.component != "resid_post" else layer + 1
    if site.layer is None and site.component != "embed":
        return []
    return [f"blocks.{one}.resid_post" for one in range(max(first, 0), depth)][:count]


def _edited_rows(patched: Patching, change: Change, names: Sequence[str]) -> list[Tensor]:
    """(places, width) at each site, the model run with the edit."""
    full = patched.start[..., : patched.width].clone()
    full[patched.row, patched.column] = changed(patched, change).to(full)
    model = patched.model

    def put(old: Tensor) -> Tensor:
        return full.reshape(old.shape).to(old)

    with model.edit(Edit(site=str(patched.site), operator=put)):
        found = model.capture(patched.tokens, list(names))
    rows = []
    for name in names:
        value = found[name]
        value = value.flatten(2) if value.ndim > 3 else value
        value = value.unsqueeze(1) if value.ndim == 2 else value
        rows.append(value[patched.row, patched.column.clamp_max(value.shape[1] - 1)])
    return rows


def _percentiles(found: Tensor, reference: Tensor) -> tuple[float, float]:
    """Median percentile of the edited rows among the held-out ones, by nearest neighbour and by Mahalanobis."""
    count, width = reference.shape
    own = torch.cdist(reference, reference)
    own.fill_diagonal_(torch.inf)
    nearest, theirs = own.min(1).values, torch.cdist(found, reference).min(1).values
    centred = reference - reference.mean(0)
    scatter = centred.T @ centred / max(count - 1, 1)
    share = width / (count + width)
    shrunk = (1 - share) * scatter + share * scatter.diagonal().mean().clamp_min(1e-12) * torch.eye(width).to(scatter)
    inverse = torch.linalg.inv(shrunk)
    distance = ((centred @ inverse) * centred).sum(1)
    moved = found - reference.mean(0)
    far = ((moved @ inverse) * moved).sum(1)
    return _median_percentile(nearest, theirs), _median_percentile(distance, far)


def _median_percentile(own: Tensor, theirs: Tensor) -> float:
    return float(100 * np.median((own[None] < theirs[:, None] - 1e-12).double().mean(1).numpy()))
