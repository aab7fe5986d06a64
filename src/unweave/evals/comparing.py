"""`compare`: decompositions of one site side by side, at equal dimension and with the search that each had beside it.

Each contender chooses its best units on one half of the pairs, by the slope of the behaviour, until it has the
dimension; the other half tells what they cause, how concentrated the effect is over its units, and what the
decomposition leaves out. Controls of every contender are random subspaces of the same rank that were searched as
widely.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from unweave.errors import InputError, unknown_name
from unweave.evals.behaviours import Behaviour, logit_difference
from unweave.evals.causal import DRAWS, interchange_effect, ready_pairs
from unweave.evals.changes import check_blocks_of, exchange, size_of
from unweave.evals.dictionaries import topk_dictionary
from unweave.evals.findings import Finding
from unweave.evals.pairs import Pairs, solved_pairs, split_pairs
from unweave.evals.patching import Patching, scores
from unweave.evals.spread import participation, screen_blocks
from unweave.evals.validity import DormantPath, dormant_path
from unweave.features.affine import AffineFeaturizer
from unweave.features.bases import neurons, pca, random_rotation
from unweave.features.featurizer import Featurizer, Provenance
from unweave.features.neurons import as_affine
from unweave.models.model import Model
from unweave.tensors.arrays import as_matrix

MADE = ("neurons", "pca", "ica", "random", "topk", "topk-frozen")
"""Contenders that are made from the rows."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Contender:
    """What one decomposition did."""

    name: str
    method: str
    blocks: tuple[int, ...]
    """Chosen on the selection half."""
    dimension: int
    candidates: int
    """Blocks it could choose from."""
    effect: Finding
    """On the report half."""
    share: float
    """Of the whole site's effect."""
    participation: float
    """How many of its blocks take part, by the screen."""
    unexplained: float
    """Share of the variance of the rows that its units miss (FVU, pooled)."""
    dormant: DormantPath | None

    def row(self) -> dict[str, Any]:
        """As one row of a table."""
        found = self.effect.row()
        return {
            "name": self.name,
            "method": self.method,
            "dimension": self.dimension,
            "candidates": self.candidates,
            "blocks": list(self.blocks),
            "share": self.share,
            **{key: found[key] for key in ("effect", "low", "high", "control", "p_value", "verdict", "n")},
            "participation": self.participation,
            "unexplained": self.unexplained,
            "kept_by_reader": None if self.dormant is None else self.dormant.kept,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Contest:
    """Decompositions of one site, side by side."""

    site: str
    behaviour: str
    scope: str
    contenders: tuple[Contender, ...]
    dimension: int
    whole: float
    """Effect of the whole site on the report half."""
    kept_share: float
    n_select: int
    n_report: int
    model: str
    seed: int

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
    dimension: int = 1,
    behaviour: str = "logit difference",
    rows: Any = None,
    select: float = 0.4,
    draws: int = DRAWS,
    seed: int = 0,
) -> Contest:
    """Decompositions of one site at equal dimension on the same pairs.

    Args:
        model: The model.
        contenders: Name -> decomposition; all of one site. `contenders_of` makes the usual ones.
        pairs: Base, source and answers; those that the model solves are used.
        dimension: Dimensions that each may exchange; blocks that are larger count as they are.
        behaviour: The name of the measure, logit(answer) - logit(base answer).
        rows: Activations for the unexplained share; None takes those of the base.
        select: Share of the groups of pairs on which units are chosen.
        draws: Random controls of each.
        seed: Of split, controls and intervals.

    Raises:
        InputError: No contender, or contenders of several sites.
        DataError: The model does not show the behaviour.

    Example:
        >>> from unweave.evals.planted.module import variable_world
        >>> world = variable_world(seed=0)
        >>> both = {"truth": world.featurizer, "random": random_rotation(world.featurizer.width, site="0")}
        >>> [row["name"] for row in compare(world.model, both, world.pairs(60, seed=1), seed=0).table()]
        ['truth', 'random']
    """
    if not contenders:
        raise InputError("there is nothing to compare: give at least one decomposition")
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
    data = halves[1].base if rows is None else as_matrix(rows, name="rows")
    ground = _Ground(
        halves=tuple(halves),
        measures=tuple(measures),
        groups=reported.groups,
        dimension=dimension,
        whole=float(whole[1] - whole[0]),
        rows=data,
        draws=draws,
        seed=seed,
    )
    found = [_contended(name, one, ground) for name, one in contenders.items()]
    return Contest(
        site=sites.pop(),
        behaviour=behaviour,
        scope=measures[1].scope,
        contenders=tuple(found),
        dimension=dimension,
        whole=float(whole[1] - whole[0]),
        kept_share=share,
        n_select=len(chosen_on),
        n_report=len(reported),
        model=model.fingerprint,
        seed=seed,
    )


def contenders_of(
    rows: Any,
    *,
    site: str,
    names: Sequence[str] = MADE,
    model: str | None = None,
    units: int | None = None,
    steps: int = 300,
    seed: int = 0,
) -> dict[str, Featurizer]:
    """The usual decompositions, made from the same rows.

    Args:
        rows: (n, d) activations of the site.
        site: Where they come from.
        names: `neurons`, `pca`, `ica` (scikit-learn), `random`, `topk` (a small trained dictionary), `topk-frozen` (its
            twin with a random decoder).
        model: Fingerprint of the model.
        units: Of the dictionaries; None is twice the width.
        steps: Of their training.
        seed: Of everything random.

    Raises:
        UnknownName: Another name.

    Example:
        >>> sorted(contenders_of(torch.randn(60, 3), site="0", names=("pca", "random")))
        ['pca', 'random']
    """
    data = as_matrix(rows, name="rows")
    width = data.shape[1]
    count = units or 2 * width
    made: dict[str, Featurizer] = {}
    for name in names:
        if name == "neurons":
            made[name] = neurons(width, site=site, model=model)
        elif name == "pca":
            made[name] = pca(data, site=site, model=model)
        elif name == "random":
            made[name] = random_rotation(width, seed=seed, origin=data.double().mean(0), site=site, model=model)
        elif name == "ica":
            made[name] = _ica(data, site=site, model=model, seed=seed)
        elif name in ("topk", "topk-frozen"):
            made[name] = topk_dictionary(
                data,
                count,
                active=min(8, count),
                steps=steps,
                frozen=name == "topk-frozen",
                seed=seed,
                site=site,
                model=model,
            )
        else:
            raise unknown_name("decomposition", name, MADE)
    return made


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
    """What all contenders share."""

    halves: tuple[Patching, ...]
    measures: tuple[Behaviour, ...]
    groups: Any
    dimension: int
    whole: float
    rows: torch.Tensor
    draws: int
    seed: int


def _contended(name: str, featurizer: Featurizer, ground: _Ground) -> Contender:
    (selection, report), (screen, measure), seed = ground.halves, ground.measures, ground.seed
    affine = as_affine(featurizer)
    screened = screen_blocks(selection, affine, screen)
    blocks = _best(affine, screened, ground.dimension)
    candidates = len(affine.blocks)
    found = interchange_effect(
        report, featurizer, blocks, measure,
        groups=ground.groups, draws=ground.draws, budget=min(candidates, 64), seed=seed,
    )  # fmt: skip
    return Contender(
        name=name,
        method=featurizer.provenance.method or type(featurizer).__name__,
        blocks=blocks,
        dimension=size_of(affine, blocks),
        candidates=candidates,
        effect=found,
        share=found.effect.value / ground.whole if ground.whole else float("nan"),
        participation=participation(screened),
        unexplained=unexplained(featurizer, ground.rows),
        dormant=dormant_path(report, affine, blocks, measure, seed=seed),
    )


def _best(featurizer: AffineFeaturizer, screened: np.ndarray, dimension: int) -> tuple[int, ...]:
    """The blocks of largest slope that fit into the dimension; one at least."""
    order = np.argsort(-screened, kind="stable").tolist()
    chosen, left = [order[0]], dimension - featurizer.blocks[order[0]]
    for block in order[1:]:
        if featurizer.blocks[block] <= left and screened[block] > 0:
            chosen.append(block)
            left -= featurizer.blocks[block]
    return tuple(chosen)


def _ica(data: torch.Tensor, *, site: str, model: str | None, seed: int) -> AffineFeaturizer:
    """Independent components by scikit-learn, as an affine map and back."""
    import warnings

    from sklearn.decomposition import FastICA

    fitted: Any = FastICA(whiten="unit-variance", max_iter=400, tol=1e-3, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # components that have not settled yet are a comparator all the same
        fitted.fit(data.double().numpy())
    return AffineFeaturizer(
        read=torch.from_numpy(fitted.components_.T.copy()),
        write=torch.from_numpy(fitted.mixing_.T.copy()),
        origin=torch.from_numpy(fitted.mean_.copy()),
        site=site,
        gauge="scale",
        provenance=Provenance(method="ica", model=model, rows=len(data), seed=seed),
    )


def with_site(featurizer: Featurizer, site: str) -> Featurizer:
    """The featurizer at a site where it names none; one that belongs elsewhere is refused.

    Args:
        featurizer: A decomposition.
        site: The site to compare at.
    """
    if featurizer.site is None and isinstance(featurizer, AffineFeaturizer):
        return replace(featurizer, site=site)
    if str(featurizer.site) != site:
        raise InputError(f"the decomposition is of {featurizer.site}, the comparison at {site}: fit it there")
    return featurizer
