"""`Tokens`: a batch of token ids with what is needed to know which of them are real, and how text becomes one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from unweave.errors import DataError, InputError
from unweave.tensors.arrays import as_tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Tokens:
    """A padded batch of sequences.

    Example:
        >>> tokens = Tokens(ids=torch.tensor([[5, 6, 7], [8, 0, 0]]), mask=torch.tensor([[1, 1, 1], [1, 0, 0]]).bool())
        >>> tokens, tokens.positions().tolist()
        (Tokens(2 sequences, 4 tokens, longest 3), [[0, 1, 2], [0, 0, 0]])
    """

    ids: Int[Tensor, "batch pos"]
    mask: Bool[Tensor, "batch pos"]
    """True at real tokens, special ones included; False at padding."""
    special: Bool[Tensor, "batch pos"] | None = None
    """True at tokens that the tokenizer added."""
    offsets: Int[Tensor, "batch pos 2"] | None = None
    """First and one-past-last character of each token in its text; (0, 0) for special tokens and padding."""
    texts: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Takes 0 and 1 as mask too, and raises if the mask does not fit or hides a whole sequence."""
        if self.ids.ndim != 2 or self.mask.shape != self.ids.shape:
            raise InputError(
                f"ids are {tuple(self.ids.shape)} but mask is {tuple(self.mask.shape)}: both are (batch, pos)"
            )
        object.__setattr__(self, "mask", self.mask.bool())
        if 0 in self.ids.shape or not bool(self.mask.any(1).all()):
            raise DataError(
                f"token ids have shape {tuple(self.ids.shape)}, of which real {self.lengths().tolist()[:8]}: at least"
                " one sequence is needed, and in each at least one real token"
            )

    @property
    def is_padded(self) -> bool:
        """Whether any position is padding."""
        return not bool(self.mask.all())

    def positions(self) -> Int[Tensor, "batch pos"]:
        """Index of each real token in its sequence, 0 at padding: what the model's position embeddings must see."""
        return (self.mask.long().cumsum(1) - 1).clamp_min(0) * self.mask

    def lengths(self) -> Int[Tensor, " batch"]:
        """Number of real tokens of each sequence."""
        return self.mask.sum(1)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        """Sequences and tokens."""
        return f"Tokens({len(self.ids)} sequences, {int(self.mask.sum())} tokens, longest {self.ids.shape[1]})"


def as_tokens(tokens: Any) -> Tokens:
    """`Tokens` as they are; a bare tensor or list of ids counts as all real.

    Raises:
        InputError: Not (batch, pos) integer ids, or an empty batch.
    """
    if isinstance(tokens, Tokens):
        return tokens
    if isinstance(tokens, str) or (isinstance(tokens, list | tuple) and tokens and isinstance(tokens[0], str)):
        raise InputError("this verb takes token ids, got text: model.tokenize(texts) makes Tokens of it")
    ids = as_tensor(tokens, name="token ids")
    if ids.ndim != 2 or ids.is_floating_point() or ids.dtype is torch.bool:
        raise InputError(
            f"token ids have shape {tuple(ids.shape)} and dtype {ids.dtype}: integers (batch, pos) are needed"
        )
    return Tokens(ids=ids.long(), mask=torch.ones_like(ids, dtype=torch.bool))


def pad(
    sequences: Sequence[Sequence[int]], *, fill: int = 0, side: str = "right"
) -> tuple[Int[Tensor, "batch pos"], Bool[Tensor, "batch pos"]]:
    """Ids and mask of sequences of different length."""
    longest = max(map(len, sequences))
    ids = torch.full((len(sequences), longest), fill, dtype=torch.long)
    mask = torch.zeros(len(sequences), longest, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        place = slice(0, len(sequence)) if side == "right" else slice(longest - len(sequence), longest)
        ids[row, place] = torch.tensor(sequence, dtype=torch.long)
        mask[row, place] = True
    return ids, mask


def padded_left(tokens: Tokens) -> Tokens:
    """The same sequences with all padding on the left, as generation needs it."""
    if not tokens.is_padded:
        return tokens
    order = torch.argsort(tokens.mask.long(), dim=1, stable=True)
    moved = {name: getattr(tokens, name) for name in ("ids", "mask", "special", "offsets")}
    for name, value in moved.items():
        if value is not None:
            index = order if value.ndim == 2 else order.unsqueeze(-1).expand_as(value)
            moved[name] = value.gather(1, index)
    return replace(tokens, **moved)


def tokenize(tokenizer: Any, texts: Sequence[str] | str, *, side: str = "right") -> Tokens:
    """A padded batch of whole texts, one row each, with the tokenizer's own special tokens.

    Args:
        tokenizer: Of transformers.
        texts: One or more texts.
        side: Where padding goes, `right` or `left`.

    Raises:
        InputError: No tokenizer, no texts, or something else than text among them.
        DataError: A text without any token.
    """
    if tokenizer is None:
        raise InputError(
            "this model has no tokenizer: give one to load_model(..., tokenizer=...), or give token ids instead of text"
        )
    if side not in ("right", "left"):
        raise InputError(f"side is {side!r}: 'right' or 'left'")
    given = [texts] if isinstance(texts, str) else list(texts)
    if not given or not all(isinstance(text, str) for text in given):
        raise InputError("tokenize needs one text or a list of texts, at least one")
    return batch_of(tokenizer, given, encode_all(tokenizer, given, special_tokens=True), side=side)


def batch_of(tokenizer: Any, given: Sequence[str], encoded: Sequence[Encoded], *, side: str) -> Tokens:
    """A padded batch of texts that are encoded already.

    Raises:
        DataError: A text without any token.
    """
    empty = [number for number, row in enumerate(encoded) if not row.ids]
    if empty:
        raise DataError(f"text {empty[0]} has no tokens ({given[empty[0]][:20]!r}): drop empty texts first")
    ids, mask = pad([row.ids for row in encoded], fill=getattr(tokenizer, "pad_token_id", None) or 0, side=side)
    special, offsets = torch.zeros_like(mask), None
    special[mask] = torch.tensor([flag for row in encoded for flag in row.special], dtype=torch.bool)
    if all(row.offsets is not None for row in encoded):
        offsets = torch.zeros(*ids.shape, 2, dtype=torch.long)
        offsets[mask] = torch.tensor([pair for row in encoded for pair in row.offsets or ()], dtype=torch.long)
    return Tokens(ids=ids, mask=mask, special=special, offsets=offsets, texts=tuple(given))


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoded:
    """One text as tokens."""

    ids: list[int]
    special: list[bool]
    offsets: list[tuple[int, int]] | None
    """None where the tokenizer does not keep them."""


def encode_all(tokenizer: Any, texts: Sequence[str], *, special_tokens: bool) -> list[Encoded]:
    """Every text as ids, special-token flags and character offsets."""
    fast = bool(getattr(tokenizer, "is_fast", False))
    encoded = tokenizer(
        list(texts),
        add_special_tokens=special_tokens,
        return_special_tokens_mask=True,
        return_offsets_mapping=fast,
        return_attention_mask=False,
        verbose=False,
    )
    rows = []
    for number, ids in enumerate(encoded["input_ids"]):
        flags = encoded["special_tokens_mask"][number] if special_tokens else [0] * len(ids)
        offsets = [tuple(pair) for pair in encoded["offset_mapping"][number]] if fast else None
        rows.append(Encoded(ids=list(ids), special=[bool(flag) for flag in flags], offsets=offsets))
    return rows
