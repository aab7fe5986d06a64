"""The error types, each a one-line message in three parts: what was wrong, what was got, what to do.

Every `UnweaveError` is something the user can act on, and the command line turns it into exit code 2 without a
traceback (`Interrupted`: 130). A broken invariant of ours is a `RuntimeError`, exit code 1.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class UnweaveError(Exception):
    """Root of all errors that a user can act on."""


class InputError(UnweaveError, ValueError):
    """An argument, file or configuration is not what the verb needs."""


class UnknownName(InputError):
    """A name that nothing answers to; carries the nearest valid ones."""

    def __init__(self, message: str, *, suggestions: Iterable[str] = ()) -> None:
        """Keeps the message as it is and the suggestions for programs."""
        super().__init__(message)
        self.suggestions = tuple(suggestions)


class DataError(InputError):
    """The data cannot carry the computation: NaN, empty, one class, too few groups."""


class StoreError(UnweaveError):
    """A file or directory on disk is missing, damaged, in use, or cannot be written."""


class FingerprintError(UnweaveError):
    """Two things that must come from the same model, text or tokenizer do not."""


class MissingPackage(UnweaveError, ImportError):
    """An optional package is not installed; the message is the pip line that installs it."""


class Interrupted(UnweaveError):
    """The user stopped the work; what was finished is kept."""


def nearest(name: str, valid: Iterable[str], *, count: int = 3) -> list[str]:
    """The valid names most like `name`, best first; empty if none resembles it.

    Example:
        >>> nearest("resid_psot", ["resid_pre", "resid_mid", "resid_post"])[0]
        'resid_post'
    """
    names = sorted(set(valid))
    lowered = {candidate: candidate.lower() for candidate in names}
    ranked = sorted(
        names,
        key=lambda candidate: -difflib.SequenceMatcher(None, name.lower(), lowered[candidate], autojunk=False).ratio(),
    )
    alike = [
        candidate
        for candidate in ranked
        if difflib.SequenceMatcher(None, name.lower(), lowered[candidate], autojunk=False).ratio() >= 0.5
    ]
    return alike[:count]


def unknown_name(
    kind: str, got: str, valid: Iterable[str], *, hint: str = "", near: Iterable[str] | None = None
) -> UnknownName:
    """An `UnknownName` that says what was got and which valid names are nearest (all of them, if they are few and none
    is near).

    Example:
        >>> str(unknown_name("selector", "mean_dif", ["mean_diff", "random"], hint="uw.probing lists all"))
        "unknown selector 'mean_dif'; nearest: 'mean_diff'; uw.probing lists all"
    """
    names = list(dict.fromkeys(valid))
    close = list(near) if near is not None else nearest(got, names)
    parts = [f"unknown {kind} {got!r}"]
    if close:
        parts.append("nearest: " + ", ".join(map(repr, close)))
    elif names:
        parts.append("valid: " + ", ".join(map(repr, names[:12])) + (" ..." if len(names) > 12 else ""))
    if hint:
        parts.append(hint)
    return UnknownName("; ".join(parts), suggestions=close)


def require(module: str, *, package: str, extra: str | None = None) -> ModuleType:
    """The imported module, or `MissingPackage` with the line that installs it.

    Args:
        module: What is imported.
        package: Its name on the package index.
        extra: The extra of unweave that brings it, if there is one.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        target = f"'unweave[{extra}]'" if extra else package
        raise MissingPackage(
            f"{module} is needed here but cannot be imported ({error}): pip install {target}"
        ) from error
