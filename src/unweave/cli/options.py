"""Options that several commands share, spelt once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def typed(text: str) -> Any:
    """A path; a URL stays as it was typed."""
    from unweave.places import is_url

    return text if is_url(text) else Path(text)


def place(text: str) -> Any:
    """A path, or what a URL points at."""
    from unweave.places import is_url, place_of

    return place_of(text) if is_url(text) else Path(text)


def local(given: Any) -> Path | None:
    """The path of what has to be on this machine; a URL is refused in one line."""
    from unweave.places import local_place

    return None if given is None else local_place(given, "this")


def free(given: Any) -> Any:
    """What is written as a directory: a file that stands there is told before the work, not after."""
    from unweave.errors import InputError

    if isinstance(given, Path) and (taken := next((one for one in (given, *given.parents) if one.is_file()), None)):
        raise InputError(f"--out is {given}, but {taken} is a file: choose a directory")
    return given


def directory(given: Any) -> Path | None:
    """As `local` and `free`."""
    return free(local(given))


Sites = Annotated[
    list[str] | None, typer.Option("--site", "-s", help="Site or pattern, such as 'blocks.*.mlp_act'. Repeatable.")
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", parser=typed, callback=directory, metavar="<path>", help="Directory to write to."),
]
Report = Annotated[
    Path | None,
    typer.Option("--report", parser=typed, callback=local, metavar="<path>", help="Directory for report.html."),
]
OutPlace = Annotated[
    Any,
    typer.Option("--out", "-o", parser=place, callback=free, metavar="<path>", help="Directory or URL to write to."),
]
ConfigFile = Annotated[
    Path | None,
    typer.Argument(
        parser=typed,
        callback=local,
        metavar="config",
        help="Configuration (.toml or .json); options given besides it win.",
        show_default=False,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output, and nothing else there.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No plan and no progress.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, then stop.")]
Force = Annotated[bool, typer.Option("--force", help="Do again what is already there.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
