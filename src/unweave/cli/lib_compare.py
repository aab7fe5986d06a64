"""`unweave lib compare`: several bases side by side."""

from __future__ import annotations

import json as jsonlib
from typing import Annotated

import typer

from unweave.cli.options import Debug, Json

HELP = """Compare runs of `unweave lib fit` and `unweave lib modadd`: one line a model and basis.

\b
    unweave lib fit --model zoo:digits --out lib
    unweave lib fit --model zoo:digits --basis pca --out pca
    unweave lib compare lib pca

Runs of one basis with several seeds are averaged; differences from `lib` are paired by seed.
"""


def compare(
    runs: Annotated[list[str], typer.Argument(help="Directories that --out wrote.")],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Placeholder, replaced by HELP."""
    from unweave.artifact import load
    from unweave.cli.lib_tables import shown
    from unweave.cli.numbers import without_nan
    from unweave.cli.tables import show
    from unweave.errors import InputError
    from unweave.interaction.measuring import BasisRun
    from unweave.interaction.measuring import compare as compare_runs

    found = [load(one) for one in runs]
    for path, one in zip(runs, found, strict=True):
        if not isinstance(one, BasisRun):
            raise InputError(f"{path} holds a {type(one).__name__}: give what `unweave lib fit --out` wrote")
    rows = compare_runs(found)
    if json:
        layers = [row for one in found for row in one.table()]
        typer.echo(jsonlib.dumps(without_nan({"bases": rows, "layers": layers})))
        return
    columns = list(rows[0])
    show(
        "Needed to stay within the tolerance, summed over layers",
        columns,
        [[shown(row[c]) for c in columns] for row in rows],
    )


compare.__doc__ = HELP
