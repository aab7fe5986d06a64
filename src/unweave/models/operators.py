"""The usual operators of an edit: functions that make a function of the value at a site (or of the chosen units)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unweave.features.direction import Direction
from unweave.models.edits import Operator


def zero() -> Operator:
    """Everything to zero."""
    return torch.zeros_like


def set_to(value: Any) -> Operator:
    """Everything to a value: a number, or an array that broadcasts against the last axis, such as the mean of each
    unit.
    """
    constant = torch.as_tensor(value)
    return lambda h: constant.to(h).expand_as(h).clone()


def scale(factor: float) -> Operator:
    """Everything times a factor."""
    return lambda h: h * factor


def add(vector: Any, *, dose: float = 1.0) -> Operator:
    """Plus `dose` times a vector; a `Direction` is taken as it is, in units of the activations."""
    step: Tensor = vector.vector if isinstance(vector, Direction) else torch.as_tensor(vector)
    return lambda h: h + dose * step.to(h)
