"""`unweave lib compare`."""

from __future__ import annotations


def compare() -> None:
    """Later."""
