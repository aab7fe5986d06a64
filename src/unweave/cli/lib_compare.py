"""`unweave lib compare`: several bases side by side."""

from __future__ import annotations

import json as jsonlib
from typing import Annotated, Any

import typer

from unweave.cli.options import Debug, Json, Report

HELP = """Compare runs of `unweave lib fit` and `unweave lib modadd`: one line a model and basis.

\b
    unweave lib fit --model zoo:digits --out lib
    unweave lib fit --model zoo:digits --basis pca --out pca
    unweave lib compare lib pca --report page

Runs of one model and basis with several seeds are one line: means, with the least and the most over seeds.
Differences from `lib` are paired by seed; where `lib` was run once they are from that one.
"""


def compare(
    runs: Annotated[list[str], typer.Argument(help="Directories that --out wrote.")],
    layers: Annotated[bool, typer.Option("--layers", help="One line for every layer.")] = False,
    report: Report = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Placeholder, replaced by HELP."""
    from unweave.artifact import load
    from unweave.cli.lib_tables import check_report, write_page
    from unweave.cli.numbers import without_nan
    from unweave.cli.tables import show
    from unweave.errors import InputError
    from unweave.interaction.comparing import compare as compare_runs
    from unweave.interaction.measuring import BasisRun

    check_report(report)
    found = [load(one) for one in runs]
    for path, one in zip(runs, found, strict=True):
        if not isinstance(one, BasisRun):
            raise InputError(f"{path} holds a {type(one).__name__}: give what `unweave lib fit --out` wrote")
    rows = compare_runs(found)
    page = None if report is None else write_page(found, None, report)
    if json:
        runs_of_layers = [row for one in found for row in one.table()]
        told = {"bases": rows, "layers": runs_of_layers, "means of layers": compare_runs(found, each_layer=True)}
        typer.echo(jsonlib.dumps(without_nan(told)))
        return
    title = "Needed to stay within the tolerance, summed over layers; mean [least, most] over seeds"
    if layers:
        rows, title = compare_runs(found, each_layer=True), title.replace("summed over layers", "by layer")
    names = [name for name in rows[0] if not name.endswith(" range") and any(row[name] is not None for row in rows)]
    heads = [name.replace(" against lib", " more than lib") for name in names]
    show(title, heads, [_cells(row, names) for row in rows])
    if any(row.get("truth") is not None for row in rows):
        typer.echo("truth: share of the needed nodes with 90 % of their power at one frequency")
    if page is not None:
        typer.echo(f"report: {page}")


compare.__doc__ = HELP


def _cells(row: dict[str, Any], names: list[str]) -> list[str]:
    """Values, with their range where the seeds differ."""
    from unweave.cli.lib_tables import shown

    found = []
    for name in names:
        low, high = row.get(f"{name} range") or (None, None)
        found.append(shown(row[name]) + (f" [{shown(low)}, {shown(high)}]" if low != high else ""))
    return found
