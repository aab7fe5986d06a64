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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unweave.errors import InputError
from unweave.evals.causing.pairs import Pairs
from unweave.evals.suites.words import prompt_tokens, token_ids
from unweave.models.model import Model

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
    rows = [_checked(where, row) for where, row in json_lines(path)]
    if not rows:
        raise InputError(f"{path} has no pairs: one JSON object a line, with {', '.join(NEEDED)}")
    answers = {name: [_answer(model, row[name]) for row in rows] for name in ("answer", "base_answer")}
    theirs = [_answer(model, row.get("source_answer", row["answer"])) for row in rows]
    return Pairs(
        base=prompt_tokens(model, [row["base"] for row in rows]),
        source=prompt_tokens(model, [row["source"] for row in rows]),
        answer=answers["answer"],
        base_answer=answers["base_answer"],
        source_answer=theirs,
        among=[[one, two] for one, two in zip(answers["base_answer"], answers["answer"], strict=True)],
        positions=positions,
        groups=np.array([str(row.get("group", number)) for number, row in enumerate(rows)]),
    )


def json_lines(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of a jsonl file, behind the words that say where it stands; blank lines are left out.

    Args:
        path: The file.

    Raises:
        InputError: It cannot be read, or a line is no JSON object; the line is named.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): give a jsonl file") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: not JSON ({error}); write one object a line") from None
        if not isinstance(row, dict):
            raise InputError(f"{where}: a {type(row).__name__}; write one object a line")
        yield where, row


def _checked(where: str, row: dict[str, Any]) -> dict[str, Any]:
    missing = [key for key in NEEDED if not isinstance(row.get(key), str)]
    strange = [key for key in row if key not in KNOWN]
    if missing or strange:
        what = f"no text under {', '.join(missing)}" if missing else f"unknown key {strange[0]!r}"
        raise InputError(f"{where}: {what}; the keys are {', '.join(KNOWN)}")
    return row


def _answer(model: Model, text: str) -> int:
    ids = token_ids(model, text)
    if not ids:
        raise InputError(f"the answer {text!r} has no token: give a word")
    return ids[0]
