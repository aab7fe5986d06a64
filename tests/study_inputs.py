"""A tiny model on disk, a small text and labels for it: what a study or a command needs as input."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np

import tiny

WORDS = ("alpha", "Beta", "x1", "42", "gamma", "DELTA", "the", "of", ".", ",", "é")
SMALL = {"context": 64, "ks": (1, 2), "shuffles": 2, "bootstrap": 200, "rows": 300, "ablation": {"windows": 4}}
"""Settings with which a study of a tiny model takes about a second."""


def texts(*, documents: int = 24, words: int = 12, seed: int = 0) -> list[str]:
    """Documents of random words."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=words)) for _ in range(documents)]


def write_text_file(path: Path, *, documents: int = 24, seed: int = 0) -> Path:
    """The documents with blank lines between them."""
    path.write_text("\n\n".join(texts(documents=documents, seed=seed)), encoding="utf-8")
    return path


def save_model(folder: Path, family: str = "llama", *, seed: int = 0, tokenizer: bool = True) -> Path:
    """A tiny model in Hugging Face layout, with its tokenizer beside it."""
    model = tiny.text_model(family, seed=seed)
    with contextlib.redirect_stderr(io.StringIO()):  # the writer shows a bar
        model.module.save_pretrained(folder)
        if tokenizer:
            model.tokenizer.save_pretrained(folder)
    return folder


def write_document_labels(path: Path, *, documents: int = 24) -> Path:
    """Whole documents that begin with a longer word, against the others."""
    lines = [
        {"feature": "long start", "label": int(len(text.split()[0]) > 2), "document": number}
        for number, text in enumerate(texts(documents=documents))
    ]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def write_span_labels(path: Path, *, documents: int = 24) -> Path:
    """Characters of the word 42, against those of the word alpha."""
    lines = []
    for number, text in enumerate(texts(documents=documents)):
        for word, label in (("42", 1), ("alpha", 0)):
            place = text.find(word)
            while place >= 0:
                span = {"start": place, "end": place + len(word)}
                lines.append({"feature": "number", "label": label, "document": number, **span})
                place = text.find(word, place + 1)
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def write_inputs(folder: Path) -> Path:
    """A directory with the models `llama` and `bert`, `text.txt`, and labels of spans and of documents."""
    for family in ("llama", "bert"):
        save_model(folder / family, family)
    write_text_file(folder / "text.txt")
    write_span_labels(folder / "spans.jsonl")
    write_document_labels(folder / "documents.jsonl")
    return folder
