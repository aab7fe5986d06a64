"""What is known about the forward pass that is running: which tokens are real, where they stand in their sequence,
where the prompt ended.

An edit acts on absolute positions, so that a run with cached keys and values (one new token a call) and a run without
agree. A hook on the body reads masks and cache length off the call itself, which serves this library's verbs and a
plain `module(...)` or `module.generate(...)` alike.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

_prompt_lengths: ContextVar[Tensor | None] = ContextVar("prompt_lengths", default=None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pass:
    """One forward call: a tensor of the batch's current tokens, and where they stand."""

    real: Bool[Tensor, "batch pos"]
    """False at padding."""
    position: Int[Tensor, "batch pos"]
    """0-based index among the real tokens of the sequence, cached ones included."""
    prompt: Int[Tensor, " batch"]
    """Number of real tokens of the prompt."""

    def generated(self) -> Int[Tensor, "batch pos"]:
        """Index among the generated tokens, negative inside the prompt."""
        return self.position - self.prompt[:, None]


@contextmanager
def prompt_of(lengths: Int[Tensor, " batch"]) -> Generator[None, None, None]:
    """Within it, every forward pass belongs to a generation whose prompts have these lengths."""
    token = _prompt_lengths.set(lengths)
    try:
        yield
    finally:
        _prompt_lengths.reset(token)


def pass_of(args: tuple[Any, ...], kwargs: dict[str, Any], earlier: Pass | None) -> Pass:
    """What a call of the body is about.

    Args:
        args: Positional arguments of the call; the first is the ids.
        kwargs: Keyword arguments.
        earlier: The pass before it, whose prompt a cached call continues.
    """
    ids = args[0] if args else kwargs.get("input_ids")
    current = ids if ids is not None else kwargs["inputs_embeds"]
    batch, length = current.shape[:2]
    cache = kwargs.get("past_key_values")
    cached = cache.get_seq_length() if cache is not None else 0
    mask = kwargs.get("attention_mask")
    if mask is None or mask.ndim != 2:
        real_all = torch.ones(batch, cached + length, dtype=torch.bool, device=current.device)
    else:
        real_all = mask.bool()
    position = ((real_all.long().cumsum(1) - 1).clamp_min(0))[:, -length:]
    prompt = _prompt_lengths.get()
    if prompt is None or len(prompt) != batch:
        prompt = earlier.prompt if cached and earlier is not None and len(earlier.prompt) == batch else real_all.sum(1)
    return Pass(real=real_all[:, -length:], position=position, prompt=prompt.to(position.device))
