"""Texts of a Hugging Face data set, in memory or streamed: one document a row.

The library takes the interface of the package and not the package: anything that gives mappings and says its
`column_names` will do. By name (`hub:NAME`), the package is needed.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from unweave.activations.texts import Text
from unweave.errors import InputError, MissingPackage, unknown_name

HUB = "hub:"
"""Before a name: `hub:NAME`, `hub:NAME:SPLIT` or `hub:NAME:SPLIT:COLUMN`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DatasetTexts:
    """The texts of a column, to be gone through any number of times; a streamed data set begins anew each time.

    Example:
        >>> rows = [{"content": "One.", "url": "a"}, {"content": "Two.", "url": "b"}]
        >>> [text.text for text in DatasetTexts(dataset=rows, column="content", id_column="url")]
        ['One.', 'Two.']
    """

    dataset: Any
    """What gives one mapping a row."""
    column: str = "text"
    """Where the text is."""
    id_column: str | None = None
    """Where a name is by which labels may refer to the row."""
    most: int | None = None
    """Most rows."""

    def __post_init__(self) -> None:
        """Raises what can be seen before the first row comes."""
        check_dataset(self.dataset, self.column, self.id_column)

    def __iter__(self) -> Iterator[Text]:
        """The texts, as a stream."""
        for number, row in enumerate(self.dataset):
            if self.most is not None and number >= self.most:
                return
            value = row.get(self.column) if isinstance(row, Mapping) else None
            if not isinstance(value, str):
                raise InputError(
                    f"row {number} of the data set has a {type(value).__name__} in the column {self.column!r}: a text"
                    " is needed, name the column that has it"
                )
            name = None if self.id_column is None else row.get(self.id_column)
            yield Text(text=value, id=None if name is None else str(name))


def hub_texts(
    name: str, *, split: str = "train", column: str = "text", id_column: str | None = None, most: int | None = None
) -> DatasetTexts:
    """The texts of a data set of the Hugging Face Hub, streamed: nothing is stored.

    Args:
        name: Of the data set, such as `stas/openwebtext-10k`, or of a directory of files.
        split: Which part.
        column: Where the text is.
        id_column: Where a name is by which labels may refer to a row.
        most: Most rows.

    Raises:
        MissingPackage: `datasets` is not installed.
        InputError: No such data set, split or column.
    """
    try:
        datasets: Any = importlib.import_module("datasets")  # not there for those who do not need it
    except ImportError as error:
        raise MissingPackage("data sets by name need the package datasets: pip install 'unweave[data]'") from error
    try:
        dataset = datasets.load_dataset(name, split=split, streaming=True)
    except (OSError, ValueError) as error:  # no such set, no network; no such split
        told = " ".join(str(error).split())[:200]
        raise InputError(f"the data set {name!r} (split {split!r}) cannot be read: {told}; check its name") from error
    return DatasetTexts(dataset=dataset, column=column, id_column=id_column, most=most)


def named_texts(text: str) -> DatasetTexts:
    """The texts that `hub:NAME`, `hub:NAME:SPLIT` or `hub:NAME:SPLIT:COLUMN` stands for."""
    name, _, rest = text.removeprefix(HUB).partition(":")
    split, _, column = rest.partition(":")
    if not name:
        raise InputError(f"{text!r} names no data set: write hub:NAME, hub:NAME:SPLIT or hub:NAME:SPLIT:COLUMN")
    return hub_texts(name, split=split or "train", column=column or "text")


def check_dataset(dataset: Any, column: str = "text", id_column: str | None = None) -> None:
    """Raises for a dictionary of splits, which gives the names of its splits and no texts, and for a missing column."""
    if isinstance(dataset, Mapping):
        raise InputError(
            f"the data set is a dictionary of {', '.join(map(str, list(dataset)[:4]))}: give one of them, such as"
            f" dataset[{next(iter(dataset), 'train')!r}]"
        )
    names = getattr(dataset, "column_names", None)  # None where a stream does not know before its first row
    for wanted in (column, id_column):
        if isinstance(names, list) and wanted is not None and wanted not in names:
            raise unknown_name(
                "column", wanted, names, hint="name the one that has the text with DatasetTexts(column=)"
            )
