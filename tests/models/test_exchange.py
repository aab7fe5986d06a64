"""Names and values of TransformerLens and nnsight: what comes in is what capture gives, what goes out does what an edit
does.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import tiny
import unweave as uw
from memory_use import allocated
from unweave.errors import InputError
from unweave.models.exchange import edit_function, lens_cache, lens_hooks, lens_values, module_values
from unweave.models.operators import scale
from unweave.site import Site

IDS = tiny.ids_of(2, 6)


@pytest.fixture(scope="module")
def model() -> uw.Model:
    return tiny.model_of("gpt2")


@pytest.fixture(scope="module")
def values(model) -> dict[str, torch.Tensor]:
    return model.capture(IDS, [site for site in model.sites() if site not in ("final_norm", "logits")])


NAMED = [
    f"blocks.1.{name}" for name in ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "mlp_act", "attn_z")
]


def test_a_cache_there_and_back_is_the_same(model, values):
    cache = lens_cache({site: values[site] for site in ["embed", *NAMED]})
    assert sorted(cache) == sorted(
        ["hook_embed"]
        + [f"blocks.1.{name}" for name in ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out")]
        + ["blocks.1.hook_mlp_out", "blocks.1.mlp.hook_post", "blocks.1.attn.hook_z"]
    )
    back = lens_values(cache, model)
    assert back.model_fingerprint == model.fingerprint
    assert dict(back.extra) == {}
    assert list(back.values) == ["embed", *NAMED]
    for site, value in back.values.items():
        assert value.data_ptr() == values[site].data_ptr()


def test_aliases_count_once_and_what_has_no_name_stays_as_extra(model, values):
    post = values["blocks.0.resid_post"]
    cache = {
        "blocks.0.hook_resid_post": post,
        "blocks.0.resid_post": post,
        "blocks.0.attn.hook_pattern": torch.ones(2, 4, 6, 6),
        "blocks.9.hook_resid_post": post,
    }
    found = lens_values(cache, model)
    assert list(found.values) == ["blocks.0.resid_post"]
    assert list(found.extra) == ["blocks.0.attn.hook_pattern", "blocks.9.hook_resid_post"]


def test_processed_weights_are_another_model(model, values):
    cache = {"blocks.0.hook_resid_post": values["blocks.0.resid_post"]}
    one = lens_values(cache, model, processed=("fold_ln", "center_writing_weights"))
    two = lens_values(cache, model, processed=("center_writing_weights", "fold_ln"))
    assert one.model_fingerprint == two.model_fingerprint != model.fingerprint


@pytest.mark.parametrize(
    ("cache", "message"),
    [
        (
            {"blocks.0.hook_resid_post": torch.ones(2, 6, 31)},
            r"has the shape \(2, 6, 31\) but blocks.0.resid_post has 32",
        ),
        (
            {"blocks.0.hook_resid_post": torch.ones(6, 32)},
            r"has the shape \(6, 32\) but .* \(batch, position, ...\) of the",
        ),
        (
            {"blocks.0.hook_mlp_out": torch.ones(2, 6, 32), "blocks.0.mlp_out": torch.zeros(2, 6, 32)},
            "blocks.0.mlp_out and another entry both hold blocks.0.mlp_out, with other values",
        ),
    ],
)
def test_values_that_are_not_of_the_site_are_refused(model, cache, message):
    with pytest.raises(InputError, match=message):
        lens_values(cache, model)


def test_names_that_mean_something_else_after_the_norm_are_refused(model):
    bert = tiny.model_of("bert")
    with pytest.raises(InputError, match=r"means the sum before the LayerNorm by 'blocks\.0\.hook_resid_post'"):
        lens_values({"blocks.0.hook_resid_post": torch.ones(2, 6, 32)}, bert)
    for site in ("blocks.0.ln1", "final_norm", "encoder.conv1"):
        with pytest.raises(InputError, match=f"TransformerLens has no name for '{site}' that means the same"):
            lens_cache({site: torch.ones(1, 2, 3)})


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_values_by_module_path_are_those_of_capture(family):
    """Hand-written hooks on every module stand for a trace; every site but those computed twice comes back."""
    model = tiny.model_of(family)
    saved: dict[str, object] = {}

    def note(name):
        def hook(_module, args, kwargs, output):
            found = args[0] if args else kwargs.get("hidden_states")
            saved[f"{name}.input"] = found
            saved[f"{name}.output"] = SimpleNamespace(value=output)

        return hook

    handles = [
        part.register_forward_hook(note(name), with_kwargs=True) for name, part in model.module.named_modules() if name
    ]
    with torch.no_grad():
        model.module(IDS)
    for handle in handles:
        handle.remove()
    saved = {name: value for name, value in saved.items() if value is not None}
    found = module_values(saved, model)
    assert set(found.values) == set(model.sites())
    for site, value in model.capture(IDS, list(found.values)).items():
        torch.testing.assert_close(found.values[Site(site)], value, rtol=1e-6, atol=1e-6)
    assert found.extra
    assert set(found.extra) < set(saved)


def test_paths_are_understood_with_the_prefix_that_nnsight_gives(model, values):
    post = values["blocks.1.resid_post"]
    for name in ("transformer.h.1", "model.transformer.h.1.output", "transformer.h.1.output"):
        assert list(module_values({name: (post, None)}, model).values) == ["blocks.1.resid_post"]
    assert list(module_values({"transformer.h.1:in": post}, model).values) == ["blocks.1.resid_pre"]
    assert list(module_values({"transformer.h.7": post}, model).extra) == ["transformer.h.7"]


HOSTILE = {
    "nothing": (None, "holds a NoneType, not a tensor"),
    "an empty tuple": ((), "holds a NoneType, not a tensor"),
    "a text": ("x" * 100, "holds a str, not a tensor"),
    "an array": (np.zeros((2, 6, 32)), "holds a ndarray, not a tensor"),
    "a tuple of tuples": (((torch.zeros(2, 6, 32),),), "holds a tuple, not a tensor"),
    "a number": (torch.tensor(1.0), r"has the shape \(\)"),
    "whole numbers": (torch.ones(2, 6, 32).int(), "holds strided int32 values"),
    "no values": (torch.empty(2**20, 2**20, 32, device="meta"), r"holds no values \(meta\)"),
    "sparse values": (torch.zeros(2, 6, 32).to_sparse(), "holds sparse_coo float32 values"),
    "2^40 rows of one number": (torch.zeros(1).expand(2**30, 2**10, 31), r"1024, 31\) but blocks"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_saved_values_that_are_none_are_one_line_and_no_memory(model, name):
    value, message = HOSTILE[name]
    with allocated() as peak, pytest.raises(InputError, match=message) as told:
        module_values({"transformer.h.0": value}, model)
    assert "\n" not in str(told.value)
    assert peak() < 10 << 20


@pytest.mark.parametrize("width", [0, 30, 33])
def test_heads_that_do_not_come_out_even_are_refused(model, width):
    with pytest.raises(InputError, match=r"its last axis is not 4 heads"):
        module_values({"transformer.h.0.attn.c_proj:in": torch.zeros(2, 6, width)}, model)


EDITS = {
    "everywhere": uw.Edit(site="blocks.0.resid_post", operator=scale(0.5)),
    "last": uw.Edit(site="blocks.0.mlp_out", operator=scale(0.0), positions="last"),
    "some": uw.Edit(site="blocks.0.attn_z", operator=lambda z: z + 1, positions=[1, 3]),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_as_a_function_does_what_the_edit_does(model, name):
    edit = EDITS[name]
    before = model.capture(IDS, [edit.site])[edit.site]
    kept = before.clone()
    with model.edit(edit):
        expected = model.capture(IDS, [edit.site])[edit.site]
    ((_, function),) = lens_hooks(edit)
    for found in (edit_function(edit)(before), function(before, hook=None)):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert torch.equal(before, kept)


def test_an_edit_with_a_featurizer_as_a_function(model):
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(32, 32, generator=generator))[0]
    featurizer = uw.AffineFeaturizer(read=basis, write=basis.T, origin=torch.zeros(32), site="blocks.0.resid_post")
    edit = uw.Edit(site="blocks.0.resid_post", operator=scale(0.0), featurizer=featurizer, units=[3, 4])
    before = model.capture(IDS, [edit.site])[edit.site]
    changed = edit_function(edit)(before)
    two = basis[:, 3:5]
    torch.testing.assert_close(changed, before - before @ two @ two.T, rtol=1e-5, atol=1e-5)


def test_hooks_are_named_and_refused_by_name():
    hooks = lens_hooks([EDITS["last"], EDITS["some"]])
    assert [name for name, _ in hooks] == ["blocks.0.hook_mlp_out", "blocks.0.attn.hook_z"]
    with pytest.raises(InputError, match=r"TransformerLens has no name for 'blocks\.0\.ln2'"):
        lens_hooks({"blocks.0.ln2": lambda h: h})
