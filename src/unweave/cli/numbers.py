"""Numbers as the command line takes and gives them."""

from __future__ import annotations

from typing import Any


def numbers(text: str | None) -> tuple[int, ...] | None:
    """The numbers of `--k`, None if it was not given.

    Raises:
        InputError: Something else between the commas.
    """
    from unweave.errors import InputError

    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--k is {text!r}: numbers with commas between them are needed, such as 1,2,4,8,16") from None


def without_nan(value: Any) -> Any:
    """The value with null for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and value != value else value
