"""Every family with a row: sites, laws, edits, sections and generation against hooks and loops written by hand."""

from __future__ import annotations

import pytest
import torch

import hand_hooks
import laws_models as laws
import tiny
import tiny_families
import unweave as uw
from unweave.errors import InputError
from unweave.models.capture import capture
from unweave.models.edits import edited
from unweave.models.generation import generate

SEQUENCES = ([3, 14, 15, 92, 65], [35, 8], [96, 1, 32, 38, 46, 26, 43])
FAMILY_NAMES = list(tiny_families.BUILT)
NOT_CAUSAL = {"distilbert"}


@pytest.fixture(params=FAMILY_NAMES, scope="module")
def family(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(family) -> uw.Model:
    return tiny.model_of(family)


def test_every_site_equals_a_hook_written_by_hand(family, model):
    laws.equals_hand_hooks(capture, family, model, tiny.ids_of())


def test_stream_is_what_flows_from_block_to_block(family, model):
    laws.stream_continues(capture, model, tiny.ids_of())
    laws.sums_and_norms(capture, family, model, tiny.ids_of())


def test_heads_and_neurons_go_through_their_matrices(family, model):
    laws.matrices_connect(capture, family, model, tiny.ids_of())


def test_logits_are_those_of_the_bare_module_to_the_bit(family, model):
    ids = tiny.ids_of()
    with torch.no_grad():
        output = model.module(ids)
        bare = output.last_hidden_state if family in NOT_CAUSAL else output.logits
        assert torch.equal(model(ids), bare)
        with model.edit([]):
            assert torch.equal(model(ids), bare)
    if family not in NOT_CAUSAL:
        assert torch.equal(model.capture(ids, "logits")["logits"], bare)


def test_values_are_copies_that_accept_autograd(model):
    laws.values_are_copies(capture, model, tiny.ids_of())


def test_padding_on_either_side_is_invisible(model):
    laws.padding_is_invisible(capture, model, SEQUENCES)


def test_all_sites_have_the_width_they_say(model):
    for site, value in model.capture(tiny.ids_of(2, 5), model.sites()).items():
        assert value.flatten(2).shape == (2, 5, model.width(site)), site


def test_edits_of_every_site_reach_the_output_and_can_do_nothing(model):
    ids = tiny.ids_of()
    with torch.no_grad():
        plain = model(ids)
        for site in model.sites():
            laws.noop_changes_nothing(edited, model, ids, site)
            with model.edit({site: torch.zeros_like}):
                assert not torch.equal(model(ids), plain), site
        assert torch.equal(model(ids), plain)


def test_middle_edit_reaches_both_paths(family, model):
    if hand_hooks.RAW[family].is_parallel:
        assert "blocks.0.resid_mid" not in model.sites()
    else:
        laws.middle_edit_reaches_both_paths(edited, family, model, tiny.ids_of())


@pytest.mark.parametrize("positions", ["last", [1, -1]], ids=str)
def test_edited_positions_are_those_of_each_sequence(model, positions):
    last = "mlp_out"  # flattened in OPT
    change = uw.Edit(site=f"blocks.0.{last}", operator=lambda h: -h, positions=positions)
    with model.edit(change), torch.no_grad():
        alone = [model(torch.tensor([sequence])) for sequence in SEQUENCES]
        for side in ("left", "right"):
            batch = laws.batch_of(SEQUENCES, side)
            laws.real_tokens_agree(model(batch), alone, batch.mask, absolute=1e-4)  # logits of order 10


def test_generation_with_a_cache_and_without_is_decoding_by_hand(family, model):
    if family in NOT_CAUSAL:
        with pytest.raises(InputError, match="does not predict a next token"):
            model.generate(tiny.ids_of(), 3)
        return
    change = uw.Edit(site="blocks.0.resid_post", operator=lambda h: h + 3 * h.flip(-1), schedule="from:1")
    laws.cached_equals_uncached(generate, family, model, tiny.ids_of(2, 5), change, 6)


def starts_and_ends(model: uw.Model) -> list[tuple[object, str]]:
    """Sections that together run every step of a block, and those to the end of the model."""
    has = {str(site) for site in model.sites()}
    middle = "resid_mid" if "blocks.1.resid_mid" in has else "resid_pre"
    pairs: list[tuple[object, str]] = [
        ("blocks.0.resid_pre", "blocks.1.resid_post"),
        (("blocks.1.attn_z", "blocks.1.resid_pre"), "blocks.1.resid_post"),
        (("blocks.1.mlp_out", f"blocks.1.{middle}", "blocks.1.attn_out"), "blocks.1.resid_post"),
    ]
    if "blocks.1.mlp_act" in has:
        start = {"blocks.1.mlp_act", f"blocks.1.{middle}", *(() if middle == "resid_mid" else ("blocks.1.attn_out",))}
        pairs.append((tuple(sorted(start)), "blocks.1.resid_post"))
    if "logits" in has:
        pairs += [("blocks.1.resid_post", "logits"), ("blocks.0.resid_pre", "logits")]
    return pairs


def test_sections_are_the_model_also_where_it_is_edited(model):
    ids = tiny.ids_of()
    for start, end in starts_and_ends(model):
        section = model.section(start, end)
        assert section.check(ids) <= 1e-5, section
        x, context = section.inputs(ids)
        other = x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
        parts = other.split([model.width(site) for site in section.site_in], dim=-1)
        edits = [
            uw.Edit(site=site, operator=lambda h, part=part: part.reshape(h.shape))
            for site, part in zip(section.site_in, parts, strict=True)
        ]
        with model.edit(edits), torch.no_grad():
            wanted = model.capture(ids, end)[end]
        with torch.no_grad():
            laws.close(section(other, context), wanted, relative=1e-5)  # two blocks of float32


def test_padded_sections_are_complete(model):
    for side in ("left", "right"):
        section = model.section("blocks.0.resid_pre", "blocks.1.resid_post", positions="last")
        assert section.check(laws.batch_of(SEQUENCES, side)) <= 1e-5


def test_transformer_lens_spelling_gives_the_same_array(family, model):
    post_norm = hand_hooks.RAW[family].norms is not None
    for theirs, ours in (("hook_resid_pre", "resid_pre"), ("hook_mlp_out", "mlp_out"), ("attn.hook_z", "attn_z")):
        found = model.capture(tiny.ids_of(), [f"blocks.1.{theirs}", f"blocks.1.{ours}"])
        assert found[f"blocks.1.{theirs}"] is found[f"blocks.1.{ours}"]
    if post_norm:
        with pytest.raises(InputError, match="after the LayerNorm, what the next block reads"):
            model.capture(tiny.ids_of(), ["blocks.1.hook_resid_post"])
