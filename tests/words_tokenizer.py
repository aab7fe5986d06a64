"""A tokenizer of whole words, each with the blank before it, for suites that need names of one token."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from unweave.evals.suites import words


def vocabulary() -> list[str]:
    """Every word of the suites with its blank, the marks, and years cut in the middle."""
    text = " ".join(
        [
            *words.IOI_TEMPLATES, *words.NAMES, *words.PLACES, *words.THINGS, *words.NOUNS, *words.MADE_UP,
            *words.LAUREATES, *words.LAUREATES.values(), *words.CITIES,
            *(value for row in words.CITIES.values() for value in row.values()),
            *(one for row in words.CITY_TEMPLATES.values() for one in row),
            "The lasted from the year to won Nobel Prize in",
        ]
    )  # fmt: skip
    found = sorted(set(re.findall(r"[A-Za-z]+", text)))
    numbers = [f" {century}" for century in range(11, 18)] + [f"{year:02d}" for year in range(100)]
    return ["<eos>", *found, *(f" {word}" for word in found), ".", ",", *numbers]


def words_tokenizer(more: Sequence[str] = ()) -> Any:
    """Cuts text into blank-and-word, marks, and years into two numbers of two digits."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    known = {token: number for number, token in enumerate([*vocabulary(), *more])}
    tokenizer = Tokenizer(models.WordLevel(vocab=known, unk_token="<eos>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?\d\d| ?[A-Za-z]+|[.,]"), behavior="isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", unk_token="<eos>", clean_up_tokenization_spaces=False
    )
