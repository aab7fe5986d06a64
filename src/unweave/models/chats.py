"""Conversations as token ids, by the template that the tokenizer carries: what a chat model was trained to read.

The template writes the special tokens itself, so the tokenizer must not add them again; that is the usual mistake.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from unweave.errors import InputError
from unweave.models.tokens import Tokens, batch_of, encode_all


def tokenize_chats(
    tokenizer: Any,
    chats: Any,
    *,
    answer_next: bool = True,
    side: str = "right",
) -> Tokens:
    """A padded batch of conversations, one row each; `texts` are the conversations as the template writes them, and
    `special` marks every special token in them.

    Args:
        tokenizer: Of transformers, with a chat template.
        chats: One conversation or several; a conversation is a list of `{"role": ..., "content": ...}`.
        answer_next: Whether the turn of the assistant is opened at the end, as generation needs it.
        side: Where padding goes, `right` or `left`.

    Raises:
        InputError: No tokenizer or one without a template, something else than conversations, or a conversation that
            the template refuses.
    """
    if tokenizer is None or not getattr(tokenizer, "chat_template", None):
        what = "this model has no tokenizer" if tokenizer is None else "its tokenizer has no chat template"
        raise InputError(f"{what}: give one to load_model(..., tokenizer=...), or write the text yourself")
    if side not in ("right", "left"):
        raise InputError(f"side is {side!r}: 'right' or 'left'")
    given = [chats] if _is_conversation(chats) else list(chats)
    if not given or not all(_is_conversation(chat) for chat in given):
        raise InputError('a conversation is a list of {"role": ..., "content": ...}: give one or a list of them')
    texts = [written_chat(tokenizer, chat, answer_next=answer_next) for chat in given]
    encoded = encode_all(tokenizer, texts, special_tokens=False)
    marks = set(tokenizer.all_special_ids)
    encoded = [replace(row, special=[number in marks for number in row.ids]) for row in encoded]
    return batch_of(tokenizer, texts, encoded, side=side)


def _is_conversation(chat: Any) -> bool:
    return (
        isinstance(chat, Sequence)
        and not isinstance(chat, str)
        and len(chat) > 0
        and all(isinstance(message, Mapping) and {"role", "content"} <= set(message) for message in chat)
    )


def written_chat(tokenizer: Any, chat: Any, *, answer_next: bool = True) -> str:
    """A conversation as the template writes it.

    Args:
        tokenizer: With a chat template.
        chat: A list of `{"role": ..., "content": ...}`.
        answer_next: Whether the turn of the assistant is opened at the end.

    Raises:
        InputError: The template refuses it.
    """
    from jinja2 import TemplateError

    try:
        return tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=answer_next)
    except TemplateError as error:
        raise InputError(
            f"the tokenizer's chat template refuses the conversation ({error}): change its roles"
        ) from error
