"""Tests of what a block causes: interchange, cause against isolate, ablation, and a direction projected out everywhere.

Every test compares the block with random subspaces of equal rank whose edits are scaled to the norm of its own, reports
what nothing and what the whole site does, and takes its interval over groups.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `interchange_accuracy` | mean 1[argmax M(x_b; z_F := z_F(x_s)) = counterfactual] | share | pairs solved unpatched | specs/evaluation.md E9 |
| `disentangle` | (cause + isolate) / 2 | share | source label for the target, base label for others | E10 |
| `ablate_block` | B(M) - B(M; z_F := 0, mean, resample) | unit of B | residual kept | E11 |
| `project_everywhere` | h := h - (h v_hat) v_hat' | unit of B | every block input, attention and MLP output | E12 |
| `interchange_effect` | B(x_b; z_F := z_F(x_s)) - B(x_b) | unit of B | patching, restoration of a corrupted run | E17 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError, unknown_name
from unweave.evals.behaviours import FIRST_TOKEN, Behaviour, answered, logit_difference
from unweave.evals.changes import (
    check_blocks_of,
    exchange,
    other_rows,
    random_bases,
    resampled,
    set_to_means,
    size_of,
    source_of,
    vector_of,
)
from unweave.evals.findings import Finding, Prediction, codes_of, finding
from unweave.evals.pairs import Pairs, as_inputs, solved_pairs
from unweave.evals.patching import Change, Patching, changed, gradient, patching, scores
from unweave.features.featurizer import Featurizer
from unweave.models.edits import Edit
from unweave.models.model import Model
from unweave.models.tokens import Tokens

DRAWS = 39
"""Random controls of a test."""
KINDS = ("mean", "zero", "resample")


def interchange_accuracy(
    model: Model,
    featurizer: Featurizer,
    block: Any,
    pairs: Pairs,
    *,
    prediction: Prediction | None = None,
    draws: int = DRAWS,
    budget: int = 1,
    seed: int = 0,
) -> Finding:
    """The share of pairs whose answer after the interchange is the one that the causal model says.

    Args:
        model: The model.
        featurizer: With the block.
        block: Number or numbers.
        pairs: Base, source and answers; only those that the model solves unpatched are used.
        prediction: What is claimed.
        draws: Random subspaces of equal rank and norm.
        budget: Candidates that the block was chosen from; every control is then the best of as many, by the slope of
            the logit difference.
        seed: Of controls and interval.

    Raises:
        DataError: The model does not show the behaviour.

    Source:
        Geiger et al. 2023, arXiv 2303.02536, interchange intervention accuracy.
    """
    blocks = _blocks(model, featurizer, block)
    kept, share = solved_pairs(model, pairs)
    ready = ready_pairs(model, featurizer, kept)
    screen = None if budget == 1 else gradient(ready, logit_difference(kept.answer, kept.base_answer))
    measure = answered(kept.answer, among=kept.among)
    values = _scored(ready, featurizer, blocks, measure, draws=draws, seed=seed, budget=budget, screen=screen)
    return finding(
        "interchange accuracy",
        "mean 1[argmax M(base; z_F := z_F(source)) = counterfactual answer]",
        values[2],
        values[3:],
        unit="share",
        scope=FIRST_TOKEN,
        groups=kept.groups,
        prediction=prediction,
        floor=float(values[0].mean()),
        ceiling=float(values[1].mean()),
        seed=seed,
        details={"kept_share": share, "size": size_of(featurizer, blocks), "budget": budget},
    )


def disentangle(
    model: Model,
    featurizer: Featurizer,
    block: Any,
    cause: Pairs,
    isolate: Pairs,
    *,
    prediction: Prediction | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Finding:
    """The mean of cause (the target attribute follows the source) and isolate (other attributes stay with the base).

    Args:
        model: The model.
        featurizer: With the block.
        block: Number or numbers.
        cause: Pairs about the target attribute; their answer is the source's.
        isolate: Pairs about other attributes; their answer is the base's.
        prediction: What is claimed.
        draws: Random subspaces of equal rank and norm.
        seed: Of controls and interval.

    Raises:
        DataError: The model does not show the behaviour.

    Source:
        Huang et al. 2024, arXiv 2402.17700 (RAVEL), section 3.
    """
    blocks = _blocks(model, featurizer, block)
    parts, shares, tables = [], [], []
    for pairs in (cause, isolate):
        kept, share = solved_pairs(model, pairs)
        ready = ready_pairs(model, featurizer, kept)
        tables.append(
            _scored(ready, featurizer, blocks, answered(kept.answer, among=kept.among), draws=draws, seed=seed)
        )
        parts.append(kept)
        shares.append(share)
    means = [table.mean(1) for table in tables]
    items = sum(table.shape[1] for table in tables)
    joined = np.concatenate([table * (items / (2 * table.shape[1])) for table in tables], 1)
    return finding(
        "cause and isolate",
        "(cause + isolate) / 2",
        joined[2],
        joined[3:],
        unit="share",
        scope=FIRST_TOKEN,
        groups=np.concatenate(_shared_codes(parts)),
        prediction=prediction,
        floor=float(joined[0].mean()),
        ceiling=float(joined[1].mean()),
        seed=seed,
        details={"cause": float(means[0][2]), "isolate": float(means[1][2]), "kept_share": min(shares)},
    )


def interchange_effect(
    patched: Patching,
    featurizer: Featurizer,
    block: Any,
    behaviour: Behaviour,
    *,
    groups: Any = None,
    prediction: Prediction | None = None,
    draws: int = DRAWS,
    budget: int = 1,
    seed: int = 0,
) -> Finding:
    """The change of a behaviour when a block comes from the source: with a corrupted source a drop, with a corrupted
    base what is restored.

    Args:
        patched: Base and source.
        featurizer: With the block.
        block: Number or numbers.
        behaviour: What is measured.
        groups: The group of each item.
        prediction: What is claimed; `direction="less"` for a drop.
        draws: Random subspaces of equal rank and norm.
        budget: Candidates that the block was chosen from; every control is then the best of as many, by slope.
        seed: Of controls and interval.
    """
    blocks = _blocks(patched.model, featurizer, block)
    source_of(patched)
    claim = prediction or Prediction()
    screen = None if budget == 1 else gradient(patched, behaviour) * (1 if claim.direction == "greater" else -1)
    values = _scored(patched, featurizer, blocks, behaviour, draws=draws, seed=seed, budget=budget, screen=screen)
    return finding(
        "interchange effect",
        "B(base; z_F := z_F(source)) - B(base)",
        values[2] - values[0],
        values[3:] - values[0],
        unit=behaviour.unit,
        scope=behaviour.scope,
        groups=groups,
        prediction=claim,
        floor=0.0,
        ceiling=float((values[1] - values[0]).mean()),
        seed=seed,
        details={"plain": float(values[0].mean()), "size": size_of(featurizer, blocks), "budget": budget},
    )


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
    """
    if kind not in KINDS:
        raise unknown_name("ablation", kind, KINDS)
    blocks = _blocks(patched.model, featurizer, block)
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
    controls = [_along(given, basis, moved) for basis in bases]
    whole = _shift(given)
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


def ready_pairs(model: Model, featurizer: Featurizer, pairs: Pairs) -> Patching:
    """The pairs as base and source at the featurizer's site."""
    return patching(
        model,
        str(featurizer.site),
        as_inputs(model, pairs.base),
        as_inputs(model, pairs.source),
        positions=pairs.positions,
        source_positions=pairs.source_positions,
    )


def random_exchanges(
    patched: Patching,
    size: int,
    moved: Tensor,
    *,
    draws: int,
    seed: int,
    budget: int = 1,
    screen: Tensor | None = None,
) -> list[Change]:
    """Exchanges of random subspaces of one rank, as long on average as `moved` says; with a budget each the best of as
    many by its slope.
    """
    shift = source_of(patched).double() - patched.base.double()
    bases = random_bases(patched.width, size, draws=draws * (budget if screen is not None else 1), seed=seed)
    if screen is not None and budget > 1:
        slope = screen.double()
        gains = []
        for basis in bases:
            part = (shift @ basis) @ basis.T
            gains.append(float((part * slope).sum() / part.norm().clamp_min(1e-30)))
        best = np.array(gains).reshape(draws, budget).argmax(1)
        bases = [bases[draw * budget + int(place)] for draw, place in enumerate(best)]
    return [_along(shift, basis, moved) for basis in bases]


def _scored(
    patched: Patching,
    featurizer: Featurizer,
    blocks: Sequence[int],
    behaviour: Behaviour,
    *,
    draws: int,
    seed: int,
    budget: int = 1,
    screen: Tensor | None = None,
) -> np.ndarray:
    """(3 + draws, items): nothing, whole site, the block, random subspaces."""
    change = exchange(patched, featurizer, blocks)
    moved = (changed(patched, change).double() - patched.base.double()).norm(dim=1)
    size = size_of(featurizer, blocks)
    controls = random_exchanges(patched, size, moved, draws=draws, seed=seed, budget=budget, screen=screen)
    return scores(patched, [None, exchange(patched, featurizer, None), change, *controls], behaviour)


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


def _along(shift: Tensor, basis: Tensor, moved: Tensor) -> Change:
    """The part of a shift in a subspace, scaled to the root mean square length of the block's own edit: one factor for
    all places, so that a random block and its controls are exchangeable.
    """
    part = (shift @ basis) @ basis.T
    own = part.norm()
    return _shift(part * (moved.norm() / own if own > 0 else 0.0))


def _shift(step: Tensor) -> Change:
    return lambda values, places: values + step[places].to(values)


def _blocks(model: Model, featurizer: Featurizer, block: Any) -> tuple[int, ...]:
    found = check_blocks_of(model, featurizer, block)
    return tuple(range(len(featurizer.blocks))) if found is None else found


def _shared_codes(parts: Sequence[Pairs]) -> tuple[np.ndarray, ...]:
    """Groups numbered alike in all parts; pairs without groups are their own."""
    if any(part.groups is None for part in parts):
        starts = np.cumsum([0, *(len(part) for part in parts)])
        return tuple(np.arange(len(part)) + int(start) for part, start in zip(parts, starts, strict=False))
    names = np.concatenate([np.asarray(part.groups) for part in parts])
    codes = codes_of(names, len(names))
    return tuple(np.split(codes, np.cumsum([len(part) for part in parts])[:-1]))
