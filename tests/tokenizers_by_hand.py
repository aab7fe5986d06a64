"""Tokenizers built in memory whose pieces are known: merged bytes with the space in front, and uncased word pieces."""

from __future__ import annotations

import string
from typing import Any

from transformers import PreTrainedTokenizerFast


def merging_tokenizer(pieces: tuple[str, ...] = (" the", " The", "the", " 42", " NASA", " cat")) -> Any:
    """A byte-level tokenizer that also has these pieces, and a space with the first two bytes of an emoji."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    spelt = [level.pre_tokenize_str(piece)[0][0] for piece in (*pieces, " \U0001f600")]
    spelt[-1] = spelt[-1][:3]
    tokens, merges = sorted(pre_tokenizers.ByteLevel.alphabet()), []
    for word in spelt:
        for end in range(2, len(word) + 1):
            if word[:end] not in tokens:
                tokens.append(word[:end])
                merges.append((word[: end - 1], word[end - 1]))
    tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = level
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False)


def word_piece_tokenizer(*, lowercase: bool = True) -> Any:
    """A BERT tokenizer of letters and digits, with some whole words."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    letters = string.ascii_letters + string.digits + string.punctuation + "\u00e9"
    words = ["[UNK]", "nasa", "NASA", "the", "The", "42", *letters, *(f"##{letter}" for letter in letters)]
    tokenizer = Tokenizer(
        models.WordPiece(vocab={token: number for number, token in enumerate(dict.fromkeys(words))}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", clean_up_tokenization_spaces=False)
