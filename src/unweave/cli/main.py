"""`unweave`: the commands put together, and what becomes of errors.

Exit codes: 0 done; 2 the user's input is at fault (one line, no traceback unless `--debug`); 1 ours is; 130
interrupted, with what was finished kept.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from functools import cache
from typing import Any

import typer

from unweave.cli.beginning import begin
from unweave.cli.collect import collect
from unweave.cli.compare import compare
from unweave.cli.directions import directions
from unweave.cli.doctor import doctor
from unweave.cli.evaluate import evaluate
from unweave.cli.export import export
from unweave.cli.lib import lib
from unweave.cli.ndm import ndm
from unweave.cli.probe import probe
from unweave.cli.report import report
from unweave.cli.study import study
from unweave.cli.superpose import superpose
from unweave.cli.zoo import zoo
from unweave.errors import Interrupted, UnweaveError

HELP = """What the representations of a neural network encode, what they cause, and how sure one can be.

Start with the main job, which needs nothing but this installation:

\b
    unweave study

Then the same on your own model and text:

\b
    unweave study --model path/to/model --text corpus.txt --site 'blocks.*.mlp_act' --out run
"""

CLICK_ERROR: type[Exception] = typer.BadParameter.__mro__[2]
"""The root of Click's errors, wherever typer takes Click from: older versions depend on it, newer ones carry their
own.
"""

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended."""

app = typer.Typer(
    name="unweave",
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(study)
app.command()(collect)
app.command()(directions)
app.command()(report)
app.command()(doctor)
app.command()(compare)
app.command()(export)
app.add_typer(evaluate, name="evaluate")
app.add_typer(probe, name="probe")
app.add_typer(lib, name="lib")
app.add_typer(ndm, name="ndm")
app.add_typer(superpose, name="superpose")
app.add_typer(zoo, name="zoo")


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help="Show the version and exit.")) -> None:
    """Options before any command."""
    if version:
        from unweave.version import __version__

        typer.echo(__version__)
        raise typer.Exit


@cache
def command_line() -> Any:
    """All commands as Click takes them."""
    return typer.main.get_command(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and ends the process with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # before torch is loaded: its threads spin while they wait, which on a shared machine takes the core from the very
    # thread they wait for (docs/decisions/0006)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(run(given))


def run(arguments: list[str]) -> int:
    """Runs one command and gives its exit code."""
    debug = "--debug" in arguments
    begin()
    try:
        result = command_line()(args=arguments, prog_name="unweave", standalone_mode=False)
    except CLICK_ERROR as error:
        return _usage(error)
    except (typer.Abort, KeyboardInterrupt, Interrupted) as error:
        return _say(str(error) or "interrupted", INTERRUPTED)
    except UnweaveError as error:
        if debug:
            traceback.print_exc()
        return _say(str(error), 2)
    except (BrokenPipeError, SystemExit):  # the reader of a pipe has gone (Click exits then): nobody to say it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the last line of defence: what gets here is a bug of ours
        if debug:
            traceback.print_exc()
        return _say(
            f"this is a bug in unweave: {type(error).__name__}: {error}; run again with --debug and report the"
            " traceback",
            1,
        )
    if result == INTERRUPTED:  # Click has caught Ctrl-C itself
        return _say("interrupted", INTERRUPTED)
    return result if isinstance(result, int) else 0


def _usage(error: Any) -> int:
    """A wrong command, option or value in one line; a command without anything is answered with its help."""
    message = error.format_message()
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(message)
        return 0
    return _say(f"{message.rstrip('.')}{f'; `{context.command_path} --help` shows how' if context else ''}", 2)


def _say(message: str, code: int) -> int:
    typer.echo(f"unweave: {' '.join(message.split())}", err=True)
    return code
