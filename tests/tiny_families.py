"""Tiny random configurations of every family that has a row, beside the three of `tiny` that most tests run on.

Chosen so that nothing holds by accident: fewer key heads than query heads, heads that together are wider than the
stream, a projected embedding, norms and biases that are not trivial, a sliding window shorter than the sequences.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

STREAM: Mapping[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
GROUPED: Mapping[str, Any] = {
    **STREAM,
    "intermediate_size": 48,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
}
WIDE_HEADS: Mapping[str, Any] = {**GROUPED, "head_dim": 16}
GEMMA: Mapping[str, Any] = {**WIDE_HEADS, "query_pre_attn_scalar": 16, "sliding_window": 6, "pad_token_id": 0}
EXPERTS: Mapping[str, Any] = {**WIDE_HEADS, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
OPT: Mapping[str, Any] = {
    **STREAM,
    "ffn_dim": 48,
    "dropout": 0.1,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "tie_word_embeddings": False,
}

BUILT: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "mistral": ("Mistral", {**WIDE_HEADS, "sliding_window": 6}),
    "qwen2": ("Qwen2", GROUPED),
    "qwen3": ("Qwen3", WIDE_HEADS),
    "gemma2": ("Gemma2", {**GEMMA, "final_logit_softcapping": 0.5}),
    "gemma3": ("Gemma3", {**GEMMA, "layer_types": ["sliding_attention", "full_attention"]}),
    "neox": ("GPTNeoX", {**STREAM, "intermediate_size": 48, "use_parallel_residual": True}),
    "neox-sequential": ("GPTNeoX", {**STREAM, "intermediate_size": 48, "use_parallel_residual": False}),
    "opt": ("OPT", {**OPT, "word_embed_proj_dim": 20}),
    "opt-no-last-norm": ("OPT", {**OPT, "_remove_final_layer_norm": True}),
    "opt-post-norm": ("OPT", {**OPT, "word_embed_proj_dim": 20, "do_layer_norm_before": False}),
    "distilbert": ("DistilBert", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}),
    "qwen3-experts": ("Qwen3Moe", {**EXPERTS, "mlp_only_layers": [1]}),
    "mixtral": ("Mixtral", {**WIDE_HEADS, "num_local_experts": 4, "num_experts_per_tok": 2}),
}
"""Family -> prefix of its classes, and its configuration beyond vocabulary and positions."""


def build(family: str, *, vocabulary: int, positions: int) -> nn.Module:
    """The module with its causal head; DistilBERT without one."""
    import transformers

    prefix, options = BUILT[family]
    config = getattr(transformers, f"{prefix}TextConfig" if prefix == "Gemma3" else f"{prefix}Config")(
        vocab_size=vocabulary, max_position_embeddings=positions, eos_token_id=None, **options
    )
    name = "DistilBertModel" if prefix == "DistilBert" else f"{prefix}ForCausalLM"
    return getattr(transformers, name)(config)
