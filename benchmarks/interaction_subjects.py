"""The models of benchmarks/interaction.py compare, each with its data; a seed is of the model's own training where it is
cheap, of the data that is fitted on where it is not.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unweave.features.neurons import as_affine
from unweave.interaction.subjects import Subject, digits_subject, language_subject, modadd_subject, perceptron_subject
from unweave.models.checkpoints import read_state
from unweave.models.loading import load_model
from unweave.models.zoo.modules import MODULE_RECIPES, load_module, train_recipe

FITTED = 10_000
"""Images that are fitted on."""
SCORED = 2000
"""CIFAR-10 images that are scored: every edge of a dense basis is a product over all of them."""
PURE = 0.9


def names(data: Path) -> dict[str, Callable[[int], Subject]]:
    """Name -> seed -> subject."""
    found: dict[str, Callable[[int], Subject]] = {
        "zoo:modadd": lambda _seed: modadd_subject(load_model("zoo:modadd"), "zoo:modadd"),
        "zoo:digits": lambda _seed: digits_subject(load_model("zoo:digits")),
        "digits, retrained": digits,
        "block-diagonal toy": toy,
        "zoo:docs": lambda seed: docs(context=64, windows=64, seed=seed),
    }
    if data.is_dir():
        found |= {
            "authors' modadd": lambda seed: authors(data, seed),
            "authors' modadd 0": lambda _seed: authors(data, 0),
            "authors' modadd 1": lambda _seed: authors(data, 1),
            "authors' MNIST": lambda seed: mnist(data, seed),
            "CIFAR-10 JPEG": lambda seed: cifar(data, seed),
            "stories260K": lambda seed: stories(data, seed=seed),
        }
    return found


def scored_on(subject: Subject, count: int | None) -> Subject:
    """Ablations scored on some of the held-out inputs."""
    if count is None or count >= len(subject.targets):
        return subject
    some = torch.linspace(0, len(subject.targets) - 1, count).long()
    return replace(subject, held_out=subject.held_out[some], targets=subject.targets[some])


def authors(data: Path, seed: int) -> Subject:
    return modadd_subject(read_state(data / f"lib/checkpoints/modadd_seed{seed}.pt"), "authors' modadd")


def digits(seed: int) -> Subject:
    """The network of zoo:digits, trained again."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "digits"
        facts = train_recipe(replace(MODULE_RECIPES["digits"], seed=seed), out)
        module = load_module(out)
    sys.stderr.write(f"digits, seed {seed}: {facts['test_accuracy']:.4f}\n")
    return replace(digits_subject(load_model(module, name="digits")), name="digits, retrained")


def mnist(data: Path, seed: int) -> Subject:
    """The authors' network on the test images; each seed is fitted on other training images."""

    def read(part: str, header: int) -> np.ndarray:
        raw = gzip.decompress((data / f"images/mnist/{part}-ubyte.gz").read_bytes())
        return np.frombuffer(raw, dtype=np.uint8)[header:]

    train, test = (torch.tensor(read(f"{part}-images-idx3", 16).reshape(-1, 784) / 255) for part in ("train", "t10k"))
    labels = torch.tensor(read("t10k-labels-idx1", 8).astype(int))
    state = read_state(data / "lib/checkpoints/mnist_mlp.pt")
    first = FITTED * seed % len(train)
    return perceptron_subject(state, (train[first : first + FITTED], test, labels), "authors' MNIST")


def toy(seed: int) -> Subject:
    """Four hidden layers of width 8 in two blocks; the target is the largest of eight outputs, scored in nats: where
    outputs are dead, the largest is a matter of rounding.
    """
    generator = torch.Generator().manual_seed(seed)

    def half() -> torch.Tensor:
        return torch.randn(4, 4, generator=generator, dtype=torch.float64) * 2**0.5 / 2

    layers = [(torch.block_diag(half(), half()), torch.zeros(8)) for _ in range(5)]
    inputs = torch.randn(10_000, 8, generator=generator, dtype=torch.float64)
    outputs = inputs
    for number, (weight, _) in enumerate(layers):
        outputs = outputs @ weight if number == len(layers) - 1 else torch.relu(outputs @ weight)
    subject = perceptron_subject(layers, (inputs[:5000], inputs[5000:], outputs[5000:].argmax(1)), "block-diagonal toy")
    return replace(subject, truth=in_one_block, score="loss", tolerance=0.01)


def in_one_block(result: Any, kept: Mapping[str, int]) -> dict[str, float]:
    """Share of the first nodes whose direction lies in one of the two blocks with nine tenths of its squared length."""
    found = {}
    for layer, count in kept.items():
        order = result.lambdas[layer].argsort(descending=True)[:count]
        mass = as_affine(result.bases[layer]).write.double()[order].square()
        first = mass[:, :4].sum(1) / mass.sum(1)
        if count:
            found[layer] = float(((first >= PURE) | (first <= 1 - PURE)).double().mean())
    return found


def docs(*, context: int, windows: int, seed: int = 0) -> Subject:
    from unweave.models import zoo
    from unweave.models.zoo import corpus

    held_out = set(zoo.facts("docs")["held_out"])
    texts = [one.text for one in corpus.documentation() if one.name in held_out]
    return language_subject(load_model("zoo:docs"), turned(texts, seed), context=context, windows=windows)


def stories(data: Path, *, windows: int = 64, seed: int = 0) -> Subject:
    raw = gzip.decompress((data / "text/corpora/tinystories_1000.json.gz").read_bytes())
    texts = [one if isinstance(one, str) else one["story"] for one in json.loads(raw)]
    return language_subject(
        load_model(str(data / "models/stories260K")), turned(texts, seed), context=64, windows=windows
    )


def turned(texts: list[str], seed: int) -> list[str]:
    """Each seed begins with another fifth of the documents."""
    first = seed * len(texts) // 5 % len(texts)
    return texts[first:] + texts[:first]


def cifar(data: Path, seed: int = 0) -> Subject:
    """The paper's network and recipe on fewer and lossy images; needs Pillow, which the project does not."""
    from io import BytesIO

    from PIL import Image

    def part(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        with np.load(data / f"images/cifar10/{name}.npz") as held:
            raw, ends, labels = held["jpeg"].tobytes(), held["offsets"], held["labels"]
        images = [np.asarray(Image.open(BytesIO(raw[a:b])).convert("RGB")) for a, b in pairwise(ends)]
        flat = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).flatten(1).double() / 255
        return flat, torch.from_numpy(labels.astype(int))

    (train, classes), (test, targets) = part("train_20000"), part("test_10000")
    torch.manual_seed(seed)
    sizes = (3072, 100, 100, 10)
    layers = [torch.nn.Linear(a, b) for a, b in pairwise(sizes)]
    net = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(12):
        for some in torch.randperm(len(train)).split(64):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(net(train[some].float()), classes[some]).backward()
            optimiser.step()
    weights = [(one.weight.detach().T.double(), one.bias.detach().double()) for one in layers]
    found = torch.relu(torch.relu(test @ weights[0][0] + weights[0][1]) @ weights[1][0] + weights[1][1])
    right = ((found @ weights[2][0] + weights[2][1]).argmax(1) == targets).double().mean()
    sys.stderr.write(f"{float(right):.4f} right of all {len(test)} test images\n")
    some = slice(0, SCORED)
    return perceptron_subject(weights, (train[:FITTED], test[some], targets[some]), "CIFAR-10 JPEG")
