"""`compare`: decompositions of one site side by side, at equal dimension and with the search that each had beside it.

Each contender chooses its best units on one half of the pairs, by the slope of the behaviour, until it has the
dimension; the other half tells what they cause, how concentrated the effect is over its units, and what the
decomposition leaves out. Unless told otherwise all get as many dimensions as the largest unit that comes first for one
of them. With a budget each searches only its units of largest variance, so that none has more tries. Controls of every
contender are random subspaces of the same rank that were searched as widely.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from unweave.errors import DataError, InputError
from unweave.evals.causing.behaviours import Behaviour, logit_difference
from unweave.evals.causing.causal import DRAWS, interchange_effect, ready_pairs
from unweave.evals.causing.changes import check_blocks_of, exchange, size_of
from unweave.evals.causing.pairs import Pairs, solved_pairs, split_pairs
from unweave.evals.causing.patching import Patching, scores
from unweave.evals.causing.spread import participation, screen_blocks
from unweave.evals.causing.validity import DormantPath, dormant_path
from unweave.evals.findings import Finding
from unweave.evals.reading.absorption import absorption
from unweave.evals.reading.code_length import code_length
from unweave.evals.reading.description import description_length
from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import Featurizer
from unweave.features.neurons import NeuronFeaturizer, as_affine
from unweave.models.model import Model
from unweave.tensors.arrays import as_matrix
from unweave.tensors.estimate import Estimate

ROW_ERROR = 0.2
"""Share of the variance that the code of a row may lose."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Contender:
    """What one decomposition did."""

    name: str
    method: str
    blocks: tuple[int, ...]
    """Chosen on the selection half."""
    dimension: int
    candidates: int
    """Blocks it could choose from; its controls are the best of as many, up to 64."""
    effect: Finding
    """On the report half."""
    share: float
    """Of the whole site's effect."""
    participation: float
    """How many of its blocks take part, by the screen."""
    unexplained: float
    """Share of the variance of the rows that its units miss (FVU, pooled)."""
    dormant: DormantPath | None
    concept: Mapping[str, Estimate] = field(default_factory=dict)
    """With labelled rows: `absorbed` and `absorbed_share` of the concept's units, `bits` a label given all units, and
    `row_bits`, what a row costs in these units; NaN where they miss more than the tolerance.
    """

    def row(self) -> dict[str, Any]:
        """As one row of a table."""
        found = self.effect.row()
        return {
            "name": self.name,
            "method": self.method,
            "dimension": self.dimension,
            "candidates": self.candidates,
            "control_candidates": self.effect.details.get("budget"),
            "blocks": list(self.blocks),
            "share": self.share,
            **{key: found[key] for key in ("effect", "low", "high", "control", "p_value", "verdict", "n")},
            "participation": self.participation,
            "unexplained": self.unexplained,
            "kept_by_reader": None if self.dormant is None else self.dormant.kept,
            **{name: one.value for name, one in self.concept.items()},
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Contest:
    """Decompositions of one site, side by side."""

    site: str
    behaviour: str
    scope: str
    contenders: tuple[Contender, ...]
    dimension: int
    """That each could exchange."""
    whole: float
    """Effect of the whole site on the report half."""
    kept_share: float
    n_select: int
    n_report: int
    model: str
    seed: int
    budget: int | None = None
    """Blocks that each could choose from; None is all it has."""

    def table(self) -> list[dict[str, Any]]:
        """One dictionary a contender, largest share first."""
        return sorted((one.row() for one in self.contenders), key=lambda row: -row["share"])

    def __repr__(self) -> str:
        """Site and contenders."""
        return f"Contest({self.site}, {len(self.contenders)} decompositions at dimension {self.dimension})"


def compare(
    model: Model,
    contenders: Mapping[str, Featurizer],
    pairs: Pairs,
    *,
    dimension: int | None = None,
    budget: int | None = None,
    behaviour: str = "logit difference",
    rows: Any = None,
    concept: tuple[Any, Any, Any] | None = None,
    select: float = 0.4,
    draws: int = DRAWS,
    seed: int = 0,
) -> Contest:
    """Decompositions of one site at equal dimension on the same pairs.

    Args:
        model: The model.
        contenders: Name -> decomposition; all of one site. `contenders_of` makes the usual ones.
        pairs: Base, source and answers; those that the model solves are used.
        dimension: Dimensions that each may exchange; a block that is larger counts as it is. None is the size of the
            largest block that any of them would choose first.
        budget: Blocks that each may choose from, those of the largest variance on the selection half; None lets each
            search all of its own, and the number stands beside it.
        behaviour: The name of the measure, logit(answer) - logit(base answer).
        rows: Activations for the unexplained share; None takes those of the base.
        concept: (rows, binary labels, groups) of the site: how much of the concept its units leave to others
            (`absorption`), what its labels cost given all units (`code_length`), and what a row costs in these units
            at a fifth of the variance lost (`description_length`).
        select: Share of the groups of pairs on which units are chosen.
        draws: Random controls of each.
        seed: Of split, controls and intervals.

    Raises:
        InputError: No contender, contenders of several sites, or a dimension or budget below 1.
        DataError: The model does not show the behaviour.

    Example:
        >>> from unweave.evals.planted.module import variable_world
        >>> from unweave.features.bases import random_rotation
        >>> world = variable_world(seed=0)
        >>> both = {"truth": world.featurizer, "random": random_rotation(world.featurizer.width, site="0")}
        >>> [row["name"] for row in compare(world.model, both, world.pairs(60, seed=1), seed=0).table()]
        ['truth', 'random']
    """
    if not contenders:
        raise InputError("there is nothing to compare: give at least one decomposition")
    for name, value in (("dimension", dimension), ("budget", budget)):
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}: at least 1, or None")
    sites = {str(one.site) for one in contenders.values()}
    if len(sites) > 1:
        raise InputError(f"the decompositions are of {', '.join(sorted(sites))}: only those of one site compare")
    for one in contenders.values():
        check_blocks_of(model, one, None)
    kept, share = solved_pairs(model, pairs)
    chosen_on, reported = split_pairs(kept, select=select, seed=seed)
    first = next(iter(contenders.values()))
    halves = [ready_pairs(model, first, part) for part in (chosen_on, reported)]
    measures = [logit_difference(part.answer, part.base_answer) for part in (chosen_on, reported)]
    whole = scores(halves[1], [None, exchange(halves[1], first, None)], measures[1]).mean(1)
    ranked = {name: _ranked(one, halves[0], measures[0], budget) for name, one in contenders.items()}
    size = max(one.first for one in ranked.values()) if dimension is None else dimension
    ground = _Ground(
        report=halves[1],
        measure=measures[1],
        groups=reported.groups,
        dimension=size,
        whole=float(whole[1] - whole[0]),
        rows=halves[1].base if rows is None else as_matrix(rows, name="rows"),
        concept=concept,
        draws=draws,
        seed=seed,
    )
    found = [_contended(name, one, ranked[name], ground) for name, one in contenders.items()]
    return Contest(
        site=sites.pop(),
        behaviour=behaviour,
        scope=measures[1].scope,
        contenders=tuple(found),
        dimension=size,
        budget=budget,
        whole=float(whole[1] - whole[0]),
        kept_share=share,
        n_select=len(chosen_on),
        n_report=len(reported),
        model=model.fingerprint,
        seed=seed,
    )


def unexplained(featurizer: Featurizer, rows: torch.Tensor) -> float:
    """The share of the rows' variance about their mean that the units miss: sum of squares over all entries.

    Args:
        featurizer: A decomposition.
        rows: (n, d) activations.
    """
    exact = rows.double()
    _, residual = featurizer.encode(exact)
    if not isinstance(featurizer, AffineFeaturizer):
        z, _ = featurizer.encode(exact)
        residual = exact - featurizer.decode(z, torch.zeros_like(exact))
    return float(residual.square().sum() / (exact - exact.mean(0)).square().sum().clamp_min(1e-300))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ground:
    """What all contenders share on the report half."""

    report: Patching
    measure: Behaviour
    groups: Any
    dimension: int
    whole: float
    rows: torch.Tensor
    concept: tuple[Any, Any, Any] | None
    draws: int
    seed: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ranked:
    """The blocks that a contender may choose from, best first, by the selection half."""

    affine: AffineFeaturizer
    slopes: np.ndarray
    """Of all its blocks; those it may not choose are NaN."""
    order: tuple[int, ...]

    @property
    def first(self) -> int:
        """Dimensions of its first choice."""
        return self.affine.blocks[self.order[0]]


def _ranked(featurizer: Featurizer, selection: Patching, measure: Behaviour, budget: int | None) -> _Ranked:
    affine = as_affine(featurizer)
    slopes = screen_blocks(selection, affine, measure)
    if budget is not None and budget < len(slopes):
        spread = affine.encode(selection.base.double())[0].var(0) * affine.write.double().square().sum(1)
        held = np.array([float(one.sum()) for one in spread.split(affine.blocks)])
        slopes = np.where(np.isin(np.arange(len(held)), np.argsort(-held, kind="stable")[:budget]), slopes, np.nan)
    order = np.argsort(-slopes, kind="stable")  # NaN comes last
    return _Ranked(affine=affine, slopes=slopes, order=tuple(order[: np.isfinite(slopes).sum()].tolist()))


def _contended(name: str, featurizer: Featurizer, ranked: _Ranked, ground: _Ground) -> Contender:
    affine, candidates, report = ranked.affine, len(ranked.order), ground.report
    blocks = _best(ranked, ground.dimension)
    found = interchange_effect(
        report, featurizer, blocks, ground.measure,
        groups=ground.groups, draws=ground.draws, budget=min(candidates, 64), seed=ground.seed,
    )  # fmt: skip
    return Contender(
        name=name,
        method=featurizer.provenance.method or type(featurizer).__name__,
        blocks=blocks,
        dimension=size_of(affine, blocks),
        candidates=candidates,
        effect=found,
        share=found.effect.value / ground.whole if ground.whole else float("nan"),
        participation=participation(ranked.slopes[list(ranked.order)]),
        unexplained=unexplained(featurizer, ground.rows),
        dormant=dormant_path(report, affine, blocks, ground.measure, seed=ground.seed),
        concept={} if ground.concept is None else _of_concept(affine, ground.concept, ground.seed),
    )


def _of_concept(affine: AffineFeaturizer, concept: tuple[Any, Any, Any], seed: int) -> dict[str, Estimate]:
    rows, labels, groups = concept
    absorbed = absorption(affine, rows, labels, groups, seed)
    units = affine.encode(as_matrix(rows, name="rows").double())[0]
    bits = code_length(units, labels, groups, seed, shuffles=0).bits
    return {
        "absorbed": absorbed.full, "absorbed_share": absorbed.fraction, "bits": bits,
        "row_bits": _row_bits(affine, rows, groups, seed),
    }  # fmt: skip


def _row_bits(affine: AffineFeaturizer, rows: Any, groups: Any, seed: int) -> Estimate:
    try:
        return description_length(affine, rows, groups, seed, tolerance=ROW_ERROR).bits
    except DataError as error:  # units that miss too much have no code at this error
        nothing = float("nan")
        return Estimate(value=nothing, low=nothing, high=nothing, n=len(rows), n_groups=0, warnings=(str(error),))


def _best(ranked: _Ranked, dimension: int) -> tuple[int, ...]:
    """The blocks of largest slope that fit into the dimension; one at least."""
    sizes, chosen = ranked.affine.blocks, [ranked.order[0]]
    left = dimension - ranked.first
    for block in ranked.order[1:]:
        if sizes[block] <= left and ranked.slopes[block] > 0:
            chosen.append(block)
            left -= sizes[block]
    return tuple(chosen)


def with_site(featurizer: Featurizer, site: str) -> Featurizer:
    """The featurizer at a site where it names none; one that belongs elsewhere is refused.

    Args:
        featurizer: A decomposition.
        site: The site to compare at.
    """
    if featurizer.site is None and isinstance(featurizer, AffineFeaturizer | NeuronFeaturizer):
        return replace(featurizer, site=site)
    if str(featurizer.site) != site:
        raise InputError(f"the decomposition is of {featurizer.site}, the comparison at {site}: fit it there")
    return featurizer
