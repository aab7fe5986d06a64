"""What only some families have: experts, capped logits, images, lists of tokens; and families without a row."""

from __future__ import annotations

import pytest
import torch
import transformers

import laws_models as laws
import tiny
import unweave as uw
from unweave.errors import InputError, UnknownName
from unweave.models import families
from unweave.models.neuron_weights import neuron_weights, written_tokens
from unweave.models.proposals import proposed_row
from unweave.models.self_check import check_laws, random_ids, site_table

IDS = tiny.ids_of()


@pytest.mark.parametrize("family", ["qwen3-experts", "mixtral"])
def test_experts_have_no_common_neurons_and_say_so(family):
    model = tiny.model_of(family)
    assert "blocks.0.mlp_act" not in model.sites()
    assert ("blocks.1.mlp_act" in model.sites()) == (family == "qwen3-experts")  # its second block is dense
    verbs = (
        lambda: model.capture(IDS, "blocks.0.mlp_act"),
        lambda: model.width("blocks.0.mlp_act"),
        lambda: model.section("blocks.0.mlp_act", "blocks.0.resid_post"),
        lambda: neuron_weights(model, "blocks.0.mlp_act"),
        lambda: uw.collect(model, [[1, 2, 3]], "blocks.0.mlp_act", "never-written"),
    )
    for verb in verbs:
        with pytest.raises(InputError, match=r"sends each token to a few experts.*blocks\.0\.mlp_out is the sum"):
            verb()


def test_what_experts_add_is_the_weighted_sum_written_out():
    model = tiny.model_of("mixtral")
    found = model.capture(IDS, ["blocks.0.ln2", "blocks.0.mlp_out"])
    mlp = model.module.model.layers[0].mlp
    rows = found["blocks.0.ln2"].flatten(0, 1)
    wanted = torch.zeros_like(rows)
    with torch.no_grad():
        weights = (rows @ mlp.gate.weight.T).softmax(-1)
        for number, row in enumerate(rows):
            chosen = weights[number].topk(2)
            for share, expert in zip(chosen.values / chosen.values.sum(), chosen.indices.tolist(), strict=True):
                gate, up = (mlp.experts.gate_up_proj[expert] @ row).chunk(2)
                wanted[number] += share * (mlp.experts.down_proj[expert] @ (torch.nn.functional.silu(gate) * up))
    laws.close(found["blocks.0.mlp_out"].flatten(0, 1), wanted, relative=1e-5)


def test_capped_logits_are_those_that_the_model_gives():
    model = tiny.model_of("gemma2")
    with torch.no_grad():
        bare = model.module(IDS).logits
    found = model.capture(IDS, ["logits", "final_norm"])
    assert torch.equal(found["logits"], bare)
    assert float(bare.abs().max()) < 0.5  # the cap of the tiny model
    raw = found["final_norm"] @ model.module.lm_head.weight.detach().T
    assert float(raw.abs().max()) > 0.9
    laws.close(found["logits"], 0.5 * (raw / 0.5).tanh())
    with model.edit({"logits": lambda h: h + 1}), torch.no_grad():
        assert torch.equal(model(IDS), bare + 1)
        assert torch.equal(model.module(IDS).logits, bare + 1)
    assert model.section("final_norm", "logits").kind == "generic"


def test_projected_unembedding_is_one_matrix():
    model = tiny.model_of("opt")
    write = neuron_weights(model, "blocks.1.mlp_act").writes[3]
    with torch.no_grad():
        effects = model.module.lm_head(model.module.model.decoder.project_out(write))
    top, value = written_tokens(model, write, most=1)[0]
    assert top == f"token {int(effects.argmax())}"
    assert value == pytest.approx(float(effects.max()), rel=1e-5)
    assert model.section("final_norm", "logits").check(IDS) < 1e-5


def test_text_part_of_a_model_with_images():
    text = {
        "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 16,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": None, "query_pre_attn_scalar": 16,
    }  # fmt: skip
    vision = {
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
        "patch_size": 14,
    }  # fmt: skip
    config = transformers.Gemma3Config(
        text_config=text,
        vision_config=vision,
        image_token_id=96,
        boi_token_id=95,
        eoi_token_id=94,
        mm_tokens_per_image=4,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = transformers.Gemma3ForConditionalGeneration(config).eval()
    model = uw.load_model(module)
    ids = IDS % 90
    assert model.context == 64
    assert all(result.holds for result in check_laws(model))
    assert model.capture(ids, "blocks.1.attn_z")["blocks.1.attn_z"].shape == (3, 10, 4, 16)
    assert model.section("blocks.0.resid_pre", "logits").check(ids) < 1e-5
    change = uw.Edit(site="blocks.0.resid_post", operator=lambda h: -h, schedule="from:1")
    with model.edit(change):
        cached = model.generate(ids[:, :4], 4)
        assert torch.equal(cached, model.generate(ids[:, :4], 4, use_cache=False))
    assert cached.shape == (3, 8)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_kept_and_obeys_the_laws(dtype):
    for family in ("gpt2", "qwen3", "gemma2", "opt", "distilbert"):
        model = uw.load_model(tiny.module_of(family).to(dtype))
        assert {value.dtype for value in model.capture(IDS, model.sites()).values()} == {dtype}
        assert all(result.holds for result in check_laws(model)), family
        laws.noop_changes_nothing(uw.Model.edit, model, IDS, "blocks.0.mlp_out")
        assert model.section("blocks.0.resid_pre", "blocks.1.resid_post").check(IDS) < 5e-2
    assert {row.dtype for row in site_table(model)} == {str(dtype).removeprefix("torch.")}


def test_a_model_on_several_devices_is_not_moved():
    module = tiny.module_of("llama")
    module.hf_device_map = {"model.layers.0": 0, "model.layers.1": 1}
    with pytest.raises(InputError, match=r"lies on several devices already \(device_map\).*leave out device="):
        uw.load_model(module, device="cpu")
    assert uw.load_model(module).sites()
    module.hf_device_map = {"": "cpu"}
    assert uw.load_model(module, device="cpu").device.type == "cpu"


def phi() -> torch.nn.Module:
    """A family without a row: one norm before attention and MLP side by side."""
    config = transformers.PhiConfig(
        vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=64, eos_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.PhiForCausalLM(config).eval()


def pasted(text: str) -> families.Family:
    """The row that the text makes."""
    namespace: dict = {}
    exec(text, namespace)  # noqa: S102 - it is our own text, and this is what it is for
    return namespace["row"]


def test_unknown_family_gets_a_proposal_that_is_never_applied():
    module = phi()
    model = uw.load_model(module)
    assert model.family is None
    assert "model.layers.0.mlp" in model.sites()
    with pytest.raises(UnknownName, match=r"no adapter row serves models of type 'phi'.*proposed_row"):
        model.capture(IDS, "blocks.0.resid_post")
    text = proposed_row(module)
    assert "all four laws hold" in text.splitlines()[0]
    assert uw.load_model(module).family is None
    model = uw.load_model(module, family=pasted(text))
    assert all(result.holds for result in check_laws(model))
    found = model.capture(IDS, ["blocks.0.resid_post", "blocks.1.resid_pre", "logits", "blocks.0.mlp_act"])
    assert torch.equal(found["blocks.0.resid_post"], found["blocks.1.resid_pre"])
    with torch.no_grad():
        assert torch.equal(found["logits"], module(IDS).logits)
    assert model.section("blocks.0.resid_pre", "logits").check(IDS) < 1e-5


@pytest.mark.parametrize("family", ["llama", "gemma3", "neox", "neox-sequential", "distilbert"])
def test_proposals_for_known_families_are_their_rows(family):
    text = proposed_row(tiny.module_of(family))
    assert "all four laws hold" in text.splitlines()[0]
    row, known = pasted(text), tiny.model_of(family).family
    for field in ("norm", "causal", "blocks", "others", "attention_matrix", "mlp_matrix", "parallel", "head"):
        if not (field == "head" and family == "distilbert"):
            assert getattr(row, field) == getattr(known, field), field
    same = dict(known.components)
    assert {name: place for name, place in row.components.items() if name != "mlp_act"} | {"mlp_act": 0} == same | {
        "mlp_act": 0
    }


def test_a_proposal_that_does_not_fit_says_so_and_some_modules_get_none():
    assert "the model does not run with it" in proposed_row(tiny.module_of("opt")).splitlines()[0]
    assert proposed_row(torch.nn.Linear(2, 2)) is None
    assert proposed_row(tiny.module_of("mixtral")) is None
    config = transformers.T5Config(
        vocab_size=97, d_model=32, d_ff=48, d_kv=8, num_layers=2, num_heads=4, pad_token_id=0, decoder_start_token_id=0
    )
    assert proposed_row(transformers.T5ForConditionalGeneration(config).eval()) is None  # wants more than token ids


def test_the_laws_find_a_wrong_row():
    """Each law has a wrong row that it catches; a right one passes all."""
    from dataclasses import replace

    right = tiny.model_of("gemma2")
    wrong = {
        "attn_out": "self_attn",  # before its norm: what is added is something else
        "resid_mid": "in post_feedforward_layernorm",
    }
    assert all(result.holds for result in check_laws(right))
    for component, place in wrong.items():
        row = replace(right.family, components={**right.family.components, component: place})
        results = check_laws(uw.load_model(right.module, family=row))
        assert not results[0].holds, component
        assert results[0].where.startswith("blocks.")
    swapped = replace(right.family, attention_out_norm="post_feedforward_layernorm")
    assert [one.holds for one in check_laws(uw.load_model(right.module, family=swapped))] == [True, False, True, True]


def test_laws_need_a_transformer():
    with pytest.raises(InputError, match="is of no known family, so there is no telling what it takes"):
        check_laws(uw.load_model(torch.nn.Linear(2, 2)))
    assert random_ids(tiny.model_of("gpt2"), length=500).shape == (2, 64)


def test_every_row_is_found_by_its_model_type():
    kinds = [kind for row in families.FAMILIES for kind in row.model_types]
    assert {"llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "gemma3_text", "opt", "distilbert"} <= set(kinds)
    assert families.family_of(phi()) is None
