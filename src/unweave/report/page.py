"""One HTML file from a run directory: figures that respond to the mouse, their data as CSV, no network, no torch."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from unweave.errors import StoreError
from unweave.report.charts import specification
from unweave.report.record import (
    RECORD,
    Figure,
    Record,
    Run,
    Value,
    read_record,
    read_run,
    write_record,
    write_run,
    write_whole,
)

REPORT = "report.html"
INTERVAL = re.compile(r"[-+]?[\d.]+ \[[-+\d.]+, [-+\d.]+\]")
"""An estimate with its interval, which is not broken over lines."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """What stands at the top of the page of one command."""

    title: str
    lead: str
    """What the command is about."""
    how: str
    """What brackets and verdicts mean in it."""


STUDY = Head(
    title="unweave study",
    lead="Which units carry which features, what they cause, and how sure one can be.",
    how="Every number is from documents that nothing was fitted or chosen on. Brackets are 95\u00a0% intervals over"
    " documents.",
)
HEADS = (
    Head(
        title="unweave evaluate",
        lead="What a representation is and does: every test beside its controls.",
        how="Brackets are 95\u00a0% intervals over groups of inputs; verdicts follow the rule of the tests, fixed"
        " before.",
    ),
    Head(
        title="unweave superpose",
        lead="How correlated features share fewer dimensions than there are features.",
        how="Brackets are 95\u00a0% intervals over what each table names: windows, documents, words or seeds.",
    ),
    Head(
        title="unweave lib",
        lead="Directions aligned with what the next layer uses, and the graph between them.",
        how="Fitted on some inputs, scored on others. Brackets are 95\u00a0% intervals over inputs, or the least and"
        " the most over seeds.",
    ),
    Head(
        title="unweave probe haystack",
        lead="How sparsely a model encodes the features of its text, and how much of that random weights have too.",
        how=STUDY.how,
    ),
)
"""By the words that a command begins with; `STUDY` for all others."""


def write_report(folder: Path) -> Path:
    """Writes `report.html` into a run directory from the records in it, and returns its path.

    Raises:
        StoreError: No run there, damaged or missing records, or the page cannot be written.
    """
    run = read_run(folder)
    records = [_done(folder / entry.folder / step) for entry in run.models for step in entry.steps]
    page = folder / REPORT
    write_whole(page, render(run, records))
    return page


def write_sections(folder: Path, run: Run, records: Sequence[Record]) -> Path:
    """Writes a run whose models have one step each, with its report, and returns the page's path.

    Args:
        folder: The run directory.
        run: With its models.
        records: What was found, a model each.

    Raises:
        StoreError: The directory cannot be written.
    """
    for entry, record in zip(run.models, records, strict=True):
        place = folder / entry.folder / record.step
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            said = f"{place} cannot be made ({error.strerror or error}): choose another directory"
            raise StoreError(said) from error
        write_record(place, record)
    write_run(folder, run)
    return write_report(folder)


def _done(folder: Path) -> Record:
    record = read_record(folder)
    if record is None:
        raise StoreError(f"{folder} has no {RECORD} though the run says that the step is done: run the study again")
    return record


def render(run: Run, records: list[Record]) -> str:
    """The page of a run as a string."""
    by_model = {entry.name: [record for record in records if record.model == entry.name] for entry in run.models}
    figures = [
        figure for record in records for figure in (*record.figures, *(f for c in record.cards for f in c.figures))
    ]
    return _template().render(
        run=run,
        head=next((head for head in HEADS if run.command.startswith(head.title)), STUDY),
        by_model=by_model,
        figure_html=_figure_parts,
        headline=headline(run, records),
        style=files("unweave.report").joinpath("page.css").read_text(encoding="utf-8"),
        script=_script() if figures else "",
        done={entry.name: len(entry.steps) for entry in run.models},
    )


@cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("unweave.report", "."),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = shown
    environment.tests["interval"] = lambda value: isinstance(value, str) and INTERVAL.fullmatch(value) is not None
    environment.tests["drawn"] = _is_drawn
    environment.filters["anchor"] = _anchor
    return environment.get_template("page.html.j2")


def _is_drawn(value: Any) -> bool:
    return bool(value.figures or value.tables or value.cards or value.warnings)


def _anchor(record: Any) -> str:
    return re.sub(r"\W+", "-", f"{record.model}-{record.step}")


def headline(run: Run, records: list[Record]) -> list[tuple[str, list[Record]]]:
    """The records with a finding, by model: what stands at the head of the page."""
    found = [(entry.name, [one for one in records if one.model == entry.name and one.summary]) for entry in run.models]
    return [(model, own) for model, own in found if own]


def csv_of(figure: Figure) -> str:
    """The data of a figure as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(figure.data)
    writer.writerows(zip(*figure.data.values(), strict=True))
    return stream.getvalue()


def shown(value: Value) -> str:
    """A value as a table shows it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value != value:
            return "–"
        return f"{value:.3f}" if abs(value) >= 0.001 or not value else f"{value:.1e}"
    return value


def _figure_parts(figure: Figure) -> dict[str, str]:
    data = base64.b64encode(csv_of(figure).encode()).decode()
    name = "".join(character if character.isalnum() else "-" for character in figure.title.lower()).strip("-")
    return {
        "specification": _drawn(figure.model_dump_json()),
        "csv": f"data:text/csv;base64,{data}",
        "name": f"{name[:60]}.csv",
    }


@lru_cache(maxsize=64)
def _drawn(figure: str) -> str:
    """The specification of a figure given as JSON; kept, because a page is written again after each step."""
    return _script_safe(specification(Figure.model_validate_json(figure)))


def _script_safe(value: Any) -> str:
    """JSON that cannot end the script element it stands in, whatever the texts in it; NaN, which JSON does not have,
    becomes null.
    """
    text = json.dumps(_without_nan(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")  # outside texts JSON has no such sign


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))) else value


@cache
def _script() -> str:
    """Vega, Vega-Lite and Vega-Embed as the renderer's package carries them."""
    import vl_convert

    return cast(Any, vl_convert).javascript_bundle().replace("</script", "<\\/script")
