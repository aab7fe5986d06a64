"""A tokenizer of all words of the suites, for random models whose numbers mean nothing."""

from __future__ import annotations

from typing import Any

from unweave.evals.suites import words
from unweave.evals.suites.tasks.word_tokenizer import word_tokenizer, words_in


def words_tokenizer() -> Any:
    """Cuts text into blank-and-word, marks, and years into two numbers of two digits."""
    texts = [
        *words.IOI_TEMPLATES, *words.NAMES, *words.PLACES, *words.THINGS, *words.NOUNS, *words.MADE_UP,
        *words.LAUREATES, *words.LAUREATES.values(), *words.CITIES,
        *(value for row in words.CITIES.values() for value in row.values()),
        *(one for row in words.CITY_TEMPLATES.values() for one in row),
        "The lasted from the year to won Nobel Prize in",
    ]  # fmt: skip
    return word_tokenizer(words_in(texts))
