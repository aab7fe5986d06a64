"""Evidence cards: planted truth is supported, negative worlds are not, rows of the selection are refused, and illusions
are called by their name.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import samples
import unweave as uw
from unweave.errors import FingerprintError, InputError, UnknownName
from unweave.evals import card, compare, contenders_of
from unweave.evals.card_controls import usual_controls
from unweave.evals.causing.behaviours import logit_difference
from unweave.evals.causing.causal import interchange_effect
from unweave.evals.causing.changes import exchange
from unweave.evals.causing.pairs import Pairs, split_pairs
from unweave.evals.causing.patching import patching
from unweave.evals.causing.steering_plan import SteeringPlan
from unweave.evals.causing.validity import dormant_path, naturalness, reader
from unweave.evals.findings import Prediction, Verdict
from unweave.evals.planted.language import TAG_AGAINST, TAG_FOR, style_world
from unweave.evals.planted.module import variable_world
from unweave.features.affine import AffineFeaturizer
from unweave.features.featurizer import Provenance


@pytest.fixture(scope="module")
def world():
    return variable_world(seed=0)


@pytest.fixture(scope="module")
def pairs(world):
    return world.pairs(60, seed=1)


def test_a_card_of_the_truth_and_its_way_to_disk(world, pairs, tmp_path):
    found = card(world.model, world.featurizer, world.true, pairs, concept="a", selected_on=world.pairs(9, seed=8))
    assert found.verdict is Verdict.SUPPORTED
    assert found.selected_on == 18
    assert {one.test for one in found.findings} == {"interchange accuracy", "interchange effect", "mean ablation"}
    assert found.dormant.kept > 0.5
    assert found.natural.rows == 60
    assert found.model == world.model.fingerprint
    assert "supported by interchange accuracy and interchange effect" in found.summary()
    again = uw.load(uw.save(found, tmp_path / "card"))
    assert samples.same(again, found)
    assert again.table() == found.table()
    assert found.finding("mean ablation").supported
    with pytest.raises(UnknownName, match="unknown test"):
        found.finding("erasure")


def test_the_sign_of_a_direction_does_not_change_a_card(world, pairs):
    flipped = replace(world.featurizer, read=-world.featurizer.read, write=-world.featurizer.write)
    one, two = (card(world.model, basis, 0, pairs, concept="a") for basis in (world.featurizer, flipped))
    assert one.verdict is two.verdict
    for first, second in zip(one.findings, two.findings, strict=True):
        np.testing.assert_allclose(first.values, second.values, atol=1e-9)


def test_decoys_and_random_weights_are_not_supported(world, pairs):
    assert card(world.model, world.featurizer, world.decoy, pairs, concept="a").verdict is Verdict.REFUTED
    other = variable_world(seed=1, random_weights=True)
    found = card(other.model, other.featurizer, 0, other.pairs(40, seed=1), concept="a")
    assert found.verdict is Verdict.CANNOT
    assert found.findings == ()
    assert "does not show the behaviour" in found.reason


def test_rows_of_the_selection_are_refused(world, pairs):
    select, report = split_pairs(pairs, seed=0)
    assert card(world.model, world.featurizer, 0, report, concept="a", selected_on=select).selected_on == 2 * len(
        select
    )
    with pytest.raises(InputError, match="inputs of the report are among"):
        card(world.model, world.featurizer, 0, pairs, concept="a", selected_on=select)
    with pytest.raises(InputError, match="inputs of the report are among"):
        card(
            world.model,
            world.featurizer,
            0,
            pairs,
            concept="a",
            selected_on=patching(world.model, "0", select.base).ids(),
        )
    with pytest.raises(UnknownName, match="nearest: 'mean ablation'"):
        card(world.model, world.featurizer, 0, pairs, concept="a", predictions={"mean ablatoin": Prediction()})
    foreign = replace(world.featurizer, provenance=Provenance(model="1" * 64))
    with pytest.raises(FingerprintError, match="another model"):
        card(world.model, foreign, 0, pairs, concept="a")


@pytest.fixture(scope="module")
def illusion():
    """h = (what nothing reads and goes with a, silent, what carries a); the output reads the last two, each alone."""
    module = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)).double()
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[1.0, 0, 0], [0, 0.001, 0], [1.0, 0, 0]]))
        module[1].weight.copy_(torch.tensor([[0, -1.0, -1.0], [0, 1.0, 1.0], [0, 1.0, -1.0]]))
    model = uw.load_model(module)
    rng = np.random.default_rng(0)
    signs = torch.from_numpy(rng.choice([-1.0, 1.0], 40))
    base = torch.stack([signs, torch.from_numpy(rng.normal(size=40)), torch.zeros(40)], 1)
    source = base * torch.tensor([-1.0, 1.0, 1.0])
    label = (signs > 0).long()
    return model, Pairs(
        base=base, source=source, answer=1 - label, base_answer=label, source_answer=1 - label, among=(0, 1)
    )


def test_a_dormant_path_is_called_illusory(illusion):
    """A direction that reads from what nothing reads and writes where it is silent moves the output all the same."""
    model, pairs = illusion
    direction = torch.tensor([[1.0], [1.0], [0.0]]).double() / 2**0.5
    silent = AffineFeaturizer(read=direction, site="0")
    honest = AffineFeaturizer(read=torch.tensor([[0.0], [0.0], [1.0]]).double(), site="0")
    ready = patching(model, "0", pairs.base, pairs.source)
    measure = logit_difference(pairs.answer, pairs.base_answer)
    rows, name = reader(ready)
    assert rows.shape[0] == 2
    assert "slopes" in name
    one, two = dormant_path(ready, silent, (0,), measure), dormant_path(ready, honest, (0,), measure)
    assert one.effect > 1
    assert one.illusory
    assert two.kept == pytest.approx(1)
    assert not two.illusory
    found = card(model, silent, 0, pairs, concept="a", predictions={"interchange effect": Prediction()})
    assert found.verdict is not Verdict.SUPPORTED


def test_neurons_that_the_next_matrix_reads_have_its_rows(docs):
    tokens = docs.tokenize(["A short text."])
    for site in ("blocks.0.mlp_act", "blocks.0.attn_z"):
        rows, name = reader(patching(docs, site, tokens))
        assert rows.shape[1] == docs.width(site)
        assert name.startswith("the matrix")


def test_the_usual_controls_stand_beside_the_effect(world, pairs):
    found = card(world.model, world.featurizer, world.true, pairs, concept="a")
    own = found.finding("interchange effect").effect.value
    assert set(found.controls) == {"principal components", "shuffled sources"}  # no plain module is made again
    assert [one for one in found.warnings if one.startswith("no control 'random weights' stands beside the effect: ")]
    assert abs(found.controls["principal components"]) < own / 2
    assert found.controls["shuffled sources"] == pytest.approx(own / 2, rel=0.4)  # half of them have the right value
    assert "Interchange effect" in found.summary()
    assert card(world.model, world.featurizer, 0, pairs, concept="a", controls=()).controls == {}
    with pytest.raises(UnknownName, match="nearest: 'random weights'"):
        card(world.model, world.featurizer, 0, pairs, concept="a", controls=["random weight"])
    style = style_world(seed=0)
    base, source = (style.prompts(12, seed=3, tag=tag, length=3) for tag in (TAG_FOR, TAG_AGAINST))
    answers = [style.model(ids)[:, -1].argmax(1) for ids in (base, source)]
    ready = patching(style.model, "blocks.0.resid_post", base, source)
    basis = AffineFeaturizer(read=style.memory[:, None], site="blocks.0.resid_post")
    two = Pairs(base=base, source=source, answer=answers[1], base_answer=answers[0], source_answer=answers[1])
    measure = logit_difference(answers[1], answers[0])
    found, missing = usual_controls(ready, basis, (0,), two, measure, names=["random weights"])
    assert not missing
    assert abs(found["random weights"]) < 0.2 < interchange_effect(ready, basis, 0, measure, draws=19).effect.value


def test_a_card_steers_as_it_was_planned(world, pairs, tmp_path):
    """The truth moves the answer within the damage it may do, the decoy does not; both are lines of the card."""
    x = world.inputs(60, seed=4)[0]
    labels = torch.ones(60, dtype=torch.long)
    plan = SteeringPlan(
        behaviour=logit_difference(labels, 0 * labels), inputs=x, neutral=x, doses=(-1, -0.1, 0, 0.1, 1)
    )
    claims = {"steering": Prediction()}

    def carded(block, plan=plan):
        return card(world.model, world.featurizer, block, pairs, concept="a", predictions=claims, steer=plan)

    true, decoy = carded(world.true), carded(world.decoy)
    assert true.verdict is Verdict.SUPPORTED
    assert decoy.verdict is Verdict.REFUTED
    told = true.finding("steering")
    costs = dict(zip(told.details["doses"], told.details["kl"], strict=True))
    assert costs[told.details["test_dose"]] <= 0.1 < costs[1.0]
    assert "Steered by 0.1, KL 0.0" in true.summary()
    assert {row["test"]: row["required"] for row in true.table()}["steering"]
    assert samples.same(uw.load(uw.save(true, tmp_path / "steered")), true)
    everything = replace(plan, doses=(-9, 0, 9))
    assert any("no dose is usable" in one for one in carded(world.true, everything).warnings)
    with pytest.raises(InputError, match="steering is predicted but not planned"):
        carded(world.true, None)
    with pytest.raises(InputError, match="the block has 2 dimensions: say which direction"):
        carded([0, 1])
    with pytest.raises(TypeError, match="covector"):
        carded(0, replace(plan, direction=uw.Readout(covector=world.featurizer.read[:, 0])))


def test_an_edit_far_from_all_activations_is_off_the_distribution(world, pairs):
    ready = patching(world.model, "0", pairs.base, pairs.source)
    inside = naturalness(ready, exchange(ready, world.featurizer, None), world.inputs(300, seed=5)[0])
    far = naturalness(ready, lambda h, _places: 40 + h, world.inputs(300, seed=5)[0])
    assert not inside.off_distribution
    assert inside.nearest[0] < 90
    assert far.off_distribution
    assert far.mahalanobis[0] == 100
    assert inside.sites == ("0", "1", "2")


def test_decompositions_side_by_side(world, tmp_path):
    pairs = world.pairs(80, seed=2)
    rows = world.inputs(400, seed=3)[0] @ world.featurizer.write
    both = {"truth": world.featurizer, **contenders_of(rows, site="0", steps=60)}
    found = compare(world.model, both, pairs, rows=rows)
    table = {row["name"]: row for row in found.table()}
    assert set(table) == {"truth", "neurons", "pca", "ica", "random", "topk", "topk-frozen"}
    assert found.table()[0]["name"] == "truth"
    assert table["truth"]["verdict"] == "supported"
    assert table["random"]["verdict"] != "supported"
    assert {row["dimension"] for row in table.values()} == {1}
    assert table["topk"]["candidates"] == 48
    assert table["truth"]["unexplained"] < 1e-12 < table["topk"]["unexplained"] < table["topk-frozen"]["unexplained"]
    assert samples.same(uw.load(uw.save(found, tmp_path / "contest")), found)
    with pytest.raises(InputError, match="nothing to compare"):
        compare(world.model, {}, pairs)
    with pytest.raises(UnknownName, match="decomposition"):
        contenders_of(rows, site="0", names=("pcs",))
    with pytest.raises(InputError, match="only those of one site"):
        compare(world.model, {"a": world.featurizer, "b": replace(world.featurizer, site="1")}, pairs)
