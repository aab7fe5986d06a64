"""A tiny language model with a planted long-horizon behaviour: a tag at the start sets a style for the whole text, the
model carries it on, and a decoy that goes with the style is read by nothing.

One head attends to all earlier tokens alike and writes the mean of their style into a memory coordinate, which the
unembedding reads. Everything is turned by a random rotation, which a norm without weights
does not notice, so that no variable is a neuron.

| code | paper | shape | meaning, unit | where |
|---|---|---|---|---|
| `style`, `memory`, `topic` | e_s, e_m, e_k | (d,) | where tokens carry style, what the head writes, the decoy | our own |
| `rotation` | Q | (d, d) | h = e Q | our own |

Facts that follow: what is added to the style before the head stays for later tokens, diluted as one over their number;
what is added to the memory behind it lasts for one token; the decoy does nothing.
"""  # noqa: E501 - a table does not wrap

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unweave.evals.causing.behaviours import Behaviour, continuation
from unweave.models.loading import load_model
from unweave.models.model import Model
from unweave.models.tokens import Tokens
from unweave.tensors.linalg import random_orthogonal

WIDTH, WORDS = 24, 12
CONSTANT, STYLE, MEMORY, TOPIC = range(4)
TAG_FOR, TAG_AGAINST, NEUTRAL = 0, 1, 2
"""Tokens: the two tags, then neutral words, then words of the style, then words of the other."""
STYLE_START = NEUTRAL + WORDS
"""First word of the style; those of the other follow."""
TAG = 4.0
GAIN = 3.0
VOCABULARY = 2 + 3 * WORDS


@dataclass(frozen=True, kw_only=True, eq=False)
class StyleWorld:
    """The model, and the directions of its variables in the stream."""

    model: Model
    style: Tensor
    """(d,) unit vector: what tokens carry before the head."""
    memory: Tensor
    """(d,) unit vector: what the head writes and the unembedding reads."""
    topic: Tensor
    """(d,) unit vector: the decoy."""

    def prompts(self, count: int, *, seed: int, tag: int | None = None, length: int = 4) -> Tensor:
        """(count, length) ids: a tag and neutral words; without a tag neutral words only.

        Args:
            count: Prompts.
            seed: Of the words.
            tag: `TAG_FOR`, `TAG_AGAINST` or none.
            length: Tokens of each.
        """
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(NEUTRAL, NEUTRAL + WORDS, (count, length), generator=generator)
        if tag is not None:
            ids[:, 0] = tag
        return ids

    def continued(
        self, prompts: Tensor, *, seed: int, length: int = 8, wrong_start: int = 0
    ) -> tuple[Tokens, list[int], Behaviour]:
        """Every prompt with a continuation in the style and one in the other: tokens, lengths of the prompts, and the
        behaviour that compares the two over the whole continuation.

        Args:
            prompts: (count, length) ids.
            seed: Of the words.
            length: Tokens of a continuation.
            wrong_start: How many words at the start of each continuation are of the other style.
        """
        generator = torch.Generator().manual_seed(seed + 1)
        count = len(prompts)
        rows = []
        for shows in (True, False):
            words = torch.randint(0, WORDS, (count, length), generator=generator)
            own = torch.full((length,), NEUTRAL + WORDS * (1 if shows else 2))
            own[:wrong_start] = NEUTRAL + WORDS * (2 if shows else 1)
            rows.append(torch.cat([prompts, words + own], 1))
        ids = torch.cat(rows)
        tokens = Tokens(ids=ids, mask=torch.ones_like(ids, dtype=torch.bool))
        lengths = [prompts.shape[1]] * (2 * count)
        shows_it = [True] * count + [False] * count
        items = np.tile(np.arange(count), 2).tolist()
        return tokens, lengths, continuation(tokens, lengths, shows=shows_it, items=items)

    def words(self, *, of_the_style: bool) -> list[int]:
        """The ids of the words of the style, or of the other.

        Args:
            of_the_style: Which.
        """
        first = NEUTRAL + WORDS * (1 if of_the_style else 2)
        return list(range(first, first + WORDS))


def style_world(*, seed: int, gain: float = GAIN, decoys: bool = False) -> StyleWorld:
    """The language model with a planted style.

    Args:
        seed: Of rotation and words.
        gain: How strongly the memory moves the logits: the effect size; 0 is a model without the behaviour.
        decoys: With a second layer, a second head a layer and MLPs, which all carry something that goes with the style
            to where nothing reads it: head 0 of block 0 stays the only component that matters.

    Example:
        >>> world = style_world(seed=0)
        >>> logits = world.model(world.prompts(2, seed=0, tag=TAG_FOR))[:, -1]
        >>> own, other = (logits[:, world.words(of_the_style=kind)].mean() for kind in (True, False))
        >>> bool(own > other + 1)
        True
    """
    generator = torch.Generator().manual_seed(seed)
    rotation = random_orthogonal(WIDTH, seed=seed).float()
    embedding = torch.zeros(VOCABULARY, WIDTH)
    embedding[:, CONSTANT] = 4.0
    embedding[:, TOPIC + 1 :] = 0.3 * torch.randn(VOCABULARY, WIDTH - TOPIC - 1, generator=generator)
    kinds = torch.tensor([TAG, -TAG] + [0.0] * WORDS + [1.0] * WORDS + [-1.0] * WORDS)
    embedding[:, STYLE] = kinds
    embedding[:, TOPIC] = kinds * torch.where(torch.rand(VOCABULARY, generator=generator) < 0.9, 1.0, -1.0)
    unembedding = torch.zeros(VOCABULARY, WIDTH)
    unembedding[:, MEMORY] = gain * kinds.clamp(-1, 1)
    unembedding[:2, MEMORY] = 0.0
    unembedding[:, TOPIC + 1 :] = 0.3 * torch.randn(VOCABULARY, WIDTH - TOPIC - 1, generator=generator)
    module = _empty_module(2 if decoys else 1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        for norm in (module.model.norm, *(part for one in module.model.layers for part in _norms(one))):
            norm.weight.fill_(1.0)
        module.model.embed_tokens.weight.copy_(embedding @ rotation)
        module.lm_head.weight.copy_(unembedding @ rotation)
        attention = module.model.layers[0].self_attn
        attention.v_proj.weight[0] = rotation[STYLE]
        attention.o_proj.weight[:, 0] = 4.0 * rotation[MEMORY]
        if decoys:
            _add_decoys(module, rotation)
    return StyleWorld(
        model=load_model(module.eval(), name="planted style"),
        style=rotation[STYLE],
        memory=rotation[MEMORY],
        topic=rotation[TOPIC],
    )


def _norms(block: Any) -> tuple[Any, Any]:
    return block.input_layernorm, block.post_attention_layernorm


def _add_decoys(module: Any, rotation: Tensor) -> None:
    """Head 1 of each layer and each MLP carry topic, style or memory to the coordinate of the topic."""
    for layer, read in zip(module.model.layers, (TOPIC, MEMORY), strict=True):
        layer.self_attn.v_proj.weight[WIDTH] = rotation[read]
        layer.self_attn.o_proj.weight[:, WIDTH] = rotation[TOPIC]
        layer.mlp.gate_proj.weight[0] = rotation[CONSTANT]  # always open: every token has the constant
        layer.mlp.up_proj.weight[0] = rotation[STYLE if read == TOPIC else MEMORY]
        layer.mlp.down_proj.weight[:, 0] = 0.1 * rotation[TOPIC]


def _empty_module(copies: int) -> Any:
    """So many layers of so many heads."""
    import transformers

    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            intermediate_size=4,
            num_hidden_layers=copies,
            num_attention_heads=copies,
            num_key_value_heads=copies,
            head_dim=WIDTH,
            max_position_embeddings=64,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
