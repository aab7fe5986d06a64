"""Nonlinearities against slow loops over rows and units."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import laws_features as laws
from unweave.errors import InputError, UnknownName
from unweave.features.activation import IDENTITY, Activation, apply

PRE = torch.cat([laws.gaussian(12, 7), torch.zeros(1, 7, dtype=torch.float64), -torch.ones(1, 7, dtype=torch.float64)])
THRESHOLD = torch.linspace(-0.5, 1.0, 7, dtype=torch.float64)


def slow(activation: Activation, pre: Tensor) -> Tensor:
    """One row and one unit at a time."""
    found = torch.zeros_like(pre)
    for row in range(len(pre)):
        values = pre[row].tolist()
        ranked = sorted(range(len(values)), key=lambda unit: -values[unit])
        for unit, value in enumerate(values):
            if activation.kind == "identity" or (
                value > 0
                and (
                    activation.kind == "relu"
                    or (activation.threshold is not None and value > float(activation.threshold[unit]))
                    or (activation.k is not None and unit in ranked[: activation.k])
                )
            ):
                found[row, unit] = value
    return found


ACTIVATIONS = {
    "identity": IDENTITY,
    "relu": Activation(kind="relu"),
    "jump_relu": Activation(kind="jump_relu", threshold=THRESHOLD),
    **{f"top_{k}": Activation(kind="top_k", k=k) for k in (1, 3, 7, 20)},
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_equal_loops(name: str) -> None:
    before = PRE.clone()
    found = apply(ACTIVATIONS[name], PRE)
    assert torch.equal(found, slow(ACTIVATIONS[name], PRE))
    assert torch.equal(PRE, before)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_any_number_of_axes_is_rows(name: str) -> None:
    flat = apply(ACTIVATIONS[name], PRE)
    assert torch.equal(apply(ACTIVATIONS[name], PRE.reshape(2, 7, 7)), flat.reshape(2, 7, 7))
    assert torch.equal(apply(ACTIVATIONS[name], PRE[0]), flat[0])


def test_the_threshold_itself_is_off() -> None:
    activation = Activation(kind="jump_relu", threshold=torch.tensor([0.5, -1.0]))
    on = apply(activation, torch.tensor([[0.5, -0.5], [math.nextafter(0.5, 1) + 1e-7, 0.25]]))
    assert (on > 0).tolist() == [[False, False], [True, True]]


def test_parameters_follow_the_values_dtype() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        assert apply(ACTIVATIONS["jump_relu"], PRE.to(dtype)).dtype == dtype


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"kind": "jump_relu"}, r"threshold= belongs to 'jump_relu' and only to it"),
        ({"kind": "relu", "threshold": THRESHOLD}, r"threshold= belongs to 'jump_relu' and only to it"),
        ({"kind": "top_k"}, r"k= belongs to 'top_k' and only to it"),
        ({"kind": "identity", "k": 3}, r"k= belongs to 'top_k' and only to it"),
        ({"kind": "top_k", "k": 0}, r"k is 0: at least one unit must stay"),
    ],
)
def test_parameters_that_do_not_belong_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        Activation(**options)


def test_an_unknown_kind_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="unknown activation 'jumprelu'; nearest: 'jump_relu'"):
        Activation(kind="jumprelu")
