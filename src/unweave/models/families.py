"""The model families: one row each, and nothing about a family anywhere else.

A row says where each component of a block is found: the name of a submodule of the block means its output (the first of
a tuple), `in NAME` its first input, `.` the block itself. Rows are chosen by `config.model_type`, never by guessing
from names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    """Where the components of one kind of transformer are found, and how its blocks are put together."""

    model_types: tuple[str, ...]
    """Values of `config.model_type` that this row serves."""
    norm: str
    """`pre`: the norm before attention and MLP, the stream is a sum; `post`: the norm after each sum."""
    causal: bool
    """Whether a position sees only earlier ones."""
    blocks: str
    """Path of the list of blocks in the body."""
    components: Mapping[str, str]
    """Component of a block -> place in the block."""
    others: Mapping[str, str]
    """Component outside the blocks -> place in the body; `logits` is the output of the whole model and needs no
    place.
    """
    attention: str
    """The module that mixes positions: called with the block's hidden states first; its first output goes to the output
    matrix or is the result.
    """
    attention_matrix: str
    """The output matrix of attention; its input is the heads side by side."""
    mlp_matrix: str
    """The matrix that reads the neurons."""
    neurons: Callable[[Any, Tensor], Tensor]
    """(block, input of the MLP) -> neurons after the nonlinearity."""
    mlp_inputs: Mapping[str, str]
    """Role (`in`, or `gate` and `up`) -> the matrix that the neurons read the stream by."""
    attention_norm: str | None = None
    """Post-norm families: the norm after the sum of stream and attention."""
    mlp_norm: str | None = None
    """Post-norm families: the norm after the sum of stream and MLP."""
    head: str | None = None
    """Path of the unembedding in the whole model."""
    heads: Callable[[Any], int] = field(default=lambda config: config.num_attention_heads)
    """Number of query heads, from the configuration."""
    parallel: bool = False
    """Whether attention and MLP both read the stream before the block, so that there is none between them."""
    applies: Callable[[Any], bool] = field(default=lambda _config: True)
    """Which configurations of the model type this row is for."""


def _gpt2_neurons(block: Any, x: Tensor) -> Tensor:
    return block.mlp.act(block.mlp.c_fc(x))


def _gated_neurons(block: Any, x: Tensor) -> Tensor:
    return block.mlp.act_fn(block.mlp.gate_proj(x)) * block.mlp.up_proj(x)


def _bert_neurons(block: Any, x: Tensor) -> Tensor:
    return block.intermediate(x)


def _neox_neurons(block: Any, x: Tensor) -> Tensor:
    return block.mlp.act(block.mlp.dense_h_to_4h(x))


def _neox(*, parallel: bool) -> Family:
    """GPT-NeoX puts attention and MLP side by side (Pythia) or one behind the other, as its configuration says."""
    middle = {} if parallel else {"resid_mid": "in post_attention_layernorm"}
    return Family(
        model_types=("gpt_neox",),
        norm="pre",
        causal=True,
        blocks="layers",
        components={
            "resid_pre": "in .",
            "ln1": "input_layernorm",
            "attn_z": "in attention.dense",
            "attn_out": "attention",
            **middle,
            "ln2": "post_attention_layernorm",
            "mlp_act": "in mlp.dense_4h_to_h",
            "mlp_out": "mlp",
            "resid_post": ".",
        },
        others={"embed": "embed_in", "final_norm": "final_layer_norm"},
        attention="attention",
        attention_matrix="attention.dense",
        mlp_matrix="mlp.dense_4h_to_h",
        neurons=_neox_neurons,
        mlp_inputs={"in": "mlp.dense_h_to_4h"},
        head="lm_head",
        parallel=parallel,
        applies=lambda config: bool(config.use_parallel_residual) is parallel,
    )


FAMILIES: tuple[Family, ...] = (
    Family(
        model_types=("gpt2",),
        norm="pre",
        causal=True,
        blocks="h",
        components={
            "resid_pre": "in .",
            "ln1": "ln_1",
            "attn_z": "in attn.c_proj",
            "attn_out": "attn",
            "resid_mid": "in ln_2",
            "ln2": "ln_2",
            "mlp_act": "in mlp.c_proj",
            "mlp_out": "mlp",
            "resid_post": ".",
        },
        others={"embed": "wte", "final_norm": "ln_f"},
        attention="attn",
        attention_matrix="attn.c_proj",
        mlp_matrix="mlp.c_proj",
        neurons=_gpt2_neurons,
        mlp_inputs={"in": "mlp.c_fc"},
        head="lm_head",
    ),
    Family(
        model_types=("llama",),
        norm="pre",
        causal=True,
        blocks="layers",
        components={
            "resid_pre": "in .",
            "ln1": "input_layernorm",
            "attn_z": "in self_attn.o_proj",
            "attn_out": "self_attn",
            "resid_mid": "in post_attention_layernorm",
            "ln2": "post_attention_layernorm",
            "mlp_act": "in mlp.down_proj",
            "mlp_out": "mlp",
            "resid_post": ".",
        },
        others={"embed": "embed_tokens", "final_norm": "norm"},
        attention="self_attn",
        attention_matrix="self_attn.o_proj",
        mlp_matrix="mlp.down_proj",
        neurons=_gated_neurons,
        mlp_inputs={"gate": "mlp.gate_proj", "up": "mlp.up_proj"},
        head="lm_head",
    ),
    Family(
        model_types=("bert",),
        norm="post",
        causal=False,
        blocks="encoder.layer",
        components={
            "resid_pre": "in .",
            "attn_z": "in attention.output.dense",
            "attn_out": "attention.output.dense",
            "resid_mid": "attention",
            "mlp_act": "intermediate",
            "mlp_out": "output.dense",
            "resid_post": ".",
        },
        others={"embed": "embeddings.word_embeddings"},
        attention="attention.self",
        attention_matrix="attention.output.dense",
        mlp_matrix="output.dense",
        neurons=_bert_neurons,
        mlp_inputs={"in": "intermediate.dense"},
        attention_norm="attention.output.LayerNorm",
        mlp_norm="output.LayerNorm",
    ),
    _neox(parallel=True),
    _neox(parallel=False),
)


def family_of(module: nn.Module) -> Family | None:
    """The row for a transformers model, or None for any other module."""
    config = getattr(module, "config", None)
    kind = getattr(config, "model_type", None)
    return next((family for family in FAMILIES if kind in family.model_types and family.applies(config)), None)
