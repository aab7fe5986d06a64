"""Hand-written hooks on the raw modules of the families in `tiny_families`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from hand_hooks_kind import Raw

LLAMA_PLACES: Mapping[str, str] = {
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
}
LLAMA = Raw(
    blocks="model.layers.{L}",
    places=LLAMA_PLACES,
    attention_matrix="self_attn.o_proj",
    down_matrix="mlp.down_proj",
    second_half=lambda block, mid: mid + block.mlp(block.post_attention_layernorm(mid)),
)
