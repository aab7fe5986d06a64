"""Labelled prompts, probed at their last token: the published tables of compound words and facts, or one's own.

Rows that repeat a prompt, or that name the same person at the end, are one group: a split by row would show half of the
test rows in training.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from unweave.activations.haystack.built import Built, TokenFeature, finished, start_tokens
from unweave.activations.haystack.cutting import encoded, prepared, room_for
from unweave.activations.haystack.identification import opened
from unweave.errors import InputError


@dataclass(frozen=True, kw_only=True)
class LabelledPrompt:
    """One prompt, what it is labelled, and what it must stay together with."""

    text: str
    label: str
    group: str


def read_prompts(source: str | Path, *, group_by: Literal["prompt", "name"] = "prompt") -> list[LabelledPrompt]:
    """The rows of a table with `prompt` and `target` (`.csv`, also `.gz` or `.xz`), white space at the end taken off.

    Args:
        source: The table.
        group_by: `prompt`, or `name`: the capitalised words at the end of the prompt.

    Raises:
        InputError: No such file, or no such columns.
    """
    path = Path(source)
    if not path.is_file():
        raise InputError(f"no table of prompts at {path}: give a .csv file with the columns prompt and target")
    reader = csv.DictReader(io.StringIO(opened(path), newline=""))
    if not {"prompt", "target"} <= set(reader.fieldnames or ()):
        raise InputError(f"{path} has the columns {reader.fieldnames}: prompt and target are needed")
    found = []
    for row in reader:
        text = (row["prompt"] or "").rstrip()
        found.append(
            LabelledPrompt(
                text=text, label=row["target"] or "", group=text if group_by == "prompt" else name_at_end(text)
            )
        )
    return found


def name_at_end(text: str) -> str:
    """The last two words of a prompt that ends in a name: what prompts about one person have in common.

    Example:
        >>> name_at_end("It was drawn by Anna Boden"), name_at_end("said Jean-Luc  Picard")
        ('Anna Boden', 'Jean-Luc Picard')
    """
    return " ".join(text.split()[-2:])


def prompts(
    collection: str, given: Iterable[LabelledPrompt], tokenizer: Any, *, context: int = 256, seed: int = 0
) -> Built:
    """Each label against the others, at the last token of every prompt; two labels give one feature, of the first.

    Args:
        collection: What to call it.
        given: Prompts.
        tokenizer: Of the model.
        context: Most tokens of a sequence, special ones included; the last ones.
        seed: Kept with the collection; nothing is drawn.

    Example:
        >>> import unweave as uw
        >>> texts = [(f"number {n}", "odd" if n % 2 else "even") for n in range(60)]
        >>> given = [LabelledPrompt(text=text, label=label, group=text) for text, label in texts]
        >>> prompts("parity", given, uw.load_model("zoo:docs").tokenizer).report()[0]["feature"]
        'even'
    """
    special = start_tokens(tokenizer)
    room = room_for(context, special)
    listed = list(given)
    drops: Counter[str] = Counter()
    sequences, labels = [], []
    for document, one in zip(encoded(((p.text, None, p.group) for p in listed), tokenizer), listed, strict=True):
        if len(document.ids):
            sequences.append(prepared(document, max(0, len(document.ids) - room), len(document.ids), special))
            labels.append(one.label)
        else:
            drops["prompts without a token"] += 1
    features = [_feature(label, labels, [len(one.ids) - 1 for one in sequences]) for label in _features(labels)]
    return finished(collection, sequences, features, context=context, drops=drops, seed=seed)


def _features(labels: Sequence[str]) -> list[str]:
    kinds = sorted(set(labels))
    if len(kinds) != 2:
        return kinds
    negative = [kind for kind in kinds if kind in ("0", "false", "False") or kind.startswith("not_")]
    return [next(kind for kind in kinds if kind not in negative)] if len(negative) == 1 else kinds[:1]


def _feature(label: str, labels: Sequence[str], places: Sequence[int]) -> TokenFeature:
    return TokenFeature(
        name=label,
        sequence=np.arange(len(labels)),
        position=np.array(places, dtype=np.int64),
        values=np.array([one == label for one in labels], dtype=bool),
    )
