"""The nonlinearity of an affine featurizer: identity, ReLU, JumpReLU or TopK, as dictionaries and toy models use
them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError, unknown_name

KINDS = ("identity", "relu", "jump_relu", "top_k")


@dataclass(frozen=True, eq=False, kw_only=True)
class Activation:
    """An elementwise or per-row nonlinearity; call `apply`."""

    kind: str = "identity"
    """`identity`; `relu`: max(p, 0); `jump_relu`: p where p > threshold and p > 0, else 0; `top_k`: the k largest, then
    ReLU.
    """
    threshold: Float[Tensor, " k"] | None = None
    """Of `jump_relu`, one a unit."""
    k: int | None = None
    """Of `top_k`."""
    scale: Float[Tensor, " k"] | None = None
    """Of `top_k`, positive: pre-activations are ranked after multiplication by it; None ranks them as they are."""

    def __post_init__(self) -> None:
        """Raises if the kind is unknown or lacks its parameter."""
        if self.kind not in KINDS:
            raise unknown_name("activation", self.kind, KINDS)
        if (self.threshold is None) == (self.kind == "jump_relu"):
            raise InputError("threshold= belongs to 'jump_relu' and only to it")
        if (self.k is None) == (self.kind == "top_k"):
            raise InputError("k= belongs to 'top_k' and only to it")
        if self.scale is not None and (self.k is None or not bool((self.scale > 0).all())):
            raise InputError("scale= belongs to 'top_k' only, and must be positive")
        if self.k is not None and self.k < 1:
            raise InputError(f"k is {self.k}: at least one unit must stay")


IDENTITY = Activation()


def apply(activation: Activation, pre: Float[Tensor, "*rows k"]) -> Float[Tensor, "*rows k"]:
    """The units' values from their pre-activations; the input is not changed."""
    if activation.kind == "identity":
        return pre
    positive = torch.relu(pre)
    if activation.threshold is not None:
        return positive * (pre > activation.threshold.to(pre))
    if activation.k is not None:
        if activation.k >= pre.shape[-1]:
            return positive
        ranked = pre if activation.scale is None else pre * activation.scale.to(pre)
        kept = ranked.topk(activation.k, dim=-1).indices
        return torch.zeros_like(pre).scatter(-1, kept, positive.gather(-1, kept))
    return positive
