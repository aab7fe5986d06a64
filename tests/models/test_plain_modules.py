"""Any `nn.Module` by module path: what can be captured and edited there, and what is refused."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

import tiny
import unweave as uw
from unweave.errors import InputError, UnknownName
from unweave.models.operators import zero


class Branching(nn.Module):
    """A module with a list of parts, one of which runs twice and one never, called by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.twice = nn.Linear(4, 4)
        self.never = nn.Linear(4, 4)
        self.split = Halves()
        self.runs = 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for part in self.parts:
            x = part(input=x)
        for _ in range(self.runs):
            x = self.twice(x)
        left, right = self.split(x)
        return left + right


class Halves(nn.Module):
    """Gives a tuple."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x[:, :2], x[:, 2:]


@pytest.fixture
def convolutional() -> nn.Sequential:
    """Convolutions with activations in place, as in most networks for images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(3, 4, 3, padding=1),
                norm=nn.BatchNorm2d(4),
                relu=nn.ReLU(inplace=True),
                conv2=nn.Conv2d(4, 5, 3, stride=2),
                flat=nn.Flatten(),
                head=nn.Linear(5 * 2 * 3, 7),
            )
        ).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 6, 7, generator=torch.Generator().manual_seed(1))


def test_sites_are_the_parts_that_run():
    assert uw.load_model(Branching()).sites() == ["parts.0", "parts.1", "twice", "never", "split"], "a list never runs"


def test_every_part_gives_its_own_shape(convolutional, images):
    model = uw.load_model(convolutional)
    found = model.capture(images, [*model.sites(), "conv2:in", "head:in"])
    assert {site: tuple(value.shape[1:]) for site, value in found.items()} == {
        "conv1": (4, 6, 7),
        "norm": (4, 6, 7),
        "relu": (4, 6, 7),
        "conv2": (5, 2, 3),
        "flat": (30,),
        "head": (7,),
        "conv2:in": (4, 6, 7),
        "head:in": (30,),
    }
    with torch.no_grad():
        assert torch.equal(found["head"], convolutional(images))
        assert torch.equal(found["conv1"], convolutional.conv1(images))
        assert torch.equal(found["conv2"], convolutional[:4](images))
    assert torch.equal(found["conv2:in"], found["relu"])


def test_activation_in_place_does_not_reach_what_was_captured(convolutional, images):
    """The ReLU writes into the tensor that the norm gave."""
    value = uw.load_model(convolutional).capture(images, ["norm", "relu"])
    assert (value["norm"] < 0).any()
    assert torch.equal(value["relu"], value["norm"].relu())


def test_pass_stops_after_the_part_once_it_is_known_to_run_once(convolutional, images):
    model = uw.load_model(convolutional)
    calls = []
    convolutional.head.register_forward_pre_hook(lambda *_: calls.append("head"))
    for _ in range(3):
        model.capture(images, "conv1")
    assert calls == ["head"], "the first pass runs to the end, to see that the part runs once"


def test_part_that_runs_twice_is_refused():
    module = Branching()
    model = uw.load_model(module)
    for _ in range(2):
        with pytest.raises(InputError, match="twice runs more than once in a forward pass: choose a module that"):
            model.capture(torch.ones(1, 4), ["parts.0", "twice"])
    module.runs = 1
    assert model.capture(torch.ones(1, 4), "twice")["twice"].shape == (1, 4)


def test_part_that_does_not_run_is_named():
    with pytest.raises(InputError, match="never did not run in this forward pass"):
        uw.load_model(Branching()).capture(torch.ones(1, 4), ["parts.0", "never"])


def test_input_by_keyword_and_first_of_a_tuple():
    module = Branching()
    module.runs = 1
    model = uw.load_model(module)
    x = torch.ones(3, 4)
    found = model.capture(x, ["parts.0:in", "parts.1:in", "parts.0", "split"])
    assert torch.equal(found["parts.0:in"], x)
    assert torch.equal(found["parts.1:in"], found["parts.0"])
    assert found["split"].shape == (3, 2)
    with model.edit({"parts.1:in": zero(), "split": lambda h: h + 1}), torch.no_grad():
        edited = model(x)
    with torch.no_grad():
        left, right = module.split(module.twice(module.parts[1](torch.zeros(3, 4))))
        assert torch.equal(edited, (left + 1) + right)


@pytest.mark.parametrize("site", ["conv1", "norm", "relu", "conv2", "conv2:in", "flat", "head"])
def test_noop_and_zero_at_every_part(convolutional, images, site):
    model = uw.load_model(convolutional)
    with torch.no_grad():
        plain = model(images)
        with model.edit({site: lambda h: h}):
            assert torch.equal(model(images), plain)
        with model.edit({site: zero()}):
            assert not torch.equal(model(images), plain)
        assert torch.equal(model(images), plain)


@pytest.mark.parametrize("side", [4, 7])
def test_units_of_an_image_are_its_channels(side):
    """One row a place, channels last, as in a store; also where the image is as wide as it has channels."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1))
    model = uw.load_model(module)
    x = torch.randn(2, 3, side, side)
    read = torch.randn(4, 2)
    featurizer = uw.AffineFeaturizer(read=read, site="0")
    h = model.capture(x, "0")["0"]
    shapes = []
    edit = uw.Edit(site="0", featurizer=featurizer, units=[1], operator=lambda z: shapes.append(z.shape) or z + 1)
    with model.edit(edit):
        found = model.capture(x, "0")["0"]
    step = torch.linalg.pinv(read)[1]
    assert shapes[0] == (2, side, side, 1)
    # two float32 products of width 4
    assert torch.allclose(found, h + step.view(1, 4, 1, 1), atol=1e-5)
    with model.edit(uw.Edit(site="0", featurizer=featurizer, operator=lambda z: z)), torch.no_grad():
        assert torch.equal(model(x), module(x))


def test_featurizer_on_vectors():
    """One row an input: no axis besides batch and width."""
    torch.manual_seed(0)
    model = uw.load_model(nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2)))
    featurizer = uw.AffineFeaturizer(read=torch.eye(5)[:, :2], site="0")
    with model.edit(uw.Edit(site="0", featurizer=featurizer, operator=zero())):
        found = model.capture(torch.randn(4, 3), "0")["0"]
    assert not found[:, :2].any()
    assert found[:, 2:].all()


@pytest.mark.parametrize("rule", [{"positions": "last"}, {"positions": [0]}, {"schedule": "generated"}])
def test_positions_and_schedules_need_tokens(convolutional, images, rule):
    edit = uw.Edit(site="conv1", operator=zero(), **rule)
    message = r"conv1 names positions or a schedule, but the value there, of shape \(2, 4, 6, 7\), has no axis"
    with pytest.raises(InputError, match=message), uw.load_model(convolutional).edit(edit), torch.no_grad():
        convolutional(images)


def test_widths_come_from_the_weights(convolutional):
    model = uw.load_model(convolutional)
    assert [model.width(site) for site in ("conv1", "conv1:in", "norm", "conv2:in", "conv2", "head:in", "head")] == [
        4, 3, 4, 4, 5, 30, 7
    ]  # fmt: skip
    others = nn.Sequential(nn.Embedding(11, 6), nn.LayerNorm((5, 6)), nn.ReLU())
    assert uw.load_model(others).width("0") == uw.load_model(others).width("1") == 6
    message = r"the weights do not tell the width at 2 \(a ReLU\): model\.capture shows the shape"
    with pytest.raises(InputError, match=message):
        uw.load_model(others).width("2")


def test_unknown_part_is_answered_with_near_names(convolutional, images):
    model = uw.load_model(convolutional)
    for verb in (model.width, lambda name: model.capture(images, name)):
        with pytest.raises(UnknownName) as caught:
            verb("covn1")
        assert "conv1" in caught.value.suggestions


def test_output_that_is_no_tensor_is_refused():
    class Record(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"x": x}

    model = uw.load_model(nn.Sequential(Record()))
    with pytest.raises(InputError, match="0 holds a dict, not a tensor: choose a module inside it"):
        model.capture(torch.ones(1, 2), "0")


def test_call_gives_what_the_module_gives(images, convolutional):
    model = uw.load_model(convolutional)
    with torch.no_grad():
        assert torch.equal(model(images), convolutional(images))
    assert model.family is None
    assert model.vocabulary_size is None
    assert model.context is None
    assert not model.has_logits
    with pytest.raises(InputError, match="does not predict a next token"):
        model.generate(tiny.ids_of(), 2)


def test_module_without_weights():
    model = uw.load_model(nn.Sequential(nn.ReLU()))
    assert model.device.type == "cpu"
    assert model.dtype is torch.float32
    assert torch.equal(model.capture(torch.tensor([[-1.0, 2.0]]), "0")["0"], torch.tensor([[0.0, 2.0]]))
