"""Tests of what a behaviour loses: blocks ablated, and directions projected out wherever the stream is written.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `ablate_block` | B(M) - B(M; z_F := 0, mean, resample) | unit of B | residual kept | specs/evaluation.md E11 |
| `project_everywhere` | h := h - (h v_hat) v_hat' | unit of B | every block input, attention and MLP output | E12 |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError, unknown_name
from unweave.evals.causing.behaviours import Behaviour
from unweave.evals.causing.causal import DRAWS, along, blocks_of_claim, shift_by
from unweave.evals.causing.changes import other_rows, random_bases, resampled, set_to_means, size_of, vector_of
from unweave.evals.causing.pairs import as_inputs
from unweave.evals.causing.patching import Change, Patching, changed, patching, scores
from unweave.evals.findings import Finding, Prediction, finding
from unweave.features.featurizer import Featurizer
from unweave.models.edits import Edit
from unweave.models.model import Model
from unweave.models.tokens import Tokens

KINDS = ("mean", "zero", "resample")


def ablate_block(
    patched: Patching,
    featurizer: Featurizer,
    block: Any,
    behaviour: Behaviour,
    *,
    kind: str = "mean",
    means: Tensor | None = None,
    groups: Any = None,
    prediction: Prediction | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Finding:
    """What a behaviour loses when a block is set to its mean, to zero or to another input's values.

    Args:
        patched: The base; no source is needed.
        featurizer: With the block.
        block: Number or numbers.
        behaviour: What is measured.
        kind: `mean`, `zero` (in the featurizer's own origin) or `resample`.
        means: Mean of each unit over training rows; None takes the rows of the base.
        groups: The group of each item.
        prediction: What is claimed.
        draws: Random subspaces of equal rank, ablated the same way and scaled to the norm of the edit.
        seed: Of controls and interval.

    Example:
        >>> from unweave.evals.planted.module import variable_world
        >>> from unweave.evals import logit_difference
        >>> world = variable_world(seed=0)
        >>> pairs = world.pairs(30, seed=1)
        >>> ready = patching(world.model, "0", pairs.base)
        >>> measure = logit_difference(pairs.base_answer, pairs.answer)
        >>> ablate_block(ready, world.featurizer, world.true, measure, kind="resample").supported
        True
    """
    if kind not in KINDS:
        raise unknown_name("ablation", kind, KINDS)
    blocks = blocks_of_claim(patched.model, featurizer, block)
    centre = patched.base.double().mean(0)
    if kind == "resample":
        change = resampled(patched, featurizer, blocks, seed=seed)
        given = patched.base[other_rows(patched.row, seed=seed)].double() - patched.base.double()
    else:
        filled = featurizer.encode(centre)[0] if kind == "mean" and means is None else means
        change = set_to_means(featurizer, blocks, filled if kind == "mean" else None)
        given = (centre if kind == "mean" else torch.zeros_like(centre)) - patched.base.double()
    moved = (changed(patched, change).double() - patched.base.double()).norm(dim=1)
    bases = random_bases(patched.width, size_of(featurizer, blocks), draws=draws, seed=seed)
    controls = [along(given, basis, moved) for basis in bases]
    whole = shift_by(given)
    values = scores(patched, [None, whole, change, *controls], behaviour)
    drops = values[0] - values[1:]
    return finding(
        f"{kind} ablation",
        f"B(M) - B(M; z_F := {kind})",
        drops[1],
        drops[2:],
        unit=behaviour.unit,
        scope=behaviour.scope,
        groups=groups,
        prediction=prediction,
        floor=0.0,
        ceiling=float(drops[0].mean()),
        seed=seed,
        details={"plain": float(values[0].mean()), "zero": "the featurizer's origin" if kind == "zero" else ""},
    )


def project_everywhere(
    model: Model,
    direction: Any,
    tokens: Any,
    behaviour: Behaviour,
    *,
    groups: Any = None,
    prediction: Prediction | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Finding:
    """What a behaviour loses when a direction is projected out wherever the stream is written.

    Args:
        model: A transformer.
        direction: A `Direction` or a vector; its length and sign do not count.
        tokens: What the behaviour is measured on.
        behaviour: What is measured.
        groups: The group of each item.
        prediction: What is claimed.
        draws: Random directions.
        seed: Of controls and interval.

    Example:
        >>> from unweave.evals.planted.language import TAG_AGAINST, TAG_FOR, style_world
        >>> world = style_world(seed=0)
        >>> tokens, _, measure = world.continued(world.prompts(8, seed=0, tag=TAG_FOR), seed=0)
        >>> project_everywhere(world.model, world.style, tokens, measure).supported
        True
    """
    batch = as_inputs(model, tokens)
    sites = writers(model)
    width = model.width(sites[0])
    vectors = [vector_of(direction), *(basis[:, 0] for basis in random_bases(width, 1, draws=draws, seed=seed))]
    plain = patching(model, sites[-1], batch)
    changes: list[Change | None] = [None]
    for first in range(0, len(vectors), max(1, plain.batch // plain.rows)):
        some = torch.stack([one.to(plain.base) for one in vectors[first : first + max(1, plain.batch // plain.rows)]])
        for ended in _projected(model, batch, sites, some / some.norm(dim=1, keepdim=True)):
            found = ended[plain.row, plain.column]
            changes.append(lambda _values, places, found=found: found[places])
    tables = scores(plain, changes, behaviour)
    drops = tables[0] - tables[1:]
    return finding(
        "projection everywhere",
        "B(M) - B(M; h := h - (h v) v' at every block input, attention and MLP output)",
        drops[0],
        drops[1:],
        unit=behaviour.unit,
        scope=behaviour.scope,
        groups=groups,
        prediction=prediction,
        floor=0.0,
        seed=seed,
        details={"sites": len(sites), "plain": float(tables[0].mean())},
    )


def writers(model: Model) -> list[str]:
    """Every place that writes to the stream: the first block's input, attention and MLP outputs, and block outputs."""
    if model.family is None:
        raise InputError("a plain module has no stream: project out with an edit at a site of your choice")
    names = ("attn_out", "mlp_out", "resid_post")
    found = [site for site in model.sites() if site.component in names]
    return ["blocks.0.resid_pre", *(str(site) for site in found)]


def _projected(
    model: Model, batch: Tokens, sites: Sequence[str], units: Float[Tensor, "v d"]
) -> Float[Tensor, "v rows pos d"]:
    """The last site with each direction projected out at every site, all directions along one batch axis."""
    many = Tokens(ids=batch.ids.repeat(len(units), 1), mask=batch.mask.repeat(len(units), 1))

    def without(values: Tensor) -> Tensor:
        each = units.to(values).repeat_interleave(len(batch), 0)[:, None]
        return values - (values * each).sum(-1, keepdim=True) * each

    with model.edit([Edit(site=site, operator=without) for site in sites]):
        ended = model.capture(many, [sites[-1]])[sites[-1]]
    return ended.reshape(len(units), *batch.ids.shape, -1)
