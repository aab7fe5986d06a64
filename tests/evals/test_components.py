"""Patching of components: what carries a planted behaviour is found and what goes with it is not, on the language model
whose mechanism is set by hand; on random models every exchange is that of an edited run.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
import unweave as uw
from unweave.errors import DataError, InputError, UnknownName
from unweave.evals.causing.components import _heads, _turned, component_patching, shared_places
from unweave.evals.causing.patching import patching
from unweave.evals.planted.language import TAG_AGAINST, TAG_FOR, style_world
from unweave.evals.suites.contrast import Continued
from unweave.evals.suites.parts import patched_parts
from unweave.evals.suites.tasks.behaviour import CARRYING, planted_behaviour
from unweave.models.edits import Edit
from unweave.models.tokens import Tokens, pad


def planted(count=14):
    world = style_world(seed=0, decoys=True)
    sides = [world.prompts(count, seed=0, tag=tag) for tag in (TAG_AGAINST, TAG_FOR)]
    (base, _, measure), (source, _, _) = (world.continued(one, seed=0, length=3) for one in sides)
    return world.model, base, source, measure


NAMED = ("blocks.0.attn_z head 1", "blocks.1.mlp_out")


@pytest.fixture(scope="module")
def found():
    return component_patching(*planted(), named=NAMED, choose=1)


def test_the_planted_head_is_found_and_what_goes_with_it_is_not(found):
    """Decoys are moved by the tag as well, and are read by nothing."""
    verdicts = {one.name: one.finding.supported for one in found.components if one.finding}
    assert verdicts == {name: CARRYING[name] for name in (*NAMED, "blocks.0.attn_z head 0")}
    assert [one.name for one in found.components if one.chosen] == ["blocks.0.attn_z head 0"]
    shares = {row["component"]: row["share of the whole"] for row in found.table()}
    assert shares["blocks.0.attn_z head 0"] == pytest.approx(1, abs=0.01)
    assert found.participation < 1.5
    assert max(abs(share) for name, share in shares.items() if not CARRYING.get(name)) < 0.1


def test_nothing_is_reported_that_was_chosen_on(found):
    assert found.selected_on == 6
    assert {one.effect.n for one in found.components} == {8}
    assert all(one.finding.effect.n == 8 for one in found.components if one.finding)


def test_holm_counts_all_that_were_compared(found):
    compared = [one.finding for one in found.components if one.finding]
    assert [one.details["compared"] for one in compared] == [3] * 3
    least = min(one.difference.p_value for one in compared)
    assert min(one.details["p_holm"] for one in compared) == pytest.approx(3 * least)
    assert compared[0].draws == 74


def test_a_side_with_itself_changes_nothing():
    model, base, _, measure = planted(6)
    same = component_patching(model, base, base, measure, choose=2)
    assert all(one.effect.value == 0 and one.finding is None for one in same.components)  # nothing is worth choosing
    assert same.whole.value == 0


@pytest.mark.parametrize("family", ["gpt2", pytest.param("llama", marks=pytest.mark.slow)])
def test_an_exchange_is_that_of_an_edited_run(family):
    """Every attention layer, MLP and head, beside the model run with that value put in its place."""
    model = tiny.model_of(family)
    ids = [tiny.ids_of(12, 6, seed=seed) for seed in (1, 2)]
    ids[1][:, 3:] = ids[0][:, 3:]
    measure = uw.evals.logit_difference([3] * 12, [4] * 12)
    found = component_patching(model, *ids, measure, choose=0)
    report = np.arange(12)[~np.isin(np.arange(12), np.random.default_rng([0, 5]).permutation(12)[:5])]
    plain = model(ids[0])[:, -1]
    for one in found.components:
        theirs = model.capture(ids[1], [one.site])[one.site]
        head = int(one.name.split()[-1]) if " " in one.name else None
        with model.edit(Edit(site=one.site, operator=lambda old, head=head, new=theirs: _put(old, new, head))):
            moved = model(ids[0])[:, -1] - plain
        expected = float((moved[:, 3] - moved[:, 4])[report].mean().detach())
        assert one.effect.value == pytest.approx(expected, abs=1e-5), one.name
    assert len(found.components) == 2 * (2 + 4)


def _put(old, new, head):
    if head is None:
        return new
    out = old.clone()
    out[:, :, head] = new[:, :, head]
    return out


def test_turned_edits_keep_rank_and_norm_and_change_direction():
    model, base, source, _ = planted(6)
    ready = patching(model, "blocks.0.attn_z", base, source)
    columns = _heads(ready)[0]
    shift = (ready.source - ready.base)[:, columns].double()
    places = torch.arange(len(ready.row))
    for change in _turned(ready, columns, 3, 0):
        step = change(torch.zeros(len(places), ready.width, dtype=torch.float64), places)
        assert torch.allclose(step @ step.T, shift @ shift.T, atol=1e-8)  # the Gram matrix: norms and angles of places
        assert torch.linalg.matrix_rank(step, rtol=1e-6) == torch.linalg.matrix_rank(shift, rtol=1e-6)
        assert abs(float((step[:, columns] * shift).sum() / shift.square().sum())) < 0.9


def rows_of(ids):
    padded, mask = pad(ids)
    return Tokens(ids=padded, mask=mask)


def test_sides_of_unequal_length_are_exchanged_where_they_end_alike():
    rows = rows_of([[1, 2, 3, 4], [7, 3, 4]])
    longer = rows_of([[9, 8, 2, 3, 4], [1, 1, 3, 4]])
    assert shared_places(rows, longer) == ([[1, 2, 3], [1, 2]], [[2, 3, 4], [2, 3]])
    assert shared_places(rows, rows) == ("all", "all")
    with pytest.raises(InputError, match="pair 0 end in different tokens"):
        shared_places(rows, rows_of([[1, 2, 3, 5, 6], [7, 3, 4]]))
    with pytest.raises(InputError, match="base has 2 inputs but source has 1"):
        shared_places(rows, rows_of([[1, 2, 3, 4]]))


def test_wrong_input_is_told():
    model, base, source, measure = planted(6)
    with pytest.raises(UnknownName, match=r"nearest: 'blocks\.0\.mlp_out'"):
        component_patching(model, base, source, measure, named=("blocks.0.mlp_outs",))
    with pytest.raises(DataError, match="3 groups of continuations"):
        component_patching(model, base, source, measure, groups=["a", "a", "b", "b", "c", "c"])
    asked = [Continued(prompt="a", showing=" b", other=" c")]
    assert "no positive_prompt" in patched_parts(model, asked, named={}, seed=0)
    two = [replace(one, positive_prompt="calm", negative_prompt="wild") for one in asked * 2]
    assert "2 groups of continuations" in patched_parts(planted_behaviour().model, two, named={}, seed=0)
