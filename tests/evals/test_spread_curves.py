"""How an effect spreads over blocks, what a few of them keep, and where a run can be restored."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import unweave as uw
from unweave.errors import InputError
from unweave.evals.causing.behaviours import logit_difference
from unweave.evals.causing.causal import ready_pairs
from unweave.evals.causing.curves import faithfulness, trace
from unweave.evals.causing.patching import patching
from unweave.evals.causing.spread import participation, recovery, references, route_selectivity, spread
from unweave.evals.planted.language import TAG_AGAINST, TAG_FOR, style_world
from unweave.evals.planted.module import variable_world


@pytest.fixture(scope="module")
def world():
    return variable_world(seed=0)


@pytest.fixture(scope="module")
def ready(world):
    return ready_pairs(world.model, world.featurizer, world.pairs(40, seed=1))


@pytest.fixture(scope="module")
def measure(world):
    pairs = world.pairs(40, seed=1)
    return logit_difference(pairs.answer, pairs.base_answer)


def test_the_effect_of_a_known_variable_is_in_its_block_alone(world, ready, measure):
    found = spread(ready, world.featurizer, measure)
    assert int(found.sizes_of_effects.argmax()) == world.true
    assert found.top_share > 0.85
    assert found.effects[world.decoy].value == pytest.approx(0, abs=1e-12)
    blocks = replace(world.featurizer, blocks=(6,) * 4)
    mine = spread(ready, blocks, measure)
    others = references(ready, blocks, measure)
    assert [one.basis for one in others] == ["identity", "random", "pca", "pca descending"]
    assert {one.sizes for one in others} == {(6,) * 4}
    assert mine.ginis()["plain"] == uw.evals.gini([one.value for one in mine.effects])
    random = next(one for one in others if one.basis == "random")
    assert mine.ginis()["plain"] > random.ginis()["plain"]
    assert set(mine.row()) >= {"gini_plain", "gini_dimension", "gini_variance", "participation", "top_share", "whole"}


def test_rotations_inside_blocks_change_nothing(world, ready, measure):
    blocks = replace(world.featurizer, blocks=(6,) * 4)
    generator = torch.Generator().manual_seed(0)
    turns = torch.block_diag(*(torch.linalg.qr(torch.randn(6, 6, generator=generator).double()).Q for _ in range(4)))
    turned = replace(blocks, read=blocks.read @ turns, write=turns.T @ blocks.write)
    one, two = (spread(ready, basis, measure) for basis in (blocks, turned))
    np.testing.assert_allclose([e.value for e in one.effects], [e.value for e in two.effects], atol=1e-10)
    assert one.row()["participation"] == pytest.approx(two.row()["participation"])


def test_participation_and_recovery_at_their_ends():
    assert participation(np.ones(7)) == pytest.approx(7)
    assert participation([0, -3, 0]) == 1
    assert recovery([1, -1, 2]).tolist() == [0.5, 0.75, 1.0]


def test_a_block_of_top_variance_moves_both_routes(world, ready, measure):
    one = spread(ready, world.featurizer, measure)
    assert route_selectivity(one, one).tolist() == [0.0] * 24
    with pytest.raises(InputError, match="different partitions"):
        route_selectivity(one, spread(ready, replace(world.featurizer, blocks=(6,) * 4), measure))


def test_a_full_set_is_faithful_everywhere_and_the_known_order_beats_random_ones(world, ready, measure):
    whole = replace(world.featurizer, blocks=(24,))
    full = faithfulness(ready, whole, [0], measure, draws=3)
    assert full.area == pytest.approx(0.999, abs=1e-9)
    assert full.error_area == pytest.approx(0, abs=1e-9)
    order = [0, 5, *(block for block in range(24) if block not in (0, 5))]
    known = faithfulness(ready, world.featurizer, order, measure, draws=19)
    assert known.p_value <= 0.1
    assert known.area > np.median(known.random_area) + 0.3
    assert known.faithful[-1] == pytest.approx(1)
    assert known.complete[-1] == pytest.approx(1)
    with pytest.raises(InputError, match="each once"):
        faithfulness(ready, world.featurizer, [0, 0], measure)
    same = replace(ready, source=ready.base)
    with pytest.raises(InputError, match="changes the behaviour by nothing"):
        faithfulness(same, world.featurizer, order, measure)


def test_a_run_is_restored_where_the_tag_stands():
    world = style_world(seed=0)
    texts = [world.prompts(6, seed=0, tag=tag) for tag in (TAG_FOR, TAG_AGAINST)]
    own, other = (world.words(of_the_style=kind)[0] for kind in (True, False))
    measure = logit_difference([own] * 6, [other] * 6)
    sites = ["blocks.0.resid_pre", "blocks.0.attn_out", "blocks.0.resid_post"]
    found = trace(world.model, texts[0], texts[1], sites, [0, 1, 2, 3], measure, confirm=12)
    assert found.exact[0, 0] == pytest.approx(found.whole, rel=0.05)  # the tag, before the head
    assert found.exact[1, 3] == pytest.approx(found.whole, rel=0.05)  # what the head writes at the end
    assert abs(found.exact[0, 1:]).max() < 0.05 * found.whole
    assert found.agreement > 0.9
    assert patching(world.model, sites[0], texts[0]).ids() != patching(world.model, sites[0], texts[1]).ids()
