"""`unweave probe ...`: the commands that probe."""

from __future__ import annotations

import typer

from unweave.cli.haystack import haystack
from unweave.cli.sweep import sweep

HELP = """Sparse probes: which few units carry a feature.

\b
    unweave probe sweep store --labels labels.jsonl
    unweave probe haystack --model zoo:docs --conllu en_ewt-train.conllu.gz
"""

probe = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=HELP)
probe.command("sweep")(sweep)
probe.command("haystack")(haystack)
