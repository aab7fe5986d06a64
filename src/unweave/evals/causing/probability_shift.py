"""`probability_shift`: whether moving statements by one class difference along a direction moves what the model calls them.

The step is the part of the difference of the class means that lies along the direction, so its size is that of the data.
It is taken both ways; half the difference is the effect. The two probabilities together say whether the model answers
with these words at all: where they are small, a shift means little.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `step` | (delta . u_hat) u_hat | (d,) | delta the mean difference, u_hat the direction at length 1 | Marks and Tegmark 2023 (arXiv 2310.06824), section 5; specs/evaluation.md E16 |
| `shift` | (PD(h + step) - PD(h - step)) / 2 | share | PD = P(TRUE) - P(FALSE) | same |
| `mass` | P(TRUE) + P(FALSE) | share | 1: the model answers with nothing else | same |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from unweave.errors import InputError
from unweave.evals.causing.behaviours import FIRST_TOKEN, probability
from unweave.evals.causing.causal import DRAWS
from unweave.evals.causing.changes import add, random_bases, vector_of
from unweave.evals.causing.patching import Patching, scores
from unweave.evals.findings import Finding, Prediction, finding

LEAST_MASS = 0.1
"""Below this the words are not the model's answer."""


def probability_shift(
    patched: Patching,
    direction: Any,
    difference: Any,
    true: Sequence[int],
    false: Sequence[int],
    *,
    groups: Any = None,
    prediction: Prediction | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Finding:
    """The change of P(TRUE) - P(FALSE) when statements move along a direction, against random directions and steps of
    equal length.

    Args:
        patched: Statements, with the places that are moved; no source is needed.
        direction: A `Direction` or a vector; a read-out is refused.
        difference: The mean difference of true and false statements, fitted on others: its part along the direction is
            the step.
        true: Token ids that say true.
        false: Token ids that say false.
        groups: The group of each statement.
        prediction: What is claimed of the shift.
        draws: Random directions.
        seed: Of directions and interval.

    Returns:
        The finding; its details hold the step's length, P(TRUE) - P(FALSE) and P(TRUE) + P(FALSE) as they are and after
            either step.

    Raises:
        InputError: A token that says both, or vectors of different width.

    Example:
        >>> from unweave.evals.causing.patching import patching
        >>> from unweave.evals.planted.language import style_world
        >>> world = style_world(seed=0)
        >>> ready = patching(world.model, "blocks.0.resid_post", world.prompts(8, seed=0), positions="last")
        >>> words = [world.words(of_the_style=kind) for kind in (True, False)]
        >>> probability_shift(ready, world.memory, world.memory, *words).supported
        True
    """
    both = sorted(set(true) & set(false))
    if both or not len(true) or not len(false):
        raise InputError(f"the tokens {both[:4]} say true and false: two lists without a common one are needed")
    vector, moved = vector_of(direction).double(), vector_of(difference).double()
    if vector.shape != moved.shape or len(vector) != patched.width:
        raise InputError(
            f"direction and difference have {len(vector)} and {len(moved)} entries: {patched.width} are needed"
        )
    unit = vector / vector.norm()
    step = float(moved @ unit) * unit
    randoms = [basis[:, 0] * step.norm() for basis in random_bases(patched.width, 1, draws=draws, seed=seed)]
    says = [probability([list(ids)] * patched.rows) for ids in (true, false)]
    changes = [None, add(step, 1.0), add(step, -1.0), *(add(one, sign) for one in randoms for sign in (1.0, -1.0))]
    yes, no = (scores(patched, changes, one) for one in says)
    gap, mass = yes - no, (yes + no)[:3].mean(1)
    shifts = (gap[1::2] - gap[2::2]) / 2
    few = (f"P(TRUE) + P(FALSE) is {mass[0]:.2g}: the model does not answer with these words",)
    return finding(
        "probability shift",
        "(PD(h + (delta . u) u) - PD(h - (delta . u) u)) / 2, PD = P(TRUE) - P(FALSE)",
        shifts[0],
        shifts[1:],
        unit="share",
        scope=FIRST_TOKEN,
        groups=groups,
        prediction=prediction,
        floor=0.0,
        seed=seed,
        details=_details(step, gap, mass),
        warnings=few if mass[0] < LEAST_MASS else (),
    )


def _details(step: Tensor, gap: np.ndarray, mass: np.ndarray) -> dict[str, Any]:
    """As they are, after the step and after its opposite."""
    return {"step": float(step.norm()), "gap": gap[:3].mean(1).tolist(), "mass": mass.tolist()}
