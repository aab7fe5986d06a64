"""Tests of what a block causes when it comes from another input: accuracy, cause against isolate, and effect.

Every test compares the block with random subspaces of equal rank whose edits are scaled to the norm of its own, reports
what nothing and what the whole site does, and takes its interval over groups.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `interchange_accuracy` | mean 1[argmax M(x_b; z_F := z_F(x_s)) = counterfactual] | share | pairs solved unpatched | specs/evaluation.md E9 |
| `disentangle` | (cause + isolate) / 2 | share | source label for the target, base label for others | E10 |
| `interchange_effect` | B(x_b; z_F := z_F(x_s)) - B(x_b) | unit of B | patching, restoration of a corrupted run | E17 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from unweave.evals.causing.behaviours import FIRST_TOKEN, Behaviour, answered, logit_difference
from unweave.evals.causing.changes import (
    check_blocks_of,
    exchange,
    random_bases,
    size_of,
    source_of,
)
from unweave.evals.causing.pairs import Pairs, as_inputs, solved_pairs
from unweave.evals.causing.patching import Change, Patching, changed, gradient, patching, scores
from unweave.evals.findings import Finding, Prediction, codes_of, finding
from unweave.features.featurizer import Featurizer
from unweave.models.model import Model
from unweave.tensors.paired import binomial

DRAWS = 39
"""Random controls of a test."""


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

    Example:
        >>> from unweave.evals.planted.module import variable_world
        >>> world = variable_world(seed=0)
        >>> interchange_accuracy(world.model, world.featurizer, world.true, world.pairs(30, seed=1)).effect.value
        1.0
    """
    blocks = blocks_of_claim(model, featurizer, block)
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
        intervals=binomial,
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

    Example:
        >>> from unweave.evals.planted.module import variable_world
        >>> world = variable_world(seed=0)
        >>> cause, isolate = world.pairs(30, seed=1), world.pairs(30, seed=2, about="b")
        >>> disentangle(world.model, world.featurizer, world.true, cause, isolate).details["isolate"]
        1.0
    """
    blocks = blocks_of_claim(model, featurizer, block)
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
        intervals=binomial,
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

    Example:
        >>> from unweave.evals.planted.module import variable_world
        >>> world = variable_world(seed=0)
        >>> pairs = world.pairs(30, seed=1)
        >>> ready = ready_pairs(world.model, world.featurizer, pairs)
        >>> measure = logit_difference(pairs.answer, pairs.base_answer)
        >>> interchange_effect(ready, world.featurizer, world.decoy, measure).verdict.value
        'refuted'
    """
    blocks = blocks_of_claim(patched.model, featurizer, block)
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
    return [along(shift, basis, moved) for basis in bases]


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


def along(shift: Tensor, basis: Tensor, moved: Tensor) -> Change:
    """The part of a shift in a subspace, scaled to the root mean square length of the block's own edit: one factor for
    all places, so that a random block and its controls are exchangeable.
    """
    part = (shift @ basis) @ basis.T
    own = part.norm()
    return shift_by(part * (moved.norm() / own if own > 0 else 0.0))


def shift_by(step: Tensor) -> Change:
    """Plus a step of its own at each place."""
    return lambda values, places: values + step[places].to(values)


def blocks_of_claim(model: Model, featurizer: Featurizer, block: Any) -> tuple[int, ...]:
    """The blocks that a claim is about; None means all."""
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
