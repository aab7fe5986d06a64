"""Targeted forgetting: on a network with two variables one can be forgotten and the other kept, and a decoy cannot."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
import unweave as uw
from unweave.errors import DataError, InputError
from unweave.evals.causing.forgetting import Questions, forgetting
from unweave.evals.planted.module import variable_world


def questions(world, about, count=60, seed=1):
    x, a, b = world.inputs(count, seed=seed, about=about)
    return Questions(inputs=x, answers=a if about == "a" else 2 + b, among=(0, 1, 2, 3))


@pytest.fixture(scope="module")
def world():
    return variable_world(seed=0)


def test_the_block_of_the_variable_is_taken_and_the_other_is_kept(world):
    found = forgetting(world.model, world.featurizer, questions(world, "a"), questions(world, "b"), counts=(1,))
    assert found.units == (world.true,)
    assert found.scale < 0  # without the variable one of two answers is right by chance, turned round none is
    assert found.score.value > 0.9 > 0.5 > found.score.control
    assert found.score.null < 0.1  # the untouched model answers
    assert found.score.p_value < 0.05
    assert found.kept.value >= 0.99 * found.clean[1]
    assert found.settings == 3


def test_nothing_is_reported_that_was_chosen_on(world):
    """Answers of the report side do not move the choice: with wrong ones there the same setting comes out."""
    target, others = questions(world, "a"), questions(world, "b")
    found = forgetting(world.model, world.featurizer, target, others, counts=(1, 2), draws=1)
    order = np.random.default_rng([0, 5]).permutation(60)
    report = torch.from_numpy(~np.isin(np.arange(60), order[:30]))
    wrong = replace(target, answers=torch.where(report, 1 - target.answers, target.answers))
    other = forgetting(world.model, world.featurizer, wrong, others, counts=(1, 2), draws=1)
    assert (other.units, other.scale) == (found.units, found.scale)
    assert other.score.value == pytest.approx(1 - found.score.value, abs=0.05)
    assert found.score.n == found.kept.n == 30


def test_a_setting_is_that_of_an_edited_run():
    """Units scaled at all positions, beside the model run with the same edit."""
    model = tiny.model_of("gpt2")
    ids = [tiny.ids_of(10, 5, seed=seed) for seed in (1, 2)]
    basis = replace(uw.features.random_rotation(32), site="blocks.0.resid_post")
    answers = [model(one)[:, -1].argmax(-1).tolist() for one in ids]
    found = forgetting(
        model, basis, *(Questions(inputs=one, answers=own) for one, own in zip(ids, answers, strict=True)),
        counts=(1,), scales=(0.9,), draws=1,
    )  # fmt: skip
    turn = basis.read[:, list(found.units)] @ basis.write[list(found.units)]
    with model.edit({"blocks.0.resid_post": lambda h: h - 0.1 * (h.double() @ turn).to(h)}):
        right = (model(ids[0])[:, -1].argmax(-1) == torch.tensor(answers[0])).numpy()
    report = ~np.isin(np.arange(10), np.random.default_rng([0, 5]).permutation(10)[:5])
    assert found.score.value == pytest.approx(1 - right[report].mean())
    assert found.clean == (1.0, 1.0)


def test_wrong_input_is_told(world):
    target, others = questions(world, "a"), questions(world, "b")
    with pytest.raises(InputError, match="there are 60 target questions and 3 answers"):
        forgetting(world.model, world.featurizer, replace(target, answers=[0, 1, 0]), others)
    with pytest.raises(InputError, match=r"counts are \[99\]"):
        forgetting(world.model, world.featurizer, target, others, counts=(99,))
    with pytest.raises(DataError, match="no setting keeps 99% of the accuracy"):
        forgetting(world.model, world.featurizer, target, target, counts=(24,), scales=(-4.0,))
    with pytest.raises(DataError, match="3 groups of target questions"):
        forgetting(world.model, world.featurizer, replace(target, groups=np.arange(60) % 3), others)
