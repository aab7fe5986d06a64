"""Weights that are elsewhere until they are needed: where a part of a model is offloaded to the processor or the disk,
accelerate leaves `meta` tensors in its place and brings the weights for each call of that part.

What is read off the weights themselves (fingerprints, the unembedding, what a neuron reads and writes) is taken from
where accelerate keeps it: the `weights_map` of the hook `_hf_hook` on the part or on one that holds it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from unweave.errors import InputError


def input_device(module: nn.Module) -> torch.device:
    """Where the module computes first: the device of its first weight, or where that is brought for the call."""
    weight = next(module.parameters(), None)
    if weight is None:
        return torch.device("cpu")
    if not weight.is_meta:
        return weight.device
    brought = (getattr(hook, "execution_device", None) for part in module.modules() for hook in _hooks(part))
    return torch.device(next((device for device in brought if device is not None), "cpu"))


def is_offloaded(module: nn.Module) -> bool:
    """Whether some weights are brought for each call: two calls at once would take them from one another."""
    return any(weight.is_meta for weight in module.parameters())


def weights_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Name and value of every weight and buffer, in the order of the state dict; each is there only while it is looked
    at.

    Raises:
        InputError: A weight that is nowhere: a model made on the meta device and never filled.
    """
    for name, tensor in module.state_dict().items():
        yield name, _kept(module, name) if tensor.is_meta else tensor


def value_of(module: nn.Module, name: str = "weight") -> Tensor:
    """A weight of a part that has it itself."""
    tensor = getattr(module, name)
    return _kept(module, name) if tensor.is_meta else tensor.detach()


def _kept(module: nn.Module, name: str) -> Tensor:
    """The weight `name` from the nearest part around it that says where its weights are."""
    path = name.split(".")
    for depth in range(len(path) - 1, -1, -1):
        inside = ".".join(path[depth:])
        for hook in _hooks(module.get_submodule(".".join(path[:depth]))):
            kept = getattr(hook, "weights_map", None)
            try:
                found = None if kept is None else kept[inside]
            except KeyError:
                continue
            if isinstance(found, Tensor):
                return found.detach()
    raise InputError(f"the weight {name} is on the meta device and kept nowhere: load the model with its weights")


def _hooks(part: nn.Module) -> list[Any]:
    """The hooks of accelerate on a part: one, or several in a row."""
    hook = getattr(part, "_hf_hook", None)
    return [] if hook is None else list(getattr(hook, "hooks", [hook]))
