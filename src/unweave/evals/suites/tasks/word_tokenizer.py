"""A tokenizer of whole words, each with the blank before it, marks, and years cut into two numbers of two digits: what
models that are made here read the suites' prompts with.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

END = "<eos>"
MARKS = (".", ",")
CENTURIES = tuple(f" {century}" for century in range(11, 18))
YEARS = tuple(f"{year:02d}" for year in range(100))


def words_in(texts: Iterable[str]) -> list[str]:
    """The words of some texts, each once, in order of the alphabet.

    Args:
        texts: Texts, also with slots.
    """
    return sorted(set(re.findall(r"[A-Za-z]+", " ".join(re.sub(r"{\w+}", " ", text) for text in texts))))


def word_tokenizer(words: Iterable[str], *, numbers: bool = True) -> Any:
    """Cuts text into blank-and-word, marks and years; a word it does not know is the end token.

    Args:
        words: Known words, with and without a blank before them.
        numbers: Whether it knows the years of 1100 to 1799.

    Example:
        >>> word_tokenizer(["The", "war"]).tokenize("The war to 1732.")
        ['The', ' war', '<eos>', ' 17', '32', '.']
    """
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    known = [END, *words, *(f" {word}" for word in words), *MARKS, *((*CENTURIES, *YEARS) if numbers else ())]
    found = Tokenizer(models.WordLevel(vocab={token: n for n, token in enumerate(known)}, unk_token=END))
    found.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?\d\d| ?[A-Za-z]+|[.,]"), behavior="isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=found, eos_token=END, unk_token=END, clean_up_tokenization_spaces=False
    )
