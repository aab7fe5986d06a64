"""What a run leaves behind for people: figures and tables as plain values, with the words around them.

Methods give columns of numbers, the study puts words to them, and only `charts` draws. A record is JSON, so a report
can be made again from a run directory alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from unweave.config import C, Config, config_from, config_json
from unweave.errors import StoreError
from unweave.files import write_text

RUN, RECORD = "run.json", "record.json"
Value = float | int | str | bool | None


class Figure(Config):
    """Data of one figure, a column a name, and what the axes say."""

    kind: Literal["curves", "heatmap", "forest", "bars", "histogram", "graph", "points", "space", "steps"]
    title: str
    caption: str
    """What is seen, on what sample, and what it does not show."""
    data: dict[str, list[Value]]
    """Columns of equal length; which ones a kind needs is in `charts`."""
    options: dict[str, str] = Field(default_factory=dict)
    """Titles of axes and series, and a kind's switches."""
    n: int
    """Rows behind the figure."""
    seed: int


class Table(Config):
    """A table as it is shown."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Value, ...]]
    note: str = ""


class Passage(Config):
    """A stretch of text, shaded piece by piece."""

    pieces: tuple[str, ...]
    shades: tuple[float, ...]
    """From -1 to 1, one a piece; 0 = none."""
    hints: tuple[str, ...] = ()
    """What a pointer over a piece shows, one a piece."""
    focus: int
    """Which piece it is about."""
    note: str = ""


class Passages(Config):
    """Stretches of text of one kind."""

    title: str
    rows: tuple[Passage, ...]
    note: str = ""


class Card(Config):
    """One thing on a page of its own: what it is, in sentences, tables, figures and texts."""

    title: str
    summary: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    passages: tuple[Passages, ...] = ()


class Record(Config):
    """What one step of a run found."""

    step: str
    model: str
    title: str
    key: str
    """Fingerprint of everything the step depends on: equal means that it need not run again."""
    summary: tuple[str, ...] = ()
    """Sentences that stand at the head of the section."""
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    cards: tuple[Card, ...] = ()
    warnings: tuple[str, ...] = ()
    results: dict[str, Any] = Field(default_factory=dict)
    """Plain values for programs."""


class ModelEntry(Config):
    """One model of a run."""

    name: str
    folder: str
    """Its directory in the run."""
    description: str
    fingerprint: str
    text: str
    """Which text it saw, with its sha256."""
    plan: str
    """What was announced before it started."""
    steps: tuple[str, ...] = ()
    """Steps that are done, in order."""


class Run(Config):
    """`run.json`: what was asked, what has been done."""

    command: str
    config: dict[str, Any]
    versions: dict[str, str]
    models: tuple[ModelEntry, ...] = ()
    left_out: dict[str, str] = Field(default_factory=dict)
    """Model -> why it is not in the run."""
    status: Literal["running", "complete", "interrupted", "failed"] = "running"
    planned: tuple[str, ...] = ()
    """Titles of the steps that each model goes through."""
    seconds: float = 0.0


def write_run(folder: Path, run: Run) -> None:
    """Writes `run.json` whole or not at all."""
    write_whole(folder / RUN, json.dumps(config_json(run), indent=1, ensure_ascii=False) + "\n")


def read_run(folder: Path) -> Run:
    """The run of a directory.

    Raises:
        StoreError: No run there, or a damaged one.
    """
    if not (folder / RUN).exists():
        raise StoreError(f"no run at {folder}: there is no {RUN}; give the directory that `unweave study` printed")
    return _read(Run, folder / RUN)


def write_record(folder: Path, record: Record) -> None:
    """Writes a step's record whole or not at all; the columns of figures keep their order."""
    write_whole(folder / RECORD, json.dumps(config_json(record), ensure_ascii=False, allow_nan=True) + "\n")


def read_record(folder: Path) -> Record | None:
    """A step's record, None if the step has not been done.

    Raises:
        StoreError: A damaged one.
    """
    file = folder / RECORD
    return _read(Record, file) if file.exists() else None


def write_whole(file: Path, text: str) -> None:
    """Writes a file of a run whole or not at all.

    Raises:
        StoreError: It cannot be written; what stood there is untouched.
    """
    try:
        write_text(file, text)
    except OSError as error:
        raise StoreError(
            f"{file} cannot be written ({error.strerror or error}): make room or choose another directory"
        ) from error


def _read(kind: type[C], file: Path) -> C:
    try:
        return config_from(kind, json.loads(file.read_text(encoding="utf-8")), source=str(file))
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or not such a record
        raise StoreError(f"{file} is damaged ({error}): run the study again with --force") from error
