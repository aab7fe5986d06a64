"""`unweave report`: the page of a run again."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from unweave.cli.options import Debug, Json, local, typed

HELP = """Write the report of a run again, from the records in its directory.

\b
    unweave report run
"""


def report(
    run: Annotated[
        Path, typer.Argument(parser=typed, callback=local, metavar="run", help="Directory that `unweave study` wrote.")
    ],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Placeholder, replaced by HELP."""
    from unweave.report.page import write_report

    page = write_report(run)
    typer.echo(jsonlib.dumps({"report": str(page)}) if json else f"report: {page}")


report.__doc__ = HELP
