"""The text of a study: the user's, or the documentation that ships with CPython, and one sentence that says which it
was.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from unweave.activations.texts import Text, read_texts
from unweave.models import zoo
from unweave.models.zoo import corpus

LONGEST = 2500
"""Characters of a default document, cut at the end of a paragraph: many documents of like size say more about a feature
than a few long ones.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyText:
    """Documents and what to say about them."""

    texts: Sequence[Text]
    description: str
    sha256: str


def study_text(path: str | None, model_source: str) -> StudyText:
    """The documents for one model of a study.

    Args:
        path: The user's text, or None for the default.
        model_source: A zoo model sees by default only documents that it was not trained on.
    """
    if path is not None:
        texts = list(read_texts(path))
        digest = sha256_of(texts)
        return StudyText(
            texts=texts, sha256=digest, description=f"Text: {path}, {len(texts):,} documents, sha256 {digest[:16]}."
        )
    documents, what = _default_documents(model_source)
    texts = [Text(text=shortened(document.text), id=document.name) for document in documents]
    digest = sha256_of(texts)
    version = platform.python_version()
    return StudyText(
        texts=texts,
        sha256=digest,
        description=(
            f"Text: {what} of CPython {version}, {len(texts)} documents cut to about {LONGEST:,} characters, sha256"
            f" {digest[:16]}."
        ),
    )


def sha256_of(texts: Iterable[Text]) -> str:
    """One sha256 over all documents and their ids."""
    total = hashlib.sha256()
    for text in texts:
        for part in (text.id or "", text.text):
            total.update(hashlib.sha256(part.encode("utf-8", "surrogatepass")).digest())
    return total.hexdigest()


def shortened(text: str) -> str:
    """The paragraphs of a text up to the first one that ends beyond `LONGEST` characters, at least one."""
    end = 0
    for paragraph in text.split("\n\n"):
        if end and end + len(paragraph) > LONGEST:
            break
        end += len(paragraph) + 2
    return text[: min(end, 2 * LONGEST)].rstrip()


def _default_documents(model_source: str) -> tuple[list[corpus.Document], str]:
    if not model_source.startswith("zoo:"):
        return corpus.topics(), "the language reference (pydoc_data.topics, shared paragraphs kept once)"
    held_out = set(zoo.facts(model_source.removeprefix("zoo:")).get("held_out", ()))
    if not held_out:
        return corpus.topics(), "the language reference (pydoc_data.topics, shared paragraphs kept once)"
    found = [document for document in corpus.documentation() if document.name in held_out]
    return found, "the language reference and docstrings that the model was not trained on,"
