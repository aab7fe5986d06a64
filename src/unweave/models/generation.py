"""Generation through transformers' own loop, with prompts padded on the left and prompt lengths known to the edits.

The loop is not ours: stopping, sampling and caching stay what the model's makers wrote. With `use_cache=False` every
step runs the whole sequence again, the slow twin of the cached run; edits act on absolute positions, so both give the
same text.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, cast

import torch

from unweave.errors import InputError
from unweave.models.body import Body
from unweave.models.capture import arguments, check_ids
from unweave.models.quiet import quiet_transformers
from unweave.models.running import prompt_of
from unweave.models.tokens import Tokens, as_tokens, padded_left


def generate(
    model: Body,
    tokens: Any,
    max_new_tokens: int,
    *,
    sample: bool = False,
    temperature: float = 1.0,
    seed: int = 0,
    use_cache: bool = True,
) -> Any:
    """Prompt and continuation: `Tokens` for `Tokens`, a tensor of ids (batch, pos) for a tensor of ids.

    Args:
        model: A causal language model.
        tokens: Prompts; padded ones are moved so that the padding is on the left.
        max_new_tokens: Most tokens to add; the model's end token stops a sequence earlier, what follows it is padding.
        sample: Whether to draw from the distribution; else the likeliest token is taken.
        temperature: Divides the logits when sampling.
        seed: Of the sampling.
        use_cache: Whether keys and values of earlier positions are kept, instead of running them again.

    Raises:
        InputError: The model has no next-token logits, or prompt and continuation are longer than its context.
    """
    if not model.predicts_next:
        raise InputError(
            f"{model.name or type(model.module).__name__} does not predict a next token: generation needs a causal"
            " language model with its head"
        )
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens is {max_new_tokens}: at least 1")
    if sample and not temperature > 0:
        raise InputError(f"temperature is {temperature}: above 0, or sample=False for the likeliest token")
    model.check_ready()
    batch = padded_left(as_tokens(tokens))
    check_ids(model, batch)
    longest = batch.ids.shape[1] + max_new_tokens
    if model.context is not None and longest > model.context:
        raise InputError(
            f"prompt and continuation have {longest} tokens but the model takes at most {model.context}: lower"
            " max_new_tokens"
        )
    inputs = arguments(model, batch)
    inputs.pop("position_ids", None)  # the loop makes its own from the mask
    inputs.setdefault("attention_mask", batch.mask.long().to(model.device))
    sampling = (
        {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if sample else {"do_sample": False}
    )
    fill = _padding_id(model)
    with (
        torch.no_grad(),
        prompt_of(batch.lengths()),
        quiet_transformers(),
        torch.random.fork_rng() if sample else nullcontext(),
    ):
        if sample:
            torch.manual_seed(seed)
        ids = (
            cast(Any, model.module)
            .generate(**inputs, max_new_tokens=max_new_tokens, use_cache=use_cache, pad_token_id=fill, **sampling)
            .cpu()
        )
    return _with_mask(model, ids, batch) if isinstance(tokens, Tokens) else ids


def _padding_id(model: Body) -> int:
    known = (getattr(model.tokenizer, "pad_token_id", None), getattr(model.module.config, "pad_token_id", None))
    return next((value for value in known if value is not None), 0)


def _with_mask(model: Body, ids: torch.Tensor, batch: Tokens) -> Tokens:
    added = ids[:, batch.ids.shape[1] :]
    ends = cast(Any, model.module).generation_config.eos_token_id
    real = torch.ones_like(added, dtype=torch.bool)
    if ends is not None:
        ended = torch.isin(added, torch.as_tensor(ends))
        real = (ended.long().cumsum(1) - ended.long()) == 0
    return Tokens(ids=ids, mask=torch.cat([batch.mask, real], dim=1))
