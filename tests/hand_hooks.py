"""Hand-written hooks on raw transformers modules, at the places of `hand_places`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hand_places import RAW


def hand_values(family: str, module: nn.Module, *args: Any, depth: int = 2, **kwargs: Any) -> dict[str, Tensor]:
    """Every site's value from one call of the bare module, keyed by the names that unweave uses."""
    raw = RAW[family]
    places = {
        site.replace(".L.", f".{layer}."): place.replace("{L}", str(layer))
        for site, place in raw.places.items()
        for layer in range(depth if ".L." in site else 1)
    }  # a place of one block, written later, stands before that of all blocks
    seen: dict[str, Tensor] = {}
    handles = []
    for factor in {factor for place in places.values() for factor in place.split(" * ")}:
        side, path = factor.split()

        def before(_module, given, named, factor=factor):
            seen[factor] = _tensor(given or tuple(named.values())).clone()

        def after(_module, _args, output, factor=factor):
            seen[factor] = _tensor(output).clone()

        target = module.get_submodule(path.removeprefix("."))
        handles.append(
            target.register_forward_pre_hook(before, with_kwargs=True)
            if side == "in"
            else target.register_forward_hook(after)
        )
    with torch.no_grad():
        module(*args, **kwargs)
    for handle in handles:
        handle.remove()
    values = {}
    for site, place in places.items():
        value = torch.stack([seen[factor] for factor in place.split(" * ")]).prod(0)
        value = value.unflatten(0, args[0].shape) if value.ndim == 2 else value
        values[site] = value.unflatten(-1, (raw.heads, -1)) if site.endswith("attn_z") else value
    return values


def block_of(family: str, module: nn.Module, layer: int) -> nn.Module:
    """A block of the raw module."""
    return module.get_submodule(RAW[family].blocks.replace("{L}", str(layer)))


def through(matrix: nn.Module, x: Tensor) -> Tensor:
    """`x @ W + b` written out, for both layouts of W."""
    weight, bias = matrix.weight, matrix.bias
    out = x @ (weight.T if isinstance(matrix, nn.Linear) else weight)
    return out if bias is None else out + bias


def _tensor(found: Any) -> Tensor:
    if isinstance(found, Tensor):
        return found
    return found[0] if isinstance(found, tuple) else found["logits"]
