"""Laws of capture, edits and generation, each a function of the implementation that it judges.

The tests call them on unweave; `tests/mutants/test_mutants_models.py` calls them on broken twins, which they must
catch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

import hand_hooks
import unweave as uw
from unweave.models.tokens import Tokens, pad

Capture = Callable[[uw.Model, Any, Sequence[str]], dict[str, Tensor]]
Edited = Callable[[uw.Model, Any], AbstractContextManager[Any]]

ROUNDING = 1e-6  # relative, float32: two orders of summation over a width of at most 128
PADDING = 1e-5  # absolute, on values of order 1: attention over masked keys sums in another order


def close(got: Tensor, wanted: Tensor, relative: float = ROUNDING) -> None:
    """Equal up to a share of the largest value."""
    assert got.shape == wanted.shape, (got.shape, wanted.shape)
    error = float((got - wanted).abs().max() / wanted.abs().max())
    assert error <= relative, error


def real_tokens_agree(got: Tensor, wanted: Sequence[Tensor], mask: Tensor, absolute: float = PADDING) -> None:
    """Each row of a padded batch equals the sequence run alone, at the real tokens."""
    for row, alone, real in zip(got, wanted, mask, strict=True):
        error = float((row[real] - alone[0]).abs().max())
        assert error <= absolute, error


def batch_of(sequences: Sequence[Sequence[int]], side: str) -> Tokens:
    """Sequences of different length as one padded batch."""
    ids, mask = pad(sequences, side=side)
    return Tokens(ids=ids, mask=mask)


def layers_of(model: uw.Model) -> range:
    """The numbers of the blocks."""
    return range(1 + max(site.layer for site in model.sites() if site.layer is not None))


def stream_continues(capture: Capture, model: uw.Model, ids: Tensor) -> None:
    """Law 1: what a block gives is what the next one takes, to the bit."""
    for layer in layers_of(model)[:-1]:
        after, before = f"blocks.{layer}.resid_post", f"blocks.{layer + 1}.resid_pre"
        found = capture(model, ids, [after, before])
        assert torch.equal(found[after], found[before])


def sums_and_norms(capture: Capture, family: str, model: uw.Model, ids: Tensor) -> None:
    """Law 1: the stream is a sum of what the parts add, or the norm of that sum."""
    raw = hand_hooks.RAW[family]
    for layer in layers_of(model):
        parts = ("resid_pre", "attn_out", "mlp_out", "resid_post")
        found = capture(model, ids, [f"blocks.{layer}.{name}" for name in parts])
        pre, attn, mlp, post = found.values()
        if raw.is_parallel:
            close(post, pre + attn + mlp)
            continue
        mid = capture(model, ids, [f"blocks.{layer}.resid_mid"])[f"blocks.{layer}.resid_mid"]
        block, norms = hand_hooks.block_of(family, model.module, layer), raw.norms
        after_attention, after_mlp = (
            (block.get_submodule(path) for path in norms) if norms else (torch.nn.Identity(), torch.nn.Identity())
        )
        with torch.no_grad():
            close(mid, after_attention(pre + attn))
            close(post, after_mlp(mid + mlp))


def matrices_connect(capture: Capture, family: str, model: uw.Model, ids: Tensor) -> None:
    """Law 2: heads through the output matrix are what attention adds, neurons through the down matrix what the MLP
    adds.
    """
    raw = hand_hooks.RAW[family]
    for layer in layers_of(model):
        block = hand_hooks.block_of(family, model.module, layer)
        after = [block.get_submodule(path) for path in raw.added_norms or ()] or [torch.nn.Identity()] * 2
        for values, matrix, added, norm in (
            ("attn_z", raw.attention_matrix, "attn_out", after[0]),
            ("mlp_act", raw.down_matrix, "mlp_out", after[1]),
        ):
            if matrix is None:
                continue
            before, out = capture(model, ids, [f"blocks.{layer}.{name}" for name in (values, added)]).values()
            with torch.no_grad():
                close(norm(hand_hooks.through(block.get_submodule(matrix), before.flatten(2))), out)


def equals_hand_hooks(capture: Capture, family: str, model: uw.Model, ids: Tensor) -> None:
    """Law 3: every site is the value that a hook written by hand finds, to the bit."""
    by_hand = hand_hooks.hand_values(family, model.module, ids)
    assert set(by_hand) == set(model.sites())
    found = capture(model, ids, model.sites())
    for site, value in by_hand.items():
        if " * " in hand_hooks.RAW[family].places.get(_pattern(site), ""):
            close(found[site], value)  # a product taken by us may round once more
        else:
            assert torch.equal(found[site], value), site


def values_are_copies(capture: Capture, model: uw.Model, ids: Tensor) -> None:
    """Law 4: captured values accept autograd and nothing that runs later writes to them."""
    found = capture(model, ids, model.sites())
    before = {site: value.clone() for site, value in found.items()}
    for value in found.values():
        value.clone().requires_grad_(True).square().sum().backward()
    found_again = capture(model, ids.flip(0), model.sites())
    for site, value in found.items():
        assert torch.equal(value, before[site]), site
        assert value.data_ptr() != found_again[site].data_ptr()


def padding_is_invisible(capture: Capture, model: uw.Model, sequences: Sequence[Sequence[int]]) -> None:
    """Law 5: at real tokens, padding on either side changes nothing."""
    sites = model.sites()
    alone = [capture(model, torch.tensor([sequence]), sites) for sequence in sequences]
    for side in ("left", "right"):
        batch = batch_of(sequences, side)
        found = capture(model, batch, sites)
        for site in sites:
            real_tokens_agree(found[site], [one[site] for one in alone], batch.mask)


def noop_changes_nothing(edited: Edited, model: uw.Model, ids: Tensor, site: str) -> None:
    """An edit that returns what it gets leaves the output as it is, to the bit."""
    plain = model(ids)
    with edited(model, {site: lambda h: h}):
        assert torch.equal(model(ids), plain)


def zero_changes_output(edited: Edited, model: uw.Model, ids: Tensor, site: str) -> None:
    """Zeroing a site changes what comes out."""
    plain = model(ids)
    with edited(model, {site: torch.zeros_like}):
        assert not torch.allclose(model(ids), plain)


def middle_edit_reaches_both_paths(edited: Edited, family: str, model: uw.Model, ids: Tensor) -> None:
    """An edited `resid_mid` is read by the MLP and carried past it."""
    last = layers_of(model)[-1]
    mid, post = f"blocks.{last}.resid_mid", f"blocks.{last}.resid_post"
    new = model.capture(ids, [mid])[mid].flip(-1)
    with torch.no_grad():
        wanted = hand_hooks.RAW[family].second_half(hand_hooks.block_of(family, model.module, last), new)
    with edited(model, {mid: lambda h: h.flip(-1)}):
        found = model.capture(ids, [mid, post])
    assert torch.equal(found[mid], new)
    close(found[post], wanted)


def own_value_changes_nothing(edited: Edited, model: uw.Model, ids: Tensor, featurizer: Any) -> None:
    """Interchange with source = base: units set to the values that they have, to the bit."""
    site = featurizer.site
    z, _ = featurizer.encode(model.capture(ids, [site])[site].flatten(2))
    plain = model(ids)
    with edited(model, uw.Edit(site=site, featurizer=featurizer, operator=lambda _: z)):
        assert torch.equal(model(ids), plain)


def units_move_and_the_rest_stays(edited: Edited, model: uw.Model, ids: Tensor, featurizer: Any, unit: int) -> None:
    """One unit set to 2 moves the activations along that unit's write vector and keeps what the featurizer misses."""
    site = featurizer.site
    h = model.capture(ids, [site])[site]
    flat = h.flatten(2)
    value = (flat - featurizer.origin) @ featurizer.read[:, unit] + featurizer.bias[unit]
    wanted = flat + (2.0 - value).unsqueeze(-1) * featurizer.write[unit]
    with edited(
        model, uw.Edit(site=site, featurizer=featurizer, units=[unit], operator=lambda z: torch.full_like(z, 2))
    ):
        close(
            model.capture(ids, [site])[site], wanted.reshape(h.shape), relative=1e-5
        )  # two float32 products of width 64


def in_place_equals_out_of_place(edited: Edited, model: uw.Model, ids: Tensor, site: str) -> None:
    """An operator that writes in place changes the site and nothing else that holds the same tensor."""
    with edited(model, {site: lambda h: h * 2}):
        wanted = model(ids)
    with edited(model, {site: lambda h: h.mul_(2)}):
        assert torch.equal(model(ids), wanted)


def leaves_no_hooks(edited: Edited, model: uw.Model, ids: Tensor, site: str) -> None:
    """After the context, also after an exception in it, hooks and output are as they were."""

    def hooks() -> list[tuple[int, ...]]:
        return [
            (id(part), *part._forward_hooks, *part._forward_pre_hooks, *part._forward_hooks_with_kwargs)
            for part in model.module.modules()
        ]

    plain, before = model(ids), hooks()
    with edited(model, {site: torch.zeros_like}):
        model(ids)
    assert hooks() == before
    try:
        with edited(model, {site: torch.zeros_like}):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert hooks() == before
    assert torch.equal(model(ids), plain)


def batch_equals_one_by_one(edited: Edited, model: uw.Model, sequences: Sequence[Sequence[int]], **edit: Any) -> None:
    """Positions and schedules are resolved by the mask: padding on either side changes nothing at real tokens."""
    change = uw.Edit(site="blocks.0.resid_post", operator=lambda h: -h, **edit)
    with edited(model, change):
        alone = [model(torch.tensor([sequence])) for sequence in sequences]
        for side in ("left", "right"):
            batch = batch_of(sequences, side)
            real_tokens_agree(model(batch), alone, batch.mask, absolute=1e-4)  # logits of order 10, after an edit


def cached_equals_uncached(
    generate: Callable[..., Tensor], family: str, model: uw.Model, ids: Tensor, edit: uw.Edit, steps: int
) -> None:
    """Generation with cached keys and values gives the text of generation without and of decoding by hand."""
    plain = generate(model, ids, steps)
    by_hand = decoded_by_hand(family, model, ids, edit, steps)
    with model.edit(edit):
        cached = generate(model, ids, steps)
        assert torch.equal(cached, generate(model, ids, steps, use_cache=False))
    assert torch.equal(cached, by_hand)
    assert not torch.equal(cached, plain), "the edit must be felt, or nothing was tested"


def decoded_by_hand(family: str, model: uw.Model, ids: Tensor, edit: uw.Edit, steps: int) -> Tensor:
    """Greedy decoding that runs the bare module again for every token, with a hook on a block that edits its output by
    absolute position.
    """
    prompt = ids.shape[1]
    block = hand_hooks.block_of(family, model.module, uw.Site(edit.site).layer)

    def hook(_module: Any, _args: Any, h: Tensor) -> Tensor:
        places = torch.arange(h.shape[1])
        acts = _by_schedule(places - prompt, edit.schedule)
        if edit.positions == "last":
            acts = acts & (places == prompt - 1)
        return torch.where(acts[None, :, None], edit.operator(h), h)

    with torch.no_grad(), block.register_forward_hook(hook):
        for _ in range(steps):
            following = model.module(ids, use_cache=False).logits[:, -1].argmax(-1)
            ids = torch.cat([ids, following[:, None]], dim=1)
    return ids


def _by_schedule(step: Tensor, schedule: Any) -> Tensor:
    if callable(schedule):
        return schedule(step)
    name, _, count = schedule.partition(":")
    return {
        "always": torch.ones_like(step, dtype=torch.bool),
        "prompt": step < 0,
        "generated": step >= 0,
        "first": (step >= 0) & (step < int(count or 0)),
        "from": step >= int(count or 0),
    }[name]


def _pattern(site: str) -> str:
    parts = site.split(".")
    return ".".join(["blocks", "L", parts[2]]) if parts[0] == "blocks" else site
