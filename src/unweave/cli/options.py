"""Options that several commands share, spelt once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def local(text: str) -> Path:
    """The path of a directory on this machine; a URL is refused in one line."""
    from unweave.errors import UnweaveError
    from unweave.places import local_place

    try:
        return local_place(text, "this option")
    except UnweaveError as error:
        raise typer.BadParameter(str(error)) from error


Sites = Annotated[
    list[str] | None, typer.Option("--site", "-s", help="Site or pattern, such as 'blocks.*.mlp_act'. Repeatable.")
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", parser=local, metavar="DIRECTORY", help="Directory to write to.")
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output, and nothing else there.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No plan and no progress.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, then stop.")]
Force = Annotated[bool, typer.Option("--force", help="Do again what is already there.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
