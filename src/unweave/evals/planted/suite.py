"""`evaluate_planted`: false-positive rate, power and calibration of every causal test, on worlds whose truth is known.

A repetition draws a world, inputs and a claim. The claim is true (the block that carries the variable), or false: a
decoy that goes with the variable and that nothing reads, or a random direction. Power is the share of true claims that
are supported, the false-positive rate that of false ones. Negative worlds run whole evidence cards where nothing may be
supported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from unweave.errors import InputError, unknown_name
from unweave.evals.causing.behaviours import logit_difference
from unweave.evals.causing.causal import (
    disentangle,
    interchange_accuracy,
    interchange_effect,
    ready_pairs,
)
from unweave.evals.causing.curves import faithfulness
from unweave.evals.causing.patching import patching
from unweave.evals.causing.removal import ablate_block, project_everywhere
from unweave.evals.causing.spread import screen_blocks
from unweave.evals.causing.steering import steering
from unweave.evals.planted.language import TAG_AGAINST, TAG_FOR, style_world
from unweave.evals.planted.module import VariableWorld, variable_world
from unweave.evals.planted.negative import COUNTS, NEGATIVE, PAIRS, SHARE, SHARES, binomial_interval, negative_rates
from unweave.features.affine import AffineFeaturizer
from unweave.features.bases import random_rotation
from unweave.log import SILENT, Progress

NULLS = ("decoy", "random")
STREAM = "blocks.0.resid_pre"

Supported = Callable[[int, str, float, int], bool]
"""(seed, kind of claim, effect size, pairs) -> whether the claim is supported."""


def evaluate_planted(
    *,
    seed: int = 0,
    repeats: int = 120,
    nulls: int | None = None,
    tests: Sequence[str] | None = None,
    calibration: int = 12,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Error rates of the causal tests.

    Args:
        seed: Of everything.
        repeats: True and false claims of each test, and cards of each negative world.
        nulls: False claims of each test where their number is another.
        tests: Which; None is all of `PLANTED`.
        calibration: Claims at each effect size and number of pairs; 0 leaves the curve out.
        progress: Who is told how far it is.

    Returns:
        `tests`: a test each with `false_positive_rate`, `power`, `n` and `calibration`; `negative_worlds`: how often a
            whole card supports what is not there, with a curve of its own.

    Raises:
        InputError: Fewer than one repetition, or a negative seed or calibration.
        UnknownName: Another test.

    Example:
        >>> evaluate_planted(repeats=1, tests=["mean ablation"], calibration=0)["tests"]["mean ablation"]["power"]
        1.0
    """
    for what, count in (("repeats", repeats), ("nulls", nulls)):
        if count is not None and count < 1:
            raise InputError(f"{what} is {count}: at least 1")
    if seed < 0 or calibration < 0:
        raise InputError(f"seed is {seed} and calibration {calibration}: 0 or more each")
    chosen = list(PLANTED) if tests is None else list(tests)
    for name in chosen:
        if name not in PLANTED:
            raise unknown_name("test", name, PLANTED)
    start, found = time.process_time(), {}
    with progress.task("planted claims", len(chosen) + len(NEGATIVE), "test") as advance:
        for name in chosen:
            found[name] = rates(PLANTED[name], seed=seed, repeats=repeats, nulls=nulls, calibration=calibration)
            advance(1)
        negative = {}
        for name, run in NEGATIVE.items() if tests is None else ():
            negative[name] = negative_rates(run, seed=seed, repeats=repeats, calibration=calibration)
            advance(1)
    return {
        "seed": seed,
        "effect": {"share": SHARE, "pairs": PAIRS},
        "tests": found,
        "negative_worlds": negative,
        "cpu_seconds": round(time.process_time() - start, 1),
    }


def rates(run: Supported, *, seed: int, repeats: int, calibration: int, nulls: int | None = None) -> dict[str, Any]:
    """The error rates of one test.

    Args:
        run: The test.
        seed: Of worlds and claims.
        repeats: True and false claims.
        calibration: Claims at each point of the curve.
        nulls: False claims where their number is another.
    """
    first = 100_000 * seed
    true = [run(first + number, "true", SHARE, PAIRS) for number in range(repeats)]
    count = repeats if nulls is None else nulls
    false = [run(first + number, NULLS[number % 2], SHARE, PAIRS) for number in range(count)]
    curve = [
        {
            "share": share,
            "pairs": count,
            "supported": float(
                np.mean([run(first + 50_000 + one, "true", share, count) for one in range(calibration)])
            ),
            "n": calibration,
        }
        for share in SHARES
        for count in COUNTS
        if calibration
    ]
    return {
        "false_positive_rate": float(np.mean(false)),
        "false_positive_interval": binomial_interval(int(sum(false)), count),
        "power": float(np.mean(true)),
        "power_interval": binomial_interval(int(sum(true)), repeats),
        "n": repeats,
        "nulls": count,
        "false_positive_by_kind": {
            kind: float(np.mean(false[turn :: len(NULLS)])) for turn, kind in enumerate(NULLS) if count > turn
        },
        "calibration": curve,
    }


def _claim(seed: int, kind: str, share: float) -> tuple[VariableWorld, AffineFeaturizer, int]:
    """A world, a featurizer and the block that is claimed to carry its variable."""
    world = variable_world(seed=seed, share=share if kind == "true" else SHARE)
    if kind == "random":
        return world, random_rotation(world.featurizer.width, seed=seed + 7, site="0"), 0
    return world, world.featurizer, world.decoy if kind == "decoy" else world.true


def _accuracy(seed: int, kind: str, share: float, count: int) -> bool:
    world, basis, block = _claim(seed, kind, share)
    return interchange_accuracy(world.model, basis, block, world.pairs(count, seed=seed), seed=seed).supported


def _disentangle(seed: int, kind: str, share: float, count: int) -> bool:
    world, basis, block = _claim(seed, kind, share)
    cause, isolate = world.pairs(count, seed=seed), world.pairs(count, seed=seed + 3, about="b")
    return disentangle(world.model, basis, block, cause, isolate, seed=seed).supported


def _effect(seed: int, kind: str, share: float, count: int) -> bool:
    world, basis, block = _claim(seed, kind, share)
    pairs = world.pairs(count, seed=seed)
    ready = ready_pairs(world.model, basis, pairs)
    measure = logit_difference(pairs.answer, pairs.base_answer)
    return interchange_effect(ready, basis, block, measure, seed=seed).supported


def _ablation(kind_of_ablation: str) -> Supported:
    def run(seed: int, kind: str, share: float, count: int) -> bool:
        world, basis, block = _claim(seed, kind, share)
        pairs = world.pairs(count, seed=seed)
        ready = patching(world.model, "0", pairs.base)
        measure = logit_difference(pairs.base_answer, pairs.answer)
        return ablate_block(ready, basis, block, measure, kind=kind_of_ablation, seed=seed).supported

    return run


def _dose(seed: int, kind: str, share: float, count: int) -> bool:
    world, basis, block = _claim(seed, kind, share)
    x, _, _ = world.inputs(count, seed=seed)
    ones, zeros = torch.ones(count, dtype=torch.long), torch.zeros(count, dtype=torch.long)
    ready = patching(world.model, "0", x)
    found = steering(ready, basis.write[block], logit_difference(ones, zeros), doses=(-1, 0, 1), unit="sd", seed=seed)
    return found.supported


def _faithful(seed: int, kind: str, share: float, count: int) -> bool:
    """The claim is an order of the blocks: that of the screen on other pairs, or one that knows nothing."""
    world = variable_world(seed=seed, share=share)
    pairs, others = world.pairs(count, seed=seed), world.pairs(count, seed=seed + 5)
    ready = ready_pairs(world.model, world.featurizer, pairs)
    measure = logit_difference(pairs.base_answer, pairs.answer)
    if kind == "true":
        ranked = screen_blocks(
            ready_pairs(world.model, world.featurizer, others),
            world.featurizer,
            logit_difference(others.base_answer, others.answer),
        )
        order = np.argsort(-np.abs(ranked)).tolist()
    else:
        order = np.random.default_rng([seed, 3]).permutation(len(world.featurizer.blocks)).tolist()
    return faithfulness(ready, world.featurizer, order, measure, draws=39, seed=seed).p_value <= 0.05


def _style_claim(seed: int, kind: str, share: float) -> tuple[Any, torch.Tensor]:
    world = style_world(seed=seed, gain=share / SHARE * 3.0)
    if kind == "random":
        generator = torch.Generator().manual_seed(seed + 7)
        drawn = torch.randn(len(world.style), generator=generator)
        return world, drawn / drawn.norm()
    return world, world.topic if kind == "decoy" else world.style


def _steered_style(seed: int, kind: str, share: float, count: int) -> bool:
    """Dose-response of a long-horizon behaviour, measured over whole continuations that begin in the wrong style."""
    world, direction = _style_claim(seed, kind, share)
    tokens, lengths, measure = world.continued(
        world.prompts(max(count // 6, 3), seed=seed), seed=seed, length=6, wrong_start=1
    )
    ready = patching(world.model, STREAM, tokens)
    found = steering(ready, direction, measure, doses=(-1, 0, 1), unit="raw", prompts=lengths, seed=seed)
    return found.supported


def _projected_style(seed: int, kind: str, share: float, count: int) -> bool:
    """Without the direction the tag no longer sets the style."""
    world, direction = _style_claim(seed, kind, share)
    prompts = world.prompts(max(count // 6, 3), seed=seed, tag=TAG_FOR)
    tokens, _, measure = world.continued(prompts, seed=seed, length=4)
    return project_everywhere(world.model, direction, tokens, measure, seed=seed).supported


def _patched_style(seed: int, kind: str, share: float, count: int) -> bool:
    """The tag's style, taken from a run with the other tag, at the tag alone."""
    world, direction = _style_claim(seed, kind, share)
    few = max(count // 6, 3)
    texts = [world.prompts(few, seed=seed, tag=tag) for tag in (TAG_AGAINST, TAG_FOR)]
    (base, _, measure), (source, _, _) = (world.continued(one, seed=seed, length=4) for one in texts)
    ready = patching(world.model, STREAM, base, source, positions=[0])
    basis = AffineFeaturizer(read=direction[:, None] / direction.norm(), site=STREAM)
    return interchange_effect(ready, basis, 0, measure, seed=seed).supported


PLANTED: Mapping[str, Supported] = MappingProxyType(
    {
        "interchange accuracy": _accuracy,
        "cause and isolate": _disentangle,
        "interchange effect": _effect,
        "mean ablation": _ablation("mean"),
        "zero ablation": _ablation("zero"),
        "resample ablation": _ablation("resample"),
        "steering": _dose,
        "faithfulness": _faithful,
        "patching of a style": _patched_style,
        "steering of a style": _steered_style,
        "projection everywhere": _projected_style,
    }
)
"""Test -> how a claim of it is made and judged."""
