"""The model families: one row each, and nothing about a family anywhere else.

A row says where each component of a block is found: the name of a submodule of the block means its output (the first of
a tuple), `in NAME` its first input, `.` the block itself. Rows are chosen by `config.model_type`, never by guessing
from names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
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
    attention_out_norm: str | None = None
    """A norm between the output matrix of attention and the sum."""
    mlp_out_norm: str | None = None
    """A norm between the down matrix and the sum."""
    body: str | None = None
    """Path, in the model without its head, of what runs for every forward pass; None is that model itself."""
    head: str | None = None
    """Path of the unembedding in the whole model."""
    before_head: str | None = None
    """Path in the body of a matrix between the last site and the unembedding; it may be absent."""
    cap: Callable[[Any], float | None] = field(default=lambda _config: None)
    """Configuration -> c where the logits are bent to c tanh(logits / c)."""
    heads: Callable[[Any], int] = field(default=lambda config: config.num_attention_heads)
    """Number of query heads, from the configuration."""
    parallel: bool = False
    """Whether attention and MLP both read the stream before the block, so that there is none between them."""
    flattened: frozenset[str] = frozenset()
    """Components whose place holds all tokens of a batch on one axis."""
    is_routed: Callable[[Any], bool] = field(default=lambda _block: False)
    """Whether the MLP of a block is a set of experts, each token going to a few: it has no neurons that all share."""
    applies: Callable[[Any], bool] = field(default=lambda _config: True)
    """Which configurations of the model type this row is for."""


def plain_neurons(matrix: str, act: str) -> Callable[[Any, Tensor], Tensor]:
    """Neurons of one matrix and a nonlinearity, by their paths in the block."""
    return lambda block, x: block.get_submodule(act)(block.get_submodule(matrix)(x))


def gated_neurons(gate: str, up: str, act: str) -> Callable[[Any, Tensor], Tensor]:
    """Neurons that are act(gate) times up, by the paths in the block."""
    return lambda block, x: block.get_submodule(act)(block.get_submodule(gate)(x)) * block.get_submodule(up)(x)


_GPT2 = Family(
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
    neurons=plain_neurons("mlp.c_fc", "mlp.act"),
    mlp_inputs={"in": "mlp.c_fc"},
    head="lm_head",
)

_LLAMA = Family(
    model_types=("llama", "mistral", "qwen2", "qwen3"),
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
    neurons=gated_neurons("mlp.gate_proj", "mlp.up_proj", "mlp.act_fn"),
    mlp_inputs={"gate": "mlp.gate_proj", "up": "mlp.up_proj"},
    head="lm_head",
)

_EXPERTS = replace(
    _LLAMA,  # some blocks may be dense, as its configuration says
    model_types=("qwen2_moe", "qwen3_moe", "mixtral"),
    is_routed=lambda block: hasattr(block.mlp, "experts"),
)

_GEMMA = replace(
    _LLAMA,
    model_types=("gemma2", "gemma3_text"),
    components={
        **_LLAMA.components,
        "attn_out": "post_attention_layernorm",
        "resid_mid": "in pre_feedforward_layernorm",
        "ln2": "pre_feedforward_layernorm",
        "mlp_out": "post_feedforward_layernorm",
    },
    attention_out_norm="post_attention_layernorm",
    mlp_out_norm="post_feedforward_layernorm",
    cap=lambda config: config.final_logit_softcapping,
)

_GEMMA_WITH_IMAGES = replace(
    _GEMMA,
    model_types=("gemma3",),
    blocks="language_model.layers",
    others={"embed": "language_model.embed_tokens", "final_norm": "language_model.norm"},
    cap=lambda _config: None,  # its class does not read what the configuration of the text says
    heads=lambda config: config.text_config.num_attention_heads,
)

_BERT = Family(
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
    neurons=plain_neurons("intermediate.dense", "intermediate.intermediate_act_fn"),
    mlp_inputs={"in": "intermediate.dense"},
    attention_norm="attention.output.LayerNorm",
    mlp_norm="output.LayerNorm",
)

_DISTILBERT = Family(
    model_types=("distilbert",),
    norm="post",
    causal=False,
    blocks="transformer.layer",
    components={
        "resid_pre": "in .",
        "attn_z": "in attention.out_lin",
        "attn_out": "attention",
        "resid_mid": "sa_layer_norm",
        "mlp_act": "in ffn.lin2",
        "mlp_out": "ffn",
        "resid_post": ".",
    },
    others={"embed": "embeddings.word_embeddings"},
    attention="attention",
    attention_matrix="attention.out_lin",
    mlp_matrix="ffn.lin2",
    neurons=plain_neurons("ffn.lin1", "ffn.activation"),
    mlp_inputs={"in": "ffn.lin1"},
    attention_norm="sa_layer_norm",
    mlp_norm="output_layer_norm",
)


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
        neurons=plain_neurons("mlp.dense_h_to_4h", "mlp.act"),
        mlp_inputs={"in": "mlp.dense_h_to_4h"},
        head="lm_head",
        parallel=parallel,
        applies=lambda config: bool(config.use_parallel_residual) is parallel,
    )


def _opt(*, before: bool, last_norm: bool) -> Family:
    """OPT has the norms before each part and a last one, except old checkpoints (no last norm) and the 350m model
    (norms after each sum). Its MLP runs on all tokens of a batch as one list.
    """
    norms = {"ln1": "self_attn_layer_norm", "ln2": "final_layer_norm"} if before else {}
    return Family(
        model_types=("opt",),
        norm="pre" if before else "post",
        causal=True,
        body="decoder",
        blocks="layers",
        components={
            "resid_pre": "in .",
            "attn_z": "in self_attn.out_proj",
            "attn_out": "self_attn",
            "resid_mid": "in final_layer_norm" if before else "self_attn_layer_norm",
            **norms,
            "mlp_act": "in fc2",
            "mlp_out": "fc2",
            "resid_post": ".",
        },
        others={"embed": "embed_tokens", **({"final_norm": "final_layer_norm"} if last_norm else {})},
        attention="self_attn",
        attention_matrix="self_attn.out_proj",
        mlp_matrix="fc2",
        neurons=plain_neurons("fc1", "activation_fn"),
        mlp_inputs={"in": "fc1"},
        attention_norm=None if before else "self_attn_layer_norm",
        mlp_norm=None if before else "final_layer_norm",
        head="lm_head",
        before_head="project_out",
        flattened=frozenset({"mlp_act", "mlp_out", *(("resid_mid", "ln2") if before else ())}),
        applies=lambda config: (
            (
                bool(config.do_layer_norm_before),
                bool(config.do_layer_norm_before and not config._remove_final_layer_norm),
            )
            == (before, last_norm)
        ),
    )


FAMILIES: tuple[Family, ...] = (
    _GPT2,
    _LLAMA,
    _EXPERTS,
    _GEMMA,
    _GEMMA_WITH_IMAGES,
    _BERT,
    _DISTILBERT,
    _neox(parallel=True),
    _neox(parallel=False),
    _opt(before=True, last_norm=True),
    _opt(before=True, last_norm=False),
    _opt(before=False, last_norm=False),
)


def family_of(module: nn.Module) -> Family | None:
    """The row for a transformers model, or None for any other module."""
    config = getattr(module, "config", None)
    kind = getattr(config, "model_type", None)
    return next((family for family in FAMILIES if kind in family.model_types and family.applies(config)), None)
