"""Edits: what they change, what they leave alone, and what stays behind (nothing)."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest
import torch

import hand_hooks
import laws_models as laws
import tiny
import unweave as uw
from unweave.models.edits import edited
from unweave.models.operators import add, scale, set_to, zero

SITES = ("embed", "blocks.0.attn_z", "blocks.1.mlp_act", "blocks.0.resid_mid", "blocks.1.resid_post")


@pytest.fixture(params=tiny.FAMILIES, scope="module")
def family(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(family) -> uw.Model:
    return tiny.model_of(family)


@pytest.fixture
def ids() -> torch.Tensor:
    return tiny.ids_of()


def featurizer_at(model: uw.Model, site: str, units: int = 5) -> uw.AffineFeaturizer:
    """Oblique, lossy, with an origin and a bias: everything that a sloppy edit forgets."""
    draw = torch.Generator().manual_seed(2)
    d = model.width(site)
    return uw.AffineFeaturizer(
        read=torch.randn(d, units, generator=draw),
        write=torch.randn(units, d, generator=draw),
        origin=torch.randn(d, generator=draw),
        bias=torch.randn(units, generator=draw),
        site=site,
    )


def test_noop_at_every_site_changes_nothing(model, ids):
    with torch.no_grad():
        for site in model.sites():
            laws.noop_changes_nothing(edited, model, ids, site)


def test_zero_at_every_site_changes_the_output(model, ids):
    with torch.no_grad():
        for site in model.sites():
            laws.zero_changes_output(edited, model, ids, site)


def test_zeroed_parts_add_nothing_to_the_stream(family, model, ids):
    """Without what attention and the MLP add, a block of a pre-norm family passes the stream on."""
    norms = hand_hooks.RAW[family].norms
    block = hand_hooks.block_of(family, model.module, 0)
    with model.edit({"blocks.0.attn_out": zero(), "blocks.0.mlp_out": zero()}):
        found = model.capture(ids, ["blocks.0.resid_pre", "blocks.0.resid_mid", "blocks.0.resid_post"])
    pre, mid, post = found.values()
    with torch.no_grad():
        assert torch.equal(mid, block.get_submodule(norms[0])(pre) if norms else pre)
        assert torch.equal(post, block.get_submodule(norms[1])(mid) if norms else mid)


def test_zeroed_neurons_leave_the_bias_of_the_matrix(family, model, ids):
    raw = hand_hooks.RAW[family]
    for site, out, matrix in (("mlp_act", "mlp_out", raw.down_matrix), ("attn_z", "attn_out", raw.attention_matrix)):
        with model.edit({f"blocks.1.{site}": zero()}):
            found = model.capture(ids, f"blocks.1.{out}")[f"blocks.1.{out}"]
        bias = hand_hooks.block_of(family, model.module, 1).get_submodule(matrix).bias
        assert torch.equal(found, torch.zeros_like(found) if bias is None else bias.detach().expand_as(found))


def test_middle_of_a_block_is_edited_on_both_paths(family, model, ids):
    laws.middle_edit_reaches_both_paths(edited, family, model, ids)


def test_middle_edit_in_an_early_block_equals_adding_to_attention(family, model, ids):
    """In a sum, changing what attention adds by the same amount gives the same stream, hence the same output."""
    if hand_hooks.RAW[family].norms:  # twin in post-norm families: the output of the norm itself
        norm = hand_hooks.block_of(family, model.module, 0).get_submodule(hand_hooks.RAW[family].norms[0])
        with torch.no_grad(), norm.register_forward_hook(lambda _m, _a, out: out + 1):
            wanted = model(ids)
    else:
        with torch.no_grad(), model.edit({"blocks.0.attn_out": add(torch.ones(32))}):
            wanted = model(ids)
    with torch.no_grad(), model.edit({"blocks.0.resid_mid": add(torch.ones(32))}):
        laws.close(model(ids), wanted, relative=1e-5)  # the difference is added in another order, two blocks follow


@pytest.mark.parametrize("site", SITES)
def test_units_set_to_their_own_values_change_nothing(model, ids, site):
    with torch.no_grad():
        laws.own_value_changes_nothing(edited, model, ids, featurizer_at(model, site))


@pytest.mark.parametrize("site", SITES)
def test_one_unit_moves_along_its_write_vector_and_the_residual_stays(model, ids, site):
    laws.units_move_and_the_rest_stays(edited, model, ids, featurizer_at(model, site), unit=3)


def test_units_reach_the_operator_in_the_order_given(model, ids):
    site = "blocks.0.resid_post"
    featurizer = featurizer_at(model, site)
    z, _ = featurizer.encode(model.capture(ids, site)[site])
    seen = []
    edit = uw.Edit(site=site, featurizer=featurizer, units=[4, 0], operator=lambda units: seen.append(units) or units)
    with model.edit(edit), torch.no_grad():
        model(ids)
    assert torch.equal(seen[0], z[..., [4, 0]])


def test_no_units_are_no_edit(model, ids):
    site = "blocks.0.resid_post"
    plain = model(ids)
    with model.edit(uw.Edit(site=site, featurizer=featurizer_at(model, site), units=[], operator=zero())):
        assert torch.equal(model(ids), plain)


def test_rows_whose_units_do_not_change_stay_to_the_bit(model, ids):
    """The featurizer is lossy in float32, but only rows that the operator changed go through it."""
    site = "blocks.0.resid_post"
    before = model.capture(ids, site)[site]

    def second_row_only(z: torch.Tensor) -> torch.Tensor:
        z[1] += 1
        return z

    with model.edit(uw.Edit(site=site, featurizer=featurizer_at(model, site), operator=second_row_only)):
        after = model.capture(ids, site)[site]
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    assert not torch.equal(after[1], before[1])


@pytest.mark.parametrize(
    ("operator", "wanted"),
    [
        (zero(), lambda h: 0 * h),
        (scale(-2.0), lambda h: -2 * h),
        (set_to(3), lambda h: 0 * h + 3),
        (set_to(torch.arange(32.0)), lambda h: 0 * h + torch.arange(32.0)),
        (add(torch.arange(32.0)), lambda h: h + torch.arange(32.0)),
        (add(torch.arange(32.0), dose=0.5), lambda h: h + 0.5 * torch.arange(32.0)),
        (add(uw.Direction(vector=torch.arange(32.0)), dose=0.5), lambda h: h + 0.5 * torch.arange(32.0)),
    ],
)
def test_usual_operators(model, ids, operator, wanted):
    site = "blocks.0.resid_post"
    plain = model.capture(ids, site)[site]
    with model.edit({site: operator}):
        assert torch.equal(model.capture(ids, site)[site], wanted(plain))


def test_dose_zero_is_the_clean_run(model, ids):
    plain = model(ids)
    with model.edit({"blocks.0.resid_post": add(torch.ones(32), dose=0.0)}):
        assert torch.equal(model(ids), plain)


def test_operator_writes_into_a_copy(family, model, ids):
    """The input of one reader of the stream is the tensor that all its readers hold."""
    shared = hand_hooks.RAW[family].places["blocks.L.resid_pre"].removeprefix("in ").replace("{L}", "0") + ":in"
    with torch.no_grad():
        for site in [*model.sites(), shared]:
            laws.in_place_equals_out_of_place(edited, model, ids, site)


def test_value_captured_before_an_in_place_edit_stays(model, ids):
    held = model.capture(ids, model.sites())
    before = {site: value.clone() for site, value in held.items()}
    with model.edit({site: lambda h: h.mul_(0) for site in model.sites()}), torch.no_grad():
        model(ids)
    assert all(torch.equal(held[site], before[site]) for site in held)


def test_operator_may_compute_in_another_dtype(model, ids):
    site = "blocks.0.resid_post"
    with model.edit({site: lambda h: h.double() * 2}):
        found = model.capture(ids, site)[site]
    assert found.dtype is torch.float32
    assert torch.equal(found, 2 * model.capture(ids, site)[site])


def test_capture_inside_an_edit_sees_the_edited_value(model, ids):
    for site in model.sites():
        plain = model.capture(ids, site)[site]
        with model.edit({site: lambda h: h + 1}):
            assert torch.equal(model.capture(ids, site)[site], plain + 1), site


def test_edits_nest_inner_after_outer_and_leave_one_by_one(model, ids):
    site = "blocks.0.resid_mid"
    plain = model.capture(ids, site)[site]
    with model.edit({site: lambda h: h + 1}):
        with model.edit({site: lambda h: h * 2}):
            assert torch.equal(model.capture(ids, site)[site], (plain + 1) * 2)
        assert torch.equal(model.capture(ids, site)[site], plain + 1)
    assert torch.equal(model.capture(ids, site)[site], plain)


def test_nested_middle_edits_reach_both_paths(family, model, ids):
    mid, post = "blocks.1.resid_mid", "blocks.1.resid_post"
    plain = model.capture(ids, mid)[mid]
    with model.edit({mid: lambda h: h + 1}), model.edit({mid: lambda h: h * 2}):
        found = model.capture(ids, post)[post]
    with torch.no_grad():
        wanted = hand_hooks.RAW[family].second_half(hand_hooks.block_of(family, model.module, 1), (plain + 1) * 2)
    laws.close(found, wanted)


def test_list_of_edits_acts_in_order(model, ids):
    site = "blocks.1.resid_pre"
    plain = model.capture(ids, site)[site]
    with model.edit([uw.Edit(site=site, operator=lambda h: h + 1), uw.Edit(site=site, operator=lambda h: h * 2)]):
        assert torch.equal(model.capture(ids, site)[site], (plain + 1) * 2)


def test_edits_may_be_left_in_any_order(model, ids):
    site = "blocks.1.resid_pre"
    plain = model.capture(ids, site)[site]
    first, second = ExitStack(), ExitStack()
    first.enter_context(model.edit({site: lambda h: h + 1}))
    second.enter_context(model.edit({site: lambda h: h * 2}))
    first.close()
    assert torch.equal(model.capture(ids, site)[site], plain * 2)
    second.close()
    assert torch.equal(model.capture(ids, site)[site], plain)


@pytest.mark.parametrize("site", SITES)
def test_nothing_stays_behind(model, ids, site):
    with torch.no_grad():
        laws.leaves_no_hooks(edited, model, ids, site)


def test_foreign_hooks_stay_untouched(model, ids):
    """Hooks that others registered before or inside the context are there afterwards, and run."""
    calls = []
    block = model.module.get_submodule(type(model.module).base_model_prefix) if model.has_logits else model.module
    before = block.register_forward_hook(lambda *_: calls.append("before"))
    with model.edit({"blocks.0.resid_post": zero()}), torch.no_grad():
        inside = block.register_forward_hook(lambda *_: calls.append("inside"))
        model(ids)
    calls.clear()
    with torch.no_grad():
        model(ids)
    assert calls == ["before", "inside"]
    before.remove()
    inside.remove()


def test_exception_in_an_operator_comes_through_and_leaves_nothing(model, ids):
    plain = model(ids)

    def stumble(_h: torch.Tensor) -> torch.Tensor:
        raise ArithmeticError("the operator's own")

    with pytest.raises(ArithmeticError, match="the operator's own"), model.edit({"blocks.0.mlp_out": stumble}):
        model(ids)
    assert torch.equal(model(ids), plain)
    assert model.state.active_edits == 0


def test_pass_that_broke_off_leaves_nothing_for_the_next(model, ids):
    """A middle edit hands its difference from one hook to another; a pass that ends in between must not keep it."""
    fails = [True, False]

    def once(h: torch.Tensor) -> torch.Tensor:
        if fails.pop(0):
            raise ArithmeticError
        return h

    change = {"blocks.0.resid_mid": lambda h: h + 1, "blocks.0.mlp_out": once}
    with model.edit({"blocks.0.resid_mid": lambda h: h + 1}), torch.no_grad():
        wanted = model(ids)
        model.capture(ids, "blocks.0.mlp_act")  # stops between the two hooks
        assert torch.equal(model(ids), wanted)
    with model.edit(change), torch.no_grad():
        with pytest.raises(ArithmeticError):
            model(ids)
        assert torch.equal(model(ids), wanted)


def test_gradients_flow_through_an_edit(model, ids):
    """The slope of the output along a steering vector, by autograd and by a central difference."""
    step = torch.zeros(32, requires_grad=True)
    with model.edit({"blocks.0.resid_mid": lambda h: h + step}):
        total = model(ids).square().mean()
    (slope,) = torch.autograd.grad(total, step)

    def mean_square(dose: float) -> float:
        with model.edit({"blocks.0.resid_mid": add(direction, dose=dose)}), torch.no_grad():
            return float(model(ids).double().square().mean())

    direction = slope / slope.norm()
    # a central difference over 2e-2 in float32: curvature 1e-4, rounding 1e-7 / 1e-2
    difference = (mean_square(1e-2) - mean_square(-1e-2)) / 2e-2
    assert difference == pytest.approx(float(slope @ direction), rel=5e-3)


def test_plain_call_of_the_module_is_edited_too(model, ids):
    with model.edit({"blocks.0.resid_post": zero()}), torch.no_grad():
        ours = model(ids)
        bare = model.module(ids)
        assert torch.equal(bare.logits if model.has_logits else bare.last_hidden_state, ours)


def test_half_precision_is_edited_in_its_own_dtype(family, ids):
    for dtype in (torch.bfloat16, torch.float16):
        model = uw.load_model(tiny.module_of(family).to(dtype))
        site = "blocks.0.resid_mid"
        with torch.no_grad():
            laws.own_value_changes_nothing(edited, model, ids, featurizer_at(model, site))
            with model.edit(uw.Edit(site=site, featurizer=featurizer_at(model, site), operator=zero())):
                assert model.capture(ids, site)[site].dtype is dtype


def test_threads_inside_one_edit_have_their_own_passes(model):
    """The difference of a middle edit and the prompt lengths belong to the pass, not to the model."""
    batches = [tiny.ids_of(2, 5, seed=3), tiny.ids_of(3, 7, seed=4)]
    edit = uw.Edit(site="blocks.0.resid_mid", operator=lambda h: h + 1, positions="last")
    found: list[list[torch.Tensor]] = [[], []]

    def work(number: int) -> None:
        with torch.no_grad():
            found[number] += [model(batches[number]) for _ in range(10)]

    with model.edit(edit), torch.no_grad():
        wanted = [model(batch) for batch in batches]
        threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number in (0, 1):
        assert len(found[number]) == 10
        assert all(torch.equal(one, wanted[number]) for one in found[number])
