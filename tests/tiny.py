"""Tiny random models of every family, with noise on all weights so that no bias or norm is trivial, and a tokenizer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import tiny_families
import unweave as uw

FAMILIES = ("gpt2", "llama", "bert")
"""Those that most tests run on: every other family differs from one of them in a few places."""
ALL_FAMILIES = (*FAMILIES, *tiny_families.BUILT)
VOCABULARY = 97


def module_of(family: str, *, seed: int = 0, vocabulary: int = VOCABULARY, positions: int = 64) -> nn.Module:
    """A transformers model of 20 to 30 thousand random parameters, in evaluation mode."""
    import transformers

    builders = {
        "gpt2": lambda: transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                vocab_size=vocabulary,
                n_positions=positions,
                n_embd=32,
                n_layer=2,
                n_head=4,
                bos_token_id=0,
                eos_token_id=0,
            )
        ),
        "llama": lambda: transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                vocab_size=vocabulary,
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                head_dim=16,
                max_position_embeddings=positions,
                tie_word_embeddings=False,
            )
        ),
        "bert": lambda: transformers.BertModel(
            transformers.BertConfig(
                vocab_size=vocabulary,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=positions,
            )
        ),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        build = builders.get(family) or (
            lambda: tiny_families.build(family, vocabulary=vocabulary, positions=positions)
        )
        module = build()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return module.eval()


def model_of(family: str, *, seed: int = 0, tokenizer: Any = None, vocabulary: int = VOCABULARY) -> uw.Model:
    """The tiny module as a Model."""
    module = module_of(family, seed=seed, vocabulary=vocabulary)
    return uw.load_model(module, tokenizer=tokenizer, name=f"tiny-{family}")


def ids_of(batch: int = 3, length: int = 10, *, seed: int = 1) -> torch.Tensor:
    """Random token ids."""
    return torch.randint(1, VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(seed))


def byte_tokenizer(*, specials: bool = True) -> Any:
    """A byte-level tokenizer of 259 tokens: `<pad> <s> </s>` and the 256 bytes; one token a byte, with offsets."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<pad>", "<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if specials:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
    )


def text_model(family: str = "llama", *, seed: int = 0, specials: bool = True) -> uw.Model:
    """A tiny model that reads bytes."""
    return model_of(family, seed=seed, tokenizer=byte_tokenizer(specials=specials), vocabulary=259)
