"""What `zoo train` would cost: reading the text in full, then a few steps, scored tokens and saved states of the recipe
itself, carried on to all of them (`engine.rehearsal`).
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from unweave.engine.clock import idle_seconds
from unweave.engine.rehearsal import Cost, Rehearsal, bytes_in, rehearse
from unweave.models.zoo.modules import KEPT, MODULE_RECIPES, ModuleRecipe, train_recipe
from unweave.models.zoo.recipe import RECIPES, Prepared, Recipe, build, fit, held_out_losses, prepared, step_count

FEW = (2, 8)
"""Steps of the rehearsals of a language model."""
SCORED = 40
"""A part of one in so many of the documents is scored."""


def plan_training(name: str) -> Cost:
    """What training a bundled model by its recipe takes; `rows` are steps.

    Args:
        name: Of the recipe.
    """
    return _plan_module(MODULE_RECIPES[name]) if name in MODULE_RECIPES else _plan_language(RECIPES[name])


def _plan_module(recipe: ModuleRecipe) -> Cost:
    """In steps; how often the state is kept does not depend on them."""

    def run(steps: int) -> list[int]:
        with tempfile.TemporaryDirectory(prefix="unweave-") as folder:
            train_recipe(replace(recipe, epochs=steps), Path(folder))
            return [bytes_in(Path(folder))]

    parts = [Rehearsal(run=partial(run, steps), work=(steps,)) for steps in (KEPT, 3 * KEPT)]
    return rehearse(parts).cost((recipe.epochs,), rows=recipe.epochs, grows=0)


def _plan_language(recipe: Recipe) -> Cost:
    """In steps and in epochs, each of which keeps the state; then in tokens that are scored or counted."""
    start = idle_seconds()
    ready = prepared(recipe)
    steps = step_count(ready.training, recipe, ready.start)
    reading = idle_seconds() - start

    def train(documents: Sequence[Sequence[int]], epochs: int) -> list[int]:
        import torch

        with tempfile.TemporaryDirectory(prefix="unweave-") as folder, torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            model = build(recipe, ready.tokenizer)
            fit(model, documents, replace(recipe, epochs=epochs), start=ready.start, folder=Path(folder))
            return [2 * sum(weight.numel() for weight in model.parameters())]

    parts = [_enough(ready, recipe, count) for count in FEW]
    kinds = [(parts[0], 1), (parts[1], 1), (parts[0], 2)]
    works = [(epochs * step_count(part, recipe, ready.start), epochs) for part, epochs in kinds]
    trained = rehearse(
        [Rehearsal(run=partial(train, *kind), work=work) for kind, work in zip(kinds, works, strict=True)], least=3
    ).cost((steps, recipe.epochs), rows=steps, grows=0)
    scored = _scored(recipe, ready)
    return replace(
        trained,
        seconds=reading + trained.seconds + scored.seconds,
        rehearsed_seconds=idle_seconds() - start,
        peak_bytes=max(trained.peak_bytes, scored.peak_bytes),
        disk_bytes=trained.disk_bytes + scored.disk_bytes,
    )


def _scored(recipe: Recipe, ready: Prepared) -> Cost:
    """Of the losses of the model and of the 5-gram; what is written is the tokenizer."""
    model = build(recipe, ready.tokenizer).eval()

    def run(part: int) -> list[Any]:
        training, held_out = ready.training[:: 2 * part], ready.held_out[::part]
        held_out_losses(model, recipe, training, held_out, 1, start=ready.start)
        with tempfile.TemporaryDirectory(prefix="unweave-") as folder:
            ready.tokenizer.save_pretrained(folder)
            return [bytes_in(Path(folder))]

    def work(part: int, whole: int) -> tuple[float, float]:
        return (
            float(sum(map(len, ready.held_out[::part]))),
            float(sum(map(len, ready.training[:: whole * part]))),
        )

    parts = [Rehearsal(run=partial(run, part), work=work(part, 2)) for part in (SCORED, SCORED // 4)]
    return rehearse(parts).cost(work(1, 1), rows=1)


def _enough(ready: Prepared, recipe: Recipe, steps: int) -> list[Sequence[int]]:
    """Documents from all over the corpus with windows for so many steps."""
    window = recipe.context - 1
    wanted, found, count = steps * recipe.batch, [], 0
    stride = max(1, len(ready.training) // 37)
    for first in range(stride):
        for document in ready.training[first::stride]:
            if count >= wanted:
                return found
            found.append(document[: (wanted - count) * window])
            count += math.ceil(len(found[-1]) / window)
    return found
