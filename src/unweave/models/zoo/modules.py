"""The bundled models that are plain modules: a transformer that adds modulo 113, and a perceptron that reads digits.

Each has a recipe, its weights as float16, and `zoo.json` with what was measured on the rounded weights.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unweave.errors import unknown_name
from unweave.files import write_text
from unweave.log import SILENT, Progress
from unweave.models.modadd import ModularAddition, modadd_from, modadd_pairs, modadd_targets
from unweave.models.zoo.resuming import Training, set_rate

WEIGHTS = "model.safetensors"
KEPT = 20
"""How often during a training its state is kept."""


@dataclass(frozen=True, kw_only=True)
class ModuleRecipe:
    """Sizes and schedule of one module; training is full batch with AdamW, warm-up, and a linear end."""

    name: str
    sizes: tuple[int, ...]
    """Of the layers; for modular addition: modulus, width, heads, head width, neurons."""
    epochs: int
    learning_rate: float
    weight_decay: float
    seed: int = 0


MODULE_RECIPES: Mapping[str, ModuleRecipe] = MappingProxyType(
    {
        "modadd": ModuleRecipe(
            name="modadd", sizes=(113, 128, 4, 32, 512), epochs=8000, learning_rate=1e-3, weight_decay=1.0
        ),
        "digits": ModuleRecipe(
            name="digits", sizes=(64, 48, 32, 10), epochs=600, learning_rate=3e-3, weight_decay=0.05
        ),
    }
)


def load_module(folder: Path) -> nn.Module | None:
    """The module of a bundled model's folder; None if it holds a language model instead."""
    recipe = MODULE_RECIPES.get(folder.name)
    if recipe is None:
        return None
    weights = {name: value.float() for name, value in load_file(folder / WEIGHTS).items()}
    if recipe.name == "modadd":
        return modadd_from(weights)
    module = perceptron(recipe.sizes)
    module.load_state_dict(weights)
    return module.eval()


def perceptron(sizes: tuple[int, ...]) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    parts: list[nn.Module] = []
    for wide, narrow in pairwise(sizes):
        parts += [nn.Linear(wide, narrow), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(training images, labels, test images, labels): scikit-learn's 8 x 8 digits, 64 values in [0, 1] each; three
    quarters of a fixed permutation for training.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    pixels = torch.tensor(images / 16, dtype=torch.float32)[order]
    named = torch.tensor(labels)[order]
    cut = 3 * len(named) // 4
    return pixels[:cut], named[:cut], pixels[cut:], named[cut:]


def train_module(name: str, out: Path, *, progress: Progress = SILENT) -> dict[str, Any]:
    """Trains a module by its recipe, writes weights and `zoo.json` into `out`, and returns its facts; a training that
    was cut short goes on from its last twentieth.

    Raises:
        UnknownName: There is no such recipe.
        InputError: `out` keeps the state of another training.
    """
    if name not in MODULE_RECIPES:
        raise unknown_name("zoo model", name, MODULE_RECIPES)
    return train_recipe(MODULE_RECIPES[name], out, progress=progress)


def train_recipe(recipe: ModuleRecipe, out: Path, *, progress: Progress = SILENT) -> dict[str, Any]:
    """`train_module` by a recipe that need not be one of the bundled models'."""
    train = _train_modadd if recipe.name == "modadd" else _train_digits
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        module, training = train(recipe, out, progress)
    module = module.half().float()
    facts = {
        "name": recipe.name,
        "recipe": {**asdict(recipe), "sizes": list(recipe.sizes)},
        "parameters": sum(weight.numel() for weight in module.parameters()),
        **(_modadd_facts(module) if isinstance(module, ModularAddition) else _digits_facts(module)),
    }
    out.mkdir(parents=True, exist_ok=True)
    save_file({key: value.half().contiguous() for key, value in module.state_dict().items()}, out / WEIGHTS)
    write_text(out / "zoo.json", json.dumps(facts, indent=1, sort_keys=True) + "\n")
    training.finish()
    return facts


def _train_modadd(recipe: ModuleRecipe, out: Path, progress: Progress) -> tuple[nn.Module, Training]:
    model = ModularAddition(*recipe.sizes)
    tokens, _ = modadd_pairs(model.modulus)
    targets = modadd_targets(tokens, model.modulus)
    training = _descend(model, lambda: _mean_loss(fast_logits(model, tokens), targets), recipe, out, progress)
    return model.eval(), training


def _train_digits(recipe: ModuleRecipe, out: Path, progress: Progress) -> tuple[nn.Module, Training]:
    module = perceptron(recipe.sizes)
    images, labels, _, _ = digits()
    training = _descend(module, lambda: _mean_loss(module(images), labels), recipe, out, progress)
    return module.eval(), training


def fast_logits(model: ModularAddition, tokens: Int[Tensor, "batch three"]) -> Float[Tensor, "batch vocabulary"]:
    """The model's outputs where the last token is always `=`: one query, and scores and values looked up by token."""
    attention = cast(Any, cast(nn.ModuleDict, model.blocks[0])["attn"])
    stream = cast(Tensor, model.embed.W_E) + cast(Tensor, model.pos_embed.W_pos)[:, None]
    last = stream[2, model.modulus]
    query = torch.einsum("d,hde->he", last, attention.W_Q) + attention.b_Q
    key = torch.einsum("svd,hde->svhe", stream, attention.W_K) + attention.b_K
    value = torch.einsum("svd,hde->svhe", stream, attention.W_V) + attention.b_V
    scores = torch.einsum("svhe,he->svh", key, query) / math.sqrt(query.shape[1])
    pattern = torch.softmax(torch.stack([scores[place][tokens[:, place]] for place in range(3)], 1), 1)
    mixed = torch.stack([pattern[:, place, :, None] * value[place][tokens[:, place]] for place in range(3)]).sum(0)
    middle = last + mixed.flatten(1) @ attention.W_O.flatten(0, 1) + attention.b_O
    return model.unembed(cast(nn.ModuleDict, model.blocks[0])["mlp"](middle))


def _mean_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, targets)


def _descend(
    module: nn.Module, loss: Callable[[], Tensor], recipe: ModuleRecipe, out: Path, progress: Progress
) -> Training:
    """Full-batch AdamW; the rate rises over ten steps and falls to zero over the last tenth."""
    optimiser = torch.optim.AdamW(
        module.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.98)
    )
    end = max(recipe.epochs // 10, 1)
    training = Training(
        module=module, optimiser=optimiser, generators={}, folder=out, purpose={"recipe": asdict(recipe)}
    )
    done, _ = training.resume()
    with progress.task(f"train {recipe.name}", recipe.epochs, "step") as advance:
        advance(done)
        for step in range(done, recipe.epochs):
            set_rate(optimiser, recipe.learning_rate * min((step + 1) / 10, 1.0, (recipe.epochs - step) / end))
            optimiser.zero_grad()
            loss().backward()
            optimiser.step()
            advance(1)
            if (step + 1) % max(recipe.epochs // KEPT, 1) == 0:
                training.save(step + 1, step + 1)
    return training


def _modadd_facts(model: ModularAddition) -> dict[str, Any]:
    training, test = modadd_pairs(model.modulus)
    with torch.no_grad():
        found = {
            side: (fast_logits(model, tokens), modadd_targets(tokens, model.modulus))
            for side, tokens in (("train", training), ("test", test))
        }
    return _scores(found)


def _digits_facts(module: nn.Module) -> dict[str, Any]:
    images, labels, held_out, their_labels = digits()
    with torch.no_grad():
        return _scores({"train": (module(images), labels), "test": (module(held_out), their_labels)})


def _scores(found: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for side, (outputs, targets) in found.items():
        facts[f"{side}_inputs"] = len(targets)
        facts[f"{side}_accuracy"] = float((outputs.argmax(1) == targets).double().mean())
        facts[f"{side}_loss_nats"] = float(_mean_loss(outputs, targets))
    return facts
