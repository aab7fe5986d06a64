"""Sites: one spelling for a quantity, the asked one kept, patterns that stand for several, and typos answered."""

from __future__ import annotations

import copy
import tracemalloc
from pathlib import Path

import pytest

import unweave as uw
from unweave.errors import InputError, UnknownName
from unweave.site import BLOCK_COMPONENTS, OTHER_COMPONENTS, Site, expand_sites, is_pattern, unknown_site

AVAILABLE = [f"blocks.{layer}.{name}" for layer in range(6) for name in BLOCK_COMPONENTS] + list(OTHER_COMPONENTS)

LENS = {
    "blocks.4.hook_resid_pre": "blocks.4.resid_pre",
    "blocks.4.hook_resid_mid": "blocks.4.resid_mid",
    "blocks.4.hook_resid_post": "blocks.4.resid_post",
    "blocks.4.hook_normalized_resid_post": "blocks.4.resid_post",
    "blocks.4.hook_attn_out": "blocks.4.attn_out",
    "blocks.4.hook_mlp_out": "blocks.4.mlp_out",
    "blocks.4.mlp.hook_post": "blocks.4.mlp_act",
    "blocks.4.attn.hook_z": "blocks.4.attn_z",
    "hook_embed": "embed",
}


@pytest.mark.parametrize("asked", LENS)
def test_transformer_lens_names_become_ours(asked: str) -> None:
    site = Site(asked)
    assert site == LENS[asked]
    assert site.asked == asked
    assert hash(site) == hash(LENS[asked])
    assert {site: 1}[LENS[asked]] == 1  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "name", [*AVAILABLE, "encoder.conv1", "encoder.conv1:in", "blocks.x.resid_post", "blocks.4", "h.0.mlp"]
)
def test_our_names_and_module_paths_stay_as_they_are(name: str) -> None:
    assert str(Site(name)) == Site(name).asked == name


@pytest.mark.parametrize(
    ("name", "layer", "component"),
    [
        ("blocks.0.ln1", 0, "ln1"),
        ("blocks.31.mlp.hook_post", 31, "mlp_act"),
        ("final_norm", None, "final_norm"),
        ("hook_embed", None, "embed"),
        ("blocks.3.weird", None, "blocks.3.weird"),
        ("blocks.x.resid_post", None, "blocks.x.resid_post"),
        ("blocks.٣.resid_post", None, "blocks.٣.resid_post"),
        ("blocks.4.resid_post.more", None, "blocks.4.resid_post.more"),
        (f"blocks.{'9' * 5000}.resid_post", None, f"blocks.{'9' * 5000}.resid_post"),
    ],
)
def test_layer_and_component_belong_to_blocks_only(name: str, layer: int | None, component: str) -> None:
    site = Site(name)
    assert (site.layer, site.component) == (layer, component)


def test_the_spelling_survives_copies_and_files(tmp_path: Path) -> None:
    site = Site("blocks.4.hook_resid_post")
    where = (site, Site("hook_embed"))
    kept = uw.AffineFeaturizer(read=[[1.0], [0.0]], site=where)
    loaded = uw.load(uw.save(kept, tmp_path / "a")).site
    for twin in (copy.copy(site), copy.deepcopy(site), Site(site), copy.deepcopy([site])[0], kept.site[0], loaded[0]):
        assert type(twin) is Site
        assert twin == "blocks.4.resid_post"
        assert twin.asked == "blocks.4.hook_resid_post"
    assert loaded[1].asked == "hook_embed"


@pytest.mark.parametrize("name", ["", " ", "blocks.0.ln1 ", "\tembed", "embed\n"])
def test_blank_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"a site needs a name without blanks around it, got .*: for example"):
        Site(name)


PATTERNS: dict[str, list[str]] = {
    "embed": ["embed"],
    "blocks.*.mlp_act": [f"blocks.{layer}.mlp_act" for layer in range(6)],
    "blocks.{1..3}.ln1": ["blocks.1.ln1", "blocks.2.ln1", "blocks.3.ln1"],
    "blocks.{4..9}.ln1": ["blocks.4.ln1", "blocks.5.ln1"],
    "blocks.{0,2}.resid_{pre,mid}": [f"blocks.{layer}.resid_{part}" for layer in (0, 2) for part in ("pre", "mid")],
    "blocks.{0, 2}.ln1": ["blocks.0.ln1", "blocks.2.ln1"],
    "blocks.0.ln?": ["blocks.0.ln1", "blocks.0.ln2"],
    "blocks.[02].ln1": ["blocks.0.ln1", "blocks.2.ln1"],
    "{embed,{final_norm,logits}}": ["embed", "final_norm", "logits"],
    "blocks.{5..5}.*_out": ["blocks.5.attn_out", "blocks.5.mlp_out"],
    "*": AVAILABLE,
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_stand_for_the_available_sites_in_their_order(pattern: str) -> None:
    found = expand_sites(pattern, AVAILABLE)
    assert found == PATTERNS[pattern]
    assert all(type(site) is Site for site in found)
    assert is_pattern(pattern) == (pattern != "embed")


def test_several_patterns_give_each_site_once_in_the_order_asked() -> None:
    found = expand_sites(["logits", "blocks.0.{ln2,ln1}", "*.ln1"], AVAILABLE)
    assert found == ["logits", "blocks.0.ln1", "blocks.0.ln2", *[f"blocks.{layer}.ln1" for layer in range(1, 6)]]
    assert expand_sites([], AVAILABLE) == []


@pytest.mark.parametrize(
    ("pattern", "asked"),
    [
        ("blocks.*.hook_resid_post", [f"blocks.{layer}.hook_resid_post" for layer in range(6)]),
        ("blocks.{1..2}.mlp.hook_post", ["blocks.1.mlp.hook_post", "blocks.2.mlp.hook_post"]),
        ("blocks.3.{hook_mlp_out,ln1}", ["blocks.3.ln1", "blocks.3.hook_mlp_out"]),
        ("hook_embed", ["hook_embed"]),
        ("blocks.1.*_pre", ["blocks.1.resid_pre"]),
    ],
)
def test_patterns_keep_the_spelling_that_was_asked_for(pattern: str, asked: list[str]) -> None:
    # families with the norm after the sum refuse some spellings, and must see them
    assert [site.asked for site in expand_sites(pattern, AVAILABLE)] == asked


@pytest.mark.parametrize(
    "pattern", ["blocks.{0..1000000000}.ln1", "{0..999999999999999999}", "{0..9999}.{0..9999}", "blocks.{0..10000}.ln1"]
)
def test_a_huge_range_is_refused_at_once(pattern: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"the pattern .* stands for more than 10000 names: no model has so many"):
            expand_sites(pattern, AVAILABLE)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24  # the names alone would take gigabytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "first", "hint"),
    [
        ("blocks.7.resid_post", "blocks.5.resid_post", "the model has blocks 0..5; model.sites() lists all"),
        ("blocks.7.resid_psot", "blocks.5.resid_post", "the model has blocks 0..5; model.sites() lists all"),
        ("blocks.3.resid_psot", "blocks.3.resid_post", "model.sites() lists all"),
        ("block.3.mlp_act", "blocks.3.mlp_act", "model.sites() lists all"),
        ("blocks.9.hook_mlp_out", "blocks.5.mlp_out", "the model has blocks 0..5; model.sites() lists all"),
        ("embedd", "embed", "model.sites() lists all"),
        ("blocks.{3..1}.ln1", "blocks.1.ln1", "model.sites() lists all"),
        ("blocks.*.mlp_acts", "blocks.0.mlp_act", "model.sites() lists all"),
    ],
)
def test_an_unknown_site_is_answered_with_the_nearest(name: str, first: str, hint: str) -> None:
    for error in (unknown_site(name, AVAILABLE), _raised(name)):
        assert error.suggestions[0] == first
        assert str(error) == f"unknown site {name!r}; nearest: {', '.join(map(repr, error.suggestions))}; {hint}"


def _raised(name: str) -> UnknownName:
    with pytest.raises(UnknownName) as caught:
        expand_sites(["embed", name], AVAILABLE)
    return caught.value


def test_a_name_like_no_other_lists_what_there_is() -> None:
    with pytest.raises(UnknownName, match=r"^unknown site ''; valid: 'conv1', 'conv2'; model\.sites\(\) lists all$"):
        expand_sites("", ["conv1", "conv2"])
    with pytest.raises(UnknownName, match=r"^unknown site 'x'; model\.sites\(\) lists all$"):
        expand_sites("x", [])


def test_the_components_are_those_of_the_design() -> None:
    assert set(BLOCK_COMPONENTS) == {
        "ln1", "ln2", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "mlp_act", "attn_z",
    }  # fmt: skip
    assert set(OTHER_COMPONENTS) == {"embed", "final_norm", "logits"}
