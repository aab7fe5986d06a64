"""Pairs from a file: one JSON object a line, so that any behaviour with short answers can be tested without code.

| key | meaning |
|---|---|
| `base`, `source` | texts; the answer follows them |
| `answer` | what follows the base after the interchange: its first token counts |
| `base_answer` | what follows the base as it is |
| `source_answer` | what follows the source; `answer` where it is missing |
| `group` | document, entity or template; each pair its own where it is missing |
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from unweave.errors import InputError
from unweave.evals.causing.pairs import Pairs
from unweave.evals.suites.words import prefix_ids, token_ids
from unweave.models.model import Model
from unweave.models.tokens import Tokens, pad

NEEDED = ("base", "source", "answer", "base_answer")
KNOWN = (*NEEDED, "source_answer", "group")


def read_pairs(model: Model, path: str | Path, *, positions: Any = "last") -> Pairs:
    """The pairs of a jsonl file.

    Args:
        model: With the tokenizer.
        path: The file.
        positions: Which positions are exchanged.

    Raises:
        InputError: The file cannot be read, or a line lacks a key or has an unknown one; the line is named.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): give a jsonl file of pairs") from None
    rows = [_row(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise InputError(f"{path} has no pairs: one JSON object a line, with {', '.join(NEEDED)}")
    answers = {name: [_answer(model, row[name]) for row in rows] for name in ("answer", "base_answer")}
    theirs = [_answer(model, row.get("source_answer", row["answer"])) for row in rows]
    return Pairs(
        base=_tokens(model, [row["base"] for row in rows]),
        source=_tokens(model, [row["source"] for row in rows]),
        answer=answers["answer"],
        base_answer=answers["base_answer"],
        source_answer=theirs,
        among=[[one, two] for one, two in zip(answers["base_answer"], answers["answer"], strict=True)],
        positions=positions,
        groups=np.array([str(row.get("group", number)) for number, row in enumerate(rows)]),
    )


def _row(path: str | Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {number}: not JSON ({error.msg}); write one object a line") from None
    if not isinstance(row, dict):
        raise InputError(f"{path}, line {number}: a {type(row).__name__}, an object with {', '.join(NEEDED)} is needed")
    missing = [key for key in NEEDED if not isinstance(row.get(key), str)]
    strange = [key for key in row if key not in KNOWN]
    if missing or strange:
        what = f"no text under {', '.join(missing)}" if missing else f"unknown key {strange[0]!r}"
        raise InputError(f"{path}, line {number}: {what}; the keys are {', '.join(KNOWN)}")
    return row


def _answer(model: Model, text: str) -> int:
    ids = token_ids(model, text)
    if not ids:
        raise InputError(f"the answer {text!r} has no token: give a word")
    return ids[0]


def _tokens(model: Model, texts: list[str]) -> Tokens:
    ids, mask = pad([[*prefix_ids(model), *token_ids(model, text)] for text in texts])
    return Tokens(ids=ids, mask=mask)
