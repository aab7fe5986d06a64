"""Models whose weights are elsewhere until a part is called, as accelerate leaves them: everything is as with the
weights in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import tiny
import unweave as uw
from unweave.errors import InputError
from unweave.models.neuron_weights import neuron_weights
from unweave.models.points import unembedding_matrix
from unweave.models.self_check import check_laws

IDS = tiny.ids_of()


def offload(module: nn.Module) -> nn.Module:
    """What accelerate does to an offloaded model: weights in a map, meta tensors in their place, a forward pass that
    brings them and takes them away again.
    """
    for part in module.modules():
        offload_part(part, dict)
    return module


def offload_part(part: nn.Module, keep: Callable[[dict], Mapping]) -> None:
    """A part's own weights are kept elsewhere."""
    own = {name: weight.detach().clone() for name, weight in part._parameters.items() if weight is not None}
    if not own:
        return
    kept = keep(own)
    part._hf_hook = SimpleNamespace(weights_map=kept, execution_device="cpu")
    part.forward = _brought(part, part.forward, kept)
    _empty(part, kept)


def _empty(part: nn.Module, kept: Mapping) -> None:
    for name, weight in kept.items():
        part._parameters[name] = nn.Parameter(torch.empty_like(weight, device="meta"), requires_grad=False)


def _brought(part: nn.Module, forward, kept: Mapping):
    def call(*args, **kwargs):
        for name, weight in kept.items():
            part._parameters[name] = nn.Parameter(weight, requires_grad=False)
        try:
            return forward(*args, **kwargs)
        finally:
            _empty(part, kept)

    return call


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_an_offloaded_model_is_the_model(family):
    plain, model = tiny.model_of(family), uw.load_model(offload(tiny.module_of(family)))
    assert all(weight.is_meta for weight in model.module.parameters())
    assert model.device.type == "cpu"
    assert torch.equal(model(IDS), plain(IDS))
    for site, value in plain.capture(IDS, plain.sites()).items():
        assert torch.equal(model.capture(IDS, site)[site], value), site
    edit = uw.Edit(site="blocks.1.mlp_act", operator=lambda h: -h, positions="last")
    with model.edit(edit), plain.edit(edit):
        assert torch.equal(model(IDS), plain(IDS))
    assert all(result.holds for result in check_laws(model))
    assert model.fingerprint == plain.fingerprint
    assert [model.width(site) for site in model.sites()] == [plain.width(site) for site in plain.sites()]


def test_what_is_read_off_the_weights_is_what_they_are(tmp_path):
    plain, model = tiny.model_of("llama"), uw.load_model(offload(tiny.module_of("llama")))
    assert torch.equal(*(unembedding_matrix(one.module, one.family) for one in (model, plain)))
    one, two = (neuron_weights(each, "blocks.0.mlp_act") for each in (model, plain))
    assert torch.equal(one.writes, two.writes)
    assert torch.equal(one.reads["gate"], two.reads["gate"])
    documents, options = [[1, 2, 3], [4, 5]] * 20, {"workers": 4, "shard_rows": 9}
    stores = [
        uw.collect(each, documents, "blocks.*.resid_post", tmp_path / str(number), **options)
        for number, each in enumerate((model, plain))
    ]
    assert stores[0].fingerprint == stores[1].fingerprint
    assert model.section("blocks.0.resid_pre", "logits").check(IDS) < 1e-5


class OnDisk(Mapping):
    """Weights in a file, each read when it is asked for and never kept, as accelerate's loader does."""

    def __init__(self, file, weights):
        """Writes them."""
        save_file({name: weight.contiguous() for name, weight in weights.items()}, file)
        self.file, self.names = file, list(weights)

    def __getitem__(self, name):
        """One of them."""
        with safe_open(self.file, framework="pt") as held:
            return held.get_tensor(name)

    def __iter__(self):
        """Their names."""
        return iter(self.names)

    def __len__(self):
        """How many."""
        return len(self.names)


def spread(module, folder, places):
    """The parts of a model in turn where a device map puts them: in place, in memory, or on the disk."""
    parts = [part for part in module.modules() if any(weight is not None for weight in part._parameters.values())]
    for number, part in enumerate(parts):
        place = places[number % len(places)]
        if place != "cpu":
            file = folder / f"{number}.safetensors"
            offload_part(part, (lambda kept, file=file: OnDisk(file, kept)) if place == "disk" else dict)
    return module


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_on_several_places_is_the_model(tmp_path, dtype):
    """In place, in memory and on the disk at once: values, edits, gradients, sections and the laws, in half precision
    too.
    """
    half = getattr(torch, dtype)
    plain = uw.load_model(tiny.module_of("llama").to(half), dtype=dtype)
    module = spread(tiny.module_of("llama").to(half), tmp_path, ("cpu", "meta", "disk"))
    model = uw.load_model(module, dtype=dtype)
    places = {weight.is_meta for weight in module.parameters()}
    assert places == {True, False}
    for site, value in plain.capture(IDS, plain.sites()).items():
        assert value.dtype == half
        assert torch.equal(model.capture(IDS, site)[site], value), site
    pulled = []
    for each in (model, plain):
        added = torch.zeros(each.width("blocks.0.resid_post"), dtype=half, requires_grad=True)
        with torch.enable_grad(), each.edit({"blocks.0.resid_post": lambda h, added=added: h + added}):
            each.module(IDS).logits.float().square().sum().backward()
        pulled.append(added.grad)
    assert torch.equal(*pulled)
    assert bool(pulled[0].abs().sum() > 0)
    if dtype == "float32":  # both compare with sums that half precision rounds
        assert all(result.holds for result in check_laws(model))
        assert model.section("blocks.0.resid_pre", "logits").check(IDS) < 1e-5


def test_weights_that_are_nowhere_are_named():
    module = tiny.module_of("gpt2").to("meta")
    with pytest.raises(InputError, match=r"wte\.weight is on the meta device and kept nowhere: load the model with"):
        _ = uw.load_model(module).fingerprint
