"""A small transformer from weights in the names of TransformerLens, as a plain module whose heads can be edited: what
published toy models (induction, brackets, copying) come as.

Two public layouts are told apart by the shapes: matrices that act on row vectors with heads first (TransformerLens),
and their transposes (the code of arXiv 2301.05217, blocks named `attn_blocks` where there is no MLP). Attention looks
back where the scores are over the tokens it reads, and both ways where they are over classes: the stored mask does not
say it, published classifiers store one that they do not use. ReLU; norms where the weights have them.

| site | what it is |
|---|---|
| `embed` | token plus position, (batch, pos, d) |
| `blocks.L.key_in` | what the keys of block L are made from |
| `blocks.L.z` | values mixed by each head, (batch, pos, heads * d_head), head after head |
| `blocks.L.resid` | the stream behind block L |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unweave.errors import InputError

FIRST = "embed.W_E"


class PlainTransformer(nn.Module):
    """(batch, pos) tokens to (batch, pos, outputs) scores.

    Example:
        >>> weights = {"embed.W_E": torch.eye(5, 4), "pos_embed.W_pos": torch.zeros(6, 4), "unembed.W_U": torch.eye(4, 3)}
        >>> plain_transformer(weights)(torch.tensor([[0, 1]])).shape
        torch.Size([1, 2, 3])
    """  # noqa: E501 - an example does not wrap

    def __init__(self, weights: Mapping[str, Tensor], *, causal: bool) -> None:
        """Takes weights in the layout of TransformerLens."""
        super().__init__()
        self.causal = causal
        count = 1 + max((int(name.split(".")[1]) for name in weights if name.startswith("blocks.")), default=-1)
        self.embed = _Embedding(weights[FIRST], weights["pos_embed.W_pos"])
        self.blocks = nn.ModuleList([_Block(_under(weights, f"blocks.{number}."), causal) for number in range(count)])
        self.final_norm = _norm(_under(weights, "ln_final."))
        self.unembed = _Linear(weights["unembed.W_U"], weights.get("unembed.b_U"))

    def forward(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos outputs"]:
        """The scores at every position."""
        stream = self.embed(tokens)
        for block in self.blocks:
            stream = block(stream)
        return self.unembed(self.final_norm(stream))

    def pattern(self, tokens: Int[Tensor, "batch pos"], block: int) -> Float[Tensor, "batch head query key"]:
        """Where the heads of a block look.

        Args:
            tokens: Inputs.
            block: Number of the block.
        """
        stream = self.embed(tokens)
        for one in self.blocks[:block]:
            stream = one(stream)
        return cast(_Block, self.blocks[block]).pattern(stream)

    @property
    def heads(self) -> int:
        """Heads of a block."""
        return cast(Any, self.blocks[0]).W_Q.shape[0]


def plain_transformer(state: Mapping[str, Any]) -> PlainTransformer:
    """The module with these weights.

    Args:
        state: Name -> tensor, as stored.

    Raises:
        InputError: Not such weights: what is missing is named.
    """
    named = {name.replace("attn_blocks.", "blocks."): value for name, value in state.items()}
    named = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    missing = [name for name in (FIRST, "pos_embed.W_pos", "unembed.W_U") if name not in named]
    if missing:
        raise InputError(
            f"these are not the weights of a small transformer: {', '.join(missing)} is missing; the names of"
            " TransformerLens are needed"
        )
    width = named["pos_embed.W_pos"].shape[1]
    weights = {name: value.float() for name, value in named.items() if not name.endswith((".mask", ".IGNORE"))}
    try:
        if weights[FIRST].shape[1] != width:
            weights = _turned(weights)
        return PlainTransformer(weights, causal=weights["unembed.W_U"].shape[1] == len(weights[FIRST])).eval()
    except (KeyError, RuntimeError) as error:
        raise InputError(f"the weights do not make up a transformer ({error}): give those of one model") from None


def _turned(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the other layout: matrices (out, in), heads before head dimension."""
    found = {}
    for name, value in weights.items():
        kind = name.rsplit(".", 1)[1]
        if kind in ("W_Q", "W_K", "W_V"):
            found[name] = value.transpose(1, 2)
        elif kind == "W_O":
            heads = weights[f"{name[:-1]}Q"].shape[0]
            found[name] = value.T.reshape(heads, -1, len(value))
        else:
            found[name] = value.T if kind in ("W_E", "W_in", "W_out") else value
    return found


class _Embedding(nn.Module):
    def __init__(self, words: Tensor, places: Tensor) -> None:
        super().__init__()
        self.W_E, self.W_pos = nn.Parameter(words.clone()), nn.Parameter(places.clone())

    def forward(self, tokens: Tensor) -> Tensor:
        return self.W_E[tokens] + self.W_pos[: tokens.shape[1]]


class _Block(nn.Module):
    def __init__(self, weights: Mapping[str, Tensor], causal: bool) -> None:
        super().__init__()
        self.causal = causal
        for name in ("Q", "K", "V", "O"):
            matrix = weights[f"attn.W_{name}"]
            setattr(self, f"W_{name}", nn.Parameter(matrix.clone()))
            shape = (matrix.shape[2],) if name == "O" else (matrix.shape[0], matrix.shape[2])
            setattr(self, f"b_{name}", nn.Parameter(weights.get(f"attn.b_{name}", torch.zeros(shape)).clone()))
        self.key_in, self.z = nn.Identity(), nn.Identity()
        self.norm_attention, self.norm_neurons = (_norm(_under(weights, f"{name}.")) for name in ("ln1", "ln2"))
        self.neurons = None
        if "mlp.W_in" in weights:
            first, second = (_Linear(weights[f"mlp.W_{k}"], weights.get(f"mlp.b_{k}")) for k in ("in", "out"))
            self.neurons = nn.Sequential(first, nn.ReLU(), second)
        self.resid = nn.Identity()

    def pattern(self, stream: Tensor) -> Tensor:
        weights = cast(Any, self)
        queries, keys = self.norm_attention(stream), self.norm_attention(self.key_in(stream))
        query = torch.einsum("bpd,hde->bhpe", queries, weights.W_Q) + weights.b_Q[:, None]
        key = torch.einsum("bpd,hde->bhpe", keys, weights.W_K) + weights.b_K[:, None]
        scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
        if self.causal:
            ahead = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(ahead, -torch.inf)
        return scores.softmax(-1)

    def forward(self, stream: Tensor) -> Tensor:
        weights = cast(Any, self)
        value = torch.einsum("bpd,hde->bhpe", self.norm_attention(stream), weights.W_V) + weights.b_V[:, None]
        mixed = self.z((self.pattern(stream) @ value).transpose(1, 2).flatten(2))
        behind = stream + mixed @ weights.W_O.flatten(0, 1) + weights.b_O
        return self.resid(behind if self.neurons is None else behind + self.neurons(self.norm_neurons(behind)))


class _Linear(nn.Module):
    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())
        self.bias = nn.Parameter(torch.zeros(weight.shape[1]) if bias is None else bias.clone())

    def forward(self, rows: Tensor) -> Tensor:
        return rows @ self.weight + self.bias


def _norm(weights: Mapping[str, Tensor]) -> nn.Module:
    """The layer norm with these weights, nothing where there are none."""
    if "w" not in weights:
        return nn.Identity()
    found = nn.LayerNorm(len(weights["w"]))
    found.load_state_dict({"weight": weights["w"], "bias": weights["b"]})
    return found


def _under(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
