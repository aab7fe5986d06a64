"""`SteeringPlan`: what an evidence card steers, how far, and what it may cost, declared before anything is looked at.

The line of the card is the odd part of the dose-response at the largest dose whose side effects stay within the bound
of `steering`, against random directions of equal norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unweave.errors import InputError
from unweave.evals.causing.behaviours import Behaviour
from unweave.evals.causing.causal import DRAWS
from unweave.evals.causing.changes import units_of, vector_of
from unweave.evals.causing.pairs import as_inputs
from unweave.evals.causing.patching import patching
from unweave.evals.causing.steering import DOSES, steering
from unweave.evals.findings import Finding, Prediction
from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import Featurizer
from unweave.features.neurons import NeuronFeaturizer, as_affine
from unweave.models.model import Model


@dataclass(frozen=True, kw_only=True, eq=False)
class SteeringPlan:
    """How an evidence card steers, declared with its predictions.

    Example:
        >>> from unweave.evals.causing.behaviours import logit_difference
        >>> SteeringPlan(behaviour=logit_difference([1], [0]), neutral=None).unit
        'sd'
    """

    behaviour: Behaviour
    """What should rise with the dose, one number an item of `inputs`."""
    neutral: Any
    """Inputs that have nothing to do with it: the dose that is tested is the largest with KL at most 0.1 nat a token
    there.
    """
    inputs: Any = None
    """What is steered, prompts with their continuations; None is the base inputs of the card."""
    positions: Any = "all"
    """Where the direction is added."""
    direction: Any = None
    """What is added; None is the write vector of the card's block, which then has one dimension."""
    doses: Any = DOSES
    """Symmetric about 0."""
    unit: str = "sd"
    schedule: Any = "always"
    prompts: Sequence[int] | None = None
    """Real tokens of each prompt, for schedules."""
    groups: Any = None
    """The group of each item of the behaviour."""


def planned_direction(featurizer: Featurizer, blocks: Sequence[int], plan: SteeringPlan) -> Any:
    """What is added: the plan's direction, else what the one unit of the block writes.

    Raises:
        InputError: The plan names no direction and the block has several dimensions.
    """
    if plan.direction is not None:
        return vector_of(plan.direction)
    units = units_of(featurizer, blocks)
    if len(units) != 1 or not isinstance(featurizer, AffineFeaturizer | NeuronFeaturizer):
        raise InputError(
            f"the block has {len(units)} dimensions: say which direction of it is steered, SteeringPlan(direction=...)"
        )
    return as_affine(featurizer).write[units[0]]


def steered(
    model: Model,
    site: str,
    inputs: Any,
    direction: Any,
    plan: SteeringPlan,
    *,
    prediction: Prediction | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Finding:
    """The steering test as it was planned."""
    return steering(
        patching(model, site, as_inputs(model, inputs), positions=plan.positions),
        direction,
        plan.behaviour,
        doses=plan.doses,
        unit=plan.unit,
        schedule=plan.schedule,
        prompts=plan.prompts,
        neutral=None if plan.neutral is None else patching(model, site, as_inputs(model, plan.neutral)),
        groups=plan.groups,
        prediction=prediction,
        draws=draws,
        seed=seed,
    )


def steered_line(found: Finding) -> str:
    """The finding in a sentence."""
    dose, costs = found.details["test_dose"], found.details["kl"]
    cost = "" if costs is None else f", KL {costs[found.details['doses'].index(dose)]:.2g} nat a token on neutral text"
    return f"Steered by {dose:g}{cost}: {found.effect.value:.3g} {found.unit}, {found.verdict.value}."
