"""What a superposition lab leaves on the disk: models, tables as CSV, a record and a report."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unweave.artifact import fingerprint, save
from unweave.config import Config, config_json
from unweave.errors import InputError, unknown_name
from unweave.report.page import write_sections
from unweave.report.record import ModelEntry, Run, write_whole
from unweave.study.flow import run_directory, versions
from unweave.study.superposition.lab import TextLab
from unweave.study.superposition.record import text_found
from unweave.study.superposition.worlds import WorldLab, world_found
from unweave.study.work import Found

STEP = "superposition"


def write_text_lab(lab: TextLab, folder: Path, command: str) -> Path:
    """Models, tables as CSV and a report, in a run directory; gives the path of the report.

    Args:
        lab: What was found.
        folder: The directory.
        command: How it was started, for the report.

    Raises:
        StoreError: It cannot be written.
    """
    found = text_found(lab)
    place = folder / "models" / "text"
    for number, one in enumerate(lab.scored):
        save(one.model, place / "trained" / f"{number}-{one.name.replace(' ', '-')}-width-{one.model.width}")
    save(lab.bags, place / "bags")
    write_table(
        folder / "models.csv",
        [
            {k: v for k, v in row.items() if k not in ("regimes", "scores")} | row["scores"]
            for row in lab.facts()["models"]
        ],
    )
    for number, one in enumerate(lab.scored):
        write_table(folder / f"words-{number}.csv", one.geometry.table())
    return write_lab(folder, found, "text", (repr(lab.bags), "How words share space"), lab.config, command)


def write_lab(folder: Path, found: Found, name: str, told: tuple[str, str], config: Config, command: str) -> Path:
    """The record of one lab and its page.

    Args:
        folder: The run directory.
        found: What is shown.
        name: Of the text or world.
        told: What it is in a line, and the heading of what was found.
        config: What was asked.
        command: How it was started.
    """
    described, title = told
    key = fingerprint(config_json(config) | {"of": described})
    entry = ModelEntry(
        name=name, folder=f"models/{name}", description=described, fingerprint=key,
        text="seed " + str(config_json(config).get("seed")), plan=described,
        steps=(STEP,),
    )  # fmt: skip
    run = Run(
        command=command or f"unweave superpose {name}, from Python", config=config_json(config), versions=versions(),
        models=(entry,), status="complete", planned=("Superposition",),
    )  # fmt: skip
    return write_sections(folder, run, [found.record(STEP, name, title, key)])


def lab_directory(out: Path | None, config: Config) -> Path:
    """The directory of a run, made if it is not there."""
    folder = run_directory(out, config, kind="superpose")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def trained_model(folder: Path, name: str | None = None) -> Path:
    """Where a model of a lab on a text lies: the last one, or the one whose name holds what is given.

    Args:
        folder: Directory of the lab.
        name: Part of a name, such as `decay-4-width-50`.

    Raises:
        InputError: No lab there.
        UnknownName: No model of that name.
    """
    place = folder / "models" / "text" / "trained"
    found = sorted((one for one in place.glob("*-*") if one.is_dir()), key=lambda one: int(one.name.split("-")[0]))
    if not found:
        raise InputError(f"{folder} has no models of a text: give the --out of `unweave superpose text`")
    chosen = [one for one in found if name is None or f"-{name}-" in f"-{one.name}-"]
    if not chosen:
        raise unknown_name("model", name or "", [one.name.split("-", 1)[1] for one in found])
    return chosen[-1]


def write_table(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Rows as CSV."""
    stream = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(file, stream.getvalue())


def write_world_lab(lab: WorldLab, folder: Path, command: str) -> Path:
    """Models and a report in a run directory; gives the path of the report.

    Args:
        lab: What was found.
        folder: The directory.
        command: How it was started.
    """
    for number, model in enumerate(lab.models):
        save(model, folder / "models" / lab.config.world / "trained" / f"{number}-width-{model.width}")
    described = f"{lab.config.world} world of {lab.config.features} features, {lab.config.rows:,} rows"
    return write_lab(
        folder, world_found(lab), lab.config.world, (described, "How features share space"), lab.config, command
    )
