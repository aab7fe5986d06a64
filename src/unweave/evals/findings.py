"""`Finding`: one test of one representation, with its controls and a verdict by a rule that was fixed before.

A claim is a prediction: the effect exceeds the mean of its random controls by more than a margin. It is supported if the
lower limit of the paired difference lies beyond the margin (the inputs could have been others) and the effect is among
the largest of its controls (the block could have been any other); refuted if the upper limit stays below the margin;
else undecided. The first alone is no test of a block: some random block has a little of everything.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `difference` | e - mean_b e_b | scalar | paired by item, interval over groups | specs/evaluation.md, section 8 |
| `p_value` | (1 + #(T_b >= T)) / (1 + B) | scalar | rank among B random controls of equal rank and norm | same |
| `margin` | m | scalar | declared before the rows are seen | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from unweave.errors import InputError, unknown_name
from unweave.tensors.estimate import Estimate
from unweave.tensors.multiplicity import rank_p
from unweave.tensors.paired import Paired, resampled
from unweave.tensors.splits import grouping

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Of the null that are kept."""
LEAST_DRAWS = 19
"""Fewer controls than that cannot show a p-value of .05."""


class Verdict(Enum):
    """What follows from a prediction and what was measured."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    UNDECIDED = "undecided"
    CANNOT = "not tested: the model does not show the behaviour"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What is claimed, fixed before the rows of the report are looked at.

    Example:
        >>> Prediction(margin=0.1)
        Prediction(margin=0.1, direction='greater', level=0.05)
    """

    margin: float = 0.0
    """How much the effect must exceed that of the controls, in its unit."""
    direction: str = "greater"
    """`greater`, or `less` where the effect is a drop."""
    level: float = 0.05
    """Of the rank among the controls."""

    def __post_init__(self) -> None:
        """Raises if it claims nothing that can be tested."""
        if self.direction not in ("greater", "less"):
            raise unknown_name("direction", self.direction, ("greater", "less"))
        if not (self.margin >= 0 and 0 < self.level < 1):
            raise InputError(f"margin {self.margin} and level {self.level}: 0 or more, and between 0 and 1, are needed")


@dataclass(frozen=True, kw_only=True, eq=False)
class Finding:
    """One test with its controls."""

    test: str
    formula: str
    unit: str
    scope: str
    """`sequence` or `first-token`: what of the output was measured."""
    effect: Estimate
    """Mean over items; its control is the mean over random controls."""
    difference: Estimate
    """Effect minus control, paired by item; its p-value is the rank among the controls."""
    values: Float[np.ndarray, " items"]
    """The effect on each item."""
    null: tuple[float, ...]
    """Effects of the controls at the quantiles 0, .05, .25, .5, .75, .95, 1."""
    draws: int
    floor: float | None
    """The same measurement where nothing is done."""
    ceiling: float | None
    """The same measurement where the whole site is exchanged or removed."""
    prediction: Prediction
    verdict: Verdict
    details: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def supported(self) -> bool:
        """Whether the verdict is that the prediction holds."""
        return self.verdict is Verdict.SUPPORTED

    def row(self) -> dict[str, Any]:
        """The finding as one row of a table."""
        return {
            "test": self.test,
            "unit": self.unit,
            "scope": self.scope,
            "effect": self.effect.value,
            "low": self.effect.low,
            "high": self.effect.high,
            "control": self.effect.control,
            "difference": self.difference.value,
            "difference_low": self.difference.low,
            "difference_high": self.difference.high,
            "p_value": self.difference.p_value,
            "floor": self.floor,
            "ceiling": self.ceiling,
            "n": self.effect.n,
            "n_groups": self.effect.n_groups,
            "draws": self.draws,
            "seed": self.effect.seed,
            "margin": self.prediction.margin,
            "verdict": self.verdict.value,
        }

    def __repr__(self) -> str:
        """Test, effect, control and verdict."""
        return (
            f"Finding({self.test}: {self.effect.value:.3g} {self.unit}, control {self.effect.control or 0:.3g},"
            f" {self.verdict.value})"
        )


def finding(
    test: str,
    formula: str,
    values: Float[np.ndarray, " items"],
    controls: Float[np.ndarray, "draws items"],
    *,
    unit: str,
    scope: str,
    groups: Any = None,
    prediction: Prediction | None = None,
    floor: float | None = None,
    ceiling: float | None = None,
    seed: int = 0,
    intervals: Paired = resampled,
    details: Mapping[str, Any] | None = None,
    warnings: tuple[str, ...] = (),
) -> Finding:
    """A finding from the effect on each item and that of each random control on each item.

    Args:
        test: Its name.
        formula: What was measured.
        values: One effect an item; NaN where an item has none.
        controls: The same for each draw.
        unit: Of the effects.
        scope: `sequence` or `first-token`.
        groups: The group of each item; None makes each its own.
        prediction: What is claimed; None claims an effect above the controls.
        floor: The effect where nothing is done.
        ceiling: The effect of the whole site.
        seed: Of the intervals.
        intervals: How they are made; `unweave.tensors.paired.binomial` where the values are shares.
        details: Plain values that belong to it.
        warnings: What a reader must know.

    Raises:
        InputError: Fewer than `LEAST_DRAWS` controls, or shapes that do not fit.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> found = finding("t", "f", 1 + rng.normal(size=60), rng.normal(size=(39, 60)), unit="u", scope="sequence")
        >>> found.verdict.value, found.draws
        ('supported', 39)
    """
    claim = prediction or Prediction()
    if controls.ndim != 2 or controls.shape[1:] != values.shape or len(controls) < LEAST_DRAWS:
        raise InputError(
            f"controls have shape {controls.shape} for {len(values)} items: at least {LEAST_DRAWS} draws, one column an"
            " item, are needed for a rank of .05"
        )
    sign = 1.0 if claim.direction == "greater" else -1.0
    codes = codes_of(groups, len(values))
    level = np.nanmean(controls, axis=1)
    rank = rank_p(sign * float(np.nanmean(values)), sign * level)
    own, apart = intervals(np.asarray(values, np.float64), controls.mean(0), codes, seed=seed)
    difference = replace(apart, p_value=rank, null=0.0)
    few = ("first token only: it says nothing of what follows",) if scope == "first-token" else ()
    return Finding(
        test=test,
        formula=formula,
        unit=unit,
        scope=scope,
        effect=replace(own, control=float(level.mean()), p_value=rank),
        difference=difference,
        values=np.asarray(values, dtype=np.float64),
        null=tuple(float(one) for one in np.quantile(level, QUANTILES)),
        draws=len(controls),
        floor=floor,
        ceiling=ceiling,
        prediction=claim,
        verdict=judged(difference, claim, rank),
        details=dict(details or {}),
        warnings=(*warnings, *few, *difference.warnings),
    )


def judged(difference: Estimate, claim: Prediction, rank: float | None) -> Verdict:
    """The verdict by the rule of this file."""
    low, high = (
        (difference.low, difference.high) if claim.direction == "greater" else (-difference.high, -difference.low)
    )
    if low > claim.margin and (rank is None or rank <= claim.level):
        return Verdict.SUPPORTED
    return Verdict.REFUTED if high < claim.margin else Verdict.UNDECIDED


def codes_of(groups: Any, count: int) -> Int[np.ndarray, " items"]:
    """The groups of items, numbered from 0; None makes each its own."""
    if groups is None:
        return np.arange(count)
    return grouping(groups, count).codes
