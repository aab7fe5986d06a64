"""Result files that the authors of arXiv 2305.01610 published: single neurons of Pythia v0 and their test scores."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from unweave.errors import InputError, StoreError

MODELS = ("pythia-70m", "pythia-160m", "pythia-410m", "pythia-1b", "pythia-1.4b", "pythia-2.8b", "pythia-6.9b")
TEXTS = ("model", "dataset", "feature", "aggregation", "hook_loc", "agg", "loc")
NUMBERS = ("layer", "neuron", "percentile", "k")
GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "compound_words": "compound words",
        "distribution_id": "source",
        "latex": "latex",
        "programming_lang_id": "code language",
        "text_features": "text features",
        "natural_lang_id": "natural language",
    }
)
"""Collection as the column `dataset` begins -> as specs/probing.md 11.2 calls it."""


@dataclass(frozen=True, kw_only=True)
class PublishedTable:
    """The rows of one file, numbers as numbers."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]

    def mean_f1(self) -> dict[str, float]:
        """Mean `test_f1_score` by group of features, and over all of them."""
        groups: dict[str, list[float]] = {}
        for row in self.rows:
            groups.setdefault(group_of(row), []).append(row["test_f1_score"])
        means = {name: sum(values) / len(values) for name, values in groups.items()}
        return {**means, "all": sum(row["test_f1_score"] for row in self.rows) / len(self.rows)}


def load_published(path: str | Path) -> dict[str, PublishedTable]:
    """The published tables of one model's directory by file name without `.csv`, or one table of a file.

    Args:
        path: `interpretable_neurons/pythia-...` or one `.csv` file in it.

    Raises:
        InputError: Nothing there.
        StoreError: A row with another number of fields, or without a number where one belongs.

    Example:
        >>> import pathlib
        >>> file = pathlib.Path("top_mono_neurons.csv")
        >>> _ = file.write_text("dataset,feature,neuron,test_f1_score\\newt.pyth.512.-1,upos_VERB,5,0.5\\n")
        >>> load_published(file)["top_mono_neurons"].mean_f1()
        {'part of speech': 0.5, 'all': 0.5}
    """
    place = Path(path)
    files = sorted(place.glob("*.csv")) if place.is_dir() else [place]
    if not files or not files[0].is_file():
        raise InputError(f"no published tables at {place}: give a directory of .csv files or one of them")
    return {file.stem: _read(file) for file in files}


def group_of(row: Mapping[str, Any]) -> str:
    """The group of features that a row belongs to; parts of speech and morphology share one `dataset`."""
    collection = row["dataset"].split(".")[0]
    if collection == "ewt":
        kind = row["feature"].split("_")[0]
        return {"upos": "part of speech", "dep": "dependencies"}.get(kind, "morphology")
    return GROUPS.get(collection, "facts" if collection.startswith("wikidata") else collection)


def _read(file: Path) -> PublishedTable:
    with file.open(encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream)
        columns = tuple(next(reader, ()))
        rows = tuple(_row(columns, fields, f"{file} row {number}") for number, fields in enumerate(reader, 1))
    if not rows:
        raise StoreError(f"{file} has no rows: it is cut short, get it again")
    return PublishedTable(name=file.stem, columns=columns, rows=rows)


def _row(columns: Sequence[str], fields: Sequence[str], where: str) -> dict[str, Any]:
    if len(fields) != len(columns):
        raise StoreError(
            f"{where} has {len(fields)} fields, the header {len(columns)}: the file is damaged, get it again"
        )
    try:
        return {name: _value(name, field) for name, field in zip(columns, fields, strict=True)}
    except ValueError as error:
        raise StoreError(
            f"{where} has no number where one belongs ({error}): the file is damaged, get it again"
        ) from error


def _value(name: str, field: str) -> Any:
    if name in TEXTS:
        return field
    return int(field) if name in NUMBERS else float(field)
