"""Models that do a suite's task by hand-set weights: they do it, the block that carries the answer has the effect of
the whole site, and every other block has none.
"""

import numpy as np
import pytest
import torch

import unweave as uw
from unweave.errors import InputError, UnknownName
from unweave.evals.causing.spread import spread
from unweave.evals.suites.facts import attributes
from unweave.evals.suites.planted_truth import MADE
from unweave.evals.suites.running import run_suite
from unweave.evals.suites.tasks.assembly import CONSTANT, Head, Plan, assemble
from unweave.evals.suites.tasks.by_hand import TASKS, planted_task


@pytest.fixture(scope="module")
def tasks():
    return {name: planted_task(name, seed=1) for name in TASKS}


@pytest.mark.parametrize("name", sorted(MADE))
def test_the_block_that_carries_the_answer_has_all_of_the_effect(tasks, name):
    task = tasks[name]
    for test in MADE[name](task, 12, 0):
        ready = uw.evals.patching(task.model, test.site, test.base, test.source, positions=test.positions)
        found = spread(ready, task.featurizer(test.name), test.measures[0])
        effects = dict(zip(task.layout.names(), (one.value for one in found.effects), strict=True))
        true = [effects.pop(one) for one in task.carries[test.name]]
        # rounding: the norm is constant to .1 %, a logit is at most 10 and a score 20
        assert sum(true) == pytest.approx(found.whole, rel=0.02)
        assert abs(found.whole) > 0.2
        assert max(abs(one) for one in effects.values()) < 0.02 * abs(found.whole)


def test_every_prompt_is_done(tasks):
    for name, make in MADE.items():
        test = make(tasks[name], 12, 0)[0]
        plain = uw.evals.scores(uw.evals.patching(tasks[name].model, test.site, test.base), [None], test.measures[0])[0]
        assert (test.able if test.able is not None else plain > test.chance).all()


def test_an_attribute_comes_over_with_its_block_alone(tasks):
    task = tasks["ravel"]
    for attribute, (variable,) in task.carries.items():
        pairs = attributes(task.model, attribute, count=10, seed=0)
        basis = task.featurizer(attribute)
        for kind in (pairs.cause, pairs.isolate):
            moved = uw.evals.interchange(
                task.model, basis, task.block(variable), kind.base, kind.source, kind.positions,
                source_positions=kind.source_positions,
            )  # fmt: skip
            last = moved[torch.arange(10), kind.base.lengths() - 1].argmax(-1)
            assert last.tolist() == list(kind.answer)


def test_variables_are_where_the_layout_says(tasks):
    task = tasks["ioi"]
    rotation = task.layout.rotation
    assert torch.allclose(rotation @ rotation.T, torch.eye(len(rotation)).double(), atol=1e-12)
    assert rotation[:-1].sum(1).abs().max() < 1e-9  # without a mean: a layer norm takes nothing away
    ids = torch.tensor([[0, *task.model.tokenizer("When Mary and John went")["input_ids"]]])
    stream = task.model.capture(ids, ["blocks.0.resid_pre"])["blocks.0.resid_pre"][0].double() @ rotation.T
    assert stream[:, task.layout.of("one")].flatten().tolist() == pytest.approx([CONSTANT] * ids.shape[1], rel=1e-5)
    names = stream[:, task.layout.of("token")]
    assert names.abs().sum(1).round().tolist() == [0, 0, 1, 0, 1, 0]
    assert len(set(np.array(task.featurizer("duplicate").blocks))) > 2


def test_a_head_looks_where_query_and_key_meet():
    """Two tokens: the second one looks at the first, not at itself, and brings what it holds."""
    eye = torch.eye(2)
    head = Head(
        query={"kind": torch.tensor([[0.0], [50.0]])}, key={"kind": torch.tensor([[1.0], [0.0]])}, value={"kind": eye},
        writes={"seen": eye},
    )  # fmt: skip
    plan = Plan(sizes={"kind": 2, "seen": 2}, words={"kind": eye}, scores={"seen": eye}, layers=[[head]], heads=1)
    module, _ = assemble(plan, seed=0)
    logits = module(torch.tensor([[0, 1]])).logits[0, 1]
    assert logits.tolist() == pytest.approx([1.0, 0.0], abs=0.01)


def test_names_are_answered_with_the_right_ones(tasks):
    with pytest.raises(UnknownName, match="nearest: 'ioi'"):
        planted_task("iio")
    with pytest.raises(InputError, match="does ioi, not ravel"):
        run_suite(tasks["ioi"], None, "ravel")
    with pytest.raises(InputError, match="takes no file"):
        run_suite(tasks["ioi"], None, "ioi", data="x.json")


@pytest.mark.slow
def test_a_suite_on_its_planted_model_finds_what_is_known(tasks):
    found = run_suite(tasks["knowledge-conflict"], None, "knowledge-conflict", count=10)
    right, known = found.as_expected()
    assert (right, known) == (6, 6)
    rows = {row["block"]: row["selectivity"] for row in found.tables["routes"]}
    assert rows["context"] > 0.9
    assert rows["memory"] < -0.9
    assert abs(rows["subject"]) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ioi", "greater-than", "ravel"])
def test_every_claim_of_a_planted_suite_comes_out_as_known(tasks, name):
    found = run_suite(tasks[name], None, name, count=40)
    right, known = found.as_expected()
    assert right == known >= 3
    if name != "ravel":
        shares = [row["share of the whole"] for row in found.tables["blocks"]]
        assert min(one for one in shares if one > 0.5) > 0.95
