"""`unweave probe ...`: the commands that probe."""

from __future__ import annotations

import typer

from unweave.cli.haystack import haystack
from unweave.cli.sweep import sweep

probe = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Sparse probes: which few units carry a feature.")
probe.command("sweep")(sweep)
probe.command("haystack")(haystack)
