"""Descent on the rotation: Adam in the Lie algebra, a retraction a step, rounding polished away.

NDM = rotation + neighbour objective + merge rule; this file is the first. The moments are those of the skew matrix
`R' dL/dR - (R' dL/dR)'`, which lives at the current rotation whatever came before, so they survive a step and, with
their rows and columns permuted, a merge.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `rotation` | R | (d, d) | orthogonal, `z = h @ R` | NDM, parametrisation |
| `first`, `second` | m, v | (d, d) | Adam's moments; skew and symmetric, so `d(d-1)/2` numbers each | Kingma and Ba 2015, algorithm 1 |
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unweave.ndm.objective import off_blocks
from unweave.tensors.orthogonal import RETRACTIONS, newton_schulz, polar, riemannian_gradient

BETAS = (0.9, 0.999)
EPSILON = 1e-8
POLISH_EVERY = 100
"""Steps between two Newton-Schulz steps."""


@dataclass(frozen=True, eq=False, kw_only=True)
class State:
    """Where the descent is."""

    rotation: Float[Tensor, "d d"]
    sizes: tuple[int, ...]
    """Of the blocks: columns of the rotation in order, largest first."""
    first: Float[Tensor, "d d"]
    second: Float[Tensor, "d d"]
    count: int = 0
    """Steps behind the moments."""
    step: int = 0
    """Steps of the whole fit."""


def start_state(rotation: Float[Tensor, "d d"], sizes: tuple[int, ...]) -> State:
    """The state before the first step, its rotation polished."""
    exact = polar(rotation).to(rotation.dtype)
    return State(rotation=exact, sizes=sizes, first=torch.zeros_like(exact), second=torch.zeros_like(exact))


def step(state: State, gradient: Float[Tensor, "d d"], lr: float, retraction: str = "cayley") -> State:
    """One Adam step along the group, from the derivative of the loss by the entries of the rotation."""
    skew = off_blocks(riemannian_gradient(state.rotation, gradient), state.sizes)
    count = state.count + 1
    first = torch.lerp(state.first, skew, 1 - BETAS[0])
    second = torch.lerp(state.second, skew.square(), 1 - BETAS[1])
    scale = (second / (1 - BETAS[1] ** count)).sqrt_().add_(EPSILON)
    turn = first / scale * (-lr / (1 - BETAS[0] ** count))
    moved = RETRACTIONS[retraction](state.rotation, turn)
    if (state.step + 1) % POLISH_EVERY == 0:
        moved = newton_schulz(moved)
    return State(rotation=moved, sizes=state.sizes, first=first, second=second, count=count, step=state.step + 1)


def polished(state: State) -> State:
    """The state with its rotation made orthogonal in float64."""
    return replace(state, rotation=polar(state.rotation).to(state.rotation.dtype))


def permuted(state: State, order: Int[Tensor, " d"], sizes: tuple[int, ...], *, carry: bool = True) -> State:
    """The state with its columns in another order and other block sizes; without `carry` Adam starts again."""
    rotation = state.rotation[:, order].contiguous()
    if not carry:
        zeros = torch.zeros_like(rotation)
        return replace(state, rotation=rotation, sizes=sizes, first=zeros, second=zeros.clone(), count=0)
    first, second = (moment[order][:, order].contiguous() for moment in (state.first, state.second))
    return replace(
        state, rotation=rotation, sizes=sizes, first=off_blocks(first, sizes), second=off_blocks(second, sizes)
    )
