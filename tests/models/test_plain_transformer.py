"""Small transformers from weights in the names of TransformerLens: both layouts, their twin, and what is refused."""

import pytest
import torch
from safetensors.torch import save_file

import unweave as uw
from unweave.errors import InputError
from unweave.models.modadd import modadd_pairs
from unweave.models.plain_transformer import plain_transformer


@pytest.fixture(scope="module")
def modadd():
    return uw.load_model("zoo:modadd").module


def test_it_computes_what_the_written_out_transformer_computes(modadd):
    """Twin: `zoo:modadd`, which computes the last position alone."""
    ours = plain_transformer(modadd.state_dict())
    tokens = modadd_pairs()[0][:50]
    assert torch.allclose(ours(tokens)[:, -1], modadd(tokens), atol=1e-4)  # scores up to 100 in float32


def test_both_layouts_are_one_model(modadd):
    state = {name: value.contiguous() for name, value in modadd.state_dict().items()}
    other = {}
    for name, value in state.items():
        kind = name.rsplit(".", 1)[1]
        turned = {"W_Q": (0, 2, 1), "W_K": (0, 2, 1), "W_V": (0, 2, 1)}.get(kind)
        if kind == "W_O":
            other[name] = value.flatten(0, 1).T
        elif turned:
            other[name] = value.permute(turned)
        else:
            other[name] = value.T if kind in ("W_E", "W_in", "W_out") else value
    other["blocks.0.attn.mask"] = torch.ones(3, 3).tril()
    tokens = modadd_pairs()[0][:20]
    assert torch.equal(plain_transformer(other)(tokens), plain_transformer(state)(tokens))


def test_heads_can_be_read_and_edited(modadd):
    model = uw.load_model(plain_transformer(modadd.state_dict()))
    tokens = modadd_pairs()[0][:8]
    mixed = model.capture(tokens, ["blocks.0.z", "blocks.0.resid"])
    assert mixed["blocks.0.z"].shape == (8, 3, 128)
    plain = model(tokens)
    with model.edit({"blocks.0.z": torch.zeros_like}):
        assert not torch.allclose(model(tokens), plain)
    pattern = model.module.pattern(tokens, 0).detach()
    assert pattern.shape == (8, model.module.heads, 3, 3)
    assert torch.allclose(pattern.sum(-1), torch.ones(8, 4, 3))
    assert float(pattern.triu(1).abs().max()) == 0


def test_files_are_loaded_by_name(modadd, tmp_path):
    state = {name: value.contiguous() for name, value in modadd.state_dict().items()}
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "a.pt")
    tokens = modadd_pairs()[0][:4]
    one, two = (uw.load_model(tmp_path / f"a.{kind}") for kind in ("safetensors", "pt"))
    assert torch.equal(one(tokens), two(tokens))
    assert one.name == "a"
    assert one.fingerprint == two.fingerprint


def test_other_files_are_refused(tmp_path):
    (tmp_path / "b.safetensors").write_bytes(b"none")
    with pytest.raises(InputError, match=r"b\.safetensors"):
        uw.load_model(tmp_path / "b.safetensors")
    torch.save([1, 2], tmp_path / "c.pt")
    with pytest.raises(InputError, match="holds a list, not a state dict"):
        uw.load_model(tmp_path / "c.pt")
    save_file({"x": torch.zeros(2)}, tmp_path / "d.safetensors")
    with pytest.raises(InputError, match=r"embed\.W_E"):
        uw.load_model(tmp_path / "d.safetensors")
    with pytest.raises(InputError, match="do not make up a transformer"):
        plain_transformer({
            "embed.W_E": torch.zeros(3, 2), "pos_embed.W_pos": torch.zeros(3, 2), "unembed.W_U": torch.zeros(2, 3),
            "blocks.0.attn.W_Q": torch.zeros(1, 2, 2),
        })  # fmt: skip
