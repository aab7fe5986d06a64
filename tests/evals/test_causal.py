"""Causal tests on networks whose variables are known, by hand where it can be, and what they refuse."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import unweave as uw
from unweave.errors import DataError, InputError, UnknownName
from unweave.evals.causing.behaviours import Behaviour, logit_difference
from unweave.evals.causing.causal import (
    disentangle,
    interchange_accuracy,
    interchange_effect,
)
from unweave.evals.causing.changes import other_rows, project_out
from unweave.evals.causing.pairs import Pairs, solved_pairs, some_pairs, split_pairs
from unweave.evals.causing.patching import gradient, patching, scores
from unweave.evals.causing.removal import ablate_block, project_everywhere
from unweave.evals.causing.spread import screen_blocks
from unweave.evals.findings import Prediction, Verdict, finding
from unweave.evals.planted.language import TAG_FOR, style_world
from unweave.evals.planted.module import variable_world
from unweave.features.affine import AffineFeaturizer


@pytest.fixture(scope="module")
def world():
    return variable_world(seed=0)


@pytest.fixture(scope="module")
def pairs(world):
    return world.pairs(60, seed=1)


def test_the_block_of_the_variable_is_told_from_its_decoy(world, pairs):
    true = interchange_accuracy(world.model, world.featurizer, world.true, pairs)
    assert true.verdict is Verdict.SUPPORTED
    assert (true.effect.value, true.floor, true.ceiling) == (1.0, 0.0, 1.0)
    decoy = interchange_accuracy(world.model, world.featurizer, world.decoy, pairs)
    assert decoy.verdict is Verdict.REFUTED
    assert decoy.effect.value == 0


def test_cause_and_isolate_are_averaged_without_rounding(world, pairs):
    about_b = world.pairs(30, seed=2, about="b")
    found = disentangle(world.model, world.featurizer, [world.true, world.other], pairs, about_b)
    assert found.details["cause"] == 1
    assert found.details["isolate"] < 0.7  # b goes over with a
    assert found.effect.value == pytest.approx((found.details["cause"] + found.details["isolate"]) / 2, abs=1e-12)
    alone = disentangle(world.model, world.featurizer, world.true, pairs, about_b)
    assert (alone.effect.value, alone.verdict) == (1.0, Verdict.SUPPORTED)


def test_where_the_output_is_linear_attribution_is_the_effect_and_the_slope_that_of_the_dose():
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 3)).double()
    base, source = (torch.randn(8, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    model = uw.load_model(module)
    oblique = AffineFeaturizer(read=torch.randn(6, 6, generator=generator).double(), blocks=(1, 2, 3), site="0")
    measure = logit_difference([0] * 8, [2] * 8)
    ready = patching(model, "0", base, source)
    screened = screen_blocks(ready, oblique, measure)
    for block in range(3):
        found = interchange_effect(ready, oblique, block, measure)
        assert found.effect.value == pytest.approx(screened[block], abs=1e-10)
        assert found.effect.value == pytest.approx(found.values.mean(), abs=1e-12)
    whole = scores(ready, [None, lambda _v, places: ready.source[places]], measure)
    assert screened.sum() == pytest.approx((whole[1] - whole[0]).mean(), abs=1e-10)
    expected = (module[1].weight[0] - module[1].weight[2]).detach()
    torch.testing.assert_close(gradient(ready, measure), expected.expand(8, 6))


@pytest.mark.parametrize("kind", ["mean", "zero", "resample"])
def test_an_ablation_is_that_of_the_definition(world, pairs, kind):
    measure = logit_difference(pairs.base_answer, pairs.answer)
    ready = patching(world.model, "0", pairs.base)
    found = ablate_block(ready, world.featurizer, world.true, measure, kind=kind, seed=4)
    h = pairs.base @ world.featurizer.write  # the first layer mixes the inputs
    z = h @ world.featurizer.read
    new = {"mean": z.mean(0).expand_as(z), "zero": torch.zeros_like(z), "resample": z[other_rows(ready.row, seed=4)]}
    z[:, world.true] = new[kind][:, world.true]
    with torch.no_grad():
        logits = world.model.module[2](world.model.module[1](z @ world.featurizer.write))
        plain = world.model(pairs.base)
    rows = torch.arange(len(pairs))
    answers = torch.as_tensor(pairs.base_answer), torch.as_tensor(pairs.answer)
    expected = [(one[rows, answers[0]] - one[rows, answers[1]]) for one in (plain, logits)]
    np.testing.assert_allclose(found.values, expected[0] - expected[1], atol=1e-10)
    assert found.supported


def test_a_resampled_input_is_never_its_own():
    row = torch.tensor([0, 0, 1, 2, 2, 2])
    taken = row[other_rows(row, seed=0)]
    assert bool((taken != row).all())
    with pytest.raises(InputError, match="two inputs or more"):
        other_rows(torch.zeros(3, dtype=torch.long), seed=0)


def test_projecting_out_everywhere_equals_folding_it_into_the_writers():
    """`W := W (I - v v')` for the embedding and every matrix that writes to the stream; no edit at all."""
    world = style_world(seed=0)
    tokens, _, measure = world.continued(world.prompts(6, seed=0, tag=TAG_FOR), seed=0)
    found = project_everywhere(world.model, 3 * world.style, tokens, measure, draws=19)
    other = style_world(seed=0)
    out = torch.eye(len(world.style)) - torch.outer(world.style, world.style)
    with torch.no_grad():
        embedding = other.model.module.model.embed_tokens.weight
        embedding.copy_(embedding @ out)
        layer = other.model.module.model.layers[0]
        layer.self_attn.o_proj.weight.copy_(out @ layer.self_attn.o_proj.weight)
        layer.mlp.down_proj.weight.copy_(out @ layer.mlp.down_proj.weight)
    stream = "blocks.0.resid_post"
    folded = scores(patching(other.model, stream, tokens), [None], measure)[0]
    plain = scores(patching(world.model, stream, tokens), [None], measure)[0]
    np.testing.assert_allclose(found.values, plain - folded, atol=1e-5)
    assert found.effect.value > 1
    flipped = project_everywhere(world.model, -world.style, tokens, measure, draws=19)
    np.testing.assert_allclose(flipped.values, found.values, atol=1e-5)


def test_the_length_of_a_direction_does_not_count_when_it_is_projected_out():
    h = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    where = torch.arange(4)
    one, two = project_out([1.0, 2.0, 0.0])(h, where), project_out([-5.0, -10.0, 0.0])(h, where)
    torch.testing.assert_close(one, two)
    torch.testing.assert_close(one @ torch.tensor([1.0, 2.0, 0.0]), torch.zeros(4), rtol=0, atol=1e-6)


def verdict(effect, spread, controls, claim=None):
    rng = np.random.default_rng(0)
    values = effect + spread * rng.normal(size=80)
    table = np.asarray(controls)[:, None] + spread * rng.normal(size=(len(controls), 80))
    return finding("t", "f", values, table, unit="u", scope="sequence", prediction=claim).verdict


def test_verdicts_need_the_interval_and_the_rank():
    weak, strong = [0.01 * k for k in range(39)], [0.1 * k for k in range(39)]
    assert verdict(1.0, 0.1, weak) is Verdict.SUPPORTED
    assert verdict(2.0, 0.1, strong) is Verdict.UNDECIDED  # above the mean of its controls, but many are larger
    assert verdict(0.1, 2.0, weak) is Verdict.UNDECIDED
    assert verdict(0.0, 0.05, weak) is Verdict.REFUTED
    assert verdict(1.0, 0.1, weak, Prediction(margin=2.0)) is Verdict.REFUTED
    assert verdict(-1.0, 0.1, [-one for one in weak], Prediction(direction="less")) is Verdict.SUPPORTED


def test_a_model_that_cannot_do_the_task_is_not_tested(world):
    other = variable_world(seed=0, random_weights=True)
    with pytest.raises(DataError, match="does not show the behaviour: it answers"):
        interchange_accuracy(other.model, other.featurizer, 0, other.pairs(40, seed=1))


def test_only_solved_pairs_are_kept_and_a_split_shares_no_group(world, pairs):
    wrong = replace(pairs, base_answer=np.where(np.arange(60) < 20, 3, pairs.base_answer))
    kept, share = solved_pairs(world.model, wrong)
    assert (len(kept), share) == (40, pytest.approx(2 / 3))
    grouped = replace(pairs, groups=np.arange(60) // 6)
    select, report = split_pairs(grouped, seed=1)
    assert len(select) + len(report) == 60
    assert not set(select.groups) & set(report.groups)
    assert len(some_pairs(pairs, [3, 5])) == 2
    with pytest.raises(DataError, match="1 groups of pairs: some are to choose on"):
        split_pairs(replace(pairs, groups=["a"] * 60))


def test_what_no_test_takes():
    values = np.zeros(10)
    with pytest.raises(InputError, match="at least 19 draws"):
        finding("t", "f", values, np.zeros((5, 10)), unit="u", scope="sequence")
    with pytest.raises(UnknownName, match="direction"):
        Prediction(direction="up")
    with pytest.raises(InputError, match=r"margin -1\.0"):
        Prediction(margin=-1.0)
    with pytest.raises(InputError, match="one a pair is needed"):
        Pairs(base=[[1]], source=[[1], [2]], answer=[1], base_answer=[1], source_answer=[1])
    world = variable_world(seed=0)
    ready = patching(world.model, "0", world.inputs(5, seed=0)[0])
    with pytest.raises(UnknownName, match="ablation"):
        ablate_block(ready, world.featurizer, 0, logit_difference([0] * 5, [1] * 5), kind="median")
    with pytest.raises(InputError, match="no stream"):
        project_everywhere(world.model, [1.0], torch.ones(1, 24), logit_difference([0], [1]))
    steps = Behaviour(
        name="n", scope="sequence", unit="u", read="last", score=lambda logits, _r, _c: logits[..., 0].sign()
    )
    flat = patching(world.model, "0", world.inputs(5, seed=0)[0])
    with pytest.raises(InputError, match="has no slope"):
        gradient(flat, replace(steps, score=lambda logits, _r, _c: (logits[..., 0] > 0).double()))
