"""Sums over the processes of a `torch.distributed` run; with one process, what was given."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

Value = TypeVar("Value")


def rank() -> int:
    """The number of this process; 0 outside a distributed run."""
    return torch.distributed.get_rank() if _running() else 0


def gathered(value: Value) -> list[Value]:
    """The value of every process, in their order."""
    if not _running():
        return [value]
    everyone: list[Value | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everyone, value)
    return [one for one in everyone if one is not None]


def summed(value: Tensor) -> Tensor:
    """The sum over all processes, added in their order so that all get the same."""
    everyone = gathered(value)
    return sum(everyone[1:], everyone[0])


def _running() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
