"""Sections of transformers: the model between two node layers as a pure function, complete or refused."""

from __future__ import annotations

from dataclasses import replace
from types import MethodType

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm

import hand_hooks
import laws_models as laws
import tiny
import unweave as uw
from unweave.errors import InputError, UnknownName, UnweaveError

BOTH = [
    ("blocks.0.resid_pre", "blocks.0.resid_mid"),
    ("blocks.0.resid_mid", "blocks.0.resid_post"),
    ("blocks.0.resid_pre", "blocks.1.resid_post"),
    ("blocks.0.resid_post", "blocks.1.resid_pre"),
    ("blocks.0.resid_mid", "blocks.1.resid_mid"),
    ("blocks.1.resid_pre", "blocks.1.attn_z"),
    ("blocks.1.resid_pre", "blocks.1.attn_out"),
    ("blocks.1.resid_mid", "blocks.1.mlp_act"),
    ("blocks.1.attn_z", "blocks.1.attn_out"),
    ("blocks.1.mlp_act", "blocks.1.mlp_out"),
    (("blocks.0.attn_z", "blocks.0.resid_pre"), "blocks.1.resid_mid"),
    (("blocks.0.mlp_act", "blocks.0.resid_mid"), "blocks.0.resid_post"),
    (("blocks.0.resid_mid", "blocks.0.mlp_out"), "blocks.1.attn_z"),
    ("blocks.0.resid_mid", ("blocks.0.mlp_act", "blocks.0.resid_mid")),
    (("blocks.0.attn_out", "blocks.0.resid_pre"), ("blocks.0.mlp_act", "blocks.0.resid_post")),
]
PRE_NORM = [
    ("blocks.0.resid_pre", "blocks.0.ln1"),
    ("blocks.0.ln1", "blocks.0.attn_z"),
    ("blocks.0.ln1", "blocks.0.attn_out"),
    (("blocks.0.ln1", "blocks.0.resid_pre"), "blocks.0.resid_mid"),
    ("blocks.1.ln2", "blocks.1.mlp_act"),
    ("blocks.1.resid_post", "final_norm"),
    ("final_norm", "logits"),
    ("blocks.0.resid_mid", "logits"),
    (("blocks.1.mlp_act", "blocks.1.resid_mid"), ("logits", "final_norm")),
]
INCOMPLETE = [
    ("blocks.0.mlp_act", "blocks.0.resid_post", "blocks.0.resid_pre"),
    ("blocks.0.attn_z", "blocks.0.resid_mid", "blocks.0.resid_pre"),
    ("blocks.0.attn_out", "blocks.1.resid_pre", "blocks.0.resid_pre"),
    (("blocks.1.resid_pre", "blocks.1.attn_z"), "blocks.0.resid_post", "blocks.0.resid_pre"),
    ("blocks.1.resid_mid", "blocks.1.resid_pre", "blocks.0.resid_pre"),
    ("embed", "blocks.0.resid_post", "blocks.0.resid_pre"),
]
SEQUENCES = ([3, 14, 15, 92, 65], [35, 8], [9, 1, 32, 38, 46, 26, 43])


def is_post_norm(family: str) -> bool:
    return hand_hooks.RAW[family].norms is not None


CASES = [
    pytest.param(family, start, end, id=f"{family}: {'+'.join([start] if isinstance(start, str) else start)} -> {end}")
    for family in tiny.FAMILIES
    for start, end in [*BOTH, *([] if is_post_norm(family) else PRE_NORM)]
]


@pytest.fixture(params=tiny.FAMILIES)
def family(request) -> str:
    return request.param


def in_float64(family: str) -> uw.Model:
    """The model in float64 throughout: transformers' Llama norms compute in float32 whatever comes in, which leaves
    1e-7 of noise that no derivative can be held against, so here they follow their input.
    """
    module = tiny.module_of(family).double()
    for part in module.modules():
        if isinstance(part, LlamaRMSNorm):
            part.forward = MethodType(rms_norm_in_its_own_dtype, part)
    return uw.load_model(module)


def rms_norm_in_its_own_dtype(norm: LlamaRMSNorm, h: torch.Tensor) -> torch.Tensor:
    return norm.weight * h * torch.rsqrt(h.square().mean(-1, keepdim=True) + norm.variance_epsilon)


def names(sites: str | tuple[str, ...]) -> tuple[str, ...]:
    return (sites,) if isinstance(sites, str) else sites


@pytest.mark.parametrize(("family", "start", "end"), CASES)
def test_captured_start_gives_the_captured_end(family, start, end):
    for model, tolerance in ((tiny.model_of(family), 1e-5), (in_float64(family), 1e-10)):
        section = model.section(start, end)
        assert section.check(tiny.ids_of()) <= tolerance  # lib.md 1: rtol of the completeness check
        x, context = section.inputs(tiny.ids_of())
        found = model.capture(tiny.ids_of(), names(end))
        with torch.no_grad():
            laws.close(section(x, context), torch.cat([one.flatten(2) for one in found.values()], dim=-1), tolerance)
        assert (x.shape[-1], section(x, context).shape[-1]) == (section.d_in, section.d_out)


@pytest.mark.parametrize(("family", "start", "end"), CASES)
def test_any_start_gives_the_end_of_a_model_edited_there(family, start, end):
    """The section is the function, not the one value: put other activations at the start of the model itself."""
    model = tiny.model_of(family)
    section = model.section(start, end)
    x, context = section.inputs(tiny.ids_of())
    other = x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    parts = other.split([model.width(site) for site in names(start)], dim=-1)
    edits = [
        uw.Edit(site=site, operator=lambda h, part=part: part.reshape(h.shape))
        for site, part in zip(names(start), parts, strict=True)
    ]
    with model.edit(edits), torch.no_grad():
        found = model.capture(tiny.ids_of(), names(end))
    with torch.no_grad():
        wanted = torch.cat([one.flatten(2) for one in found.values()], dim=-1)
        laws.close(section(other, context), wanted, relative=1e-5)  # two blocks of float32


@pytest.mark.parametrize(("start", "end", "missing"), INCOMPLETE)
def test_missing_path_is_named(family, start, end, missing):
    message = rf"depends on {missing}, which the start \(.*\) does not determine: add that path to the start"
    with pytest.raises(InputError, match=message):
        tiny.model_of(family).section(start, end)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("positions", ["all", "last"])
def test_padded_batches_are_complete(family, side, positions):
    section = tiny.model_of(family).section("blocks.0.resid_pre", "blocks.1.resid_post", positions=positions)
    assert section.check(laws.batch_of(SEQUENCES, side)) <= 1e-5


@pytest.mark.parametrize("side", ["left", "right"])
def test_last_is_the_last_real_token_of_each_sequence(family, side):
    section = tiny.model_of(family).section("blocks.0.resid_pre", "blocks.1.resid_post", positions="last")
    with torch.no_grad():
        batch = section(*section.inputs(laws.batch_of(SEQUENCES, side)))
        for row, sequence in zip(batch, SEQUENCES, strict=True):
            alone = section(*section.inputs(torch.tensor([sequence])))
            assert row.shape == (1, 32)
            assert float((row - alone[0]).abs().max()) < 1e-5  # attention over masked keys sums in another order


def test_causal_models_look_back_only_and_others_both_ways(family):
    """How the output at the middle moves with the last input, by the Jacobian of the section."""
    model = tiny.model_of(family)
    section = model.section("blocks.0.resid_pre", "blocks.0.resid_mid")
    x, context = section.inputs(tiny.ids_of(1, 6))
    v = torch.zeros(1, 6, 32)
    v[0, 3] = 1
    pulled = section.vjp(x, context, v)[0].abs().sum(1) > 0
    assert pulled.tolist() == [True] * 4 + [not model.family.causal] * 2


@pytest.mark.parametrize(("family", "start", "end"), CASES)
def test_linear_sections_are_linear(family, start, end):
    section = in_float64(family).section(start, end)
    x, context = section.inputs(tiny.ids_of())
    y = torch.randn(x.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    with torch.no_grad():
        mixed, ends = section(0.3 * x + 0.7 * y, context), (section(x, context), section(y, context))
    error = float((mixed - 0.3 * ends[0] - 0.7 * ends[1]).abs().max() / mixed.abs().max())
    assert (error < 1e-12) == (section.kind == "linear"), error  # float64 rounding over a width of 128


def test_kinds_name_what_a_section_does(family):
    model = tiny.model_of(family)
    after_sum = "norm" if is_post_norm(family) else "linear"
    kinds = {
        ("blocks.0.mlp_act", "blocks.0.mlp_out"): "linear",
        ("blocks.0.resid_post", "blocks.1.resid_pre"): "linear",
        (("blocks.0.resid_mid", "blocks.0.mlp_act"), "blocks.0.resid_post"): after_sum,
        ("blocks.0.resid_pre", "blocks.1.resid_post"): "generic",
    }
    if is_post_norm(family):
        kinds |= {
            ("blocks.0.resid_pre", "blocks.0.attn_z"): "attention",
            ("blocks.0.resid_mid", "blocks.0.mlp_act"): "mlp",
        }
    else:
        kinds |= {("blocks.0.ln1", "blocks.0.attn_z"): "attention", ("blocks.0.ln2", "blocks.0.mlp_act"): "mlp"}
        kinds |= {("blocks.0.resid_pre", "blocks.0.ln1"): "norm"}
    assert {pair: model.section(*pair).kind for pair in kinds} == kinds


@pytest.mark.parametrize(("family", "start", "end"), CASES)
def test_vjp_and_jvp_agree_with_each_other_and_with_differences(family, start, end):
    section = in_float64(family).section(start, end)
    x, context = section.inputs(tiny.ids_of(2, 5))
    with torch.no_grad():
        y = section(x, context)
    draw = torch.Generator().manual_seed(4)
    u = torch.randn(x.shape, generator=draw, dtype=torch.float64)
    v = torch.randn(y.shape, generator=draw, dtype=torch.float64)
    pushed, pulled = section.jvp(x, context, u), section.vjp(x, context, v)
    assert pushed.shape == y.shape
    assert pulled.shape == x.shape
    inner = float((pushed * v).sum())
    assert inner == pytest.approx(float((u * pulled).sum()), rel=1e-9)  # float64, two blocks
    step = 1e-6
    with torch.no_grad():
        difference = (section(x + step * u, context) - section(x - step * u, context)) / (2 * step)
    laws.close(difference, pushed, relative=1e-6)  # central difference: third derivatives times step^2, rounding / step


@pytest.mark.parametrize("positions", ["all", "last"])
def test_sources_may_come_with_leading_axes(family, positions):
    section = in_float64(family).section("blocks.0.resid_pre", "blocks.1.resid_mid", positions=positions)
    x, context = section.inputs(tiny.ids_of(2, 4))
    kept = 1 if positions == "last" else 4
    draw = torch.Generator().manual_seed(4)
    v = torch.randn(3, 2, 2, kept, 32, generator=draw, dtype=torch.float64)
    u = torch.randn(3, 2, 2, 4, 32, generator=draw, dtype=torch.float64)
    pulled, pushed = section.vjp(x, context, v), section.jvp(x, context, u)
    assert pulled.shape == u.shape
    assert pushed.shape == v.shape
    for i in range(3):
        for j in range(2):
            assert torch.equal(pulled[i, j], section.vjp(x, context, v[i, j]))
            assert torch.equal(pushed[i, j], section.jvp(x, context, u[i, j]))


def test_section_is_pure(family):
    """Same input, same output; the input, the weights and the hooks of the model stay as they are."""
    model = tiny.model_of(family)
    section = model.section("blocks.0.resid_pre", "blocks.1.resid_post")
    x, context = section.inputs(tiny.ids_of())
    held = x.clone()
    before = model.fingerprint
    with torch.no_grad():
        first = section(x, context)
        section(-x, context)
        model(tiny.ids_of(1, 4))
        assert torch.equal(section(x, context), first)
    assert torch.equal(x, held)
    assert model.fingerprint == before
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.module.modules())


def test_section_is_differentiable(family):
    section = tiny.model_of(family).section("blocks.0.resid_mid", "blocks.1.resid_post")
    x, context = section.inputs(tiny.ids_of())
    x.requires_grad_(True)
    section(x, context).square().sum().backward()
    assert x.grad.abs().sum() > 0


def test_sections_chain(family):
    """Two sections one after the other are the section over both."""
    model = in_float64(family)
    middle, whole = "blocks.0.resid_post", model.section("blocks.0.resid_pre", "blocks.1.resid_post")
    first, second = model.section("blocks.0.resid_pre", middle), model.section(middle, "blocks.1.resid_post")
    x, context = whole.inputs(tiny.ids_of())
    with torch.no_grad():
        laws.close(second(first(x, context), context), whole(x, context), relative=1e-12)  # the same operations


def test_wrong_section_does_not_pass_its_check(family):
    """Completeness can fail: a function that is off by a thousandth of its input."""
    section = tiny.model_of(family).section("blocks.0.resid_pre", "blocks.0.resid_post")
    wrong = replace(section, function=lambda x, context: section.function(x, context) + 1e-2 * x)
    message = (
        r"misses something: blocks\.0\.resid_post differs by .* \(relative\) from the model's, so it depends on more"
    )
    with pytest.raises(UnweaveError, match=message):
        wrong.check(tiny.ids_of())
    nan = replace(section, function=lambda x, context: section.function(x, context) * torch.nan)
    with pytest.raises(UnweaveError, match="differs by nan"):
        nan.check(tiny.ids_of())


def test_width_of_the_start_is_checked(family):
    section = tiny.model_of(family).section("blocks.0.resid_pre", "blocks.0.resid_post")
    x, context = section.inputs(tiny.ids_of())
    message = r"takes width 32, got \(3, 10, 31\): section\.inputs\(tokens\) gives what it takes"
    with pytest.raises(InputError, match=message):
        section(x[..., :-1], context)


def test_what_is_no_section_is_refused(family):
    model = tiny.model_of(family)
    with pytest.raises(UnknownName, match=r"unknown site 'blocks\.0\.resid_pst'"):
        model.section("blocks.0.resid_pst", "blocks.1.resid_post")
    with pytest.raises(InputError, match="a node layer needs at least one site"):
        model.section([], "blocks.1.resid_post")
    with pytest.raises(InputError, match="positions is 'first': 'all' or 'last'"):
        model.section("blocks.0.resid_pre", "blocks.1.resid_post", positions="first")


def test_repr_says_name_widths_and_kind():
    section = tiny.model_of("llama").section(("blocks.0.attn_z", "blocks.0.resid_pre"), "blocks.0.resid_mid")
    assert repr(section) == "Section(blocks.0.attn_z+blocks.0.resid_pre -> blocks.0.resid_mid, 96 -> 32, linear)"
