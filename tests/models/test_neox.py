"""GPT-NeoX: attention and MLP side by side, as in Pythia, or one behind the other; sites are what the model uses."""

import pytest
import torch

import unweave as uw
from unweave.errors import InputError
from unweave.interaction.builders import chain


def model_of(parallel):
    import transformers

    config = transformers.GPTNeoXConfig(
        vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=64, use_parallel_residual=parallel,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = transformers.GPTNeoXForCausalLM(config)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return uw.load_model(module.eval())


@pytest.fixture(scope="module", params=[True, False], ids=["parallel", "sequential"])
def neox(request):
    return model_of(request.param), request.param


IDS = torch.randint(1, 97, (3, 10), generator=torch.Generator().manual_seed(1))


def test_the_stream_is_the_sum_of_its_parts(neox):
    model, parallel = neox
    found = model.capture(IDS, model.sites())
    names = {str(name) for name in found}
    assert ("blocks.0.resid_mid" in names) is not parallel
    for layer in ("blocks.0", "blocks.1"):
        parts = found[f"{layer}.resid_pre"] + found[f"{layer}.attn_out"]
        if not parallel:
            assert torch.allclose(parts, found[f"{layer}.resid_mid"], atol=1e-5)
        assert torch.allclose(parts + found[f"{layer}.mlp_out"], found[f"{layer}.resid_post"], atol=1e-5)
        assert found[f"{layer}.attn_z"].shape == (3, 10, 4, 8)
        assert found[f"{layer}.mlp_act"].shape == (3, 10, 48)
    assert torch.allclose(found["blocks.0.resid_post"], found["blocks.1.resid_pre"], atol=1e-6)
    assert torch.allclose(found["logits"], model.module(IDS).logits, atol=1e-5)


def test_sections_are_the_model(neox):
    model, parallel = neox
    for start in (
        "blocks.0.resid_pre",
        ("blocks.0.mlp_act", "blocks.0.resid_pre"),
        ("blocks.1.ln1", "blocks.1.resid_pre"),
    ):
        layer = start.split(".")[1] if isinstance(start, str) else start[0].split(".")[1]
        assert model.section(start, f"blocks.{layer}.resid_post").check(IDS) < 1e-4
    assert model.section("blocks.1.resid_pre", "logits").check(IDS) < 1e-4
    coarse = chain(model, probe=IDS)
    assert len(coarse) == (3 if parallel else 5)
    with pytest.raises(InputError, match=r"depends on blocks.0.resid_pre"):
        model.section("blocks.0.mlp_act", "blocks.0.resid_post")


def test_edits_reach_the_output(neox):
    model, _ = neox
    with model.edit({"blocks.0.mlp_out": torch.zeros_like}):
        without = model.capture(IDS, ["blocks.0.resid_post", "blocks.0.resid_pre", "blocks.0.attn_out"])
    total = without["blocks.0.resid_pre"] + without["blocks.0.attn_out"]
    assert torch.allclose(without["blocks.0.resid_post"], total, atol=1e-5)
