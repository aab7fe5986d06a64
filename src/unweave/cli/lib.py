"""`unweave lib ...`: the local interaction basis."""

from __future__ import annotations

import typer

from unweave.cli.lib_compare import compare
from unweave.cli.lib_fit import fit
from unweave.cli.modadd import modadd

HELP = """The local interaction basis: directions aligned with what the next layer uses, and the graph between them.

\b
    unweave lib fit --model zoo:docs --text corpus.txt --out lib
    unweave lib compare lib pca
    unweave lib modadd
"""

lib = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=HELP)
lib.command("fit")(fit)
lib.command("compare")(compare)
lib.command("modadd")(modadd)
