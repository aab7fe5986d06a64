"""Effects of edits on the output: one window at a time with hooks and cross entropy written by hand gives the same."""

import numpy as np
import pytest
import torch

import laws_evals as laws
import tiny
import unweave as uw
from laws_evals import SITE, WINDOWS, batches_of
from unweave.errors import FingerprintError, InputError
from unweave.evals.causing import effects
from unweave.evals.causing.effects import LOSS, TURN, effects_of, plain_run
from unweave.features.bases import random_rotation
from unweave.features.featurizer import Provenance
from unweave.features.neurons import NeuronFeaturizer
from unweave.models.edits import Edit
from unweave.models.operators import scale, set_to
from unweave.models.sections import last_site


@pytest.mark.parametrize("law", laws.EFFECT_LAWS, ids=lambda law: law.__name__)
def test_law(law):
    law(effects)


def neurons_set_to(module, family, value):
    """A hook that sets the neurons of the first block, written for each family by hand."""
    if family == "bert":
        layer = module.encoder.layer[0].intermediate
        return layer.register_forward_hook(lambda _module, _args, output: torch.full_like(output, value))
    layer = module.transformer.h[0].mlp.c_proj if family == "gpt2" else module.model.layers[0].mlp.down_proj
    return layer.register_forward_pre_hook(lambda _module, args: (torch.full_like(args[0], value),))


def outputs_by_hand(module, family, ids):
    """Loss of each next token of one window by log-softmax, or the mean last hidden state; float64."""
    with torch.no_grad():
        output = module(input_ids=torch.tensor([ids]))
    if family == "bert":
        return output.last_hidden_state[0].double().mean(0).numpy()
    logits = output.logits[0].double().numpy()
    largest = logits.max(1, keepdims=True)
    normaliser = largest[:, 0] + np.log(np.exp(logits - largest).sum(1))
    return np.array([normaliser[place] - logits[place, ids[place + 1]] for place in range(len(ids) - 1)])


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_window_by_window_with_hand_written_hooks_gives_the_same(family):
    model = tiny.model_of(family)
    found = effects_of(model, plain_run(model, batches_of(WINDOWS)), Edit(site=SITE, operator=set_to(0.3)))
    values, window, position = [], [], []
    for number, ids in enumerate(WINDOWS):
        before = outputs_by_hand(model.module, family, ids)
        handle = neurons_set_to(model.module, family, 0.3)
        after = outputs_by_hand(model.module, family, ids)
        handle.remove()
        if family == "bert":
            values.append(1 - before @ after / np.linalg.norm(before) / np.linalg.norm(after))
            window.append(number)
            position.append(-1)
        else:
            values.extend(after - before)
            window.extend([number] * (len(ids) - 1))
            position.extend(range(len(ids) - 1))
    assert found.unit == (TURN if family == "bert" else LOSS)
    np.testing.assert_allclose(found.values, values, atol=1e-5)  # the model itself is float32
    assert found.window.tolist() == window
    assert found.position.tolist() == position
    assert np.abs(found.values).max() > 1e-3


def test_special_tokens_are_not_predicted():
    model = tiny.text_model("llama")
    tokens = model.tokenize(["abc", "de"])
    found = effects_of(model, plain_run(model, [tokens]), None)
    # <s> a b c </s>: from <s> to c there are three predictions, and </s> is none
    assert list(zip(found.window.tolist(), found.position.tolist(), strict=True)) == [
        (0, 0), (0, 1), (0, 2), (1, 0), (1, 1),
    ]  # fmt: skip
    assert [int(tokens.ids[w, p + 1]) for w, p in zip(found.window, found.position, strict=True)] == [
        int(one) for one in torch.cat([tokens.ids[0, 1:4], tokens.ids[1, 1:3]])
    ]


@pytest.mark.parametrize("kind", ["BertForMaskedLM", "GPT2ForSequenceClassification"])
def test_a_model_with_another_head_turns_its_last_hidden_state(kind):
    """Only the next token gives a loss; whatever else a head says, the effect is on the state below it."""
    import transformers

    family = "bert" if kind.startswith("Bert") else "gpt2"
    body = tiny.module_of(family)
    config = body.config
    config.pad_token_id = 0
    whole = getattr(transformers, kind)(config).eval()
    named = dict(whole.named_children())
    (inner,) = (named[name] for name in ("bert", "transformer") if name in named)
    inner.load_state_dict(
        (body if family == "bert" else body.transformer).state_dict(), strict=kind != "BertForMaskedLM"
    )
    edit = Edit(site=SITE, operator=scale(0.0))
    batches = batches_of(WINDOWS)
    with_head, bare = (uw.load_model(module) for module in (whole, inner))
    found = effects_of(with_head, plain_run(with_head, batches), edit)
    expected = effects_of(bare, plain_run(bare, batches), edit)
    assert found.unit == TURN
    np.testing.assert_allclose(found.values, expected.values, atol=1e-12)
    assert found.values.min() > 1e-6


def test_one_token_windows_have_no_loss_but_a_state():
    for family, count in (("llama", 0), ("bert", 2)):
        model = tiny.model_of(family)
        found = effects_of(model, plain_run(model, batches_of([[4], [9]])), Edit(site=SITE, operator=scale(0.0)))
        assert len(found.values) == count


def test_the_plain_run_is_reused_for_any_number_of_edits():
    model = tiny.model_of("llama")
    plain = plain_run(model, batches_of(WINDOWS))
    before = [output.clone() for output in plain.outputs]
    first = effects_of(model, plain, Edit(site=SITE, operator=scale(0.0)))
    effects_of(model, plain, Edit(site=SITE, operator=scale(2.0)))
    again = effects_of(model, plain, [Edit(site=SITE, operator=scale(0.0))])
    assert np.array_equal(first.values, again.values)
    assert all(torch.equal(one, two) for one, two in zip(before, plain.outputs, strict=True))
    assert np.abs(effects_of(model, plain, {SITE: torch.zeros_like}).values - first.values).max() == 0


def test_a_plain_module_has_no_effect_to_measure():
    model = uw.load_model(torch.nn.Sequential(torch.nn.Linear(3, 2)))
    with pytest.raises(InputError, match="effects are measured on token sequences: a plain module has none, compare"):
        plain_run(model, [])


def test_dropout_must_be_off():
    for family in tiny.FAMILIES:
        model = tiny.model_of(family)
        model.module.train()
        with pytest.raises(InputError, match="in training mode"):
            plain_run(model, batches_of(WINDOWS))


SITES_OF_EDITS = ("resid_pre", "attn_z", "attn_out", "resid_mid", "mlp_act", "mlp_out", "resid_post")


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("component", SITES_OF_EDITS)
def test_from_the_site_on_is_the_whole_pass(family, component):
    """The twin of the section that effects run: the same edit through all of the model, hooks and all."""
    model = tiny.model_of(family)
    site = f"blocks.1.{component}"
    width = model.width(site)
    plain = plain_run(model, batches_of(WINDOWS))
    ready = plain_run(model, batches_of(WINDOWS), edited_at=site)
    assert (ready.start is None) == (site == last_site(model))  # nothing left to run
    for featurizer in (NeuronFeaturizer(width=width, site=site), random_rotation(width, site=site)):
        for units in ([4, 1], None):
            edit = Edit(site=site, featurizer=featurizer, units=units, operator=set_to(0.3))
            slow, fast = effects_of(model, plain, edit), effects_of(model, ready, edit)
            assert fast.unit == slow.unit
            assert np.array_equal(fast.window, slow.window)
            assert np.array_equal(fast.position, slow.position)
            assert np.abs(slow.values).max() > 1e-4
            assert fast.values == pytest.approx(slow.values, abs=2e-5 * max(1.0, np.abs(slow.values).max()))


def test_only_one_edit_of_units_at_every_token_begins_at_the_site():
    """Everything else goes through the whole model, and other edits that are on are not forgotten."""
    model = tiny.model_of("llama")
    plain = plain_run(model, batches_of(WINDOWS))
    ready = plain_run(model, batches_of(WINDOWS), edited_at=SITE)
    neurons = NeuronFeaturizer(width=model.width(SITE), site=SITE)
    one = Edit(site=SITE, featurizer=neurons, units=[1, 2], operator=set_to(0.3))
    others = [
        Edit(site=SITE, operator=set_to(0.3)),
        Edit(site=SITE, featurizer=neurons, units=[1, 2], operator=set_to(0.3), positions="last"),
        [one, Edit(site="blocks.1.mlp_out", operator=scale(0.5))],
        {SITE: torch.zeros_like},
        None,
    ]
    for edits in others:
        assert np.array_equal(effects_of(model, ready, edits).values, effects_of(model, plain, edits).values)
    with model.edit({"blocks.0.resid_pre": scale(1.5)}):
        assert np.array_equal(effects_of(model, ready, one).values, effects_of(model, plain, one).values)


def test_a_featurizer_of_another_model_is_refused_from_the_site_too():
    model = tiny.model_of("gpt2")
    ready = plain_run(model, batches_of(WINDOWS), edited_at=SITE)
    foreign = NeuronFeaturizer(width=model.width(SITE), site=SITE, provenance=Provenance(model="0" * 64))
    with pytest.raises(FingerprintError, match="was fitted on another model"):
        effects_of(model, ready, Edit(site=SITE, featurizer=foreign, units=[0], operator=set_to(0.0)))


def test_a_site_that_no_section_begins_at_is_run_whole():
    model = tiny.model_of("gpt2")
    assert plain_run(model, batches_of(WINDOWS), edited_at="embed").start is None
