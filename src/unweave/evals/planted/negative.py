"""Worlds in which nothing may be supported, and how often a whole evidence card does so: random weights, a decoy, and
the best unit of dictionaries whose decoder is random.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from unweave.evals.card import card
from unweave.evals.causing.behaviours import logit_difference
from unweave.evals.causing.causal import ready_pairs
from unweave.evals.causing.spread import screen_blocks
from unweave.evals.dictionaries import random_dictionary, topk_dictionary
from unweave.evals.findings import Verdict
from unweave.evals.planted.module import VariableWorld, variable_world
from unweave.features.affine import AffineFeaturizer
from unweave.tensors.paired import exact

SHARE, PAIRS = 0.8, 60
"""The stated effect: the block carries .8 of the variable, 60 pairs."""
SHARES, COUNTS = (0.0, 0.2, 0.4, 0.6, 0.8), (15, 60)
"""Of the calibration curve; 0: the claim is about a block that carries nothing."""
UNITS = 32
"""Of the dictionaries."""

Carded = Callable[[int, float, int], bool]
"""(seed, effect size, pairs) -> whether a card supports what is not there."""


def negative_rates(run: Carded, *, seed: int, repeats: int, calibration: int) -> dict[str, Any]:
    """How often a card supports what is not there, at the stated effect and over effect sizes and numbers of pairs.

    Args:
        run: The world.
        seed: Of worlds.
        repeats: Cards at the stated effect.
        calibration: Cards at each point of the curve.
    """
    first = 10_000 * seed
    supported = [run(first + number, SHARE, PAIRS) for number in range(repeats)]
    curve = [
        {
            "share": share,
            "pairs": count,
            "supported": float(np.mean([run(first + 5_000 + one, share, count) for one in range(calibration)])),
            "n": calibration,
        }
        for share in SHARES
        for count in COUNTS
        if calibration
    ]
    return {
        "supported_rate": float(np.mean(supported)),
        "supported_interval": binomial_interval(int(sum(supported)), repeats),
        "n": repeats,
        "calibration": curve,
    }


def binomial_interval(hits: int, count: int) -> list[float]:
    """The exact 95 % interval of a share (Clopper and Pearson).

    Args:
        hits: Successes.
        count: Trials.

    Example:
        >>> [round(one, 3) for one in binomial_interval(5, 100)]
        [0.016, 0.113]
    """
    return list(exact(hits / count, count))


def _random_weights(seed: int, share: float, count: int) -> bool:
    world = variable_world(seed=seed, share=share, random_weights=True)
    return _carded(world, world.featurizer, world.true, (seed, count), 1)


def _decoy(seed: int, share: float, count: int) -> bool:
    world = variable_world(seed=seed, share=share)
    return _carded(world, world.featurizer, world.decoy, (seed, count), 1)


def _random_dictionary(seed: int, share: float, count: int) -> bool:
    """The best unit by slope of random directions; its controls are searched as widely."""
    world = variable_world(seed=seed, share=share)
    return _best_carded(world, random_dictionary(world.featurizer.width, UNITS, seed=seed + 1, site="0"), (seed, count))


def _frozen_dictionary(seed: int, share: float, count: int) -> bool:
    """The best unit by slope of a dictionary that was trained around a random decoder."""
    world = variable_world(seed=seed, share=share)
    rows = world.inputs(256, seed=seed + 2)[0] @ world.featurizer.write
    return _best_carded(world, topk_dictionary(rows, UNITS, steps=60, frozen=True, seed=seed, site="0"), (seed, count))


def _best_carded(world: VariableWorld, units: AffineFeaturizer, drawn: tuple[int, int]) -> bool:
    others = world.pairs(PAIRS, seed=drawn[0] + 5)
    measure = logit_difference(others.answer, others.base_answer)
    ranked = screen_blocks(ready_pairs(world.model, units, others), units, measure)
    return _carded(world, units, int(ranked.argmax()), drawn, UNITS)


def _carded(world: VariableWorld, basis: AffineFeaturizer, block: int, drawn: tuple[int, int], candidates: int) -> bool:
    seed, count = drawn
    found = card(
        world.model,
        basis,
        block,
        world.pairs(count, seed=seed),
        concept="the variable",
        candidates=candidates,
        controls=(),
        seed=seed,
    )
    return found.verdict is Verdict.SUPPORTED


NEGATIVE: Mapping[str, Carded] = MappingProxyType(
    {
        "random weights": _random_weights,
        "decoy": _decoy,
        "random dictionary": _random_dictionary,
        "frozen random dictionary": _frozen_dictionary,
    }
)
"""World -> whether a card supports what is not there."""
