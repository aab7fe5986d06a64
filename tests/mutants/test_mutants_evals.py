"""Deliberately broken effects and ablations: each law must notice."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import laws_evals as laws
from unweave.evals.causing import effects
from unweave.evals.causing.ablation import random_sets, unit_means


def caught(law, implementation):
    with pytest.raises(AssertionError):
        law(implementation)


def module_with(**changes):
    """The module of effects with some of its verbs replaced."""
    return SimpleNamespace(**({"plain_run": effects.plain_run, "effects_of": effects.effects_of} | changes))


def test_padding_is_predicted_too(monkeypatch):
    def everywhere(model, batch, before, after, start):
        whole = torch.ones_like(batch.mask)
        return compared(model, type(batch)(ids=batch.ids, mask=whole), before, after, start)

    compared = effects._compared
    monkeypatch.setattr(effects, "_compared", everywhere)
    caught(laws.batch_and_padding_do_not_matter, effects)


def test_the_mean_state_counts_padding(monkeypatch):
    def unmasked(model, batch):
        if model.predicts_next:
            return output(model, batch)
        return effects.run(model, batch, body_only=True).last_hidden_state.mean(1).float()

    output = effects._output
    monkeypatch.setattr(effects, "_output", unmasked)
    caught(laws.batch_and_padding_do_not_matter, effects)
    caught(laws.padding_ids_do_not_matter, effects)


def test_positions_count_padding(monkeypatch):
    """Without position ids a left-padded window begins somewhere else."""
    import unweave.models.capture as capturing

    whole = capturing.arguments
    monkeypatch.setattr(
        capturing, "arguments", lambda *given: {k: v for k, v in whole(*given).items() if k != "position_ids"}
    )
    caught(laws.batch_and_padding_do_not_matter, effects)


def test_losses_one_token_late():
    """The plain run of another window is no plain run of this one."""

    def shifted(model, batches):
        plain = effects.plain_run(model, batches)
        return effects.PlainRun(batches=plain.batches, outputs=tuple(one.roll(1, 0) for one in plain.outputs))

    caught(laws.no_edit_has_no_effect, module_with(plain_run=shifted))


def test_an_edit_that_is_never_made():
    caught(
        laws.no_edit_has_no_effect,
        module_with(effects_of=lambda model, plain, _edit: effects.effects_of(model, plain, None)),
    )


def test_controls_with_the_chosen_units():
    def mutant(units, size, *, exclude, count, seed):
        return random_sets(units, size, exclude=set(), count=count, seed=seed)

    caught(laws.controls_leave_the_chosen_units_alone, mutant)


def test_controls_without_a_seed():
    counter = iter(range(10_000))

    def mutant(units, size, *, exclude, count, seed):
        return random_sets(units, size, exclude=exclude, count=count, seed=next(counter))

    caught(laws.controls_leave_the_chosen_units_alone, mutant)


def test_controls_with_a_unit_twice():
    def mutant(units, size, *, exclude, count, seed):
        rng = np.random.default_rng(seed)
        pool = [unit for unit in range(units) if unit not in exclude]
        return [sorted(rng.choice(pool, size=size).tolist()) for _ in range(count)]

    caught(laws.controls_leave_the_chosen_units_alone, mutant)


def test_units_of_the_mean_where_the_map_bends():
    """The ReLU of a mean is not the mean of a ReLU."""

    def mutant(featurizer, rows):
        return featurizer.encode(torch.cat(list(rows)).double().mean(0))[0]

    caught(laws.means_are_means_of_units, mutant)


def test_a_mean_of_chunk_means():
    def mutant(featurizer, rows):
        return torch.stack([unit_means(featurizer, [chunk]) for chunk in rows]).mean(0)

    caught(laws.means_are_means_of_units, mutant)
