"""A one-layer transformer that adds modulo a prime: the module of `zoo:modadd` and of checkpoints in the format of
arXiv 2405.10928.

Parameters carry the names of that format, so that a state dict of either origin loads as it is. No norm; ReLU; the
answer is read at the last of the three positions, so nothing behind the attention is computed anywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unweave.errors import InputError

NOT_WEIGHTS = ("blocks.0.attn.mask", "blocks.0.attn.IGNORE")
"""Buffers of stored checkpoints that the last position never needs."""


class ModularAddition(nn.Module):
    """(batch, 3) tokens `x, y, =` to (batch, vocabulary) scores of the sum modulo p; the vocabulary is p + 1, its last
    token is `=`.

    Example:
        >>> model = ModularAddition(modulus=7, width=8, heads=2, head_width=4, neurons=16)
        >>> model(torch.tensor([[1, 2, 7]])).shape
        torch.Size([1, 8])
    """

    def __init__(
        self, modulus: int = 113, width: int = 128, heads: int = 4, head_width: int = 32, neurons: int = 512
    ) -> None:
        """Draws the weights from the global generator; biases start at zero."""
        super().__init__()
        self.modulus = modulus
        vocabulary = modulus + 1
        block = nn.ModuleDict({"attn": Attention(width, heads, head_width), "mlp": Neurons(width, neurons)})
        self.embed = _weights(W_E=(vocabulary, width))
        self.pos_embed = _weights(W_pos=(3, width))
        self.blocks = nn.ModuleList([block])
        self.unembed = Unembedding(width, vocabulary)

    def forward(self, tokens: Int[Tensor, "batch three"]) -> Float[Tensor, "batch vocabulary"]:
        """The scores at the last position."""
        stream = self.embedding(tokens)
        block = cast(nn.ModuleDict, self.blocks[0])
        middle = block["attn"](stream)
        return self.unembed(block["mlp"](middle))[:, 0]

    def embedding(self, tokens: Int[Tensor, "batch three"]) -> Float[Tensor, "batch three width"]:
        """Token plus position: the node layer `ln1.0`."""
        return cast(Tensor, self.embed.W_E)[tokens] + cast(Tensor, self.pos_embed.W_pos)


class Attention(nn.Module):
    """Attention of the last position over all, and the stream that passes it by: (batch, 3, width) -> (batch, 1,
    width).
    """

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        """Draws the weights."""
        super().__init__()
        for name in ("Q", "K", "V"):
            setattr(self, f"W_{name}", _normal(heads, width, head_width))
            setattr(self, f"b_{name}", nn.Parameter(torch.zeros(heads, head_width)))
        self.W_O = _normal(heads, head_width, width)
        self.b_O = nn.Parameter(torch.zeros(width))

    def forward(self, stream: Float[Tensor, "batch pos width"]) -> Float[Tensor, "batch 1 width"]:
        """The stream behind the attention, at the last position."""
        weights = {name: cast(Tensor, value) for name, value in self.named_parameters()}
        last = stream[:, -1]
        query = torch.einsum("bd,hde->bhe", last, weights["W_Q"]) + weights["b_Q"]
        key, value = (
            torch.einsum("bsd,hde->bhse", stream, weights[f"W_{name}"]) + weights[f"b_{name}"][:, None] for name in "KV"
        )
        pattern = torch.softmax((key @ query[..., None])[..., 0] / query.shape[-1] ** 0.5, dim=-1)
        mixed = (pattern[..., None, :] @ value)[..., 0, :]
        return (last + torch.einsum("bhe,hed->bd", mixed, weights["W_O"]) + weights["b_O"])[:, None]


class Neurons(nn.Module):
    """A ReLU MLP and the stream that passes it by."""

    def __init__(self, width: int, neurons: int) -> None:
        """Draws the weights."""
        super().__init__()
        self.W_in, self.W_out = _normal(width, neurons), _normal(neurons, width)
        self.b_in, self.b_out = nn.Parameter(torch.zeros(neurons)), nn.Parameter(torch.zeros(width))

    def forward(self, stream: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """The stream behind the MLP."""
        return stream + torch.relu(stream @ self.W_in + self.b_in) @ self.W_out + self.b_out


class Unembedding(nn.Module):
    """Scores over the vocabulary."""

    def __init__(self, width: int, vocabulary: int) -> None:
        """Draws the weights."""
        super().__init__()
        self.W_U = _normal(width, vocabulary)
        self.b_U = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, stream: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows vocabulary"]:
        """The scores."""
        return stream @ self.W_U + self.b_U


def modadd_from(state: Mapping[str, Any]) -> ModularAddition:
    """The module with the weights of a checkpoint; sizes are read off the weights.

    Raises:
        InputError: Not such a checkpoint: tensors that are missing, unknown, or do not fit one another.
    """
    weights = {name: value for name, value in state.items() if name not in NOT_WEIGHTS}
    sizes = {name: tuple(value.shape) for name, value in weights.items() if isinstance(value, Tensor)}
    needed = {name: tuple(value.shape) for name, value in ModularAddition(2, 2, 1, 2, 2).state_dict().items()}
    wrong = sorted(set(needed) ^ set(sizes)) or sorted(name for name in needed if len(needed[name]) != len(sizes[name]))
    if wrong:
        raise InputError(
            f"these are not the weights of a modular-addition transformer: {len(wrong)} tensors are missing, unknown"
            f" or of another shape ({', '.join(wrong[:3])}); give a state dict with"
            f" {', '.join(sorted(needed)[:3])}, ..."
        )
    vocabulary, width = sizes["embed.W_E"]
    heads, _, head_width = sizes["blocks.0.attn.W_Q"]
    model = ModularAddition(vocabulary - 1, width, heads, head_width, sizes["blocks.0.mlp.W_in"][1])
    fits = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    other = sorted(f"{name} {sizes[name]} for {shape}" for name, shape in fits.items() if sizes[name] != shape)
    if other:
        raise InputError(f"the weights do not fit one another: {', '.join(other[:3])}; give those of one model")
    model = model.to(next(iter(weights.values())).dtype)
    model.load_state_dict(weights)
    return model.eval()


def modadd_pairs(modulus: int = 113, *, train: float = 0.3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(training, test) tokens (n, 3) of all p^2 sums, in the order of the reference: a random permutation of the
    row-major pairs, its first part for training.

    Args:
        modulus: p.
        train: Share of the pairs for training.
        seed: Of the permutation.

    Example:
        >>> training, test = modadd_pairs()
        >>> len(training), len(test)
        (3830, 8939)
    """
    count = modulus**2
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    pairs = torch.stack([order // modulus, order % modulus, torch.full((count,), modulus)], 1)
    first = int(train * count)
    return pairs[:first], pairs[first:]


def modadd_targets(tokens: Int[Tensor, "batch three"], modulus: int = 113) -> Int[Tensor, " batch"]:
    """(x + y) mod p."""
    return (tokens[:, 0] + tokens[:, 1]) % modulus


def _normal(*shape: int) -> nn.Parameter:
    """Normal entries of variance one over the width that is summed over."""
    return nn.Parameter(torch.randn(shape) / shape[-2] ** 0.5)


class _Weights(nn.Module):
    """Named weights without a computation of their own."""


def _weights(**shapes: tuple[int, int]) -> nn.Module:
    holder = _Weights()
    for name, shape in shapes.items():
        holder.register_parameter(name, nn.Parameter(torch.randn(shape) / shape[-1] ** 0.5))
    return holder
