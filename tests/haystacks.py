"""Texts and readers for the tests of the haystack: one token a byte, so that every position is known."""

from __future__ import annotations

from functools import cache
from typing import Any

import tiny


@cache
def bytes_tokenizer() -> Any:
    """One token a byte, `<s>` in front and `</s>` behind."""
    return tiny.byte_tokenizer()


@cache
def docs_tokenizer() -> Any:
    """The tokenizer of the bundled model, which puts a space into the piece behind it."""
    import unweave as uw

    return uw.load_model("zoo:docs").tokenizer


def labelled_text(built: Any, name: str, value: bool = True) -> list[str]:
    """The characters of every row with this label, in order."""
    (feature,) = [one for one in built.features if one.name == name]
    found = []
    for number, place, label in zip(feature.sequence, feature.position, feature.values, strict=True):
        one = built.sequences[number]
        if label == value:
            begin, end = one.offsets[place]
            found.append(one.text[begin:end])
    return found


def built_names(built: Any) -> list[str]:
    return [one.name for one in built.features]
