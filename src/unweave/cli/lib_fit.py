"""`unweave lib fit`."""

from __future__ import annotations


def fit() -> None:
    """Later."""
