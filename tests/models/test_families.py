"""Every family: each name means one quantity, the one that ecosystem.md 2.1 says (its laws 1 to 6)."""

from __future__ import annotations

import pytest
import torch

import hand_hooks
import laws_models as laws
import tiny
import unweave as uw
from unweave.errors import InputError, UnknownName
from unweave.models.capture import capture
from unweave.models.families import FAMILIES, family_of

SPELLINGS = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_mid": "resid_mid",
    "hook_resid_post": "resid_post",
    "hook_attn_out": "attn_out",
    "hook_mlp_out": "mlp_out",
    "mlp.hook_post": "mlp_act",
    "attn.hook_z": "attn_z",
}
LENGTHS = ([3, 14, 15, 92, 65], [35, 8], [97 - 1, 1, 32, 38, 46, 26, 43])


@pytest.fixture(params=tiny.FAMILIES, scope="module")
def family(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(family) -> uw.Model:
    return tiny.model_of(family)


def is_post_norm(family: str) -> bool:
    return hand_hooks.RAW[family].norms is not None


def test_every_family_has_a_tiny_model_and_hooks_written_by_hand():
    rows = {id(tiny.model_of(family).family) for family in tiny.ALL_FAMILIES}
    without = {kind for row in FAMILIES if id(row) not in rows for kind in row.model_types}
    assert without == {"gemma3"}  # with images: a test of its own in test_all_families
    assert set(hand_hooks.RAW) == set(tiny.ALL_FAMILIES), "write the places of the new family into tests/hand_places.py"


def test_every_site_equals_a_hook_written_by_hand(family, model):
    laws.equals_hand_hooks(capture, family, model, tiny.ids_of())


def test_resid_post_is_the_next_resid_pre(model):
    laws.stream_continues(capture, model, tiny.ids_of())


def test_last_resid_post_is_not_normed(family, model):
    """Transformers' own last hidden state of pre-norm families is after the final norm; ours is the block's output."""
    ids = tiny.ids_of()
    with torch.no_grad():
        hidden = model.module(ids, output_hidden_states=True).hidden_states
    found = model.capture(ids, ["blocks.0.resid_pre", "blocks.0.resid_post", "blocks.1.resid_post"])
    assert torch.equal(found["blocks.0.resid_pre"], hidden[0])
    assert torch.equal(found["blocks.0.resid_post"], hidden[1])
    assert torch.equal(found["blocks.1.resid_post"], hidden[2]) == is_post_norm(family)


def test_stream_is_the_sum_or_the_norm_of_the_sum(family, model):
    laws.sums_and_norms(capture, family, model, tiny.ids_of())


def test_heads_and_neurons_go_through_their_matrices(family, model):
    laws.matrices_connect(capture, family, model, tiny.ids_of())


def test_heads_are_query_heads_as_wide_as_the_output_matrix_says(family, model):
    """Heads times head width need not be the width of the model, and keys may have fewer heads."""
    z = model.capture(tiny.ids_of(), ["blocks.0.attn_z"])["blocks.0.attn_z"]
    config = model.module.config
    assert z.shape[2] == config.num_attention_heads == hand_hooks.RAW[family].heads
    matrix = hand_hooks.block_of(family, model.module, 0).get_submodule(hand_hooks.RAW[family].attention_matrix)
    inputs = matrix.weight.shape[1] if isinstance(matrix, torch.nn.Linear) else matrix.weight.shape[0]
    assert z.shape[2] * z.shape[3] == inputs == model.width("blocks.0.attn_z")


def test_grouped_queries_with_heads_wider_than_the_model():
    """The tiny Llama has 4 query heads of 16 on 2 key-value heads, in a stream of 32: the trap of Qwen3 and Gemma."""
    model = tiny.model_of("llama")
    assert model.module.config.num_key_value_heads == 2
    assert model.width("blocks.0.attn_z") == 64
    assert model.width("blocks.0.resid_post") == 32


def test_each_query_head_attends_with_its_own_key_head():
    """Heads written out one by one: query head h reads key-value head h // 2."""
    model = tiny.model_of("llama")
    ids = tiny.ids_of(batch=1, length=6)
    found = model.capture(ids, ["blocks.0.ln1", "blocks.0.attn_z"])
    attention = model.module.model.layers[0].self_attn
    x = found["blocks.0.ln1"][0]
    cos, sin = (part[0] for part in model.module.model.rotary_emb(x[None], torch.arange(6)[None]))

    def rotated(v: torch.Tensor) -> torch.Tensor:
        half = torch.cat([-v[:, 8:], v[:, :8]], dim=1)
        return v * cos + half * sin

    for head in range(4):
        group = head // 2
        with torch.no_grad():
            q = rotated(x @ attention.q_proj.weight[16 * head : 16 * (head + 1)].T)
            k = rotated(x @ attention.k_proj.weight[16 * group : 16 * (group + 1)].T)
            v = x @ attention.v_proj.weight[16 * group : 16 * (group + 1)].T
            scores = (q @ k.T / 4).masked_fill(torch.ones(6, 6).triu(1).bool(), -torch.inf)
            z = scores.softmax(-1) @ v
        laws.close(found["blocks.0.attn_z"][0, :, head], z, relative=1e-5)  # softmax over float32 scores of order 10


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_transformer_lens_spelling_gives_the_same_array(family, model, spelling):
    if is_post_norm(family) and spelling in ("hook_resid_mid", "hook_resid_post"):
        with pytest.raises(InputError, match="after the LayerNorm, what the next block reads"):
            model.capture(tiny.ids_of(), [f"blocks.1.{spelling}"])
        return
    theirs, ours = f"blocks.1.{spelling}", f"blocks.1.{SPELLINGS[spelling]}"
    found = model.capture(tiny.ids_of(), [theirs, ours])
    assert list(found) == [theirs, ours]
    assert found[theirs] is found[ours], "one site asked for by two names is one array"
    assert model.width(theirs) == model.width(ours)


def test_embedding_is_known_by_its_transformer_lens_name(model):
    found = model.capture(tiny.ids_of(), ["hook_embed", "embed"])
    assert torch.equal(found["hook_embed"], model.module.get_input_embeddings()(tiny.ids_of()))


def test_normalized_spelling_belongs_to_post_norm_families(family, model):
    theirs = "blocks.0.hook_normalized_resid_post"
    if is_post_norm(family):
        found = model.capture(tiny.ids_of(), [theirs, "blocks.0.resid_post"])
        assert torch.equal(found[theirs], found["blocks.0.resid_post"])
    else:
        with pytest.raises(
            InputError, match=r"models with the norm after the sum; this family has 'blocks.0.resid_post'"
        ):
            model.capture(tiny.ids_of(), [theirs])


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("blocks.0.resid_psot", "blocks.0.resid_post"),
        ("blocks.1.mlp_atc", "blocks.1.mlp_act"),
        ("blocks.7.resid_post", "blocks.1.resid_post"),
        ("embd", "embed"),
    ],
)
def test_unknown_site_is_answered_with_near_names(model, wrong, right):
    for ask in (model.width, lambda name: model.capture(tiny.ids_of(), [name]), lambda name: model.section(name, name)):
        with pytest.raises(UnknownName, match=r"model\.sites\(\) lists all") as caught:
            ask(wrong)
        assert right in caught.value.suggestions
        assert repr(wrong) in str(caught.value)
    if "7" in wrong:
        assert "the model has blocks 0..1" in str(caught.value)


def test_logits_are_those_of_the_bare_module_to_the_bit(model):
    ids = tiny.ids_of()
    with torch.no_grad():
        output = model.module(ids)
        bare = output.logits if model.has_logits else output.last_hidden_state
        assert torch.equal(model(ids), bare)
        for nothing in ({}, []):
            with model.edit(nothing):
                assert torch.equal(model(ids), bare)
                assert torch.equal(model.module(ids)[0], bare)


def test_capture_changes_nothing_that_comes_later(model):
    ids = tiny.ids_of()
    before = model(ids)
    model.capture(ids, model.sites())
    model.capture(ids, ["blocks.0.resid_mid"])
    assert torch.equal(model(ids), before)


def test_values_are_copies_that_accept_autograd(model):
    laws.values_are_copies(capture, model, tiny.ids_of())


def test_padding_on_either_side_is_invisible(model):
    laws.padding_is_invisible(capture, model, LENGTHS)


def test_all_sites_have_the_width_they_say(model):
    for site, value in model.capture(tiny.ids_of(2, 5), model.sites()).items():
        assert value.shape[:2] == (2, 5), site
        assert value.flatten(2).shape[2] == model.width(site), site


def test_one_token_and_one_sequence(model):
    found = model.capture(torch.tensor([[5]]), model.sites())
    assert all(value.shape[:2] == (1, 1) for value in found.values())


def test_row_is_chosen_by_the_configuration_not_by_names():
    assert family_of(tiny.module_of("gpt2")).model_types == ("gpt2",)
    assert family_of(torch.nn.Linear(2, 2)) is None
    renamed = torch.nn.ModuleDict({"transformer": tiny.module_of("gpt2")})
    assert family_of(renamed) is None
