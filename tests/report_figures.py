"""Small figures of every kind and a run that holds them, for tests of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unweave.report.record import (
    Card,
    Figure,
    ModelEntry,
    Passage,
    Passages,
    Record,
    Run,
    Table,
    write_record,
    write_run,
)

HOSTILE = "</script><b>bold</b> <!-- \"double\" 'single' & \\u003c é 中 \U0001f600"
"""What breaks a page that does not escape."""


def figure(kind: str, data: dict[str, list[Any]], **options: str) -> Figure:
    """A figure with words around it."""
    return Figure(
        kind=kind, title=f"A figure: {kind}", caption=f"What {kind} show.", data=data, options=options, n=120, seed=7
    )


FIGURES = {
    "curves": figure(
        "curves",
        {"x": [1, 2, 4], "y": [0.2, 0.5, 0.7], "low": [0.1, 0.4, 0.6], "high": [0.3, 0.6, 0.8], "series": ["F1"] * 3},
        x="units", y="F1",
    ),
    "curves in panels": figure(
        "curves",
        {
            "x": [1, 2, 1, 2, 1, 2, 1, 2],
            "y": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8],
            "low": [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7],
            "high": [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
            "control": [0.1] * 8,
            "series": ["F1"] * 8,
            "facet": ["digits", "digits", "capitals", "capitals"] * 2,
            "select": ["blocks.0"] * 4 + ["blocks.1"] * 4,
        },
        x="units", y="F1", x_scale="log2", y_domain="0,1", select="site", selected="blocks.1", control="shuffled",
    ),
    "graph": figure(
        "graph",
        {
            "what": ["node", "node", "edge"], "x": [0.0, 1.0, 0.0], "y": [0.0, 0.0, 0.0], "x2": [None, None, 1.0],
            "y2": [None, None, 0.0], "value": [1.0, 0.5, 2.5], "module": ["0", "none", "0"],
            "label": ["a 1", "b 1", "a 1 to b 1"],
        },
        layers="a|b", value="log10 of the edge", least="1",
    ),
    "heatmap": figure(
        "heatmap",
        {
            "row": ["digits", "capitals"] * 4,
            "column": ["0", "0", "1", "1"] * 2,
            "value": [0.1, 0.9, 0.3, None, 0.5, 0.6, 0.7, 0.8],
            "low": [0.0] * 8,
            "high": [1.0] * 8,
            "control": [0.1] * 8,
            "select": ["k = 1"] * 4 + ["k = 2"] * 4,
        },
        value="F1", column="site", select="units",
    ),
    "forest": figure(
        "forest",
        {
            "label": ["digits", "digits", "capitals", "capitals"],
            "series": ["neurons", "pca"] * 2,
            "value": [0.1, -0.2, 0.3, 0.0],
            "low": [0.0, -0.3, 0.2, -0.1],
            "high": [0.2, -0.1, 0.4, 0.1],
            "control": [0.0] * 4,
        },
        x="nats", series="basis",
    ),
    "bars": figure("bars", {"label": ["a", "b"], "value": [3, 4000]}, x="rows", x_scale="symlog"),
    "bars in series": figure("bars", {"label": ["a", "b"], "value": [3, 4], "series": ["probed", "left out"]}),
    "histogram": figure(
        "histogram",
        {
            "left": [0.0, 0.5, 0.0, 0.5], "right": [0.5, 1.0, 0.5, 1.0], "value": [3, 0, 1, 120],
            "series": ["has it", "has it", "has it not", "has it not"],
        },
        x="activation", y="rows",
    ),
    "points": figure(
        "points",
        {"x": [0.0, 1.0, 0.5], "y": [0.0, 0.0, 1.0], "label": ["a", "b", "c"], "series": ["s", "s", "t"],
         "order": [0, 1, 2], "shown": ["a", "", "c"]},
        x="across", y="up", diagonal="yes",
    ),
    "space": figure(
        "space",
        {"x": [0.0, 1.0], "y": [0.5, 0.0], "z": [1.0, -1.0], "label": ["a", "b"], "series": ["s", "t"],
         "shown": ["a", ""]},
        series="cluster",
    ),
    "steps": figure(
        "steps",
        {"select": ["one", "one", "two"], "label": ["bias", "sum", "bias"], "start": [0.0, 0.0, 0.0],
         "end": [1.0, 1.0, -1.0], "value": [1.0, 1.0, -1.0]},
        x="so far", select="word",
    ),
}  # fmt: skip
CARD = Card(
    title=f"A neuron {HOSTILE}",
    summary=("Alone it tells the label.",),
    tables=(Table(title="Its weights", columns=("name", "value"), rows=[("norm", 0.5)]),),
    figures=(FIGURES["histogram"],),
    passages=(
        Passages(
            title="Where it is most active (1)",
            note="One a window.",
            rows=(
                Passage(pieces=("one", HOSTILE, " three"), shades=(0.5, -1.0, 0.0), hints=("0.5", "-1", "0"), focus=1),
            ),
        ),
    ),
)


def record(step: str = "probe", model: str = "tiny", **changes: Any) -> Record:
    """The record of a step with every kind of figure and a table."""
    given = {
        "title": "Which neurons carry which features",
        "key": "0" * 64,
        "summary": ("One neuron reaches 0.63.",),
        "figures": tuple(FIGURES.values()),
        "tables": (Table(title="All", columns=("name", "f1", "ok"), rows=[("a", 0.5, True), ("b", None, False)]),),
        "warnings": ("Only 3 groups.",),
    }
    return Record(step=step, model=model, **(given | changes))


def run_of(*models: str, steps: tuple[str, ...] = ("probe",), **changes: Any) -> Run:
    """A run of these models, every step done."""
    entries = tuple(
        ModelEntry(
            name=name, folder=f"models/{number}", description="Tiny, 3 parameters", fingerprint="ab" * 32,
            text="Text: corpus.txt.", plan="3 documents", steps=steps,
        )
        for number, name in enumerate(models)
    )  # fmt: skip
    given: dict[str, Any] = {
        "command": "unweave study",
        "config": {"text": "corpus.txt", "seed": 0},
        "versions": {"python": "3.11"},
        "models": entries,
        "status": "complete",
        "planned": ("Activations", "Which neurons carry which features"),
        "seconds": 12.4,
    }
    return Run(**(given | changes))


def write_folder(folder: Path, run: Run, records: dict[str, list[Record]]) -> Path:
    """A run directory with these records a model."""
    folder.mkdir(parents=True, exist_ok=True)
    write_run(folder, run)
    for entry in run.models:
        for one in records.get(entry.name, []):
            place = folder / entry.folder / one.step
            place.mkdir(parents=True, exist_ok=True)
            write_record(place, one)
    return folder
