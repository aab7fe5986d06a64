"""`EvidenceCard`: one representation, all its causal tests, and a verdict by thresholds that were declared beforehand.

card = held-out pairs + interchange (accuracy and effect) + ablation + dormant path + naturalness + agreement,
and with a plan the dose-response of steering beside its side effects

The verdict is that of the required tests together: supported if each is and the effect does not come from a dormant
path, refuted if one is, undecided otherwise, and not tested where the model does not show the behaviour. Rows that the
representation was chosen on are refused.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from unweave.artifact import fingerprint
from unweave.errors import DataError, InputError, unknown_name
from unweave.evals.card_controls import CONTROLS, usual_controls
from unweave.evals.causing.behaviours import Behaviour, logit_difference
from unweave.evals.causing.causal import DRAWS, interchange_accuracy, interchange_effect, ready_pairs
from unweave.evals.causing.changes import check_blocks_of, exchange, size_of
from unweave.evals.causing.curves import rank_correlation
from unweave.evals.causing.pairs import Pairs, solved_pairs
from unweave.evals.causing.patching import Patching, content_ids
from unweave.evals.causing.removal import ablate_block
from unweave.evals.causing.steering_plan import SteeringPlan, planned_direction, steered, steered_line
from unweave.evals.causing.validity import DormantPath, Naturalness, dormant_path, naturalness
from unweave.evals.findings import Finding, Prediction, Verdict
from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import Featurizer
from unweave.features.neurons import NeuronFeaturizer
from unweave.models.model import Model
from unweave.models.tokens import Tokens

TESTS = ("interchange accuracy", "interchange effect", "mean ablation", "steering")
PREDICTIONS: Mapping[str, Prediction] = MappingProxyType(
    {"interchange accuracy": Prediction(margin=0.1), "interchange effect": Prediction()}
)
"""What is claimed of a representation unless something else is: both must hold."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EvidenceCard:
    """What is known of one representation."""

    concept: str
    site: str
    basis: str
    """How it was found."""
    blocks: tuple[int, ...]
    size: int
    """Dimensions."""
    candidates: int
    """From how many it was chosen."""
    selected_on: int
    """Inputs it was chosen on; none of them is among those of the card."""
    findings: tuple[Finding, ...]
    dormant: DormantPath | None
    natural: Naturalness | None
    agreement: Mapping[str, float]
    """Pair of tests -> rank correlation of their effects over items."""
    predictions: Mapping[str, Prediction]
    """Test -> what was claimed of it; these decide."""
    verdict: Verdict
    reason: str
    """The verdict in a sentence."""
    controls: Mapping[str, float]
    """Control -> interchange effect: principal components of equal rank, the sources of other pairs, the same model
    with random weights.
    """
    kept_share: float | None
    """Share of the pairs that the model solves with nothing changed."""
    n: int
    model: str
    """Fingerprint."""
    data: str
    """Fingerprint of the inputs."""
    seed: int
    warnings: tuple[str, ...] = ()
    seconds: float | None = None

    def finding(self, test: str) -> Finding:
        """The finding of a test.

        Args:
            test: Its name.
        """
        for one in self.findings:
            if one.test == test:
                return one
        raise unknown_name("test", test, [one.test for one in self.findings])

    def table(self) -> list[dict[str, Any]]:
        """One dictionary a test."""
        return [{**one.row(), "required": one.test in self.predictions} for one in self.findings]

    def row(self) -> dict[str, Any]:
        """The card as one row of a table of cards."""
        return {
            "concept": self.concept,
            "site": self.site,
            "basis": self.basis,
            "blocks": list(self.blocks),
            "size": self.size,
            "candidates": self.candidates,
            "n": self.n,
            "verdict": self.verdict.value,
            "reason": self.reason,
        }

    def summary(self) -> str:
        """A few sentences."""
        path = "" if self.dormant is None else f" {_path(self.dormant)}"
        natural = "" if self.natural is None else f" {_natural(self.natural)}"
        unit = f"block{'s' * (len(self.blocks) > 1)} {', '.join(map(str, self.blocks))} of {self.basis} at {self.site}"
        steered = "".join(f" {steered_line(one)}" for one in self.findings if one.test == TESTS[3])
        told = "was not tested:" if self.verdict is Verdict.CANNOT else "is"
        beside = f" {_beside(self)}" if self.controls else ""
        return f"That {unit} carries {self.concept!r} {told} {self.reason}{beside}{path}{natural}{steered}"

    def __repr__(self) -> str:
        """Concept, site and verdict."""
        return f"EvidenceCard({self.concept!r}, {self.site}, {len(self.findings)} tests, {self.verdict.value})"


def card(
    model: Model,
    featurizer: Featurizer,
    block: Any,
    pairs: Pairs,
    *,
    concept: str,
    behaviour: Behaviour | None = None,
    predictions: Mapping[str, Prediction] = PREDICTIONS,
    selected_on: Any = None,
    candidates: int = 1,
    held_out: Any = None,
    steer: SteeringPlan | None = None,
    controls: Sequence[str] = CONTROLS,
    draws: int = DRAWS,
    seed: int = 0,
) -> EvidenceCard:
    """The evidence card of a block of a featurizer.

    Args:
        model: The model.
        featurizer: With the block, at one site.
        block: Number or numbers.
        pairs: Base, source and answers, none of which the block was chosen on.
        concept: What the block is claimed to represent.
        behaviour: A measure of the base inputs; None is logit(answer) - logit(base answer) at the last token.
        predictions: Test -> what is claimed of it, declared before; these tests decide.
        selected_on: Inputs, or their content ids, that the block was chosen on.
        candidates: From how many blocks it was chosen; the controls of the interchange get as many.
        held_out: Inputs that tell how activations lie when nothing is edited; None takes the sources.
        steer: What is steered, how far and what it may cost; None leaves the test out. It decides if `predictions` has
            `steering`.
        controls: Which of the usual controls stand beside the effect; `random weights` makes the model a second time.
        draws: Random controls of each test.
        seed: Of controls and intervals.

    Raises:
        InputError: A row of the report is among those of the selection, a prediction about no test or about steering
            without a plan, or a plan without a direction for a block of several dimensions.
        FingerprintError: The featurizer was fitted on another model.

    Example:
        >>> from unweave.evals.planted.module import variable_world
        >>> world = variable_world(seed=0)
        >>> pairs = world.pairs(60, seed=1)
        >>> found = card(world.model, world.featurizer, world.true, pairs, concept="the variable")
        >>> found.verdict.value
        'supported'
    """
    start = time.process_time()
    _check_claims(predictions, controls, steer)
    blocks = check_blocks_of(model, featurizer, block) or tuple(range(len(featurizer.blocks)))
    direction = None if steer is None else planned_direction(featurizer, blocks, steer)
    chosen_on = _ids(selected_on)
    _refuse_overlap(pairs, chosen_on)
    facts: dict[str, Any] = {
        "concept": concept,
        "site": str(featurizer.site),
        "basis": featurizer.provenance.method or type(featurizer).__name__,
        "blocks": blocks,
        "size": size_of(featurizer, blocks),
        "candidates": candidates,
        "selected_on": len(chosen_on),
        "predictions": dict(predictions),
        "model": model.fingerprint,
        "data": fingerprint(sorted(_ids(pairs))),
        "seed": seed,
    }
    try:
        kept, share = solved_pairs(model, pairs)
    except DataError as error:
        return EvidenceCard(
            **facts, findings=(), dormant=None, natural=None, agreement={}, verdict=Verdict.CANNOT, reason=str(error),
            controls={}, kept_share=None, n=len(pairs), seconds=time.process_time() - start,
        )  # fmt: skip
    ready = ready_pairs(model, featurizer, kept)
    measure = behaviour or logit_difference(kept.answer, kept.base_answer)
    findings = _findings(model, featurizer, blocks, kept, ready, measure, facts, draws)
    if steer is not None:
        claim = predictions.get(TESTS[3])
        site, given = str(featurizer.site), kept.base if steer.inputs is None else steer.inputs
        findings += (steered(model, site, given, direction, steer, prediction=claim, draws=draws, seed=seed),)
    dormant = _dormant(ready, featurizer, blocks, measure, seed)
    natural = naturalness(ready, exchange(ready, featurizer, blocks), kept.source if held_out is None else held_out)
    beside, missing = usual_controls(ready, featurizer, blocks, kept, measure, names=controls, seed=seed)
    verdict, reason = _judged(findings, dormant, predictions)
    warnings = _warnings(findings, natural, chosen_on) + missing
    return EvidenceCard(
        **facts, findings=findings, dormant=dormant, natural=natural, agreement=_agreement(findings), verdict=verdict,
        reason=reason, controls=beside, kept_share=share, n=len(kept), warnings=warnings,
        seconds=time.process_time() - start,
    )  # fmt: skip


def _check_claims(predictions: Mapping[str, Prediction], controls: Sequence[str], steer: SteeringPlan | None) -> None:
    for kind, names, known in (("test", predictions, TESTS), ("control", controls, CONTROLS)):
        for name in names:
            if name not in known:
                raise unknown_name(kind, name, known)
    if TESTS[3] in predictions and steer is None:
        raise InputError("steering is predicted but not planned: give steer=uw.evals.SteeringPlan(...)")


def _warnings(findings: Sequence[Finding], natural: Naturalness, chosen_on: frozenset[str]) -> tuple[str, ...]:
    told = tuple(dict.fromkeys(one for found in findings for one in found.warnings))
    if natural.off_distribution:
        told += ("the edited activations lie beyond the 99th percentile of held-out ones: off-distribution",)
    if not chosen_on:
        told += ("no selection rows were named: that the block was not chosen on these rows is the user's word",)
    return told


def _findings(
    model: Model,
    featurizer: Featurizer,
    blocks: Sequence[int],
    kept: Pairs,
    ready: Patching,
    measure: Behaviour,
    facts: Mapping[str, Any],
    draws: int,
) -> tuple[Finding, ...]:
    claims, seed = facts["predictions"], facts["seed"]
    opposite = logit_difference(kept.base_answer, kept.answer)
    budget = facts["candidates"] if ready.section is not None else 1
    return (
        interchange_accuracy(
            model, featurizer, blocks, kept,
            prediction=claims.get(TESTS[0]), draws=draws, budget=budget, seed=seed,
        ),
        interchange_effect(
            ready, featurizer, blocks, measure,
            groups=kept.groups, prediction=claims.get(TESTS[1]), draws=draws, budget=budget, seed=seed,
        ),
        ablate_block(
            ready, featurizer, blocks, opposite,
            groups=kept.groups, prediction=claims.get(TESTS[2]), draws=draws, seed=seed,
        ),
    )  # fmt: skip


def _judged(
    findings: Sequence[Finding], dormant: DormantPath | None, predictions: Mapping[str, Prediction]
) -> tuple[Verdict, str]:
    required = [one for one in findings if one.test in predictions]
    if not required:
        return Verdict.UNDECIDED, "undecided: nothing was predicted, so nothing follows."
    refuted = [one.test for one in required if one.verdict is Verdict.REFUTED]
    open_ = [one.test for one in required if one.verdict is Verdict.UNDECIDED]
    if refuted:
        return Verdict.REFUTED, f"refuted: {', '.join(refuted)} not above the random controls."
    if dormant is not None and dormant.illusory:
        told = "undecided, illusory: the effect runs through a path that the site's reader does not see."
        return Verdict.UNDECIDED, told
    if open_:
        return Verdict.UNDECIDED, f"undecided: {', '.join(open_)} does not tell it from the random controls."
    return Verdict.SUPPORTED, f"supported by {' and '.join(one.test for one in required)}."


def _dormant(
    ready: Patching, featurizer: Featurizer, blocks: Sequence[int], measure: Behaviour, seed: int
) -> DormantPath | None:
    """None where the featurizer has no matrices or what follows the site is not known as a function."""
    affine = isinstance(featurizer, AffineFeaturizer | NeuronFeaturizer)
    return dormant_path(ready, featurizer, blocks, measure, seed=seed) if affine and ready.section is not None else None


def _agreement(findings: Sequence[Finding]) -> dict[str, float]:
    found = {}
    for number, one in enumerate(findings):
        for two in findings[number + 1 :]:
            if len(one.values) == len(two.values):
                found[f"{one.test} / {two.test}"] = rank_correlation(one.values, two.values)
    return found


def _refuse_overlap(pairs: Pairs, chosen_on: frozenset[str]) -> None:
    both = _ids(pairs) & chosen_on
    if both:
        raise InputError(
            f"{len(both)} inputs of the report are among the {len(chosen_on)} that the block was chosen on: split with"
            " uw.evals.split_pairs first and report on the other part"
        )


def _ids(given: Any) -> frozenset[str]:
    if given is None:
        return frozenset()
    if isinstance(given, Pairs):
        return content_ids(_plain(given.base)) | content_ids(_plain(given.source))
    if isinstance(given, Collection) and not isinstance(given, Tokens) and all(isinstance(one, str) for one in given):
        return frozenset(given)
    return content_ids(_plain(given))


def _plain(inputs: Any) -> Any:
    return inputs if isinstance(inputs, Tokens | torch.Tensor) else torch.as_tensor(np.asarray(inputs))


def _beside(card: EvidenceCard) -> str:
    own = card.finding(TESTS[1]).effect.value
    others = ", ".join(f"{name} {value:.3g}" for name, value in card.controls.items())
    return f"Interchange effect {own:.3g}; {others}."


def _path(found: DormantPath) -> str:
    share = "no effect to split" if not np.isfinite(found.kept) else f"{found.kept:.0%} of the effect"
    return f"Within the row space of {found.reader}: {share}."


def _natural(found: Naturalness) -> str:
    worst = max(found.nearest + found.mahalanobis)
    return f"Edited activations lie at the {worst:.0f}th percentile of {found.rows} held-out rows at worst."
