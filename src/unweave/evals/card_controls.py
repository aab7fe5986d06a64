"""The usual controls of an evidence card: what the interchange does with principal components of equal rank, with the
source of another pair, and in the same model with random weights.

They are numbers to read beside the effect; the verdict is that of the tests, whose own controls are random subspaces of
equal rank and length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from unweave.errors import UnweaveError
from unweave.evals.causing.behaviours import Behaviour
from unweave.evals.causing.causal import ready_pairs
from unweave.evals.causing.changes import exchange, other_rows, size_of, source_of
from unweave.evals.causing.pairs import Pairs
from unweave.evals.causing.patching import Change, Patching, scores
from unweave.features.bases import pca
from unweave.features.featurizer import Featurizer
from unweave.models.reinit import with_random_weights

CONTROLS = ("principal components", "shuffled sources", "random weights")
"""What stands on every card unless it is left out."""


def usual_controls(
    ready: Patching,
    featurizer: Featurizer,
    blocks: Sequence[int],
    pairs: Pairs,
    behaviour: Behaviour,
    *,
    names: Sequence[str] = CONTROLS,
    seed: int = 0,
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Control -> mean interchange effect, in the behaviour's unit, and why those that are missing could not be made.

    Args:
        ready: The pairs at the site.
        featurizer: With the blocks.
        blocks: Their numbers.
        pairs: The same pairs, for another model.
        behaviour: What is measured.
        names: Which controls.
        seed: Of shuffling and weights.
    """
    found: dict[str, float] = {}
    missing: list[str] = []
    for name in names:
        try:
            found[name] = _effect(*_made(name, ready, featurizer, blocks, pairs, seed), behaviour)
        except UnweaveError as error:  # one pair, fewer rows than dimensions, a model that cannot be made again
            missing.append(f"no control {name!r} stands beside the effect: {error}")
    return found, tuple(missing)


def _made(
    name: str, ready: Patching, featurizer: Featurizer, blocks: Sequence[int], pairs: Pairs, seed: int
) -> tuple[Patching, Change]:
    if name == "principal components":
        rank = size_of(featurizer, blocks)
        return ready, exchange(ready, pca(ready.base.double(), rank=rank, site=str(ready.site)), range(rank))
    if name == "shuffled sources":
        other = replace(ready, source=source_of(ready)[other_rows(ready.row, seed=seed)])
        return other, exchange(other, featurizer, blocks)
    fresh = ready_pairs(with_random_weights(ready.model, seed=seed), featurizer, pairs)
    return fresh, exchange(fresh, featurizer, blocks)


def _effect(ready: Patching, change: Any, behaviour: Behaviour) -> float:
    plain, changed = scores(ready, [None, change], behaviour).mean(1)
    return float(changed - plain)
