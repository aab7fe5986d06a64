"""Rows of whole texts: the activation at one token of each, or the mean over its tokens, at several sites at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from unweave.errors import InputError
from unweave.models.model import Model

BATCH = 32


def text_rows(
    model: Model, texts: Sequence[str], sites: Sequence[str], *, position: int | str = -1, batch: int = BATCH
) -> dict[str, Float[Tensor, "n d"]]:
    """One row a text and site, in float32.

    Args:
        model: With a tokenizer.
        texts: The texts.
        sites: Where.
        position: Which token, negative ones counted from the end of the text, special tokens counted; or `mean` over
            all real tokens.
        batch: Texts run at once, similar lengths together.

    Raises:
        InputError: No tokenizer, a text that is shorter than the position asks for, or another position.

    Example:
        >>> import unweave as uw
        >>> rows = text_rows(uw.load_model("zoo:docs"), ["One text.", "Another."], ["blocks.0.resid_post"])
        >>> rows["blocks.0.resid_post"].shape[0]
        2
    """
    if isinstance(position, str) and position != "mean":
        raise InputError(f"position is {position!r}: a whole number or 'mean' is needed")
    found: dict[str, list[Tensor]] = {site: [] for site in sites}
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    for first in range(0, len(order), batch):
        part = order[first : first + batch]
        tokens = model.tokenize([texts[number] for number in part])
        captured = model.capture(tokens, list(sites))
        weights = _weights(tokens.mask, position, [texts[number] for number in part])
        for site in sites:
            values = captured[site].flatten(2).float()
            found[site].append(torch.einsum("bp,bpd->bd", weights, values))
    back = torch.argsort(torch.tensor(order))
    return {site: torch.cat(parts)[back] for site, parts in found.items()}


def _weights(mask: Tensor, position: int | str, texts: Sequence[str]) -> Float[Tensor, "batch pos"]:
    real = mask.float()
    if isinstance(position, str):
        return real / real.sum(1, keepdim=True)
    lengths = mask.sum(1)
    wanted = position + lengths if position < 0 else torch.full_like(lengths, position)
    outside = (wanted < 0) | (wanted >= lengths)
    if bool(outside.any()):
        row = int(torch.nonzero(outside)[0])
        raise InputError(f"{texts[row][:40]!r} has {int(lengths[row])} tokens: there is no position {position} in it")
    return ((mask.long().cumsum(1) - 1 == wanted[:, None]) & mask).float()
