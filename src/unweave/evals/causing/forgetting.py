"""`forgetting`: how far a model can be made to forget one kind of question by its units and keep answering others (E25).

Units are ranked on the selection groups by how much more of the right answer they carry, to first order, on the target
than on the other questions; a setting scales so many of them by so much. Of the settings that keep the other questions
the one that forgets most is chosen there, and measured on the report groups beside the same setting with random units.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `score` | 1 - min over settings of acc(target), acc(side) >= .99 acc_clean(side) | share | minimum and bound on the selection groups, value on the others | specs/evaluation.md, E25 |
| `carried` | mean z_f (dP/dh . w_f), P the probability of the right answer | (k,) | target less others | our own; attribution to first order |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweave.errors import DataError, InputError
from unweave.evals.averages import mean_estimate
from unweave.evals.causing.behaviours import answered, probability
from unweave.evals.causing.causal import DRAWS
from unweave.evals.causing.changes import check_blocks_of, scaled
from unweave.evals.causing.patching import Change, Patching, gradient, patching, scores
from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import Featurizer, units
from unweave.features.neurons import as_affine
from unweave.models.model import Model
from unweave.tensors.estimate import Estimate
from unweave.tensors.multiplicity import rank_p
from unweave.tensors.splits import chosen_on, grouping

KEPT = 0.99
"""Share of the clean accuracy on other questions that must be left."""
COUNTS, SCALES = (1, 2, 5, 10), (0.0, -1.0, -4.0)
LEAST_GROUPS = 4


@dataclass(frozen=True, kw_only=True)
class Questions:
    """Inputs with their right answers."""

    inputs: Any
    """`Tokens` or ids; for a plain module its inputs."""
    answers: Any
    """One token id or class an input."""
    among: Any = None
    """The answers that compete; None is the whole vocabulary."""
    groups: Any = None


@dataclass(frozen=True, kw_only=True)
class Forgetting:
    """What was forgotten and what was kept."""

    score: Estimate
    """1 - accuracy on the target's report groups; the control is the mean over as many random units, the p-value the
    rank among them, the null what the untouched model gets wrong.
    """
    kept: Estimate
    """Accuracy on the other questions' report groups."""
    clean: tuple[float, float]
    """Accuracy of the untouched model on the report groups: target, other questions."""
    units: tuple[int, ...]
    """That are scaled."""
    scale: float
    settings: int
    """That were tried on the selection groups."""

    def row(self) -> dict[str, Any]:
        """As one row of a table."""
        return {
            "score": self.score.value, "low": self.score.low, "high": self.score.high, "control": self.score.control,
            "p_value": self.score.p_value, "kept": self.kept.value, "kept_low": self.kept.low,
            "clean_target": self.clean[0], "clean_kept": self.clean[1], "units": list(self.units), "scale": self.scale,
            "settings": self.settings, "n": self.score.n,
        }  # fmt: skip

    def __repr__(self) -> str:
        """What was forgotten and kept."""
        return f"Forgetting({self.score.value:.2f} of the target, {self.kept.value:.2f} kept, {len(self.units)} units)"


def forgetting(
    model: Model,
    featurizer: Featurizer,
    target: Questions,
    others: Questions,
    *,
    counts: Sequence[int] = COUNTS,
    scales: Sequence[float] = SCALES,
    draws: int = DRAWS,
    seed: int = 0,
) -> Forgetting:
    """How much of the target can be forgotten while the other questions are still answered.

    Args:
        model: The model.
        featurizer: Affine up to its nonlinearity, at one site.
        target: Questions to forget.
        others: Questions to keep.
        counts: How many units a setting scales.
        scales: By what; 0 takes them out, below 0 turns them round.
        draws: Random sets of as many units.
        seed: Of split, controls and bootstrap.

    Raises:
        InputError: A featurizer of several sites, no setting, or not one answer an input.
        DataError: Fewer than four groups of either kind, or no setting keeps the other questions.

    Source:
        specs/evaluation.md, E25; Farrell, Lau and Conmy 2024 (arXiv 2410.19278).

    Example:
        >>> from unweave.evals.planted.module import variable_world
        >>> world = variable_world(seed=0)
        >>> target, others = (
        ...     Questions(inputs=x, answers=a if about == "a" else 2 + b, among=(0, 1, 2, 3))
        ...     for about in "ab" for x, a, b in [world.inputs(60, seed=1, about=about)]
        ... )
        >>> found = forgetting(world.model, world.featurizer, target, others, counts=(1, 2))
        >>> found.score.value > 0.9 and found.kept.value > 0.9, world.true in found.units
        (True, True)
    """
    check_blocks_of(model, featurizer, None)
    if not counts or not scales or not all(1 <= count <= units(featurizer) for count in counts):
        raise InputError(
            f"counts are {list(counts)}, scales {list(scales)}: 1 to {units(featurizer)} units, and a scale"
        )
    sides = [_Side(model, featurizer, one, what, seed) for one, what in ((target, "target"), (others, "other"))]
    order = _ranked(featurizer, sides)
    settings = [(order[:count], float(scale)) for count, scale in product(counts, scales)]
    tried = [side.accuracies(featurizer, [None, *settings])[:, ~side.report].mean(1) for side in sides]
    able = tried[1][1:] >= KEPT * tried[1][0]
    if not able.any():
        raise DataError(
            f"no setting keeps {KEPT:.0%} of the accuracy on the other questions ({tried[1][0]:.2f}): the best keeps"
            f" {tried[1][1:].max():.2f}, give fewer units or smaller scales"
        )
    best = settings[int(np.where(able, tried[0][1:], np.inf).argmin())]
    rng = np.random.default_rng([seed, 47])
    random = [(rng.choice(units(featurizer), len(best[0]), replace=False).tolist(), best[1]) for _ in range(draws)]
    forgot, kept = (side.accuracies(featurizer, [None, best, *random])[:, side.report] for side in sides)
    wrong = 1 - forgot.mean(1)
    score = mean_estimate(1 - forgot[1], sides[0].codes[sides[0].report], seed=seed, bounds=(0.0, 1.0))
    return Forgetting(
        score=replace(
            score, null=float(wrong[0]), control=float(wrong[2:].mean()), p_value=rank_p(float(wrong[1]), wrong[2:])
        ),
        kept=mean_estimate(kept[1], sides[1].codes[sides[1].report], seed=seed, bounds=(0.0, 1.0)),
        clean=(float(forgot[0].mean()), float(kept[0].mean())),
        units=tuple(best[0]),
        scale=best[1],
        settings=len(settings),
    )


class _Side:
    """The questions of one kind, run up to the site."""

    def __init__(self, model: Model, featurizer: Featurizer, asked: Questions, what: str, seed: int) -> None:
        self.ready: Patching = patching(model, str(featurizer.site), asked.inputs)
        if len(asked.answers) != self.ready.rows:
            raise InputError(
                f"there are {self.ready.rows} {what} questions and {len(asked.answers)} answers: one each is needed"
            )
        self.answers = asked.answers
        self.right = answered(asked.answers, among=asked.among)
        groups = grouping(asked.groups, self.ready.rows)
        self.codes = groups.codes
        self.report: Bool[np.ndarray, " n"] = ~chosen_on(
            groups, select=0.5, seed=seed, least=LEAST_GROUPS, of=f"{what} questions"
        )

    def accuracies(self, featurizer: Featurizer, settings: Sequence[Any]) -> Float[np.ndarray, "settings n"]:
        """Whether each question is answered rightly under each setting."""
        changes: list[Change | None] = [None if one is None else scaled(featurizer, *one) for one in settings]
        return scores(self.ready, changes, self.right)

    def carried(self, affine: AffineFeaturizer) -> Float[Tensor, " k"]:
        """What each unit carries of the right answer on the questions that choose, to first order."""
        slope = gradient(self.ready, probability([[int(one)] for one in self.answers])).double()
        chosen = torch.from_numpy(~self.report)[self.ready.row]
        z = affine.encode(self.ready.base[chosen].double())[0]
        return (z * (slope[chosen] @ affine.write.double().T)).sum(0) / float((~self.report).sum())


def _ranked(featurizer: Featurizer, sides: Sequence[_Side]) -> list[int]:
    """Units by how much more they carry on the target, the first most."""
    affine = as_affine(featurizer)
    carried = [side.carried(affine) for side in sides]
    return (carried[0] - carried[1].clamp_min(0)).argsort(descending=True).tolist()
