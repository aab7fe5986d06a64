"""Small collections for the tests of stores, and the slow obvious twin of a collection."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch

import hand_hooks
import tiny
import unweave as uw
from unweave.errors import Interrupted

TEXTS = (
    "A first document of fifty or so characters, in three windows.",
    "x",
    "",
    "Two lines.\nThe second has 42 and NASA.",
    "smile \U0001f600, \u05e9\u05dc\u05d5\u05dd and e\u0301",
    "short",
    "The last but one goes on for a while, so that it ends in another shard than the one in which it begins: "
    "a hundred bytes and more.",
    "end\r\nof it",
)
"""Several windows, one token, none at all, characters of several bytes."""

CONTEXT = 16
SHARD_ROWS = 40
SITES = ("blocks.1.resid_post", "blocks.0.attn_z", "blocks.1.mlp_act")
BEFORE, AFTER = (1,), (2,)
"""What `tiny.byte_tokenizer` puts around a text."""

EXAMPLES = hypothesis.settings(deadline=None, derandomize=True, database=None, max_examples=60)
"""No clock, no memory of other runs."""


@cache
def model_of(family: str = "llama") -> uw.Model:
    """A tiny model that reads bytes, shared by the tests that do not change it."""
    return tiny.text_model(family)


def collected(out: Path, texts: Any = TEXTS, sites: Any = SITES, *, model: uw.Model | None = None, **options: Any):
    """The small collection; `options` change it."""
    usual = {"context": CONTEXT, "shard_rows": SHARD_ROWS, "batch_tokens": 48, "workers": 1}
    return uw.collect(model or model_of(), texts, sites, out, **{**usual, **options})


class StopsAfter:
    """A listener that raises when so many shards are done."""

    def __init__(self, shards: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.left, self.error = shards, error

    @contextmanager
    def task(self, *_):
        yield self.advance

    def advance(self, _count: int) -> None:
        self.left -= 1
        if not self.left:
            raise self.error

    def note(self, text: str) -> None:
        raise AssertionError(text)


def begun(folder: Path, shards: int = 3) -> None:
    """An interrupted collection."""
    with pytest.raises(Interrupted):
        collected(folder, progress=StopsAfter(shards))


def listing(folder: Path) -> dict[str, bytes]:
    """Every file of a store with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def shard_file(folder: Path, index: int, kind: str = "safetensors") -> Path:
    """A file of a shard: `safetensors`, `text.json` or `json`."""
    return folder / "shards" / f"{index:05d}.{kind}"


def twin(
    family: str, model: uw.Model, texts: Any = TEXTS, *, context: int = CONTEXT, include_special: bool = False
) -> tuple[dict[str, torch.Tensor], dict[str, list[int]]]:
    """Activations of all sites and the columns of `rows`: every window alone through the bare module, with hand-written
    hooks, stacked one by one.
    """
    room = context - len(BEFORE) - len(AFTER)
    activations: dict[str, list[torch.Tensor]] = {}
    rows: dict[str, list[int]] = {"document": [], "sequence": [], "position": [], "token_id": []}
    sequence = 0
    for document, text in enumerate(texts):
        ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
        for start in range(0, len(ids), room):
            window = [*BEFORE, *ids[start : start + room], *AFTER]
            values = hand_hooks.hand_values(family, model.module, torch.tensor([window]))
            for place, token in enumerate(window):
                is_special = place < len(BEFORE) or place >= len(window) - len(AFTER)
                if is_special and not include_special:
                    continue
                position = -1 if is_special else start + place - len(BEFORE)
                found = {"document": document, "sequence": sequence, "position": position, "token_id": token}
                for name, value in found.items():
                    rows[name].append(value)
                for site, value in values.items():
                    activations.setdefault(site, []).append(value[0, place].flatten())
            sequence += 1
    return {site: torch.stack(value) for site, value in activations.items()}, rows


def same_rows(store: uw.ActivationStore, rows: dict[str, list[int]]) -> None:
    """Asserts that the columns of a store are these."""
    assert set(store.rows) == set(rows)
    for name, column in rows.items():
        np.testing.assert_array_equal(store.rows[name], column)
