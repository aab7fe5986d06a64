"""The documentation that ships with CPython, as documents without shared paragraphs.

Two sources, both in every Python installation: the language reference behind `help("while")` (`pydoc_data.topics`) and
the docstrings of the standard library, one document a module. Topics nest (`specialnames` contains `customization`), so
a split by topic would put one paragraph on both sides. Hence a paragraph is kept only in the first document that has
it, shortest topic first: afterwards no two documents share a paragraph of `SHARED_FROM` characters or more, and a split
by document is a split of the text.

Which documents are held out is a function of the name alone, so it is the same in every Python version.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SHARED_FROM = 40
"""Shortest paragraph (white space squeezed) that counts as shared; shorter ones ("For example:") repeat by nature."""

HELD_OUT_PERCENT = {"topics": 25, "modules": 12}
"""Share of the document names of each source that no zoo model is trained on."""

MODULE_FROM = 600
"""Shortest document of a module, in characters: a handful of one-line docstrings has nothing to predict from."""

_NOT_DOCUMENTATION = {
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "turtledemo",
    "ensurepip",
    "pydoc_data",
}


@dataclass(frozen=True, kw_only=True)
class Document:
    """One text with its name."""

    name: str
    """`topics/while`, `modules/argparse`."""
    text: str
    """The paragraphs that no earlier document has, separated by blank lines."""


def topics() -> list[Document]:
    """The language reference behind `help()`, a document a topic, shortest first, without shared paragraphs."""
    from pydoc_data.topics import topics as text_by_name

    ordered = sorted(text_by_name.items(), key=lambda item: (len(item[1]), item[0]))
    return without_shared_paragraphs(Document(name=f"topics/{name}", text=text) for name, text in ordered)


def documentation() -> list[Document]:
    """Topics, then the docstrings of the standard library, a document a module, without shared paragraphs."""
    unique = without_shared_paragraphs([*topics(), *_modules()])
    return [document for document in unique if document.name.startswith("topics/") or len(document.text) >= MODULE_FROM]


def is_held_out(name: str) -> bool:
    """Whether no zoo model is trained on the document of this name: its sha256 modulo 100 is below the share of its
    source.
    """
    source = name.partition("/")[0]
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100 < HELD_OUT_PERCENT[source]


def without_shared_paragraphs(documents: Iterable[Document]) -> list[Document]:
    """The documents with every paragraph kept only where it comes first; documents that end up empty are left out."""
    seen: set[str] = set()
    kept = (Document(name=document.name, text="\n\n".join(_unseen(document.text, seen))) for document in documents)
    return [document for document in kept if document.text]


def sha256_of(documents: Iterable[Document]) -> str:
    """One sha256 over the names and texts, so that a report can say which text it saw."""
    total = hashlib.sha256()
    for document in documents:
        for part in (document.name, document.text):
            total.update(hashlib.sha256(part.encode()).digest())
    return total.hexdigest()


def _unseen(text: str, seen: set[str]) -> Iterator[str]:
    for paragraph in re.split(r"\n[ \t]*\n", text):
        if not paragraph.strip():
            continue
        squeezed = " ".join(paragraph.split())
        if squeezed not in seen:
            if len(squeezed) >= SHARED_FROM:
                seen.add(squeezed)
            yield paragraph.rstrip().strip("\n")


def _modules() -> Iterator[Document]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if parts[0] not in sys.stdlib_module_names or _NOT_DOCUMENTATION.intersection(parts):
            continue
        text = "\n\n".join(_docstrings(path))
        if text:
            yield Document(name="modules/" + ".".join(part for part in parts if part != "__init__"), text=text)


def _docstrings(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False)
            if docstring and docstring.strip():
                yield inspect.cleandoc(docstring)
