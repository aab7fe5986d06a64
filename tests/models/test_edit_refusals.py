"""What an edit refuses, when it says so, and that the model is as before afterwards."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
import unweave as uw
from unweave.errors import FingerprintError, InputError, UnknownName
from unweave.features.featurizer import Provenance
from unweave.models.operators import zero

SITE = "blocks.0.resid_post"


@pytest.fixture(params=tiny.FAMILIES)
def model(request) -> uw.Model:
    return tiny.model_of(request.param)


def featurizer(site: str | None = SITE, width: int = 32, fitted_on: str | None = None) -> uw.AffineFeaturizer:
    return uw.AffineFeaturizer(read=torch.eye(width)[:, :3], site=site, provenance=Provenance(model=fitted_on))


@pytest.mark.parametrize(
    ("operator", "got"),
    [
        (lambda h: h[:, :1], r"shape \(3, 1, 32\)"),
        (lambda h: h.mean(), r"shape \(\)"),
        (lambda h: h.transpose(1, 2), r"shape \(3, 32, 10\)"),
        (lambda _: None, "a NoneType"),
        (lambda h: h.numpy(), "a ndarray"),
        (lambda h: (h,), "a tuple"),
    ],
)
def test_operator_must_keep_the_shape(model, operator, got):
    plain = model(tiny.ids_of())
    message = rf"the operator at {SITE} got shape \(3, 10, 32\) and returned {got}: it must return a tensor of the same"
    with torch.no_grad(), pytest.raises(InputError, match=message), model.edit({SITE: operator}):
        model(tiny.ids_of())
    assert torch.equal(model(tiny.ids_of()), plain)


def test_operator_on_units_must_keep_their_number(model):
    edit = uw.Edit(site=SITE, featurizer=featurizer(), units=[0, 2], operator=lambda _: torch.zeros(3, 10, 3))
    message = r"got shape \(3, 10, 2\) and returned shape \(3, 10, 3\)"
    with torch.no_grad(), pytest.raises(InputError, match=message), model.edit(edit):
        model(tiny.ids_of())


@pytest.mark.parametrize("operator", [3.0, None, torch.zeros(32), "zero"])
def test_operator_must_be_a_function(model, operator):
    with (
        pytest.raises(InputError, match=f"the operator at {SITE} is a .*: a function of the activations is needed"),
        model.edit({SITE: operator}),
    ):
        pass


@pytest.mark.parametrize("edits", [3, "blocks.0.resid_post", [zero()], ({SITE: zero()},), None])
def test_edits_must_be_edits(model, edits):
    message = r"edits is a .*: an Edit, a list of them, or \{site: f\(h\) -> h\} is needed"
    with pytest.raises(InputError, match=message), model.edit(edits):
        pass


def test_unknown_site_is_refused_before_anything_runs(model):
    with pytest.raises(UnknownName) as caught, model.edit({"blocks.0.resid_pots": zero()}):
        pytest.fail("the context must not be entered")
    assert SITE in caught.value.suggestions


def test_one_unknown_site_among_several_leaves_no_hook(model):
    with (
        pytest.raises(UnknownName),
        model.edit([uw.Edit(site=SITE, operator=zero()), uw.Edit(site="nowhere", operator=zero())]),
    ):
        pass
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.module.modules())
    assert model.state.active_edits == 0


def test_transformer_lens_spelling_is_ours_except_where_it_means_something_else():
    edit = uw.Edit(site="blocks.0.hook_resid_post", operator=zero(), featurizer=featurizer())
    assert edit.site == SITE
    with tiny.model_of("gpt2").edit(edit):
        pass
    with pytest.raises(InputError, match="after the LayerNorm"), tiny.model_of("bert").edit(edit):
        pass


def test_featurizer_of_another_site_is_refused():
    message = f"the featurizer belongs to blocks.1.mlp_act, the edit is at {SITE}: fit one there"
    with pytest.raises(InputError, match=message):
        uw.Edit(site=SITE, operator=zero(), featurizer=featurizer("blocks.1.mlp_act"))
    assert uw.Edit(site=SITE, operator=zero(), featurizer=featurizer(None)).site == SITE, "without a site it fits any"


def test_featurizer_of_several_sites_is_refused():
    joint = replace(featurizer(), site=(uw.Site(SITE), uw.Site("blocks.1.resid_post")))
    with pytest.raises(InputError, match="the featurizer belongs to"):
        uw.Edit(site=SITE, operator=zero(), featurizer=joint)


def test_featurizer_of_another_model_is_refused(model):
    """The same class and configuration with other weights is another model."""
    kind = next(family for family in tiny.FAMILIES if family in model.name)
    other = tiny.model_of(kind, seed=1)
    foreign = uw.Edit(site=SITE, operator=zero(), featurizer=featurizer(fitted_on=other.fingerprint))
    own = uw.Edit(site=SITE, operator=zero(), featurizer=featurizer(fitted_on=model.fingerprint))
    with model.edit(own):
        pass
    message = (
        rf"fitted on another model \({other.fingerprint[:12]}, this one is {model.fingerprint[:12]}\): fit it again"
    )
    with pytest.raises(FingerprintError, match=message), model.edit(foreign):
        pass


def test_featurizer_is_refused_once_the_weights_have_changed(model):
    edit = uw.Edit(site=SITE, operator=zero(), featurizer=featurizer(fitted_on=model.fingerprint))
    with torch.no_grad():
        next(model.module.parameters())[3] += 1
    with pytest.raises(FingerprintError, match="fitted on another model"), model.edit(edit):
        pass


def test_featurizer_of_another_width_is_refused(model):
    edit = uw.Edit(site=SITE, operator=zero(), featurizer=featurizer(width=31))
    message = rf"activations have shape \(3, 10, 32\) but the featurizer at {SITE} has width 31"
    with pytest.raises(InputError, match=message), model.edit(edit), torch.no_grad():
        model(tiny.ids_of())


@pytest.mark.parametrize("units", [[3], [-1], [0, 0], [0, 2, 5]])
def test_units_must_exist_and_come_once(units):
    with pytest.raises(InputError, match=r"units are \[.*\]: numbers from 0 to 2 are needed, each once"):
        uw.Edit(site=SITE, operator=zero(), featurizer=featurizer(), units=units)


def test_units_need_a_featurizer():
    with pytest.raises(InputError, match="units= needs a featurizer=: without one the operator gets the whole"):
        uw.Edit(site=SITE, operator=zero(), units=[0])


@pytest.mark.parametrize("positions", ["first", "lsat"])
def test_unknown_position_rule_is_answered(positions):
    with pytest.raises(UnknownName, match=f"unknown position rule '{positions}'.*or give a list of positions"):
        uw.Edit(site=SITE, operator=zero(), positions=positions)


@pytest.mark.parametrize("positions", [True, None, [1.5], [True], [[1], 2], torch.tensor([1.5]), {"a": 1}])
def test_positions_of_another_kind_are_refused(positions):
    with pytest.raises(
        InputError, match=r"positions is .*: 'all', 'last', an integer, a list of integers or one such list"
    ):
        uw.Edit(site=SITE, operator=zero(), positions=positions)


@pytest.mark.parametrize(
    ("given", "taken"),
    [(5, [5]), (np.int64(-1), [-1]), (torch.tensor([1, 3]), [1, 3]), (np.array([[1], [2]]), [[1], [2]])],
)
def test_an_integer_and_arrays_are_taken_as_lists(given, taken):
    assert uw.Edit(site=SITE, operator=zero(), positions=given).positions == taken


@pytest.mark.parametrize("schedule", ["first", "first:x", "from:-1", "every:2", "alwys", 3, None])
def test_unknown_schedule_is_answered(schedule):
    with pytest.raises(UnknownName, match=rf"unknown schedule '{schedule}'"):
        uw.Edit(site=SITE, operator=zero(), schedule=schedule)


def test_one_list_a_sequence_is_needed(model):
    edit = uw.Edit(site=SITE, operator=zero(), positions=[[0], [1]])
    message = "positions has 2 lists for a batch of 3 sequences: one a sequence is needed"
    with pytest.raises(InputError, match=message), model.edit(edit), torch.no_grad():
        model(tiny.ids_of())


@pytest.mark.parametrize("schedule", [lambda _: True, lambda g: g[0] >= 0, lambda _: [True]])
def test_schedule_must_answer_for_each_token(model, schedule):
    edit = uw.Edit(site=SITE, operator=zero(), schedule=schedule)
    message = r"the schedule got a tensor of shape \(3, 10\) and returned .*: True or False for each entry is needed"
    with pytest.raises(InputError, match=message), model.edit(edit), torch.no_grad():
        model(tiny.ids_of())


def test_value_without_an_axis_of_tokens_is_edited_everywhere_or_not_at_all():
    """BERT's pooler gives one vector a sequence: there is no position to choose there."""
    model = tiny.model_of("bert")
    ids = tiny.ids_of(batch=32, length=5)
    with model.edit({"pooler": zero()}), torch.no_grad():
        assert not model.module(ids).pooler_output.any()
    message = (
        r"the edit at pooler names positions or a schedule, but the value there, of shape \(32, 32\), has no axis of"
    )
    for rule in ({"positions": "last"}, {"schedule": "prompt"}):
        with pytest.raises(InputError, match=message), model.edit(uw.Edit(site="pooler", operator=zero(), **rule)):
            model(ids)


def test_head_that_sees_only_the_last_tokens_is_edited_there():
    """`logits_to_keep`, which generation uses: the value has fewer positions than the pass."""
    model = tiny.model_of("gpt2")
    ids = tiny.ids_of()
    with torch.no_grad():
        plain = model.module(ids, logits_to_keep=1).logits
        with model.edit(uw.Edit(site="logits", operator=zero(), positions="last")):
            kept = model.module(ids, logits_to_keep=1).logits
        with model.edit(uw.Edit(site="logits", operator=zero(), positions=[0])):
            elsewhere = model.module(ids, logits_to_keep=1).logits
    assert kept.shape == plain.shape == (3, 1, tiny.VOCABULARY)
    assert not kept.any()
    assert torch.equal(elsewhere, plain)
