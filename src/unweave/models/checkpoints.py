"""State dicts from files: safetensors, or the `.pt` files that papers come with, of which only tensors are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from unweave.errors import InputError
from unweave.features.foreign.tensor_files import read_header

_UNREADABLE = (RuntimeError, EOFError, ValueError, OSError, LookupError, TypeError, AttributeError)
"""What torch raises on bytes that are no checkpoint, whichever opcodes they happen to spell."""


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Name -> tensor of a checkpoint, on the CPU; a file that is one tensor gives it without a name.

    Args:
        path: A `.safetensors` file or one that torch wrote; nothing but tensors in plain containers is read, so that a
            stranger's file runs nothing.

    Raises:
        InputError: No such file, not a checkpoint, one that holds more than tensors, or no state dict.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"no checkpoint at {file}: give a .pt or .safetensors file")
    if file.suffix == ".safetensors":
        return _plain(file)
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except (*_UNREADABLE, torch.serialization.pickle.UnpicklingError) as error:
        # torch's own words advise to run what a stranger's file holds
        raise InputError(
            f"{file} is no checkpoint of tensors alone ({type(error).__name__}): give a state dict"
        ) from error
    if isinstance(found, Tensor):
        return {"": found}
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(f"{file} holds a {type(found).__name__}, not a state dict: give name -> tensor")
    return dict(found)


def _plain(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    read_header(file)  # what it claims, against what is there, before anything is allocated
    try:
        return load_file(file)
    except SafetensorError as error:
        raise InputError(f"{file} is no safetensors file ({error}): give a state dict") from error
