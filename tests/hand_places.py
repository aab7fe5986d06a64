"""Where each site's value really is in the raw transformers modules, one record a family.

Nothing here knows `unweave.models`, and most places are others than those where unweave looks. A place is `in PATH` or
`out PATH` of the raw module (`.` the module itself), `{L}` the number of the block, `A * B` a product of two places.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor


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


LLAMA = Raw(
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
)
EXPERT_PLACES: Mapping[str, str] = {
    **LLAMA.places,
    "blocks.L.ln2": "in model.layers.{L}.mlp",
    "blocks.L.mlp_out": "out model.layers.{L}.mlp",
}
GEMMA = replace(
    LLAMA,
    places={
        **LLAMA.places,
        "blocks.L.attn_out": "out model.layers.{L}.post_attention_layernorm",
        "blocks.L.resid_mid": "in model.layers.{L}.pre_feedforward_layernorm",
        "blocks.L.mlp_out": "out model.layers.{L}.post_feedforward_layernorm",
    },
    second_half=lambda block, mid: (
        mid + block.post_feedforward_layernorm(block.mlp(block.pre_feedforward_layernorm(mid)))
    ),
    added_norms=("post_attention_layernorm", "post_feedforward_layernorm"),
)
NEOX = Raw(
    blocks="gpt_neox.layers.{L}",
    places={
        "embed": "out gpt_neox.embed_in",
        "blocks.L.resid_pre": "in gpt_neox.layers.{L}.input_layernorm",
        "blocks.L.ln1": "in gpt_neox.layers.{L}.attention.query_key_value",
        "blocks.L.attn_z": "in gpt_neox.layers.{L}.attention.dense",
        "blocks.L.attn_out": "out gpt_neox.layers.{L}.post_attention_dropout",
        "blocks.L.ln2": "in gpt_neox.layers.{L}.mlp.dense_h_to_4h",
        "blocks.L.mlp_act": "out gpt_neox.layers.{L}.mlp.act",
        "blocks.L.mlp_out": "out gpt_neox.layers.{L}.mlp.dense_4h_to_h",
        "blocks.L.resid_post": "out gpt_neox.layers.{L}",
        "final_norm": "in lm_head",
        "logits": "out lm_head",
    },
    attention_matrix="attention.dense",
    down_matrix="mlp.dense_4h_to_h",
    second_half=lambda _block, mid: mid,
    is_parallel=True,
)
OPT = Raw(
    blocks="model.decoder.layers.{L}",
    places={
        "embed": "out model.decoder.embed_tokens",
        "blocks.L.resid_pre": "in model.decoder.layers.{L}.self_attn_layer_norm",
        "blocks.L.ln1": "in model.decoder.layers.{L}.self_attn.q_proj",
        "blocks.L.attn_z": "in model.decoder.layers.{L}.self_attn.out_proj",
        "blocks.L.attn_out": "out model.decoder.layers.{L}.self_attn.out_proj",
        "blocks.L.resid_mid": "in model.decoder.layers.{L}.final_layer_norm",
        "blocks.L.ln2": "in model.decoder.layers.{L}.fc1",
        "blocks.L.mlp_act": "out model.decoder.layers.{L}.activation_fn",
        "blocks.L.mlp_out": "out model.decoder.layers.{L}.fc2",
        "blocks.L.resid_post": "out model.decoder.layers.{L}",
        "final_norm": "out model.decoder.final_layer_norm",
        "logits": "out lm_head",
    },
    attention_matrix="self_attn.out_proj",
    down_matrix="fc2",
    second_half=lambda block, mid: mid + block.fc2(block.activation_fn(block.fc1(block.final_layer_norm(mid)))),
)


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
    "llama": LLAMA,
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
    **dict.fromkeys(("mistral", "qwen2", "qwen3"), LLAMA),
    "gemma2": replace(GEMMA, places={**GEMMA.places, "logits": "out ."}),
    "gemma3": GEMMA,
    "neox": NEOX,
    "neox-sequential": replace(
        NEOX,
        places={**NEOX.places, "blocks.L.resid_mid": "in gpt_neox.layers.{L}.post_attention_layernorm"},
        second_half=lambda block, mid: mid + block.mlp(block.post_attention_layernorm(mid)),
        is_parallel=False,
    ),
    "opt": OPT,
    "opt-no-last-norm": replace(OPT, places={k: v for k, v in OPT.places.items() if k != "final_norm"}),
    "opt-post-norm": replace(
        OPT,
        places={
            **{k: v for k, v in OPT.places.items() if k not in ("final_norm", "blocks.L.ln1", "blocks.L.ln2")},
            "blocks.L.resid_pre": "in model.decoder.layers.{L}.self_attn.q_proj",
            "blocks.L.resid_mid": "out model.decoder.layers.{L}.self_attn_layer_norm",
        },
        second_half=lambda block, mid: block.final_layer_norm(mid + block.fc2(block.activation_fn(block.fc1(mid)))),
        norms=("self_attn_layer_norm", "final_layer_norm"),
    ),
    "distilbert": Raw(
        blocks="transformer.layer.{L}",
        places={
            "embed": "out embeddings.word_embeddings",
            "blocks.L.resid_pre": "in transformer.layer.{L}.attention.q_lin",
            "blocks.L.attn_z": "in transformer.layer.{L}.attention.out_lin",
            "blocks.L.attn_out": "out transformer.layer.{L}.attention.out_lin",
            "blocks.L.resid_mid": "in transformer.layer.{L}.ffn",
            "blocks.L.mlp_act": "out transformer.layer.{L}.ffn.activation",
            "blocks.L.mlp_out": "out transformer.layer.{L}.ffn.dropout",
            "blocks.L.resid_post": "out transformer.layer.{L}.output_layer_norm",
        },
        attention_matrix="attention.out_lin",
        down_matrix="ffn.lin2",
        second_half=lambda block, mid: block.output_layer_norm(mid + block.ffn(mid)),
        norms=("sa_layer_norm", "output_layer_norm"),
    ),
    "qwen3-experts": replace(
        LLAMA,
        places={k: v for k, v in EXPERT_PLACES.items() if k != "blocks.L.mlp_act"}
        | {
            "blocks.1.mlp_act": "out model.layers.1.mlp.act_fn * out model.layers.1.mlp.up_proj",
            "blocks.1.mlp_out": "out model.layers.1.mlp.down_proj",
        },
        down_matrix=None,
    ),
    "mixtral": replace(
        LLAMA, places={k: v for k, v in EXPERT_PLACES.items() if k != "blocks.L.mlp_act"}, down_matrix=None
    ),
}
"""Family -> its raw module."""
