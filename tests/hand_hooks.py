"""Hand-written hooks on raw transformers modules: where each site's value really is, mostly looked up in another place
than unweave looks.

One record a family; nothing here knows `unweave.models`. A place is `in PATH` or `out PATH` of the raw module, `{L}`
the number of the block, `A * B` a product of two places.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Raw:
    """What a family's raw module looks like."""

    blocks: str
    """Path of a block, with `{L}`."""
    places: Mapping[str, str]
    """Site -> place; `blocks.L.` stands for the sites of every block."""
    attention_matrix: str
    """The matrix that `attn_z` goes through, inside a block."""
    down_matrix: str | None
    """The matrix that `mlp_act` goes through, inside a block; None for experts."""
    second_half: Callable[[Any, Tensor], Tensor]
    """(block, stream between attention and MLP) -> stream after the block, written out."""
    norms: tuple[str, str] | None = None
    """Post-norm families: the norms after the two sums, inside a block."""
    heads: int = 4
    """Number of query heads of the tiny model."""
    added_norms: tuple[str, str] | None = None
    """Norms between the two matrices and the stream, inside a block."""
    is_parallel: bool = False
    """Whether attention and MLP both read the stream before the block."""


RAW: Mapping[str, Raw] = {
    "gpt2": Raw(
        blocks="transformer.h.{L}",
        places={
            "embed": "out transformer.wte",
            "blocks.L.resid_pre": "in transformer.h.{L}.ln_1",
            "blocks.L.ln1": "in transformer.h.{L}.attn.c_attn",
            "blocks.L.attn_z": "in transformer.h.{L}.attn.c_proj",
            "blocks.L.attn_out": "out transformer.h.{L}.attn.resid_dropout",
            "blocks.L.resid_mid": "in transformer.h.{L}.ln_2",
            "blocks.L.ln2": "in transformer.h.{L}.mlp.c_fc",
            "blocks.L.mlp_act": "out transformer.h.{L}.mlp.act",
            "blocks.L.mlp_out": "out transformer.h.{L}.mlp.dropout",
            "blocks.L.resid_post": "out transformer.h.{L}",
            "final_norm": "in lm_head",
            "logits": "out lm_head",
        },
        attention_matrix="attn.c_proj",
        down_matrix="mlp.c_proj",
        second_half=lambda block, mid: mid + block.mlp(block.ln_2(mid)),
    ),
    "llama": Raw(
        blocks="model.layers.{L}",
        places={
            "embed": "out model.embed_tokens",
            "blocks.L.resid_pre": "in model.layers.{L}.input_layernorm",
            "blocks.L.ln1": "in model.layers.{L}.self_attn.q_proj",
            "blocks.L.attn_z": "in model.layers.{L}.self_attn.o_proj",
            "blocks.L.attn_out": "out model.layers.{L}.self_attn.o_proj",
            "blocks.L.resid_mid": "in model.layers.{L}.post_attention_layernorm",
            "blocks.L.ln2": "in model.layers.{L}.mlp.up_proj",
            "blocks.L.mlp_act": "out model.layers.{L}.mlp.act_fn * out model.layers.{L}.mlp.up_proj",
            "blocks.L.mlp_out": "out model.layers.{L}.mlp.down_proj",
            "blocks.L.resid_post": "out model.layers.{L}",
            "final_norm": "in lm_head",
            "logits": "out lm_head",
        },
        attention_matrix="self_attn.o_proj",
        down_matrix="mlp.down_proj",
        second_half=lambda block, mid: mid + block.mlp(block.post_attention_layernorm(mid)),
    ),
    "bert": Raw(
        blocks="encoder.layer.{L}",
        places={
            "embed": "out embeddings.word_embeddings",
            "blocks.L.resid_pre": "in encoder.layer.{L}.attention.self.query",
            "blocks.L.attn_z": "out encoder.layer.{L}.attention.self",
            "blocks.L.attn_out": "out encoder.layer.{L}.attention.output.dropout",
            "blocks.L.resid_mid": "in encoder.layer.{L}.intermediate.dense",
            "blocks.L.mlp_act": "in encoder.layer.{L}.output.dense",
            "blocks.L.mlp_out": "out encoder.layer.{L}.output.dropout",
            "blocks.L.resid_post": "out encoder.layer.{L}.output.LayerNorm",
        },
        attention_matrix="attention.output.dense",
        down_matrix="output.dense",
        second_half=lambda block, mid: block.output.LayerNorm(mid + block.output.dense(block.intermediate(mid))),
        norms=("attention.output.LayerNorm", "output.LayerNorm"),
    ),
}


def hand_values(family: str, module: nn.Module, *args: Any, depth: int = 2, **kwargs: Any) -> dict[str, Tensor]:
    """Every site's value from one call of the bare module, keyed by the names that unweave uses."""
    raw = RAW[family]
    places = {
        site.replace(".L.", f".{layer}."): place.replace("{L}", str(layer))
        for site, place in raw.places.items()
        for layer in range(depth if ".L." in site else 1)
    }
    seen: dict[str, Tensor] = {}
    handles = []
    for factor in {factor for place in places.values() for factor in place.split(" * ")}:
        side, path = factor.split()

        def before(_module, given, named, factor=factor):
            seen[factor] = _tensor(given or tuple(named.values())).clone()

        def after(_module, _args, output, factor=factor):
            seen[factor] = _tensor(output).clone()

        target = module.get_submodule(path)
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
    return found[0] if isinstance(found, tuple) else found["logits"] if "logits" in found else found
