"""Models of one family with and without heads: what a call gives, and that `sites()` lists exactly what can be had."""

from __future__ import annotations

import pytest
import torch
import transformers

import tiny
import unweave as uw
from unweave.errors import InputError, UnknownName

HEADS = {
    "GPT2Model": "last_hidden_state",
    "GPT2LMHeadModel": "logits",
    "GPT2DoubleHeadsModel": "logits",
    "GPT2ForTokenClassification": "logits",
    "GPT2ForQuestionAnswering": "",
    "LlamaModel": "last_hidden_state",
    "LlamaForCausalLM": "logits",
    "LlamaForSequenceClassification": "logits",
    "BertModel": "last_hidden_state",
    "BertForMaskedLM": "logits",
    "BertForPreTraining": "prediction_logits",
    "BertForSequenceClassification": "logits",
    "BertForQuestionAnswering": "",
}
"""Class -> the field of its output that a call gives; "" = none of them, so the body's last hidden state."""

VOCABULARY_HEADS = {
    "GPT2LMHeadModel",
    "GPT2DoubleHeadsModel",
    "LlamaForCausalLM",
    "BertForMaskedLM",
    "BertForPreTraining",
}


def module_of(name: str) -> torch.nn.Module:
    family = next(family for family in tiny.FAMILIES if name.lower().startswith(family))
    config = tiny.module_of(family).config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return getattr(transformers, name)(config).eval()


@pytest.fixture(params=HEADS)
def named(request) -> tuple[str, uw.Model]:
    return request.param, uw.load_model(module_of(request.param))


def test_call_gives_logits_or_the_last_hidden_state(named):
    name, model = named
    ids = tiny.ids_of(batch=1)
    field = HEADS[name]
    with torch.no_grad():
        wanted = model.module(ids)[field] if field else model.module.base_model(ids).last_hidden_state
        assert torch.equal(model(ids), wanted)


def test_sites_are_exactly_what_can_be_captured(named):
    name, model = named
    ids = tiny.ids_of()
    for site, value in model.capture(ids, model.sites()).items():
        assert value.flatten(2).shape == (*ids.shape, model.width(site)), site
    assert ("logits" in model.sites()) == (name in VOCABULARY_HEADS) == model.has_logits
    if name not in VOCABULARY_HEADS:
        with pytest.raises(UnknownName, match="unknown site 'logits'"):
            model.capture(ids, "logits")


def test_sites_of_body_and_headed_model_are_the_same_quantities(named):
    _, model = named
    body = uw.load_model(model.module.base_model)
    ids = tiny.ids_of()
    assert [site for site in model.sites() if site != "logits"] == body.sites()
    with_head, alone = model.capture(ids, body.sites()), body.capture(ids, body.sites())
    assert all(torch.equal(with_head[site], alone[site]) for site in body.sites())


def test_logits_site_is_what_the_call_gives(named):
    name, model = named
    if name in VOCABULARY_HEADS:
        ids = tiny.ids_of()
        with torch.no_grad():
            assert torch.equal(model.capture(ids, "logits")["logits"], model(ids))
    else:
        assert "logits" not in model.sites()


def test_only_causal_models_with_a_head_predict_the_next_token(named):
    name, model = named
    assert model.predicts_next == (name in {"GPT2LMHeadModel", "GPT2DoubleHeadsModel", "LlamaForCausalLM"})
    if not model.predicts_next:
        with pytest.raises(InputError, match=f"{name} does not predict a next token: generation needs a causal"):
            model.generate(tiny.ids_of(), 2)


def test_no_edit_leaves_every_head_as_it_is(named):
    _, model = named
    ids = tiny.ids_of(batch=1)
    with torch.no_grad():
        plain = model(ids)
        for site in model.sites():
            with model.edit({site: lambda h: h}):
                assert torch.equal(model(ids), plain), site


def test_body_runs_with_any_head_under_padding():
    """A masked model with left padding: positions come from the mask, so real tokens do not notice."""
    model = uw.load_model(module_of("BertForMaskedLM"))
    ids, mask = torch.tensor([[0, 0, 7, 8, 9]]), torch.tensor([[0, 0, 1, 1, 1]]).bool()
    with torch.no_grad():
        padded = model(uw.Tokens(ids=ids, mask=mask))
        plain = model(ids[:, 2:])
    assert float((padded[:, 2:] - plain).abs().max()) < 1e-5  # attention over masked keys sums in another order


def test_encoder_with_a_language_head_shows_its_logits():
    model = uw.load_model(module_of("BertForMaskedLM"))
    assert model.sites()[-1] == "logits"
    assert model.width("logits") == tiny.VOCABULARY
    assert repr(model).startswith("Model(BertForMaskedLM, BertForMaskedLM, ")
