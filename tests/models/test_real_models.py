"""Real checkpoints of ../shared/data/models: what their manifest says of them comes out through our adapters."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import unweave as uw


@pytest.fixture(scope="module")
def stories260k(data):
    return uw.load_model(str(data / "models" / "stories260K"))


@pytest.fixture(scope="module")
def stories(data) -> list[str]:
    """Plain stories as the model was trained on them: one line break between paragraphs, ASCII only."""
    with gzip.open(data / "text" / "corpora" / "tinystories_1000.json.gz", "rt", encoding="utf-8") as stream:
        entries = json.load(stream)
    texts = [entry if isinstance(entry, str) else entry["story"] for entry in entries]
    return [text.replace("\n\n", "\n") for text in texts if text.isascii()][:60]


def test_stories260k_has_the_loss_of_its_manifest(stories260k, stories):
    """About 1.26 to 1.35 nats a token."""
    total = count = 0
    for story in stories:
        ids = stories260k.tokenize(story).ids[:, :512]
        with torch.no_grad():
            loss = torch.nn.functional.cross_entropy(stories260k(ids)[0, :-1], ids[0, 1:], reduction="sum")
        total, count = total + float(loss), count + ids.shape[1] - 1
    assert count > 10_000
    assert 1.26 <= total / count <= 1.35


def test_stories260k_goes_on_as_transformers_does(stories260k):
    tokens = stories260k.tokenize("Once upon a time")
    ours = stories260k.generate(tokens, 40)
    theirs = stories260k.module.generate(input_ids=tokens.ids, max_new_tokens=40, do_sample=False)
    assert torch.equal(ours.ids, theirs)
    assert "there was a" in stories260k.tokenizer.decode(ours.ids[0])


def test_nano_sort_gpt_sorts(data):
    """500 of 500 random inputs; an input of 6 letters is followed by its letters in order."""
    model = uw.load_model(str(data / "models" / "nano_sort_gpt"))
    given = torch.randint(0, 3, (500, 6), generator=torch.Generator().manual_seed(0))
    sequence = given
    for _ in range(6):
        sequence = torch.cat([sequence, model(sequence[:, :11])[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(sequence[:, 6:], given.sort(1).values)


def test_nano_sort_gpt_needs_its_attention(data):
    """The same without the heads of the last block: the letters before no longer tell what comes next."""
    model = uw.load_model(str(data / "models" / "nano_sort_gpt"))
    given = torch.randint(0, 3, (200, 6), generator=torch.Generator().manual_seed(1))
    answer = given.sort(1).values
    full = torch.cat([given, answer[:, :5]], dim=1)
    with model.edit({f"blocks.{layer}.attn_z": torch.zeros_like for layer in range(3)}):
        blind = model(full)[:, 5:].argmax(-1)
    assert (model(full)[:, 5:].argmax(-1) == answer).float().mean() == 1
    assert (blind == answer).float().mean() < 0.8


class Block(nn.Module):
    """Two convolutions with a shortcut that pads channels, as ResNet-20 for small images has it."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.missing = (width - width_in) // 2
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inside = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        past = x[:, :, :: self.stride, :: self.stride]
        return (inside + nn.functional.pad(past, (0, 0, 0, 0, self.missing, self.missing))).relu()


class ResNet20(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer3(self.layer2(self.layer1(self.bn1(self.conv1(x)).relu())))
        return self.linear(x.mean((2, 3)))


@pytest.fixture(scope="module")
def resnet(data) -> uw.Model:
    module = ResNet20().eval()
    weights = load_file(data / "models" / "cifar10_resnet" / "resnet20.safetensors")
    found = module.load_state_dict(weights, strict=False)
    assert not found.unexpected_keys
    assert {key.rpartition(".")[2] for key in found.missing_keys} <= {"num_batches_tracked"}
    return uw.load_model(module)


def test_resnet_is_collected_as_rows_a_position(resnet, tmp_path):
    """Activations (batch, channel, h, w): one row a pixel, its width the channels."""
    images = list(torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    store = uw.collect(resnet, images, ["layer2.1.conv1"], tmp_path / "s", dtype="float32")
    values = resnet.capture(torch.stack(images), ["layer2.1.conv1"])["layer2.1.conv1"]
    assert values.shape == (5, 32, 16, 16)
    assert store["layer2.1.conv1"].shape == (5 * 16 * 16, 32)
    assert np.array_equal(store.rows["document"], np.repeat(np.arange(5), 256))
    assert np.array_equal(store.rows["position"], np.tile(np.arange(256), 5))
    assert set(store.rows["token_id"].tolist()) == {-1}
    rows = values.movedim(1, -1).reshape(-1, 32)
    torch.testing.assert_close(torch.as_tensor(store["layer2.1.conv1"][:]), rows, rtol=0, atol=1e-5)


def test_resnet_is_edited_at_a_convolution(resnet):
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    plain = resnet(images)
    with resnet.edit({"layer3.2.bn2": lambda h: h}):
        assert torch.equal(resnet(images), plain)
    with resnet.edit({"layer3.2": torch.zeros_like}):
        assert torch.equal(resnet(images), resnet.module.linear.bias.expand(4, -1))
